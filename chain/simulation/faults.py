"""What breaks while a run breaks everything: one fault after another, each ended after a while or by the healing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from chain.simulation.breaking import Breaker
from chain.simulation.node import JOURNAL, SIGNER

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random  # noqa: TID251 - the type only

    from chain.simulation.node import Node
    from chain.simulation.world import Run

_LONGEST_MS: Final = 400
_FUSE_MOST: Final = 12


class Faults:
    """Breaks things until `heal`, as the seed says."""

    def __init__(self, run: Run, chance: Random) -> None:
        """Break the nodes of `run`."""
        self._break = Breaker(run)
        self._nodes, self._plan, self._scheduler, self._network = run.members, run.plan, run.scheduler, run.network
        self._watch, self._chance = run.watch, chance
        self._healed = False
        self._mending: dict[int, Callable[[], None]] = {}
        self._count = 0
        run.network.weather = run.plan.weather

    def start(self) -> None:
        """Break something every now and then."""
        if self._plan.faults:
            self._scheduler.after(1 + self._chance.randrange(2 * self._plan.fault_every_ms), self._strike)

    def over(self) -> bool:
        """Tell whether nothing is left to break: never before the time is up."""
        return False

    def heal(self) -> None:
        """Mend all but what is to stay broken, for good."""
        self._healed = True
        for number in list(self._mending):
            self._mending.pop(number)()
        for node in self._nodes:
            if node.address in self._plan.left_out:
                self._isolate(node)
            elif not node.running:
                node.start()

    def _isolate(self, node: Node) -> None:
        """Leave an honest node broken: stopped, or cut off in one direction."""
        others = [other.number for other in self._nodes if other is not node]
        match self._chance.randrange(3):
            case 0:
                if node.running:
                    node.crash()
            case 1:
                self._network.cut([(node.number, other) for other in others])
            case _:
                self._network.cut([(other, node.number) for other in others])

    def _strike(self) -> None:
        if self._healed:
            return
        kind = self._chance.choice(self._plan.faults)
        mend = self._begin(kind)
        if mend is not None:
            self._watch.counts[f"faults: {kind}"] += 1
            self._count += 1
            self._mending[self._count] = mend
            self._scheduler.after(self._chance.randrange(20, _LONGEST_MS), partial(self._end, self._count))
        self.start()

    def _end(self, number: int) -> None:
        mend = self._mending.pop(number, None)
        if mend is not None:
            mend()

    def _begin(self, kind: str) -> Callable[[], None] | None:
        """Break something; return what mends it, or None if it could not be broken."""
        chance, node = self._chance, self._chance.choice(self._nodes)
        if len(self._nodes) == 1 and kind in {"partition", "one-way partition", "clog"}:
            return None
        match kind:
            case "partition":
                return self._break.partition(self._side())
            case "one-way partition":
                return self._break.silence(self._side())
            case "clog":
                return self._break.clog(chance.sample(self._break.across(self._side()), k=1))
            case "pause":
                return self._break.pause(node)
            case _ if not node.running:
                return None
            case "crash":
                return self._break.crash(node)
            case "crash in a disk operation":
                node.disk.fuse = chance.randrange(_FUSE_MOST)
                return partial(self._break.restart, node)
            case _ if node.address not in self._plan.brittle:
                return None
            case _:
                return self._break.flip(node, chance.choice([JOURNAL, SIGNER]), chance.randrange)

    def _side(self) -> list[int]:
        return sorted(self._chance.sample(range(len(self._nodes)), k=self._chance.randrange(1, len(self._nodes))))
