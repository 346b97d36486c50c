"""`merit up`: a development network in this process, with Ethereum JSON-RPC, until it is told to stop."""

import asyncio
import contextlib
import gc
import re
import signal
from collections.abc import Coroutine, Iterable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from merit.clock import SystemClock
from node.cli.console import Json, print_json
from node.errors import ConfigError

if TYPE_CHECKING:
    from chain.rpc.access import Access
    from chain.rpc.http import RpcServer
    from node.edge.local import LocalEdgeServers
    from node.edge.references import Teach
    from node.network import LocalNetwork

app = typer.Typer()


class Ports(NamedTuple):
    """Where the servers of a network listen; 0: where there is room."""

    rpc: int
    edge: int
    dashboard: int


DEFAULT_DIRECTORY: Final = Path(".merit/dev")
DEFAULT_PORT: Final = 8545  # where Ethereum's tools look first
DEFAULT_EDGE_PORT: Final = 8601
DEFAULT_DASHBOARD_PORT: Final = 8580
_VALIDATORS: Final = 4
_SPONSOR_TOKENS: Final = 10**6
_STEP_S: Final = 0.02
_ACCOUNTS: Final = 5
_FUND: Final = re.compile(r"(0x[0-9a-fA-F]{40})=([0-9]{1,20}(?:\.[0-9]{1,18})?)")


@app.command()
def up(
    *,
    validators: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many validators run in this process. [default: 4]")
    ] = None,
    chain_id: Annotated[
        int | None, typer.Option(min=1, max=2**53 - 1, help="The chain id that transactions bind. [default: 19781]")
    ] = None,
    block_time: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds between two blocks, at least; 0: as transactions come.")
    ] = 0.0,
    empty_blocks: Annotated[
        bool, typer.Option("--empty-blocks", help="Make blocks without transactions too, every block time (or second).")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where JSON-RPC listens on 127.0.0.1; 0 takes a free port.")
    ] = DEFAULT_PORT,
    classical: Annotated[
        bool, typer.Option("--classical", help="Take secp256k1 transactions too, and make five funded accounts.")
    ] = False,
    fund: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS=AMOUNT", help="Give an address coins in the genesis document; repeatable."),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_000,
            help="Admit this many clients, a sponsor, and an edge server that runs beside each validator.",
        ),
    ] = None,
    edge_port: Annotated[
        int, typer.Option(min=0, max=65_000, help="Where the first edge server listens, the others after it; 0: free.")
    ] = DEFAULT_EDGE_PORT,
    dashboard_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Where the dashboard listens; 0: free. [default: 8580; free with --port 0]"
        ),
    ] = None,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Edge servers take clients over post-quantum TLS; DIR/keys/intake.crt is theirs."),
    ] = False,
    unlocked: Annotated[
        bool, typer.Option("--unlocked", help="Sign for the classical accounts (eth_sendTransaction, eth_sign).")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Answer JSON-RPC requests that name this host, a proxy's; repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let pages from here ask JSON-RPC (https://app.example.org); repeatable."),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the network lives; it goes on from there the next time.")
    ] = DEFAULT_DIRECTORY,
    json: Json = False,
) -> None:
    """Start a development network with Ethereum JSON-RPC and keep it running.

    What concerns the genesis document (validators, chain id, classical, empty blocks, fund, clients) counts when the
    directory is made; afterwards leave it out or repeat it. Edge servers run again wherever they are members.
    """
    from chain.rpc.access import Access  # noqa: PLC0415 - keeps --help quick
    from contracts import artifacts  # noqa: PLC0415 - keeps --help quick
    from contracts.bindings import Role  # noqa: PLC0415 - keeps --help quick
    from node.founding import Membership  # noqa: PLC0415 - keeps --help quick
    from node.network import LocalNetwork  # noqa: PLC0415 - keeps --help quick

    access = Access.of(allow_host or (), allow_origin or ())
    members, tokens = None, None
    if clients is not None:
        edges = _VALIDATORS if validators is None else validators
        roles = [Role.EDGE_SERVER] * edges + [Role.CLIENT] * clients + [Role.SPONSOR]
        members = [Membership(role) for role in roles]
        tokens = {len(roles): _SPONSOR_TOKENS * 10**18}
    network = LocalNetwork(
        directory,
        validators=validators,
        chain_id=chain_id,
        block_interval=block_time,
        classical=True if classical else None,
        block_every_height=True if empty_blocks else None,
        balances=dict(map(_funding, fund)) if fund else None,
        members=members,
        tokens=tokens,
        accounts=_ACCOUNTS if classical else None,
        contracts=None if (directory / "genesis.json").exists() else max(artifacts.VERSIONS),
    )
    if dashboard_port is None:
        dashboard_port = DEFAULT_DASHBOARD_PORT if port else 0
    ports = Ports(port, edge_port, dashboard_port)
    asyncio.run(_serve(network, ports, access, unlocked=unlocked, tls=tls, json=json))


