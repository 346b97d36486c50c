"""`merit node compare` names the first write that differs, whichever side computed it otherwise."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain import light
from chain.crypto.hashing import keccak256
from chain.engines.base import EngineName
from chain.engines.errors import UnknownHeightError
from chain.execution import executor
from chain.execution.accounts import Accounts
from chain.execution.verdicts import Code, Refusal
from chain.light import Height
from chain.rpc.dispatcher import Dispatcher
from chain.rpc.http import RpcServer
from chain.storage import Store
from contracts import layout
from contracts.addresses import TOKEN
from contracts.bindings import Token
from merit.clock import SystemClock
from node.cli import main
from node.machine.compare import Comparison, compare, lines
from node.machine.home import NodeFile, NodeHome
from tests.chain.ledger import SPONSOR, START, STRANGER, Replica, genesis

PAYEE = STRANGER.address
PAYEE_SLOT = layout.slot("Token", "balanceOf", PAYEE)
SUPPLY_SLOT = layout.slot("Token", "totalSupply")
SPONSOR_SLOT = layout.slot("Token", "balanceOf", SPONSOR.address)
STRANGE_SLOT = 1 << 200
SOME_BLOCK = light.BlockId(bytes(32), light.PartSetHeader(1, bytes(32)))
ORIGINAL = Accounts.set_storage

Write = Callable[[Accounts, Any, int, int], None]


class _Forgetful:
    """An engine's history that has forgotten everything."""

    @staticmethod
    async def first() -> Height:
        return Height(1)

    async def signed_header(self, height: Height) -> Any:
        raise UnknownHeightError(height, Height(1))


