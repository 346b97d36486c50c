"""The rule `calibrated`: `anchored` without thresholds of its own, everything beside the median client.

What an honest update scores depends on model, data and how far training has come. What does not is that fewer than half
of the clients attack: so the median client is honest, and a client is held beside it. One client is one vote, however
many updates it sends.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from learner.contribution import loss_shapley
from learner.contribution.anchored.labels import authenticity, right_cosines
from learner.contribution.anchored.novelty import novelty
from learner.contribution.anchored.pay import shapley_pay
from learner.contribution.anchored.refusal import near_copies, odd_lengths
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.geometry import PPB, clip, cosine, lower_median, median
from learner.contribution.gram_shapley import bounds, relative
from learner.contribution.price import priced
from learner.contribution.round import REST, Comparison, History, Round
from learner.contribution.rule import Needs, Rule, Scored, Step, Window

WINDOW = Window(rounds=8, steps=6, nearest=3)
MEMORY = 8
"""A client's means forget: from its eighth update on the newest counts an eighth, so that nobody lives on its past."""
STANDING = 600_000_000
"""A client is paid while both its means are above this share (ppb) of the median client's.

Where attackers were a quarter, the means of honest clients lay above (all on digits, nine of ten on MNIST), those of
blends, flipped signs and most flipped labels at half of the median and less (ADR-default.md).
"""
COLLINEAR = 10**15
"""Two references whose 10^18 - cos^2 (in ppb) is below this tell nothing apart: an angle of less than two degrees."""
PARTS = (
    "authenticity",
    "honesty",
    "new",
    "mean_authenticity",
    "mean_honesty",
    "typical_authenticity",
    "typical_honesty",
    "refused",
    "judged",
    "accepted",
)
Pay: TypeAlias = Callable[[Round, Sequence[int], Sequence[int]], tuple[int, ...]]
"""(round, thetas, bounds) -> what each entry is paid, in ppb."""
LIMITS = Thresholds()
"""Novelty and refusal, which are relative in `anchored` already: to the update, and to the round's median norm."""


class Record(NamedTuple):
    """What is remembered of a client: judged updates, `MEMORY` at most; moving means of both statistics in ppb."""

    judged: int = 0
    authenticity: int = 0
    honesty: int = 0

    def after(self, q: int, b: int) -> "Record":
        """Add an update."""
        judged = min(self.judged + 1, MEMORY)
        return Record(
            judged,
            self.authenticity + (q - self.authenticity) // judged,
            self.honesty + (b - self.honesty) // judged,
        )

    def beside(self, typical: "Record") -> tuple[int, int]:
        """Both means with one more observation at the median client's: a newcomer is nearly as good as that."""
        q, b = (
            (middle + self.judged * own) // (self.judged + 1)
            for own, middle in ((self.authenticity, typical.authenticity), (self.honesty, typical.honesty))
        )
        return q, b

    def stands(self, typical: "Record") -> bool:
        """Whether both means are above `STANDING` of the median client's."""
        means = zip(self.beside(typical), typical[1:], strict=True)
        return all(PPB * mean > STANDING * max(0, middle) for mean, middle in means)


def calibrated(*, shapley: bool = False, losses: bool = False) -> Rule:
    """Make the rule; `shapley`: three quarters of the pay follow the Gram-Shapley value; `losses`: all the loss's.

    A delay shortens the step, not the pay: an update is judged by the references of its own base version.
    """
    needs = Needs(contrasts=True, slopes=losses, newest_root=shapley, window=WINDOW, history=True)
    return Rule(
        partial(score, pay=loss_pay if losses else shapley_pay if shapley else None), needs, pay_discounted=False
    )


