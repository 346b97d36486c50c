"""Messages become the events of the paper, and what cannot be is refused with a reason."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.certificates import check_certificate
from chain.consensus.driver import (
    Accuse,
    CertificateReceived,
    Decided,
    Driver,
    GetValue,
    ProposalReceived,
    Reason,
    Start,
    VoteReceived,
)
from chain.consensus.limits import ROUNDS_AHEAD, ROUNDS_KEPT, ROUNDS_MOST
from chain.consensus.round import ValueChosen
from chain.consensus.types import Address, Certificate, Height, Proposal, Round, Step, ValueId, VoteKind
from chain.consensus.validators import ValidatorSet
from tests.chain.consensus.validating import (
    FOUR,
    PRECOMMIT,
    PREVOTE,
    TIMEOUTS,
    A,
    B,
    C,
    D,
    H,
    V,
    W,
    X,
    elapse,
    hears,
    proposal,
    proposer,
    reasons,
    signs,
    started,
    timers,
    vote,
    votes,
)


def certificate(kind: VoteKind, value: ValueId, *who: Address, round_: int = 0) -> Certificate:
    return Certificate(H, Round(round_), kind, value, tuple(votes(kind, value, *who, round_=round_)))


class TestARoundThatGoesWell:
    def test_the_proposer_asks_for_a_value_and_proposes_what_it_gets(self) -> None:
        driver = Driver(A, H, FOUR, TIMEOUTS)
        outputs = driver.handle(Start())
        assert outputs[0] == GetValue(Round(0))
        assert signs(list(driver.handle(ValueChosen(Round(0), V)))) == [("PROPOSAL", 0, V, -1)]

    def test_proposal_polka_and_precommits_decide(self) -> None:
        driver = started()
        assert signs(hears(driver, proposal(V))) == [("PREVOTE", 0, V)]
        assert signs(hears(driver, *votes(PREVOTE, V, A, B, D))) == [("PRECOMMIT", 0, V)]
        outputs = hears(driver, *votes(PRECOMMIT, V, A, B, D))
        (decided,) = [one for one in outputs if isinstance(one, Decided)]
        assert decided.proposal == proposal(V)
        assert check_certificate(decided.certificate, FOUR) == 3

    def test_messages_in_the_opposite_order_decide_too(self) -> None:
        driver = started()
        hears(driver, *votes(PRECOMMIT, V, A, B, C), *votes(PREVOTE, V, A, B, C))
        assert any(isinstance(one, Decided) for one in hears(driver, proposal(V)))

    def test_precommits_of_an_earlier_round_decide(self) -> None:
        driver = started()
        hears(driver, proposal(V), *votes(PRECOMMIT, None, A, B, C, round_=1))
        assert driver.state.round == 1
        outputs = hears(driver, *votes(PRECOMMIT, V, A, B, C))
        assert [one.certificate.round for one in outputs if isinstance(one, Decided)] == [0]


class TestQuorums:
    def test_exactly_two_thirds_are_no_quorum(self) -> None:
        three = ValidatorSet.of({A: 1, B: 1, C: 1})
        driver = started(C, three)
        hears(driver, proposal(V, who=three.proposer))
        assert signs(hears(driver, *votes(PREVOTE, V, A, B))) == []
        assert signs(hears(driver, vote(C, PREVOTE, V))) == [("PRECOMMIT", 0, V)]

    def test_power_counts_not_heads(self) -> None:
        heavy = ValidatorSet.of({A: 10, B: 1, C: 1, D: 1})
        driver = started(D, heavy)
        hears(driver, proposal(V, who=heavy.proposer))
        assert signs(hears(driver, *votes(PREVOTE, V, B, C, D))) == []
        assert signs(hears(driver, vote(A, PREVOTE, V))) == [("PRECOMMIT", 0, V)]

    def test_a_repeated_vote_counts_once(self) -> None:
        driver = started()
        hears(driver, proposal(V))
        outputs = hears(driver, *votes(PREVOTE, V, A, A, A, B))
        assert signs(outputs) == []
        assert reasons(outputs) == ["DUPLICATE", "DUPLICATE"]

    def test_a_vote_with_another_signature_is_the_same_vote(self) -> None:
        driver = started()
        hears(driver, vote(A, PREVOTE, V))
        again = vote(A, PREVOTE, V).__class__(H, Round(0), PREVOTE, V, A, b"hedged")
        outputs = hears(driver, again)
        assert reasons(outputs) == ["DUPLICATE"]
        assert not any(isinstance(one, Accuse) for one in outputs)

    def test_votes_for_several_values_reach_no_quorum_for_any_of_them_but_start_the_timeout(self) -> None:
        driver = started()
        hears(driver, proposal(V))
        outputs = hears(driver, vote(A, PREVOTE, V), vote(B, PREVOTE, W), vote(C, PREVOTE, None))
        assert (signs(outputs), timers(outputs)) == ([], [(Step.PREVOTE, 0)])

    @given(st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.sampled_from([V, W, None])), max_size=30))
    def test_a_lock_needs_more_than_two_thirds_of_different_validators(
        self, said: list[tuple[Address, ValueId | None]]
    ) -> None:
        powers = {A: 3, B: 2, C: 2, D: 1}
        some = ValidatorSet.of(powers)
        driver = started(D, some)
        hears(driver, proposal(V, who=some.proposer), *(vote(who, PREVOTE, value) for who, value in said))
        kept: dict[Address, list[ValueId | None]] = {who: [] for who in powers}
        for who, value in said:
            if value not in kept[who] and len(kept[who]) < 2:
                kept[who].append(value)
        behind = sum(power for who, power in powers.items() if V in kept[who])
        assert (driver.state.valid is not None) == (3 * behind > 2 * sum(powers.values()))


class TestSkippingRounds:
    def test_one_validator_alone_leads_nobody_to_a_later_round(self) -> None:
        driver = started()
        hears(driver, *votes(PREVOTE, None, A, round_=3), *votes(PRECOMMIT, None, A, round_=3))
        assert driver.state.round == 0

    def test_f_plus_1_lead_to_their_round(self) -> None:
        driver = started()
        outputs = hears(driver, *votes(PREVOTE, None, A, B, round_=3))
        assert driver.state.round == 3
        assert (Step.PROPOSE, 3) in timers(outputs)

    def test_a_proposal_and_a_vote_are_two_of_them(self) -> None:
        driver = started()
        hears(driver, proposal(V, 1), vote(A, PREVOTE, V, 1))
        assert driver.state.round == 1

    def test_rounds_far_ahead_are_not_kept_but_f_plus_1_still_lead_there(self) -> None:
        driver, far = started(), ROUNDS_AHEAD + 100
        hears(driver, vote(A, PREVOTE, None, far))
        assert (driver.state.round, driver.rounds_kept()) == (0, 0)
        assert reasons(hears(driver, vote(A, PREVOTE, None, far))) == ["FUTURE_ROUND"]
        hears(driver, vote(B, PREVOTE, None, far))
        assert driver.state.round == far


class TestTheHiddenLock:
    def test_a_polka_certificate_lets_others_accept_what_only_one_has_locked(self) -> None:
        other, holder = started(D), started(C)
        hears(holder, proposal(V), *votes(PREVOTE, V, A, B, C), *votes(PRECOMMIT, None, A, B, D))
        elapse(holder, Step.PRECOMMIT)
        assert holder.state.locked is not None
        assert holder.state.round == 1
        said = holder.catch_up()
        hears(other, *votes(PRECOMMIT, None, A, B, C))
        elapse(other, Step.PRECOMMIT)
        assert signs(hears(other, proposal(V, 1, 0))) == []  # L28 waits for the polka
        outputs = [output for one in said.certificates for output in other.handle(CertificateReceived(one))]
        assert signs(outputs) == [("PREVOTE", 1, V)]

    def test_what_is_repeated_brings_a_newcomer_to_the_same_round(self) -> None:
        ahead, late = started(C), started(D)
        hears(ahead, proposal(V), *votes(PREVOTE, V, A, B, C), *votes(PRECOMMIT, None, A, B, D))
        elapse(ahead, Step.PRECOMMIT)
        said = ahead.catch_up()
        hears(late, *said.votes, *said.proposals)
        elapse(late, Step.PRECOMMIT)
        assert late.state.round == ahead.state.round


class TestEvidence:
    def test_two_votes_of_one_validator_are_evidence(self) -> None:
        driver = started()
        outputs = hears(driver, vote(A, PREVOTE, V), vote(A, PREVOTE, W))
        (accusation,) = [one for one in outputs if isinstance(one, Accuse)]
        assert (accusation.evidence.first, accusation.evidence.second) == (vote(A, PREVOTE, V), vote(A, PREVOTE, W))

    def test_two_proposals_of_one_validator_are_evidence(self) -> None:
        driver = started()
        assert [type(one) for one in hears(driver, proposal(V), proposal(W)) if isinstance(one, Accuse)] == [Accuse]

    def test_a_prevote_and_a_precommit_are_none_nor_are_votes_of_two_rounds(self) -> None:
        driver = started()
        outputs = hears(driver, vote(A, PREVOTE, V), vote(A, PRECOMMIT, None), vote(A, PREVOTE, W, 1))
        assert not any(isinstance(one, Accuse) for one in outputs)

    def test_a_third_statement_is_not_kept(self) -> None:
        driver = started()
        assert reasons(hears(driver, *(vote(A, PREVOTE, value) for value in (V, W, X)))) == ["SURPLUS"]

    def test_a_certificate_counts_a_vote_that_was_a_third_statement(self) -> None:
        driver = started()
        hears(driver, proposal(X), *(vote(A, PRECOMMIT, value) for value in (V, W)))
        outputs = driver.handle(CertificateReceived(certificate(PRECOMMIT, X, A, B, C)))
        assert any(isinstance(one, Decided) for one in outputs)


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (vote(A, PREVOTE, V, height=2), "FUTURE_HEIGHT"),
            (vote(A, PREVOTE, V, height=0), "OLD_HEIGHT"),
            (vote(A, PREVOTE, V, -1), "MALFORMED"),
            (vote(A, PREVOTE, ValueId(b"")), "MALFORMED"),
            (vote(A, PREVOTE, ValueId(bytes(129))), "MALFORMED"),
            (vote(Address(b"stranger"), PREVOTE, V), "STRANGER"),
            (proposal(V, 0, 0), "MALFORMED"),
            (proposal(V, 1, -2), "MALFORMED"),
            (proposal(V, 1, who=proposer(0)), "NOT_PROPOSER"),
            (proposal(V, ROUNDS_AHEAD + 1), "FUTURE_ROUND"),
            (proposal(V, who=Address(b"stranger")), "STRANGER"),
        ],
    )
    def test_what_cannot_be_is_refused_and_changes_nothing(self, message: Proposal, reason: str) -> None:
        driver = started()
        before = driver.fingerprint()
        assert reasons(hears(driver, message)) == [reason]
        assert driver.fingerprint() == before

    def test_a_third_proposal_is_refused_unless_its_value_has_a_quorum(self) -> None:
        driver = started()
        assert reasons(hears(driver, proposal(V), proposal(W), proposal(X))) == ["SURPLUS"]
        hears(driver, *votes(PRECOMMIT, X, A, B, C))
        assert any(isinstance(one, Decided) for one in hears(driver, proposal(X)))

    @pytest.mark.parametrize("who", [(A, B), (A, A, B), (A, B, Address(b"stranger"))])
    def test_a_certificate_without_a_quorum_is_refused_and_none_of_it_is_kept(self, who: tuple[Address, ...]) -> None:
        driver = started()
        outputs = list(driver.handle(CertificateReceived(certificate(PRECOMMIT, V, *who))))
        assert reasons(outputs) == ["NO_CERTIFICATE"]
        assert driver.size() == 0

    def test_a_certificate_whose_votes_are_for_something_else_is_refused(self) -> None:
        driver = started()
        mixed = Certificate(H, Round(0), PRECOMMIT, V, (*votes(PRECOMMIT, V, A, B), vote(C, PRECOMMIT, W)))
        assert reasons(list(driver.handle(CertificateReceived(mixed)))) == ["NO_CERTIFICATE"]

    def test_votes_of_rounds_long_over_are_refused(self) -> None:
        driver = started()
        hears(driver, *votes(PREVOTE, None, A, B, round_=ROUNDS_KEPT + 5))
        assert reasons(hears(driver, vote(A, PREVOTE, V, 1))) == ["OLD_ROUND"]

    @given(st.integers(0, 2**32))
    def test_memory_stays_bounded_whatever_one_validator_says(self, salt: int) -> None:
        driver = started()
        for number in range(300):
            value = ValueId((salt * 1000 + number).to_bytes(8, "big"))
            hears(driver, vote(A, PREVOTE, value, number * 7 % 300), vote(A, PRECOMMIT, value, number % 3))
        assert driver.size() <= driver.size_limit()
        assert driver.rounds_kept() <= ROUNDS_MOST


class TestWhoOnlyWatches:
    def test_a_stranger_signs_nothing_and_decides_with_the_others(self) -> None:
        driver = started(Address(b"watcher"))
        outputs = hears(driver, proposal(V), *votes(PREVOTE, V, A, B, C), *votes(PRECOMMIT, V, A, B, C))
        assert signs(outputs) == []
        assert any(isinstance(one, Decided) for one in outputs)

    def test_a_height_of_another_driver_is_refused(self) -> None:
        driver = Driver(A, Height(7), FOUR, TIMEOUTS)
        driver.handle(Start())
        assert reasons(list(driver.handle(VoteReceived(vote(A, PREVOTE, V))))) == ["OLD_HEIGHT"]


def test_an_invalid_proposal_is_never_voted_for_even_with_a_polka() -> None:
    driver = started()
    outputs = list(driver.handle(ProposalReceived(proposal(V), valid=False)))
    outputs += hears(driver, *votes(PREVOTE, V, A, B, C), *votes(PRECOMMIT, V, A, B, C))
    assert ("PREVOTE", 0, None) in signs(outputs)
    assert driver.state.locked is None
    assert driver.state.decision is None


@given(st.data())
def test_equal_inputs_give_equal_outputs_and_a_copy_goes_its_own_way(data: st.DataObject) -> None:
    messages = st.builds(
        vote,
        st.sampled_from([A, B, C]),
        st.sampled_from(list(VoteKind)),
        st.sampled_from([V, W, None]),
        st.integers(0, 3),
    )
    inputs = data.draw(st.lists(messages, max_size=40))
    one, two = started(), started()
    assert hears(one, *inputs) == hears(two, *inputs)
    assert one.fingerprint() == two.fingerprint()
    before, copy = one.fingerprint(), one.copy()
    hears(copy, *votes(PREVOTE, None, A, B, C, round_=5))
    assert one.fingerprint() == before


def test_why_a_round_was_lost_is_told_in_one_line() -> None:
    driver = started()
    assert driver.why_lost(Round(0)) == "no proposal came; prevotes none; precommits none"
    hears(driver, *votes(PREVOTE, None, A, B, C), proposal(V))
    assert driver.why_lost(Round(0)) == "the polka was for nil; prevotes nil 3/4; precommits none"


class TestBeforeASignatureIsChecked:
    def test_what_would_be_refused_is_refused_without_a_look_at_its_signature(self) -> None:
        driver = started()
        known, other = vote(A, PREVOTE, V), replace(vote(A, PREVOTE, V), validator=Address(b"stranger"))
        assert driver.refuses(known) is None
        hears(driver, known)
        before = driver.fingerprint()
        assert driver.refuses(known) is Reason.DUPLICATE
        assert driver.refuses(other) is Reason.STRANGER
        assert driver.refuses(vote(A, PREVOTE, V, height=2)) is Reason.FUTURE_HEIGHT
        assert driver.refuses(proposal(V, who=next(one for one in (A, B) if one != proposer(0)))) is Reason.NOT_PROPOSER
        assert driver.refuses(proposal(V)) is None
        assert driver.fingerprint() == before

    def test_three_proposals_of_one_round_are_one_too_many(self) -> None:
        driver = started()
        hears(driver, proposal(V), proposal(W))
        assert driver.refuses(proposal(X)) is Reason.SURPLUS


def test_a_certificate_grows_by_precommits_that_come_after_the_decision() -> None:
    driver = started()
    assert driver.certificate() is None
    hears(driver, proposal(V), *votes(PRECOMMIT, V, A, B, C))
    decided = driver.certificate()
    assert decided is not None
    assert [one.validator for one in decided.votes] == [A, B, C]
    hears(driver, vote(D, PRECOMMIT, V))
    whole = driver.certificate()
    assert whole is not None
    assert [one.validator for one in whole.votes] == [A, B, C, D]
