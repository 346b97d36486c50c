"""What proves that a validator contradicted itself; judged by what was said, never by the bytes of signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.consensus.errors import EvidenceFaultError
from chain.consensus.types import Equivocation, Vote

if TYPE_CHECKING:
    from chain.consensus.types import Address, Proposal
    from chain.consensus.validators import ValidatorSet


def check_equivocation(evidence: Equivocation, validators: ValidatorSet) -> Address:
    """Return whom the evidence convicts; `validators` are those of its height.

    That both signatures hold is the shell's to check. Raises EvidenceFaultError.
    """
    first, second = evidence.first, evidence.second
    if _slot(first) != _slot(second):
        message = "the two statements are not of one validator in one height, round and step"
        raise EvidenceFaultError(message)
    if first == second:
        message = "both statements say the same"
        raise EvidenceFaultError(message)
    if first.validator not in validators.powers:
        message = f"0x{first.validator.hex()} is no validator of height {first.height}"
        raise EvidenceFaultError(message)
    return first.validator


def _slot(statement: Vote | Proposal) -> tuple[object, ...]:
    step = statement.kind if isinstance(statement, Vote) else None
    return statement.height, statement.round, step, statement.validator
