"""Witnesses: whether somebody else shows the same chain, and if not, what proves who lied.

After CometBFT's detector (spec/light-client/detection, light/detector.go). Skipping believes that less than a third of
the power lies. Where more does, an honest witness shows another header of the same height, and both are certified: the
evidence is a `LightClientAttack`, which whoever holds the true chain verifies by `verify_evidence` and punishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.light import errors
from chain.light.hashes import header_hash
from chain.light.skipping import bisect
from chain.light.types import BlockIdFlag, LightClientAttack, RankedValidator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from chain.light.skipping import LightBlock, Source, TrustPolicy
    from chain.light.types import Timestamp, Validator


@dataclass(frozen=True, slots=True)
class Fork:
    """Two certified headers of one height that follow from one trusted header.

    `common` is the last block that both sources showed; `shown` is the primary source's next one, `witnessed` what the
    witness has of the same height. `against_primary` is for whoever takes the witness's chain for the true one;
    `against_witness` for the others, None if the primary source does not show its chain again.
    """

    common: LightBlock
    shown: LightBlock
    witnessed: LightBlock
    against_primary: LightClientAttack
    against_witness: LightClientAttack | None


def compare(
    trace: Sequence[LightBlock],
    primary: Source,
    witness: Source,
    policy: TrustPolicy,
    now: Timestamp,
    *,
    pool: Executor | None = None,
) -> Fork | None:
    """Compare what `bisect` made of `primary`'s headers with a witness; None if the witness shows the same chain.

    Raises LightError if the witness cannot prove what it shows (then it is of no use, and accuses nobody), also
    MissingBlockError if it does not have a height of the trace: it may be behind, ask it later.
    """
    found = _split(trace, witness, policy, now, pool)
    if found is None:
        return None
    common, shown, proof = found
    witnessed = proof[-1]
    try:
        back = _split(proof, primary, policy, now, pool)
    except errors.LightError:
        back = None  # the primary source does not stand by what it has shown: nothing to hold against the other
    return Fork(
        common=common,
        shown=shown,
        witnessed=witnessed,
        against_primary=attack(common, shown, witnessed),
        against_witness=None if back is None else attack(back[0], back[1], back[2][-1]),
    )


def attack(common: LightBlock, false: LightBlock, true: LightBlock) -> LightClientAttack:
    """Return the evidence that `false` is a lie, for whoever takes `true`, of the same height, for the chain's block.

    Whom it accuses (types/evidence.go, `GetByzantineValidators`): of a header that no execution leads to, all who
    signed it and were validators at `common`; of two headers decided in one round, all who signed both; of two rounds
    nobody, because honest validators may have signed either.
    """
    lunatic = _derived(false) != _derived(true)
    start = common if lunatic else true
    signers = {validator.public_key: validator for validator in _signers(false)}
    accused: list[Validator] = []
    if lunatic:
        accused = [validator for validator in common.validators if validator.public_key in signers]
    elif false.commit.round == true.commit.round:
        accused = [validator for validator in _signers(true) if validator.public_key in signers]
    named = tuple(map(_ranked, false.validators))
    return LightClientAttack(
        header=false.header,
        commit=false.commit,
        validators=named,
        proposer=next((one for one in named if one.address == false.header.proposer_address), named[0]),
        common_height=start.height,
        byzantine=tuple(map(_ranked, accused)),
        total_power=start.validators.total_power,
        timestamp=start.header.time,
    )


def _split(
    trace: Sequence[LightBlock], other: Source, policy: TrustPolicy, now: Timestamp, pool: Executor | None
) -> tuple[LightBlock, LightBlock, tuple[LightBlock, ...]] | None:
    """Return the last block that both have, the trace's next one, and the other's proof of its own; None if none is.

    Both have the first one: it is what is trusted.
    """
    common = trace[0]
    for block in trace[1:]:
        theirs = other.light_block(block.height)
        if theirs is None:
            raise errors.MissingBlockError(block.height)
        if header_hash(theirs.header) != header_hash(block.header):
            return common, block, bisect(common, block.height, other, policy, now, pool=pool)
        common = block
    return None


def _derived(block: LightBlock) -> tuple[bytes, ...]:
    """Return what no proposer chooses (types/evidence.go, `ConflictingHeaderIsInvalid`)."""
    header = block.header
    return (
        header.validators_hash,
        header.next_validators_hash,
        header.consensus_hash,
        header.app_hash,
        header.last_results_hash,
    )


def _signers(block: LightBlock) -> list[Validator]:
    slots = zip(block.validators, block.commit.signatures, strict=True)
    return [validator for validator, slot in slots if slot.flag == BlockIdFlag.COMMIT]


def _ranked(validator: Validator) -> RankedValidator:
    """Return a validator as evidence names it; its priority as a proposer is not covered by any hash and not needed."""
    return RankedValidator(validator.address, validator.public_key, validator.power, 0)
