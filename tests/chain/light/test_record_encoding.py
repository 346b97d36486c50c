"""A stored record has one encoding: each byte matters, and nothing may follow it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp as TimestampMessage
from hypothesis import given
from hypothesis import strategies as st

from chain import light
from chain.light.errors import MalformedRecordError
from chain.proto import comet_pb2 as pb
from tests.chain.light.certificates import CHAIN_ID, make_commit, make_header, validator_set

FOUR = validator_set()
HEADER = make_header(FOUR)
COMMIT = make_commit(
    HEADER,
    FOUR,
    (light.BlockIdFlag.COMMIT, light.BlockIdFlag.COMMIT, light.BlockIdFlag.COMMIT, light.BlockIdFlag.ABSENT),
)
BLOCK_ID = light.BlockId(b"a" * 32, light.PartSetHeader(3, b"b" * 32))
VOTE = light.Vote(
    kind=1,
    height=light.Height(5),
    round=2,
    block_id=BLOCK_ID,
    timestamp=light.Timestamp(7, 8),
    validator_address=b"c" * 20,
    validator_index=1,
    signature=b"signature",
)
PROPOSAL = light.Proposal(light.Height(5), 2, -1, BLOCK_ID, light.Timestamp(7, 8), b"signature")
BLOCK = light.Block(HEADER, (b"one", b""), light.EMPTY_COMMIT)

DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "header": (light.decode_header, light.encode_header(HEADER)),
    "commit": (light.decode_commit, light.encode_commit(COMMIT)),
    "validators": (light.decode_validators, light.encode_validators(FOUR)),
    "transactions": (light.decode_txs, light.encode_txs((b"one", b"two", b""))),
    "block": (light.decode_block, light.encode_block(BLOCK)),
    "vote": (light.decode_vote, light.encode_vote(VOTE)),
    "proposal": (light.decode_proposal, light.encode_proposal(PROPOSAL)),
}


@pytest.mark.parametrize("record", DECODERS)
@pytest.mark.parametrize("tail", [b"\x00", b"\x78\x00", b"\x7a\x00", b"\xff"])
def test_trailing_bytes_are_refused(record: str, tail: bytes) -> None:
    decode, raw = DECODERS[record]
    with pytest.raises(MalformedRecordError):
        decode(raw + tail)


@pytest.mark.parametrize("record", ["header", "commit", "validators", "block"])
def test_a_record_cut_short_is_refused(record: str) -> None:
    decode, raw = DECODERS[record]
    for length in range(0, len(raw), max(1, len(raw) // 50)):
        with pytest.raises(MalformedRecordError):
            decode(raw[:length])


@pytest.mark.parametrize("record", DECODERS)
def test_a_flipped_bit_gives_another_value_or_an_error(record: str) -> None:
    decode, raw = DECODERS[record]
    value = decode(raw)
    for position in range(0, len(raw), max(1, len(raw) // 400)):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << position % 8
        try:
            assert decode(bytes(flipped)) != value
        except MalformedRecordError:
            continue


def test_every_flipped_byte_of_a_header_changes_its_hash_or_is_refused() -> None:
    raw = light.encode_header(HEADER)
    for position in range(len(raw)):
        flipped = bytearray(raw)
        flipped[position] ^= 0x55
        try:
            decoded = light.decode_header(bytes(flipped))
        except MalformedRecordError:
            continue
        assert light.header_hash(decoded) != light.header_hash(HEADER)


def test_an_explicit_zero_is_another_encoding_and_refused() -> None:
    raw = light.encode_commit(COMMIT)
    assert raw.startswith(b"\x08\x01\x1a")  # height 1, round 0 left out, block id
    with pytest.raises(MalformedRecordError):
        light.decode_commit(b"\x08\x01\x10\x00" + raw[2:])


def test_a_varint_with_padding_is_refused() -> None:
    raw = light.encode_commit(COMMIT)
    with pytest.raises(MalformedRecordError):
        light.decode_commit(b"\x08\x81\x00" + raw[2:])


def test_fields_in_another_order_are_refused() -> None:
    raw = light.encode_txs((b"a", b"b"))
    assert light.decode_txs(raw) == (b"a", b"b")
    header = light.encode_header(HEADER)
    version = header[: 2 + header[1]]
    with pytest.raises(MalformedRecordError):
        light.decode_header(header[len(version) :] + version)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": "x" * 51},
        {"chain_id": ""},
        {"height": 0},
        {"height": -1},
        {"height": 2},
        {"data_hash": b"\x01" * 31},
        {"evidence_hash": b""},
        {"proposer_address": b"\x01" * 32},
        {"block_version": 10},
        {"time": light.Timestamp(253_402_300_800)},
        {"time": light.Timestamp(0, 1_000_000_000)},
        {"last_block_id": light.BlockId(b"\x01" * 32, light.PartSetHeader(0, b"\x01" * 32))},
        {"last_block_id": light.BlockId(b"\x01" * 32, light.PartSetHeader(1, b"\x01" * 31))},
    ],
    ids=str,
)
def test_a_header_that_comet_would_not_make_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedRecordError):
        light.decode_header(light.encode_header(replace(HEADER, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "slot",
    [
        replace(light.ABSENT, timestamp=light.Timestamp(0)),
        replace(light.ABSENT, signature=b"x"),
        replace(light.ABSENT, validator_address=FOUR.addresses[0]),
        replace(COMMIT.signatures[0], signature=b""),
        replace(COMMIT.signatures[0], validator_address=b"short"),
        replace(COMMIT.signatures[0], flag=0),
        replace(COMMIT.signatures[0], flag=4),
    ],
    ids=("absent at 1970", "absent signed", "absent signer", "unsigned", "address", "flag 0", "flag 4"),
)
def test_a_slot_that_comet_would_not_make_is_refused(slot: light.CommitSig) -> None:
    with pytest.raises(MalformedRecordError):
        light.decode_commit(light.encode_commit(replace(COMMIT, signatures=(slot,))))


@pytest.mark.parametrize(
    "changes",
    [{"height": 0}, {"round": -1}, {"block_id": light.NIL_BLOCK_ID}, {"signatures": ()}],
    ids=str,
)
def test_a_commit_that_decides_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedRecordError):
        light.decode_commit(light.encode_commit(replace(COMMIT, **changes)))  # type: ignore[arg-type]


def test_a_stored_key_of_another_scheme_or_length_is_refused() -> None:
    for pub_key in (pb.PublicKey(ed25519=b"\x01" * 32), pb.PublicKey(mldsa65=b"\x01" * 1951), pb.PublicKey()):
        raw = pb.ValidatorSet(validators=[pb.Validator(pub_key=pub_key, voting_power=1)]).SerializeToString()
        with pytest.raises(MalformedRecordError):
            light.decode_validators(raw)


def test_a_stored_validator_names_its_own_address() -> None:
    raw = light.encode_validators(FOUR)
    with pytest.raises(MalformedRecordError):
        light.decode_validators(raw.replace(FOUR.addresses[0], FOUR.addresses[1]))


timestamps = st.builds(light.Timestamp, st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
hashes = st.binary(min_size=32, max_size=32)
block_ids = st.builds(light.BlockId, hashes, st.builds(light.PartSetHeader, st.integers(1, 2**32 - 1), hashes))


@given(
    height=st.integers(2, 2**63 - 1), time=timestamps, app_version=st.integers(0, 2**64 - 1),
    last_block_id=block_ids, app_hash=st.binary(max_size=64),
)  # fmt: skip
def test_any_header_comes_back_from_its_encoding(**changes: object) -> None:
    header = make_header(FOUR, **changes)  # type: ignore[arg-type]
    assert light.decode_header(light.encode_header(header)) == header


@given(height=st.integers(1, 2**63 - 1), round_=st.integers(0, 2**31 - 1), when=timestamps, block_id=block_ids)
def test_sign_bytes_differ_whenever_the_vote_differs(
    height: int, round_: int, when: light.Timestamp, block_id: light.BlockId
) -> None:
    vote = light.CanonicalVote(light.VoteType.PRECOMMIT, light.Height(height), round_, block_id, when)
    others = [
        replace(vote, kind=light.VoteType.PREVOTE),
        replace(vote, height=light.Height(height - 1)),
        replace(vote, round=round_ - 1),
        replace(vote, block_id=light.NIL_BLOCK_ID),
        replace(vote, timestamp=light.Timestamp(when.seconds, (when.nanos + 1) % 10**9)),
    ]
    signed = {light.vote_sign_bytes(each, CHAIN_ID) for each in [vote, *others]}
    assert len(signed) == 1 + len(others)
    assert light.vote_sign_bytes(vote, CHAIN_ID) != light.vote_sign_bytes(vote, CHAIN_ID + "x")


@given(timestamps)
def test_nanoseconds_come_back(when: light.Timestamp) -> None:
    assert light.Timestamp.from_ns(when.to_ns()) == when
    assert isinstance(TimestampMessage(seconds=when.seconds, nanos=when.nanos).SerializeToString(), bytes)


def test_a_vote_and_a_proposal_come_back_as_they_were() -> None:
    assert light.decode_vote(light.encode_vote(VOTE)) == VOTE
    assert light.decode_proposal(light.encode_proposal(PROPOSAL)) == PROPOSAL


def test_a_proposal_for_nil_is_refused() -> None:
    nil = replace(PROPOSAL, block_id=light.NIL_BLOCK_ID)
    with pytest.raises(MalformedRecordError):
        light.decode_proposal(light.encode_proposal(nil))


def test_a_proposer_signs_the_canonical_proposal_of_comet() -> None:
    """Field by field as proto/tendermint/types/canonical.proto has it; a polka round of -1 is ten bytes long."""
    parts = b"\x08\x03\x12\x20" + b"b" * 32
    block_id = b"\x0a\x20" + b"a" * 32 + b"\x12" + bytes([len(parts)]) + parts
    fields = [
        b"\x08\x20",  # the type, 32
        b"\x11" + (5).to_bytes(8, "little"),
        b"\x19" + (2).to_bytes(8, "little"),
        b"\x20" + b"\xff" * 9 + b"\x01",
        b"\x2a" + bytes([len(block_id)]) + block_id,
        b"\x32\x04\x08\x07\x10\x08",
        b"\x3a\x0amerit-test",
    ]
    body = b"".join(fields)
    assert light.proposal_sign_bytes(PROPOSAL, "merit-test") == bytes([len(body)]) + body


def test_sign_bytes_of_a_proposal_are_those_that_go_printed() -> None:
    """The bytes of `types.ProposalSignBytes`, as tendermint-rs keeps them beside the Go program that printed them."""
    stamp = light.Timestamp(1_518_332_962, 765_000_000)
    named = light.BlockId(
        bytes.fromhex("deadbeefdeadbeefbafbafbafbafbafa" * 2),
        light.PartSetHeader(65_535, bytes.fromhex("0022446688aaccee1133557799bbddff" * 2)),
    )
    proposal = light.Proposal(light.Height(12_345), 23_456, -1, named, stamp, b"")
    assert light.proposal_sign_bytes(proposal, "test_chain_id").hex() == (
        "8801082011393000000000000019a05b00000000000020ffffffffffffffffff012a4a0a20deadbeefdeadbeefbafbafbafbafbafa"
        "deadbeefdeadbeefbafbafbafbafbafa122608ffff0312200022446688aaccee1133557799bbddff0022446688aaccee1133557799"
        "bbddff320c08a2d8ffd30510c0f2e3ec023a0d746573745f636861696e5f6964"
    )


@pytest.mark.parametrize("kind", light.VoteType)
def test_sign_bytes_of_votes_are_those_of_comets_own_tests(kind: light.VoteType) -> None:
    """CometBFT, types/vote_test.go, `TestVoteSignBytesTestVectors` 1 and 2: for nil, at the zero time of Go."""
    vote = light.CanonicalVote(kind, light.Height(1), 1, light.NIL_BLOCK_ID, light.Timestamp(-62_135_596_800))
    expected = f"2108{kind:02x}110100000000000000190100000000000000" + "2a0b088092b8c398feffffff01"
    assert light.vote_sign_bytes(vote, "").hex() == expected
