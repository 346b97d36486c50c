"""Whether a node lives and whether it is ready, for whoever starts it, watches it or sends it work.

GET /livez answers 200 while the process answers at all: restart it only when this fails. GET /readyz answers 200 when
the node can do its work, else 503; either way with JSON, `{"ready": false, "problems": ["..."]}`, one line for each.
"""

import asyncio
import shutil
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from chain.engines.errors import CometUnreachableError
from merit.clock import Clock
from node.machine.home import NodeFile, NodeHome
from node.machine.watch import EdgeWatch

if TYPE_CHECKING:
    from chain.engines.cometbft.engine import CometEngine

INTERVALS: Final = 3
"""An idle ledger makes a height in each empty interval; without one for so many of them something is wrong."""
STEP_LIMIT_S: Final = 60.0
"""Scoring a large round takes seconds; an edge server that has not finished a step for so long hangs."""
COMET_LIMIT_S: Final = 2.0


class Health:
    """Judges one node; belongs to the ledger's thread."""

    def __init__(
        self, home: NodeHome, file: NodeFile, engine: "CometEngine", watch: EdgeWatch | None, clock: Clock
    ) -> None:
        """Look at these; `watch` is None for a node without an edge server."""
        self._home, self._file, self._engine, self._watch, self._clock = home, file, engine, watch, clock

    async def problems(self) -> list[str]:
        """Return a line for each thing that keeps the node from its work."""
        now = self._clock.monotonic()
        found = await self._comet()
        silent, most = now - self._engine.decided_at, INTERVALS * self._file.timing.empty / 1_000
        if silent > most:
            found.append(
                f"no height for {silent:.0f} s, an idle ledger makes one every {self._file.timing.empty / 1_000:g} s: "
                "more than two thirds of the validators must run and reach each other"
            )
        if self._watch is not None:
            if self._watch.failing:
                found.append(f"the edge server's steps fail: {self._watch.failing}")
            if now - self._watch.stepped_at > STEP_LIMIT_S:
                found.append(f"the edge server has finished no step for {now - self._watch.stepped_at:.0f} s")
        free = shutil.disk_usage(self._home.path).free >> 20
        if free < self._file.least_disk_mib:
            found.append(
                f"{free} MiB are free at {self._home.path}, {self._file.least_disk_mib} are wanted (least_disk_mib): "
                "make room, or the node stops when it cannot write"
            )
        return found

    async def _comet(self) -> list[str]:
        if self._engine.failure is not None:
            return [f"the ledger has stopped: {self._engine.failure}"]
        try:
            status = await asyncio.wait_for(self._engine.rpc.status(), COMET_LIMIT_S)
        except TimeoutError:
            return [f"CometBFT at {self._engine.rpc.url} has not answered in {COMET_LIMIT_S:g} s"]
        except CometUnreachableError as error:
            return [str(error)]
        if status.catching_up:
            return [f"CometBFT is catching up, it is at height {status.height}"]
        return []

    async def live(self) -> Response:
        """Answer GET /livez."""
        return PlainTextResponse("the process answers\n")

    async def ready(self) -> Response:
        """Answer GET /readyz."""
        problems = await self.problems()
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)
