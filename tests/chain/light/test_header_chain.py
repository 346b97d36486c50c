"""Headers follow from one another, from the genesis document on."""

from dataclasses import replace
from functools import cache

import pytest

from chain import light
from chain.light import errors
from tests.chain.light.certificates import CHAIN_ID, GENESIS_TIME, make_commit, make_header, validator_set

FOUR = validator_set()
OTHERS = validator_set((1, 1, 1, 5))
APP_HASH = b"\x01" * 32


def successor(header: light.Header, commit: light.Commit, **changes: object) -> light.Header:
    following: dict[str, object] = {
        "height": header.height + 1,
        "last_block_id": commit.block_id,
        "last_commit_hash": light.commit_hash(commit),
        "time": light.median_time(commit, FOUR),
    }
    return make_header(FOUR, **(following | changes))  # type: ignore[arg-type]


@cache
def first() -> tuple[light.Header, light.Commit]:
    header = make_header(FOUR)
    return header, make_commit(header, FOUR)


@cache
def trusted() -> light.Trusted:
    return light.verify_first(*first(), FOUR, CHAIN_ID, genesis_time=GENESIS_TIME, app_hash=APP_HASH)


def verify_successor(header: light.Header, **expected: bytes) -> light.Trusted:
    return light.verify_next(trusted(), header, make_commit(header, FOUR), **expected)  # type: ignore[arg-type]


def test_five_heights_follow_from_the_first() -> None:
    pairs = [first()]
    for _ in range(5):
        header = successor(*pairs[-1])
        pairs.append((header, make_commit(header, FOUR)))
    assert light.verify_chain(trusted(), pairs[1:]).header == pairs[-1][0]


