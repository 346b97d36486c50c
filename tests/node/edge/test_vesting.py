"""Jobs whose pay vests: edge servers open one only if the ledger says of it what its file says."""

from collections.abc import Generator
from pathlib import Path

import pytest

from contracts.addresses import VESTING, ZERO
from contracts.bindings import JobStatus, Ledger
from node.jobs import VestingSpec
from tests.node.edge.plain_chain import PlainChain
from tests.node.edge.world import Cast, World, cast_for, job_file

ELSEWHERE = bytes(19) + b"\x99"
REFUSAL = "its pay vests otherwise on the ledger than in its file"


@pytest.fixture(scope="module")
def stage4() -> tuple[PlainChain, Cast]:
    chain = PlainChain()
    return chain, cast_for(chain, ledger_version=4)


@pytest.fixture
def world4(stage4: tuple[PlainChain, Cast], tmp_path: Path) -> Generator[World]:
    """Give a world whose Ledger is that of contracts version 4."""
    chain, cast = stage4
    with chain.fork():
        yield World(chain, cast, tmp_path, {})


def proposed(world: World, rounds: int) -> World:
    world.propose(job_file(vesting=VestingSpec(rounds=rounds) if rounds else None))
    return world


def vest(world: World, holder: bytes, rounds: int) -> None:
    world.to_ledger(world.cast.sponsor, Ledger.encode_vest_pay(world.job, holder, rounds))


def test_a_job_opens_once_the_ledger_says_what_its_file_says(world4: World) -> None:
    world = proposed(world4, 3)
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.PROPOSED
    assert {world.desk(member).refusal for member in world.servers} == {""}, "they wait for the sponsor's word"
    vest(world, VESTING, 3)
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.OPEN
    assert (world.log().holder, world.log().vests) == (VESTING, 3)


@pytest.mark.parametrize(
    ("asked", "holder", "rounds"), [(3, VESTING, 4), (3, ELSEWHERE, 3), (0, VESTING, 3), (0, VESTING, 0), (0, ZERO, 3)]
)
def test_a_job_whose_pay_vests_otherwise_than_its_file_says_is_refused(
    world4: World, asked: int, holder: bytes, rounds: int
) -> None:
    world = proposed(world4, asked)
    vest(world, holder, rounds)
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.PROPOSED
    assert {world.desk(member).refusal for member in world.servers} == {REFUSAL}


def test_a_word_that_the_sponsor_takes_back_in_time_is_as_if_never_said(world4: World) -> None:
    world = proposed(world4, 0)
    vest(world, ELSEWHERE, 3)
    vest(world, ZERO, 0)
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.OPEN


def test_a_sponsor_who_moves_the_pay_while_servers_agree_finds_nobody_who_attests(world4: World) -> None:
    world = proposed(world4, 0)
    vest(world, ELSEWHERE, 3)
    for edge in world.cast.edges[:3]:  # as if they had agreed before the sponsor's word was in a block
        world.to_ledger(edge, Ledger.encode_acknowledge_job(world.job))
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.OPEN
    world.contribute(1, 2)
    world.run()
    assert world.ledger.job(world.job).version == 0
    assert {world.desk(member).refusal for member in world.servers} == {REFUSAL}
