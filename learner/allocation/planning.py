"""From what clients did in a round to the plan for the next: RULES.md, "Who trains how much".

reports -> estimated speeds -> samples and epochs. Pure and exact: every edge server and every auditor gets the same
plan. ADR-plan.md says why it is made this way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from learner.allocation.instance import Instance, Integers, TimeModel, total
from learner.allocation.plan import Plan, Share
from learner.allocation.reach import Shortage, reach
from learner.allocation.windows import core, least_staleness, starts
from learner.errors import InvalidPlan, UnknownRule

UINT32_END: Final = 1 << 32
NS: Final = 1000
"""Nanoseconds in a microsecond."""
MEMORY: Final = 4
"""A new observation counts for one in so many."""
TRIAL: Final = 8
"""The first update is on one in so many of the ordinary samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTerms:
    """What a job says about the work of its clients.

    `rule`: "equal" or "exact", under `rules_version`. `cycle_us`: T, microseconds from fetching a version to having
    delivered the update. All clients together get `samples` times their number. `least_samples` to
    `most_samples`: d of one client. `most_epochs`: its most epochs.
    `forget_after`: rounds after which a client of which nothing was consumed is unknown again.
    """

    rule: str
    rules_version: int
    cycle_us: int
    samples: int
    least_samples: int
    most_samples: int
    most_epochs: int
    forget_after: int


