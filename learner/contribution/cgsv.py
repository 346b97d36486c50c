"""CGSV: reputation as a moving average of cosines to the sum of normalised updates (Xu and others, NeurIPS 2021).

There the reward is the part of the aggregate that a client gets back; here it is paid. A client is paid by its
reputation, so a zero update is paid as long as the reputation lasts.
"""

from learner.contribution.geometry import PPB, bound, clip, cosine, lower_median
from learner.contribution.round import Round
from learner.contribution.rule import Needs, Scored, Step

NEEDS = Needs(history=True)
KEPT_PERCENT = 95


def score(scored: Round) -> Scored:
    """theta_i = max(0, r), r the reputation in ppb of entry i's client with this update in it.

    H_ij = cos(u_i, u_j) in ppb, dot_i = sum_j H_ij, c_i = dot_i / sqrt(sum of all H) rounded as a cosine and kept
    within one. A client's first update makes r = c, each later one r = (95 r + 5 c) // 100. `history` is (r,).
    The step weighs by theta the updates cut to the lower median norm.
    """
    rows: list[list[int]] = scored.gram.tolist()
    squared = [row[at] for at, row in enumerate(rows)]
    dots = [
        sum(cosine(dot, own, other) for dot, other in zip(row, squared, strict=True))
        for row, own in zip(rows, squared, strict=True)
    ]
    whole = max(0, sum(dots))
    history = dict(scored.history)
    cosines, thetas = [], []
    for dot, client in zip(dots, scored.clients, strict=True):
        found = clip(cosine(dot, PPB, whole), -PPB, PPB)
        cosines.append(found)
        before = history.get(client)
        now = found if before is None else (KEPT_PERCENT * before[0] + (100 - KEPT_PERCENT) * found) // 100
        history[client] = (now,)
        thetas.append(max(0, now))
    limit = lower_median(squared)
    step = Step(tuple(thetas), tuple(bound(norm, limit) for norm in squared))
    return Scored(tuple(thetas), step, history, {"cosine": tuple(cosines)})
