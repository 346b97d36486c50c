"""One validator: the shell around `chain.consensus.driver`, with a journal, a signer, a store and an application.

It owes the core what chain/consensus/README.md lists. Signatures are checked before a message gets in. What it was told
is on disk, in one transaction with the record of the signature, before that signature leaves. While it catches up, and
while its files are damaged, it signs nothing. It waits for nobody and calls nobody back: messages and timeouts come in
by `receive` and `elapse`, what is to be sent goes to its `Host`, and whoever drives it calls `sign` while `must_sign`.

A height: `begin`, then messages until `agreed` is not None, then `execute`, `save`, `commit`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, assert_never

from chain import light
from chain.consensus import types as core
from chain.consensus.certificates import check_certificate
from chain.consensus.driver import (
    Accuse,
    CertificateReceived,
    Decided,
    Driver,
    GetValue,
    Input,
    Output,
    ProposalReceived,
    Reason,
    Rejected,
    ScheduleTimeout,
    Sign,
    Start,
    VoteReceived,
)
from chain.consensus.errors import CertificateFaultError, JournalError, SignerRecordError
from chain.consensus.journal import Journal, recover
from chain.consensus.limits import ROUNDS_AHEAD
from chain.consensus.round import TimeoutElapsed, ValueChosen
from chain.consensus.timeouts import Timeouts
from chain.engines.embedded import messages, statements
from chain.light.errors import LightError, MalformedRecordError, WrongDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chain.consensus.journal import Recovered
    from chain.consensus.signing import LastSignature
    from chain.engines.embedded.messages import Message
    from chain.engines.embedded.replica import Replica
    from chain.engines.embedded.signer import Signer
    from chain.engines.embedded.store import Outcome
    from chain.engines.embedded.verdicts import Verdicts
    from merit.clock import Clock

_LOGGER: Final = logging.getLogger(__name__)

EARLY_KEPT: Final = 16
"""Messages of a height that has not begun here, kept for each sender; together no longer than one message may be."""
WORK_KEPT: Final = 1_024
"""Inputs that wait for a signature; beyond them messages are refused, and come again when their senders repeat."""
BLOCKS_KEPT: Final = 8
"""Blocks of one height; beyond them those go that neither this round nor the valid value needs."""
ACCUSATIONS_KEPT: Final = 64
DEFAULT_TIMEOUTS: Final = Timeouts()

_VOTE_STEP_NS: Final = 1_000_000
"""A vote is at least this much later than its block (CometBFT's timeIota), so that block times rise."""
_NOBODY: Final = core.Address(b"")


class Fault(Enum):
    """Why a message got no further than the shell; the core's own reasons are `driver.Reason`."""

    OVERSIZED = "it is longer than any message can be"
    MALFORMED = "it does not decode"
    WRONG_CHAIN = "it is of another chain"
    WRONG_SIGNATURE = "a signature does not hold"
    WRONG_BLOCK = "its block is not the one that it names"
    WRONG_COMMIT = "its commit does not prove its block"
    SURPLUS = "too much of its sender waits already"


Refused: TypeAlias = Fault | Reason
"""A message that changed nothing, and why."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A decided block and the commit that proves it."""

    block: light.Block
    commit: light.Commit


@dataclass(frozen=True, slots=True)
class Timer:
    """A timeout and when it is due, in the clock's monotonic seconds."""

    due: float
    timeout: TimeoutElapsed


class Host(Protocol):
    """What a node knows of the world around it."""

    def send(self, sender: core.Address, receiver: core.Address | None, raw: bytes) -> None:
        """Send to one validator, or to all others."""
        ...

    def choose(self, replica: Replica) -> light.Block:
        """Return the block that this replica proposes now."""
        ...


class Node:
    """A validator between messages; every method but `sign` and `save` belongs to the event loop's thread."""

    def __init__(
        self,
        replica: Replica,
        signers: Sequence[Signer],
        host: Host,
        verdicts: Verdicts,
        clock: Clock,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """Prepare; `recover` comes before anything else. `signers` are those of the replica's keys."""
        self.replica, self.address = replica, core.Address(replica.name)
        self.refusals: dict[core.Address, Counter[Refused]] = {}
        """What was refused of each sender, by reason."""
        self.accusations: deque[core.Equivocation] = deque(maxlen=ACCUSATIONS_KEPT)
        self.timers: list[Timer] = []
        self._signers = {signer.address: signer for signer in signers}
        self._host, self._verdicts, self._clock, self._timeouts = host, verdicts, clock, timeouts
        self._chain_id = replica.chain_id
        self._may_sign = False
        self._silent_until: int | None = 0  # it signs heights after this one; None: never again
        self._early: dict[core.Address, list[bytes]] = {}
        self._clear()

    def _clear(self) -> None:
        """Forget the height, and see who the validators of the next one are."""
        validators = self.replica.validators
        self._addresses, self._later_addresses = validators.addresses, self.replica.next_validators.addresses
        self._keys = {core.Address(one.address): one.public_key for one in validators}
        self.voter = core.Address(self.replica.address)
        """The address by which it votes at this height, if it is a validator there."""
        self.driver: Driver | None = None
        self._journal = Journal()
        self._unwritten: list[bytes] = []
        self._unwritten_blocks: dict[core.ValueId, bytes] = {}
        self._blocks: dict[core.ValueId, bytes] = {}
        self._valid: dict[core.ValueId, bool] = {}
        self._work: deque[Input | Sign | GetValue] = deque()
        self._unsent: list[core.Vote | core.Proposal] = []
        self._learnt: Agreed | None = None
        self._round_begun = 0
        self.timers.clear()

    # Life

    @property
    def height(self) -> core.Height:
        """The height that it works at: the one after the last that is durable here."""
        return core.Height(self.replica.height + 1)

    @property
    def _bytes_max(self) -> int:
        return messages.bytes_max(max(len(self._addresses), len(self._later_addresses)))

    @property
    def running(self) -> bool:
        """Whether it takes part."""
        return self.replica.running

    @property
    def is_called(self) -> bool:
        """Whether somebody is at the height that begins next here."""
        return bool(self._early)

    @property
    def rounds_tried(self) -> int:
        """How many rounds of this height it has left behind since it began or came back."""
        return self.driver.state.round - self._round_begun if self.driver is not None else 0

    @property
    def accepted(self) -> frozenset[core.ValueId]:
        """The blocks of this height that are valid here."""
        return frozenset(name for name, valid in self._valid.items() if valid)

    def turns(self) -> Iterator[core.Address]:
        """Yield who proposes at this height, round by round, without end."""
        turn = self.replica.sets.schedule.current
        while True:
            yield turn.proposer
            turn = turn.after(1)

    @property
    def silent(self) -> bool:
        """Whether it must not sign at this height, because what it signed before may be lost."""
        return self._silent_until is None or self.height <= self._silent_until

    def recover(self) -> None:
        """Bring application and store together and the driver back to where the journal ends; sign nothing yet.

        Damage to journal or signer's record is logged and makes the validator silent. Raises as `Replica.recover`.
        """
        self._early.clear()
        self._may_sign, self._silent_until, self._last = False, 0, None
        self.replica.recover()
        self._clear()
        store, last = self.replica.store, None
        try:
            last = self._last = store.last_signature()
        except SignerRecordError as error:
            self._silent_until = None
            _LOGGER.critical("validator %s: %s", self.address.hex(), error)
        at_least = last.mark if last is not None and last.height == self.height else None
        try:
            found = recover(store.journal(), self.height, self.voter, at_least=at_least)
            self._read_blocks(found)
        except JournalError as error:
            _LOGGER.critical("validator %s, height %d: %s", self.address.hex(), self.height, error)
            self._blocks.clear()
            if self._silent_until is not None:
                self._silent_until = self.height if last is None else max(self.height, last.height)
            return
        if found.inputs:
            self._replay(found)

    def _read_blocks(self, found: Recovered) -> None:
        """Take the blocks that the journal's proposals name; raises JournalError."""
        self._blocks = {core.ValueId(name): raw for name, raw in self.replica.store.proposed().items()}
        for name, raw in self._blocks.items():
            try:
                if messages.open_block(raw)[1] == name:
                    continue
            except LightError:
                pass  # told below, like any other damage
            raise JournalError(found.journal.mark.records, f"block {name.hex()} is damaged")
        for record, input_ in enumerate(found.inputs, 1):
            if isinstance(input_, ProposalReceived) and input_.valid:
                self._valid[input_.proposal.value_id] = True
                if input_.proposal.value_id not in self._blocks:
                    raise JournalError(record, "its block is missing")
        for name, raw in self._blocks.items():
            if name not in self._valid:
                self._valid[name] = self.replica.accepts(messages.open_block(raw)[0])

    def _replay(self, found: Recovered) -> None:
        """Bring a new driver to where the old one was, then do what it asked for last and nobody did."""
        self._journal, self.driver = found.journal, self._new_driver()
        asked: list[Output] = []
        for input_ in found.inputs:
            if isinstance(input_, ValueChosen):
                asked = [output for output in asked if not isinstance(output, GetValue)]
            asked += self.driver.handle(input_)
        now = self._round_begun = self.driver.state.round
        for output in asked if self.driver.state.decision is None else ():
            match output:
                case Sign(message) if message.round == now and not self.driver.knows(message):
                    self._do(output)
                case ScheduleTimeout(timeout) if timeout.round == now:
                    self._do(output)
                case GetValue(round_) if round_ == now:
                    self._do(output)
                case _:
                    pass

    def join(self) -> None:
        """Take part: from here on it signs, unless it is silent."""
        self._may_sign = True
        self.step()

    def take_key(self, signer: Signer) -> None:
        """Know one more key from now on: at heights at which it is that of a validator, and no newer one is.

        A height that has begun goes on with the key that it has.
        """
        self._signers[signer.address] = signer
        self.replica.addresses = (*self.replica.addresses, signer.address)
        if self.driver is None:
            self.voter = core.Address(self.replica.address)

    # A height

    def begin(self) -> None:
        """Begin the height, unless it has begun."""
        if self.driver is not None:
            return
        self.driver = self._new_driver()
        self._unwritten.append(self._journal.begin(self.height, self.voter))
        self._queue(Start())
        early, self._early = self._early, {}
        for sender, raws in early.items():
            for raw in raws:
                self.receive(sender, raw)

    def _new_driver(self) -> Driver:
        turns = self.replica.sets.schedule.current
        return Driver(_NOBODY if self.silent else self.voter, self.height, turns, self._timeouts)

    @property
    def agreed(self) -> Agreed | None:
        """What this height's decision is, with all precommits for it that have come by now; None before it."""
        if self._learnt is not None or self.driver is None:
            return self._learnt
        certificate = self.driver.certificate()
        raw = self._blocks.get(certificate.value_id) if certificate is not None else None
        if certificate is None or raw is None:
            return None
        return Agreed(messages.open_block(raw)[0], statements.commit(certificate, self._addresses))

    def save(self, agreed: Agreed, outcome: Outcome) -> None:
        """Make the executed height durable in the engine store, where it replaces the journal."""
        self.replica.save(agreed.block, agreed.commit, outcome)

    def commit(self, agreed: Agreed, outcome: Outcome) -> None:
        """Make the saved height durable in the application, and be ready for the next."""
        self.replica.decide(agreed.block, agreed.commit, outcome)
        self._clear()

    def finish(self) -> None:
        """Execute, save and commit what is agreed."""
        agreed = self.agreed
        if agreed is not None:
            outcome = self.replica.execute(agreed.block)
            self.save(agreed, outcome)
            self.commit(agreed, outcome)

    # Signing

    @property
    def must_sign(self) -> bool:
        """Whether nothing goes on here until `sign` is called."""
        return self._may_sign and bool(self._work) and isinstance(self._work[0], Sign)

    def sign(self) -> None:
        """Sign what is due; when this returns it is on disk with all inputs before it, and it leaves with `release`.

        What a signature leads to at once, as a proposal to its proposer's prevote, is signed as well: one write keeps
        them all. May run in a thread of its own. Raises ContradictionError, which no honest validator should ever see.
        """
        last: LastSignature | None = None
        while self.must_sign and isinstance(work := self._work.popleft(), Sign):
            message, mark = work.message, self._journal.mark
            signer = self._signers[message.validator]
            signed, last = signer.sign(message, mark, self._last, not_before_ns=self._not_before(message))
            self._last = last
            self._take_in(self._own(signed))
            self._unsent.append(signed)
        if last is not None:
            first = self._journal.mark.records - len(self._unwritten)
            self.replica.store.record(first, self._unwritten, last, self._unwritten_blocks)
            self._unwritten, self._unwritten_blocks = [], {}

    def release(self) -> None:
        """Send what has been signed."""
        unsent, self._unsent = self._unsent, []
        for statement in unsent:
            self._say(statement)

    def _own(self, signed: core.Vote | core.Proposal) -> Input:
        if isinstance(signed, core.Vote):
            return VoteReceived(signed)
        return ProposalReceived(signed, self._valid[signed.value_id])

    def _not_before(self, message: core.Vote | core.Proposal) -> int:
        raw = self._blocks.get(message.value_id) if message.value_id is not None else None
        return messages.open_block(raw)[0].header.time.to_ns() + _VOTE_STEP_NS if raw is not None else 0

    # Sending

    def repeat(self) -> None:
        """Say again what others may have missed."""
        if self.driver is not None and self.agreed is None:
            known = self.driver.catch_up()
            for certificate in known.certificates:
                votes = tuple(self._vote_bytes(vote) for vote in certificate.votes)
                self._send(None, messages.Polka(self._chain_id, votes))
            for vote in known.votes:
                self._say(vote)
            for proposal in known.proposals:
                self._say(proposal)

    def ask(self) -> None:
        """Tell the others where this validator stands, so that whoever is further answers."""
        self._send(None, messages.Standing(self._chain_id, self.replica.height))

    def _say(self, statement: core.Vote | core.Proposal) -> None:
        if isinstance(statement, core.Vote):
            self._send(None, messages.Voted(self._chain_id, self._vote_bytes(statement)))
        elif (block := self._blocks.get(statement.value_id)) is not None:  # an invalid block is not kept
            self._send(None, messages.Proposed(self._chain_id, statements.encode_proposal(statement), block))

    def _vote_bytes(self, vote: core.Vote) -> bytes:
        return statements.encode_vote(vote, self._addresses.index(vote.validator))

    def _send(self, receiver: core.Address | None, message: Message) -> None:
        self._host.send(self.address, receiver, messages.encode(message))

    # Receiving

    def receive(self, sender: core.Address, raw: bytes) -> Refused | None:
        """Take a message from a validator; return why it was refused, if it was. Nothing of a refused one is kept.

        Raises BrokenChainError when a certified block contradicts what this validator has computed.
        """
        refused = self._receive(sender, raw)
        if refused is not None:
            self.refusals.setdefault(sender, Counter())[refused] += 1
        return refused

    def _receive(self, sender: core.Address, raw: bytes) -> Refused | None:
        if len(raw) > self._bytes_max:
            return Fault.OVERSIZED
        message = messages.decode(raw)
        if message is None:
            return Fault.MALFORMED
        if message.chain_id != self._chain_id:
            return Fault.WRONG_CHAIN
        try:
            return self._open(sender, raw, message)
        except MalformedRecordError:
            return Fault.MALFORMED

    def _open(self, sender: core.Address, raw: bytes, message: Message) -> Refused | None:
        match message:
            case messages.Voted(vote=said) | messages.Polka(votes=(said, *_)) if (far := self._far(said)) is not None:
                return far
            case messages.Voted():
                vote = self._vote(message.vote)
                return self._place(sender, raw, vote.height) if self._is_later(vote) else self._take_vote(sender, vote)
            case messages.Proposed():
                proposal = statements.decode_proposal(message.proposal)
                if self._is_later(proposal):
                    return self._place(sender, raw, proposal.height)
                return self._take_proposal(sender, proposal, message.block)
            case messages.Polka():
                if len(message.votes) > max(len(self._addresses), len(self._later_addresses)):
                    return Fault.OVERSIZED
                votes = tuple(map(self._vote, message.votes))
                if votes and self._is_later(votes[0]):
                    return self._place(sender, raw, votes[0].height)
                return self._take_polka(sender, votes)
            case messages.Standing(height=height):
                self._answer(sender, height)
                return None
            case messages.Decision():
                return self._take_decision(message)
            case _:
                assert_never(message)

    def _far(self, raw: bytes) -> Reason | None:
        """Refuse a vote of a height whose validators are not known or not of interest; raises MalformedRecordError."""
        height = statements.vote_height(raw)
        if height < self.height:
            return Reason.OLD_HEIGHT
        return Reason.FUTURE_HEIGHT if height > self.height + 1 else None

    def _vote(self, raw: bytes) -> core.Vote:
        """Decode a vote by the validators of its height, this one or the next; raises MalformedRecordError."""
        later = statements.vote_height(raw) > self.height
        return statements.decode_vote(raw, self._later_addresses if later else self._addresses)

    def _is_later(self, message: core.Vote | light.Proposal) -> bool:
        """Tell whether a message is of a height that has not begun here."""
        return self.driver is None or message.height > self.driver.height

    def _place(self, sender: core.Address, raw: bytes, height: int) -> Refused | None:
        """Keep a message of the height that begins next."""
        if height < self.height:
            return Reason.OLD_HEIGHT
        if height > self.height + (self.driver is not None):
            return Reason.FUTURE_HEIGHT
        early = self._early.setdefault(sender, [])
        size = len(raw) + sum(map(len, early))
        if len(early) >= EARLY_KEPT or size > self._bytes_max:
            return Fault.SURPLUS
        early.append(raw)
        return None

    def _take_vote(self, sender: core.Address, vote: core.Vote) -> Refused | None:
        driver = self._begun
        if (reason := driver.refuses(vote)) is not None:
            return reason
        if driver.state.decision is not None and vote.kind != core.VoteKind.PRECOMMIT:
            return Reason.OLD_HEIGHT
        if not self._holds(vote):
            return Fault.WRONG_SIGNATURE
        return self._queue(VoteReceived(vote), sender)

    def _take_proposal(self, sender: core.Address, proposal: light.Proposal, raw: bytes) -> Refused | None:
        driver = self._begun
        if proposal.round > driver.state.round + ROUNDS_AHEAD:
            return Reason.FUTURE_ROUND
        if driver.state.decision is not None:
            return Reason.OLD_HEIGHT
        statement = statements.by(proposal, driver.proposer(core.Round(proposal.round)))
        if (reason := driver.refuses(statement)) is not None:
            return reason
        if not self._holds(statement):
            return Fault.WRONG_SIGNATURE
        try:
            block, name = messages.open_block(raw)
        except MalformedRecordError:
            return Fault.WRONG_BLOCK
        if name != statement.value_id:
            return Fault.WRONG_BLOCK
        return self._queue(ProposalReceived(statement, self._judge(name, block, raw)), sender)

    def _take_polka(self, sender: core.Address, votes: tuple[core.Vote, ...]) -> Refused | None:
        driver = self._begun
        if not votes or (name := votes[0].value_id) is None or driver.state.decision is not None:
            return Reason.NO_CERTIFICATE
        first = votes[0]
        certificate = core.Certificate(first.height, first.round, core.VoteKind.PREVOTE, name, votes)
        try:
            check_certificate(certificate, driver.validators)
        except CertificateFaultError:
            return Reason.NO_CERTIFICATE
        if first.height != driver.height or first.round > driver.state.round + ROUNDS_AHEAD:
            return Reason.OLD_HEIGHT if first.height != driver.height else Reason.FUTURE_ROUND
        unknown = [vote for vote in votes if not driver.knows(vote)]
        if not unknown:
            return Reason.DUPLICATE
        if not all(map(self._holds, unknown)):
            return Fault.WRONG_SIGNATURE
        return self._queue(CertificateReceived(certificate), sender)

    def _holds(self, statement: core.Vote | core.Proposal) -> bool:
        time, signature = statements.decode_proof(statement.proof)
        said = statements.sign_bytes(statement, time, self._chain_id)
        return self._verdicts.holds(self._keys[statement.validator], said, signature)

    def _judge(self, name: core.ValueId, block: light.Block, raw: bytes) -> bool:
        """Return valid(v) of the paper, asked of the application once for each block; keep a valid block."""
        if name not in self._valid:
            self._valid[name] = self.replica.accepts(block)
        if self._valid[name] and name not in self._blocks:
            self._blocks[name] = self._unwritten_blocks[name] = raw
            self._drop_blocks()
        return self._valid[name]

    def _drop_blocks(self) -> None:
        """Keep few blocks, however many are proposed; a decision for a dropped one comes from whoever has kept it."""
        if len(self._blocks) <= BLOCKS_KEPT:
            return
        state = self._begun.state
        needed = {held.value_id for held in (state.valid, state.locked) if held is not None}
        for round_ in (state.round - 1, state.round):
            needed.update(proposal.value_id for proposal in self._begun.proposals(core.Round(round_)))
        newest = next(reversed(self._blocks))
        for name in [known for known in self._blocks if known not in needed and known != newest]:
            del self._blocks[name]

    # Catching up

    def _answer(self, sender: core.Address, height: int) -> None:
        """Send the decision after `height` to whoever stands there, if it is known here."""
        if 0 <= height < self.replica.height:
            store, following = self.replica.store, light.Height(height + 1)
            agreed = Agreed(store.block(following), store.commit(following))
        elif height == int(self.replica.height) and self.agreed is not None:
            agreed = self.agreed
        else:
            return
        raw_block, raw_commit = light.encode_block(agreed.block), light.encode_commit(agreed.commit)
        self._send(sender, messages.Decision(self._chain_id, raw_block, raw_commit))

    def _take_decision(self, message: messages.Decision) -> Refused | None:
        try:
            (block, _), commit = messages.open_block(message.block), light.decode_commit(message.commit)
        except MalformedRecordError:
            return Fault.MALFORMED
        if int(block.header.height) != self.height or self.agreed is not None:
            return Reason.OLD_HEIGHT if block.header.height <= self.height else Reason.FUTURE_HEIGHT
        try:
            light.verify_block(block, commit.block_id)
            self.replica.follow(block, commit)
        except LightError as error:
            if self._is_certified(block.header, commit) and not isinstance(error, WrongDataError):
                raise  # more than two thirds say what cannot be here
            return Fault.WRONG_COMMIT
        self._learnt = Agreed(block, commit)
        self._work.clear()
        return None

    def _is_certified(self, header: light.Header, commit: light.Commit) -> bool:
        try:
            light.verify_commit(header, commit, self.replica.validators, self._chain_id)
        except LightError:
            return False
        return True

    # Inputs and outputs

    @property
    def _begun(self) -> Driver:
        if self.driver is None:
            message = "the height has not begun"
            raise TypeError(message)
        return self.driver

    def elapse(self, now: float) -> bool:
        """Take the timeouts that are due by `now`, in the clock's monotonic seconds; tell whether there were any."""
        due = [timer for timer in self.timers if timer.due <= now]
        for timer in due:
            self.timers.remove(timer)
            self._queue(timer.timeout)
        return bool(due)

    def _queue(self, input_: Input, sender: core.Address | None = None) -> Refused | None:
        if sender is not None and len(self._work) >= WORK_KEPT:
            return Fault.SURPLUS
        self._work.append(input_)
        return self.step()

    def step(self) -> Reason | None:
        """Take what waits, up to where a signature is due; return why the last input was refused, if it was."""
        refused = None
        while self._work:
            work = self._work[0]
            if isinstance(work, Sign):
                break
            self._work.popleft()
            if isinstance(work, GetValue):
                raw = light.encode_block(self._host.choose(self.replica))
                block, name = messages.open_block(raw)
                self._judge(name, block, raw)
                self._blocks[name] = self._unwritten_blocks[name] = raw
                work = ValueChosen(work.round, name)
            refused = self._take_in(work)
        return refused

    def _take_in(self, input_: Input) -> Reason | None:
        """Give the driver an input, note it for the journal, and note what to do next."""
        outputs = self._begun.handle(input_)
        if outputs and isinstance(outputs[0], Rejected):
            return outputs[0].reason
        self._unwritten.append(self._journal.record(input_))
        for output in outputs:
            self._do(output)
        return None

    def _accuse(self, evidence: core.Equivocation) -> None:
        """Keep what proves a contradiction; votes go into a block, for two proposals there is no format."""
        self.accusations.append(evidence)
        first, second = evidence.first, evidence.second
        if isinstance(first, core.Vote) and isinstance(second, core.Vote):
            index = self._addresses.index(first.validator)
            self.replica.evidence.accuse(*(statements.whole_vote(vote, index) for vote in (first, second)))
        _LOGGER.warning("validator %s contradicted itself: %s", first.validator.hex(), evidence)

    def _do(self, output: Output) -> None:
        match output:
            case Sign() | GetValue():
                self._work.append(output)
            case ScheduleTimeout(timeout, after_ms):
                self.timers = [timer for timer in self.timers if timer.timeout.round >= self._begun.state.round]
                self.timers.append(Timer(self._clock.monotonic() + after_ms / 1000, timeout))
            case Accuse(evidence):
                self._accuse(evidence)
            case Decided():
                self._work.clear()
                self.timers.clear()
            case Rejected():
                pass
            case _:
                assert_never(output)
