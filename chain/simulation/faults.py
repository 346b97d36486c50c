"""What breaks while a run breaks everything: one fault after another, each ended after a while or by the healing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from chain.simulation.node import JOURNAL, SIGNER

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random  # noqa: TID251 - the type only

    from chain.simulation.network import Link
    from chain.simulation.node import Node
    from chain.simulation.world import Run

_LONGEST_MS: Final = 400
_FUSE_MOST: Final = 12


class Faults:
    """Breaks things until `heal`."""

    def __init__(self, run: Run, chance: Random) -> None:
        """Break the nodes of `run`."""
        self._nodes, self._plan, self._scheduler, self._network = run.members, run.plan, run.scheduler, run.network
        self._watch, self._trace, self._paused, self._chance = run.watch, run.trace, run.paused, chance
        self._healed = False
        self._mending: dict[int, Callable[[], None]] = {}
        self._count = 0
        run.network.weather = run.plan.weather

    def start(self) -> None:
        """Break something every now and then."""
        if self._plan.faults:
            self._scheduler.after(1 + self._chance.randrange(2 * self._plan.fault_every_ms), self._strike)

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
                side = self._side()
                return self._cut([link for a, b in self._across(side) for link in ((a, b), (b, a))], f"{kind} {side}")
            case "one-way partition":
                side = self._side()
                return self._cut(self._across(side), f"{kind} {side}")
            case "clog":
                links = chance.sample(self._across(self._side()), k=1)
                self._network.clog(links)
                self._trace.happened(f"clog {links[0][0]} to {links[0][1]}")
                return partial(self._network.unclog, links)
            case "pause":
                return self._pause(node)
            case _ if not node.running:
                return None
            case "crash":
                return self._crash(node)
            case "crash in a disk operation":
                node.disk.fuse = chance.randrange(_FUSE_MOST)
                return partial(self._restart, node)
            case _:
                return self._flip(node)

    def _side(self) -> list[int]:
        return sorted(self._chance.sample(range(len(self._nodes)), k=self._chance.randrange(1, len(self._nodes))))

    def _across(self, side: list[int]) -> list[Link]:
        return [(a, b) for a in side for b in range(len(self._nodes)) if b not in side]

    def _cut(self, links: list[Link], what: str) -> Callable[[], None]:
        self._network.cut(links)
        self._trace.happened(what)
        return partial(self._network.mend, links)

    def _pause(self, node: Node) -> Callable[[], None] | None:
        if node.number in self._paused:
            return None
        self._paused[node.number] = []
        self._trace.happened(f"pause {node.number}")
        return partial(self._unpause, node)

    def _unpause(self, node: Node) -> None:
        for action in self._paused.pop(node.number):
            action()

    def _crash(self, node: Node) -> Callable[[], None]:
        lost, torn = node.crash()
        self._watch.counts["faults: unsynced write lost"] += lost
        self._watch.counts["faults: write torn"] += torn
        self._trace.happened(f"crash {node.number}")
        return partial(self._restart, node)

    def _restart(self, node: Node) -> None:
        node.disk.fuse = None
        if not node.running:
            node.start()

    def _flip(self, node: Node) -> Callable[[], None] | None:
        """Flip a bit of the journal or of the signer's record while the node is down."""
        if node.address not in self._plan.brittle:
            return None
        node.crash()
        name = self._chance.choice([JOURNAL, SIGNER])
        size = len(node.disk.read(name))
        if size:
            node.disk.flip(name, self._chance.randrange(8 * size))
            self._watch.flipped.add(node.number)
        self._trace.happened(f"crash {node.number} and flip a bit of its {name}")
        return partial(self._restart, node)