class _Decided:
    """An engine's history of what a replica was given, unsigned."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @staticmethod
    async def first() -> Height:
        return Height(1)

    @staticmethod
    async def evidence(_: Height) -> tuple[bytes, ...]:
        return ()

    async def signed_header(self, height: Height) -> tuple[light.Header, light.Commit]:
        seconds = sum(seconds for seconds, *_ in self._replica.history[:height])
        time = light.Timestamp(START + seconds)
        header = light.Header(
            app_version=1, chain_id="x", height=height, time=time, last_block_id=SOME_BLOCK,
            **dict.fromkeys(
                (
                    "last_commit_hash", "data_hash", "validators_hash", "next_validators_hash", "consensus_hash",
                    "app_hash", "last_results_hash", "evidence_hash",
                ),
                bytes(32),
            ),
            proposer_address=bytes(20),
        )  # fmt: skip
        return header, light.Commit(height, 0, SOME_BLOCK, ())

    async def transactions(self, height: Height) -> tuple[bytes, ...]:
        return self._replica.history[height - 1][1]


class Served:
    """A replica that answers JSON-RPC from a thread of its own, as another node's process does."""

    def __init__(self, replica: Replica, *, forgetful: bool = False) -> None:
        self._replica = replica
        self._history = _Forgetful() if forgetful else _Decided(replica)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="other node")
        self._thread.start()
        self._server = self._run(self._start())
        self.url = self._server.url

    async def _start(self) -> RpcServer:
        app = self._replica.app
        engine: Any = SimpleNamespace(name=EngineName.COMETBFT, height=Height(app.height), history=self._history)
        server = RpcServer(Dispatcher(app, engine, SystemClock()), port=0)
        await server.start()
        return server

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def stop(self) -> None:
        self._run(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Two:
    """The replica of a home, whose node does not run, and another one that is served."""

    def __init__(self, path: Path) -> None:
        self.home = NodeHome(path / "home")
        self.home.path.mkdir()
        self.home.file.write_bytes(NodeFile(name="mine", p2p=1, comet=2, rpc=3, handover=4).encode())
        self.here = Replica(Store.open(self.home.ledger, sync=False))
        self.there = Replica()

    def both(self, *transactions: bytes, here: Any = None, there: Any = None) -> None:
        """Execute a height on both sides, each under its own patch."""
        for replica, patch in ((self.here, here), (self.there, there)):
            with patch or contextlib.nullcontext():
                replica.height(*transactions)

    def pay(self, amount: int = 5) -> bytes:
        self.there.nonces.clear()
        return self.there.sign(SPONSOR, TOKEN, Token.encode_transfer(PAYEE, amount))

    def compare(self, *, forgetful: bool = False) -> Comparison:
        self.here.store.close()
        other = Served(self.there, forgetful=forgetful)
        try:
            return compare(self.home, [other.url])
        finally:
            other.stop()


@pytest.fixture
def two(tmp_path: Path) -> Two:
    made = Two(tmp_path)
    for _ in range(3):
        made.both(made.pay())
    return made


@contextlib.contextmanager
def writing(write: Write) -> Iterator[None]:
    """Let every write to the Token's storage go through `write`."""

    def patched(self: Accounts, address: Any, slot: int, value: int) -> None:
        (write if address == TOKEN else ORIGINAL)(self, address, slot, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accounts, "set_storage", patched)
        yield


def other_value(accounts: Accounts, address: Any, slot: int, value: int) -> None:
    ORIGINAL(accounts, address, slot, value + (slot == PAYEE_SLOT))


def skipped(accounts: Accounts, address: Any, slot: int, value: int) -> None:
    if slot != PAYEE_SLOT:
        ORIGINAL(accounts, address, slot, value)


def one_more(more: int) -> Write:
    def write(accounts: Accounts, address: Any, slot: int, value: int) -> None:
        ORIGINAL(accounts, address, slot, value)
        ORIGINAL(accounts, address, more, 7)

    return write


def test_equal_ledgers_have_no_difference(two: Two) -> None:
    found = two.compare()
    assert not found.differs
    assert found.difference is None
    assert found.nodes[0].compared == 3


@pytest.mark.parametrize("behind", ["here", "there"])
def test_a_ledger_that_is_behind_is_no_other_one(two: Two, behind: str) -> None:
    (two.there if behind == "here" else two.here).height(two.pay())
    assert not two.compare().differs


@pytest.mark.parametrize(
    ("write", "here", "there"), [(other_value, "21", "20"), (skipped, "15", "20")], ids=["another value", "skipped"]
)
def test_a_write_that_differs_is_named_with_its_values_and_its_slot(
    two: Two, write: Write, here: str, there: str
) -> None:
    two.both(two.pay(), here=writing(write))
    two.both(two.pay())  # what comes after differs, too
    found = two.compare()
    difference = found.difference
    assert difference is not None
    assert (difference.height, difference.block) == (4, 4)
    assert difference.here == f"0x{two.here.results[3].app_hash.hex()}"
    assert difference.there == f"0x{two.there.results[3].app_hash.hex()}"
    assert difference.header == ("stateRoot",)
    assert difference.transaction is None
    (write_,) = difference.writes
    assert (write_.contract, write_.part, int(write_.slot, 16)) == ("Token", "storage", PAYEE_SLOT)
    assert write_.name == f"balanceOf[0x{PAYEE.hex()}]"
    assert (write_.before, write_.here, write_.there, write_.again) == ("15", here, there, there)
    assert difference.unnamed == ()
    assert difference.agrees == "there"
    text = "\n".join(lines(found))
    assert f"Token (0x{TOKEN.hex()}), balanceOf[0x{PAYEE.hex()}] (slot {hex(PAYEE_SLOT)})" in text
    assert f"before 15, here {here}, there {there}" in text
    assert "HOME's store is damaged, or another program wrote it" in text


def test_a_program_that_computes_what_home_holds_says_so(two: Two) -> None:
    two.both(two.pay(), here=writing(skipped))
    with writing(skipped):  # the other one is served by the same program, but only reads
        difference = two.compare().difference
    assert difference is not None
    assert difference.agrees == "here"
    assert difference.again == difference.here
    assert [(write.here, write.there) for write in difference.writes] == [("15", "20")]


def test_a_third_result_agrees_with_neither(two: Two) -> None:
    two.both(two.pay(), here=writing(skipped))
    with writing(other_value):
        found = two.compare()
    assert found.difference is not None
    assert found.difference.agrees == "neither"
    assert "neither HOME's block nor the other node's" in lines(found)[-1]


def test_a_write_that_only_home_made_is_named_by_the_layout(two: Two) -> None:
    two.both(two.pay(), here=writing(one_more(SUPPLY_SLOT)))
    difference = two.compare().difference
    assert difference is not None
    (write,) = difference.writes
    assert (write.name, write.here, write.again) == ("totalSupply", "7", write.there)
    assert difference.unnamed == ()


def test_a_write_that_only_home_made_and_no_layout_knows_is_named_by_its_hash(two: Two) -> None:
    two.both(two.pay(), here=writing(one_more(STRANGE_SLOT)))
    difference = two.compare().difference
    assert difference is not None
    (write,) = difference.writes
    assert write.slot_hash == f"0x{keccak256(STRANGE_SLOT.to_bytes(32, 'big')).hex()}"
    assert (write.slot, write.before, write.here, write.there) == ("", "0", "7", "0")
    assert difference.unnamed == ()


def test_a_write_that_only_the_other_made_is_told_of_its_contract(two: Two) -> None:
    two.both(two.pay(), there=writing(one_more(STRANGE_SLOT)))
    found = two.compare()
    assert found.difference is not None
    assert found.difference.writes == ()
    (line,) = found.difference.unnamed
    assert line == f"the other node changed slots of Token (0x{TOKEN.hex()}) that this height does not use here"
    assert line in lines(found)
    assert found.difference.agrees == "here"


def test_an_account_that_only_home_changed_is_named_by_its_hash(two: Two) -> None:
    strange = bytes(19) + b"\x99"

    def write(accounts: Accounts, address: Any, slot: int, value: int) -> None:
        ORIGINAL(accounts, address, slot, value)
        accounts.set_balance(strange, 3)  # type: ignore[arg-type] # bytes are an address

    two.both(two.pay(), here=writing(write))
    difference = two.compare().difference
    assert difference is not None
    (found,) = difference.writes
    assert (found.account_hash, found.part) == (f"0x{keccak256(strange).hex()}", "balance")
    assert (found.before, found.here, found.there) == ("0", "3", "0")


def test_an_account_that_only_the_other_changed_is_told(two: Two) -> None:
    def write(accounts: Accounts, address: Any, slot: int, value: int) -> None:
        ORIGINAL(accounts, address, slot, value)
        accounts.set_balance(bytes(19) + b"\x99", 3)  # type: ignore[arg-type] # bytes are an address

    two.both(two.pay(), there=writing(write))
    difference = two.compare().difference
    assert difference is not None
    assert difference.writes == ()
    assert difference.unnamed == ("the other node changed accounts that this height does not use here",)


def test_the_first_transaction_with_two_outcomes_is_named(two: Two) -> None:
    first = two.pay(1)
    second = two.there.sign(SPONSOR, TOKEN, Token.encode_transfer(PAYEE, 2))

    def write(accounts: Accounts, address: Any, slot: int, value: int) -> None:
        # the second payment finds nothing to pay from
        ORIGINAL(accounts, address, slot, 0 if slot == SPONSOR_SLOT else value)

    two.both(first, second, here=writing(write))
    found = two.compare()
    assert found.difference is not None
    assert set(found.difference.header) == {"stateRoot", "receiptsRoot", "gasUsed"}
    outcome = found.difference.transaction
    assert outcome is not None
    assert (outcome.index, outcome.hash) == (1, f"0x{keccak256(second).hex()}")
    assert outcome.here.startswith("reverted")
    assert outcome.there.startswith("succeeded")
    assert f"first transaction that differs: {outcome.hash} (index 1)" in lines(found)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Leave every transaction out of its block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "judge", lambda *_, **__: Refusal(Code.MALFORMED, "not liked"))
        yield


