"""Jobs whose pay vests: edge servers open one only if the ledger says of it what its file says."""

from collections.abc import Generator
from pathlib import Path

import pytest

from contracts.addresses import VESTING
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


@pytest.mark.parametrize(("asked", "holder", "rounds"), [(3, VESTING, 4), (3, ELSEWHERE, 3), (0, VESTING, 3)])
def test_a_job_whose_pay_vests_otherwise_than_its_file_says_is_refused(
    world4: World, asked: int, holder: bytes, rounds: int
) -> None:
    world = proposed(world4, asked)
    vest(world, holder, rounds)
    world.run()
    assert world.ledger.job(world.job).status is JobStatus.PROPOSED
    assert {world.desk(member).refusal for member in world.servers} == {REFUSAL}
