"""Scoring rules: what an update is worth, as theta in parts per billion.

A rule is a pure function of what `Round` holds, named and versioned; no float decides anything in it. A new rule is a
new file and a line in `RULES`; a changed rule is a new version, and old rounds keep replaying under the old one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from learner.contribution import cosine, data_size, uniform
from learner.contribution.round import ROOT, Comparison, History, Label, Neighbours, Round
from learner.contribution.rule import Needs, Rule, Scored, Step, Window
from learner.errors import UnknownRule


def _weighing(thetas: Callable[[Round], tuple[int, ...]]) -> Rule:
    """Make a rule of a function that gives thetas alone: they weigh the step, too."""
    return Rule(lambda scored: Scored(thetas(scored)))


RULES: Mapping[tuple[str, int], Rule] = MappingProxyType(
    {
        ("cosine", 1): _weighing(cosine.score),
        ("uniform", 1): _weighing(uniform.score),
        ("data-size", 1): _weighing(data_size.score),
    }
)


def rule(name: str, version: int) -> Rule:
    """Find the scoring rule of this name and rules version; `UnknownRule` if there is none."""
    try:
        return RULES[name, version]
    except KeyError:
        known = names(version)
        raise UnknownRule(kind="scoring rule", name=name, version=version, known=known) from None


def names(version: int, *, alone: bool = False) -> list[str]:
    """Names of the rules of a version, sorted; `alone`: only those that need nothing beyond the updates."""
    return sorted(name for (name, of), found in RULES.items() if of == version and (found.needs.nothing or not alone))


__all__ = [
    "ROOT",
    "RULES",
    "Comparison",
    "History",
    "Label",
    "Needs",
    "Neighbours",
    "Round",
    "Rule",
    "Scored",
    "Step",
    "Window",
    "names",
    "rule",
]
