"""The round state machine: Algorithm 1 of "The latest gossip on BFT consensus" (arXiv 1807.04938), one arm per rule.

`step` is a pure function. An event says that the messages of a rule's *upon* are there; the rule's *while* is checked
here, so an event that comes too late changes nothing. `driver.py` makes events of messages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from chain.consensus.types import NO_ROUND, Height, Round, Step, ValueId, VoteKind


@dataclass(frozen=True, slots=True)
class RoundValue:
    """A value and the round in which it was locked, became valid or was decided."""

    round: Round
    value_id: ValueId


@dataclass(frozen=True, slots=True)
class State:
    """One validator's variables at one height (L1 to L9); the last four remember what is done once in a round."""

    height: Height
    round: Round = NO_ROUND
    step: Step = Step.PROPOSE
    locked: RoundValue | None = None
    valid: RoundValue | None = None
    decision: RoundValue | None = None
    value_asked: bool = False
    polka_seen: bool = False
    prevote_timer: bool = False
    precommit_timer: bool = False


# Events: what has come true.


@dataclass(frozen=True, slots=True)
class StartRound:
    """L11: enter `round`; `proposer` tells whether this validator proposes in it."""

    round: Round
    proposer: bool


@dataclass(frozen=True, slots=True)
class ValueChosen:
    """L18: the answer to `GetValue`."""

    round: Round
    value_id: ValueId


@dataclass(frozen=True, slots=True)
class FreshProposal:
    """L22: this round's proposal, with validRound -1."""

    value_id: ValueId
    valid: bool


@dataclass(frozen=True, slots=True)
class ProposalWithPolka:
    """L28: this round's proposal, with validRound >= 0, and 2f+1 prevotes for it in that round."""

    value_id: ValueId
    valid_round: Round
    valid: bool


@dataclass(frozen=True, slots=True)
class PrevotesAny:
    """L34: 2f+1 prevotes in this round, whatever for."""


@dataclass(frozen=True, slots=True)
class Polka:
    """L36: 2f+1 prevotes in this round for a value that was proposed in it."""

    value_id: ValueId
    valid: bool


@dataclass(frozen=True, slots=True)
class PolkaNil:
    """L44: 2f+1 prevotes in this round for nil."""


@dataclass(frozen=True, slots=True)
class PrecommitsAny:
    """L47: 2f+1 precommits in this round, whatever for."""


@dataclass(frozen=True, slots=True)
class Committed:
    """L49: 2f+1 precommits in any round for a value that was proposed in it."""

    round: Round
    value_id: ValueId
    valid: bool


@dataclass(frozen=True, slots=True)
class LaterRound:
    """L55: f+1 validators are in this round."""

    round: Round


@dataclass(frozen=True, slots=True)
class TimeoutElapsed:
    """L57, L61, L65: the timeout of this step of this round."""

    step: Step
    round: Round


Event = (
    StartRound
    | ValueChosen
    | FreshProposal
    | ProposalWithPolka
    | PrevotesAny
    | Polka
    | PolkaNil
    | PrecommitsAny
    | Committed
    | LaterRound
    | TimeoutElapsed
)


# Actions: what to do about it, in this order.


@dataclass(frozen=True, slots=True)
class GetValue:
    """L18: choose a value to propose in `round`; answered by `ValueChosen`."""

    round: Round


@dataclass(frozen=True, slots=True)
class Propose:
    """L19: broadcast the proposal of `round`."""

    round: Round
    value_id: ValueId
    valid_round: Round


@dataclass(frozen=True, slots=True)
class CastVote:
    """Broadcast a vote in `round`; None is nil."""

    kind: VoteKind
    round: Round
    value_id: ValueId | None


@dataclass(frozen=True, slots=True)
class StartTimeout:
    """L21, L35, L48: give `TimeoutElapsed` back after this step's timeout."""

    step: Step
    round: Round


@dataclass(frozen=True, slots=True)
class EnterRound:
    """L56, L67: give `StartRound` back for this round."""

    round: Round


@dataclass(frozen=True, slots=True)
class Decide:
    """L51: the height is decided."""

    round: Round
    value_id: ValueId


Action = GetValue | Propose | CastVote | StartTimeout | EnterRound | Decide

_PREVOTE, _PRECOMMIT = VoteKind.PREVOTE, VoteKind.PRECOMMIT


