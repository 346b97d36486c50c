"""Signatures that this process has judged, so that its validators verify each of them once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from chain import light
from chain.crypto.schemes import Scheme, verify

VERDICTS_KEPT: Final = 4_096
"""About 16 MB; a height of a hundred validators has some two hundred."""


class Verdicts:
    """Judges ML-DSA-65 signatures and remembers the last few thousand verdicts, whichever they were."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: OrderedDict[tuple[bytes, bytes, bytes], bool] = OrderedDict()
        self.verified = 0
        """Signatures that were computed on, not remembered."""

    def holds(self, public_key: bytes, said: bytes, signature: bytes) -> bool:
        """Tell whether the signature is the key's over these sign bytes."""
        asked = (public_key, said, signature)
        verdict = self._known.get(asked)
        if verdict is None:
            self.verified += 1
            verdict = verify(Scheme.ML_DSA_65, public_key, signature, said, light.VOTE_CONTEXT)
            self._known[asked] = verdict
            if len(self._known) > VERDICTS_KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(asked)
        return verdict