def _funding(text: str) -> tuple[bytes, int]:
    """Read ADDRESS=AMOUNT, the amount in whole coins with up to 18 decimals."""
    match = _FUND.fullmatch(text)
    if match is None:
        message = f"--fund {text}: expected ADDRESS=AMOUNT, such as 0x{'ab' * 20}=1000.5 (coins)"
        raise ConfigError(message)
    return bytes.fromhex(match[1][2:]), int(Decimal(match[2]).scaleb(18))


async def _serve(
    network: "LocalNetwork", ports: Ports, access: "Access", *, unlocked: bool, tls: bool, json: bool
) -> None:
    from chain.rpc.http import RpcServer  # noqa: PLC0415 - loads the web server
    from node.dashboard.local import beside  # noqa: PLC0415 - loads web3, 2.2 s

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        await network.start()
        stack.push_async_callback(network.stop)
        if unlocked:
            network.dispatcher().unlock(_private_keys(network))
        server = RpcServer(network.dispatcher(), port=ports.rpc, access=access)
        await server.start()
        stack.push_async_callback(server.stop)
        dashboard = beside(network, SystemClock(), port=ports.dashboard)
        await dashboard.start()
        stack.push_async_callback(dashboard.stop)
        tasks = [stopping.wait(), _print_blocks(network, quiet=json)]
        urls: dict[int, str] = {}
        if members := _members(network, "EDGE_SERVER"):
            from node.edge.local import LocalEdgeServers  # noqa: PLC0415 - loads web3, 2.2 s

            teach = _teachers(network.directory, members)
            edges = LocalEdgeServers(network, members, SystemClock(), teach=teach, scored=dashboard.insight.scored)
            context = network.intake_tls() if tls else None
            urls = dict(zip(members, await edges.listen(stack, first_port=ports.edge, tls=context), strict=True))
            tasks.append(_work(edges))
            dashboard.attach(network.dispatcher(), edges.servers[0])
        else:
            dashboard.attach(network.dispatcher())
        gc.freeze()  # what is here now stays: collecting garbage in the middle of an answer need not look through it
        _announce(network, server, dashboard.url, urls, json=json)
        await _until_one_ends(*tasks)
    if not json:
        typer.echo("stopped; the same command goes on from here")


def _private_keys(network: "LocalNetwork") -> list[bytes]:
    accounts = network.accounts()
    if not accounts:
        message = f"--unlocked: {network.directory} has no classical accounts; --classical makes some in a new --dir"
        raise ConfigError(message)
    return [bytes.fromhex(account.private_key[2:]) for account in accounts]


