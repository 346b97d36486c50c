"""What a scoring rule is: a pure function, what it must be given, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from learner.contribution.round import History, Round


@dataclass(frozen=True, slots=True)
class Window:
    """Earlier public vectors beside which an update is held: records of the last `rounds`, the last `steps` models.

    Of each update only the `nearest`, by squared cosine, count.
    """

    rounds: int
    steps: int
    nearest: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a rule must be given beyond the updates and their Gram matrix.

    `labels`: references per class and label at each update's base version; `contrasts`: those per class and of all
    other classes labelled as it; `pooled`: the same of all edge servers as one table, and each server's own per class;
    `slopes`: how long references are; `root`: root updates at that version;
    `newest_root`: root updates at the current version; `history`: what the rule remembers of each client; `sums`: the
    sum of each client's updates so far.
    """

    labels: bool = False
    contrasts: bool = False
    pooled: bool = False
    slopes: bool = False
    root: bool = False
    newest_root: bool = False
    window: Window | None = None
    history: bool = False
    sums: bool = False

    @property
    def references(self) -> bool:
        """Whether edge servers must publish anything."""
        return self.at_base or self.newest_root

    @property
    def at_base(self) -> bool:
        """Whether an update is held beside references of its base version."""
        return self.labels or self.against_rest or self.root

    @property
    def against_rest(self) -> bool:
        """Whether edge servers must publish references per class and of all other classes labelled as it."""
        return self.contrasts or self.pooled

    @property
    def nothing(self) -> bool:
        """Whether the updates alone suffice, so that any ledger can run the rule."""
        return self == Needs()


@dataclass(frozen=True, slots=True)
class Step:
    """How far each update moves the model, where that is not simply its theta.

    Entry i weighs p_i = share_i * bound_i // max(sum of shares, floor * n) of 2^30: `shares` in ppb before the discount
    for delay, `bounds` (of 2^30) cut long updates, and `floor` in ppb of a whole share makes a nearly empty round take
    a small step. What is missing to 2^30 stays with the current model.
    """

    shares: tuple[int, ...]
    bounds: tuple[int, ...]
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """What a rule says of a round's n entries, in selection order.

    `thetas`: what each is worth, 0 to 10^9 ppb. `step`: weights of the step, None where they follow from the thetas.
    `history`: what is remembered of the clients from now on, those that were not there included. `parts`: how the
    thetas came about, by name, an integer for each entry (ppb unless the rule says otherwise).
    """

    thetas: tuple[int, ...]
    step: Step | None = None
    history: History = field(default_factory=dict)
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """A scoring rule; `pay_discounted`: whether a delay lowers what is paid as it lowers the step."""

    score: Callable[[Round], Scored]
    needs: Needs = Needs()
    pay_discounted: bool = True
