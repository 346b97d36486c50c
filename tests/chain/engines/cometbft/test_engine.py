"""How a transaction gets from `submit` into a block: called for, handed over, and again until a block holds it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from chain.application import Code
from chain.crypto.hashing import keccak256
from chain.engines.cometbft import engine as engines
from chain.engines.cometbft.engine import AGAIN_S, COPIES, CometEngine
from chain.engines.cometbft.wakeup import call_for
from chain.engines.errors import AbciError, CometUnreachableError, NotRunningError, PoolFullError
from chain.engines.pool import Pool
from chain.proto import abci_pb2 as pb
from contracts.addresses import TOKEN
from contracts.bindings import Token
from tests.chain.engines.network import VirtualClock
from tests.chain.ledger import SPONSOR, START, Replica

PAY = Token.encode_transfer(bytes(19) + b"\1", 5)
PROPOSER = b"p" * 20
URL = "http://comet"


class Rpc:
    """A CometBFT's mempool that keeps what is called."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.down = False
        self.closed = False

    async def call(self, raw: bytes) -> None:
        if self.down:
            raise CometUnreachableError(URL, "refused")
        self.calls.append(raw)

    async def close(self) -> None:
        self.closed = True


class HandsOver:
    """Notes what is handed over, to how many, and who proposed."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.proposers: list[bytes] = []

    def send(self, raw: bytes, copies: int) -> None:
        self.sent.append((raw, copies))

    def proposed(self, validator: bytes) -> None:
        self.proposers.append(validator)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class Stage:
    """An engine over a ledger, between a mempool and peers that only take notes."""

    def __init__(self, directory: Path, pool: Pool | None) -> None:
        self.replica, self.clock = Replica(), VirtualClock()
        self.rpc, self.peers = Rpc(), HandsOver()
        self.engine = CometEngine(
            self.replica.app, self.replica.document, directory / "s", self.rpc, self.clock, pool=pool  # type: ignore[arg-type] # what it needs of one
        )  # fmt: skip
        self.engine.handover = self.peers  # type: ignore[assignment] # what it needs of one

    def pay(self) -> bytes:
        return self.replica.sign(SPONSOR, TOKEN, PAY)

    def height(self, *txs: bytes) -> None:
        """Let CometBFT decide a height of these transactions."""
        request = pb.RequestFinalizeBlock(txs=txs, height=self.engine.height + 1, proposer_address=PROPOSER)
        request.time.seconds = START + 5 + self.engine.height
        self.engine.bridge.answer(pb.Request(finalize_block=request))
        self.engine.bridge.answer(pb.Request(commit=pb.RequestCommit()))


@contextlib.asynccontextmanager
async def staged(directory: Path, pool: Pool | None = None) -> AsyncIterator[Stage]:
    stage = Stage(directory, pool)
    await stage.engine.start()
    try:
        yield stage
    finally:
        await stage.engine.stop()


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Play a scene with a stage."""

    def play(scene: Callable[[Stage], Coroutine[Any, Any, None]], pool: Pool | None = None) -> None:
        async def work() -> None:
            async with staged(tmp_path, pool) as stage:
                await scene(stage)

        asyncio.run(asyncio.wait_for(work(), 60))

    return play


