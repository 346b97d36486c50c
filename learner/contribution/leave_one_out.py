"""How far an update points where the others of its round point, none of which counts beyond the median norm."""

from learner.contribution.geometry import bound, cosine, lower_median
from learner.contribution.round import Round
from learner.contribution.rule import Scored, Step


def score(scored: Round) -> Scored:
    """theta_i = max(0, cos(u_i, sum over j != i of k_j u_j)) in ppb; k_j cuts |u_j| to the round's lower median norm.

    With K_i = sum_j k_j G_ij and T = sum_ij k_i k_j G_ij, the dot product is K_i - k_i G_ii and the squared norm of the
    others T - 2 k_i K_i + k_i^2 G_ii. The step weighs the cut updates by theta. One update alone has no others: 0.
    """
    rows: list[list[int]] = scored.gram.tolist()
    squared = [row[at] for at, row in enumerate(rows)]
    limit = lower_median(squared)
    bounds = tuple(bound(norm, limit) for norm in squared)
    toward = [sum(k * value for k, value in zip(bounds, row, strict=True)) for row in rows]
    whole = sum(k * value for k, value in zip(bounds, toward, strict=True))
    thetas = tuple(
        max(0, cosine(all_ - k * own, own, whole - 2 * k * all_ + k * k * own))
        for all_, k, own in zip(toward, bounds, squared, strict=True)
    )
    return Scored(thetas, Step(thetas, bounds))
