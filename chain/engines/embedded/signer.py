"""A validator's pen: it writes down every vote before it shows it, and never contradicts one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain import light
from chain.engines.embedded.store import Vote
from chain.engines.errors import DoubleSignError

if TYPE_CHECKING:
    from chain.crypto.schemes import SigningKey
    from chain.engines.embedded.store import EngineStore


class Signer:
    """Signs votes in rising (height, round, kind) only, also across restarts."""

    def __init__(self, key: SigningKey, store: EngineStore, chain_id: str) -> None:
        """Sign with `key` for this chain; `store` remembers the last vote."""
        self.address = light.validator_address(key.public_key)
        self._key, self._store, self._chain_id = key, store, chain_id

    def sign(self, vote: light.CanonicalVote, block: light.Block) -> bytes:
        """Return the signature of a vote for `block`, which is on disk before this returns.

        The very vote that was signed last gets its recorded signature again. Raises DoubleSignError for any other that
        does not come after it.
        """
        sign_bytes = light.vote_sign_bytes(vote, self._chain_id)
        asked = (vote.height, vote.round, int(vote.kind))
        last = self._store.vote()
        if last is not None and asked <= last.position:
            if asked == last.position and sign_bytes == last.sign_bytes:
                return last.signature
            raise DoubleSignError(self.address, asked, last.position)
        signature = self._key.sign(sign_bytes, light.VOTE_CONTEXT)
        self._store.record_vote(Vote(vote.height, vote.round, vote.kind, sign_bytes, signature), block)
        return signature
