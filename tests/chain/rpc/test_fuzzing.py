"""Whatever is asked, an answer or an error object comes back; `fuzzing` says how to ask more."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from merit.chance import seeded
from tests.chain.rpc.fuzzing import Maker, fuzz, known_to
from tests.chain.rpc.harness import Background


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A network of its own: filters stay installed."""
    network = Background(tmp_path_factory.mktemp("fuzzing"), validators=1, classical=True, accounts=2)
    network.network.dispatcher().unlock(bytes.fromhex(one.private_key[2:]) for one in network.network.accounts())
    yield network
    network.stop()


def maker(shared: Path, running: Background, seed: int) -> Maker:
    document = json.loads((shared / "vectors" / "execution-apis" / "openrpc.json").read_text())
    methods = running.network.dispatcher().methods
    return Maker(document, methods, known_to(running), seeded(seed, "fuzzing"))


@pytest.mark.parametrize("count", [1_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_every_request_from_the_schema_gets_an_answer(
    shared: Path, running: Background, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    with caplog.at_level(logging.ERROR):
        report = fuzz(running.network.dispatcher(), maker(shared, running, count), count)
    assert not report.failures
    assert sum(report.answers.values()) == count
    assert report.answers["result"] > count // 10  # it asks what can be answered, too
    assert report.answers["-32602"] > count // 10
    assert not caplog.records


def test_the_same_seed_asks_the_same(shared: Path, running: Background) -> None:
    first, second = (maker(shared, running, 3) for _ in range(2))
    assert [first.request() for _ in range(50)] == [second.request() for _ in range(50)]