def first_samples(samples: int, least_samples: int) -> int:
    """Give the samples on which a client that no plan knows makes one epoch: few, so that a slow one is in time."""
    return max(least_samples, samples // TRIAL)


@dataclass(frozen=True, slots=True)
class Work:
    """What a client says it did for one consumed update, in samples, epochs and microseconds.

    `gathering_us`: until the samples were there; `training_us`: of all epochs; `transfer_us`: of its last transfers.
    """

    client: int
    samples: int
    epochs: int
    training_us: int
    gathering_us: int
    transfer_us: int


@dataclass(frozen=True, slots=True)
class _Speed:
    """A client with its estimated coefficients in nanoseconds."""

    client: int
    seen: int
    c2: int
    c1: int
    c0: int


Rule = Callable[[Sequence[_Speed], PlanTerms], list[tuple[int, int]]]
"""Samples and epochs of each client."""


def check_plan_terms(terms: PlanTerms) -> None:
    """Raise `InvalidPlan`, naming the term, unless the bounds of RULES.md hold; to be called when a job is made."""
    for name, value, most in (
        ("cycle_us", terms.cycle_us, UINT32_END - 1),
        ("least_samples", terms.least_samples, terms.samples),
        ("samples", terms.samples, terms.most_samples),
        ("most_samples", terms.most_samples, (1 << 31) - 1),
        ("most_epochs", terms.most_epochs, (1 << 16) - 1),
        ("forget_after", terms.forget_after, UINT32_END - 1),
    ):
        if not 1 <= value <= most:
            raise InvalidPlan(reason=f"{name} is {value}: choose 1 to {most}")
    find_rule(terms.rule, terms.rules_version)


def find_rule(name: str, version: int) -> Rule:
    """Find the allocation rule of this name and rules version; `UnknownRule` if there is none."""
    try:
        return RULES[name, version]
    except KeyError:
        known = sorted(known for known, of_version in RULES if of_version == version)
        raise UnknownRule(kind="allocation rule", name=name, version=version, known=known) from None


def next_plan(before: Plan, number: int, done: Iterable[Work], terms: PlanTerms) -> Plan:
    """Make the plan after round `number` from the one before and the reports of its updates, in selection order.

    Raises `UnknownRule` for a rule that this code does not have.
    """
    rule = find_rule(terms.rule, terms.rules_version)
    speeds = {one.client: _Speed(one.client, one.seen, one.c2, one.c1, one.c0) for one in before.shares}
    for work in done:
        if work.samples and work.epochs:
            speeds[work.client] = _observed(speeds.get(work.client), work, number, terms)
    kept = [speeds[client] for client in sorted(speeds) if number - speeds[client].seen < terms.forget_after]
    shares = (
        Share(one.client, one.seen, samples, epochs, one.c2, one.c1, one.c0)
        for one, (samples, epochs) in zip(kept, rule(kept, terms), strict=True)
    )
    return Plan(number, tuple(shares))


def _observed(known: _Speed | None, work: Work, number: int, terms: PlanTerms) -> _Speed:
    """Let a report move what is known of a client; each coefficient stays within the cycle, c2 above 0."""
    cycle = terms.cycle_us * NS
    c2 = min(max(work.training_us * NS // (work.samples * work.epochs), 1), cycle)
    c1 = min(work.gathering_us * NS // work.samples, cycle)
    c0 = min(work.transfer_us * NS, cycle)
    if known is None:
        return _Speed(work.client, number, c2, c1, c0)

    def moved(old: int, new: int) -> int:
        return ((MEMORY - 1) * old + new) // MEMORY

    return _Speed(work.client, number, moved(known.c2, c2), moved(known.c1, c1), moved(known.c0, c0))


def equal(speeds: Sequence[_Speed], terms: PlanTerms) -> list[tuple[int, int]]:
    """Give all the same samples, and each the epochs that fit into the cycle: the paper's baseline (HU, ETA)."""
    return [(terms.samples, _within(_fitting(one, terms.samples, terms), terms)) for one in speeds]


def exact(speeds: Sequence[_Speed], terms: PlanTerms) -> list[tuple[int, int]]:
    """Give the least staleness max |tau_k - tau_l| at which nobody idles; see `learner.allocation.windows`.

    Who cannot make one epoch on the fewest samples within the cycle gets just that, and the others are solved.
    """
    able = [one for one in speeds if _fitting(one, terms.least_samples, terms) >= 1]
    found = dict(zip((one.client for one in able), _solved(able, terms), strict=True)) if able else {}
    return [found.get(one.client, (terms.least_samples, 1)) for one in speeds]


def _solved(able: Sequence[_Speed], terms: PlanTerms) -> list[tuple[int, int]]:
    count = len(able)
    cycle = terms.cycle_us * NS
    c2, c1, c0 = (_array(getattr(one, name) for one in able) for name in ("c2", "c1", "c0"))
    least = np.full(count, terms.least_samples, dtype=np.int64)
    most = np.full(count, terms.most_samples, dtype=np.int64)
    room = total(np.minimum(most, (cycle - c0) // (c1 + c2)))
    d = min(count * terms.samples, room)
    prepared = reach(Instance(TimeModel(c2, c1, c0, cycle), None, d, least, most, tau_min=1))
    if isinstance(prepared, Shortage):
        raise RuntimeError(prepared.reason)  # noqa: TRY004 - d was chosen so that this cannot be: the rule is broken
    found = core(prepared)
    staleness = least_staleness(found)
    first = starts(found, staleness)[-1][1]
    lower, upper = prepared.lower(first + staleness), prepared.upper(first)
    samples = _array(_dealt(lower.tolist(), upper.tolist(), d))
    return [
        (one, _within(epochs, terms))
        for one, epochs in zip(samples.tolist(), prepared.updates(samples).tolist(), strict=True)
    ]


def _dealt(lower: list[int], upper: list[int], d: int) -> Iterable[int]:
    """Give each its lower bound and deal the rest out by the room of each, rounded as rewards are: it sums to d."""
    rest, room = d - sum(lower), sum(upper) - sum(lower)
    before = 0
    for least, most in zip(lower, upper, strict=True):
        after = before + most - least
        yield least + (rest * after // room - rest * before // room if room else 0)
        before = after


def _fitting(one: _Speed, samples: int, terms: PlanTerms) -> int:
    """tau(x): the most epochs on x samples that fit into the cycle; negative if not even the transfer does."""
    return (terms.cycle_us * NS - one.c0 - one.c1 * samples) // (one.c2 * samples)


def _within(epochs: int, terms: PlanTerms) -> int:
    return min(max(epochs, 1), terms.most_epochs)


def _array(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


RULES: Final[Mapping[tuple[str, int], Rule]] = MappingProxyType({("equal", 1): equal, ("exact", 1): exact})
