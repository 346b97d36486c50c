"""Validators that lie. Each is an honest node with one habit; what it signs, it signs without looking back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from chain.consensus.driver import CatchUp, Input, ProposalReceived
from chain.consensus.types import Certificate, Height, Proposal, Round, ValueId, Vote, VoteKind
from chain.simulation.messages import Decision, Repeated
from chain.simulation.node import Node
from chain.simulation.values import make_value

if TYPE_CHECKING:
    from chain.simulation.messages import Message


_FLOOD: Final = 40
"""Random votes that `Babbling` adds to each message."""


class Liar(Node):
    """Signs whatever it is asked for, keeps no record, and may tell each peer something else."""

    honest = False
    lies_at: range | None = None
    """The heights at which it lies; None: all. At others it only keeps no record of what it signs."""

    @property
    def lying(self) -> bool:
        """Whether it lies at the height that it works at."""
        return self.lies_at is None or self.height in self.lies_at

    def _sign(self, message: Vote | Proposal) -> Vote | Proposal:
        signed = replace(message, proof=self.world.keys.sign(message))
        self.world.watch.signed(self, signed)
        return signed

    def _peers(self) -> list[int]:
        return [number for number in range(self.world.nodes) if number != self.number]

    def _split(self, *messages: Message) -> None:
        """Send every peer one of the messages, at random."""
        for peer in self._peers():
            self._send(peer, self.chance.choice(messages))


class Silent(Liar):
    """Takes part in nothing."""

    def _send(self, receiver: int | None, message: Message) -> None:
        if self.lying:
            self.world.watch.counts["byzantine: messages kept silent"] += 1
        else:
            super()._send(receiver, message)


class Withholding(Liar):
    """Sends each message to some peers only, and repeats nothing."""

    def _broadcast(self, message: Vote | Proposal) -> None:
        if not self.lying:
            super()._broadcast(message)
            return
        for peer in self._peers():
            if self.chance.random() < 0.5:  # noqa: PLR2004 - one half
                self._send(peer, message)
            else:
                self.world.watch.counts["byzantine: messages withheld"] += 1

    def _repeat(self) -> None:
        """Repeat nothing."""
        if self.lies_at is not None:
            super()._repeat()


class Equivocating(Liar):
    """Proposes two values at once, and votes for two things at once."""

    def _broadcast(self, message: Vote | Proposal) -> None:
        if not self.lying:
            super()._broadcast(message)
            return
        self.world.watch.counts["byzantine: equivocations"] += 1
        self._split(message, self._sign(self._other(message)))

    def _other(self, message: Vote | Proposal) -> Vote | Proposal:
        if isinstance(message, Proposal):
            return replace(message, value_id=self._choose_value())
        proposed = {known.value_id for known in self.driver.proposals(message.round)} - {message.value_id}
        if proposed:
            return replace(message, value_id=self.chance.choice(sorted(proposed)))
        return replace(message, value_id=self._choose_value() if message.value_id is None else None)


class Obliging(Liar):
    """Votes for everything that anybody proposes, in both steps and at once; proposes something else to every peer."""

    def _take(self, statements: tuple[Vote | Proposal, ...], input_: Input) -> None:
        super()._take(statements, input_)
        if isinstance(input_, ProposalReceived) and self.lying:
            self._oblige(input_.proposal)

    def _oblige(self, proposal: Proposal) -> None:
        for kind in VoteKind:
            vote = Vote(proposal.height, proposal.round, kind, proposal.value_id, self.address)
            self._send(None, self._sign(vote))
            self.world.watch.counts["byzantine: votes for anything"] += 1

    def _broadcast(self, message: Vote | Proposal) -> None:
        if isinstance(message, Vote) or not self.lying:
            self._send(None, message)
            return
        proposals = [message, *(self._sign(replace(message, value_id=self._choose_value())) for _ in range(2))]
        self._split(*proposals)
        for proposal in proposals:
            if isinstance(proposal, Proposal):
                self._oblige(proposal)


class Amnesiac(Liar):
    """Forgets at each message what it has locked and what is valid."""

    def _take(self, statements: tuple[Vote | Proposal, ...], input_: Input) -> None:
        state = self.driver.state
        if self.lying and (state.locked is not None or state.valid is not None):
            self.driver.state = replace(state, locked=None, valid=None)
            self.world.watch.counts["byzantine: locks forgotten"] += 1
        super()._take(statements, input_)


class Unsound(Liar):
    """Proposes what no application accepts, and finds everything acceptable."""

    def _choose_value(self) -> ValueId:
        if not self.lying:
            return super()._choose_value()
        self.world.watch.counts["byzantine: invalid values"] += 1
        parent = self.chain[-1].proposal.value_id if self.chain else None
        return make_value(self.schedule, parent, self.chance.getrandbits(64), sound=False)

    def _is_valid(self, value_id: ValueId) -> bool:
        return bool(value_id) if self.lying else super()._is_valid(value_id)


class Babbling(Liar):
    """Adds what must be refused: forged, early, late, impossible and insufficient messages."""

    def _broadcast(self, message: Vote | Proposal) -> None:
        super()._broadcast(message)
        if not self.lying:
            return
        self._split(*self._rubbish(message))
        for _ in range(_FLOOD):
            ahead = Round(message.round + self.chance.choice([0, 0, self.chance.randrange(1000)]))
            value_id = ValueId(self.chance.randbytes(8))
            vote = Vote(message.height, ahead, self.chance.choice(list(VoteKind)), value_id, self.address)
            self._send(self.chance.choice(self._peers()), self._sign(vote))

    def _rubbish(self, message: Vote | Proposal) -> list[Message]:
        self.world.watch.counts["byzantine: rubbish"] += 1
        chance, height, round_ = self.chance, message.height, message.round
        victim = chance.choice(sorted(self.driver.validators.powers))
        value_id = message.value_id or self._choose_value()
        vote = Vote(height, round_, VoteKind.PREVOTE, value_id, self.address)
        ahead = Round(round_ + chance.randrange(1, 1000))
        alone = Certificate(
            height, round_, VoteKind.PRECOMMIT, value_id, (replace(vote, proof=self.world.keys.sign(vote)),)
        )
        return [
            replace(vote, validator=victim, proof=chance.randbytes(12)),
            replace(self._sign(vote), validator=victim),
            self._sign(replace(vote, height=Height(height + chance.randrange(1, 100)))),
            self._sign(replace(vote, round=ahead)),
            self._sign(replace(vote, round=Round(-1))),
            self._sign(replace(vote, value_id=ValueId(bytes(1000)))),
            self._sign(Proposal(height, Round(round_ + 1), value_id, round_, self.address)),
            self._sign(Proposal(height, round_, value_id, ahead, self.address)),
            Repeated(height, CatchUp((alone,), (), ())),
            *(Decision(height, old) for old in self.chain[-1:]),
        ]


class Twin(Node):
    """One of two nodes that know nothing of each other and have one key: an honest program on two machines."""

    honest = False


HABITS: Final[dict[str, type[Node]]] = {
    "silent": Silent,
    "withholding": Withholding,
    "equivocating": Equivocating,
    "obliging": Obliging,
    "amnesiac": Amnesiac,
    "unsound": Unsound,
    "babbling": Babbling,
    "twins": Twin,
}
"""By name; a validator of the habit `twins` is two nodes."""
