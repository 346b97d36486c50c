"""Authenticity and label honesty: an update beside the references of each class, rightly and wrongly labelled."""

from collections.abc import Sequence

from learner.contribution.geometry import cosine, median
from learner.contribution.round import Comparison


def authenticity(servers: Sequence[Comparison]) -> int | None:
    """Give q: the median over servers of max_c a[c,c] + min_c a[c,c], a[c,k] = cos(u, g[c,k]) in ppb.

    About 0.4 for honest updates, -0.4 for a flipped sign, 0 for noise. None if no server has a right-label reference.
    """
    found = [max(right) + min(right) for server in servers if (right := right_cosines(server))]
    return median(found) if found else None


def honesty(servers: Sequence[Comparison]) -> int | None:
    """Give m: the median over servers of max_c a[c,c] - max over c != k of a[c,k], in ppb.

    Above 0 for honest labels, -0.25 where all labels are flipped. None if no server has both kinds of reference.
    """
    found = [
        max(right) - max(value for _, value in wrong)
        for server in servers
        if (right := right_cosines(server)) and (wrong := _cosines(server, right=False))
    ]
    return median(found) if found else None


def right_cosines(server: Comparison) -> list[int]:
    """Give a[c,c] for each class c whose reference the server has and which is not zero."""
    return [value for _, value in right_classes(server)]


def right_classes(server: Comparison) -> list[tuple[int, int]]:
    """Give c, a[c,c] for the same classes."""
    return _cosines(server, right=True)


def _cosines(server: Comparison, *, right: bool) -> list[tuple[int, int]]:
    return [
        (of, cosine(dot, server.own_squared, squared))
        for (of, labelled), dot, squared in zip(server.labels, server.products, server.squared, strict=True)
        if of >= 0 and squared and (of == labelled) == right
    ]
