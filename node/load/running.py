"""Starts the process of a load's clients against a testnet and reads what it measured."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from contracts import addresses
from node.errors import RunDirectoryError
from node.load.process import LoadFigures, LoadSpec
from node.testnet.layout import Layout

_END_S = 15.0


class RunningLoad:
    """A load whose records are signed; `measure` sends them."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        """Take over the process."""
        self._process, self._directory = process, directory

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def measure(self) -> LoadFigures:
        """Send everything and return what came of it; RunDirectoryError when the process fails."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"begin\n")
        await _expect(self._process, b"done\n", self._directory)
        return msgspec.json.decode((self._directory / "figures.json").read_bytes(), type=LoadFigures)


@contextlib.asynccontextmanager
async def prepared(
    layout: Layout,
    directory: Path,
    *,
    job: int,
    genesis_hash: bytes,
    clients: int,
    seconds: float,
    records: int,
    records_per_second: float = 0.0,
    first_counter: int = 0,
) -> AsyncIterator[RunningLoad]:
    """Sign the records of a testnet's first `clients` clients; see `LoadSpec` for the rest.

    Raises:
        RunDirectoryError: the process has ended; its log in `directory` says why.

    """
    members = layout.read().client_members
    if clients > len(members):
        message = f"a load of {clients} clients, the testnet has {len(members)}: make it with more clients"
        raise RunDirectoryError(message)
    spec = LoadSpec(
        urls=[home.read().intake_url for home in layout.homes()],
        genesis_hash=genesis_hash.hex(),
        ledger=addresses.LEDGER.hex(),
        job=job,
        keys=[(member, str(layout.member_key_path(member).absolute())) for member in members[:clients]],
        password_file=str(layout.password.absolute()),
        seconds=seconds,
        records=records,
        records_per_second=records_per_second,
        first_counter=first_counter,
    )
    path = _written(spec, directory)
    with (directory / "load.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "node.load.process", str(path.absolute()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        await _expect(process, b"ready\n", directory)
        yield RunningLoad(process, directory)
    finally:
        if process.returncode is None and process.stdin is not None:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                process.kill()
                await process.wait()


def _written(spec: LoadSpec, directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / "load.json"
    path.write_bytes(msgspec.json.encode(spec))
    return path


async def _expect(process: asyncio.subprocess.Process, word: bytes, directory: Path) -> None:
    if process.stdout is None or await process.stdout.readline() != word:
        message = f"the load's process has ended: see {directory / 'load.log'}"
        raise RunDirectoryError(message)
