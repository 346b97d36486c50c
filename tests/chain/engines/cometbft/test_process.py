"""A real CometBFT with one ML-DSA-65 validator over a ledger that dies at every moment at which it can die."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chain import light
from chain.application import Application, Timestamp
from chain.engines.cometbft import binary
from chain.engines.cometbft.engine import CometEngine
from chain.engines.cometbft.home import NodeKey, Places, Timing, write_configuration, write_home
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.cometbft.server import AbciServer
from chain.engines.errors import CometBinaryError, CometUnreachableError, UnknownHeightError
from chain.genesis import Genesis, Hex, ValidatorEntry
from chain.light import Height
from chain.proto import abci_pb2 as pb
from chain.storage import Store
from chain.transaction import Fields, sign_transaction
from chain.validators import genesis_time, genesis_validators
from contracts.addresses import TOKEN
from contracts.bindings import Token
from merit.clock import SystemClock
from node.testnet.layout import free_port_base
from tests.chain.ledger import SPONSOR, genesis, key

CLOCK = SystemClock()
LIMIT_S = 60.0
PAY = Token.encode_transfer(bytes(19) + b"\1", 5)


@pytest.fixture(scope="module")
def program() -> Path:
    """The program `cometbft`."""
    try:
        return binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))


class DiedError(Exception):
    """Stands for a process that ends at once."""


class Node:
    """One validator: a CometBFT process, and the ledger in this process."""

    def __init__(self, home: Path, program: Path) -> None:
        validator = key("validator")
        self.document: Genesis = genesis(
            validators=(ValidatorEntry(name="one", public_key=Hex(validator.public_key)),), time=1_700_000_000
        )
        self.home, self._program = home, program
        port = free_port_base(1, 41_000)
        self.rpc_url = f"http://127.0.0.1:{port + 1}"
        write_home(home / "comet", self.document, validator, NodeKey(bytes(32)), "one")
        places = Places("abci.sock", f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}")
        write_configuration(home / "comet", places, Timing(propose=300, vote=300, commit=10, empty=1_000))
        self.nonce = 0
        self.died: list[str] = []

    @contextlib.asynccontextmanager
    async def life(self, die: Callable[[str, pb.Request], bool] = lambda *_: False) -> AsyncIterator[CometEngine]:
        """Run until the block ends; `die` says, before and after each request, whether the ledger dies there."""
        store = Store.open(self.home / "ledger", sync=False)
        application = Application(store)
        application.init_chain(self.document)
        engine = CometEngine(application, self.document, self.home / "abci.sock", CometRpc(self.rpc_url), CLOCK)
        answer = engine.bridge.answer

        def mortal(request: pb.Request) -> pb.Response:
            kind = request.WhichOneof("value") or ""
            for moment in (f"before {kind}", f"after {kind}"):
                if moment.startswith("after"):
                    response = answer(request)
                if die(moment, request):
                    self.died.append(moment)
                    raise DiedError(moment)
            return response

        engine._server = AbciServer(self.home / "abci.sock", mortal, CLOCK)  # noqa: SLF001 - put between on purpose
        await engine.start()
        comet = await asyncio.create_subprocess_exec(
            self._program.absolute(), "start", "--home", "comet", cwd=self.home, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            yield engine
        finally:
            if comet.returncode is None:
                comet.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(comet.wait(), 20)
                except TimeoutError:
                    comet.kill()
                    await comet.wait()
            await engine.stop()
            store.close()

    def pay(self, application: Application) -> bytes:
        fields = Fields(chain_id=self.document.chain_id, nonce=self.nonce, gas=5_000_000, to=TOKEN, data=PAY)
        self.nonce += 1
        return sign_transaction(SPONSOR, fields, application.genesis_hash, reference=True)


async def until(done: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    limit = CLOCK.monotonic() + LIMIT_S
    while True:
        value = done()
        if value if isinstance(value, bool) else await value:
            return
        assert CLOCK.monotonic() < limit, "waited too long"
        await CLOCK.sleep(0.02)


async def pay_until_durable(node: Node, engine: CometEngine) -> None:
    application = engine._application  # noqa: SLF001 - the test's own
    verdict = engine.submit(node.pay(application))
    assert verdict.accepted, verdict.reason
    await until(lambda: application.reader().receipt(verdict.hash) is not None)


def test_a_chain_of_one_validator_orders_transactions_and_verifies(tmp_path: Path, program: Path) -> None:
    node = Node(tmp_path, program)

    async def work() -> None:
        async with node.life() as engine:
            for _ in range(3):
                await pay_until_durable(node, engine)
            newest = engine.height
            rpc = engine.rpc
            await until(lambda: engine.height > newest)
            trusted = None
            info = Application(Store.memory())
            info.init_chain(node.document)
            outcome = info.info().app_hash, light.results_hash(())
            for number in range(1, newest + 1):
                height = Height(number)
                header, commit = await rpc.signed_header(height)
                assert await rpc.validators(height) == genesis_validators(node.document)
                txs = await rpc.transactions(height)
                assert light.data_hash(txs) == header.data_hash
                if trusted is None:
                    trusted = light.verify_first(
                        header, commit, genesis_validators(node.document), node.document.name,
                        genesis_time=genesis_time(node.document), app_hash=outcome[0],
                    )  # fmt: skip
                else:
                    trusted = light.verify_next(
                        trusted, header, commit, last_commit=trusted.commit,
                        app_hash=outcome[0], last_results_hash=outcome[1],
                    )  # fmt: skip
                time = Timestamp(header.time.seconds, header.time.nanos)
                done = info.finalize_block(number, time, txs)
                info.commit()
                results = [light.TxResult(code=int(one.code), gas_used=one.gas_used) for one in done.results]
                outcome = done.app_hash, light.results_hash(results)
            with pytest.raises(UnknownHeightError):
                await rpc.header(Height(10**6))

    asyncio.run(work())


def test_an_idle_chain_makes_one_height_in_each_interval(tmp_path: Path, program: Path) -> None:
    node = Node(tmp_path, program)

    async def work() -> None:
        async with node.life() as engine:
            await pay_until_durable(node, engine)
            settled = engine.height + 2  # the height after it shows its app hash, and one may be under way
            await until(lambda: engine.height >= settled)
            first, begun = engine.height, CLOCK.monotonic()
            await CLOCK.sleep(4.0)
            assert engine.height - first <= CLOCK.monotonic() - begun + 1  # the interval is one second

    asyncio.run(work())


MOMENTS = [
    f"{when} {what}"
    for what in ("info", "init_chain", "prepare_proposal", "process_proposal", "finalize_block", "commit", "check_tx")
    for when in ("before", "after")
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_ledger_that_dies_goes_on_where_it_stood(tmp_path: Path, program: Path, moment: str) -> None:
    node = Node(tmp_path, program)
    deadly = 1 if moment.split()[1] in {"info", "init_chain"} else 3

    async def work() -> None:
        seen = 0

        def die(now: str, _: pb.Request) -> bool:
            nonlocal seen
            if now != moment:
                return False
            seen += 1
            return seen == deadly

        if deadly > 1:
            async with node.life() as engine:
                await pay_until_durable(node, engine)
        async with node.life(die) as engine:
            paying = asyncio.create_task(_pay_on(node, engine))
            await until(lambda: bool(node.died))
            paying.cancel()
            await asyncio.gather(paying, return_exceptions=True)
        assert node.died == [moment]
        async with node.life() as engine:
            application = engine._application  # noqa: SLF001 - the test's own
            replayed = engine.height + 2  # what was voted for before is decided first
            await until(lambda: engine.height >= replayed)
            node.nonce = application.reader().nonce(SPONSOR.address)
            await pay_until_durable(node, engine)
            assert application.reader().nonce(SPONSOR.address) == node.nonce

    asyncio.run(work())


async def _pay_on(node: Node, engine: CometEngine) -> None:
    with contextlib.suppress(CometUnreachableError):
        while engine.failure is None:
            await pay_until_durable(node, engine)
