"""The records of CometBFT that a light client reads, as frozen values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NewType

from chain.light.errors import InvalidValidatorSetError, SetFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Height = NewType("Height", int)
"""An engine height, from 1; not the number of an EVM block."""

HASH_BYTES: Final = 32
VALIDATOR_ADDRESS_BYTES: Final = 20
BLOCK_PROTOCOL: Final = 11
"""CometBFT's version of all block structures (version/version.go)."""
PART_BYTES: Final = 65536
"""CometBFT cuts an encoded block into parts of this size (types/params.go)."""
TOTAL_POWER_MAX: Final = (2**63 - 1) // 8
"""CometBFT's bound on the sum of the powers (types/validator_set.go)."""

_NANOS: Final = 1_000_000_000


class VoteType(IntEnum):
    """What a canonical vote says."""

    PREVOTE = 1
    PRECOMMIT = 2


class BlockIdFlag(IntEnum):
    """What a slot of a commit says about its validator."""

    ABSENT = 1
    COMMIT = 2
    NIL = 3


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment in UTC: whole seconds since 1970 and 0 to 999,999,999 nanoseconds."""

    seconds: int
    nanos: int = 0

    @classmethod
    def from_ns(cls, nanoseconds: int) -> Timestamp:
        """Split nanoseconds since 1970."""
        return cls(*divmod(nanoseconds, _NANOS))

    def to_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self.seconds * _NANOS + self.nanos

    def __str__(self) -> str:
        """Seconds with nine decimals."""
        return f"{self.seconds}.{self.nanos:09d} s"


GO_ZERO_TIME: Final = Timestamp(-62_135_596_800)
"""Go's zero time, 0001-01-01T00:00:00Z: what CometBFT writes for the time of an absent vote."""


@dataclass(frozen=True, slots=True)
class PartSetHeader:
    """The Merkle root over the parts of an encoded block, and their number."""

    total: int = 0
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class BlockId:
    """Names a block: the hash of its header and the root over its parts. The default value is nil."""

    hash: bytes = b""
    part_set_header: PartSetHeader = PartSetHeader()

    @property
    def is_nil(self) -> bool:
        """Whether it names no block."""
        return self == NIL_BLOCK_ID


NIL_BLOCK_ID: Final = BlockId()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """CometBFT's block header; every hash has 32 bytes but `app_hash`, whose length is the application's business.

    `last_block_id`, `last_commit_hash` and `last_results_hash` speak of the height before, and `app_hash` is the state
    after executing the height before. So the execution of a chain's last height is committed to by nobody yet.
    """

    block_version: int = BLOCK_PROTOCOL
    app_version: int
    chain_id: str
    height: Height
    time: Timestamp
    last_block_id: BlockId
    last_commit_hash: bytes
    data_hash: bytes
    validators_hash: bytes
    next_validators_hash: bytes
    consensus_hash: bytes
    app_hash: bytes
    last_results_hash: bytes
    evidence_hash: bytes
    proposer_address: bytes


@dataclass(frozen=True, slots=True)
class CommitSig:
    """One validator's slot in a commit. `flag` is a `BlockIdFlag` in every valid commit."""

    flag: int
    validator_address: bytes
    timestamp: Timestamp
    signature: bytes


ABSENT: Final = CommitSig(BlockIdFlag.ABSENT, b"", GO_ZERO_TIME, b"")
"""The slot of a validator whose vote did not arrive."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The precommits that decided a block: one slot per validator, in the order of the validator set."""

    height: Height
    round: int
    block_id: BlockId
    signatures: tuple[CommitSig, ...]


EMPTY_COMMIT: Final = Commit(Height(0), 0, NIL_BLOCK_ID, ())
"""What the block of height 1 carries as its last commit."""


@dataclass(frozen=True, slots=True)
class CanonicalVote:
    """What a vote says, without its voter; a nil `block_id` is a vote for no block."""

    kind: VoteType
    height: Height
    round: int
    block_id: BlockId
    timestamp: Timestamp


@dataclass(frozen=True, slots=True)
class Validator:
    """An ML-DSA-65 public key (1,952 bytes) and its voting power (at least 1)."""

    public_key: bytes
    power: int

    @property
    def address(self) -> bytes:
        """CometBFT's address of the key: the first 20 bytes of its SHA-256."""
        return validator_address(self.public_key)


