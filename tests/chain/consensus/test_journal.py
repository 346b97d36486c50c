"""A journal comes back as it was written, without a torn end, or not at all; and a signer never contradicts itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.codec import decode_input, encode_input
from chain.consensus.driver import CertificateReceived, Input, ProposalReceived, Start, VoteReceived
from chain.consensus.errors import ContradictionError, JournalError, SignerRecordError
from chain.consensus.journal import Journal, Mark, recover
from chain.consensus.round import TimeoutElapsed, ValueChosen
from chain.consensus.signing import (
    LastSignature,
    decode_last_signature,
    encode_last_signature,
    position_of,
    recorded,
)
from chain.consensus.types import Address, Certificate, Height, Round, Step, ValueId
from tests.chain.consensus.validating import PRECOMMIT, PREVOTE, A, B, C, H, V, proposal, vote, votes

INPUTS: tuple[Input, ...] = (
    Start(),
    ProposalReceived(proposal(V), valid=True),
    VoteReceived(vote(A, PREVOTE, V)),
    VoteReceived(vote(B, PRECOMMIT, None, 3)),
    CertificateReceived(Certificate(H, Round(0), PRECOMMIT, V, tuple(votes(PRECOMMIT, V, A, B, C)))),
    TimeoutElapsed(Step.PREVOTE, Round(2)),
    ValueChosen(Round(1), V),
)


def written(inputs: tuple[Input, ...] = INPUTS) -> tuple[bytes, list[Mark], list[int]]:
    """Return a journal, its mark after each record and its length there."""
    journal = Journal()
    raw = journal.begin(H, A)
    marks, lengths = [journal.mark], [len(raw)]
    for input_ in inputs:
        raw += journal.record(input_)
        marks.append(journal.mark)
        lengths.append(len(raw))
    return raw, marks, lengths


@pytest.mark.parametrize("input_", INPUTS, ids=lambda input_: type(input_).__name__)
def test_an_input_comes_back_from_its_bytes_with_its_proof(input_: Input) -> None:
    back = decode_input(encode_input(input_))
    assert back == input_
    assert encode_input(back) == encode_input(input_)


@given(st.binary(max_size=60))
def test_only_what_encoding_writes_is_decoded(raw: bytes) -> None:
    try:
        input_ = decode_input(raw)
    except ValueError:
        return
    assert encode_input(input_) == raw


def test_a_journal_comes_back_and_goes_on() -> None:
    raw, marks, _ = written()
    found = recover(raw, H, A)
    assert (found.inputs, found.journal.mark, found.length) == (INPUTS, marks[-1], len(raw))
    longer = raw + found.journal.record(Start())
    assert recover(longer, H, A).inputs == (*INPUTS, Start())


def test_a_journal_torn_anywhere_is_its_whole_records() -> None:
    raw, _, lengths = written()
    for length in range(len(raw)):
        whole = [end for end in lengths if end <= length]
        found = recover(raw[:length], H, A)
        assert found.length == (whole[-1] if whole else 0)
        assert found.inputs == INPUTS[: max(0, len(whole) - 1)]


def test_zeros_after_the_end_are_cut_off() -> None:
    raw, _, lengths = written()
    assert recover(raw + bytes(100), H, A).length == lengths[-1]


def test_every_flipped_bit_is_detected() -> None:
    raw, marks, _ = written()
    for position in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(JournalError):
            recover(bytes(damaged), H, A, at_least=marks[-1])


def test_a_journal_shorter_than_a_signature_needs_is_refused() -> None:
    raw, marks, lengths = written()
    for records, mark in enumerate(marks):
        assert recover(raw[: lengths[records]], H, A, at_least=mark).inputs == INPUTS[:records]
        with pytest.raises(JournalError, match="a signature was made by inputs that it does not hold"):
            recover(raw[: lengths[records] - 1], H, A, at_least=mark)


def test_another_height_or_owner_is_refused() -> None:
    raw, _, _ = written()
    with pytest.raises(JournalError, match="not the journal of height 2"):
        recover(raw, Height(2), A)
    with pytest.raises(JournalError, match="not the journal of height 1"):
        recover(raw, H, Address(b"other"))


class TestTheSigner:
    LAST = LastSignature(3, 2, 1, b"said", b"signature", Mark(4, b"link"))

    def test_what_comes_later_is_signed_anew(self) -> None:
        assert recorded(None, (1, 0, 0), b"said") is None
        for position in ((3, 2, 2), (3, 3, 0), (4, 0, 0)):
            assert recorded(self.LAST, position, b"said") is None

    def test_the_same_statement_gets_the_recorded_signature(self) -> None:
        assert recorded(self.LAST, (3, 2, 1), b"said") == b"signature"

    @pytest.mark.parametrize(
        ("position", "said"), [((3, 2, 1), b"else"), ((3, 2, 0), b"said"), ((3, 1, 2), b"said"), ((2, 9, 2), b"said")]
    )
    def test_anything_else_is_refused(self, position: tuple[int, int, int], said: bytes) -> None:
        with pytest.raises(ContradictionError, match="after having signed otherwise"):
            recorded(self.LAST, position, said)

    def test_positions_rise_from_proposal_over_prevote_to_precommit(self) -> None:
        said = (proposal(V), vote(A, PREVOTE, V), vote(A, PRECOMMIT, V), proposal(V, 1))
        assert [position_of(message) for message in said] == [(1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 1, 0)]

    def test_the_record_comes_back_and_every_flipped_bit_is_detected(self) -> None:
        raw = encode_last_signature(self.LAST)
        assert decode_last_signature(raw) == self.LAST
        for position in range(8 * len(raw)):
            damaged = bytearray(raw)
            damaged[position // 8] ^= 1 << position % 8
            with pytest.raises(SignerRecordError):
                decode_last_signature(bytes(damaged))


def test_a_value_id_of_any_bytes_survives_the_journal() -> None:
    input_ = ValueChosen(Round(0), ValueId(bytes(range(128))))
    assert decode_input(encode_input(input_)) == input_
