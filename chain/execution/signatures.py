"""Verdicts on signatures, remembered between `check_tx`, proposals and `finalize_block`.

Only what can never change is remembered: whether a signature holds under a key, where the bytes that name the entry fix
the key (an address is the hash of its key). That a key is *unknown* is never remembered: a key can be registered
between the check and the block, and two replicas, one with the verdict and one without, must still agree
(tests/chain/execution/test_cache_traps.py). A block asks for a verdict only when the Registry says that the key is in
force, and the Registry keeps each key that it admits (Registry.vy, `_add_key`), so state has the key that was used.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_ENTRIES: Final = 65_536  # 12 MB; a pool of 512 full batches


class VerdictCache:
    """Digest (32 bytes) -> whether the signature holds; the least recently used entry goes first."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        """Keep at most `entries` verdicts."""
        self._entries = entries
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()

    def holds(self, digest: bytes, check: Callable[[], bool | None]) -> bool:
        """Return the verdict of `digest`, asking `check` the first time.

        What `check` returns must depend on nothing but the digest; None, for a key that is not known, is not
        remembered.
        """
        verdict = self._verdicts.get(digest)
        if verdict is not None:
            self._verdicts.move_to_end(digest)
            return verdict
        verdict = check()
        if verdict is None:
            return False
        self._verdicts[digest] = verdict
        if len(self._verdicts) > self._entries:
            self._verdicts.popitem(last=False)
        return verdict
