"""What the genesis document says to an engine and to whoever verifies its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chain.crypto.schemes import SIGNATURE_BYTES, Scheme
from chain.light import ConsensusParams, EvidenceAge, Timestamp, Validator, ValidatorSet
from chain.limits import BLOCK_BYTES

if TYPE_CHECKING:
    from chain.genesis import Genesis

CONSENSUS_PARAMS: Final = ConsensusParams(block_max_bytes=BLOCK_BYTES)
"""Bounds of every block; gas is the application's business."""

EVIDENCE_AGE: Final = EvidenceAge(heights=100_000, nanoseconds=48 * 3600 * 10**9)
"""How long a fault of a validator can be reported: CometBFT's defaults."""

UPDATE_DELAY: Final = 2
"""What executing height h says of validators counts from height h + 2 on (CometBFT, state/execution.go)."""

_BLOCK_OVERHEAD_BYTES: Final = 11 + 626
"""CometBFT's bounds for the fields around a block's content and for its header (types/block.go)."""
_COMMIT_OVERHEAD_BYTES: Final = 94
_SLOT_BYTES: Final = SIGNATURE_BYTES[Scheme.ML_DSA_65] + 64
"""A commit's slot: signature, address, time and their tags, rounded up."""


def genesis_validators(genesis: Genesis) -> ValidatorSet:
    """Return the validators of height 1; raises InvalidValidatorSetError, also when the document names none."""
    return ValidatorSet.of(Validator(bytes(entry.public_key), entry.power) for entry in genesis.validators)


def genesis_time(genesis: Genesis) -> Timestamp:
    """Return the time of height 1, as CometBFT has it."""
    return Timestamp(genesis.time)


def transaction_bytes_max(validators: int) -> int:
    """Return the bytes that a block leaves for encoded transactions (CometBFT's `MaxDataBytes`)."""
    return CONSENSUS_PARAMS.block_max_bytes - _BLOCK_OVERHEAD_BYTES - _COMMIT_OVERHEAD_BYTES - validators * _SLOT_BYTES
