"""What no restart heals stops a pair with one line; what may heal starts again."""

import asyncio
import contextlib
import stat
import sys
from pathlib import Path

import pytest

from chain.engines.errors import AbciError
from chain.errors import (
    StoreChainError,
    StoreCorruptError,
    StoreError,
    StoreFormatError,
    VersionError,
)
from chain.genesis import load_genesis
from chain.rpc.http import BindError
from chain.storage import Store
from merit.clock import SystemClock
from node.errors import ConfigError
from node.machine.endings import CANNOT_GO_ON, advice, exit_code, last_words
from node.machine.foreground import run
from node.machine.home import NodeHome
from node.machine.pair import NodeFailedError, Pair
from node.testnet.layout import TestnetFile, free_port_base, make

STORE = Path("ledger")
IDLE = "import signal; signal.pause()"
STRANGE_CHAIN = """
import socket
from chain.engines.cometbft.server import delimited
from chain.proto import abci_pb2 as pb
line = socket.socket(socket.AF_UNIX)
line.connect("abci.sock")
document = open("genesis.json", "rb").read()
asked = pb.Request(init_chain=pb.RequestInitChain(chain_id="strange", app_state_bytes=document))
line.sendall(delimited(asked.SerializeToString()))
line.recv(1)  # CometBFT, too, ends with an exception
"""


@pytest.mark.parametrize(
    "error",
    [
        VersionError("execution", 3, (1, 2), block=7),
        StoreChainError(STORE, b"a", b"b"),
        StoreFormatError(STORE, "merit-store/1", "merit-store/0"),
        StoreCorruptError(STORE, "header", b"k", "is damaged"),
        AbciError("another genesis"),
        ConfigError("unknown key"),
    ],
)
def test_an_error_that_comes_again_has_a_code_of_its_own(error: Exception) -> None:
    assert exit_code(error) == CANNOT_GO_ON


@pytest.mark.parametrize("error", [BindError("port taken"), StoreError(STORE, "the disk is away")])
def test_an_error_that_may_go_away_has_not(error: Exception) -> None:
    assert exit_code(error) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "ERROR: error during handshake: error on replay: app block height (12) is higher than core (7)",
            "the ledger is at height 12, CometBFT's blocks end at 7",
        ),
        ("app block height (3) is too far below block store base (90)", "CometBFT's blocks begin at 90 only"),
        ("panic: state.AppHash does not match AppHash after replay. Got", "do not belong together"),
        ("Error reading PrivValidator state from data/priv_validator_state.json: open", "never take it from a copy"),
        ("Error reading PrivValidator key from config/priv_validator_key.json: x", "where you keep secrets"),
    ],
)
def test_what_cometbft_says_last_is_turned_into_what_to_do(line: str, told: str) -> None:
    assert told in advice(line)


def test_a_port_in_use_is_no_reason_to_give_up() -> None:
    assert advice("failed to listen on 127.0.0.1:27000: bind: address already in use") == ""


def test_the_last_line_of_a_log_is_read_without_the_log(tmp_path: Path) -> None:
    log = tmp_path / "node.jsonl"
    assert last_words(log) == ""
    log.write_text("x" * 10**6 + '\n{"message": "the end"}\n', encoding="utf-8")
    assert last_words(log) == "the end"
    log.write_text("Segmentation fault\n", encoding="utf-8")
    assert last_words(log) == "Segmentation fault"


def fake(home: NodeHome, script: str) -> Path:
    """Make a program to stand for CometBFT."""
    path = home.path / "cometbft"
    path.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def start(home: NodeHome, script: str) -> list[str]:
    """Run a pair with a program that stands for CometBFT until the pair gives up; return what was told."""
    told: list[str] = []

    async def work() -> None:
        await asyncio.wait_for(
            run(home, fake(home, script), SystemClock(), asyncio.Event(), tell=told.append, running=_nothing), 60
        )

    with pytest.raises(NodeFailedError) as caught:
        asyncio.run(work())
    assert "\n" not in str(caught.value)
    return [str(caught.value), *told]


async def _nothing() -> None:
    """Stand for what runs beside a pair."""


def test_the_ledger_of_another_chain_stops_the_pair_with_the_line_of_the_log(home: NodeHome, tmp_path: Path) -> None:
    make(tmp_path / "other", TestnetFile(validators=1, clients=0, port=free_port_base(1, 44_000)), 1_700_000_000)
    with contextlib.closing(Store.open(home.ledger)) as store:
        from chain.application import Application  # noqa: PLC0415 - py-evm is slow to load

        Application(store).init_chain(load_genesis(tmp_path / "other" / "genesis.json"))
    failure, told = start(home, IDLE)
    assert "holds the ledger of genesis document" in failure
    assert told == f"node1: {failure}"


def test_the_store_of_another_format_stops_the_pair(home: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as past:
        past.setattr("chain.storage.FORMAT", "merit-store/0")
        Store.open(home.ledger).close()
    failure, *_ = start(home, IDLE)
    assert "has format merit-store/0" in failure


def test_a_cometbft_of_another_chain_stops_the_pair_though_it_ends_first(home: NodeHome) -> None:
    failure, *_ = start(home, STRANGE_CHAIN)
    assert failure == "CometBFT's genesis file has another chain id than the ledger's genesis document"


def test_words_of_cometbft_that_no_restart_heals_stop_the_pair(home: NodeHome) -> None:
    failure, *_ = start(home, 'print("ERROR: error on replay: app block height (12) is higher than core (7)")')
    assert f"move {home.path}/ledger away" in failure


def test_a_process_that_ends_for_another_reason_starts_again(home: NodeHome) -> None:
    told: list[str] = []

    async def work() -> int:
        pair = Pair(home, fake(home, 'print("panic: out of luck")'), SystemClock(), told.append)
        keeping = asyncio.create_task(pair.run(lambda: (home.read(), None)))
        pair.up()
        clock, limit = SystemClock(), SystemClock().monotonic() + 60
        while pair.restarts < 1 and clock.monotonic() < limit:
            await clock.sleep(0.05)
        pair.leave()
        await keeping
        return pair.restarts

    assert asyncio.run(work()) >= 1
    assert told[0].startswith("node1: a process has ended, both start again in 1.0 s (panic: out of luck)")