def test_time_is_the_median_of_the_last_commit() -> None:
    # votes at +1, +2, +3 and +4 s with equal power: half of the power is reached at the second
    assert verify_successor(successor(*first())).header.time == light.Timestamp(GENESIS_TIME.seconds + 2)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"height": 3}, errors.HeightGapError),
        ({"height": 1}, errors.HeightGapError),
        ({"last_block_id": light.BlockId(b"\x02" * 32, light.PartSetHeader(1, b"\x07" * 32))},
         errors.WrongLastBlockError),
        ({"last_commit_hash": b"\x02" * 32}, errors.WrongLastCommitError),
        ({"time": light.Timestamp(GENESIS_TIME.seconds + 3)}, errors.WrongTimeError),
        ({"validators_hash": light.validators_hash(OTHERS)}, errors.UnexpectedValidatorsError),
        ({"next_validators_hash": light.validators_hash(OTHERS)}, errors.UnexpectedValidatorsError),
        ({"chain_id": "another"}, errors.WrongChainError),
        ({"proposer_address": b"\x02" * 20}, errors.UnknownProposerError),
    ],
)  # fmt: skip
def test_a_header_that_does_not_follow_is_refused(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        verify_successor(successor(*first(), **changes))  # type: ignore[arg-type]


def test_the_result_of_execution_is_compared_where_it_is_known() -> None:
    header = successor(*first())
    verify_successor(header, app_hash=APP_HASH, last_results_hash=light.results_hash(()))
    with pytest.raises(errors.WrongAppHashError) as caught:
        verify_successor(header, app_hash=b"\x02" * 32)
    assert (caught.value.height, caught.value.expected, caught.value.found) == (2, b"\x02" * 32, APP_HASH)
    with pytest.raises(errors.WrongResultsError):
        verify_successor(header, last_results_hash=light.results_hash([light.TxResult(1)]))


def test_a_block_may_carry_another_quorums_votes_for_the_block_before() -> None:
    header, _ = first()
    flags = (light.BlockIdFlag.COMMIT, light.BlockIdFlag.COMMIT, light.BlockIdFlag.COMMIT, light.BlockIdFlag.ABSENT)
    carried = make_commit(header, FOUR, flags)
    following = successor(header, carried)
    commit = make_commit(following, FOUR)
    with pytest.raises(errors.WrongLastCommitError):
        light.verify_next(trusted(), following, commit)
    assert light.verify_next(trusted(), following, commit, last_commit=carried).header == following
    forged = replace(carried, signatures=(*carried.signatures[:2], *first()[1].signatures[2:]))
    stolen = successor(header, forged)
    with pytest.raises(errors.BadSignatureError):
        light.verify_next(trusted(), stolen, make_commit(stolen, FOUR), last_commit=replace(forged, round=1))


def test_a_block_cannot_carry_votes_for_another_block() -> None:
    header, commit = first()
    foreign = make_commit(make_header(FOUR, app_hash=b"\x02" * 32), FOUR)
    following = successor(header, foreign, last_block_id=commit.block_id)
    with pytest.raises(errors.WrongLastBlockError):
        light.verify_next(trusted(), following, make_commit(following, FOUR), last_commit=foreign)


def test_a_time_that_does_not_rise_is_refused() -> None:
    header, commit = first()
    stale = light.Trusted(replace(header, time=light.Timestamp(GENESIS_TIME.seconds + 2)), commit, FOUR, FOUR)
    following = successor(header, commit)
    with pytest.raises(errors.WrongTimeError):
        light.verify_next(stale, following, make_commit(following, FOUR))


def test_other_validators_take_over_when_the_header_before_announced_them() -> None:
    header = successor(*first(), next_validators_hash=light.validators_hash(OTHERS))
    commit = make_commit(header, FOUR)
    told = light.verify_next(trusted(), header, commit, next_validators=OTHERS)
    third = make_header(
        OTHERS,
        3,
        last_block_id=commit.block_id,
        last_commit_hash=light.commit_hash(commit),
        time=light.median_time(commit, FOUR),
    )
    assert light.verify_next(told, third, make_commit(third, OTHERS)).validators == OTHERS
    with pytest.raises(errors.WrongSignatureCountError):
        light.verify_next(told, third, replace(make_commit(third, OTHERS), signatures=()))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"height": 2}, errors.HeightGapError),
        ({"time": light.Timestamp(0)}, errors.WrongTimeError),
        ({"app_hash": b"\x02" * 32}, errors.WrongAppHashError),
        ({"last_block_id": light.BlockId(b"\x02" * 32)}, errors.WrongLastBlockError),
        ({"last_commit_hash": b"\x02" * 32}, errors.WrongLastCommitError),
        ({"last_results_hash": b"\x02" * 32}, errors.WrongResultsError),
        ({"validators_hash": light.validators_hash(OTHERS)}, errors.WrongValidatorsError),
    ],
)
def test_height_one_follows_from_the_genesis_document(changes: dict[str, object], error: type[Exception]) -> None:
    header = make_header(FOUR, **changes)  # type: ignore[arg-type]
    with pytest.raises(error):
        light.verify_first(
            header, make_commit(header, FOUR), FOUR, CHAIN_ID, genesis_time=GENESIS_TIME, app_hash=APP_HASH
        )


def test_a_block_is_what_its_header_and_its_name_commit_to() -> None:
    txs = (b"one", b"two")
    block = light.Block(make_header(FOUR, data_hash=light.data_hash(txs)), txs, light.EMPTY_COMMIT)
    decided = light.block_id(block)
    light.verify_block(block, decided)
    for other, part in (
        (replace(block, txs=(b"two", b"one")), "transactions"),
        (replace(block, txs=(b"onetwo",)), "transactions"),
        (replace(block, last_commit=make_commit(block.header, FOUR)), "last commit"),
        (replace(block, header=replace(block.header, app_hash=b"\x02" * 32)), "header"),
    ):
        with pytest.raises(errors.WrongDataError) as caught:
            light.verify_block(other, decided)
        assert caught.value.part == part
    root = decided.part_set_header.hash
    for parts in (light.PartSetHeader(1, b"\x02" * 32), light.PartSetHeader(2, root)):
        with pytest.raises(errors.WrongDataError) as caught:
            light.verify_block(block, replace(decided, part_set_header=parts))
        assert caught.value.part.endswith("parts")
