"""CometBFT's own key-value store on four validators with keys of either kind: what consensus costs without a ledger."""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, Literal

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.crypto.backend_python import expanded_key
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.cometbft import binary
from chain.engines.cometbft.home import NodeKey, Places, Timing, write_configuration
from chain.light import validator_address
from merit.chance import entropy
from merit.clock import Clock
from tests.benchmarks._network import thread_seconds

Kind = Literal["ML-DSA-65", "Ed25519"]
VALIDATORS: Final = 4
PORTS_PER_NODE: Final = 2
SENDERS: Final = 16
LONE: Final = 30
_START_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Transactions of 32 bytes: decided per second, and milliseconds from sending a lone one to its commit."""

    per_second: float
    p50_ms: float
    p95_ms: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class _Key:
    kind: str
    public: bytes
    private: bytes
    address: bytes


def _key(kind: Kind) -> _Key:
    if kind == "ML-DSA-65":
        key = SigningKey.generate(Scheme.ML_DSA_65)
        return _Key(
            "MlDsa65", key.public_key, expanded_key(Scheme.ML_DSA_65, key.seed), validator_address(key.public_key)
        )
    seed = entropy(32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return _Key("Ed25519", public, seed + public, hashlib.sha256(public).digest()[:20])


def _names(key: _Key) -> tuple[str, str, str]:
    """Return the names of the public and the private key and of the kind, as CometBFT's files have them."""
    if key.kind == "Ed25519":
        return "tendermint/PubKeyEd25519", "tendermint/PrivKeyEd25519", "ed25519"
    return "cometbft/PubKeyMlDsa65", "cometbft/PrivKeyMlDsa65", "ml_dsa_65"


def _write_homes(directory: Path, kind: Kind, port: int, now: float) -> list[Path]:
    keys, nodes = [_key(kind) for _ in range(VALIDATORS)], [NodeKey(entropy(32)) for _ in range(VALIDATORS)]
    public, private, short = _names(keys[0])

    def encoded(name: str, value: bytes) -> dict[str, str]:
        return {"type": name, "value": base64.b64encode(value).decode()}

    genesis = {
        "genesis_time": datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "chain_id": "benchmark",
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": "4194304", "max_gas": "-1"},
            "evidence": {"max_age_num_blocks": "100000", "max_age_duration": "172800000000000", "max_bytes": "262144"},
            "validator": {"pub_key_types": [short]},
            "version": {"app": "1"},
            "abci": {"vote_extensions_enable_height": "0"},
            "authority": {"authority": ""},
        },
        "validators": [
            {"address": key.address.hex().upper(), "pub_key": encoded(public, key.public), "power": "1", "name": ""}
            for key in keys
        ],
        "app_hash": "",
    }
    homes = []
    for number, (key, node) in enumerate(zip(keys, nodes, strict=True)):
        home = directory / f"kv{number}"
        (home / "config").mkdir(parents=True)
        (home / "data").mkdir()
        files: dict[str, Any] = {
            "config/genesis.json": genesis,
            "config/node_key.json": {"priv_key": encoded("tendermint/PrivKeyEd25519", node.secret)},
            "config/priv_validator_key.json": {
                "address": key.address.hex().upper(),
                "pub_key": encoded(public, key.public),
                "priv_key": encoded(private, key.private),
            },
            "data/priv_validator_state.json": {"height": "0", "round": 0, "step": 0},
        }
        for name, content in files.items():
            (home / name).write_bytes(msgspec.json.encode(content))
        (home / "config" / "moniker").write_text(f"kv{number}", encoding="utf-8")
        peers = tuple(
            f"{other.id}@127.0.0.1:{port + PORTS_PER_NODE * at}" for at, other in enumerate(nodes) if at != number
        )
        first = port + PORTS_PER_NODE * number
        write_configuration(home, Places("app", f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}", peers), Timing())
        configuration = home / "config" / "config.toml"
        text = configuration.read_text(encoding="utf-8")
        configuration.write_text(text.replace("unix://app", "kvstore"), encoding="utf-8")
        homes.append(home)
    return homes


@contextlib.asynccontextmanager
async def _processes(homes: list[Path]) -> AsyncIterator[list[int]]:
    program = str(binary.find().absolute())
    running = [
        await asyncio.create_subprocess_exec(
            program, "start", "--home", str(home), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for home in homes
    ]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in running))


async def key_value_store(directory: Path, kind: Kind, port: int, seconds: float, clock: Clock) -> StoreFigures:
    """Run the network; first lone transactions, then as many as go."""
    homes = _write_homes(directory, kind, port, clock.now())
    urls = [f"http://127.0.0.1:{port + PORTS_PER_NODE * number + 1}" for number in range(VALIDATORS)]
    async with _processes(homes) as pids, httpx.AsyncClient(timeout=60.0, trust_env=False) as http:
        await _height(http, urls[0], 2, clock)
        lone = []
        for _ in range(LONE):
            began = clock.monotonic()
            await http.get(f"{urls[0]}/broadcast_tx_commit", params={"tx": _transaction()})
            lone.append((clock.monotonic() - began) * 1e3)
        first = await _height(http, urls[0], 2, clock)
        used, began = sum(thread_seconds(Path(f"/proc/{pid}")) for pid in pids), clock.monotonic()

        async def send(url: str) -> None:
            while clock.monotonic() - began < seconds:
                await http.get(f"{url}/broadcast_tx_async", params={"tx": _transaction()})

        await asyncio.gather(*(send(urls[number % VALIDATORS]) for number in range(SENDERS)))
        took = clock.monotonic() - began
        used = sum(thread_seconds(Path(f"/proc/{pid}")) for pid in pids) - used
        decided = 0
        for height in range(first + 1, await _height(http, urls[0], first, clock) + 1):
            block = (await http.get(f"{urls[0]}/block", params={"height": str(height)})).json()["result"]["block"]
            decided += len(block["data"]["txs"] or ())
    cuts = quantiles(lone, n=20)
    return StoreFigures(decided / took, cuts[9], cuts[18], used / max(1, decided) * 1e6)


def _transaction() -> str:
    return f'"{entropy(12).hex()}=1234567"'


async def _height(http: httpx.AsyncClient, url: str, least: int, clock: Clock) -> int:
    limit = clock.monotonic() + _START_S
    while clock.monotonic() < limit:
        with contextlib.suppress(httpx.HTTPError, KeyError):
            answer = (await http.get(f"{url}/status")).json()
            height = int(answer["result"]["sync_info"]["latest_block_height"])
            if height >= least:
                return height
        await clock.sleep(0.1)
    message = f"{url} did not reach height {least} in {_START_S:.0f} s"
    raise RuntimeError(message)
