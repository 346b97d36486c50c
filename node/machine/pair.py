"""A node process and its CometBFT, kept alive together: whichever ends, both start again.

CometBFT cannot do without its application and leaves with code 0 when that dies, so any exit counts. The pair waits a
little longer each time that it did not live long. What no restart heals stops the pair with one line: a ledger that
computed another state than the others agreed on, and what `endings.py` knows.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from chain.engines.cometbft.home import Places, StateSync, write_configuration
from merit.clock import Clock
from merit.errors import MeritError
from node.errors import NodeError
from node.machine.endings import CANNOT_GO_ON, advice, last_words
from node.machine.home import SOCKET, NodeFile, NodeHome

_log = logging.getLogger(__name__)

GRACE_S: Final = 20.0
"""A process that was asked to end and has not done so after so long is killed."""
SOCKET_WAIT_S: Final = 300.0
"""A node process without its socket after so long hangs; on a starved machine imports alone take a minute."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Before each restart in a row; living for `LONG_S` begins the row again."""
LONG_S: Final = 30.0
_POLL_S: Final = 0.05
_FAILURE: Final = "CONSENSUS FAILURE"
"""CometBFT writes this and does nothing more. Only then is a wrong app hash our own: a liar's proposal may hold one."""
_DIVERGED: Final = re.compile(r"wrong Block\.Header\.AppHash\.\s*Expected ([0-9A-Fa-f]+), got ([0-9A-Fa-f]+)")
_TELLING: Final = re.compile(r"panic: |ERROR: |[Ff]ailed to start")
_PR_SET_PDEATHSIG: Final = 1


