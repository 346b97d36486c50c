"""Authenticity and label honesty: an update beside the references of each class, rightly and wrongly labelled."""

from collections.abc import Sequence
from typing import TypeAlias

from learner.contribution.geometry import cosines, median
from learner.contribution.round import Comparison

Classes: TypeAlias = list[tuple[int, int]]
"""(k, a[c,k]) of an update beside one server's references, where a[c,k] = cos(u, g[c,k]) in ppb."""


def authenticity(right: Sequence[Classes]) -> int | None:
    """Give q: the median over servers of max_c a[c,c] + min_c a[c,c]; `right` is an entry's of `right_cosines`.

    About 0.4 for honest updates, -0.4 for a flipped sign, 0 for noise. None if no server has a right-label reference.
    """
    found = [max(values) + min(values) for classes in right if (values := [value for _, value in classes])]
    return median(found) if found else None


def honesty(right: Sequence[Classes], wrong: Sequence[Classes]) -> int | None:
    """Give m: the median over servers of max_c a[c,c] - max over c != k of a[c,k], in ppb.

    Above 0 for honest labels, -0.25 where all labels are flipped. None if no server has both kinds of reference.
    """
    found = [
        max(value for _, value in classes) - max(value for _, value in others)
        for classes, others in zip(right, wrong, strict=True)
        if classes and others
    ]
    return median(found) if found else None


def right_cosines(entries: Sequence[Sequence[Comparison]]) -> list[list[Classes]]:
    """Give of each entry and server c, a[c,c] for each class c whose reference the server has and which is not zero."""
    return _cosines(entries, right=True)


def wrong_cosines(entries: Sequence[Sequence[Comparison]]) -> list[list[Classes]]:
    """Give k, a[c,k] for those of wrong labels."""
    return _cosines(entries, right=False)


def _cosines(entries: Sequence[Sequence[Comparison]], *, right: bool) -> list[list[Classes]]:
    rows: list[tuple[Classes, int]] = []
    dots: list[int] = []
    own_squared: list[int] = []
    squared: list[int] = []
    found: list[list[Classes]] = [[[] for _ in servers] for servers in entries]
    for servers, into in zip(entries, found, strict=True):
        for server, classes in zip(servers, into, strict=True):
            for (of, labelled), dot, norm in zip(server.labels, server.products, server.squared, strict=True):
                if of >= 0 and norm and (of == labelled) == right:
                    rows.append((classes, labelled))
                    dots.append(dot)
                    own_squared.append(server.own_squared)
                    squared.append(norm)
    # all in one go: a round has hundreds of them, and each alone takes longer to set up than to reckon
    for (classes, labelled), value in zip(rows, cosines(dots, own_squared, squared).tolist(), strict=True):
        classes.append((labelled, value))
    return found
