"""Scripted runs: what a scenario's file may say, and what is refused before anything runs.

Validators are named v0, v1, ...; newcomers as they like. A node has its validator's name; of a validator with the habit
`twins` the second node has a prime: v1 and v1'. Times are virtual milliseconds, heights count from 1, rounds from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from chain.consensus.errors import ValidatorPowersError
from chain.consensus.timeouts import Timeouts
from chain.consensus.types import Address, Height
from chain.simulation.errors import SettingsError
from chain.simulation.network import Weather
from chain.simulation.settings import TIMEOUTS, Plan, powers_by_height

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
_HeightNumber = Annotated[int, msgspec.Meta(ge=1, le=1000)]
_Heights = tuple[_HeightNumber, _HeightNumber]
"""The first and the last."""
Validator = Annotated[str, msgspec.Meta(pattern="^[a-z][0-9]{1,3}$")]
NodeName = Annotated[str, msgspec.Meta(pattern="^[a-z][0-9]{1,3}'?$")]
_Nodes = Annotated[tuple[NodeName, ...], msgspec.Meta(min_length=1)]

_CUTTING: Final = frozenset({"partition", "one-way partition"})
_ON_ONE: Final = frozenset({"crash", "pause", "flip"})


class Links(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How links behave: a message takes `least_ms`, up to `spread_ms` more, a straggler up to `straggler_ms`."""

    least_ms: _Ms = 1
    spread_ms: _Ms = 8
    loss: _Share = 0.0
    repetition: _Share = 0.0
    straggling: _Share = 0.0
    straggler_ms: _Ms = 400

    def weather(self) -> Weather:
        """Return it as the network knows it."""
        return Weather(
            loss=self.loss,
            repetition=self.repetition,
            least_ms=self.least_ms,
            spread_ms=self.spread_ms,
            straggling=self.straggling,
            straggler_ms=self.straggler_ms,
        )


