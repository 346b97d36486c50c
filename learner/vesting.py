"""Whose record with the scoring rule has fallen: whom a later settlement does not pay what earlier rounds credited.

A rule that remembers clients judges them better with every round. What it remembers after a round says, by the rule's
own measure, whether a client's record *stands*; if it does not, it has *fallen*. See RULES.md, "Pay that vests".
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from learner.contribution.anchored.reputation import Record as Anchored
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.calibrated import Record as Calibrated
from learner.contribution.calibrated import median_client
from learner.contribution.decomposed import Record as Decomposed
from learner.contribution.decomposed import typical_client
from learner.contribution.round import History

Fallen: TypeAlias = Callable[[History], frozenset[int]]


def _anchored(history: History) -> frozenset[int]:
    return frozenset(client for client, values in history.items() if not Anchored(*values).stands(Thresholds()))


def _calibrated(history: History) -> frozenset[int]:
    typical = median_client(history)
    return frozenset(client for client, values in history.items() if not Calibrated(*values).stands(typical))


def _decomposed(history: History) -> frozenset[int]:
    typical = typical_client(history)
    return frozenset(client for client, values in history.items() if not Decomposed.of(values).stands(typical))


RULES: Final[Mapping[str, Fallen]] = {
    "anchored": _anchored,
    "anchored-shapley": _anchored,
    "calibrated": _calibrated,
    "calibrated-shapley": _calibrated,
    "calibrated-loss-shapley": _calibrated,
    "decomposed": _decomposed,
    "decomposed-loss-shapley": _decomposed,
}
"""By scoring rule; under a rule that is not here nobody's record falls."""


def fallen(scoring: str, history: History) -> frozenset[int]:
    """Return the clients whose record has fallen, by what rule `scoring` remembers after a round.

    Under a rule without such a measure, and of clients that it does not remember, every record stands.
    """
    rule = RULES.get(scoring)
    return frozenset() if rule is None else rule(history)
