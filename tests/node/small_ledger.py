"""A ledger that learns in this process: four edge servers that govern by vote, over TLS, and clients beside them."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from chain.rpc.http import RpcServer
from contracts.bindings import JobStatus, Role
from merit.clock import SystemClock
from node.cli.up import _work
from node.edge.local import LocalEdgeServers
from node.founding import Membership
from node.network import LocalNetwork
from node.sponsor import describe
from tests.conftest import ROOT
from tests.node.audit.serving import Loop
from tests.node.testnet.running import Done, merit, until

EXAMPLES = ROOT / "scripts" / "examples"
EDGES, CLIENTS = (1, 2, 3, 4), (5, 6)
SPONSOR = 7


class SmallLedger(Loop):
    """It begins, or goes on in its directory, and runs until `stop`."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        roles = [*[Role.EDGE_SERVER] * len(EDGES), *[Role.CLIENT] * len(CLIENTS), Role.SPONSOR]
        new = {
            "validators": len(EDGES),
            "members": [Membership(role) for role in roles],
            "tokens": {SPONSOR: 10**24},
            "council": True,
        }
        wishes: dict[str, Any] = {} if (directory / "genesis.json").exists() else new
        self.network = LocalNetwork(directory, sync=False, block_interval=0.02, **wishes)
        self._stack = contextlib.AsyncExitStack()
        self.run(self._start())

    async def _start(self) -> None:
        await self.network.start()
        self._stack.push_async_callback(self.network.stop)
        server = RpcServer(self.network.dispatcher(), port=0)
        await server.start()
        self._stack.push_async_callback(server.stop)
        self.rpc = server.url
        edges = LocalEdgeServers(self.network, EDGES, SystemClock())
        self.intakes = await edges.listen(self._stack, tls=self.network.intake_tls())
        working = asyncio.create_task(_work(edges))
        self._stack.callback(working.cancel)

    @property
    def certificate(self) -> Path:
        return self.network.keys_path / "intake.crt"

    def stop(self) -> None:
        self.run(self._stack.aclose())
        self.end()

    # -- what people do ---------------------------------------------------------------------------------------------

    def secret(self, member: int) -> list[object]:
        return ["--key", self.network.member_key_path(member), "--password-file", self.network.password_path]

    def asked(self, *arguments: object) -> Any:
        done = self.merit(*arguments, "--json")
        assert done.code == 0, done
        return json.loads(done.out)

    def merit(self, *arguments: object) -> Done:
        return merit(*arguments, "--rpc", self.rpc)

    def propose(self, file: Path) -> int:
        """Let the sponsor propose a job over TLS."""
        options = ["--server", self.intakes[0], "--trust", self.certificate, "--budget", 1000]
        job: int = self.asked("job", "create", file, *options, *self.secret(SPONSOR))["job"]
        return job

    def client(self, member: int, directory: Path, job: int) -> list[str]:
        """Return the options with which a client learns."""
        options = [*self.secret(member), "--dir", directory, "--trust", self.certificate, "--job", job]
        for url in self.intakes[:2]:
            options += ["--server", url]
        return [str(option) for option in options]

    def learn(self, file: Path, directory: Path, *, rounds: int) -> int:
        """Have a job, both clients at it with the example's program, and close it; return its number."""
        job = self.propose(file)
        program = import_module("own_model")
        with ThreadPoolExecutor(len(CLIENTS)) as threads:
            learning = [
                threads.submit(program.main, [*self.client(member, directory / str(member), job), "--part", str(part)])
                for part, member in enumerate(CLIENTS)
            ]
            until(lambda: self.version(job) >= rounds or any(one.done() for one in learning), f"{rounds} rounds")
            assert self.merit("job", "close", job, *self.secret(SPONSOR)).code == 0
            for one in learning:
                one.result(60)
        until(lambda: describe(self.rpc, job)["status"] == JobStatus.CLOSED.name.lower(), "the job's end")
        return job

    def version(self, job: int) -> int:
        return int(str(describe(self.rpc, job)["version"]))


def installed(monkeypatch: pytest.MonkeyPatch, site: Path, pyproject: Path) -> None:
    """Let a package count as installed: its sources on the path, with the metadata that an installer would write."""
    import tomllib  # noqa: PLC0415 - only here

    project = tomllib.loads(pyproject.read_text())["project"]
    folder = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(pyproject.parent))
