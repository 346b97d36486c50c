"""JSON-RPC: reads per second of a development network and of anvil, the same requests side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import vyper

from chain.crypto.hashing import keccak256
from merit.clock import Clock, SystemClock
from node.cli.checkout import checkout
from node.errors import ConfigError
from tests.benchmarks._network import ports
from tests.benchmarks._timing import took_us

RECORDS: Final = 10_000
RECORDS_PER_TRANSACTION: Final = 500
SECONDS: Final = 3.0
LEAST: Final = 20
_SOURCE: Final = """
# pragma version 0.4.3
event Record:
    number: indexed(uint256)
    content: bytes32

kept: public(HashMap[uint256, uint256])
count: public(uint256)

@external
def record(many: uint256):
    for at: uint256 in range(many, bound=1000):
        log Record(number=self.count + at, content=keccak256(convert(self.count + at, bytes32)))
    self.count += many
    self.kept[self.count] = many
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: a row's name, the method and its parameters."""

    name: str
    method: str
    params: list[Any]


class Node:
    """A node that answers over HTTP, one request at a time on one connection; it signs for an account of its own."""

    def __init__(self, url: str) -> None:
        """Ask at `url`."""
        self._http = httpx.Client(base_url=url, timeout=60.0, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ask(self, method: str, *params: Any) -> Any:
        """Return the result; RuntimeError when there is none."""
        answer = json.loads(self.post(_body(method, list(params))))
        if "result" not in answer:
            message = f"{method}: {answer.get('error')}"
            raise RuntimeError(message)
        return answer["result"]

    def post(self, body: bytes) -> bytes:
        """Return the answer as it comes."""
        return self._http.post("/", content=body, headers={"content-type": "application/json"}).content

    def send(self, clock: Clock, data: str, to: str | None = None) -> dict[str, Any]:
        """Send a transaction and return its receipt; RuntimeError when it fails."""
        request = {"from": self.ask("eth_accounts")[0], "data": data, "gas": hex(20_000_000)}
        name = self.ask("eth_sendTransaction", request | ({"to": to} if to else {}))
        while (receipt := self.ask("eth_getTransactionReceipt", name)) is None:
            clock.wait(0.01)
        if receipt["status"] != "0x1":
            message = f"{name} failed"
            raise RuntimeError(message)
        found: dict[str, Any] = receipt
        return found


def run(seconds: float = SECONDS) -> list[dict[str, object]]:
    """Ask both for the same, in turns, `seconds` for each row; times are of a whole answer on one kept connection.

    Both hold 10,000 records (logs of one contract, 500 in a transaction). *Per second* is what one connection gets, one
    request after the other; p50 and p95 are milliseconds.
    """
    root = checkout()
    program = None if root is None else root / ".merit" / "bin" / "anvil"
    if program is None or not program.is_file():
        message = "there is no anvil: scripts/install-anvil brings it"
        raise ConfigError(message)
    clock = SystemClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="merit")))
        nodes = {"merit": stack.enter_context(_merit(folder)), "anvil": stack.enter_context(_anvil(program, clock))}
        asked = {name: _requests(node, clock) for name, node in nodes.items()}
        return [
            _row(clock, seconds, {name: (nodes[name], asked[name][at]) for name in nodes})
            for at in range(len(asked["merit"]))
        ]


def _requests(node: Node, clock: Clock) -> list[Request]:
    """Record on a new chain and return what to ask of it."""
    code = vyper.compile_code(_SOURCE, output_formats=["bytecode"])["bytecode"]
    contract = node.send(clock, code)["contractAddress"]
    data = f"{_selector('record(uint256)')}{RECORDS_PER_TRANSACTION:064x}"
    receipts = [node.send(clock, data, contract) for _ in range(RECORDS // RECORDS_PER_TRANSACTION)]
    paid = node.send(clock, "0x", node.ask("eth_accounts")[0])
    logs = {"address": contract, "fromBlock": "0x0", "toBlock": "latest"}
    if len(node.ask("eth_getLogs", logs)) != RECORDS:
        message = f"there are not {RECORDS} records"
        raise RuntimeError(message)
    call = {"to": contract, "data": _selector("count()")}
    one = f"0x{RECORDS // 2:064x}"
    topic = node.ask("eth_getLogs", logs)[0]["topics"][0]
    middle = receipts[len(receipts) // 2]["transactionHash"]
    return [
        Request("eth_blockNumber", "eth_blockNumber", []),
        Request("eth_call", "eth_call", [call, "latest"]),
        Request("eth_getBlockByNumber, hashes", "eth_getBlockByNumber", [paid["blockNumber"], False]),
        Request("eth_getTransactionReceipt, no log", "eth_getTransactionReceipt", [paid["transactionHash"]]),
        Request(f"eth_getTransactionReceipt, {RECORDS_PER_TRANSACTION} logs", "eth_getTransactionReceipt", [middle]),
        Request("eth_getProof, account and slot", "eth_getProof", [contract, [f"0x{1:064x}"], "latest"]),
        Request("eth_getLogs, one by topic", "eth_getLogs", [logs | {"topics": [topic, one]}]),
        Request(f"eth_getLogs, all {RECORDS:,}", "eth_getLogs", [logs]),
    ]


def _selector(signature: str) -> str:
    return f"0x{keccak256(signature.encode())[:4].hex()}"


def _row(clock: Clock, seconds: float, asked: dict[str, tuple[Node, Request]]) -> dict[str, object]:
    bodies = {name: _body(request.method, request.params) for name, (_, request) in asked.items()}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for node, request in asked.values():
        node.ask(request.method, *request.params)  # the first may be slower, and has to be an answer
    until = clock.monotonic() + seconds
    while clock.monotonic() < until or len(times["anvil"]) < LEAST:
        for name, (node, _) in asked.items():
            times[name].append(took_us(clock, _post(node, bodies[name])) / 1e3)
    row: dict[str, object] = {"request": asked["merit"][1].name}
    for name, found in times.items():
        p50, p95 = (quantiles(found, n=20)[at] for at in (9, 18))
        row |= {f"{name} per second": round(1e3 * len(found) / sum(found), 1), f"{name} p50": p50, f"{name} p95": p95}
    return row | {"load average": round(os.getloadavg()[0], 1)}


def _post(node: Node, body: bytes) -> Callable[[], object]:
    return lambda: node.post(body)


def _body(method: str, params: list[Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


@contextmanager
def _merit(folder: Path) -> Iterator[Node]:
    command = [sys.executable, "-m", "node.cli", "up", "--json", "--dir", str(folder / "network")]
    options = ["--port", "0", "--validators", "1", "--classical", "--unlocked"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            text = ""
            for line in process.stdout or ():
                text += line
                if line == "}\n":
                    break
            with closing(Node(json.loads(text)["rpc"])) as node:
                yield node
        finally:
            process.terminate()


@contextmanager
def _anvil(program: Path, clock: Clock) -> Iterator[Node]:
    port = ports(1)
    with subprocess.Popen([str(program), "--silent", "--port", str(port)]) as process:  # noqa: S603 - as above
        try:
            with closing(Node(f"http://127.0.0.1:{port}")) as node:
                for _ in range(300):
                    with suppress(httpx.HTTPError):
                        node.ask("eth_chainId")
                        break
                    clock.wait(0.1)
                yield node
        finally:
            process.terminate()
