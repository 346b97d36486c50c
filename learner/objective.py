"""What a job calls useful: the objective whose descent the edge servers' references are."""

from typing import Annotated, Literal

import msgspec

from learner.contribution import REST, ROOT, Label
from learner.errors import InvalidTerms

PPB = 10**9
MOST_CLASSES = 1 << 15
"""Of a job that weighs them: a reference's label has 16 bits, and a stranger's job file is not to fill the memory."""

ClassNumber = Annotated[str, msgspec.Meta(pattern="^(0|[1-9][0-9]{0,4})$")]
"""A class as a TOML key."""


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A loss, whose samples it is of, and how much each class counts.

    `loss`: cross-entropy, or the Brier score, sum_k (p_k - y_k)^2 of the softmax p and the label's one-hot y, which a
    model lowers by probabilities that are right rather than by answers that are.
    `weights`: how many times the samples of a class count; 1 for those that are not named.
    `classes`: those of a group, which alone are taught; none: all.
    `edge_servers`: whose samples count, by member id; none: everybody's.
    """

    loss: Literal["cross-entropy", "brier"] = "cross-entropy"
    weights: dict[ClassNumber, Annotated[int, msgspec.Meta(ge=1, le=1_000)]] = {}
    classes: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    edge_servers: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()

    def weight(self, of: int) -> int:
        """Return how many times a sample of class `of` counts."""
        return self.weights.get(str(of), 1)

    def prices(self, classes: int) -> tuple[int, ...]:
        """Return each class's weight in ppb of the greatest one, rounded down; () where all weigh the same."""
        if not self.weights or classes > MOST_CLASSES:
            return ()
        weights = [self.weight(of) for of in range(classes)]
        most = max(weights)
        return () if min(weights) == most else tuple(PPB * weight // most for weight in weights)

    def counts(self, server: int) -> bool:
        """Tell whether an edge server's samples count."""
        return not self.edge_servers or server in self.edge_servers

    def allows(self, label: Label) -> bool:
        """Tell whether an edge server may publish a reference of this label: (c, k) of a class c of the group.

        Of (REST, k) k must be: what teaches that a label is wrong may be a sample of any class.
        """
        of, labelled = label
        return label == ROOT or not self.classes or (labelled if of == REST else of) in self.classes


def check_objective(objective: Objective, classes: int) -> None:
    """Raise `InvalidTerms`, naming the term, for an objective that a job of so many classes cannot have."""
    last = f"classes from 0 to {classes - 1}"
    weighted = [int(of) for of in objective.weights]
    group = objective.classes
    if weighted and classes > MOST_CLASSES:
        allowed = f"none with {classes} classes, more than {MOST_CLASSES}"
        raise InvalidTerms(field="references.objective.weights", value=dict(objective.weights), allowed=allowed)
    if any(of >= classes for of in weighted):
        raise InvalidTerms(field="references.objective.weights", value=dict(objective.weights), allowed=last)
    if len(set(group)) < len(group) or any(of >= classes for of in group):
        raise InvalidTerms(field="references.objective.classes", value=[*group], allowed=f"{last}, each once")
    if group and not set(weighted) <= set(group):
        allowed = f"weights of the classes that count, {', '.join(map(str, group))}"
        raise InvalidTerms(field="references.objective.weights", value=dict(objective.weights), allowed=allowed)
    servers = objective.edge_servers
    if len(set(servers)) < len(servers):
        raise InvalidTerms(field="references.objective.edge_servers", value=[*servers], allowed="each server once")
