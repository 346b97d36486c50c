"""One run: break everything for a while, then heal a quorum and demand a decision."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from chain.consensus.errors import ContradictionError
from chain.consensus.types import Address, Height
from chain.simulation.byzantine import HABITS, Liar
from chain.simulation.checkers import Rule, ViolationError, Watch
from chain.simulation.faults import Faults
from chain.simulation.keys import KeyRing
from chain.simulation.network import Network
from chain.simulation.node import Node, Pace
from chain.simulation.scheduler import Scheduler
from chain.simulation.settings import Settings, draw_plan
from chain.simulation.trace import Trace
from merit.chance import seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random  # noqa: TID251 - the type only

    from chain.simulation.messages import Message
    from chain.simulation.settings import Plan

HEALING_MS: Final = 60_000
"""How long a healed quorum may take, in virtual time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    settings: Settings
    digest: str
    violation: Rule | None
    detail: str
    decided: int
    rounds_lost: int
    events: int
    virtual_ms: int
    counts: Mapping[str, int]
    """Faults and refusals that really happened, by name."""
    lines: tuple[str, ...]
    """The trace: a line for each block and each fault."""


class Breaks(Protocol):
    """What breaks a run."""

    def start(self) -> None:
        """Begin."""
        ...

    def over(self) -> bool:
        """Tell whether the healing may begin before its time."""
        ...

    def heal(self) -> None:
        """Mend all but what is to stay broken."""
        ...


def simulate(settings: Settings) -> Outcome:
    """Run one seed."""
    return Run(settings).run()


class Run:
    """The world that the nodes of one run live in."""

    def __init__(
        self, settings: Settings, plan: Plan | None = None, breaks: Callable[[Run, Random], Breaks] = Faults
    ) -> None:
        """Make the nodes; the plan is drawn from the seed unless it is given. `breaks` makes what breaks them."""
        self.settings, self.plan = settings, plan or draw_plan(settings)
        self.timeouts, self.powers = self.plan.timeouts, self.plan.powers
        self.last_height = Height(settings.heights)
        self.keys = KeyRing(settings.seed)
        self.scheduler = Scheduler()
        self.trace = Trace(self.scheduler)
        self.watch = Watch(self.keys, self.plan.powers_at, self.trace)
        chance = seeded(settings.seed, "consensus faults")
        self.network = Network(self.scheduler, chance, self._deliver, self.watch.counts)
        self.paused: dict[int, list[Callable[[], None]]] = {}
        """What waits until a paused node wakes."""
        self.members: list[Node] = []
        for address in self.plan.addresses:
            self._add(address)
        self.nodes = len(self.members)
        self.watch.honest = {node.address for node in self.members if node.honest}
        self.faults = breaks(self, chance)

    def _add(self, address: Address) -> None:
        habit = self.plan.liars.get(address)
        kind = Node if habit is None else HABITS[habit]
        for _ in range(2 if habit == "twins" else 1):
            number = len(self.members)
            chance = seeded(self.settings.seed, "consensus node", number)
            pace = Pace(percent=self._clock(address, chance), repeat_ms=chance.randrange(80, 160))
            if pace.percent != 100:  # noqa: PLR2004 - percent
                self.watch.counts["faults: clock skew"] += 1
            node = kind(self, number, address, chance, pace)
            if isinstance(node, Liar):
                node.lies_at = self.plan.lies_at.get(address)
            self.members.append(node)

    def _clock(self, address: Address, chance: Random) -> int:
        if self.plan.clocks is None:
            return chance.choice([50, 80, 100, 100, 125, 200])
        return self.plan.clocks.get(address, 100)

    # What nodes may do

    def after(self, number: int, delay_ms: int, action: Callable[[], None]) -> None:
        """Have `action` called later, or when the node wakes if it is paused then."""
        self.scheduler.after(delay_ms, partial(self._wake, number, action))

    def send(self, sender: int, receiver: int | None, message: Message) -> None:
        """Send to one node, or to all others."""
        if receiver is not None:
            self.network.send(sender, receiver, message)
            return
        for number in range(self.nodes):
            if number != sender:
                self.network.send(sender, number, message)

    def changes(self, height: Height) -> Mapping[Address, int]:
        """Return which powers a height changes."""
        return self.plan.changes.get(height, {})

    def _wake(self, number: int, action: Callable[[], None]) -> None:
        paused = self.paused.get(number)
        if paused is not None:
            paused.append(action)
        else:
            action()

    def _deliver(self, sender: int, receiver: int, message: Message) -> None:
        paused = self.paused.get(receiver)
        if paused is not None:
            paused.append(partial(self._deliver, sender, receiver, message))
            return
        self.trace.delivered(sender, receiver, message)
        self.members[receiver].receive(sender, message)

    # The run

    def run(self) -> Outcome:
        """Break, heal, demand."""
        violation: ViolationError | None = None
        try:
            self._break()
            if self.plan.heals:
                self._heal()
                self._demand()
        except ContradictionError as error:
            violation = ViolationError(Rule.SIGNER, str(error))
        except ViolationError as error:
            violation = error
        if violation is not None:
            self.trace.happened(str(violation))
        return Outcome(
            settings=self.settings,
            digest=self.trace.digest(),
            violation=None if violation is None else violation.rule,
            detail="" if violation is None else violation.detail,
            decided=len(self.watch.decisions),
            rounds_lost=self.trace.rounds_lost,
            events=self.scheduler.events,
            virtual_ms=self.scheduler.now_ms,
            counts=Counter({name: count for name, count in sorted(self.watch.counts.items()) if count}),
            lines=tuple(self.trace.lines),
        )

    def _break(self) -> None:
        for node in self.members:
            node.start()
        self.faults.start()
        self.scheduler.run(self.plan.break_ms, self.faults.over)

    def _heal(self) -> None:
        self.trace.happened("everything heals that is to heal")
        self.network.calm()
        self.last_height = Height(self.settings.heights + 1)
        self.faults.heal()
        for node in self.members:
            node.pace = replace(node.pace, percent=100)  # partial synchrony: in the end clocks run at one rate
            node.resume()

    def _demand(self) -> None:
        if not self.scheduler.run(self.scheduler.now_ms + HEALING_MS, self._all_decided):
            late = [node.number for node in self._quorum() if len(node.chain) < self.last_height]
            raise ViolationError(Rule.LIVENESS, f"nodes {late} lack height {self.last_height}")

    def _quorum(self) -> list[Node]:
        out = self.plan.left_out | self.plan.brittle
        return [node for node in self.members if node.honest and node.address not in out]

    def _all_decided(self) -> bool:
        return all(len(node.chain) >= self.last_height for node in self._quorum())
