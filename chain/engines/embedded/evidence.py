"""Who voted for two things at once: what a validator can prove, and whom the chain has convicted.

A block holds CometBFT's `DuplicateVoteEvidence`. The chain convicts a validator once, as long as it stays one without a
break: a second proof would tell nobody anything, and so a block holds no more proofs than there are validators.
Two proposals in one round are no evidence in CometBFT's formats, and none here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain import light
from chain.application import Misbehavior
from chain.light.encoding import encode_part_set_header
from chain.light.errors import LightError
from chain.validators import EVIDENCE_AGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chain.engines.embedded.sets import ValidatorSets
    from chain.engines.embedded.store import EngineStore
    from chain.light import Height


class EvidencePool:
    """One validator's proofs; those that no block holds yet are in memory only."""

    def __init__(self, sets: ValidatorSets, store: EngineStore, chain_id: str) -> None:
        """Judge the validators of the chain that is in `store`."""
        self._sets, self._store, self._chain_id = sets, store, chain_id
        self._waiting: dict[bytes, tuple[light.Vote, light.Vote]] = {}
        self._convicted: dict[bytes, Height] = {}  # the height of the last proof

    def recover(self) -> None:
        """Read whom the chain has convicted; raises CorruptRecordError."""
        self._waiting.clear()
        self._convicted = {one: height for height, raws in self._store.all_evidence() for one in _accused(raws)}

    def accuse(self, first: light.Vote, second: light.Vote) -> None:
        """Keep two votes of one validator in one place, unless there is a proof against it already."""
        if not self._is_convicted(first):
            self._waiting.setdefault(first.validator_address, (first, second))

    def due(self) -> tuple[bytes, ...]:
        """Return what the next block may hold: proofs of heights that are decided."""
        return tuple(
            self._proof(first, second)
            for first, second in self._waiting.values()
            if 1 <= first.height <= self._store.height
        )

    def accepts(self, evidence: Sequence[bytes], last: light.Header | None) -> bool:
        """Tell whether a block after `last` may hold this: sound proofs against validators not convicted yet."""
        accused: set[bytes] = set()
        for raw in evidence:
            try:
                proof = light.decode_evidence(raw)
                if last is None or not isinstance(proof, light.DuplicateVote):
                    return False
                light.verify_evidence(proof, last, self, self._chain_id, EVIDENCE_AGE)
            except LightError:
                return False
            if proof.vote_a.validator_address in accused or self._is_convicted(proof.vote_a):
                return False
            accused.add(proof.vote_a.validator_address)
        return True

    def decided(self, height: Height, evidence: Sequence[bytes]) -> None:
        """Remember whom the block of a decided height convicts."""
        for address in _accused(evidence):
            self._convicted[address] = height
            self._waiting.pop(address, None)

    def _is_convicted(self, vote: light.Vote) -> bool:
        """Tell whether a proof against this validator is in a block since it came, or came back, before this vote."""
        proven = self._convicted.get(vote.validator_address)
        return proven is not None and self._sets.stays(vote.validator_address, min(proven, vote.height), vote.height)

    def _proof(self, first: light.Vote, second: light.Vote) -> bytes:
        vote_a, vote_b = sorted((first, second), key=_rank)
        validators = self.validators(first.height)
        power = next(one.power for one in validators if one.address == first.validator_address)
        proof = light.DuplicateVote(vote_a, vote_b, validators.total_power, power, self.time(first.height))
        return light.encode_evidence(proof)

    # What `verify_evidence` asks of the chain

    def validators(self, height: Height) -> light.ValidatorSet:
        """Return the validators of a height."""
        return self._sets.at(height)

    def time(self, height: Height) -> light.Timestamp:
        """Return the time of a decided height; raises UnknownHeightError, CorruptRecordError."""
        return self._store.header(height).time

    def header_hash(self, height: Height) -> bytes:
        """Return the hash of a decided height's header; raises UnknownHeightError, CorruptRecordError."""
        return light.header_hash(self._store.header(height))


def misbehavior(evidence: Iterable[bytes]) -> tuple[Misbehavior, ...]:
    """Return what the application hears of a block's evidence."""
    return tuple(
        Misbehavior(
            kind=one.kind,
            validator=one.validator,
            power=one.power,
            height=one.height,
            time_ns=one.time.to_ns(),
            total_power=one.total_power,
        )
        for raw in evidence
        for one in light.accusations(light.decode_evidence(raw))
    )


def _accused(evidence: Iterable[bytes]) -> Iterable[bytes]:
    return (one.validator for raw in evidence for one in light.accusations(light.decode_evidence(raw)))


def _rank(vote: light.Vote) -> bytes:
    """CometBFT's `BlockID.Key`."""
    return vote.block_id.hash + encode_part_set_header(vote.block_id.part_set_header)
