"""The rule `decomposed`: an update is taken apart into what right and what wrong labels teach.

As `calibrated` it holds clients beside the median client. It looks closer: the references of all edge servers are one
table, which has less of chance in it, and an update is decomposed into all of its rows at once, none of which may count
against it.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learner.contribution.anchored.labels import authenticity, right_cosines
from learner.contribution.anchored.novelty import novelty
from learner.contribution.anchored.refusal import near_copies, odd_lengths
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.calibrated import MEMORY, WINDOW, Pay, loss_pay
from learner.contribution.geometry import PPB, clip, cosines, lower_median, median
from learner.contribution.gram_shapley import bounds
from learner.contribution.nonnegative import UNIT, coefficients
from learner.contribution.price import priced
from learner.contribution.round import REST, Comparison, History, Label, Pooled, Round
from learner.contribution.rule import Needs, Rule, Scored, Step
from learner.errors import InvalidRound

LIMITS = Thresholds(longest=5)
"""Novelty and refusal as in `calibrated`, but who alone has a label sends several times as long updates."""
LEAST_EXPLAINED = PPB // 2
MOST_EFFORT = 3
"""A longer one passes if right labels explain so much of it and its `effort` is at most so many times the usual."""
TOGETHER = 4
"""So many times less counts in authenticity how like an update is to all right labels together."""
MEASURES = ("authenticity", "explained", "honesty", "consistency")
STANDING = (400, 500, 650, 750)
"""A client is paid while each measure is above so many thousandths of the median client's (ADR-decomposed.md)."""
WORTHLESS = tuple(standing - 100 for standing in STANDING)
"""What so many thousandths of the median client's are is worth nothing; from there to all of it pay rises evenly."""
PARTS = (
    *MEASURES,
    "new",
    *(f"mean_{name}" for name in MEASURES),
    *(f"typical_{name}" for name in MEASURES),
    "refused",
    "judged",
    "accepted",
)


class Share(NamedTuple):
    """A measure of an update, or a mean of several: a part of a whole, so that more evidence weighs more."""

    part: int
    whole: int

    @property
    def ratio(self) -> int:
        """The part of the whole in ppb; 0 where there is nothing to measure."""
        return PPB * self.part // self.whole if self.whole > 0 else 0


NOTHING = Share(0, 0)


class Typical(NamedTuple):
    """The median client: of each measure the lower median of the ratios in ppb, and that of the wholes."""

    ratios: tuple[int, ...]
    wholes: tuple[int, ...]


class Apart(NamedTuple):
    """An update taken apart: explained, honesty and consistency, and by class how much it has of its right label.

    `together` is its cosine in ppb with the sum of all right labels.
    """

    shares: tuple[Share, ...]
    right: Mapping[int, int]
    together: int