class State(Enum):
    """What a pair is doing."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"
    FAILED = "failed"


class NodeFailedError(NodeError):
    """A node cannot go on, and starting it again would not help."""


class Pair:
    """One node's two processes.

    Args:
        home: the node's home.
        program: the `cometbft` program.
        clock: paces restarts.
        tell: called with a line about what happens to the pair.

    """

    def __init__(self, home: NodeHome, program: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        """Start nothing yet."""
        self.home = home
        self.name = home.path.name
        self.state = State.DOWN
        self.restarts = 0
        self.failure = ""
        self.failed = asyncio.Event()
        self._program, self._clock, self._tell = program, clock, tell
        self._node: asyncio.subprocess.Process | None = None
        self._comet: asyncio.subprocess.Process | None = None
        self._wanted = asyncio.Event()
        self._leave = asyncio.Event()
        self._changed = asyncio.Event()
        self._last_error = ""

    @property
    def processes(self) -> dict[str, int]:
        """The ids of the processes that run."""
        found = {"node": self._node, "cometbft": self._comet}
        return {name: process.pid for name, process in found.items() if process and process.returncode is None}

    def up(self) -> None:
        """Let the pair run."""
        self._wanted.set()

    async def run(self, prepare: Callable[[], tuple[NodeFile, Path | None]]) -> None:
        """Keep the pair as it is wanted until `leave`.

        `prepare` gives the addresses for each start, and the file for the node process if it is not `node.toml`.
        """
        failures = 0
        while not self._leave.is_set():
            if not self._wanted.is_set():
                self.state = State.DOWN
                await self._either(self._wanted, self._leave)
                continue
            begun = self._clock.monotonic()
            self.state = State.STARTING
            self.failure = ""
            self.failed.clear()
            try:
                await self._start(*prepare())
                self.state = State.RUNNING
                await self._until_one_ends()
            except (MeritError, OSError) as error:  # the home cannot be read or written: nothing was started
                self.failure = str(error)
            finally:
                await self._end(gently=self._leave.is_set() or not self._wanted.is_set())
            if self._leave.is_set() or not self._wanted.is_set():
                continue
            if self.failure:
                self.state = State.FAILED
                self._tell(f"{self.name}: {self.failure}")
                self._wanted.clear()
                self.failed.set()
                await self._either(self._wanted, self._leave)
                continue
            failures = 0 if self._clock.monotonic() - begun > LONG_S else failures + 1
            self.restarts += 1
            pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            reason = f" ({self._last_error})" if self._last_error and failures else ""
            self._tell(f"{self.name}: a process has ended, both start again in {pause} s{reason}")
            await self._either(self._leave, self._changed, seconds=pause)

    def leave(self) -> None:
        """Let `run` end both processes and return."""
        self._resume()
        self._leave.set()

    # -- what perturbs it -------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End both at once, without a chance to write anything; they stay down until `up`."""
        self._wanted.clear()
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze both."""
        self._signal(signal.SIGSTOP)
        self.state = State.PAUSED

    def resume(self) -> None:
        """Let both go on after `pause`."""
        self._resume()
        if self.state is State.PAUSED:
            self.state = State.RUNNING

    def restart(self) -> None:
        """End both in an orderly way; they start again at once."""
        self._resume()
        self._wanted.set()
        for process in (self._comet, self._node):
            _send(process, signal.SIGTERM)

    def tell_peers_changed(self) -> None:
        """Let the node process read its file again."""
        _send(self._node, signal.SIGHUP)

    def _resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in (self._comet, self._node):
            _send(process, number)

    # -- the processes ----------------------------------------------------------------------------------------------

    async def _start(self, file: NodeFile, path: Path | None) -> None:
        self.home.logs.mkdir(exist_ok=True)
        self.home.socket.unlink(missing_ok=True)
        peers = tuple(peer.p2p for peer in file.peers if peer.p2p)
        places = Places(SOCKET, f"127.0.0.1:{file.p2p}", f"127.0.0.1:{file.comet}", peers)
        sync = StateSync(file.sync.servers, file.sync.height, bytes.fromhex(file.sync.hash)) if file.sync else None
        write_configuration(self.home.comet, places, file.timing.timing(), sync)
        arguments = [str(self.home.path)] + ([str(path)] if path else [])
        with (self.home.logs / "node.jsonl").open("ab") as log:
            self._node = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "node.machine.process", *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        limit = self._clock.monotonic() + SOCKET_WAIT_S
        while not self.home.socket.exists():
            if self._node.returncode is not None or self._clock.monotonic() > limit or self._leave.is_set():
                self._last_error = last_words(self.home.logs / "node.jsonl")
                return
            await self._clock.sleep(_POLL_S)
        self._comet = await asyncio.create_subprocess_exec(
            str(self._program), "start", "--home", "comet", cwd=self.home.path, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=_die_with_parent,
        )  # fmt: skip

    async def _until_one_ends(self) -> None:
        """Return when one of the processes has ended, or CometBFT's log says that it cannot go on."""
        if self._node is None or self._comet is None or self._comet.stdout is None:
            return
        tasks = [
            asyncio.create_task(self._node.wait()),
            asyncio.create_task(self._comet.wait()),
            asyncio.create_task(self._read(self._comet.stdout)),
            asyncio.create_task(self._leave.wait()),
        ]
        _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if self._node.returncode is not None:
            self._last_error = last_words(self.home.logs / "node.jsonl")

    async def _read(self, output: asyncio.StreamReader) -> None:
        """Keep what CometBFT writes; return at a line after which it does nothing any more."""
        with (self.home.logs / "comet.log").open("ab", buffering=0) as log:
            async for raw in output:
                log.write(raw)
                line = raw.decode(errors="replace")
                if what_to_do := advice(line):
                    self.failure = what_to_do.replace("HOME", str(self.home.path))
                if _FAILURE in line:
                    self._last_error = line.strip()[:300]
                    diverged = _DIVERGED.search(line)
                    if diverged is not None:
                        self.failure = (
                            f"this ledger's app hash is {diverged[1].lower()}, the others agreed on "
                            f"{diverged[2].lower()}; `merit node compare {self.home.path}` finds the first "
                            "write that differs"
                        )
                    return
                if _TELLING.search(line):
                    self._last_error = line.strip()[:300]

    async def _end(self, *, gently: bool) -> None:
        """End what still runs: CometBFT first, so that its last request is answered."""
        for process in (self._comet, self._node):
            if process is None or process.returncode is not None:
                continue
            _send(process, signal.SIGCONT)
            _send(process, signal.SIGTERM if gently or process is self._node else signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drained(process), GRACE_S)
            if process.returncode is None:
                _send(process, signal.SIGKILL)
                await process.wait()
        if self._node is not None and self._node.returncode == CANNOT_GO_ON:
            self.failure = last_words(self.home.logs / "node.jsonl")
        self._comet = self._node = None

    async def _either(self, *events: asyncio.Event, seconds: float | None = None) -> None:
        tasks = [asyncio.create_task(event.wait()) for event in events]
        if seconds is not None:
            tasks.append(asyncio.create_task(self._clock.sleep(seconds)))  # type: ignore[arg-type] # its result is unused
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a process; a full pipe must not keep it."""
    if process.stdout is not None:
        while await process.stdout.read(65536):
            pass
    await process.wait()


def _send(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    """Send a signal to a process that runs; not by its own method, which would reap a dead one before asyncio does."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _die_with_parent() -> None:
    """Let the child, in which this runs, end when the supervisor ends, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.setpgid(0, 0)  # Ctrl-C in the terminal is the supervisor's business
