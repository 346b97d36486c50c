"""Scoring rules: what an update is worth, as theta in parts per billion.

A rule is a pure function of what `Round` holds, named and versioned; no float decides anything in it. A new rule is a
new file and a line in `RULES`; a changed rule is a new version, and old rounds keep replaying under the old one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from learner.contribution import cosine, data_size, uniform
from learner.contribution.round import Round
from learner.errors import UnknownRule

Score = Callable[[Round], tuple[int, ...]]

RULES: Mapping[tuple[str, int], Score] = MappingProxyType(
    {("cosine", 1): cosine.score, ("uniform", 1): uniform.score, ("data-size", 1): data_size.score}
)


def rule(name: str, version: int) -> Score:
    """Find the scoring rule of this name and rules version; `UnknownRule` if there is none."""
    try:
        return RULES[name, version]
    except KeyError:
        known = sorted(known for known, of_version in RULES if of_version == version)
        raise UnknownRule(kind="scoring rule", name=name, version=version, known=known) from None


__all__ = ["RULES", "Round", "Score", "rule"]
