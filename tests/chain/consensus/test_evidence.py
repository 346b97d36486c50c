"""Certificates and evidence of others are judged by what was said."""

import pytest

from chain.consensus.certificates import check_certificate
from chain.consensus.errors import CertificateFaultError, EvidenceFaultError
from chain.consensus.evidence import check_equivocation
from chain.consensus.types import Address, Certificate, Equivocation, Proposal, Round, Vote
from tests.chain.consensus.validating import FOUR, PRECOMMIT, PREVOTE, A, B, C, D, H, V, W, proposal, vote, votes


@pytest.mark.parametrize(
    ("first", "second"),
    [(vote(A, PREVOTE, V), vote(A, PREVOTE, None)), (proposal(V), proposal(W)), (proposal(V, 2, 0), proposal(V, 2, 1))],
)
def test_two_statements_in_one_slot_convict(first: Vote | Proposal, second: Vote | Proposal) -> None:
    assert check_equivocation(Equivocation(first, second), FOUR) == first.validator


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (vote(A, PREVOTE, V), vote(A, PREVOTE, V), "the same"),
        (vote(A, PREVOTE, V), Vote(H, Round(0), PREVOTE, V, A, b"another signature"), "the same"),
        (vote(A, PREVOTE, V), vote(B, PREVOTE, W), "not of one validator"),
        (vote(A, PREVOTE, V), vote(A, PREVOTE, W, 1), "not of one validator"),
        (vote(A, PREVOTE, V), vote(A, PRECOMMIT, W), "not of one validator"),
        (vote(A, PREVOTE, V), vote(A, PREVOTE, W, height=2), "not of one validator"),
        (vote(A, PREVOTE, V), proposal(W, who=A), "not of one validator"),
        (vote(Address(b"x"), PREVOTE, V), vote(Address(b"x"), PREVOTE, W), "no validator"),
    ],
)
def test_everything_else_convicts_nobody(first: Vote | Proposal, second: Vote | Proposal, why: str) -> None:
    with pytest.raises(EvidenceFaultError, match=why):
        check_equivocation(Equivocation(first, second), FOUR)


def test_a_certificate_has_more_than_two_thirds() -> None:
    assert check_certificate(Certificate(H, Round(0), PREVOTE, V, tuple(votes(PREVOTE, V, A, B, D))), FOUR) == 3


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (votes(PRECOMMIT, V, A, B), "power 2 of 4 is not more than two thirds"),
        (votes(PRECOMMIT, V, A, B, B), "twice"),
        (votes(PRECOMMIT, V, A, B, Address(b"x")), "no validator"),
        ([*votes(PRECOMMIT, V, A, B), vote(C, PRECOMMIT, None)], "something else"),
        ([*votes(PRECOMMIT, V, A, B), vote(C, PREVOTE, V)], "something else"),
        ([*votes(PRECOMMIT, V, A, B), vote(C, PRECOMMIT, V, 1)], "something else"),
        ([*votes(PRECOMMIT, V, A, B), vote(C, PRECOMMIT, V, height=2)], "something else"),
    ],
)
def test_what_certifies_nothing_is_named(said: list[Vote], why: str) -> None:
    with pytest.raises(CertificateFaultError, match=why):
        check_certificate(Certificate(H, Round(0), PRECOMMIT, V, tuple(said)), FOUR)