def test_what_is_submitted_is_called_for_once_and_handed_over(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raw = stage.pay()
        verdict = stage.engine.submit(raw)
        assert verdict.accepted
        assert stage.peers.sent == [(raw, COPIES)]
        await stage.clock.run(0)
        assert stage.rpc.calls == [call_for(verdict.hash)]

    play(scene)


def test_one_call_is_enough_for_all_that_wait(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raws = [stage.pay() for _ in range(5)]
        for raw in raws:
            stage.engine.submit(raw)
            await stage.clock.run(0)
        assert stage.rpc.calls == [call_for(keccak256(raws[0]))]
        assert stage.peers.sent == [(raw, COPIES) for raw in raws]

    play(scene)


def test_the_same_transaction_again_is_neither_called_for_nor_handed_over(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raw = stage.pay()
        first, second = stage.engine.submit(raw), stage.engine.submit(raw)
        await stage.clock.run(0)
        assert first == second
        assert len(stage.rpc.calls) == len(stage.peers.sent) == 1

    play(scene)


def test_when_a_block_holds_the_first_the_next_that_waits_is_called_for(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raws = [stage.pay() for _ in range(3)]
        for raw in raws:
            stage.engine.submit(raw)
        await stage.clock.run(0)
        stage.height(raws[0])
        await stage.clock.run(0)
        assert stage.rpc.calls == [call_for(keccak256(raw)) for raw in raws[:2]]
        stage.height(*raws[1:])
        await stage.clock.run(10 * AGAIN_S)
        assert len(stage.rpc.calls) == 2, "nothing waits, so an idle chain stands still"
        assert len(stage.peers.sent) == 3
        assert stage.peers.proposers == [PROPOSER] * 2

    play(scene)


def test_what_no_block_holds_is_called_for_and_handed_over_again_and_again(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raw = stage.pay()
        stage.engine.submit(raw)
        await stage.clock.run(AGAIN_S * 0.9)
        assert len(stage.peers.sent) == len(stage.rpc.calls) == 1
        await stage.clock.run(AGAIN_S * 3)
        assert 3 <= len(stage.peers.sent) <= 4
        assert stage.rpc.calls == [call_for(keccak256(raw))] * len(stage.peers.sent)
        stage.height(raw)
        before = len(stage.peers.sent)
        await stage.clock.run(AGAIN_S * 3)
        assert len(stage.peers.sent) == len(stage.rpc.calls) == before

    play(scene)


def test_a_call_that_cometbft_does_not_take_is_made_again(
    play: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage) -> None:
        stage.rpc.down = True
        raw = stage.pay()
        stage.engine.submit(raw)
        await stage.clock.run(0)
        assert stage.rpc.calls == []
        stage.rpc.down = False
        await stage.clock.run(AGAIN_S * 1.6)
        assert stage.rpc.calls == [call_for(keccak256(raw))]

    with caplog.at_level(logging.WARNING, engines.__name__):
        play(scene)
    assert "does not answer (refused)" in caplog.text


def test_what_is_refused_is_neither_called_for_nor_handed_over(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        assert stage.engine.submit(b"\x07").code is Code.REFUSED_TYPE
        await stage.clock.run(AGAIN_S * 3)
        assert stage.rpc.calls == stage.peers.sent == []

    play(scene)


def test_what_another_node_hands_over_waits_here_but_is_that_nodes_business(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        raw = stage.pay()
        stage.engine.take(raw)
        await stage.clock.run(AGAIN_S * 3)
        assert stage.engine.bridge.waits(keccak256(raw))
        assert stage.rpc.calls == stage.peers.sent == []

    play(scene)


def test_a_full_pool_is_told_to_whoever_submits_and_not_to_who_hands_over(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        stage.engine.submit(stage.pay())
        stage.engine.take(stage.pay())
        with pytest.raises(PoolFullError):
            stage.engine.submit(stage.pay())

    play(scene, Pool(transactions=1))


def test_a_broken_ledger_takes_nothing_more_and_says_why(play: Callable[..., None]) -> None:
    async def scene(stage: Stage) -> None:
        stage.engine._server.failure = AbciError("the store is gone")  # noqa: SLF001 - as a request that fails leaves it
        with pytest.raises(NotRunningError, match="the store is gone"):
            stage.engine.submit(stage.pay())

    play(scene)


def test_every_height_is_told_in_order_and_the_end_ends_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with staged(tmp_path) as stage:
            told: list[int] = []

            async def listen() -> None:
                told.extend([height async for height in stage.engine.subscribe()])

            listening = asyncio.create_task(listen())
            await stage.clock.run(0)
            for _ in range(3):
                stage.height()
            await stage.clock.run(0)
        await asyncio.wait_for(listening, 60)
        assert told == [1, 2, 3]
        assert stage.rpc.closed
        with pytest.raises(NotRunningError):
            stage.engine.submit(stage.pay())

    asyncio.run(work())
