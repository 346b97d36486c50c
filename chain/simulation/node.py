"""An honest validator: the shell around `chain.consensus.driver`, with a journal, a signer and a store on a bad disk.

What a shell owes the core is here in small: signatures are checked before a message gets in, inputs are durable before
an output gets out, the signer records before it releases, and a validator whose files are damaged only watches until
the height after its last signature.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from chain.consensus.driver import (
    Accuse,
    CertificateReceived,
    Decided,
    Driver,
    GetValue,
    Input,
    Output,
    ProposalReceived,
    Rejected,
    ScheduleTimeout,
    Sign,
    Start,
    VoteReceived,
)
from chain.consensus.errors import JournalError, SignerRecordError
from chain.consensus.journal import Journal, Mark, recover
from chain.consensus.round import TimeoutElapsed, ValueChosen
from chain.consensus.signing import (
    LastSignature,
    decode_last_signature,
    encode_last_signature,
    position_of,
    recorded,
)
from chain.consensus.types import Address, Height, Proposal, Round, Vote
from chain.consensus.validators import Schedule
from chain.simulation.disk import Disk, PowerLostError
from chain.simulation.keys import sign_bytes
from chain.simulation.messages import Decision, Repeated
from chain.simulation.values import is_valid, make_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random  # noqa: TID251 - the type only

    from chain.consensus.timeouts import Timeouts
    from chain.consensus.types import ValueId
    from chain.simulation.checkers import Watch
    from chain.simulation.keys import KeyRing
    from chain.simulation.messages import Message

JOURNAL: Final = "journal"
SIGNER: Final = "signer"
DECISIONS: Final = "decisions"

EARLY_KEPT: Final = 16
"""Messages of the next height that are kept for each sender."""
DECISIONS_SENT: Final = 2
"""Decisions that somebody who lags gets at once."""
NOBODY: Final = Address(b"")

_DECISION: Final = msgspec.msgpack.Decoder(Decided)
_LENGTH_BYTES: Final = 4


class World(Protocol):
    """What a node knows of the world around it."""

    keys: KeyRing
    watch: Watch
    timeouts: Timeouts
    powers: Mapping[Address, int]
    nodes: int
    last_height: Height
    """Nobody begins a height after this one."""

    def after(self, number: int, delay_ms: int, action: Callable[[], None]) -> None:
        """Have `action` called `delay_ms` from now, or when node `number` wakes if it is paused then."""
        ...

    def send(self, sender: int, receiver: int | None, message: Message) -> None:
        """Send to one node, or to all others."""
        ...

    def changes(self, height: Height) -> Mapping[Address, int]:
        """Return which powers a height changes."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a node's clock runs, in percent, and how often it looks whether it stands still."""

    percent: int = 100
    repeat_ms: int = 120
    between_heights_ms: int = 10


