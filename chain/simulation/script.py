"""Plays a scenario: its faults at their times and heights, its drops and its disks that fail."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from chain.consensus.types import Proposal, Vote, VoteKind
from chain.simulation.breaking import Breaker
from chain.simulation.messages import Decision, Repeated
from chain.simulation.settings import Settings
from chain.simulation.world import Outcome, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random  # noqa: TID251 - the type only

    from chain.consensus.types import Height
    from chain.simulation.messages import Message
    from chain.simulation.network import Link
    from chain.simulation.node import Node
    from chain.simulation.scenario import DiskFault, Drop, Fault, Kind, Scenario
    from chain.simulation.trace import Block


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scenario, and what had come of it before the healing: `decided`, `rounds_lost`, `forks`, `blocks`.

    Of a height that was not decided then the rounds before the furthest one count as lost.
    """

    outcome: Outcome
    decided: int
    rounds_lost: int
    forks: tuple[int, ...]
    accused: tuple[str, ...]
    """Validators that evidence convicted, in order."""
    blocks: tuple[Block, ...]


def play(scenario: Scenario, seed: int, *, forks_end: bool = True) -> Played:
    """Run a scenario with a seed; the same seed gives the same digest. `forks_end`: a fork ends it, as a broken rule.

    Raises SettingsError.
    """
    scenario.check()
    settings = Settings(seed=seed, validators=scenario.validators, heights=scenario.heights)
    script: list[Script] = []

    def breaks(run: Run, chance: Random) -> Script:
        script.append(Script(run, scenario, chance))
        return script[0]

    run = Run(settings, scenario.plan(), breaks)
    run.watch.forks_end = forks_end
    outcome = run.run()
    blocks = tuple(block for block in run.trace.blocks if block.height <= scenario.heights)
    return Played(
        outcome=outcome,
        decided=script[0].decided if script[0].healed else len(run.watch.decisions),
        rounds_lost=sum(block.round for block in blocks) + script[0].open_round,
        forks=tuple(sorted(height for height in run.watch.forks if height <= scenario.heights)),
        accused=tuple(sorted(address.decode() for address in run.watch.accused_validators)),
        blocks=blocks,
    )


