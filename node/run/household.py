"""Where the clients of a run live: in a process of their own, so that training does not hold up edge servers."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Protocol

import msgspec

from node.edge.local import LocalEdgeServers
from node.errors import RunDirectoryError
from node.run.clients import HostSpec

GRACE_S = 15.0


class Household(Protocol):
    """A place for the clients of a run."""

    async def reach(self, servers: LocalEdgeServers, stack: contextlib.AsyncExitStack) -> list[str]:
        """Make the edge servers reachable and return their URLs; `stack` undoes it."""
        ...

    async def move_in(self, spec: HostSpec, stack: contextlib.AsyncExitStack) -> None:
        """Return when job file and model 0 are prepared and the clients are ready; `stack` ends them.

        Raises:
            RunDirectoryError: they ended at once.

        """
        ...

    def check(self) -> None:
        """Raise RunDirectoryError if the clients have ended before the run."""
        ...


class Subprocess:
    """One process for all clients (`node.run.host`)."""

    def __init__(self, directory: Path) -> None:
        """Keep the clients' files in `directory`."""
        self._directory = directory
        self._process: asyncio.subprocess.Process

    async def reach(self, servers: LocalEdgeServers, stack: contextlib.AsyncExitStack) -> list[str]:
        """Let every server listen on a free port."""
        return await servers.listen(stack)

    async def move_in(self, spec: HostSpec, stack: contextlib.AsyncExitStack) -> None:
        """Start the process and wait for its word."""
        path = self._directory / "host.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.encode(spec))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "node.run.host", str(path),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        stack.push_async_callback(self._stop)
        if self._process.stdout is None or await self._process.stdout.readline() != b"ready\n":
            await self._process.wait()
            self.check()

    def check(self) -> None:
        """Raise RunDirectoryError if the process has ended."""
        code = self._process.returncode
        if code is None:
            return
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}: {last}"
        message = f"the clients' process {how}; see {self._log}, then run again to go on"
        raise RunDirectoryError(message)

    @property
    def _log(self) -> Path:
        return self._directory / "host.log"

    async def _stop(self) -> None:
        host = self._process
        if host.returncode is None and host.stdin is not None:
            host.stdin.close()
            try:
                await asyncio.wait_for(host.wait(), GRACE_S)
            except TimeoutError:
                host.kill()
                await host.wait()
