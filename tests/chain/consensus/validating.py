"""Four validators and what they say, for tests of the core."""

from chain.consensus.driver import (
    Driver,
    Output,
    ProposalReceived,
    Rejected,
    ScheduleTimeout,
    Sign,
    Start,
    VoteReceived,
)
from chain.consensus.round import TimeoutElapsed
from chain.consensus.timeouts import Timeouts
from chain.consensus.types import NO_ROUND, Address, Height, Proposal, Round, Step, ValueId, Vote, VoteKind
from chain.consensus.validators import ValidatorSet

A, B, C, D = (Address(name) for name in (b"a", b"b", b"c", b"d"))
V, W, X = ValueId(b"v"), ValueId(b"w"), ValueId(b"x")
H = Height(1)
PREVOTE, PRECOMMIT = VoteKind.PREVOTE, VoteKind.PRECOMMIT
FOUR = ValidatorSet.of({A: 1, B: 1, C: 1, D: 1})
TIMEOUTS = Timeouts()


def vote(who: Address, kind: VoteKind, value: ValueId | None, round_: int = 0, height: int = 1) -> Vote:
    return Vote(Height(height), Round(round_), kind, value, who, proof=b"signature of " + who)


def proposal(value: ValueId, round_: int = 0, valid_round: int = NO_ROUND, who: Address | None = None) -> Proposal:
    return Proposal(H, Round(round_), value, Round(valid_round), who or proposer(round_), proof=b"signature")


def proposer(round_: int) -> Address:
    return FOUR.after(round_).proposer


def started(who: Address = D, validators: ValidatorSet = FOUR) -> Driver:
    """Return a driver in round 0."""
    driver = Driver(who, H, validators, TIMEOUTS)
    driver.handle(Start())
    return driver


def hears(driver: Driver, *messages: Vote | Proposal) -> list[Output]:
    """Give messages, each a valid one; return all outputs."""
    outputs: list[Output] = []
    for message in messages:
        input_ = VoteReceived(message) if isinstance(message, Vote) else ProposalReceived(message, valid=True)
        outputs += driver.handle(input_)
    return outputs


def votes(kind: VoteKind, value: ValueId | None, *who: Address, round_: int = 0) -> list[Vote]:
    return [vote(one, kind, value, round_) for one in who]


def signs(outputs: list[Output]) -> list[tuple[object, ...]]:
    """Return what is to be signed, in short."""
    return [
        (one.message.kind.name, one.message.round, one.message.value_id)
        if isinstance(one.message, Vote)
        else ("PROPOSAL", one.message.round, one.message.value_id, one.message.valid_round)
        for one in outputs
        if isinstance(one, Sign)
    ]


def timers(outputs: list[Output]) -> list[tuple[Step, int]]:
    return [(one.timeout.step, one.timeout.round) for one in outputs if isinstance(one, ScheduleTimeout)]


def reasons(outputs: list[Output]) -> list[str]:
    return [one.reason.name for one in outputs if isinstance(one, Rejected)]


def elapse(driver: Driver, step: Step, round_: int = 0) -> list[Output]:
    return list(driver.handle(TimeoutElapsed(step, Round(round_))))
