"""`merit testnet`: CometBFT validators with ML-DSA-65 votes, each beside its node process, on this machine."""

import asyncio
import contextlib
import json as jsonlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from merit.clock import SystemClock
from node.cli.console import Json, print_json, print_table
from node.errors import RunDirectoryError

if TYPE_CHECKING:
    from node.testnet.layout import Layout
    from node.testnet.supervisor import Supervisor

app = typer.Typer(no_args_is_help=True)

Directory = Annotated[Path, typer.Option("--dir", help="Where the testnet lives.")]
DEFAULT_DIRECTORY: Final = Path(".merit/testnet")
_POLL_S: Final = 0.25
_FIRST_HEIGHT_S: Final = 300.0
_STOP_S: Final = 60.0


@app.command()
def install(*, json: Json = False) -> None:
    """Build the pinned CometBFT into .merit/bin by `go install`."""
    from chain.engines.cometbft import binary  # noqa: PLC0415 - keeps --help quick

    program = binary.install(binary.LOCAL)
    found = {"program": str(program), "version": binary.version_of(program)}
    if json:
        print_json(found)
    else:
        typer.echo(f"CometBFT {found['version']} is in {program}")


@app.command()
def init(
    *,
    validators: Annotated[int, typer.Option(min=1, max=64, help="How many validators, each with an edge server.")] = 4,
    clients: Annotated[int, typer.Option(min=0, max=10_000, help="How many clients the genesis document admits.")] = 20,
    port: Annotated[int, typer.Option(min=1024, max=65_000, help="The first port; each node takes ten.")] = 27_000,
    relays: Annotated[
        bool, typer.Option(help="Connect the nodes through relays, so that `perturb` can disconnect one.")
    ] = True,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Edge servers take clients over post-quantum TLS; DIR/keys/intake.crt is theirs."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove the testnet that is there.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Write keys, genesis and configuration of a new testnet."""
    from node.testnet.layout import Layout, TestnetFile, make  # noqa: PLC0415 - keeps --help quick

    layout = Layout(directory)
    if force and directory.exists():
        _require_idle(layout)
    file = TestnetFile(validators=validators, clients=clients, port=port, relays=relays, tls=tls)
    genesis = make(directory, file, int(SystemClock().now()), force=force)
    if json:
        print_json({"directory": str(directory), "validators": validators, "name": genesis.name})
    else:
        typer.echo(f"A testnet of {validators} validators is in {directory}; `merit testnet start` starts it")


@app.command()
def start(
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when heights come; `merit testnet stop` ends it.")
    ] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Run every node, start again whatever ends, and print where everything is once heights come."""
    from chain.engines.cometbft import binary  # noqa: PLC0415 - keeps --help quick
    from node.testnet.layout import Layout  # noqa: PLC0415 - as above
    from node.testnet.supervisor import Supervisor  # noqa: PLC0415 - as above

    layout = Layout(directory.absolute())
    layout.read()
    program = binary.find().absolute()
    if detach:
        asyncio.run(_detach(layout, json=json))
        return

    async def work() -> None:
        supervisor = Supervisor(layout, program, SystemClock(), lambda line: typer.echo(line, err=True))
        await _run(supervisor, layout, json=json)

    asyncio.run(work())


async def _run(supervisor: "Supervisor", layout: "Layout", *, json: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    async with supervisor.running():
        moving = asyncio.create_task(_until_it_moves(layout))
        stopped = asyncio.create_task(supervisor.stopped())
        await asyncio.wait([moving, stopped], return_when=asyncio.FIRST_COMPLETED)
        if moving.done():
            _announce(layout, await moving, json=json)
        moving.cancel()
        await stopped


async def _until_it_moves(layout: "Layout") -> list[dict[str, Any]]:
    """Wait for the first height on more than two thirds of the nodes; return what they say."""
    from node.testnet.supervisor import ask  # noqa: PLC0415 - keeps --help quick

    clock = SystemClock()
    limit = clock.monotonic() + _FIRST_HEIGHT_S
    while True:
        nodes: list[dict[str, Any]] = (await ask(layout, {"do": "status"}))["nodes"]
        moving = sum((node["height"] or 0) > 0 for node in nodes)
        if 3 * moving > 2 * len(nodes):
            return nodes
        failed = [node for node in nodes if node["state"] == "failed"]
        if 3 * len(failed) >= len(nodes):  # the rest is no quorum
            message = f"{failed[0]['name']} cannot run: {failed[0]['problem']}"
            raise RunDirectoryError(message)
        if clock.monotonic() > limit:
            states = ", ".join(f"{node['name']} {node['state']}" for node in nodes)
            message = f"no height in {_FIRST_HEIGHT_S:.0f} s ({states}): see `merit testnet logs NODE`"
            raise RunDirectoryError(message)
        await clock.sleep(_POLL_S)


async def _detach(layout: "Layout", *, json: bool) -> None:
    from node.testnet.supervisor import NotSupervisedError, supervised  # noqa: PLC0415 - keeps --help quick

    if await supervised(layout):
        message = f"{layout.directory}: this testnet runs already; `merit testnet stop` ends it"
        raise RunDirectoryError(message)
    with layout.log.open("ab") as log:
        begin = log.tell()
        child = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program; it goes on when this one has ended
            [sys.executable, "-m", "node.cli", "testnet", "start", "--dir", str(layout.directory)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    clock = SystemClock()
    while not layout.control.exists() or not await supervised(layout):
        if child.poll() is not None:
            break
        await clock.sleep(_POLL_S)
    try:
        nodes = await _until_it_moves(layout)
    except NotSupervisedError:
        said = layout.log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
        message = said[-1].removeprefix("merit: ") if said else f"it ended at once; see {layout.log}"
        raise RunDirectoryError(message) from None
    _announce(layout, nodes, json=json)


def _announce(layout: "Layout", nodes: list[dict[str, Any]], *, json: bool) -> None:
    from chain.genesis import load_genesis  # noqa: PLC0415 - keeps --help quick

    genesis, file = load_genesis(layout.genesis), layout.read()
    if json:
        print_json({"directory": str(layout.directory), "chain_id": genesis.chain_id, "nodes": nodes})
        return
    lines = [
        f"Merit testnet, {len(nodes)} validators under CometBFT, votes signed with ML-DSA-65",
        "",
        f"  Chain id      {genesis.chain_id} ({genesis.chain_id:#x}), {genesis.name}",
        f"  Directory     {layout.directory}",
        f"  Clients       members {file.client_members.start} to {file.client_members.stop - 1}"
        if file.clients
        else "  Clients       none",
        f"  Sponsor       member {file.sponsor}",
        f"                keys {layout.keys / 'member-N.pem'}, password in {layout.password}",
        *([f"                --trust {layout.certificates}"] if file.tls else []),
        "",
        "  node    height  JSON-RPC                intake of its edge server  dashboard",
    ]
    lines += [f"  {n['name']:7} {n['height'] or 0:6}  {n['rpc']:23} {n['intake']:26} {n['dashboard']}" for n in nodes]
    typer.echo("\n".join([*lines, ""]))


@app.command()
def status(*, directory: Directory = DEFAULT_DIRECTORY, json: Json = False) -> None:
    """Say where every node stands; exit code 1 when the testnet does not run."""
    from node.testnet.layout import Layout  # noqa: PLC0415 - keeps --help quick
    from node.testnet.supervisor import NotSupervisedError, ask  # noqa: PLC0415 - as above

    layout = Layout(directory.absolute())
    layout.read()
    try:
        answer = asyncio.run(ask(layout, {"do": "status"}))
    except NotSupervisedError as error:
        if json:
            print_json({"running": False, "nodes": []})
        else:
            typer.echo(str(error))
        raise typer.Exit(1) from None
    if json:
        print_json({"running": True, **answer})
        return
    print_table(
        f"supervisor: process {answer['pid']}",
        ("node", "state", "height", "block", "block hash", "restarts", "links", "dashboard"),
        [
            (
                node["name"],
                node["state"],
                "-" if node["height"] is None else node["height"],
                "-" if node["block"] is None else node["block"],
                node["block_hash"][:18],
                node["restarts"],
                "whole" if node["connected"] else "cut",
                node["dashboard"],
            )
            for node in answer["nodes"]
        ],
    )


@app.command()
def logs(
    node: Annotated[str, typer.Argument(help="node1, node2, ...")],
    *,
    comet: Annotated[bool, typer.Option("--comet", help="What CometBFT writes, not the node process.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 40,
    directory: Directory = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Print the last lines of a node's log."""
    from node.testnet.layout import Layout  # noqa: PLC0415 - keeps --help quick

    layout = Layout(directory)
    layout.read()
    homes = {home.path.name: home for home in layout.homes()}
    if node not in homes:
        message = f"no node {node!r} here: {', '.join(homes)}"
        raise RunDirectoryError(message)
    path = homes[node].logs / ("comet.log" if comet else "node.jsonl")
    if not path.exists():
        message = f"{path}: nothing was written yet; start the testnet first"
        raise RunDirectoryError(message)
    last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    if json:
        print_json({"file": str(path), "lines": last})
        return
    for line in last:
        typer.echo(line if comet else _readable(line))


def _readable(line: str) -> str:
    try:
        said = jsonlib.loads(line)
        return "  ".join(
            [f"{said['time']:.3f}", said["level"], said["logger"], said["message"], said.get("traceback", "")]
        )
    except (ValueError, KeyError, TypeError):
        return line  # not from our logger: a crash of the interpreter, for example


@app.command()
def perturb(
    node: Annotated[str, typer.Argument(help="node1, node2, ...")],
    how: Annotated[str, typer.Argument(help="kill, pause, restart or disconnect.")],
    *,
    seconds: Annotated[
        float, typer.Option("--for", min=0, help="Seconds until it is healed; 0: until it is told to restart.")
    ] = 5.0,
    directory: Directory = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Break a node for a while: kill -9, SIGSTOP, an orderly restart, or no link to the others."""
    command: dict[str, object] = {"do": "perturb", "node": node, "how": how, "seconds": seconds}
    answer = _ask(directory, command)
    if json:
        print_json(answer)
    else:
        typer.echo(answer["line"])


@app.command()
def join(*, directory: Directory = DEFAULT_DIRECTORY, json: Json = False) -> None:
    """Let one more edge server join: by vote, from a snapshot, then as a validator."""
    layout, running = _running(directory)

    async def work() -> str:
        from node.testnet import membership  # noqa: PLC0415 - loads web3
        from node.testnet.supervisor import ask  # noqa: PLC0415 - as above

        async def start(name: str) -> None:
            await ask(layout, {"do": "join", "node": name})

        homes = [home for home in layout.homes() if home.path.name in running]
        return await membership.join(layout, homes, start, SystemClock(), lambda line: typer.echo(line, err=True))

    name = asyncio.run(work())
    if json:
        print_json({"node": name})
    else:
        typer.echo(f"{name} is a validator")


@app.command()
def leave(
    node: Annotated[str, typer.Argument(help="node1, node2, ...")],
    *,
    directory: Directory = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Let an edge server leave: by vote, then its node ends for good."""
    layout, running = _running(directory)
    if node not in running:
        message = f"no node {node!r} runs here: {', '.join(running)}"
        raise RunDirectoryError(message)

    async def work() -> None:
        from node.testnet import membership  # noqa: PLC0415 - loads web3
        from node.testnet.supervisor import ask  # noqa: PLC0415 - as above

        async def end(name: str) -> None:
            await ask(layout, {"do": "leave", "node": name})

        homes = [home for home in layout.homes() if home.path.name in running]
        leaving = next(home for home in homes if home.path.name == node)
        await membership.leave(homes, leaving, end, SystemClock(), lambda line: typer.echo(line, err=True))

    asyncio.run(work())
    if json:
        print_json({"node": node})
    else:
        typer.echo(f"{node} has left")


def _running(directory: Path) -> tuple["Layout", list[str]]:
    from node.testnet.layout import Layout  # noqa: PLC0415 - keeps --help quick

    answer = _ask(directory, {"do": "status"})
    return Layout(directory.absolute()), [node["name"] for node in answer["nodes"]]


@app.command()
def stop(*, directory: Directory = DEFAULT_DIRECTORY, json: Json = False) -> None:
    """End every node in an orderly way, and the supervisor."""
    answer = _ask(directory, {"do": "stop"})
    clock = SystemClock()
    limit = clock.monotonic() + _STOP_S
    while _alive(answer["pid"]):
        if clock.monotonic() > limit:
            message = f"the supervisor (process {answer['pid']}) has not ended in {_STOP_S:.0f} s"
            raise RunDirectoryError(message)
        clock.wait(_POLL_S)
    if json:
        print_json({"stopped": True})
    else:
        typer.echo("stopped")


def _ask(directory: Path, command: dict[str, object]) -> dict[str, Any]:
    from node.testnet.layout import Layout  # noqa: PLC0415 - keeps --help quick
    from node.testnet.supervisor import ask  # noqa: PLC0415 - as above

    layout = Layout(directory.absolute())
    layout.read()
    return asyncio.run(ask(layout, command))


def _require_idle(layout: "Layout") -> None:
    from node.testnet.supervisor import supervised  # noqa: PLC0415 - keeps --help quick

    if asyncio.run(supervised(layout)):
        message = f"{layout.directory}: this testnet runs; `merit testnet stop` ends it first"
        raise RunDirectoryError(message)


def _alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False