@pytest.mark.parametrize("side", ["here", "there"])
def test_a_height_of_which_one_side_made_no_block_differs(two: Two, side: str) -> None:
    transaction = two.pay()
    two.both(transaction, **{side: refusing()})
    found = two.compare()
    difference = found.difference
    assert difference is not None
    assert difference.height == 4
    assert getattr(difference, side) == ""
    assert difference.transaction is not None
    assert difference.transaction.hash == f"0x{keccak256(transaction).hex()}"
    assert getattr(difference.transaction, side).startswith("not in the block")
    assert [write.part for write in difference.writes] == ["nonce", "storage", "storage"]
    assert difference.writes[0].account == f"0x{SPONSOR.address.hex()}"
    assert difference.agrees == ("there" if side == "here" else "here")
    assert any(f"no block {side}" in line for line in lines(found))


def test_why_a_transaction_is_left_out_here_is_told_when_it_is_left_out_again(two: Two) -> None:
    two.both(two.pay(), two.there.sign(STRANGER, TOKEN, nonce=5), here=refusing())
    with refusing():
        difference = two.compare().difference
    assert difference is not None
    assert difference.transaction is not None
    assert difference.transaction.here == "not in the block (not liked)"
    assert difference.agrees == "here"


def test_a_node_that_forgot_what_was_decided_leaves_homes_own_transactions_to_execute(two: Two) -> None:
    two.both(two.pay(), here=writing(skipped))
    found = two.compare(forgetful=True)
    assert found.difference is not None
    assert not found.difference.decided
    assert found.difference.agrees == "there"
    assert "executed was what HOME's block holds" in lines(found)[-1]


