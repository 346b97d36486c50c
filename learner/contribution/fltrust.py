"""FLTrust: an update counts by its cosine to a root update that the server trains itself (arXiv 2012.13995).

With several edge servers, each with root samples of its own, the median of their cosines counts, so that fewer than
half of them cannot lie an attacker in. FLTrust scales every update to the root update's length; here longer ones are
cut to it and shorter ones stay, since weights above 1 would leave the bounds of exact aggregation.
"""

from learner.contribution.geometry import WHOLE, bound, cosine, lower_median, median
from learner.contribution.round import ROOT, Comparison, Round
from learner.contribution.rule import Needs, Scored, Step

NEEDS = Needs(root=True)


def score(scored: Round) -> Scored:
    """theta_i = max(0, median over servers of cos(u_i, r)) in ppb, r their root updates of u_i's base version.

    A server without a root update, or with a zero one, does not count; without any theta_i = 0. The step weighs by
    theta the updates cut to the lower median of the root updates' norms.
    """
    thetas, bounds = [], []
    for at, servers in enumerate(scored.comparisons):
        found = [(dot, squared, server.own_squared) for server in servers for dot, squared in root_of(server)]
        if not found:
            thetas.append(0)
            bounds.append(WHOLE)
            continue
        thetas.append(max(0, median([cosine(dot, own, squared) for dot, squared, own in found])))
        bounds.append(bound(int(scored.gram[at, at]), lower_median([squared for _, squared, _ in found])))
    return Scored(tuple(thetas), Step(tuple(thetas), tuple(bounds)))


def root_of(server: Comparison) -> list[tuple[int, int]]:
    """Give <u, r> and |r|^2 of a server's root update r, nothing if it sent none or zeros."""
    rows = zip(server.labels, server.products, server.squared, strict=True)
    return [(dot, squared) for label, dot, squared in rows if label == ROOT and squared]
