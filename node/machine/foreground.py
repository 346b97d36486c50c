"""One pair in the foreground: what `merit node start` runs, and what a service manager keeps alive."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from merit.clock import Clock
from node.machine.checks import require_complete, require_free_ports
from node.machine.home import NodeHome
from node.machine.pair import NodeFailedError, Pair


async def run(
    home: NodeHome,
    program: Path,
    clock: Clock,
    stop: asyncio.Event,
    *,
    tell: Callable[[str], None],
    running: Callable[[], Awaitable[None]],
) -> None:
    """Run a node and its CometBFT until `stop`, starting both again whenever one ends.

    `tell` is called with a line about each thing that happens, `running` is awaited beside the pair, once. node.toml is
    read again at every start, so what is changed there holds after the next one.

    Raises:
        HomeError, ConfigError, KeyFileError, GenesisError: the home cannot be used; nothing was started.
        RunDirectoryError: there is none, or a node runs in it.
        NodeFailedError: the pair cannot go on, and starting it again would not help.

    """
    file = home.read()
    require_complete(home, file)
    with home.locked():
        require_free_ports(home, file)
    pair = Pair(home, program, clock, tell)
    keeping = asyncio.create_task(pair.run(lambda: (home.read(), None)))
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(pair.failed.wait())]
    beside = asyncio.ensure_future(running())
    pair.up()
    try:
        await asyncio.wait([*ends, keeping], return_when=asyncio.FIRST_COMPLETED)
        failure = pair.failure if pair.failed.is_set() else ""
    finally:
        beside.cancel()
        for end in ends:
            end.cancel()
        pair.leave()
        await asyncio.gather(beside, *ends, return_exceptions=True)
        await keeping
    if failure:
        raise NodeFailedError(failure)
