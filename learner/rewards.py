"""From thetas to what is paid and to what each update weighs in the aggregate."""

from collections.abc import Sequence

STEP_BITS = 30
STEP_TOTAL = 1 << STEP_BITS
"""The weights p_i of a round sum to exactly this."""


def step_weights(thetas: Sequence[int]) -> tuple[int, ...]:
    """p_i = theta_i / sum(theta) (BFL-MEC) in units of 2^-30, summing to exactly 2^30 by largest remainder.

    Every entry first gets theta_i * 2^30 // total; what is missing goes, one unit each, to the largest remainders of
    that division, ties to the earlier entry. An entry with theta 0 therefore weighs 0. All zero: all weights 0.
    """
    total = sum(thetas)
    if total == 0:
        return (0,) * len(thetas)
    shares = [divmod(theta * STEP_TOTAL, total) for theta in thetas]
    weights = [quotient for quotient, _ in shares]
    missing = STEP_TOTAL - sum(weights)
    by_remainder = sorted(range(len(thetas)), key=lambda index: -shares[index][1])  # stable: ties keep their order
    for index in by_remainder[:missing]:
        weights[index] += 1
    return tuple(weights)


def bounded_weights(shares: Sequence[int], bounds: Sequence[int], least: int) -> tuple[int, ...]:
    """p_i = share_i * bound_i // max(sum of shares, least), of 2^30, for bounds of at most 2^30; they may sum to less.

    `least`, in units of the shares, keeps a round of little weight from taking a whole step. All zero: all weights 0.
    """
    total = max(sum(shares), least)
    if total == 0:
        return (0,) * len(shares)
    return tuple(share * bound // total for share, bound in zip(shares, bounds, strict=True))


def round_reward(base_reward_wei: int, k: int, phi: int) -> int:
    """Give what a round of k of phi records pays in all, in wei: base * k // phi."""
    return base_reward_wei * k // phi


def rewards(reward_wei: int, thetas: Sequence[int]) -> tuple[int, ...]:
    """Divide `reward_wei` by theta: reward_i = R*cum_i//total - R*cum_(i-1)//total, in wei.

    cum_i = theta_1 + ... + theta_i in selection order, so the rewards telescope to exactly R and an entry with
    theta 0 gets 0. All zero: nobody is paid.
    """
    total = sum(thetas)
    if total == 0:
        return (0,) * len(thetas)
    paid: list[int] = []
    cumulated = before = 0
    for theta in thetas:
        cumulated += theta
        now = reward_wei * cumulated // total
        paid.append(now - before)
        before = now
    return tuple(paid)
