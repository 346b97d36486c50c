"""Bytes that somebody made to deceive: each is refused as what it is, at decoding or as a certificate."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chain import light
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.light import errors
from chain.light.encoding import varint
from chain.light.types import TOTAL_POWER_MAX
from chain.proto import comet_pb2 as pb
from tests.chain.light.certificates import CHAIN_ID, key_of, make_commit, make_header, validator_set
from tests.chain.light.test_evidence import ATTACK, BLOCKS

FOUR = validator_set()
HEADER = make_header(FOUR)
COMMIT = make_commit(HEADER, FOUR)

HEADER_RAW, COMMIT_RAW, SET_RAW = (
    light.encode_header(HEADER),
    light.encode_commit(COMMIT),
    light.encode_validators(FOUR),
)


def with_powers(*powers: int) -> bytes:
    """Encode four validators with any powers that the wire can carry."""
    return pb.ValidatorSet(
        validators=[
            pb.Validator(address=one.address, pub_key=pb.PublicKey(mldsa65=one.public_key), voting_power=power)
            for one, power in zip(FOUR, powers, strict=True)
        ]
    ).SerializeToString()


@pytest.mark.parametrize(
    ("powers", "why"),
    [
        ((2**63 - 1, 2**63 - 1, 1, 1), "sum to more"),  # 0 in the 64 bits of an implementation that wraps
        ((2**62, 2**62, 2**62, 2**62), "sum to more"),
        ((TOTAL_POWER_MAX, 1, 1, 1), "sum to more"),
        ((TOTAL_POWER_MAX + 1, 1, 1, 1), "sum to more"),
        ((5, 1, 1, -4), "below 1"),
        ((-(2**63), 1, 1, 1), "below 1"),
        ((1, 1, 1, 0), "below 1"),
    ],
)
def test_powers_that_overflow_or_are_none_make_no_set(powers: tuple[int, ...], why: str) -> None:
    with pytest.raises(errors.MalformedRecordError, match=why):
        light.decode_validators(with_powers(*powers))


def test_the_greatest_powers_that_are_allowed_are_counted_exactly() -> None:
    most = TOTAL_POWER_MAX // 4
    for powers, signs in (((most,) * 4, 3), ((most + 2, most, most, most), 3), ((TOTAL_POWER_MAX - 3, 1, 1, 1), 1)):
        validators = validator_set(powers)
        header = make_header(validators)
        flags = [light.BlockIdFlag.COMMIT if slot < signs else light.BlockIdFlag.ABSENT for slot in range(4)]
        commit = make_commit(header, validators, flags)
        signed = sum(one.power for one in validators.validators[:signs])
        assert light.verify_commit(header, commit, validators, CHAIN_ID) == signed


def nested(raw: bytes, number: int, tail: bytes) -> bytes:
    """Append `tail` to the content of the last field `number`, a message, and correct its length."""
    message = bytearray()
    fields = list(_fields(raw))
    last = max(at for at, (found, _) in enumerate(fields) if found == number)
    for at, (found, content) in enumerate(fields):
        if isinstance(content, int):
            message += varint(found << 3) + varint(content)
        else:
            content += tail if at == last else b""  # noqa: PLW2901 - the one that changes
            message += varint(found << 3 | 2) + varint(len(content)) + content
    return bytes(message)


def _fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = raw[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(raw):
        tag = number()
        if tag & 7 == 0:
            found.append((tag >> 3, number()))
        else:
            length = number()
            found.append((tag >> 3, raw[position : position + length]))
            position += length
    return found


RECORDS: dict[str, tuple[Callable[[bytes], object], bytes, int]] = {
    "time of a header": (light.decode_header, HEADER_RAW, 4),
    "version of a header": (light.decode_header, HEADER_RAW, 1),
    "slot of a commit": (light.decode_commit, COMMIT_RAW, 4),
    "block id of a commit": (light.decode_commit, COMMIT_RAW, 3),
    "validator": (light.decode_validators, SET_RAW, 1),
    "duplicate vote": (light.decode_evidence, light.encode_evidence(BLOCKS), 1),
    "light client attack": (light.decode_evidence, light.encode_evidence(ATTACK), 2),
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("tail", [b"\x00", b"\xff", b"\x78\x00", b"\xfa\x01\x03abc"], ids=bytes.hex)
def test_garbage_after_an_inner_message_is_refused(record: str, tail: bytes) -> None:
    decode, raw, number = RECORDS[record]
    assert nested(raw, number, b"") == raw
    decode(raw)
    with pytest.raises(errors.MalformedRecordError):
        decode(nested(raw, number, tail))


@pytest.mark.parametrize("evidence", [BLOCKS, ATTACK])
@pytest.mark.parametrize("tail", [b"\x00", b"\xff", b"\x78\x00"], ids=bytes.hex)
def test_garbage_after_evidence_is_refused(evidence: light.Evidence, tail: bytes) -> None:
    with pytest.raises(errors.MalformedRecordError):
        light.decode_evidence(light.encode_evidence(evidence) + tail)


@pytest.mark.parametrize("context", [b"\x00", b"merit/tx/1", b"merit/record/1", b"CometBFT", bytes(255)])
def test_votes_under_any_other_context_string_certify_nothing(context: bytes) -> None:
    slots = tuple(
        replace(
            slot, signature=key_of(slot.validator_address).sign(light.commit_sign_bytes(COMMIT, at, CHAIN_ID), context)
        )
        for at, slot in enumerate(COMMIT.signatures)
    )
    with pytest.raises(errors.BadSignatureError) as caught:
        light.verify_commit(HEADER, replace(COMMIT, signatures=slots), FOUR, CHAIN_ID)
    assert caught.value.index == 0


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_cut_set_is_another_set_however_well_its_commit_fits(kept: int) -> None:
    raw = pb.ValidatorSet.FromString(SET_RAW)
    del raw.validators[kept:]
    cut = light.decode_validators(raw.SerializeToString())
    with pytest.raises(errors.WrongValidatorsError):
        light.verify_commit(HEADER, replace(COMMIT, signatures=COMMIT.signatures[:kept]), cut, CHAIN_ID)


def test_a_set_cut_inside_a_validator_is_refused() -> None:
    size = len(SET_RAW) - PUBLIC_KEY_BYTES[Scheme.ML_DSA_65]
    for length in (size, size - 1, len(SET_RAW) - 1, 1):
        with pytest.raises(errors.MalformedRecordError):
            light.decode_validators(SET_RAW[:length])


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_too_few_signatures_are_refused_whether_cut_off_or_absent(kept: int) -> None:
    cut = replace(COMMIT, signatures=COMMIT.signatures[:kept])
    with pytest.raises(errors.WrongSignatureCountError) as caught:
        light.verify_commit(HEADER, cut, FOUR, CHAIN_ID)
    assert (caught.value.expected, caught.value.found) == (4, kept)
    absent = replace(COMMIT, signatures=(*COMMIT.signatures[:kept], *(light.ABSENT,) * (4 - kept)))
    if kept < 3:
        with pytest.raises(errors.NotEnoughPowerError):
            light.verify_commit(HEADER, absent, FOUR, CHAIN_ID)
    else:
        assert light.verify_commit(HEADER, absent, FOUR, CHAIN_ID) == 3