class Record(NamedTuple):
    """What is remembered of a client: judged updates, `MEMORY` at most, and the moving mean of each measure."""

    judged: int = 0
    shares: tuple[Share, ...] = (NOTHING,) * len(MEASURES)

    @classmethod
    def of(cls, values: Sequence[int]) -> "Record":
        """Read what `values` wrote; nothing is a client that is not known. `InvalidRound` for another rule's record."""
        if not values:
            return cls()
        judged, *flat = values
        if len(flat) != 2 * len(MEASURES):
            reason = f"a client is remembered by {len(values)} integers, not {1 + 2 * len(MEASURES)}"
            raise InvalidRound(reason=reason)
        return cls(judged, tuple(Share(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)))

    @property
    def values(self) -> tuple[int, ...]:
        """As integers alone, for a `History`."""
        return (self.judged, *(value for share in self.shares for value in share))

    def after(self, seen: Sequence[Share]) -> "Record":
        """Add an update."""
        judged = min(self.judged + 1, MEMORY)
        return Record(
            judged,
            tuple(
                Share(mean.part + (own.part - mean.part) // judged, mean.whole + (own.whole - mean.whole) // judged)
                for mean, own in zip(self.shares, seen, strict=True)
            ),
        )

    def beside(self, typical: Typical) -> tuple[Share, ...]:
        """Give the means with one more update, the median client's: a newcomer is nearly as good as that."""
        count = self.judged + 1
        return tuple(
            Share(
                (ratio * whole // PPB + self.judged * mean.part) // count, (whole + self.judged * mean.whole) // count
            )
            for mean, ratio, whole in zip(self.shares, *typical, strict=True)
        )

    def stands(self, typical: Typical) -> bool:
        """Whether every measure is above `STANDING` of the median client's."""
        return all(
            1_000 * mean.ratio > standing * max(0, middle)
            for mean, middle, standing in zip(self.beside(typical), typical.ratios, STANDING, strict=True)
        )


def decomposed(*, losses: bool = False) -> Rule:
    """Make the rule; `losses`: pay follows the Shapley value of the loss among those who are accepted.

    A delay shortens the step, not the pay: an update is judged by the references of its own base version.
    """
    needs = Needs(pooled=True, contrasts=losses, slopes=True, window=WINDOW, history=True)
    return Rule(partial(score, pay=loss_pay if losses else None), needs, pay_discounted=False)


def score(scored: Round, *, pay: Pay | None) -> Scored:
    """Take all updates apart, then hold each and its client beside the median client, clients of this round included.

    Of each update: `authenticity` as in `calibrated`, or a quarter of its cosine with all right labels together, which
    an update of many labels is more like than any one of them; `explained`, the root of the part of its square that
    right labels explain; `honesty`, the share of right labels in what explains it, each label by how much the update
    has of it; and `consistency`, the same with all labels alike, which finds what is spread over many wrong ones. A
    client stands if its mean of each, with one more update at the median client's, is above `STANDING` of that; then
    theta_i = nu_i * min over the measures of `worth`(update and mean together), else 0. Lengths are judged by
    `unusual`; near copies, what is not new, what cannot be judged, the step and the price are as in `calibrated`.
    `history` holds `Record.values`. The parts: each measure, its mean_ and its typical_; new (nu); refused, judged and
    accepted are 0 or 10^9; with `pay` usefulness, which is theta before it.
    """
    taken_apart, right = _decompositions(scored.pooled), right_cosines(scored.comparisons)
    odd, copied = unusual(scored, taken_apart), near_copies(scored, LIMITS)
    history = dict(scored.history)
    found: list[tuple[tuple[Share, ...], int, bool]] = []
    for at, client in enumerate(scored.clients):
        apart, q = taken_apart[at], authenticity(right[at])
        of = apart.shares if apart else None
        unexplained = novelty(scored.neighbours[at], scored.comparisons[at], right[at])
        new = clip(PPB * unexplained // LIMITS.novelty_ramp, 0, PPB)
        judged = odd[at] or (q is not None and of is not None)
        if odd[at]:
            rest = [Share(0, share.whole) for share in of or ()] or [NOTHING] * 3
            seen = (Share(LIMITS.refused_authenticity, PPB), *rest)
        else:
            q = q or 0
            if apart and apart.together > 0:  # else q, which may be lower still: what harms counts in full
                q = max(q, apart.together // TOGETHER)
            seen = (Share(min(q, 0) if new < LIMITS.stale_novelty else q, PPB), *(of or [NOTHING] * 3))
        found.append((seen, new, judged))
        if judged:
            history[client] = Record.of(history.get(client, ())).after(seen).values
    typical = typical_client(history)
    thetas: list[int] = []
    rows: list[tuple[int, ...]] = []
    for at, client in enumerate(scored.clients):
        seen, new, judged = found[at]
        record = Record.of(history.get(client, ()))
        means = record.beside(typical)
        refused = odd[at] or copied[at]
        accepted = judged and not refused and record.stands(typical)
        least = min(
            worth(Share(own.part + mean.part, own.whole + mean.whole).ratio, middle, worthless)
            for own, mean, middle, worthless in zip(seen, means, typical.ratios, WORTHLESS, strict=True)
        )
        thetas.append(new * least // PPB if accepted else 0)
        ratios = (share.ratio for share in (*seen, *means))
        rows.append(_row(ratios, typical.ratios, new, PPB * refused, PPB * judged, PPB * accepted))
    parts = dict(zip(PARTS, zip(*rows, strict=True), strict=True))
    cut = bounds(scored)
    shares = tuple(new if theta else 0 for (_, new, _), theta in zip(found, thetas, strict=True))
    worths, step, price = priced(scored, thetas, Step(shares, cut, LIMITS.floor))
    parts |= price
    if pay is None:
        return Scored(tuple(worths), step, history, parts)
    return Scored(pay(scored, worths, cut), step, history, parts | {"usefulness": tuple(worths)})


def _row(ratios: Iterable[int], typical: Sequence[int], new: int, *flags: int) -> tuple[int, ...]:
    """Put an entry's parts in the order of `PARTS`."""
    both = tuple(ratios)
    own, means = both[: len(MEASURES)], both[len(MEASURES) :]
    return (*own, new, *means, *typical, *flags)


def worth(value: int, typical: int, worthless: int) -> int:
    """Give in ppb what rises from nothing at `worthless` thousandths of `typical` to all at it, and no further.

    Where the median client has nothing to show (`typical` is not positive), any positive value is worth all.
    """
    if typical <= 0:
        return PPB if value > 0 else 0
    return clip(PPB * (1_000 * value - worthless * typical) // ((1_000 - worthless) * typical), 0, PPB)


def typical_client(history: History) -> Typical:
    """Give the lower medians over all clients with judged updates of each measure's ratio and whole."""
    known = [values for values in history.values() if values and values[0]]
    if not known:
        return Typical((0,) * len(MEASURES), (0,) * len(MEASURES))
    _, *columns = zip(*known, strict=True)  # not record by record: there may be thousands of clients
    parts, wholes = columns[::2], columns[1::2]
    return Typical(
        tuple(
            lower_median([Share(*pair).ratio for pair in zip(*pairs, strict=True)])
            for pairs in zip(parts, wholes, strict=True)
        ),
        tuple(map(lower_median, wholes)),
    )


def unusual(scored: Round, taken_apart: Sequence[Apart | None]) -> list[bool]:
    """Say of each entry whether it is too short, or longer than the labels that it teaches make it.

    The gradient of a label that the model does not know is long, so who alone has it sends long updates with as many
    steps as anyone. An update of more than `LIMITS.longest` usual lengths is therefore not refused if right labels
    explain `LEAST_EXPLAINED` of it and its effort is at most `MOST_EFFORT` times the lower median of those above 0 of
    updates of usual length: who inflates its own does not make that usual.
    """
    found = odd_lengths(scored, LIMITS)
    if not any(found):
        return found
    squared = [int(scored.gram[at, at]) for at in range(len(found))]
    usual = lower_median(squared)
    efforts = [
        effort(servers, apart.right, own) if apart else 0
        for servers, apart, own in zip(scored.comparisons, taken_apart, squared, strict=True)
    ]
    most = MOST_EFFORT * lower_median([one for one, out in zip(efforts, found, strict=True) if one and not out] or [0])
    return [
        out and not (apart and apart.shares[0].part >= LEAST_EXPLAINED and own > usual and 0 < one <= most)
        for out, apart, own, one in zip(found, taken_apart, squared, efforts, strict=True)
    ]


def effort(servers: Sequence[Comparison], right: Mapping[int, int], squared: int) -> int:
    """Say how many gradients long an update u with |u|^2 = `squared` is; of unit only that all updates have the same.

    That is |u| * sum over the classes k of `right`[k] / |gradient of k|: c where u is c times a mean of gradients. The
    inverse of a length is the median over the servers with slopes, times 2^512. 0 if none tells that of a class which
    the update has something of.
    """
    inverse: dict[int, list[int]] = {}
    for server in servers:
        if server.slopes:
            for (of, k), norm, slope in zip(server.labels, server.squared, server.slopes, strict=True):
                if of == k and norm:
                    inverse.setdefault(k, []).append((1 << 512 + slope.bits) // isqrt(norm))
    taught = {k: much for k, much in right.items() if much}
    if not taught.keys() <= inverse.keys():
        return 0
    return isqrt(squared) * sum(much * median(inverse[k]) for k, much in taught.items())


def _decompositions(pooled: Sequence[Pooled | None]) -> list[Apart | None]:
    """Take each update apart, those beside tables with the same labels together."""
    found: list[Apart | None] = [None] * len(pooled)
    alike: dict[tuple[Label, ...], list[int]] = {}
    for at, table in enumerate(pooled):
        if table is not None:
            alike.setdefault(table.labels, []).append(at)
    for labels, entries in alike.items():
        tables = [table for at in entries if (table := pooled[at])]
        versions = list(dict.fromkeys(table.gram for table in tables))
        version = [versions.index(table.gram) for table in tables]
        norms = np.array([[row[at] for at, row in enumerate(gram)] for gram in versions], dtype=object)
        between = _units(cosines(versions, norms[:, :, None], norms[:, None, :]))[version]
        squared = [[table.own_squared] for table in tables]
        products = _units(cosines([table.products for table in tables], squared, norms[version]))
        sizes = coefficients(between, products)
        for at, rows, own, of in zip(entries, between.tolist(), products.tolist(), sizes.tolist(), strict=True):
            right = {k: size for (c, k), size in zip(labels, of, strict=True) if c == k}
            found[at] = Apart(_shares(labels, rows, own, of), right, _together(labels, rows, own))
    return found


def _units(ppb: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give cosines in the units of `coefficients`, rounded down."""
    return ppb // (PPB // UNIT)


def _shares(
    labels: Sequence[Label], cosines: Sequence[Sequence[int]], products: Sequence[int], sizes: Sequence[int]
) -> tuple[Share, ...]:
    """Give explained, honesty and consistency of an update, from its cosines with the rows and what it has of each.

    A class counts by how far its two rows are apart: by the sine of their angle.
    """
    rows = {label: row for row, label in enumerate(labels)}
    explained = 0
    right, whole, right_alike, whole_alike = 0, 0, 0, 0
    for (of, k), row in rows.items():
        other = rows[(REST, k) if of == k else (k, k)]
        alike = sizes[row] * isqrt(UNIT * UNIT - min(UNIT, abs(cosines[row][other])) ** 2)
        much = alike * max(0, products[row])
        whole += much
        whole_alike += alike
        if of == k:
            explained += sizes[row] * products[row]
            right += much
            right_alike += alike
    return (
        Share(10 * isqrt(max(0, explained)), PPB),
        Share(right // UNIT**2, whole // UNIT**2),
        Share(right_alike // UNIT, whole_alike // UNIT),
    )


def _together(labels: Sequence[Label], cosines: Sequence[Sequence[int]], products: Sequence[int]) -> int:
    """Give the cosine in ppb of an update and the sum of the rows (k, k), each of unit length; 0 if that is nothing."""
    right = [row for row, (of, k) in enumerate(labels) if of == k]
    squared = sum(cosines[row][other] for row in right for other in right)
    return min(PPB, PPB * sum(products[row] for row in right) // isqrt(UNIT * squared)) if squared > 0 else 0
