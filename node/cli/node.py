"""`merit node`: one member's node on this machine, a node process and its CometBFT."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from merit.clock import SystemClock
from node.cli.console import Json, print_json, print_table

if TYPE_CHECKING:
    from node.machine.home import NodeFile, NodeHome

app = typer.Typer(no_args_is_help=True)

Home = Annotated[Path, typer.Argument(help="The node's home, the directory with node.toml.")]
_POLL_S: Final = 0.25


@app.callback()
def _node() -> None:
    """Keep `start` a subcommand, however many there are."""


@app.command()
def start(home: Home, *, json: Json = False) -> None:
    """Run a node in the foreground and start again whatever ends; logs are in HOME/logs. Ctrl-C or SIGTERM ends it.

    Exit code 2 with one line when the home cannot be used, or when no restart helps: then do what the line says.
    """
    from chain.engines.cometbft import binary  # noqa: PLC0415 - keeps --help quick
    from node.machine import foreground  # noqa: PLC0415 - as above
    from node.machine.home import NodeHome  # noqa: PLC0415 - as above

    node = NodeHome(home.absolute())
    file = node.read()
    program = binary.find().absolute()

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await foreground.run(
            node,
            program,
            SystemClock(),
            stop,
            tell=lambda line: typer.echo(line, err=True),
            running=lambda: _announce(node, file, json=json),
        )

    asyncio.run(work())


async def _announce(home: "NodeHome", file: "NodeFile", *, json: bool) -> None:
    """Say where everything is once the node answers."""
    from node.machine import standing  # noqa: PLC0415 - keeps --help quick

    clock = SystemClock()
    while (now := await standing.ask(file)).height is None:
        await clock.sleep(_POLL_S)
    places = {
        "rpc": file.rpc_url,
        "intake": file.clients_url,
        "dashboard": file.dashboard_url,
        "logs": str(home.logs),
        "height": now.height,
    }
    if json:
        print_json({"name": file.name, **places})
    else:
        served = f", intake {file.clients_url}" if file.edge else ""
        served += f", dashboard {file.dashboard_url}" if file.dashboard is not None else ""
        typer.echo(f"{file.name} is at height {now.height}: JSON-RPC {file.rpc_url}{served}, logs in {home.logs}")


@app.command()
def status(home: Home, *, json: Json = False) -> None:
    """Say where a node stands and what is wrong with it; exit code 1 when it is not ready."""
    from node.machine import standing  # noqa: PLC0415 - keeps --help quick
    from node.machine.home import NodeHome  # noqa: PLC0415 - as above

    file = NodeHome(home.absolute()).read()
    now = asyncio.run(standing.ask(file))
    if json:
        from msgspec import to_builtins  # noqa: PLC0415 - as above

        print_json({"ready": not now.problems, **to_builtins(now), "dashboard": file.dashboard_url})
    else:
        shown = [
            ("height", now.height),
            ("block", now.block),
            ("block hash", now.block_hash),
            ("version", now.version),
            ("CometBFT's height", now.comet_height),
            ("CometBFT catches up", now.catching_up),
            ("CometBFT's peers", now.peers),
            ("dashboard", file.dashboard_url),
        ]
        print_table(now.name, ("what", "now"), [(what, "-" if value in {None, ""} else value) for what, value in shown])
        for line in now.problems or ("ready",):
            typer.echo(line)
    if now.problems:
        raise typer.Exit(1)


@app.command()
def compare(
    home: Home,
    *,
    rpc: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A node to compare with; repeatable. [default: the peers of node.toml]"),
    ] = None,
    json: Json = False,
) -> None:
    """Find the first write in which a node's ledger differs from another node's; the home's node need not run.

    Exit code 0: no difference; 1: there is one.
    """
    from node.machine import compare as comparing  # noqa: PLC0415 - loads the EVM
    from node.machine.home import NodeHome  # noqa: PLC0415 - as above

    def progress(url: str) -> None:
        if not json:
            typer.echo(f"comparing with {url} ...", err=True)

    found = comparing.compare(NodeHome(home.absolute()), rpc or [], progress)
    if json:
        from msgspec import to_builtins  # noqa: PLC0415 - as above

        print_json({"differs": found.differs, **to_builtins(found)})
    else:
        for line in comparing.lines(found):
            typer.echo(line)
    if found.differs:
        raise typer.Exit(1)
