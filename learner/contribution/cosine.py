"""The paper's contribution rate: how far an update points where the round as a whole points (BFL-MEC)."""

from learner.contribution.geometry import cosine
from learner.contribution.round import Round


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = max(0, cos(u_i, g)) in ppb, rounded down, with g the plain sum of the round's updates, u_i included.

    From the Gram matrix alone: u_i . g = sum_j G_ij and |g|^2 = sum_ij G_ij, in Python integers because these sums
    may leave int64. theta_i = isqrt(10^18 * (u_i . g)^2 // (|u_i|^2 |g|^2)), at most 10^9 by Cauchy-Schwarz;
    0 if the dot product is not positive or a norm is 0.
    """
    rows: list[list[int]] = scored.gram.tolist()
    dots = [sum(row) for row in rows]
    whole = sum(dots)
    squared = [row[at] for at, row in enumerate(rows)]
    return tuple(max(0, cosine(dot, own, whole)) for dot, own in zip(dots, squared, strict=True))