def validator_address(public_key: bytes) -> bytes:
    """Return the first 20 bytes of the key's SHA-256 (crypto/mldsa65/key.go)."""
    return hashlib.sha256(public_key).digest()[:VALIDATOR_ADDRESS_BYTES]


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """Validators in CometBFT's order: by power, the greatest first, then by address.

    Raises InvalidValidatorSetError for another order, an empty set, a key that occurs twice, a power below 1 or a sum
    beyond CometBFT's bound. `ValidatorSet.of` sorts.
    """

    validators: tuple[Validator, ...]

    def __post_init__(self) -> None:
        """Refuse what is no set."""
        if not self.validators:
            raise InvalidValidatorSetError(SetFault.EMPTY)
        if min(validator.power for validator in self.validators) < 1:
            raise InvalidValidatorSetError(SetFault.POWER)
        if self.total_power > TOTAL_POWER_MAX:
            raise InvalidValidatorSetError(SetFault.TOTAL)
        if len(set(self.addresses)) != len(self.validators):
            raise InvalidValidatorSetError(SetFault.DUPLICATE)
        if self.validators != tuple(sorted(self.validators, key=_rank)):
            raise InvalidValidatorSetError(SetFault.ORDER)

    @classmethod
    def of(cls, validators: Iterable[Validator]) -> ValidatorSet:
        """Sort validators into a set."""
        return cls(tuple(sorted(validators, key=_rank)))

    def updated(self, updates: Iterable[tuple[bytes, int]]) -> ValidatorSet:
        """Return the set after changes of power by key; power 0 removes, a key that is not in it yet is added.

        As CometBFT applies what an application answers (types/validator_set.go, `updateWithChangeSet`), which stops
        where this raises InvalidValidatorSetError.
        """
        powers = {validator.public_key: validator.power for validator in self.validators}
        for public_key, power in updates:
            if power == 0 and public_key not in powers:
                raise InvalidValidatorSetError(SetFault.ABSENT)
            powers[public_key] = power
        return ValidatorSet.of(Validator(public_key, power) for public_key, power in powers.items() if power)

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The addresses, in order."""
        return tuple(validator.address for validator in self.validators)

    @property
    def total_power(self) -> int:
        """The sum of all powers."""
        return sum(validator.power for validator in self.validators)

    def __len__(self) -> int:
        """Return the number of validators."""
        return len(self.validators)

    def __iter__(self) -> Iterator[Validator]:
        """Iterate in order."""
        return iter(self.validators)


def _rank(validator: Validator) -> tuple[int, bytes]:
    return -validator.power, validator.address


@dataclass(frozen=True, slots=True)
class TxResult:
    """The part of a transaction's result that `last_results_hash` covers."""

    code: int
    data: bytes = b""
    gas_wanted: int = 0
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class ConsensusParams:
    """The part of CometBFT's consensus parameters that `consensus_hash` covers; gas -1 means without limit."""

    block_max_bytes: int
    block_max_gas: int = -1


@dataclass(frozen=True, slots=True)
class Block:
    """All that was agreed at one height; `evidence` holds encoded CometBFT Evidence messages."""

    header: Header
    txs: tuple[bytes, ...]
    last_commit: Commit
    evidence: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote as it is sent and as it stands in evidence; `extension` and its signature are empty on this ledger."""

    kind: int
    height: Height
    round: int
    block_id: BlockId
    timestamp: Timestamp
    validator_address: bytes
    validator_index: int
    signature: bytes
    extension: bytes = b""
    extension_signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a proposer signs: a block for a round, and the round of the polka that it was valid in, or -1."""

    height: Height
    round: int
    pol_round: int
    block_id: BlockId
    timestamp: Timestamp
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class DuplicateVote:
    """Two votes of one validator for two blocks in one round, the lesser block id first (types/evidence.go).

    `validator_power`, `total_power` and `timestamp` are those of the votes' height.
    """

    vote_a: Vote
    vote_b: Vote
    total_power: int
    validator_power: int
    timestamp: Timestamp


@dataclass(frozen=True, slots=True)
class RankedValidator:
    """A validator as evidence names it: with the address beside the key, and its priority as a proposer."""

    address: bytes
    public_key: bytes
    power: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LightClientAttack:
    """A certified header that is not the chain's, shown to somebody who follows headers only (types/evidence.go).

    `validators` and `proposer` are those that the false header names; `byzantine` are who signed it and should not
    have; `total_power` and `timestamp` are those of `common_height`, the last one before the chains part.
    """

    header: Header
    commit: Commit
    validators: tuple[RankedValidator, ...]
    proposer: RankedValidator
    common_height: Height
    byzantine: tuple[RankedValidator, ...]
    total_power: int
    timestamp: Timestamp


Evidence = DuplicateVote | LightClientAttack
"""What a block can hold against validators."""