class Node:
    """Node `number` with the key of `address`."""

    honest = True

    def __init__(self, world: World, number: int, address: Address, chance: Random, pace: Pace) -> None:
        """Prepare; `start` begins, or goes on after a crash with what is on the disk."""
        self.world, self.number, self.address, self.chance, self.pace = world, number, address, chance, pace
        self.disk = Disk()
        self.running = False
        self.chain: list[Decided] = []
        self.driver = Driver(NOBODY, Height(0), Schedule.genesis(world.powers).current, world.timeouts)
        self.schedule = Schedule.genesis(world.powers)
        self._life = 0  # timers of an earlier life are void
        self._journal = Journal()
        self._last: LastSignature | None = None
        self._silent_until: int | None = 0  # it signs heights after this one; None: never again
        self._early: dict[int, list[Message]] = {}
        self._crashed: tuple[Mark, object] | None = None  # for the checks alone: where the journal and the driver were
        self._moved = (Height(0), Round(-1), 0)
        self._work: deque[Input | Sign] = deque()
        """What to do next. Signatures are made one by one, each journaled before the next: the signer recalls one."""

    @property
    def height(self) -> Height:
        """The height that it works at: the one after the last that it has decided."""
        return self.schedule.height

    # Life

    def start(self) -> None:
        """Begin, or recover from what is on the disk."""
        self._life += 1
        self.running = True
        self._guarded(self._recover)

    def crash(self) -> tuple[int, int]:
        """Stop at once; return how many files lost their end, and how many were torn."""
        self.running = False
        self._life += 1
        self._crashed = (self._journal.mark, self.driver.fingerprint())
        self._early.clear()
        self._work.clear()
        return self.disk.crash(self.chance)

    def receive(self, sender: int, message: Message) -> None:
        """Take a message from the network."""
        if self.running:
            self._guarded(partial(self._receive, sender, message))

    def resume(self) -> None:
        """Begin the next height, if there may be one now and it has not begun."""
        if self.running:
            self._guarded(self._next_height)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except PowerLostError:
            self.world.watch.counts["crashes in the middle of a disk operation"] += 1
            self.crash()

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        life = self._life

        def act() -> None:
            if self.running and self._life == life:
                self._guarded(action)

        self.world.after(self.number, max(1, delay_ms * self.pace.percent // 100), act)

    def _recover(self) -> None:
        watch = self.world.watch
        self.schedule, self.chain = Schedule.genesis(self.world.powers), []
        self.driver = Driver(NOBODY, Height(0), self.schedule.current, self.world.timeouts)
        for decided in self._read_decisions():
            self._follow(decided)
        self._silent_until, self._last = 0, None
        try:
            raw = self.disk.read(SIGNER)
            self._last = decode_last_signature(raw) if raw else None
        except SignerRecordError as error:
            watch.damaged(self, error)
            self._silent_until = None
        self._later(self.pace.repeat_ms, self._repeat)
        raw, last = self.disk.read(JOURNAL), self._last
        at_least = last.mark if last is not None and last.height == self.height else None
        try:
            found = recover(raw, self.height, self.address, at_least=at_least)
        except JournalError as error:
            if at_least is None and self._is_of_an_earlier_height(raw):
                self._next_height()  # the crash came between a decision and the next height's journal
                return
            watch.damaged(self, error)
            if self._silent_until is not None:
                self._silent_until = self.height if last is None else max(self.height, last.height)
            self._next_height()
            return
        if found.length < len(raw):
            self.disk.cut(JOURNAL, found.length)
        if found.journal.mark.records == 0 or not found.inputs:
            self._next_height()
            return
        self._replay(found.inputs, found.journal)

    def _is_of_an_earlier_height(self, raw: bytes) -> bool:
        if not self.chain:
            return False
        try:
            recover(raw, Height(self.height - 1), self.address)
        except JournalError:
            return False
        return True

    def _replay(self, inputs: tuple[Input, ...], journal: Journal) -> None:
        """Bring the driver back to where it was, then do what it asked for last and nobody did."""
        self.driver = self._new_driver()
        self._journal = journal
        asked: list[Output] = []
        for input_ in inputs:
            if isinstance(input_, ValueChosen):
                asked = [output for output in asked if not isinstance(output, GetValue)]
            asked += self.driver.handle(input_)
        if self._crashed is not None and self._crashed[0] == journal.mark:  # nothing was lost
            self.world.watch.replayed(self, same=self._crashed[1] == self.driver.fingerprint())
        self._do(tuple(output for output in asked if self._is_due(output)))
        self._drain()

    def _is_due(self, output: Output) -> bool:
        """Tell whether something that was asked for before a crash is still to be done."""
        now = self.driver.state.round
        match output:
            case Sign(message):
                return message.round == now and not self.driver.knows(message)
            case ScheduleTimeout(timeout):
                return timeout.round == now
            case GetValue(round_):
                return round_ == now
            case Decided():
                return True
            case Accuse() | Rejected():
                return False

    # Heights

    def _next_height(self) -> None:
        if self.height > self.world.last_height or self.driver.height == self.height:
            return
        self._journal = Journal()
        self.disk.replace(JOURNAL, self._journal.begin(self.height, self.address))
        self.driver = self._new_driver()
        self._feed(Start())
        early, self._early = self._early, {}
        for sender, messages in early.items():
            for message in messages:
                self._receive(sender, message)

    def _new_driver(self) -> Driver:
        silent = self._silent_until is None or self.height <= self._silent_until
        address = NOBODY if silent else self.address
        return Driver(address, self.height, self.schedule.current, self.world.timeouts)

    def _follow(self, decided: Decided) -> None:
        self.chain.append(decided)
        self.schedule = self.schedule.decided(self.world.changes(self.schedule.height))

    def _decide(self, decided: Decided) -> None:
        raw = msgspec.msgpack.encode(decided)
        self.disk.append(DECISIONS, len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
        self.disk.sync(DECISIONS)
        self.world.watch.decided(self, decided)
        self._follow(decided)
        self._work.clear()
        self._later(self.pace.between_heights_ms, self._next_height)

    def _read_decisions(self) -> list[Decided]:
        raw, found, position = self.disk.read(DECISIONS), list[Decided](), 0
        while position < len(raw):
            begin = position + _LENGTH_BYTES
            end = begin + int.from_bytes(raw[position:begin], "big")
            if end > len(raw):
                self.disk.cut(DECISIONS, position)
                break
            found.append(_DECISION.decode(raw[begin:end]))
            position = end
        return found

    # Messages

    def _receive(self, sender: int, message: Message) -> None:
        if isinstance(message, Decision):
            if message.height == self.height and self.driver.height == self.height:
                self._take(message.content.certificate.votes, CertificateReceived(message.content.certificate))
                self._take_statement(message.content.proposal)
        elif message.height < self.height:
            if isinstance(message, Repeated):
                for decided in self.chain[message.height - 1 : message.height - 1 + DECISIONS_SENT]:
                    self._send(sender, Decision(decided.proposal.height, decided))
            else:
                self.world.watch.counts["messages refused: height decided"] += 1
        elif message.height > self.driver.height:
            early = self._early.setdefault(sender, [])
            begun = self.driver.height == self.height
            if message.height <= self.height + begun and len(early) < EARLY_KEPT:
                early.append(message)
            else:
                self.world.watch.counts["messages refused: height too far ahead"] += 1
        elif isinstance(message, Repeated):
            for certificate in message.content.certificates:
                self._take(certificate.votes, CertificateReceived(certificate))
            for vote in message.content.votes:
                self._take_statement(vote)
            for proposal in message.content.proposals:
                self._take_statement(proposal)
        else:
            self._take_statement(message)

    def _take_statement(self, statement: Vote | Proposal) -> None:
        self._take((statement,), self._input(statement))

    def _input(self, statement: Vote | Proposal) -> Input:
        if isinstance(statement, Vote):
            return VoteReceived(statement)
        return ProposalReceived(statement, self._is_valid(statement.value_id))

    def _take(self, statements: tuple[Vote | Proposal, ...], input_: Input) -> None:
        """Let an input in if all of its signatures hold; what is known already needs no check."""
        if self.driver.state.decision is not None:
            return
        unknown = [statement for statement in statements if not self.driver.knows(statement)]
        if not unknown:
            self.world.watch.counts["messages refused: known already"] += 1
        elif all(self.world.keys.holds(statement) for statement in unknown):
            self._feed(input_)
        else:
            self.world.watch.counts["messages refused: signature does not hold"] += 1

    def _is_valid(self, value_id: ValueId) -> bool:
        return is_valid(value_id, self.schedule, self.chain[-1].proposal.value_id if self.chain else None)

    def _send(self, receiver: int | None, message: Message) -> None:
        self.world.send(self.number, receiver, message)

    def _repeat(self) -> None:
        """Every now and then: if nothing has moved since the last time, say again what others may have missed."""
        state = self.driver.state
        moved = (self.height, state.round, int(state.step))
        if moved == self._moved and self.driver.height == self.height:
            self._send(None, Repeated(self.height, self.driver.catch_up()))
        self._moved = moved
        self.world.watch.measured(self)
        self._later(self.pace.repeat_ms, self._repeat)

    # Inputs and outputs

    def _feed(self, input_: Input) -> None:
        self._work.append(input_)
        self._drain()

    def _drain(self) -> None:
        while self._work and self.driver.state.decision is None:
            work = self._work.popleft()
            if isinstance(work, Sign):
                signed = self._sign(work.message)
                self._take_in(self._input(signed), release=signed)
            else:
                self._take_in(work)

    def _take_in(self, input_: Input, release: Vote | Proposal | None = None) -> None:
        """Give the driver an input, journal it, let out what there is, and note what to do next."""
        outputs = self.driver.handle(input_)
        if outputs and isinstance(outputs[0], Rejected):
            self.world.watch.counts[f"messages refused: {outputs[0].reason.name.lower().replace('_', ' ')}"] += 1
        else:
            self.disk.append(JOURNAL, self._journal.record(input_))
            if release is not None or outputs:
                self.disk.sync(JOURNAL)
        if release is not None:
            self._broadcast(release)
        self._do(outputs)

    def _broadcast(self, message: Vote | Proposal) -> None:
        self._send(None, message)

    def _do(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            match output:
                case Sign():
                    self._work.append(output)
                case ScheduleTimeout(timeout, after_ms):
                    self._later(after_ms, partial(self._elapsed, self.height, timeout))
                case GetValue(round_):
                    self._work.append(ValueChosen(round_, self._choose_value()))
                case Accuse(evidence):
                    self.world.watch.accused(self, evidence)
                case Decided():
                    self._decide(output)
                    return
                case Rejected():
                    pass

    def _elapsed(self, height: Height, timeout: TimeoutElapsed) -> None:
        if self.driver.height == height == self.height:
            self._feed(timeout)

    def _choose_value(self) -> ValueId:
        parent = self.chain[-1].proposal.value_id if self.chain else None
        return make_value(self.schedule, parent, self.chance.getrandbits(64))

    def _sign(self, message: Vote | Proposal) -> Vote | Proposal:
        """Sign, on record before anybody sees it; raises ContradictionError, which no honest node ever should."""
        position, said = position_of(message), sign_bytes(message)
        signature = recorded(self._last, position, said)
        if signature is None:
            self.disk.sync(JOURNAL)
            signature = self.world.keys.sign(message)
            self._last = LastSignature(*position, said, signature, self._journal.mark)
            self.disk.replace(SIGNER, encode_last_signature(self._last))
        signed = replace(message, proof=signature)
        self.world.watch.signed(self, signed)
        return signed
