"""Algorithm 1 of arXiv 1807.04938, line by line: each test names the line that it holds `chain.consensus.round` to."""

from dataclasses import replace

import pytest

from chain.consensus.round import (
    Action,
    CastVote,
    Committed,
    Decide,
    EnterRound,
    Event,
    FreshProposal,
    GetValue,
    LaterRound,
    Polka,
    PolkaNil,
    PrecommitsAny,
    PrevotesAny,
    ProposalWithPolka,
    Propose,
    RoundValue,
    StartRound,
    StartTimeout,
    State,
    TimeoutElapsed,
    ValueChosen,
    step,
)
from chain.consensus.types import NO_ROUND, Height, Round, Step, ValueId, VoteKind

V, W = ValueId(b"v"), ValueId(b"w")
FIRST = State(Height(1))
PREVOTE, PRECOMMIT = VoteKind.PREVOTE, VoteKind.PRECOMMIT


def at(round_: int, step_: Step, locked: RoundValue | None = None, valid: RoundValue | None = None) -> State:
    return State(Height(1), Round(round_), step_, locked, valid)


def locked_at(round_: int, value: ValueId = V) -> RoundValue:
    return RoundValue(Round(round_), value)


def nothing(state: State, event: Event) -> bool:
    return step(state, event) == (state, ())


def only(state: State, event: Event) -> Action:
    _, actions = step(state, event)
    (action,) = actions
    return action


def test_l1_to_l9_a_height_begins_without_lock_and_valid_value() -> None:
    assert (FIRST.round, FIRST.step) == (NO_ROUND, Step.PROPOSE)
    assert (FIRST.locked, FIRST.valid, FIRST.decision) == (None, None, None)


def test_l12_l13_starting_a_round_sets_round_and_step_and_keeps_lock_and_valid_value() -> None:
    before = replace(at(2, Step.PRECOMMIT, locked_at(1), locked_at(2)), prevote_timer=True, precommit_timer=True)
    after, _ = step(before, StartRound(Round(3), proposer=False))
    assert after == at(3, Step.PROPOSE, locked_at(1), locked_at(2))


def test_l14_l15_l16_l19_a_proposer_with_a_valid_value_proposes_it_with_its_round() -> None:
    action = only(at(2, Step.PRECOMMIT, None, locked_at(1)), StartRound(Round(3), proposer=True))
    assert action == Propose(Round(3), V, Round(1))


def test_l18_a_proposer_without_a_valid_value_asks_for_one() -> None:
    _, actions = step(FIRST, StartRound(Round(0), proposer=True))
    assert actions[0] == GetValue(Round(0))


def test_l19_a_chosen_value_is_proposed_without_valid_round_and_only_once() -> None:
    asked, _ = step(FIRST, StartRound(Round(0), proposer=True))
    proposed, actions = step(asked, ValueChosen(Round(0), V))
    assert actions == (Propose(Round(0), V, NO_ROUND),)
    assert nothing(proposed, ValueChosen(Round(0), W))


def test_l18_a_value_that_was_not_asked_for_is_not_proposed() -> None:
    assert nothing(at(0, Step.PROPOSE), ValueChosen(Round(0), V))
    asked, _ = step(FIRST, StartRound(Round(1), proposer=True))
    assert nothing(asked, ValueChosen(Round(0), V))


def test_l21_who_does_not_propose_starts_the_timeout_to_propose() -> None:
    assert only(FIRST, StartRound(Round(0), proposer=False)) == StartTimeout(Step.PROPOSE, Round(0))


def test_l22_l23_l24_l27_a_valid_fresh_proposal_is_prevoted_without_a_lock() -> None:
    after, actions = step(at(0, Step.PROPOSE), FreshProposal(V, valid=True))
    assert actions == (CastVote(PREVOTE, Round(0), V),)
    assert after.step == Step.PREVOTE


def test_l22_a_fresh_proposal_counts_only_in_step_propose() -> None:
    assert nothing(at(0, Step.PREVOTE), FreshProposal(V, valid=True))


