"""A scoring rule of your own: an update is worth the share of the round's other updates that point its way.

A job uses it as `scoring = "merit-majority:majority.1"`. To change it, add `majority.2` and leave this one as it is:
old rounds are audited by it.
"""

from learner.contribution import Round, Rule, Scored

FULL = 10**9  # theta is in parts per billion: integers alone, so that everybody finds the same bits


def score(round_: Round) -> Scored:
    """theta_i = 10^9 * #{j != i : u_i . u_j > 0} // (n - 1); alone in its round an update gets all."""
    others = max(1, len(round_.gram) - 1)
    agreeing = [sum(product > 0 for at, product in enumerate(row) if at != own) for own, row in enumerate(round_.gram)]
    alone = len(round_.gram) == 1
    return Scored(tuple(FULL if alone else FULL * int(count) // others for count in agreeing))


MAJORITY = Rule(score)
