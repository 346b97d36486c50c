"""Scoring rules of other packages, found by entry point.

A job names such a rule PACKAGE:RULE.VERSION, at most 31 characters, as in `acme-rules:median.1`. The name is in the
job's terms on the ledger, so it says which package every edge server and auditor needs, and which version of the rule:
a changed rule is a new version under a new name, and the package keeps the old ones for old rounds. The package says
what it has in its pyproject.toml, in the group of the rules version (RULES.md) around which it was written:

    [project.entry-points."merit.scoring_rules.v1"]
    "median.1" = "acme_rules:MEDIAN"        # a learner.contribution.Rule
"""

import re
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from learner.contribution.round import Round
from learner.contribution.rule import Rule, Scored
from learner.errors import UnusableRule

GROUP: Final = "merit.scoring_rules.v"
MOST: Final = 31  # characters of a rule's name on the ledger
_NAME: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?):([a-z0-9-]+\.[1-9][0-9]*)", re.ASCII)
_FULL: Final = 10**9


def names_a_package(name: str) -> bool:
    """Tell whether a rule's name is of this kind, not one of Merit's own."""
    return ":" in name


@cache
def find(name: str, version: int) -> Rule:
    """Load the rule of this name for a rules version; what it answers is checked in every round.

    Raises:
        UnusableRule: its package is not installed, lacks it, or does not load; or the name is none. Scoring by it
            raises the same when the rule fails, or answers with what is no score.

    """
    parts = _NAME.fullmatch(name)
    if parts is None or len(name) > MOST:
        reason = f"write PACKAGE:RULE.VERSION with at most {MOST} characters, as in acme-rules:median.1"
        raise UnusableRule(name=name, version=version, package="", reason=reason)
    package, entry = parts[1], parts[2]
    offered = [point for point in entry_points(group=f"{GROUP}{version}") if _package_of(point) == _normal(package)]
    found = next((point for point in offered if point.name == entry), None)
    if found is None:
        has = f"it has {', '.join(sorted(point.name for point in offered))}" if offered else "is it installed here?"
        reason = f"the package {package} has no rule {entry} for rules version {version}: {has}"
        raise UnusableRule(name=name, version=version, package=package, reason=reason)
    try:
        rule = found.load()
    except (ImportError, AttributeError) as error:
        reason = f"the package {package} does not load: {error}"
        raise UnusableRule(name=name, version=version, package=package, reason=reason) from error
    if not isinstance(rule, Rule):
        reason = f"{found.value} of the package {package} is a {type(rule).__name__}, not a learner.contribution.Rule"
        raise UnusableRule(name=name, version=version, package=package, reason=reason)

    def checked(scored: Round) -> Scored:
        try:
            answer = rule.score(scored)
        except Exception as error:
            reason = f"it fails, with {type(error).__name__}: {error}; ask who keeps the package {package}"
            raise UnusableRule(name=name, version=version, package=package, reason=reason) from error
        if not _fits(answer, len(scored.gram)):
            reason = f"its answer is not one theta from 0 to 10^9 for each entry; ask who keeps the package {package}"
            raise UnusableRule(name=name, version=version, package=package, reason=reason)
        return answer

    return replace(rule, score=checked)


def _fits(answer: object, entries: int) -> bool:
    """Hold a rule that nobody here wrote to what everything after it relies on."""
    return (
        isinstance(answer, Scored)
        and len(answer.thetas) == entries
        and all(type(theta) is int and 0 <= theta <= _FULL for theta in answer.thetas)
    )


def _package_of(point: EntryPoint) -> str:
    return "" if point.dist is None else _normal(point.dist.name)


def _normal(package: str) -> str:
    """PEP 503: names that differ in case, or in runs of - _ and ., are one."""
    return re.sub(r"[-_.]+", "-", package).lower()
