"""Skipping verification: from a trusted header to a much later one, with few headers between or none.

After CometBFT's light client (spec/light-client/verification, light/verifier.go). Within the trusting period more than
two thirds of a trusted height's power is honest. So a header that more than one third of it signed was signed by
somebody honest, who signs only what the chain decides. Where validators have changed too much for that, a height
between is verified first: bisection.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

from chain.light import errors
from chain.light.types import BlockIdFlag, Height, Timestamp
from chain.light.verify import verify_commit

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from chain.light.types import Commit, Header, ValidatorSet

ONE_THIRD: Final = Fraction(1, 3)
"""The least trust level: with a third of the power or less there may be nobody honest among the signers."""


@dataclass(frozen=True, slots=True)
class LightBlock:
    """A header, the commit for it, and the validators of its height: what one height takes to be verified."""

    header: Header
    commit: Commit
    validators: ValidatorSet

    @property
    def height(self) -> Height:
        """The header's height."""
        return self.header.height


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """What a light client believes.

    `trusting_period_ns`: how long after its time a header can be skipped from; less than the time for which validators
    answer for what they signed. `clock_drift_ns`: how far a header's time may be ahead of the verifier's clock.
    `trust_level`: more than this share of the trusted power must have signed. Raises TrustPolicyError.
    """

    chain_id: str
    trusting_period_ns: int
    clock_drift_ns: int = 10_000_000_000
    trust_level: Fraction = ONE_THIRD

    def __post_init__(self) -> None:
        """Refuse what cannot be safe."""
        if not ONE_THIRD <= self.trust_level <= 1:
            message = f"a trust level of {self.trust_level} is not between 1/3 and 1"
            raise errors.TrustPolicyError(message)
        if self.trusting_period_ns <= 0:
            message = f"a trusting period of {self.trusting_period_ns} ns is none"
            raise errors.TrustPolicyError(message)
        if self.clock_drift_ns < 0:
            message = f"a clock drift of {self.clock_drift_ns} ns is below 0"
            raise errors.TrustPolicyError(message)


class Source(Protocol):
    """Somebody who shows headers, and is not believed."""

    def light_block(self, height: Height) -> LightBlock | None:
        """Return what it has of a height; None if it has none of it."""
        ...


def trusted_power(trusted: LightBlock, block: LightBlock) -> int:
    """Return how much of the power of `trusted` signed `block`, as its commit claims: no signature is verified."""
    powers = {validator.public_key: validator.power for validator in trusted.validators}
    return sum(
        powers.get(validator.public_key, 0)
        for validator, slot in zip(block.validators, block.commit.signatures, strict=False)  # counted later
        if slot.flag == BlockIdFlag.COMMIT
    )


def verify_skip(
    trusted: LightBlock, block: LightBlock, policy: TrustPolicy, now: Timestamp, *, pool: Executor | None = None
) -> None:
    """Check that `block`, of any height after `trusted`, can be believed because `trusted` is.

    The next height must name the block before it and the validators that were announced; a later one must be signed by
    more than the trust level of the trusted power. Either way more than two thirds of its own validators' power must
    have signed it, every vote valid.

    Raises:
        NotEnoughTrustError: too many validators have changed; verify a height between first.
        LightError: the header is false, too old or too far in the future.

    """
    before, header = trusted.header, block.header
    expires = before.time.to_ns() + policy.trusting_period_ns
    if now.to_ns() >= expires:
        raise errors.TrustExpiredError(header.height, before.height, str(Timestamp.from_ns(expires)), str(now))
    if header.height <= before.height:
        raise errors.NotAheadError(header.height, before.height)
    if header.time <= before.time:
        raise errors.WrongTimeError(header.height, f"after {before.time}", str(header.time))
    latest = now.to_ns() + policy.clock_drift_ns
    if header.time.to_ns() >= latest:
        raise errors.FutureHeaderError(header.height, str(header.time), str(Timestamp.from_ns(latest)))
    if header.height == before.height + 1:
        if header.validators_hash != before.next_validators_hash:
            raise errors.UnexpectedValidatorsError(header.height, before.next_validators_hash, header.validators_hash)
        if header.last_block_id != trusted.commit.block_id:
            raise errors.WrongLastBlockError(header.height, trusted.commit.block_id.hash, header.last_block_id.hash)
    else:
        signed, total = trusted_power(trusted, block), trusted.validators.total_power
        if signed <= policy.trust_level * total:
            raise errors.NotEnoughTrustError(header.height, before.height, signed, total, str(policy.trust_level))
    verify_commit(header, block.commit, block.validators, policy.chain_id, pool=pool)


def bisect(
    trusted: LightBlock,
    target: Height,
    source: Source,
    policy: TrustPolicy,
    now: Timestamp,
    *,
    pool: Executor | None = None,
) -> tuple[LightBlock, ...]:
    """Return the trace from `trusted` to `target`: each block verified from the one before it, `trusted` first.

    The source is asked for `target`, and for heights half way to it as long as validators have changed too much: for
    each at most once.

    Raises LightError: also MissingBlockError, for a height that the source does not have.
    """
    if target <= trusted.height:
        raise errors.NotAheadError(target, trusted.height)
    trace, ahead = [trusted], [_ask(source, target)]
    while ahead:
        last, block = trace[-1], ahead[-1]
        try:
            verify_skip(last, block, policy, now, pool=pool)
        except errors.NotEnoughTrustError:  # never of the next height, so there is one between
            ahead.append(_ask(source, Height((last.height + block.height) // 2)))
        else:
            trace.append(ahead.pop())
    return tuple(trace)


def _ask(source: Source, height: Height) -> LightBlock:
    block = source.light_block(height)
    if block is None:
        raise errors.MissingBlockError(height)
    if block.height != height:
        raise errors.WrongHeightError(height, block.height)
    return block
