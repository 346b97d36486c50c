"""The rule `anchored`, from its parts to acceptance, step and pay."""

from collections.abc import Sequence
from functools import partial

from learner.contribution.anchored.labels import authenticity, honesty
from learner.contribution.anchored.novelty import novelty
from learner.contribution.anchored.reputation import Record
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.geometry import PPB, clip, cosine, lower_median
from learner.contribution.gram_shapley import bounds, values
from learner.contribution.round import Round
from learner.contribution.rule import Needs, Rule, Scored, Step, Window

NEEDS = Needs(labels=True, window=Window(rounds=8, steps=6, nearest=3), history=True)


def anchored(limits: Thresholds | None = None, *, shapley: bool = False) -> Rule:
    """Make the rule with these thresholds; `shapley`: three quarters of the pay follow the Gram-Shapley value.

    A delay shortens the step, not the pay: an update is judged by the references of its own base version.
    """
    needs = NEEDS if not shapley else Needs(labels=True, newest_root=True, window=NEEDS.window, history=True)
    chosen = Thresholds() if limits is None else limits
    return Rule(partial(score, limits=chosen, shapley=shapley), needs, pay_discounted=False)


def score(scored: Round, *, limits: Thresholds, shapley: bool) -> Scored:
    """Judge each entry in selection order and pay the accepted ones.

    theta_i = clip(q, 0, 1/2) * nu * clip(1 + m / ramp, 0, 1) if accepted, else 0, in ppb, each product rounded down.
    The step takes accepted updates by nu, cut to 3/2 of the lower median norm. `history` holds `Record`s. The parts:
    authenticity q, honesty m, novelty n, new (nu), mean_authenticity Q, mean_honesty M; refused, judged and accepted
    are 0 or 10^9. An update that is neither refused nor can be judged, because no server has references of its base,
    leaves its client's record as it is and earns nothing.
    """
    refused = _refused(scored, limits)
    history = dict(scored.history)
    parts: dict[str, list[int]] = {
        name: []
        for name in (
            "authenticity",
            "honesty",
            "novelty",
            "new",
            "mean_authenticity",
            "mean_honesty",
            "refused",
            "judged",
            "accepted",
        )
    }
    thetas: list[int] = []
    for at, client in enumerate(scored.clients):
        servers = scored.comparisons[at]
        found = authenticity(servers)
        q, m = found or 0, honesty(servers) or 0
        unexplained = novelty(scored.neighbours[at], servers)
        new = clip(PPB * unexplained // limits.novelty_ramp, 0, PPB)
        counted_q = limits.refused_authenticity if refused[at] else q
        counted_m = limits.refused_honesty if refused[at] else m
        if new < limits.stale_novelty:
            counted_q = min(counted_q, 0)
        judged = refused[at] or found is not None
        record = Record(*history.get(client, ()))
        if judged:
            record = record.after(counted_q, counted_m, limits)
            history[client] = tuple(record)
        accepted = (
            found is not None
            and counted_q > limits.least_authenticity
            and counted_m > limits.least_honesty
            and record.stands(limits)
        )
        honest = clip(PPB + PPB * m // limits.honesty_ramp, 0, PPB)
        theta = clip(q, 0, PPB // 2) * new // PPB * honest // PPB
        thetas.append(theta if accepted else 0)
        row = (
            q,
            m,
            unexplained,
            new,
            record.mean_authenticity(limits),
            record.mean_honesty(),
            PPB * refused[at],
            PPB * judged,
            PPB * accepted,
        )
        for name, value in zip(parts, row, strict=True):
            parts[name].append(value)
    cut = bounds(scored)
    shares = tuple(new if taken else 0 for new, taken in zip(parts["new"], parts["accepted"], strict=True))
    named = {name: tuple(column) for name, column in parts.items()}
    paid = _pay(scored, thetas, cut) if shapley else tuple(thetas)
    if shapley:
        named["usefulness"] = tuple(thetas)
    return Scored(paid, Step(shares, cut, limits.floor), history, named)


def _refused(scored: Round, limits: Thresholds) -> list[bool]:
    """Too long, too short, or a near copy of an earlier entry of the round."""
    rows: list[list[int]] = scored.gram.tolist()
    squared = [row[at] for at, row in enumerate(rows)]
    typical = lower_median(squared)
    return [
        own > limits.longest**2 * typical
        or limits.shortest**2 * own < typical
        or any(cosine(row[other], own, squared[other]) > limits.copy for other in range(at))
        for at, (row, own) in enumerate(zip(rows, squared, strict=True))
    ]


def _pay(scored: Round, thetas: Sequence[int], cut: Sequence[int]) -> tuple[int, ...]:
    """Pay a quarter by theta, three quarters by Gram-Shapley value among those with a theta; in ppb of the round.

    A value counts in full from theta 0.1 on, below in proportion. Without positive values all of it goes by theta.
    """
    entries = [at for at, theta in enumerate(thetas) if theta]
    total = sum(thetas)
    found = dict(zip(entries, (max(0, value) for value in values(scored, entries, cut)), strict=True))
    positive = sum(found.values())
    paid = []
    for at, theta in enumerate(thetas):
        if not theta:
            paid.append(0)
        elif positive == 0:
            paid.append(PPB * theta // total)
        else:
            counted = min(10 * theta, PPB)
            paid.append(PPB * theta // (4 * total) + 3 * counted * found[at] // (4 * positive))
    return tuple(paid)
