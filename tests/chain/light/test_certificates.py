"""A commit proves its header with more than two thirds of the power, every vote valid; each forgery has its error."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chain import light
from chain.crypto.schemes import SIGNATURE_BYTES, Scheme
from chain.light import BlockIdFlag, errors
from tests.chain.light.certificates import (
    CHAIN_ID,
    key,
    make_commit,
    make_header,
    sign,
    validator_set,
    with_slot,
)

COMMIT, NIL, ABSENT = BlockIdFlag.COMMIT, BlockIdFlag.NIL, BlockIdFlag.ABSENT
FOUR = validator_set()
HEADER = make_header(FOUR)
GOOD = make_commit(HEADER, FOUR)


def verify(commit: light.Commit, header: light.Header = HEADER, validators: light.ValidatorSet = FOUR) -> int:
    return light.verify_commit(header, commit, validators, CHAIN_ID)


def test_all_four_votes_count() -> None:
    assert verify(GOOD) == 4


def test_three_of_four_are_enough() -> None:
    assert verify(make_commit(HEADER, FOUR, (COMMIT, ABSENT, COMMIT, COMMIT))) == 3


def test_a_thread_pool_gives_the_same_verdicts() -> None:
    forged = with_slot(GOOD, 3, replace(GOOD.signatures[3], signature=GOOD.signatures[2].signature))
    with ThreadPoolExecutor(2) as pool:
        assert light.verify_commit(HEADER, GOOD, FOUR, CHAIN_ID, pool=pool) == 4
        with pytest.raises(errors.BadSignatureError) as caught:
            light.verify_commit(HEADER, forged, FOUR, CHAIN_ID, pool=pool)
    assert caught.value.index == 3


def test_nil_votes_are_verified_but_do_not_count() -> None:
    with pytest.raises(errors.NotEnoughPowerError) as caught:
        verify(make_commit(HEADER, FOUR, (COMMIT, COMMIT, NIL, NIL)))
    assert (caught.value.signed, caught.value.nil, caught.value.total) == (2, 2, 4)
    assert verify(make_commit(HEADER, FOUR, (COMMIT, COMMIT, COMMIT, NIL))) == 3
    forged = make_commit(HEADER, FOUR, (COMMIT, COMMIT, COMMIT, NIL))
    forged = with_slot(forged, 3, replace(forged.signatures[3], signature=GOOD.signatures[3].signature))
    with pytest.raises(errors.BadSignatureError):
        verify(forged)


def test_a_nil_vote_cannot_pose_as_a_vote_for_the_block() -> None:
    nil = make_commit(HEADER, FOUR, (COMMIT, COMMIT, NIL, NIL))
    with pytest.raises(errors.BadSignatureError) as caught:
        verify(with_slot(nil, 2, replace(nil.signatures[2], flag=COMMIT)))
    assert caught.value.index == 2


def test_a_commit_for_nil_decides_nothing() -> None:
    with pytest.raises(errors.NilCertificateError):
        verify(sign(replace(GOOD, block_id=light.NIL_BLOCK_ID)))


def test_absent_votes_do_not_count() -> None:
    with pytest.raises(errors.NotEnoughPowerError):
        verify(make_commit(HEADER, FOUR, (COMMIT, COMMIT, ABSENT, ABSENT)))


def test_an_absent_slot_must_be_empty() -> None:
    with pytest.raises(errors.AbsentWithContentError) as caught:
        verify(with_slot(GOOD, 1, replace(GOOD.signatures[1], flag=ABSENT)))
    assert caught.value.index == 1


def test_a_validator_counts_once() -> None:
    with pytest.raises(errors.DuplicateSignerError) as caught:
        verify(with_slot(GOOD, 3, GOOD.signatures[2]))
    assert caught.value.address == FOUR.addresses[2]


def test_a_stranger_does_not_count() -> None:
    address = light.validator_address(key(9).public_key)
    strange = sign(with_slot(GOOD, 0, replace(GOOD.signatures[0], validator_address=address)))
    with pytest.raises(errors.UnknownSignerError) as caught:
        verify(strange)
    assert caught.value.address == address


def test_each_validator_has_its_own_slot() -> None:
    swapped = with_slot(with_slot(GOOD, 0, GOOD.signatures[1]), 1, GOOD.signatures[0])
    with pytest.raises(errors.MisplacedSignerError) as caught:
        verify(swapped)
    assert (caught.value.index, caught.value.found) == (0, FOUR.addresses[1])


def test_a_header_of_another_chain_is_refused() -> None:
    other = make_header(FOUR, chain_id="another")
    with pytest.raises(errors.WrongChainError):
        verify(make_commit(other, FOUR, chain_id="another"), other)


def test_votes_for_another_chain_do_not_verify() -> None:
    with pytest.raises(errors.BadSignatureError):
        verify(make_commit(HEADER, FOUR, chain_id="another"))


def test_a_commit_of_another_height_is_refused() -> None:
    with pytest.raises(errors.WrongHeightError):
        verify(sign(replace(GOOD, height=light.Height(2))))
    with pytest.raises(errors.BadSignatureError):
        verify(replace(sign(replace(GOOD, height=light.Height(2))), height=light.Height(1)))


def test_votes_of_another_round_do_not_verify() -> None:
    with pytest.raises(errors.BadSignatureError):
        verify(replace(GOOD, round=1))


def test_a_commit_for_another_block_is_refused() -> None:
    with pytest.raises(errors.WrongBlockError):
        verify(make_commit(make_header(FOUR, app_hash=b"\x02" * 32), FOUR))


def test_votes_bind_the_parts_of_the_block() -> None:
    parts = light.PartSetHeader(2, b"\x07" * 32)
    with pytest.raises(errors.BadSignatureError):
        verify(replace(GOOD, block_id=replace(GOOD.block_id, part_set_header=parts)))


def test_exactly_two_thirds_are_not_enough() -> None:
    three = validator_set((1, 1, 1))
    header = make_header(three)
    with pytest.raises(errors.NotEnoughPowerError) as caught:
        verify(make_commit(header, three, (COMMIT, COMMIT, ABSENT)), header, three)
    assert (caught.value.signed, caught.value.total) == (2, 3)


@pytest.mark.parametrize(("powers", "flags", "signed"), [
    ((4, 1, 1), (COMMIT, ABSENT, ABSENT), None),
    ((5, 1, 1), (COMMIT, ABSENT, ABSENT), 5),
    ((5, 1, 1), (ABSENT, COMMIT, COMMIT), None),
])  # fmt: skip
def test_power_decides_not_the_number_of_votes(
    powers: tuple[int, ...], flags: tuple[BlockIdFlag, ...], signed: int | None
) -> None:
    validators = validator_set(powers)
    header = make_header(validators)
    commit = make_commit(header, validators, flags)
    if signed:
        assert verify(commit, header, validators) == signed
    else:
        with pytest.raises(errors.NotEnoughPowerError):
            verify(commit, header, validators)


@pytest.mark.parametrize("length", [0, 1, 2420, SIGNATURE_BYTES[Scheme.ML_DSA_65] - 1, 3310])
def test_a_signature_has_the_length_of_its_scheme(length: int) -> None:
    with pytest.raises(errors.WrongSignatureLengthError) as caught:
        verify(with_slot(GOOD, 2, replace(GOOD.signatures[2], signature=(GOOD.signatures[2].signature * 2)[:length])))
    assert caught.value.found == length


@pytest.mark.parametrize("index", range(4))
def test_one_wrong_bit_in_any_signature_is_seen_even_beyond_the_quorum(index: int) -> None:
    signature = bytearray(GOOD.signatures[index].signature)
    signature[1000] ^= 1
    with pytest.raises(errors.BadSignatureError) as caught:
        verify(with_slot(GOOD, index, replace(GOOD.signatures[index], signature=bytes(signature))))
    assert caught.value.index == index


def test_a_vote_time_cannot_be_changed() -> None:
    later = replace(GOOD.signatures[0], timestamp=light.Timestamp(GOOD.signatures[0].timestamp.seconds, 1))
    with pytest.raises(errors.BadSignatureError):
        verify(with_slot(GOOD, 0, later))


def test_a_signature_with_another_context_does_not_verify() -> None:
    signature = key(1).sign(light.commit_sign_bytes(GOOD, 0, CHAIN_ID), b"merit/tx/1")
    slots = {light.validator_address(key(1).public_key): signature}
    index = FOUR.addresses.index(next(iter(slots)))
    with pytest.raises(errors.BadSignatureError):
        verify(with_slot(GOOD, index, replace(GOOD.signatures[index], signature=signature)))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_there_is_one_slot_per_validator(count: int) -> None:
    with pytest.raises(errors.WrongSignatureCountError):
        verify(replace(GOOD, signatures=(GOOD.signatures * 2)[:count]))


def test_a_slot_without_a_meaning_is_refused() -> None:
    with pytest.raises(errors.UnknownFlagError) as caught:
        verify(with_slot(GOOD, 0, replace(GOOD.signatures[0], flag=0)))
    assert caught.value.flag == 0


def test_another_validator_set_is_not_trusted() -> None:
    with pytest.raises(errors.WrongValidatorsError):
        verify(GOOD, validators=validator_set((1, 1, 1, 2)))


@pytest.mark.parametrize(
    ("validators", "fault"),
    [
        ((), errors.SetFault.EMPTY),
        (FOUR.validators[::-1], errors.SetFault.ORDER),
        (FOUR.validators + FOUR.validators[-1:], errors.SetFault.DUPLICATE),
        ((replace(FOUR.validators[0], power=0),), errors.SetFault.POWER),
        ((replace(FOUR.validators[0], power=-1),), errors.SetFault.POWER),
        ((replace(FOUR.validators[0], power=1 << 60), *FOUR.validators[1:]), errors.SetFault.TOTAL),
    ],
)
def test_what_is_no_validator_set_is_refused(validators: tuple[light.Validator, ...], fault: errors.SetFault) -> None:
    with pytest.raises(errors.InvalidValidatorSetError) as caught:
        light.ValidatorSet(validators)
    assert caught.value.fault is fault
