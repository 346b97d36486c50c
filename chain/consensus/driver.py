"""One validator at one height: messages in, what to do out.

The driver keeps what was said, finds the rules of the paper whose *upon* has come true, and lets `round.step` apply
them until none applies any more. It does no I/O, reads no clock and rolls no dice: the same inputs in the same order
give the same outputs, which is what lets a journal of inputs bring a validator back after a crash.

The shell
- gives only messages whose signatures it has checked, each with `valid(v)` where there is a value to judge;
- makes inputs durable before it lets any output out;
- signs what `Sign` asks for, gives the signed message back as an input, then broadcasts it;
- broadcasts `catch_up()` now and then: it cures what lost messages leave behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from chain.consensus import round as rules
from chain.consensus.certificates import certify, check_certificate
from chain.consensus.errors import CertificateFaultError
from chain.consensus.limits import ROUNDS_AHEAD, ROUNDS_KEPT, ROUNDS_MOST, STATEMENTS_KEPT, VALUE_ID_BYTES
from chain.consensus.round import TimeoutElapsed, ValueChosen
from chain.consensus.types import NO_ROUND, Certificate, Equivocation, Height, Proposal, Round, Step, Vote, VoteKind
from chain.consensus.votes import Added, VoteKeeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chain.consensus.timeouts import Timeouts
    from chain.consensus.types import Address, ValueId
    from chain.consensus.validators import ValidatorSet


# Inputs


@dataclass(frozen=True, slots=True)
class Start:
    """Begin with round 0 (L10)."""


@dataclass(frozen=True, slots=True)
class VoteReceived:
    """A vote whose signature holds, a peer's or an own one."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal whose signature holds and whose value is here; `valid` is valid(v) of the paper."""

    proposal: Proposal
    valid: bool


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    """A certificate all of whose signatures hold."""

    certificate: Certificate


Input = Start | VoteReceived | ProposalReceived | CertificateReceived | TimeoutElapsed | ValueChosen


# Outputs


class Reason(Enum):
    """Why a message was refused; none of it is kept."""

    OLD_HEIGHT = "it is of a height that is decided"
    FUTURE_HEIGHT = "it is of a later height"
    OLD_ROUND = "it is of a round that is long over"
    FUTURE_ROUND = "it is of a round too far ahead"
    MALFORMED = "its round or value id cannot be"
    STRANGER = "its sender is no validator of this height"
    NOT_PROPOSER = "its sender does not propose in this round"
    DUPLICATE = "it was here before"
    SURPLUS = "its sender has said two other things in its place"
    NO_CERTIFICATE = "its votes certify nothing"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that changed nothing."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign this, give it back as an input, broadcast it."""

    message: Vote | Proposal


@dataclass(frozen=True, slots=True)
class ScheduleTimeout:
    """Give `timeout` back as an input after so long."""

    timeout: TimeoutElapsed
    after_ms: int


@dataclass(frozen=True, slots=True)
class GetValue:
    """Choose a value to propose in `round` and answer with `ValueChosen`."""

    round: Round


@dataclass(frozen=True, slots=True)
class Decided:
    """The height is decided: by `certificate`, for the value of `proposal`. Both go to validators that lag."""

    proposal: Proposal
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Accuse:
    """A validator contradicted itself."""

    evidence: Equivocation


