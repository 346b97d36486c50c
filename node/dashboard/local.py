"""The dashboard beside a network in this process, for `merit up` and `merit run`."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from merit.clock import Clock
from node.dashboard.server import FILE, Dashboard
from node.network import LocalNetwork
from node.rounds.attestation import ScoredRound

if TYPE_CHECKING:
    from node.edge.server import EdgeServer


def beside(network: LocalNetwork, clock: Clock, *, port: int = 0) -> Dashboard:
    """Make the dashboard of a network that runs; where its directory is a run's, the run's own log is read as well."""
    return Dashboard(
        name=network.genesis.name,
        index=network.directory / FILE,
        genesis_hash=network.genesis_hash,
        clock=clock,
        port=port,
        run=network.directory,
    )


class RunDashboard:
    """The dashboard of a run, over the networks that come and go in its directory.

    Args:
        clock: real time.
        port: on 127.0.0.1; 0 lets the system choose.
        tell: called with the URL when pages are answered.

    """

    def __init__(self, clock: Clock, port: int, tell: Callable[[str], None]) -> None:
        """Wait for a network."""
        self._clock, self._port, self._tell = clock, port, tell
        self._dashboard: Dashboard | None = None

    async def open(self, network: LocalNetwork) -> None:
        """Show a network that has started; the first one begins the dashboard."""
        if self._dashboard is None:
            dashboard = beside(network, self._clock, port=self._port)
            await dashboard.start()
            self._dashboard = dashboard
            self._tell(dashboard.url)
        self._dashboard.attach(network.dispatcher())

    def watch(self, network: LocalNetwork, server: "EdgeServer") -> None:
        """Show also what an edge server of the network knows."""
        if self._dashboard is not None:
            self._dashboard.attach(network.dispatcher(), server)

    def scored(self, scored: ScoredRound) -> None:
        """Show also why the records of this round are worth what they are."""
        if self._dashboard is not None:
            self._dashboard.insight.scored(scored)

    async def pause(self) -> None:
        """Go on with what is known by now: the network ends."""
        if self._dashboard is not None:
            await self._dashboard.catch_up()
            await self._dashboard.detach()

    async def stay(self, directory: Path) -> None:
        """Run the network of a finished run again, and show it until SIGINT or SIGTERM."""
        network, stop = LocalNetwork(directory, clock=self._clock), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await network.start()
        try:
            await self.open(network)
            await stop.wait()
        finally:
            await self.pause()
            await network.stop()

    async def close(self) -> None:
        """End it; harmless when it never began."""
        if self._dashboard is not None:
            await self._dashboard.stop()
