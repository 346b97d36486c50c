"""A validator's pen: it never contradicts what it has written, and says again what it wrote last in the same words.

The rule and the record are the core's (`chain.consensus.signing`); the record's signature is the proof, time included.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chain import light
from chain.consensus import types as core
from chain.consensus.signing import LastSignature, position_of, recorded
from chain.engines.embedded import statements

if TYPE_CHECKING:
    from chain.consensus.journal import Mark
    from chain.crypto.schemes import SigningKey
    from merit.clock import Clock


class Signer:
    """Signs in rising (height, round, step) only. What it returns must be on disk before anybody sees the signature."""

    def __init__(self, key: SigningKey, chain_id: str, clock: Clock) -> None:
        """Sign with `key` for this chain."""
        self.address = core.Address(light.validator_address(key.public_key))
        self._key, self._chain_id, self._clock = key, chain_id, clock

    def sign(
        self, statement: core.Vote | core.Proposal, mark: Mark, last: LastSignature | None, *, not_before_ns: int
    ) -> tuple[core.Vote | core.Proposal, LastSignature]:
        """Return the signed statement and the record to keep; `mark` is that of the journal which asks for it.

        `last` is the record of what its validator signed last, whichever of its keys it was by.
        The statement that was signed last gets its recorded time and signature again. Raises ContradictionError for any
        other that does not come after it.
        """
        position = position_of(statement)
        if last is not None and last.position == position:
            time, _ = statements.decode_proof(last.signature)
        else:
            time = light.Timestamp.from_ns(max(self._clock.now_ns(), not_before_ns))
        said = statements.sign_bytes(statement, time, self._chain_id)
        proof = recorded(last, position, said)
        if proof is None or last is None:
            proof = statements.encode_proof(time, self._key.sign(said, light.VOTE_CONTEXT))
            last = LastSignature(*position, said, proof, mark)
        return replace(statement, proof=proof), last