Output = Rejected | Sign | ScheduleTimeout | GetValue | Decided | Accuse


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a validator repeats for those that missed it; to be taken in this order."""

    certificates: tuple[Certificate, ...]
    votes: tuple[Vote, ...]
    proposals: tuple[Proposal, ...]


class Driver:
    """The validator `address` at `height`; it only watches if it is none of `validators`."""

    def __init__(self, address: Address, height: Height, validators: ValidatorSet, timeouts: Timeouts) -> None:
        """Prepare; `Start` begins."""
        self.address, self.height, self.validators, self._timeouts = address, height, validators, timeouts
        self.state = rules.State(height)
        self._votes = VoteKeeper(validators)
        self._proposals: dict[Round, list[tuple[Proposal, bool]]] = {}
        self._turns = [validators]
        self._later = NO_ROUND  # a later round that f + 1 of the power is in

    def proposer(self, round_: Round) -> Address:
        """Return who proposes in a round."""
        while len(self._turns) <= round_:
            self._turns.append(self._turns[-1].after(1))
        return self._turns[round_].proposer

    def handle(self, input_: Input) -> tuple[Output, ...]:
        """Take an input; return what to do, in order."""
        outputs: list[Output] = []
        match input_:
            case VoteReceived(vote):
                refused = self._take_vote(vote, outputs)
            case ProposalReceived(proposal, valid):
                refused = self._take_proposal(proposal, outputs, valid=valid)
            case CertificateReceived(certificate):
                refused = self._take_certificate(certificate, outputs)
            case TimeoutElapsed() | ValueChosen():
                refused = None
                self._apply(input_, outputs)
            case Start():
                refused = None
                self._enter(Round(0), outputs)
            case _:
                assert_never(input_)
        if refused is not None:
            return (Rejected(refused),)
        self._settle(outputs)
        return tuple(outputs)

    def knows(self, message: Vote | Proposal) -> bool:
        """Tell whether this very statement is here already, so that nobody needs to check its signature again."""
        if isinstance(message, Vote):
            return message.height == self.height and self._votes.knows(message)
        return any(message == known for known, _ in self._proposals.get(message.round, ()))

    def refuses(self, message: Vote | Proposal) -> Reason | None:
        """Tell why a message is refused whoever signed it, so that nobody needs to check its signature at all."""
        if self.knows(message):
            return Reason.DUPLICATE
        if isinstance(message, Proposal):
            return self._refuses_proposal(message)
        return self._refuses_vote(message)

    def certificate(self) -> Certificate | None:
        """Return the precommits for what was decided, also those that came after the decision; None before it."""
        decided = self.state.decision
        if decided is None:
            return None
        tally = self._votes.round(decided.round).precommits
        return certify(self.height, decided.round, VoteKind.PRECOMMIT, decided.value_id, tally)

    def proposals(self, round_: Round) -> tuple[Proposal, ...]:
        """Return the proposals of a round that are kept."""
        return tuple(proposal for proposal, _ in self._proposals.get(round_, ()))

    def catch_up(self) -> CatchUp:
        """Return what others may lack to follow: to be broadcast now and then while nothing moves.

        The polka for the valid value is what cures a hidden lock: others can then accept that value again (L28). The
        votes of this round and of the one before bring those that lag into this round (L47, L55).
        """
        state = self.state
        certificates: list[Certificate] = []
        proposals = [proposal for proposal, _ in self._proposals.get(state.round, ())]
        if state.valid is not None and state.valid.round < state.round:
            tally = self._votes.round(state.valid.round).prevotes
            certificates.append(certify(self.height, state.valid.round, VoteKind.PREVOTE, state.valid.value_id, tally))
            earlier = self._proposals.get(state.valid.round, ())
            proposals += [proposal for proposal, _ in earlier if proposal.value_id == state.valid.value_id]
        votes = [
            vote
            for round_ in (state.round - 1, state.round)
            if round_ in self._votes.rounds
            for tally in (self._votes.rounds[Round(round_)].prevotes, self._votes.rounds[Round(round_)].precommits)
            for vote in tally.all_votes()
        ]
        return CatchUp(tuple(certificates), tuple(votes), tuple(proposals))

    def why_lost(self, round_: Round) -> str:
        """Say in one line how far a round got here."""
        votes = self._votes.rounds.get(round_)
        prevoted = self._share(votes.prevotes.power if votes else {})
        precommitted = self._share(votes.precommits.power if votes else {})
        heard = self._proposals.get(round_, ())
        if not heard:
            what = "no proposal came"
        elif not any(valid for _, valid in heard):
            what = "the proposal was invalid"
        elif len(heard) > 1:
            what = "the proposer proposed two values"
        elif votes is None or not votes.prevotes.quorums:
            what = "no polka was seen"
        elif votes.prevotes.quorums == [None]:
            what = "the polka was for nil"
        else:
            what = "too few precommits came"
        return f"{what}; prevotes {prevoted}; precommits {precommitted}"

    def rounds_kept(self) -> int:
        """Return of how many rounds votes are kept; the bound is `limits.ROUNDS_MOST`."""
        return len(self._votes.rounds)

    def size(self) -> int:
        """Return how many messages are kept; never more than `size_limit`."""
        votes = sum(
            len(tally.all_votes()) for kept in self._votes.rounds.values() for tally in (kept.prevotes, kept.precommits)
        )
        return votes + sum(len(known) for known in self._proposals.values())

    def size_limit(self) -> int:
        """Return how many messages may be kept: so many per validator, kind and round, in so many rounds.

        Certificates add a third statement where a validator has made two others; a round that a certificate brought
        back is dropped when the next one begins.
        """
        rounds = min(len(self._votes.rounds), ROUNDS_MOST)
        statements = (STATEMENTS_KEPT + 1) * len(self.validators.powers)
        return rounds * (len(VoteKind) * statements + STATEMENTS_KEPT + 1)

    def fingerprint(self) -> tuple[object, ...]:
        """Return all that decides what this driver will do, comparable with another one's."""
        said = {
            (vote.round, vote.kind, vote.validator, vote.value_id)
            for kept in self._votes.rounds.values()
            for tally in (kept.prevotes, kept.precommits)
            for vote in tally.all_votes()
        }
        return self.state, frozenset(said), {round_: tuple(known) for round_, known in self._proposals.items() if known}

    def copy(self) -> Driver:
        """Return a driver that goes its own way from here."""
        other = Driver(self.address, self.height, self.validators, self._timeouts)
        other.state, other._votes, other._turns = self.state, self._votes.copy(), list(self._turns)
        other._proposals = {round_: list(known) for round_, known in self._proposals.items()}
        other._later = self._later
        return other

    # Taking messages

    def _refuses(self, message: Vote | Proposal | Certificate) -> Reason | None:
        if message.height != self.height:
            return Reason.OLD_HEIGHT if message.height < self.height else Reason.FUTURE_HEIGHT
        value_id = message.value_id
        if message.round < 0 or (value_id is not None and not 1 <= len(value_id) <= VALUE_ID_BYTES):
            return Reason.MALFORMED
        return None

    def _refuses_old(self, message: Vote | Proposal) -> Reason | None:
        """Refuse what is of a dropped round, unless a certificate has brought the round back."""
        old = message.round < self.state.round - ROUNDS_KEPT and message.round not in self._votes.rounds
        return Reason.OLD_ROUND if old else None

    def _refuses_vote(self, vote: Vote) -> Reason | None:
        if (reason := self._refuses(vote) or self._refuses_old(vote)) is not None:
            return reason
        return None if vote.validator in self.validators.powers else Reason.STRANGER

    def _take_vote(self, vote: Vote, outputs: list[Output]) -> Reason | None:
        if (reason := self._refuses_vote(vote)) is not None:
            return reason
        if vote.round > self.state.round + ROUNDS_AHEAD:
            if not self._votes.claim(vote.validator, vote.round):
                return Reason.FUTURE_ROUND
            self._look_ahead(vote.round)
            return None
        return self._count(vote, outputs, certified=False)

    def _count(self, vote: Vote, outputs: list[Output], *, certified: bool) -> Reason | None:
        match self._votes.add(vote, certified=certified):
            case Added.DUPLICATE:
                return Reason.DUPLICATE
            case Added.SURPLUS:
                return Reason.SURPLUS
            case Added.CONFLICT:
                outputs.append(Accuse(Equivocation(self._votes.first(vote), vote)))
            case Added.NEW:
                pass
        self._look_ahead(vote.round)
        return None

    def _refuses_proposal(self, proposal: Proposal) -> Reason | None:
        if (reason := self._refuses(proposal) or self._refuses_old(proposal)) is not None:
            return reason
        if not NO_ROUND <= proposal.valid_round < proposal.round:
            return Reason.MALFORMED
        if proposal.validator not in self.validators.powers:
            return Reason.STRANGER
        ahead = proposal.round > self.state.round + ROUNDS_AHEAD
        if ahead and proposal.round not in self._votes.rounds:
            return Reason.FUTURE_ROUND
        if proposal.validator != self.proposer(proposal.round):
            return Reason.NOT_PROPOSER
        known = self._proposals.get(proposal.round, ())
        if any(proposal == other for other, _ in known):
            return Reason.DUPLICATE
        votes = self._votes.rounds.get(proposal.round)
        wanted = votes is not None and (
            proposal.value_id in votes.prevotes.quorums or proposal.value_id in votes.precommits.quorums
        )
        if len(known) >= STATEMENTS_KEPT and not (
            wanted and all(proposal.value_id != other.value_id for other, _ in known)
        ):
            return Reason.SURPLUS
        return None

    def _take_proposal(self, proposal: Proposal, outputs: list[Output], *, valid: bool) -> Reason | None:
        if (reason := self._refuses_proposal(proposal)) is not None:
            return reason
        known, votes = self._proposals.setdefault(proposal.round, []), self._votes.round(proposal.round)
        known.append((proposal, valid))
        if len(known) > 1:
            outputs.append(Accuse(Equivocation(known[0][0], proposal)))
        votes.present.add(proposal.validator)
        self._look_ahead(proposal.round)
        return None

    def _take_certificate(self, certificate: Certificate, outputs: list[Output]) -> Reason | None:
        if (reason := self._refuses(certificate)) is not None:
            return reason
        try:
            check_certificate(certificate, self.validators)
        except CertificateFaultError:
            return Reason.NO_CERTIFICATE
        taken = [self._count(vote, outputs, certified=True) is None for vote in certificate.votes]
        return None if any(taken) else Reason.DUPLICATE

    def _look_ahead(self, round_: Round) -> None:
        if round_ > max(self.state.round, self._later) and self._votes.has_honest(round_):
            self._later = round_

    # Applying rules

    def _settle(self, outputs: list[Output]) -> None:
        """Apply rules until none applies."""
        moved = self.state.round >= 0
        while moved and self.state.decision is None:
            moved = any(self._apply(event, outputs) for event in self._come_true())

    def _come_true(self) -> Iterator[rules.Event]:
        """Yield an event for every rule whose messages are here; which of them still applies is the rules' question."""
        state = self.state
        for round_ in [known for known, votes in self._votes.rounds.items() if votes.precommits.quorums]:
            for value_id in self._votes.rounds[round_].precommits.quorums:
                for proposal, valid in self._proposals.get(round_, ()):
                    if proposal.value_id == value_id:
                        yield rules.Committed(round_, proposal.value_id, valid)  # L49
        if self._later > state.round:
            yield rules.LaterRound(self._later)  # L55
        known = self._proposals.get(state.round, ())
        if state.step == Step.PROPOSE:
            for proposal, valid in known:
                if proposal.valid_round == NO_ROUND:
                    yield rules.FreshProposal(proposal.value_id, valid)  # L22
                elif (earlier := self._votes.rounds.get(proposal.valid_round)) is not None and (
                    proposal.value_id in earlier.prevotes.quorums
                ):
                    yield rules.ProposalWithPolka(proposal.value_id, proposal.valid_round, valid)  # L28
        votes = self._votes.rounds.get(state.round)
        if votes is None:
            return
        for value_id in votes.prevotes.quorums:
            if value_id is None:
                yield rules.PolkaNil()  # L44
            for proposal, valid in known:
                if proposal.value_id == value_id:
                    yield rules.Polka(proposal.value_id, valid)  # L36
        if self.validators.has_quorum(votes.prevotes.power_any):
            yield rules.PrevotesAny()  # L34
        if self.validators.has_quorum(votes.precommits.power_any):
            yield rules.PrecommitsAny()  # L47

    def _apply(self, event: rules.Event, outputs: list[Output]) -> bool:
        """Apply one rule; tell whether it did anything."""
        before = self.state
        self.state, actions = rules.step(before, event)
        for action in actions:
            self._act(action, outputs)
        return bool(actions) or self.state is not before

    def _act(self, action: rules.Action, outputs: list[Output]) -> None:
        match action:
            case rules.CastVote(kind, round_, value_id):
                if self.address in self.validators.powers:
                    outputs.append(Sign(Vote(self.height, round_, kind, value_id, self.address)))
            case rules.Propose(round_, value_id, valid_round):
                outputs.append(Sign(Proposal(self.height, round_, value_id, valid_round, self.address)))
            case rules.GetValue(round_):
                outputs.append(GetValue(round_))
            case rules.StartTimeout(step, round_):
                after_ms = self._timeouts.duration_ms(step, round_)
                outputs.append(ScheduleTimeout(TimeoutElapsed(step, round_), after_ms))
            case rules.EnterRound(round_):
                self._enter(round_, outputs)
            case rules.Decide(round_, value_id):
                tally = self._votes.round(round_).precommits
                certificate = certify(self.height, round_, VoteKind.PRECOMMIT, value_id, tally)
                proposal = next(p for p, _ in self._proposals[round_] if p.value_id == value_id)
                outputs.append(Decided(proposal, certificate))
            case _:
                assert_never(action)

    def _enter(self, round_: Round, outputs: list[Output]) -> None:
        self._apply(rules.StartRound(round_, self.proposer(round_) == self.address), outputs)
        valid = self.state.valid.round if self.state.valid is not None else NO_ROUND
        oldest = Round(round_ - ROUNDS_KEPT)
        self._votes.forget_before(oldest, valid)
        for old in [known for known in self._proposals if known < oldest and known != valid]:
            del self._proposals[old]

    def _share(self, power: dict[ValueId | None, int]) -> str:
        if not power:
            return "none"
        parts = [
            f"{'nil' if value_id is None else value_id.hex()[:8]} {share}/{self.validators.total_power}"
            for value_id, share in sorted(power.items(), key=lambda item: item[0] or b"")
        ]
        return ", ".join(parts)