def score(scored: Round, *, pay: Pay | None) -> Scored:
    """Judge all entries, then hold each and its client beside the median client, clients of this round included.

    Q, B are the client's means with one more observation at the median client's. The client stands if both are above
    `STANDING` of that; then theta_i = nu_i * min(worth((q_i + Q) // 2), worth((b_i + B) // 2)), rounded down, else 0:
    half of what an update is worth is who sends it, so that one bad draw of an honest client does not cost it all. The
    step takes by nu the updates with a theta, cut to 3/2 of the lower median norm. Refused are updates of odd length,
    which count as q = -0.5, b = 0, and near copies, which count as what they are: honest clients with the same labels
    send some, and who copied whom is not known. One that is not new counts as q = 0 at most. An update of usual length
    that cannot be judged, because no server has the references of its base, leaves its client's record as it is and
    earns nothing. `history` holds `Record`s. `pay` says what to pay in the place of theta, the part "usefulness" then.
    Where the job weighs classes, both are times the `price`. The parts: authenticity q, honesty b, new (nu),
    mean_authenticity Q, mean_honesty B, typical_authenticity, typical_honesty (the medians);
    refused, judged and accepted are 0 or 10^9.
    """
    odd, copied = odd_lengths(scored, LIMITS), near_copies(scored, LIMITS)
    history = dict(scored.history)
    right = right_cosines(scored.comparisons)
    found: list[tuple[int, int, int, bool]] = []
    for at, client in enumerate(scored.clients):
        servers = scored.comparisons[at]
        q, b = authenticity(right[at]), honesty(servers)
        new = clip(PPB * novelty(scored.neighbours[at], servers, right[at]) // LIMITS.novelty_ramp, 0, PPB)
        judged = odd[at] or (q is not None and b is not None)
        q, b = q or 0, b or 0
        if new < LIMITS.stale_novelty:
            q = min(q, 0)
        if odd[at]:
            q, b = LIMITS.refused_authenticity, 0
        found.append((q, b, new, judged))
        if judged:
            history[client] = tuple(Record(*history.get(client, ())).after(q, b))
    typical = median_client(history)
    thetas: list[int] = []
    rows: list[tuple[int, ...]] = []
    for at, client in enumerate(scored.clients):
        q, b, new, judged = found[at]
        record = Record(*history.get(client, ()))
        means = record.beside(typical)
        refused = odd[at] or copied[at]
        accepted = judged and not refused and record.stands(typical)
        least = min(
            worth((own + mean) // 2, middle) for own, mean, middle in zip((q, b), means, typical[1:], strict=True)
        )
        thetas.append(new * least // PPB if accepted else 0)
        rows.append((q, b, new, *means, *typical[1:], PPB * refused, PPB * judged, PPB * accepted))
    parts = dict(zip(PARTS, zip(*rows, strict=True), strict=True))
    cut = bounds(scored)
    shares = tuple(new if theta else 0 for (_, _, new, _), theta in zip(found, thetas, strict=True))
    worths, step, price = priced(scored, thetas, Step(shares, cut, LIMITS.floor))
    parts |= price
    if pay is not None:
        parts["usefulness"] = tuple(worths)
    paid = tuple(worths) if pay is None else pay(scored, worths, cut)
    return Scored(paid, step, history, parts)


def loss_pay(scored: Round, thetas: Sequence[int], cut: Sequence[int]) -> tuple[int, ...]:
    """Pay by the Shapley value of the loss among those with a theta; in ppb of the greatest.

    A value counts in full from theta 0.1 on, below in proportion. Without positive values all of it goes by theta.
    """
    entries = [at for at, theta in enumerate(thetas) if theta]
    found = dict(zip(entries, loss_shapley.values(scored, entries, cut), strict=True))
    paid = relative([min(10 * theta, PPB) * max(0, found.get(at, 0)) for at, theta in enumerate(thetas)])
    return paid if any(paid) else tuple(thetas)


def worth(value: int, typical: int) -> int:
    """Give clip(2 value / typical - 1, 0, 1) in ppb: a typical update is worth all, half of that nothing.

    Where the median client has nothing to show (`typical` is not positive), any positive value is worth all.
    """
    if typical <= 0:
        return PPB if value > 0 else 0
    return clip(2 * PPB * value // typical - PPB, 0, PPB)


def median_client(history: History) -> Record:
    """Give the lower median over all clients with judged updates of each mean; `judged` says how many they are."""
    records = [record for values in history.values() if (record := Record(*values)).judged]
    if not records:
        return Record()
    return Record(
        len(records),
        lower_median([record.authenticity for record in records]),
        lower_median([record.honesty for record in records]),
    )


def honesty(servers: Sequence[Comparison]) -> int | None:
    """Give b: of what explains the update, the share of right labels, in ppb.

    For each class k, r = cos(u, g[k,k]), w = cos(u, g[REST,k]) and c, the cosine between the two, are medians over the
    servers that have both. The update's direction regressed on those two directions has the coefficients
    (r - c w)/(1 - c^2) and (w - c r)/(1 - c^2). b is what the first are of all positive ones, both weighed by
    max(r, w, 0); 0 if none is positive. A class whose two references are missing or collinear does not count; None if
    there is no other.
    """
    cosines: dict[int, list[tuple[int, int, int]]] = {}
    for server in servers:
        for k, triple in _pairs(server):
            cosines.setdefault(k, []).append(triple)
    right = wrong = 0
    seen = False
    for triples in cosines.values():
        r, w, c = (median(column) for column in zip(*triples, strict=True))
        apart = PPB * PPB - c * c
        if apart < COLLINEAR:
            continue
        seen = True
        weight = max(r, w, 0)
        right += weight * max(0, PPB * (PPB * r - c * w) // apart)
        wrong += weight * max(0, PPB * (PPB * w - c * r) // apart)
    if not seen:
        return None
    return PPB * right // (right + wrong) if right + wrong else 0


def _pairs(server: Comparison) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Give k, (r, w, c) for each class that a server has both references of."""
    rows = {label: at for at, label in enumerate(server.labels) if server.squared[at]}
    for (of, k), rest in rows.items():
        own = rows.get((k, k))
        if of == REST and own is not None:
            yield (
                k,
                (
                    cosine(server.products[own], server.own_squared, server.squared[own]),
                    cosine(server.products[rest], server.own_squared, server.squared[rest]),
                    cosine(server.contrasts[rest], server.squared[rest], server.squared[own]),
                ),
            )