def test_l23_the_locked_value_is_prevoted_when_it_is_proposed_afresh() -> None:
    assert only(at(1, Step.PROPOSE, locked_at(0)), FreshProposal(V, valid=True)) == CastVote(PREVOTE, Round(1), V)


def test_l26_locked_validator_prevotes_nil_for_another_value() -> None:
    assert only(at(1, Step.PROPOSE, locked_at(0)), FreshProposal(W, valid=True)) == CastVote(PREVOTE, Round(1), None)


def test_l26_an_invalid_proposal_is_prevoted_nil() -> None:
    assert only(at(0, Step.PROPOSE), FreshProposal(V, valid=False)) == CastVote(PREVOTE, Round(0), None)


def test_l28_a_polka_must_be_of_an_earlier_round() -> None:
    for valid_round in (2, 3):
        assert nothing(at(2, Step.PROPOSE), ProposalWithPolka(V, Round(valid_round), valid=True))
    assert nothing(at(2, Step.PREVOTE), ProposalWithPolka(V, Round(1), valid=True))


@pytest.mark.parametrize("locked", [None, locked_at(1, W), locked_at(2, W), locked_at(3, V)])
def test_l29_l30_l33_a_polka_not_older_than_the_lock_or_for_its_value_is_prevoted(locked: RoundValue | None) -> None:
    after, actions = step(at(4, Step.PROPOSE, locked), ProposalWithPolka(V, Round(2), valid=True))
    assert actions == (CastVote(PREVOTE, Round(4), V),)
    assert after.step == Step.PREVOTE


def test_l32_a_polka_older_than_the_lock_is_prevoted_nil() -> None:
    event = ProposalWithPolka(V, Round(2), valid=True)
    assert only(at(4, Step.PROPOSE, locked_at(3, W)), event) == CastVote(PREVOTE, Round(4), None)


def test_l32_an_invalid_value_with_a_polka_is_prevoted_nil() -> None:
    event = ProposalWithPolka(V, Round(2), valid=False)
    assert only(at(4, Step.PROPOSE), event) == CastVote(PREVOTE, Round(4), None)


def test_l34_l35_two_thirds_of_prevotes_start_the_timeout_once_and_only_in_step_prevote() -> None:
    after, actions = step(at(0, Step.PREVOTE), PrevotesAny())
    assert actions == (StartTimeout(Step.PREVOTE, Round(0)),)
    assert nothing(after, PrevotesAny())
    assert nothing(at(0, Step.PROPOSE), PrevotesAny())
    assert nothing(at(0, Step.PRECOMMIT), PrevotesAny())


def test_l36_to_l43_a_polka_in_step_prevote_locks_and_is_precommitted() -> None:
    after, actions = step(at(2, Step.PREVOTE, locked_at(0, W)), Polka(V, valid=True))
    assert actions == (CastVote(PRECOMMIT, Round(2), V),)
    assert (after.locked, after.valid, after.step) == (locked_at(2), locked_at(2), Step.PRECOMMIT)


def test_l42_l43_a_polka_in_step_precommit_sets_the_valid_value_and_no_lock() -> None:
    after, actions = step(at(2, Step.PRECOMMIT, locked_at(0, W)), Polka(V, valid=True))
    assert actions == ()
    assert (after.locked, after.valid, after.step) == (locked_at(0, W), locked_at(2), Step.PRECOMMIT)


def test_l36_a_polka_counts_once_not_in_step_propose_and_not_for_an_invalid_value() -> None:
    after, _ = step(at(2, Step.PREVOTE), Polka(V, valid=True))
    assert nothing(after, Polka(V, valid=True))
    assert nothing(at(2, Step.PROPOSE), Polka(V, valid=True))
    assert nothing(at(2, Step.PREVOTE), Polka(V, valid=False))


def test_l44_l45_l46_a_polka_for_nil_is_precommitted_nil_and_unlocks_nothing() -> None:
    after, actions = step(at(1, Step.PREVOTE, locked_at(0)), PolkaNil())
    assert actions == (CastVote(PRECOMMIT, Round(1), None),)
    assert (after.locked, after.step) == (locked_at(0), Step.PRECOMMIT)
    assert nothing(at(1, Step.PROPOSE), PolkaNil())
    assert nothing(after, PolkaNil())


