"""How things break and are mended, whoever decides what and when: seeded `faults` or a `script`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chain.simulation.network import Link
    from chain.simulation.node import Node
    from chain.simulation.world import Run


class Breaker:
    """Breaks the nodes and the network of a run; each method returns what undoes it."""

    def __init__(self, run: Run) -> None:
        """Know the run."""
        self.nodes, self.network, self.watch = run.members, run.network, run.watch
        self._trace, self._paused = run.trace, run.paused

    def across(self, side: Sequence[int]) -> list[Link]:
        """Return the links from these nodes to all others."""
        return [(a, b) for a in side for b in range(len(self.nodes)) if b not in side]

    def partition(self, side: Sequence[int]) -> Callable[[], None]:
        """Cut nodes off from the others, in both directions."""
        links = [link for a, b in self.across(side) for link in ((a, b), (b, a))]
        return self._cut(links, f"partition {list(side)}")

    def silence(self, side: Sequence[int]) -> Callable[[], None]:
        """Cut the links from nodes to the others; they still hear."""
        return self._cut(self.across(side), f"one-way partition {list(side)}")

    def clog(self, links: Sequence[Link]) -> Callable[[], None]:
        """Hold what is sent over links."""
        self.network.clog(links)
        for sender, receiver in links:
            self._trace.happened(f"clog {sender} to {receiver}")
        return partial(self.network.unclog, links)

    def pause(self, node: Node) -> Callable[[], None] | None:
        """Stop a node for a while; it goes on as if nothing had been. None if it stands still already."""
        if node.number in self._paused:
            return None
        self._paused[node.number] = []
        self._trace.happened(f"pause {node.number}")
        return partial(self._unpause, node)

    def crash(self, node: Node) -> Callable[[], None]:
        """Stop a node; it comes back with what its disk has."""
        lost, torn = node.crash()
        self.watch.counts["faults: unsynced write lost"] += lost
        self.watch.counts["faults: write torn"] += torn
        self._trace.happened(f"crash {node.number}")
        return partial(self.restart, node)

    def flip(self, node: Node, name: str, bit_of: Callable[[int], int]) -> Callable[[], None]:
        """Stop a node and turn over the bit of a file that `bit_of(number of bits)` names."""
        node.crash()
        size = len(node.disk.read(name))
        if size:
            node.disk.flip(name, bit_of(8 * size))
            self.watch.flipped.add(node.number)
        self._trace.happened(f"crash {node.number} and flip a bit of its {name}")
        return partial(self.restart, node)

    @staticmethod
    def restart(node: Node) -> None:
        """Start a node that is down; nothing fails any more while it works with its disk."""
        node.disk.fuse = None
        if not node.running:
            node.start()

    def _cut(self, links: Iterable[Link], what: str) -> Callable[[], None]:
        kept = list(links)
        self.network.cut(kept)
        self._trace.happened(what)
        return partial(self.network.mend, kept)

    def _unpause(self, node: Node) -> None:
        for action in self._paused.pop(node.number):
            action()
