"""The rule `anchored`, from its parts to acceptance, step and pay."""

from functools import partial

from learner.contribution.anchored.labels import authenticity, honesty, right_cosines, wrong_cosines
from learner.contribution.anchored.novelty import novelty
from learner.contribution.anchored.pay import shapley_pay
from learner.contribution.anchored.refusal import refusals
from learner.contribution.anchored.reputation import Record
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.geometry import PPB, clip
from learner.contribution.gram_shapley import bounds
from learner.contribution.price import priced
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
    The step takes accepted updates by nu, cut to 3/2 of the lower median norm. Where the job weighs classes, both are
    times the `price`. `history` holds `Record`s. The parts:
    authenticity q, honesty m, novelty n, new (nu), mean_authenticity Q, mean_honesty M; refused, judged and accepted
    are 0 or 10^9. An update that is neither refused nor can be judged, because no server has references of its base,
    leaves its client's record as it is and earns nothing.
    """
    refused = refusals(scored, limits)
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
    right, wrong = right_cosines(scored.comparisons), wrong_cosines(scored.comparisons)
    for at, client in enumerate(scored.clients):
        found = authenticity(right[at])
        q, m = found or 0, honesty(right[at], wrong[at]) or 0
        unexplained = novelty(scored.neighbours[at], scored.comparisons[at], right[at])
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
    worths, step, price = priced(scored, thetas, Step(shares, cut, limits.floor))
    named = {name: tuple(column) for name, column in parts.items()} | price
    paid = shapley_pay(scored, worths, cut) if shapley else tuple(worths)
    if shapley:
        named["usefulness"] = tuple(worths)
    return Scored(paid, step, history, named)