def step(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """Return the next state and what to do, in order; the same state and nothing if no rule applies."""
    if state.decision is not None:  # L49: while decision = nil; the next height begins with a new state (L52 to L54)
        return state, ()
    match event:
        case StartRound() if event.round > state.round:
            return _start_round(state, event)  # L11
        case ValueChosen() if event.round == state.round and state.value_asked and state.step == Step.PROPOSE:
            return replace(state, value_asked=False), (Propose(event.round, event.value_id, NO_ROUND),)  # L18, L19
        case FreshProposal() if state.step == Step.PROPOSE:  # L22
            acceptable = event.valid and (state.locked is None or state.locked.value_id == event.value_id)  # L23
            return _prevote(state, event.value_id if acceptable else None)  # L24, L26
        case ProposalWithPolka() if state.step == Step.PROPOSE and 0 <= event.valid_round < state.round:  # L28
            locked = state.locked
            acceptable = event.valid and (
                locked is None or locked.round <= event.valid_round or locked.value_id == event.value_id
            )  # L29
            return _prevote(state, event.value_id if acceptable else None)  # L30, L32
        case PrevotesAny() if state.step == Step.PREVOTE and not state.prevote_timer:  # L34
            return replace(state, prevote_timer=True), (StartTimeout(Step.PREVOTE, state.round),)  # L35
        case Polka() if event.valid and state.step >= Step.PREVOTE and not state.polka_seen:  # L36
            seen = RoundValue(state.round, event.value_id)
            if state.step == Step.PREVOTE:  # L37
                return (
                    replace(state, locked=seen, valid=seen, step=Step.PRECOMMIT, polka_seen=True),  # L38, L39, L41
                    (CastVote(_PRECOMMIT, state.round, event.value_id),),  # L40
                )
            return replace(state, valid=seen, polka_seen=True), ()  # L42, L43
        case PolkaNil() if state.step == Step.PREVOTE:  # L44
            return _precommit_nil(state)  # L45, L46
        case PrecommitsAny() if not state.precommit_timer:  # L47
            return replace(state, precommit_timer=True), (StartTimeout(Step.PRECOMMIT, state.round),)  # L48
        case Committed() if event.valid:  # L49, L50
            decision = RoundValue(event.round, event.value_id)
            return replace(state, decision=decision, step=Step.COMMIT), (Decide(event.round, event.value_id),)  # L51
        case LaterRound() if event.round > state.round:  # L55
            return state, (EnterRound(event.round),)  # L56
        case TimeoutElapsed() if event.round == state.round:
            return _timeout(state, event.step)  # L57, L61, L65
        case (
            StartRound()
            | ValueChosen()
            | FreshProposal()
            | ProposalWithPolka()
            | PrevotesAny()
            | Polka()
            | PolkaNil()
            | PrecommitsAny()
            | Committed()
            | LaterRound()
            | TimeoutElapsed()
        ):
            return state, ()
        case _:
            assert_never(event)


def _start_round(state: State, event: StartRound) -> tuple[State, tuple[Action, ...]]:
    entered = State(state.height, event.round, Step.PROPOSE, state.locked, state.valid)  # L12, L13
    if not event.proposer:  # L14
        return entered, (StartTimeout(Step.PROPOSE, event.round),)  # L21
    if state.valid is not None:  # L15
        return entered, (Propose(event.round, state.valid.value_id, state.valid.round),)  # L16, L19
    return (
        replace(entered, value_asked=True),
        (GetValue(event.round), StartTimeout(Step.PROPOSE, event.round)),  # L18; the timeout in case no answer comes
    )


def _prevote(state: State, value_id: ValueId | None) -> tuple[State, tuple[Action, ...]]:
    return replace(state, step=Step.PREVOTE), (CastVote(_PREVOTE, state.round, value_id),)  # L27, L33


def _precommit_nil(state: State) -> tuple[State, tuple[Action, ...]]:
    return replace(state, step=Step.PRECOMMIT), (CastVote(_PRECOMMIT, state.round, None),)


def _timeout(state: State, elapsed: Step) -> tuple[State, tuple[Action, ...]]:
    match elapsed:
        case Step.PROPOSE if state.step == Step.PROPOSE:  # L58
            return _prevote(state, None)  # L59, L60
        case Step.PREVOTE if state.step == Step.PREVOTE:  # L62
            return _precommit_nil(state)  # L63, L64
        case Step.PRECOMMIT:  # L66
            return state, (EnterRound(Round(state.round + 1)),)  # L67
        case _:
            return state, ()
