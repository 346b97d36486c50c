"""What a scoring rule may see of a round: exact integers, so that anybody can score it again bit for bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Label: TypeAlias = tuple[int, int]
"""(c, k): samples of class c labelled k. c = k is the right label, c = `REST` all samples of other classes than k;
`ROOT` is what the whole root set teaches."""

ROOT: Label = (-1, -1)
REST = -2


class Slope(NamedTuple):
    """How long a row's gradient is: the row over 2^`bits`; `probability` in ppb is what the model gave its label.

    That is the mean over the samples that the row is made of.
    """

    bits: int
    probability: int


History: TypeAlias = Mapping[int, tuple[int, ...]]
"""What a rule remembers of each client, by the client's number; what the integers mean is the rule's."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An update beside the references of one edge server at one version of the model, row by row.

    `labels[r]` says what row r is the reference of, `products[r]` = <u, g_r>, `squared[r]` = |g_r|^2 and
    `own_squared` = |u|^2, all of the vectors as published (whole or sketched). Where the rule asks for a window,
    `explained[j]` are the products of the update's j-th neighbour with the rows of right labels, in their order.
    Where it asks for contrasts, `contrasts[r]` = <g[k,k], g_r> if row r is (REST, k), else 0. Where it asks for slopes,
    and the server published some, products[r] / 2^`slopes[r].bits` is how many nats the update takes from the mean loss
    of row r's samples, to first order; else there are none.
    """

    labels: tuple[Label, ...]
    products: tuple[int, ...]
    squared: tuple[int, ...]
    own_squared: int
    explained: tuple[tuple[int, ...], ...] = ()
    contrasts: tuple[int, ...] = ()
    slopes: tuple[Slope, ...] = ()


@dataclass(frozen=True, slots=True)
class Pooled:
    """An update beside the references of all edge servers at one version as one table (`learner.pool`).

    `labels`: (k, k) and (REST, k) for each class k. `products[r]` = <u, g_r>, `gram[r][s]` = <g_r, g_s> and
    `own_squared` = |u|^2, all of the vectors as published (whole or sketched).
    """

    labels: tuple[Label, ...]
    products: tuple[int, ...]
    gram: tuple[tuple[int, ...], ...]
    own_squared: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The vectors of the window that an update is most like: `products[j]` = <u, x_j>, `gram[j][l]` = <x_j, x_l>."""

    products: tuple[int, ...] = ()
    gram: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A round's n entries in selection order; what a rule does not ask for in its `Needs` is empty.

    `gram` is the exact int64[n, n] of `learner.gram`. `samples[i]` is the number of samples that the job file credits
    to the client of entry i (0 where it says nothing), `clients[i]` that client's number, `updates[i]` its int16[d].
    `comparisons[i]` holds a comparison for each edge server that published references of entry i's base version,
    `newest[i]` for each that published some of the current version. `pooled[i]` is the comparison with all of its base
    version as one, None if there is no such table. `neighbours[i]` is entry i's part of the window.
    `sums[i][j]` = <h_i, h_j> with h_i the sum of all updates so far of entry i's client, this round's included.
    `weights[c]`: what the job says that class c counts, in ppb of the class that counts most; empty: all alike.
    """

    gram: NDArray[np.int64]
    samples: tuple[int, ...]
    clients: tuple[int, ...] = ()
    updates: Sequence[NDArray[np.int16]] = ()
    comparisons: tuple[tuple[Comparison, ...], ...] = ()
    newest: tuple[tuple[Comparison, ...], ...] = ()
    pooled: tuple[Pooled | None, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    history: History = field(default_factory=dict)
    sums: tuple[tuple[int, ...], ...] = ()
    weights: tuple[int, ...] = ()
