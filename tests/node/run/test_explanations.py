"""What the report says in words of a rule's parts."""

import pytest

from learner.contribution.calibrated import PARTS as CALIBRATED
from learner.contribution.decomposed import PARTS as DECOMPOSED
from node.run.explanations import meanings


@pytest.mark.parametrize(("rule", "parts"), [("calibrated", CALIBRATED), ("decomposed", DECOMPOSED)])
def test_every_part_is_explained_in_words(rule: str, parts: tuple[str, ...]) -> None:
    told = dict(meanings(rule, parts))
    for part in parts:
        kind, _, measure = part.partition("_")
        assert (f"{kind} \N{HORIZONTAL ELLIPSIS}" if measure else part) in told


def test_only_parts_that_a_rule_has_are_explained_and_only_of_rules_that_are_known() -> None:
    assert [part for part, _ in meanings("decomposed-loss-shapley", ["new", "usefulness", "odd"])] == [
        "new",
        "usefulness",
    ]
    assert meanings("acme-rules:median.1", ["new"]) == []
