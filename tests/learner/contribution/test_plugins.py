"""Scoring rules of other packages: found by name and version, held to what a rule must do, named when missing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.contribution import Needs, Round, Rule, Scored, plugins, rule
from learner.errors import InvalidTerms, UnknownRule, UnusableRule
from learner.terms import Terms, check_terms
from tests.conftest import ROOT

SOURCES = """
from learner.contribution import Needs, Rule, Scored
ONE = Rule(lambda scored: Scored((1,) * len(scored.gram)))
TWO = Rule(lambda scored: Scored((2,) * len(scored.gram)))
NEEDY = Rule(ONE.score, Needs(root=True))
NO_RULE = "one"
"""
ENTRIES = {"one.1": "ONE", "one.2": "TWO", "needy.1": "NEEDY", "no-rule.1": "NO_RULE", "gone.1": "GONE"}
GRAM = np.eye(3, dtype=np.int64)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package Acme.Rules, as an installer leaves it."""
    (tmp_path / "acme_rules_module.py").write_text(SOURCES)
    folder = tmp_path / "acme_rules-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme.Rules\nVersion: 1.0\n")
    points = "".join(f"{name} = acme_rules_module:{value}\n" for name, value in ENTRIES.items())
    (folder / "entry_points.txt").write_text(f"[merit.scoring_rules.v1]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.find.cache_clear()
    yield
    plugins.find.cache_clear()


def test_each_version_of_a_rule_has_its_own_name() -> None:
    scored = Round(GRAM, (1, 1, 1))
    assert rule("acme-rules:one.1", 1).score(scored).thetas == (1, 1, 1)
    assert rule("acme-rules:one.2", 1).score(scored).thetas == (2, 2, 2)
    assert rule("Acme_Rules:one.1", 1).score(scored).thetas == (1, 1, 1), "a package's name has one meaning, PEP 503"


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("other:one.1", 1, "the package other has no rule one.1 for rules version 1: is it installed here?"),
        (
            "acme-rules:one.3",
            1,
            "has no rule one.3 for rules version 1: it has gone.1, needy.1, no-rule.1, one.1, one.2",
        ),
        ("acme-rules:one.1", 2, "the package acme-rules has no rule one.1 for rules version 2"),
        ("acme-rules:gone.1", 1, "the package acme-rules does not load: "),
        ("acme-rules:no-rule.1", 1, "is a str, not a learner.contribution.Rule"),
        ("acme-rules:one", 1, "write PACKAGE:RULE.VERSION with at most 31 characters"),
        (":one.1", 1, "write PACKAGE:RULE.VERSION"),
        ("acme-rules:one.01", 1, "write PACKAGE:RULE.VERSION"),
        (f"{'a' * 26}:one.1", 1, "write PACKAGE:RULE.VERSION"),
    ],
)
def test_what_is_missing_is_named_in_one_line(name: str, version: int, reason: str) -> None:
    with pytest.raises(UnusableRule) as caught:
        rule(name, version)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnknownRule), "whoever knows what to do without a rule does it here"


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Rule:
    import acme_rules_module  # type: ignore[import-not-found] # noqa: PLC0415 - the fixture's

    monkeypatch.setattr(acme_rules_module, "ONE", Rule(lambda _: answer() if callable(answer) else answer))
    return rule("acme-rules:one.1", 1)


@pytest.mark.parametrize(
    "answer",
    [(1, 1, 1), Scored((1, 1)), Scored((1, 1, -1)), Scored((1, 1, 10**9 + 1)), Scored((1, 1, 0.5))],  # type: ignore[arg-type] # what it must not answer
)  # fmt: skip
def test_an_answer_that_is_no_score_is_refused(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    with pytest.raises(UnusableRule, match="ask who keeps the package acme-rules"):
        answering(monkeypatch, answer).score(Round(GRAM, (1, 1, 1)))


def test_a_rule_that_fails_is_named_and_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Scored:
        raise ZeroDivisionError

    with pytest.raises(UnusableRule, match=r"'acme-rules:one.1': it fails, with ZeroDivisionError"):
        answering(monkeypatch, fails).score(Round(GRAM, (1, 1, 1)))


TERMS = Terms(dimension=1, fraction_bits=1, shift=1, norm_bound_squared=1, phi=1, max_staleness=1)


def test_a_jobs_terms_may_name_it() -> None:
    check_terms(replace(TERMS, scoring="acme-rules:one.1"))
    check_terms(replace(TERMS, scoring="acme-rules:needy.1"), context=True)
    with pytest.raises(InvalidTerms, match="needs no context"):
        check_terms(replace(TERMS, scoring="acme-rules:needy.1"))
    with pytest.raises(UnusableRule, match="the package other"):
        check_terms(replace(TERMS, scoring="other:one.1"))


def test_the_example_counts_who_points_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "examples" / "majority_rule"))
    from majority_rule import MAJORITY  # type: ignore[import-not-found] # noqa: PLC0415 - the example's

    gram = np.array([[4, 2, -1], [2, 5, 0], [-1, 0, 9]], dtype=np.int64)
    assert MAJORITY.score(Round(gram, (1, 1, 1))).thetas == (5 * 10**8, 5 * 10**8, 0)
    assert MAJORITY.score(Round(gram[:1, :1], (1,))).thetas == (10**9,)
    assert MAJORITY.needs == Needs()