@pytest.mark.parametrize("where", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_l47_l48_two_thirds_of_precommits_start_the_timeout_once_in_any_step(where: Step) -> None:
    after, actions = step(at(1, where), PrecommitsAny())
    assert actions == (StartTimeout(Step.PRECOMMIT, Round(1)),)
    assert nothing(after, PrecommitsAny())


@pytest.mark.parametrize("round_", [0, 3, 7])
def test_l49_l51_precommits_of_any_round_decide(round_: int) -> None:
    after, actions = step(at(3, Step.PROPOSE), Committed(Round(round_), V, valid=True))
    assert actions == (Decide(Round(round_), V),)
    assert after.decision == locked_at(round_)


def test_l50_an_invalid_value_is_never_decided() -> None:
    assert nothing(at(3, Step.PRECOMMIT), Committed(Round(3), V, valid=False))


def test_l49_l52_to_l54_nothing_happens_at_a_height_that_is_decided() -> None:
    decided, _ = step(at(0, Step.PRECOMMIT), Committed(Round(0), V, valid=True))
    events: list[Event] = [
        StartRound(Round(1), proposer=True),
        FreshProposal(V, valid=True),
        Polka(V, valid=True),
        PolkaNil(),
        PrevotesAny(),
        PrecommitsAny(),
        LaterRound(Round(4)),
        Committed(Round(0), W, valid=True),
        TimeoutElapsed(Step.PRECOMMIT, Round(0)),
    ]
    assert all(nothing(decided, event) for event in events)


def test_l55_l56_f_plus_1_in_a_later_round_lead_there() -> None:
    assert only(at(1, Step.PREVOTE), LaterRound(Round(4))) == EnterRound(Round(4))
    assert nothing(at(4, Step.PREVOTE), LaterRound(Round(4)))
    assert nothing(at(5, Step.PREVOTE), LaterRound(Round(4)))


def test_l57_to_l60_the_timeout_to_propose_prevotes_nil() -> None:
    after, actions = step(at(1, Step.PROPOSE), TimeoutElapsed(Step.PROPOSE, Round(1)))
    assert actions == (CastVote(PREVOTE, Round(1), None),)
    assert after.step == Step.PREVOTE


def test_l58_the_timeout_to_propose_counts_only_in_its_round_and_step() -> None:
    assert nothing(at(2, Step.PROPOSE), TimeoutElapsed(Step.PROPOSE, Round(1)))
    assert nothing(at(1, Step.PREVOTE), TimeoutElapsed(Step.PROPOSE, Round(1)))


def test_l61_to_l64_the_timeout_to_prevote_precommits_nil() -> None:
    after, actions = step(at(1, Step.PREVOTE, locked_at(0)), TimeoutElapsed(Step.PREVOTE, Round(1)))
    assert actions == (CastVote(PRECOMMIT, Round(1), None),)
    assert (after.step, after.locked) == (Step.PRECOMMIT, locked_at(0))


def test_l62_the_timeout_to_prevote_counts_only_in_its_round_and_step() -> None:
    assert nothing(at(2, Step.PREVOTE), TimeoutElapsed(Step.PREVOTE, Round(1)))
    assert nothing(at(1, Step.PRECOMMIT), TimeoutElapsed(Step.PREVOTE, Round(1)))


@pytest.mark.parametrize("where", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_l65_to_l67_the_timeout_to_precommit_leads_to_the_next_round_from_any_step(where: Step) -> None:
    assert only(at(1, where), TimeoutElapsed(Step.PRECOMMIT, Round(1))) == EnterRound(Round(2))


def test_l66_the_timeout_to_precommit_counts_only_in_its_round() -> None:
    assert nothing(at(2, Step.PRECOMMIT), TimeoutElapsed(Step.PRECOMMIT, Round(1)))


def test_l11_a_round_that_is_over_does_not_start_again() -> None:
    assert nothing(at(2, Step.PRECOMMIT), StartRound(Round(2), proposer=True))
    assert nothing(at(2, Step.PRECOMMIT), StartRound(Round(1), proposer=True))
