"""Scoring rules: what an update is worth, as theta in parts per billion.

A rule is a pure function of what `Round` holds, named and versioned; no float decides anything in it. A new rule is a
new file and a line in `RULES`; a changed rule is a new version, and old rounds keep replaying under the old one.
Rules of other packages come by entry point: see `plugins`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from learner.contribution import (
    cgsv,
    cosine,
    data_size,
    dbscan,
    fltrust,
    foolsgold,
    geometric_median,
    gram_shapley,
    leave_one_out,
    loss_shapley,
    multi_krum,
    plugins,
    trimmed_mean,
    uniform,
)
from learner.contribution.anchored import anchored
from learner.contribution.calibrated import calibrated
from learner.contribution.decomposed import decomposed
from learner.contribution.round import REST, ROOT, Comparison, History, Label, Neighbours, Pooled, Round, Slope
from learner.contribution.rule import Needs, Rule, Scored, Step, Window
from learner.errors import UnknownRule


def _weighing(thetas: Callable[[Round], tuple[int, ...]], needs: Needs = Needs()) -> Rule:  # noqa: B008 - immutable
    """Make a rule of a function that gives thetas alone: they weigh the step, too."""
    return Rule(lambda scored: Scored(thetas(scored)), needs)


RULES: Mapping[tuple[str, int], Rule] = MappingProxyType(
    {
        ("cosine", 1): _weighing(cosine.score),
        ("uniform", 1): _weighing(uniform.score),
        ("data-size", 1): _weighing(data_size.score),
        ("leave-one-out", 1): Rule(leave_one_out.score),
        ("multi-krum", 1): _weighing(multi_krum.score),
        ("trimmed-mean", 1): _weighing(trimmed_mean.score),
        ("geometric-median", 1): _weighing(geometric_median.score),
        ("dbscan", 1): _weighing(dbscan.score),
        ("fltrust", 1): Rule(fltrust.score, fltrust.NEEDS),
        ("cgsv", 1): Rule(cgsv.score, cgsv.NEEDS),
        ("foolsgold", 1): _weighing(foolsgold.score, foolsgold.NEEDS),
        ("gram-shapley", 1): Rule(gram_shapley.score, gram_shapley.NEEDS),
        ("loss-shapley", 1): Rule(loss_shapley.score, loss_shapley.NEEDS, pay_discounted=False),
        ("anchored", 1): anchored(),
        ("anchored-shapley", 1): anchored(shapley=True),
        ("calibrated", 1): calibrated(),
        ("calibrated-shapley", 1): calibrated(shapley=True),
        ("calibrated-loss-shapley", 1): calibrated(losses=True),
        ("decomposed", 1): decomposed(),
        ("decomposed-loss-shapley", 1): decomposed(losses=True),
    }
)


def rule(name: str, version: int) -> Rule:
    """Find the scoring rule of this name and rules version, a package's too; `UnknownRule` if there is none."""
    if plugins.names_a_package(name):
        return plugins.find(name, version)
    try:
        return RULES[name, version]
    except KeyError:
        known = names(version)
        raise UnknownRule(kind="scoring rule", name=name, version=version, known=known) from None


def names(version: int, *, alone: bool = False) -> list[str]:
    """Names of the rules of a version, sorted; `alone`: only those that need nothing beyond the updates."""
    return sorted(name for (name, of), found in RULES.items() if of == version and (found.needs.nothing or not alone))


__all__ = [
    "REST",
    "ROOT",
    "RULES",
    "Comparison",
    "History",
    "Label",
    "Needs",
    "Neighbours",
    "Pooled",
    "Round",
    "Rule",
    "Scored",
    "Slope",
    "Step",
    "Window",
    "names",
    "rule",
]
