"""FoolsGold: clients whose summed updates look alike count less (Fung and others, arXiv 1808.04866).

Meant against many identities of one attacker; a lone attacker, and a client that sends zeros, is paid in full.
"""

from learner.contribution.geometry import PPB, clip, cosine
from learner.contribution.round import Round
from learner.contribution.rule import Needs

NEEDS = Needs(sums=True)
QUARTER = PPB // 4
TERMS = 10
"""Terms of the logarithm's series: the next is below 10^-12 for arguments up to a quarter."""


def score(scored: Round) -> tuple[int, ...]:
    """Theta_i in ppb from S_ij = cos(h_i, h_j), h the sums of the clients' updates, 0 between entries of one client.

    v_i = max(0, max_j S_ij). Pardoning: S_ij becomes S_ij * v_i // v_j where v_i < v_j. w_i = 10^9 - (max_j S_ij kept
    within 0 to 10^9); w_i becomes 10^9 * w_i // max w; theta_i = logit(w_i) + 1/2, kept within 0 to 10^9. If every
    w is 0, all thetas are.
    """
    count = len(scored.clients)
    like = [
        [
            0
            if scored.clients[at] == scored.clients[other]
            else cosine(scored.sums[at][other], scored.sums[at][at], scored.sums[other][other])
            for other in range(count)
        ]
        for at in range(count)
    ]
    most = [max(row) for row in like]  # at least 0: a client is 0 to itself
    pardoned = [
        max(value * most[at] // most[other] if most[at] < most[other] else value for other, value in enumerate(row))
        for at, row in enumerate(like)
    ]
    unlike = [PPB - clip(value, 0, PPB) for value in pardoned]
    greatest = max(unlike)
    if greatest == 0:
        return (0,) * count
    return tuple(logit(PPB * value // greatest) for value in unlike)


def logit(weight: int) -> int:
    """ln(w / (1 - w)) + 1/2 for w in ppb, kept within 0 and 1, in ppb.

    With x = 2w - 1 the logarithm is 2 atanh(x) = 2 (x + x^3/3 + x^5/5 + ...); from |x| = 1/4 on the limits hold.
    """
    x = 2 * weight - PPB
    if abs(x) >= QUARTER:
        return PPB if x > 0 else 0
    series = sum(2 * x ** (2 * k + 1) // ((2 * k + 1) * PPB ** (2 * k)) for k in range(TERMS))
    return clip(series + PPB // 2, 0, PPB)