async def _until_one_ends(*work: Coroutine[object, object, object]) -> None:
    """Run several things until one of them ends or fails; a failure is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in done:
        await task


def _teachers(directory: Path, members: Iterable[int]) -> dict[int, "Teach"]:
    """Return what the private samples teach of those edge servers that have some: DIR/edge/ID/root-samples.npz."""
    found = {member: directory / "edge" / str(member) / "root-samples.npz" for member in members}
    found = {member: path for member, path in found.items() if path.exists()}
    if not found:
        return {}
    from node.edge.roots import RootSamples  # noqa: PLC0415 - loads torch

    return {member: RootSamples.load(path, member) for member, path in found.items()}


async def _work(edges: "LocalEdgeServers") -> None:
    """Let the edge servers work for ever."""
    clock = SystemClock()
    while True:
        edges.step()
        await clock.sleep(_STEP_S)


def _members(network: "LocalNetwork", role: str) -> list[int]:
    from contracts.bindings import Role  # noqa: PLC0415 - keeps --help quick

    return [number for number, member in enumerate(network.genesis.members, 1) if member.role == Role[role]]


async def _print_blocks(network: "LocalNetwork", *, quiet: bool) -> None:
    """Print the blocks that come; without a line it still ends with the engine and raises what stopped that."""
    reader = network.application().reader()
    printed = reader.latest()
    async for _ in network.engine.subscribe():
        for number in range(printed + 1, reader.latest() + 1) if not quiet else ():
            block = reader.block(number)
            header = block.header
            typer.echo(
                f"height {header.engine_height}  block {number}  {len(block.transactions)} tx  "
                f"{header.gas_used:,} gas  0x{block.hash.hex()}  {_clock_time(header.timestamp)}"
            )
        printed = reader.latest()


def _is_secure(edges: dict[int, str]) -> bool:
    return any(url.startswith("https:") for url in edges.values())


def _clock_time(seconds: int) -> str:
    minutes, second = divmod(seconds % 86_400, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d} UTC"


def _key_file(network: "LocalNetwork", member: int) -> dict[str, object]:
    return {"member": member, "key": str(network.member_key_path(member))}


def _announce(
    network: "LocalNetwork", server: "RpcServer", dashboard: str, edges: dict[int, str], *, json: bool
) -> None:
    from contracts import addresses  # noqa: PLC0415 - keeps --help quick

    genesis = network.genesis
    contracts = {
        name: f"0x{address.hex()}"
        for name, address in (
            ("registry", addresses.REGISTRY),
            ("token", addresses.TOKEN),
            ("ledger", addresses.LEDGER),
        )
    }
    governor = f"0x{genesis.governor.hex()}"
    height = network.engine.height
    accounts = [{"address": account.address, "private_key": account.private_key} for account in network.accounts()]
    if json:
        print_json(
            {
                "rpc": server.url,
                "dashboard": dashboard,
                "chain_id": genesis.chain_id,
                "name": genesis.name,
                "genesis_hash": network.genesis_hash,
                "height": height,
                "block": network.application().reader().latest(),
                "validators": network.validators,
                "classical": genesis.classical,
                "directory": str(network.directory),
                "contracts": contracts,
                "governor": {
                    "address": governor,
                    "key": str(network.governor_key_path),
                    "password_file": str(network.password_path),
                },
                "accounts": accounts,
                "edge_servers": [{"member": member, "url": url} for member, url in edges.items()],
                "certificate": str(network.keys_path / "intake.crt") if _is_secure(edges) else None,
                "clients": [_key_file(network, member) for member in _members(network, "CLIENT")],
                "sponsors": [_key_file(network, member) for member in _members(network, "SPONSOR")],
            }
        )
        return
    begun = "new" if network.created else f"goes on at height {height}"
    lines = [
        f"Merit development network, {begun}",
        "",
        f"  JSON-RPC      {server.url}",
        f"  Dashboard     {dashboard}",
        f"  Chain id      {genesis.chain_id} ({genesis.chain_id:#x}), {genesis.name}",
        f"  Genesis hash  0x{network.genesis_hash.hex()}",
        f"  Validators    {network.validators}, votes signed with ML-DSA-65",
        f"  Directory     {network.directory}",
        *(f"  {name.capitalize():13} {address}" for name, address in contracts.items()),
        f"  Governor      {governor}",
        f"                key {network.governor_key_path}, password in {network.password_path}",
    ]
    if edges:
        clients = [str(member) for member in _members(network, "CLIENT")] or ["none"]
        sponsors = [str(member) for member in _members(network, "SPONSOR")] or ["none"]
        lines += [
            f"  Edge servers  {' '.join(edges.values())}",
            *([f"                --trust {network.keys_path / 'intake.crt'}"] if _is_secure(edges) else []),
            f"  Clients       members {', '.join(clients)}",
            f"  Sponsor       member {', '.join(sponsors)}",
            f"                keys {network.member_key_path(1).with_name('member-N.pem')}, same password",
        ]
    if accounts:
        lines += ["", "  Accounts (secp256k1, 10,000 coins each, for development only): address, private key"]
        lines += [f"  {account['address']}  {account['private_key']}" for account in accounts]
    elif not genesis.classical:
        lines += ["", "  Transactions are signed with ML-DSA (chain/rpc/README.md); --classical takes secp256k1 too"]
    typer.echo("\n".join([*lines, ""]))
