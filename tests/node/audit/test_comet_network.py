"""A real CometBFT network that switches versions, changes a power and sees a validator sign twice audits clean."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from dilithium_py.ml_dsa import ML_DSA_65

from chain import light
from chain.crypto import keystore
from chain.engines.cometbft import binary
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import CometBinaryError
from chain.genesis import load_genesis
from chain.light import Height
from chain.transaction import Fields, sign_transaction
from contracts.addresses import COUNCIL, REGISTRY
from contracts.bindings import Council
from contracts.layout import slot
from contracts.upgrades import UpgradeKind
from merit.clock import SystemClock
from node.audit import AuditReport, audit_network
from node.machine.home import TimingFile
from node.testnet.layout import Layout, TestnetFile, free_port_base, make
from node.testnet.supervisor import Supervisor

CLOCK: Final = SystemClock()
LIMIT_S: Final = 90.0
CULPRIT: Final = 4
NOTICE: Final = 8
GAS: Final = 60_000_000


@pytest.fixture(scope="module")
def program() -> Path:
    """The program `cometbft`."""
    try:
        return binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    limit = CLOCK.monotonic() + LIMIT_S
    while not await done():
        assert CLOCK.monotonic() < limit, "waited too long"
        await CLOCK.sleep(0.1)


class Network:
    """A testnet that runs, and what the test asks of it."""

    def __init__(self, layout: Layout, supervisor: Supervisor, http: httpx.AsyncClient) -> None:
        self.layout, self.genesis = layout, load_genesis(layout.genesis)
        self._supervisor, self._http, self._nonce = supervisor, http, 0
        files = [home.read() for home in layout.homes()]
        self.urls = [file.rpc_url for file in files]
        self.comet = CometRpc(files[0].comet_url)
        self._comet_url = files[0].comet_url
        self._governor = keystore.load(layout.keys / "governor.pem", layout.password.read_bytes())

    async def asked(self, url: str, method: str, params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await self._http.post(url, json=body)).json()
        assert "error" not in answer, answer
        return answer["result"]

    async def started(self) -> bool:
        return all(status.height is not None and status.height >= 1 for status in await self._supervisor.status())

    async def block(self) -> int:
        return int(await self.asked(self.urls[0], "eth_blockNumber", []), 16)

    async def govern(self, data: bytes) -> None:
        """Let the governor call the Council, and wait for the block."""
        genesis_hash = bytes.fromhex((await self.asked(self.urls[0], "merit_genesisHash", []))[2:])
        fields = Fields(chain_id=self.genesis.chain_id, nonce=self._nonce, gas=GAS, to=COUNCIL, data=data)
        self._nonce += 1
        raw = sign_transaction(self._governor, fields, genesis_hash, reference=False)
        name = await self.asked(self.urls[0], "eth_sendRawTransaction", [f"0x{raw.hex()}"])
        found: list[Any] = []

        async def in_a_block() -> bool:
            found.append(await self.asked(self.urls[0], "eth_getTransactionReceipt", [name]))
            return found[-1] is not None

        await until(in_a_block)
        assert found[-1]["status"] == "0x1"

    async def sign_twice(self) -> None:
        """Hand in two precommits of validator `CULPRIT` for two blocks of one height."""
        file = json.loads((self.layout.home(CULPRIT).comet / "config" / "priv_validator_key.json").read_bytes())
        secret, address = base64.b64decode(file["priv_key"]["value"]), bytes.fromhex(file["address"])
        height = (await self.comet.status()).height
        header = await self.comet.header(height)
        validators = await self.comet.validators(height)
        votes = []
        for label in (b"a", b"b"):
            name, moment = label * 32, header.time
            block_id = light.BlockId(name, light.PartSetHeader(1, name))
            vote = light.CanonicalVote(light.VoteType.PRECOMMIT, height, 0, block_id, moment)
            signature = ML_DSA_65.sign(secret, light.vote_sign_bytes(vote, self.genesis.name), ctx=b"")
            votes.append(
                {
                    "type": int(vote.kind),
                    "height": str(height),
                    "round": 0,
                    "block_id": {"hash": name.hex().upper(), "parts": {"total": 1, "hash": name.hex().upper()}},
                    "timestamp": rfc3339(moment),
                    "validator_address": address.hex().upper(),
                    "validator_index": validators.addresses.index(address),
                    "signature": base64.b64encode(signature).decode(),
                    "extension": None,
                    "extension_signature": None,
                }
            )
        value = {
            "vote_a": votes[0],
            "vote_b": votes[1],
            "TotalVotingPower": str(validators.total_power),
            "ValidatorPower": "1",
            "Timestamp": rfc3339(header.time),
        }
        evidence = {"type": "tendermint/DuplicateVoteEvidence", "value": value}
        await self.asked(self._comet_url, "broadcast_evidence", {"evidence": evidence})

    async def suspended(self) -> bool:
        place = hex(slot("Registry", "_members", CULPRIT, "suspended"))
        word = await self.asked(self.urls[0], "eth_getStorageAt", [f"0x{REGISTRY.hex()}", place, "latest"])
        return int(word, 16) == 1


def rfc3339(time: light.Timestamp) -> str:
    return f"{datetime.fromtimestamp(time.seconds, UTC):%Y-%m-%dT%H:%M:%S}.{time.nanos:09d}Z"


async def lived(directory: Path, program: Path) -> tuple[AuditReport, list[light.ValidatorSet], list[int]]:
    """Let a network live through all of it; return its audit, each height's validators, and which held evidence."""
    file = TestnetFile(
        validators=4,
        clients=0,
        port=free_port_base(4, 42_000),
        relays=False,
        council=False,
        contracts=1,
        timing=TimingFile(empty=1_000),
    )
    genesis = make(directory, file, int(CLOCK.now()) - 60)
    layout, told = Layout(directory), list[str]()
    supervisor = Supervisor(layout, program, CLOCK, told.append)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http, supervisor.running():
        network = Network(layout, supervisor, http)
        await until(network.started)
        second = light.validator_address(genesis.validators[1].public_key)
        await network.govern(Council.encode_set_validator_power(second, 3))
        first = await network.block() + NOTICE + 2
        for number, kind in enumerate(UpgradeKind):
            await network.govern(Council.encode_schedule_upgrade(kind, 2, first + number))
        await network.sign_twice()
        await until(network.suspended)
        power = 3
        while await network.block() < first + len(UpgradeKind):
            power = 7 - power  # something to execute under the new versions
            await network.govern(Council.encode_set_validator_power(second, power))
        top = (await network.comet.status()).height
        await until(lambda: _reached(network.comet, Height(top + 3)))
        sets = [await network.comet.validators(Height(height)) for height in range(1, top + 3)]
        proven = [height for height in range(1, top + 1) if await network.comet.evidence(Height(height))]
        versions = (await network.asked(network.urls[0], "merit_status", []))["versions"]
        assert set(versions.values()) == {2}, versions
        report = await asyncio.to_thread(audit_network, network.urls)
        await network.comet.close()
    return report, sets, proven


async def _reached(comet: CometRpc, height: Height) -> bool:
    return (await comet.status()).height >= height


@pytest.mark.slow
def test_a_network_with_a_double_sign_new_powers_and_new_versions_audits_clean(tmp_path: Path, program: Path) -> None:
    report, sets, proven = asyncio.run(lived(tmp_path / "net", program))
    assert report.ok, report.lines
    assert all(node.complete for node in report.nodes), report.lines
    counts = next(tally for tally in report.tallies if tally.name == "heights").counts
    assert len(proven) == 1
    assert counts["reports of misbehavior"] == len(report.nodes)
    (punished,) = proven
    assert [len(one) for one in sets] == [4 if height < punished + 2 else 3 for height in range(1, len(sets) + 1)]
    assert (sets[0].total_power, sets[punished].total_power) == (4, 6)