def test_a_height_without_transactions_anywhere_is_not_said_to_be_executed(two: Two) -> None:
    two.both(two.pay(), here=refusing())
    found = two.compare(forgetful=True)
    assert found.difference is not None
    assert found.difference.agrees == "unknown"
    assert lines(found)[-1].startswith("not executed again")


def test_nothing_of_the_home_is_changed(two: Two) -> None:
    two.both(two.pay(), here=writing(skipped))
    before = {path.name: path.read_bytes() for path in two.home.ledger.glob("data.mdb")}
    assert two.compare().differs
    assert {path.name: path.read_bytes() for path in two.home.ledger.glob("data.mdb")} == before


# -- the command --------------------------------------------------------------------------------------------------


def command(two: Two, *options: str) -> int:
    two.here.store.close()
    other = Served(two.there)
    try:
        return main(["node", "compare", str(two.home.path), "--rpc", other.url, *options])
    finally:
        other.stop()


def test_the_command_leaves_with_0_when_nothing_differs(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(two, "--json") == 0
    assert json.loads(capsys.readouterr().out)["differs"] is False


def test_the_command_leaves_with_1_and_names_the_write(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    two.both(two.pay(), here=writing(skipped))
    assert command(two, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["differs"] is True
    assert said["difference"]["writes"][0]["name"] == f"balanceOf[0x{PAYEE.hex()}]"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["node", "compare", *arguments, "--json"]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_no_home_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such node home" in refused([str(tmp_path / "none")], capsys)


def test_no_ledger_is_said(home: NodeHome, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no ledger" in refused([str(home.path), "--rpc", "http://127.0.0.1:9"], capsys)


def test_nobody_to_ask_is_said(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    two.here.store.close()
    assert "name a node with --rpc URL" in refused([str(two.home.path)], capsys)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://[", "ftp://127.0.0.1/"])
def test_a_node_that_does_not_answer_is_said(two: Two, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    two.here.store.close()
    assert f"the node at {url} does not answer" in refused([str(two.home.path), "--rpc", url], capsys)


def test_a_node_of_another_chain_is_said(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    two.there = Replica(document=genesis(name="elsewhere"))
    two.here.store.close()
    other = Served(two.there)
    try:
        assert "they are other chains" in refused([str(two.home.path), "--rpc", other.url], capsys)
    finally:
        other.stop()


def test_a_silent_peer_is_told_and_the_others_are_compared(two: Two) -> None:
    two.here.store.close()
    other = Served(two.there)
    try:
        found = compare(two.home, ["http://127.0.0.1:9", other.url])
    finally:
        other.stop()
    assert [node.url for node in found.nodes] == [other.url]
    assert len(found.silent) == 1
    assert "http://127.0.0.1:9" in found.silent[0]
