"""Every scenario of a small network in which one validator is two (Twins, arXiv 2004.10617).

A scenario splits the nodes into at most two parts, anew in every phase. In a phase messages travel within a part and
nowhere else; everybody first repeats what it knows, then all timeouts elapse, step by step, as if time stood still in
between. Equal beginnings are simulated once: nodes are copied where scenarios part. So all scenarios of four phases are
explored, not a sample of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.consensus.driver import (
    CertificateReceived,
    Decided,
    Driver,
    GetValue,
    ProposalReceived,
    ScheduleTimeout,
    Sign,
    Start,
    VoteReceived,
)
from chain.consensus.round import TimeoutElapsed, ValueChosen
from chain.consensus.timeouts import Timeouts
from chain.consensus.types import Address, Height, Step, ValueId, Vote
from chain.consensus.validators import ValidatorSet
from chain.simulation.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chain.consensus.driver import Input

Part = frozenset[int]
_HEIGHT = Height(1)


@dataclass(frozen=True, slots=True)
class Explored:
    """How many scenarios there were, and in how many of them two honest validators decided differently."""

    scenarios: int
    forks: int
    decided: int
    """Scenarios in which some honest validator decided within the phases."""
    simulated: int
    """Phases that were simulated; beginnings that scenarios share count once."""


def explore(validators: int, twins: Sequence[int], phases: int, tell: Callable[[int], None] | None = None) -> Explored:
    """Explore all scenarios; `twins` are the validators, by number, each of which is two nodes.

    `tell` hears how many scenarios are done, now and then. Raises SettingsError.
    """
    if not all(0 <= twin < validators for twin in twins) or len(set(twins)) != len(twins):
        message = f"the twins {list(twins)} are not among {validators} validators"
        raise SettingsError(message)
    addresses = [Address(b"v%d" % number) for number in range(validators)]
    members = [*addresses, *(addresses[twin] for twin in twins)]
    honest = [number for number in range(validators) if number not in twins]
    splits = list(_splits(len(members)))
    network = _Network.begin(members, ValidatorSet.of(dict.fromkeys(addresses, 1)))
    return _Explorer(splits, honest, tell).from_here(network, phases)


def _splits(nodes: int) -> Iterator[tuple[Part, ...]]:
    """Yield every way to split nodes into at most two parts, the undivided one first."""
    for mask in range(2 ** (nodes - 1)):
        one = frozenset(node for node in range(nodes - 1) if mask >> node & 1)
        other = frozenset(range(nodes)) - one
        yield (one, other) if one else (other,)


class _Explorer:
    def __init__(self, splits: list[tuple[Part, ...]], honest: list[int], tell: Callable[[int], None] | None) -> None:
        self._splits, self._honest, self._tell, self._done = splits, honest, tell, 0

    def from_here(self, network: _Network, phases: int) -> Explored:
        """Explore what follows; once all honest validators have decided, the rest cannot matter."""
        values = {network.decided[number] for number in self._honest} - {None}
        over = all(network.decided[number] is not None for number in self._honest)
        if phases == 0 or over or len(values) > 1:
            scenarios = len(self._splits) ** phases
            self._done += scenarios
            if self._tell is not None:
                self._tell(self._done)
            return Explored(scenarios, scenarios * (len(values) > 1), scenarios * bool(values), 0)
        found = []
        for parts in self._splits:
            after = network.copy()
            after.phase(parts)
            found.append(self.from_here(after, phases - 1))
        return Explored(
            sum(one.scenarios for one in found),
            sum(one.forks for one in found),
            sum(one.decided for one in found),
            sum(one.simulated for one in found) + len(found),
        )


class _Network:
    """Nodes, what each has decided, and which timeouts run."""

    def __init__(self, drivers: list[Driver], decided: list[ValueId | None], timers: list[set[TimeoutElapsed]]) -> None:
        self.drivers, self.decided, self.timers = drivers, decided, timers
        self._queue: deque[tuple[int, Input]] = deque()

    @classmethod
    def begin(cls, members: list[Address], validators: ValidatorSet) -> _Network:
        drivers = [Driver(address, _HEIGHT, validators, Timeouts()) for address in members]
        return cls(drivers, [None] * len(members), [set() for _ in members])

    def copy(self) -> _Network:
        return _Network([driver.copy() for driver in self.drivers], list(self.decided), [set(t) for t in self.timers])

    def phase(self, parts: tuple[Part, ...]) -> None:
        """Let everybody start or repeat, then let timeouts elapse in the order of the steps."""
        for number, driver in enumerate(self.drivers):
            if driver.state.round < 0:
                self._give(number, Start(), parts)
            elif self.decided[number] is None:
                said = driver.catch_up()
                inputs: list[Input] = [CertificateReceived(certificate) for certificate in said.certificates]
                inputs += [VoteReceived(vote) for vote in said.votes]
                inputs += [ProposalReceived(proposal, valid=True) for proposal in said.proposals]
                for input_ in inputs:
                    self._spread(number, input_, parts)
        self._settle(parts)
        for step in (Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT):
            for number, driver in enumerate(self.drivers):
                elapsed = TimeoutElapsed(step, driver.state.round)
                if elapsed in self.timers[number]:
                    self.timers[number].discard(elapsed)
                    self._queue.append((number, elapsed))
            self._settle(parts)

    def _settle(self, parts: tuple[Part, ...]) -> None:
        while self._queue:
            self._give(*self._queue.popleft(), parts)

    def _spread(self, sender: int, input_: Input, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if sender in part:
                self._queue.extend((number, input_) for number in sorted(part - {sender}))

    def _give(self, number: int, input_: Input, parts: tuple[Part, ...]) -> None:
        for output in self.drivers[number].handle(input_):
            match output:
                case Sign(message):
                    own: Input = (
                        VoteReceived(message) if isinstance(message, Vote) else ProposalReceived(message, valid=True)
                    )
                    self._queue.append((number, own))
                    self._spread(number, own, parts)
                case GetValue(round_):
                    self._queue.append((number, ValueChosen(round_, ValueId(b"%d of %d" % (round_, number)))))
                case ScheduleTimeout(timeout):
                    self.timers[number].add(timeout)
                case Decided(proposal):
                    self.decided[number] = proposal.value_id
                case _:
                    pass