class NetworkModel(Links, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How all links behave; `handling_ms`: how long a node works on each message, one after another."""

    handling_ms: _Ms = 0


class LinkModel(Links, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Links that are unlike the others; without `to`, those to everybody else."""

    from_: _Nodes
    to: tuple[NodeName, ...] = ()


class Steps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Timeouts, in milliseconds: base and what each round adds."""

    propose: _Positive = TIMEOUTS.propose_ms
    prevote: _Positive = TIMEOUTS.prevote_ms
    precommit: _Positive = TIMEOUTS.precommit_ms
    propose_delta: _Ms = TIMEOUTS.propose_delta_ms
    prevote_delta: _Ms = TIMEOUTS.prevote_delta_ms
    precommit_delta: _Ms = TIMEOUTS.precommit_delta_ms


class Clock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the timers of some validators run, in percent: 200 is a clock of half the speed."""

    validators: tuple[Validator, ...]
    percent: Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Lie(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What some validators do instead of following the rules; without `heights`, at all of them."""

    validators: tuple[Validator, ...]
    habit: Literal["silent", "withholding", "equivocating", "obliging", "amnesiac", "unsound", "babbling", "twins"]
    heights: _Heights | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Powers that a height changes; they count two heights later; 0 removes, an unknown name enters."""

    height: _HeightNumber
    powers: dict[Validator, Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """Something that breaks at a time, or as soon as somebody honest works at a height, for a while.

    `for` 0: until the healing. `to`: the far ends of a clog, by default everybody else. `flip` crashes a node and turns
    a bit of `file` over.
    """

    do: Literal["crash", "pause", "partition", "one-way partition", "clog", "flip"]
    nodes: _Nodes
    at: _Ms | None = None
    height: _HeightNumber | None = None
    for_: _Ms = 0
    to: tuple[NodeName, ...] = ()
    file: Literal["journal", "signer"] = "journal"


class DiskFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """A node's power fails at an operation on a file while it works at a height; it restarts after `for`.

    Operations count from 1. Of a decision the first is the write, the second the sync; a journal begins with its head.
    What was not synced is lost, torn or kept, by the seed.
    """

    node: NodeName
    file: Literal["journal", "signer", "decisions"]
    height: _HeightNumber
    operation: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    for_: _Positive = 50


Kind = Literal["proposal", "prevote", "precommit", "repetition", "decision"]


class Drop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Messages that never arrive before the healing; what is left out means all.

    Repetitions (what a node that stands still says again) and decisions have no round, so `rounds` leaves them alone.
    """

    kinds: tuple[Kind, ...] = ()
    from_: tuple[NodeName, ...] = ()
    to: tuple[NodeName, ...] = ()
    heights: _Heights | None = None
    rounds: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]] | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole run but its seed.

    It lasts until every honest node has decided `heights`, at most `milliseconds`. Then, if it `heals`, everything is
    mended and every honest node has to decide one more height.
    """

    validators: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    powers: dict[Validator, _Positive] = {}
    heights: _HeightNumber = 5
    milliseconds: _Positive = 10_000
    heals: bool = True
    timeouts: Steps = Steps()
    network: NetworkModel = NetworkModel()
    link: tuple[LinkModel, ...] = ()
    clock: tuple[Clock, ...] = ()
    byzantine: tuple[Lie, ...] = ()
    change: tuple[Change, ...] = ()
    fault: tuple[Fault, ...] = ()
    disk: tuple[DiskFault, ...] = ()
    drop: tuple[Drop, ...] = ()

    @property
    def liars(self) -> dict[str, str]:
        """The habit of each validator that has one."""
        return {name: lie.habit for lie in self.byzantine for name in lie.validators}

    def nodes(self) -> list[str]:
        """Return the names of all nodes, by number; raises SettingsError."""
        liars = self.liars
        return [
            node
            for address in self.plan().addresses
            for node in [address.decode(), address.decode() + "'"][: 1 + (liars.get(address.decode()) == "twins")]
        ]

    def plan(self) -> Plan:
        """Return what the world is to be like; raises SettingsError."""
        powers = dict.fromkeys((f"v{number}" for number in range(self.validators)), 1)
        for name in self.powers:
            _known(name, powers, "powers: no validator")
        first = {Address(name.encode()): power for name, power in (powers | self.powers).items()}
        changes = {Height(one.height): _addresses(one.powers) for one in self.change}
        if len(changes) < len(self.change):
            message = "change: a height occurs twice; name all of its powers at once"
            raise SettingsError(message)
        try:
            powers_at = powers_by_height(first, changes, self.heights + 2)
        except ValidatorPowersError as error:
            message = f"change: {error}"
            raise SettingsError(message) from error
        return Plan(
            powers=first,
            changes=changes,
            liars={Address(name.encode()): habit for name, habit in self.liars.items()},
            left_out=frozenset(),
            brittle=frozenset(_address(node) for one in self.fault if one.do == "flip" for node in one.nodes),
            weather=self.network.weather(),
            faults=(),
            fault_every_ms=1,
            break_ms=self.milliseconds,
            powers_at=powers_at,
            lies_at={
                Address(name.encode()): range(lie.heights[0], lie.heights[1] + 1)
                for lie in self.byzantine
                for name in lie.validators
                if lie.heights is not None
            },
            clocks={Address(name.encode()): one.percent for one in self.clock for name in one.validators},
            timeouts=Timeouts(**{f"{what}_ms": value for what, value in msgspec.structs.asdict(self.timeouts).items()}),
            heals=self.heals,
        )

    def check(self) -> None:
        """Refuse what names nobody or can never happen; raises SettingsError."""
        nodes, plan = self.nodes(), self.plan()
        validators = [address.decode() for address in plan.addresses]
        self._check_people(validators)
        for number, one in enumerate(self.link):
            _all_known((*one.from_, *one.to), nodes, f"link[{number}]: no node")
        for number, drop in enumerate(self.drop):
            _all_known((*drop.from_, *drop.to), nodes, f"drop[{number}]: no node")
            _spans(drop.heights, self.heights, f"drop[{number}].heights")
            _spans(drop.rounds, None, f"drop[{number}].rounds")
        for number, fault in enumerate(self.fault):
            self._check_fault(fault, nodes, f"fault[{number}]")
        for number, disk in enumerate(self.disk):
            _all_known((disk.node,), nodes, f"disk[{number}]: no node")
            _spans((disk.height, disk.height), self.heights, f"disk[{number}].height")
            if (
                disk.file == "signer"
                and disk.node.rstrip("'") in self.liars
                and self.liars[disk.node.rstrip("'")] != "twins"
            ):
                message = f"disk[{number}]: {disk.node} lies and keeps no record of what it signs"
                raise SettingsError(message)

    def _check_people(self, validators: list[str]) -> None:
        for number, clock in enumerate(self.clock):
            _all_known(clock.validators, validators, f"clock[{number}]: no validator")
        seen: set[str] = set()
        for number, lie in enumerate(self.byzantine):
            _all_known(lie.validators, validators, f"byzantine[{number}]: no validator")
            _spans(lie.heights, self.heights, f"byzantine[{number}].heights")
            if lie.heights is not None and lie.habit == "twins":
                message = f"byzantine[{number}]: twins are two nodes at all heights: leave out heights"
                raise SettingsError(message)
            for name in lie.validators:
                if name in seen:
                    message = f"byzantine[{number}]: {name} has two habits"
                    raise SettingsError(message)
                seen.add(name)
        if len(seen) == len(validators):
            message = "byzantine: nobody is honest"
            raise SettingsError(message)
        for number, change in enumerate(self.change):
            if change.height > self.heights:
                message = f"change[{number}]: height {change.height} is after the last one, {self.heights}"
                raise SettingsError(message)

    def _check_fault(self, fault: Fault, nodes: list[str], where: str) -> None:
        _all_known((*fault.nodes, *fault.to), nodes, f"{where}: no node")
        problem = ""
        if (fault.at is None) == (fault.height is None):
            problem = "say when: either at or height"
        elif fault.at is not None and fault.at >= self.milliseconds:
            problem = f"{fault.at} ms is not before the end, {self.milliseconds} ms"
        elif fault.height is not None and fault.height > self.heights:
            problem = f"height {fault.height} is after the last one, {self.heights}"
        elif fault.to and fault.do != "clog":
            problem = f"to is for a clog, not for a {fault.do}"
        elif fault.do in _CUTTING and len(set(fault.nodes)) == len(nodes):
            problem = "all nodes are on one side"
        elif fault.do in _ON_ONE and len(fault.nodes) != 1:
            problem = f"a {fault.do} is of one node"
        elif fault.do == "clog" and not set(fault.to or nodes) - set(fault.nodes):
            problem = "no link leads anywhere"
        if problem:
            message = f"{where}: {problem}"
            raise SettingsError(message)


def fault_bound_holds(scenario: Scenario) -> bool:
    """Tell whether at every height less than a third of the power lies: then nothing may ever fork."""
    plan = scenario.plan()
    return all(
        3 * sum(powers.get(liar, 0) for liar in plan.liars) < sum(powers.values()) for powers in plan.powers_at.values()
    )


def _address(node: str) -> Address:
    return Address(node.rstrip("'").encode())


def _addresses(powers: Mapping[str, int]) -> dict[Address, int]:
    return {Address(name.encode()): power for name, power in powers.items()}


def _all_known(names: Iterable[str], among: Iterable[str], what: str) -> None:
    for name in names:
        _known(name, among, what)


def _known(name: str, among: Iterable[str], what: str) -> None:
    if name not in among:
        message = f"{what} {name!r}, there are {', '.join(among)}"
        raise SettingsError(message)


def _spans(span: tuple[int, int] | None, last: int | None, where: str) -> None:
    if span is None:
        return
    if span[0] > span[1]:
        message = f"{where}: from {span[0]} to {span[1]} there is nothing"
        raise SettingsError(message)
    if last is not None and span[1] > last:
        message = f"{where}: {span[1]} is after the last height, {last}"
        raise SettingsError(message)