class Script:
    """Breaks what a scenario says."""

    def __init__(self, run: Run, scenario: Scenario, chance: Random) -> None:
        """Prepare the network and the disks of `run`."""
        self._run, self._scenario, self._chance, self._break = run, scenario, chance, Breaker(run)
        self._numbers = {name: number for number, name in enumerate(scenario.nodes())}
        self._mending: list[Callable[[], None]] = []
        self.decided = self.open_round = 0
        self.healed = False
        network = run.network
        network.weather, network.handling_ms = scenario.network.weather(), scenario.network.handling_ms
        for model in scenario.link:
            network.weather_of.update(dict.fromkeys(self._links(model.from_, model.to), model.weather()))
        if scenario.drop:
            drops = [partial(_is_dropped, drop, self._links(drop.from_, drop.to)) for drop in scenario.drop]
            network.drops = lambda link, message: any(drop(link, message) for drop in drops)
        for name in {fault.node for fault in scenario.disk}:
            node = run.members[self._numbers[name]]
            node.disk.fails = _Power(self, node, [fault for fault in scenario.disk if fault.node == name]).fails
        run.watch.on_height = self._reached

    def start(self) -> None:
        """Begin with what happens at times, and at the first height."""
        for fault in self._scenario.fault:
            if fault.at is not None:
                self._run.scheduler.after(fault.at, partial(self._strike, fault))
        self._begin_height(1)
        self._run.scheduler.after(self._scenario.milliseconds, self._time_up)

    def over(self) -> bool:
        """Tell whether all honest nodes have decided all heights."""
        return all(len(node.chain) >= self._scenario.heights for node in self._run.members if node.honest)

    def heal(self) -> None:
        """Mend everything."""
        self.decided, self.healed = len(self._run.watch.decisions), True
        for mend in self._mending:
            mend()
        self._mending.clear()
        for node in self._run.members:
            node.disk.fails = None
            if not node.running:
                node.start()

    def restart_later(self, node: Node, after_ms: int) -> None:
        """Start a node again after a while, or by the healing."""
        self._run.scheduler.after(after_ms, partial(self._break.restart, node))

    def _reached(self, height: Height) -> None:
        self._begin_height(height + 1)

    def _begin_height(self, height: int) -> None:
        for fault in self._scenario.fault:
            if fault.height == height:
                self._run.scheduler.after(0, partial(self._strike, fault))

    def _time_up(self) -> None:
        """Say what keeps the height from being decided that nobody honest has decided in all the time."""
        height = len(self._run.watch.decisions) + 1
        there = [node for node in self._run.members if node.honest and node.driver.height == height]
        if self.healed or height > self._scenario.heights or not there:
            return
        node = max(there, key=lambda node: node.driver.state.round)
        self.open_round = max(0, node.driver.state.round)
        why = node.driver.why_lost(node.driver.state.round)
        name = list(self._numbers)[node.number]
        self._run.trace.happened(f"height {height} is not decided: {name} is in round {self.open_round}: {why}")

    def _strike(self, fault: Fault) -> None:
        if self.healed:
            return
        mend = self._begin(fault)
        if mend is None:
            return
        self._run.watch.counts[f"faults: {fault.do}"] += 1
        once = _Once(mend)
        self._mending.append(once)
        if fault.for_:
            self._run.scheduler.after(fault.for_, once)

    def _begin(self, fault: Fault) -> Callable[[], None] | None:
        side = sorted(self._numbers[name] for name in fault.nodes)
        node = self._run.members[side[0]]
        match fault.do:
            case "partition":
                return self._break.partition(side)
            case "one-way partition":
                return self._break.silence(side)
            case "clog":
                return self._break.clog(sorted(self._links(fault.nodes, fault.to)))
            case "pause":
                return self._break.pause(node)
            case _ if not node.running:
                return None
            case "crash":
                return self._break.crash(node)
            case "flip":
                return self._break.flip(node, fault.file, self._chance.randrange)

    def _links(self, senders: Sequence[str], receivers: Sequence[str]) -> frozenset[Link]:
        everybody = range(len(self._numbers))
        begin = [self._numbers[name] for name in senders] or everybody
        end = [self._numbers[name] for name in receivers] or everybody
        return frozenset((a, b) for a in begin for b in end if a != b and (receivers or b not in begin or not senders))


class _Once:
    """Mends once, whether its time is up or everything heals."""

    def __init__(self, mend: Callable[[], None]) -> None:
        self._mend: Callable[[], None] | None = mend

    def __call__(self) -> None:
        mend, self._mend = self._mend, None
        if mend is not None:
            mend()


class _Power:
    """Counts operations on a node's files by height, and fails at those that the scenario names."""

    def __init__(self, script: Script, node: Node, faults: Sequence[DiskFault]) -> None:
        self._script, self._node, self._faults = script, node, faults
        self._count: Counter[tuple[str, int]] = Counter()

    def fails(self, file: str) -> bool:
        here = (file, self._node.height)
        self._count[here] += 1
        for fault in self._faults:
            if (fault.file, fault.height) == here and fault.operation == self._count[here]:
                self._script.restart_later(self._node, fault.for_)
                return True
        return False


def _is_dropped(drop: Drop, links: frozenset[Link], link: Link, message: Message) -> bool:
    if link not in links or (drop.kinds and _kind(message) not in drop.kinds):
        return False
    if drop.heights is not None and not drop.heights[0] <= message.height <= drop.heights[1]:
        return False
    if drop.rounds is None:
        return True
    return isinstance(message, Vote | Proposal) and drop.rounds[0] <= message.round <= drop.rounds[1]


def _kind(message: Message) -> Kind:
    match message:
        case Proposal():
            return "proposal"
        case Vote(kind=VoteKind.PREVOTE):
            return "prevote"
        case Vote():
            return "precommit"
        case Repeated():
            return "repetition"
        case Decision():
            return "decision"
