"""One chain for all tests of this folder; each test begins with the contracts deployed and everybody admitted."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from node.edge.server import EdgeServer
from tests.node.edge.plain_chain import PlainChain
from tests.node.edge.world import Cast, World, cast_for

Worlds = Callable[..., World]


@pytest.fixture(scope="session")
def stage() -> tuple[PlainChain, Cast]:
    chain = PlainChain()
    return chain, cast_for(chain)


@pytest.fixture
def worlds(stage: tuple[PlainChain, Cast], tmp_path: Path) -> Generator[Worlds]:
    """Give a maker of worlds: `worlds({2: HoldsAll})` replaces server 2 by a liar."""
    chain, cast = stage

    def make(kinds: dict[int, type[EdgeServer]] | None = None) -> World:
        return World(chain, cast, tmp_path, kinds or {})

    with chain.fork():
        yield make


@pytest.fixture
def world(worlds: Worlds) -> World:
    """Give a world with an open job of two records a round."""
    made = worlds()
    made.open()
    return made
