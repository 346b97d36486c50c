"""How an edge server joins a testnet that runs, and how one leaves: by vote, by a snapshot, by a change of validators.

On many machines each operator does his own part of it with `merit council`; here all keys lie in one directory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from chain.crypto import keystore
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.cometbft.rpc import CometRpc
from chain.light import header_hash
from contracts import addresses
from contracts.bindings import Registry
from merit.clock import Clock
from node.account import connect
from node.council import (
    AddKey,
    AddValidator,
    Admit,
    Asked,
    EndKey,
    Office,
    ProposalFile,
    RemoveValidator,
    RotateValidator,
    edge_set_of,
    standings,
)
from node.errors import LedgerUnreachableError, RunDirectoryError
from node.machine.home import NodeHome, SyncFile
from node.testnet.layout import Layout, add_node, replace_keys

SYNC_S = 180.0
_POLL_S = 0.5


async def decide(homes: Sequence[NodeHome], clock: Clock, text: str, *asked: Asked) -> int:
    """Propose, let the edge servers of `homes` approve until that suffices, and carry out; return the proposal.

    Each votes through its own node, once that has the proposal; one that does not answer now has no vote.

    Raises:
        LedgerUnreachableError: no node answers.
        RunDirectoryError: a node that is needed does not get level.
        TransactionFailedError: the Council refuses, with its reason.

    """
    furthest, *others = await asyncio.to_thread(_awake, homes)
    office = await asyncio.to_thread(_office, furthest)
    number = await asyncio.to_thread(office.propose, ProposalFile(text=text, days=1.0, call=asked))
    for home in others:
        if await asyncio.to_thread(_suffices, furthest, number):
            break
        await _level(home, furthest, clock)
        voter = await asyncio.to_thread(_office, home)
        await asyncio.to_thread(voter.vote, number, approves=True)
    await asyncio.to_thread(office.execute, number)
    return number


async def join(
    layout: Layout,
    homes: Sequence[NodeHome],
    start: Callable[[str], Awaitable[object]],
    clock: Clock,
    tell: Callable[[str], None],
) -> str:
    """Admit one more edge server, start its node, and let it validate; return the node's name.

    It starts from a snapshot, or from the first block while the ledger is too young for one. `homes` are those of the
    other nodes. `start` runs a node by its name.

    Raises:
        LedgerUnreachableError: no node answers.
        RunDirectoryError: the node does not get level.
        TransactionFailedError: the Council refuses.

    """
    edge, validator = SigningKey.generate(Scheme.ML_DSA_44), SigningKey.generate(Scheme.ML_DSA_65)
    key = f"0x{edge.public_key.hex()}"
    admit = Admit(role="edge-server", scheme=44, key=key)
    await decide(homes, clock, "Admit one more edge server", admit)
    awake = await asyncio.to_thread(_awake, homes)
    member = await asyncio.to_thread(_member_of, awake[0], edge)
    tell(f"edge server {member} is admitted")
    sync = await _trusted(awake) if any(map(_has_snapshot, awake)) else None
    home = add_node(layout, member, sync, edge, validator, time=clock.now())
    name = home.path.name
    await start(name)
    await _level(home, awake[0], clock)
    tell(f"{name} has started from {'the first block' if sync is None else 'a snapshot'} and is level")
    seat = AddValidator(member=member, key=f"0x{validator.public_key.hex()}")
    voters = [*homes, home]  # it is an edge server now, and has a vote like the others
    edge_set = await asyncio.to_thread(_edge_set, voters, voters)
    await decide(voters, clock, f"Let edge server {member} validate", seat, *edge_set)
    tell(f"edge server {member} validates")
    return name


async def leave(
    homes: Sequence[NodeHome],
    leaving: NodeHome,
    end: Callable[[str], Awaitable[object]],
    clock: Clock,
    tell: Callable[[str], None],
) -> None:
    """Take an edge server out of the validators and of the edge sets of open jobs, then end its node.

    Raises:
        TransactionFailedError: the Council refuses.

    """
    staying = [home for home in homes if home.path != leaving.path]
    out = RemoveValidator(member=_edge(leaving))
    edge_set = await asyncio.to_thread(_edge_set, homes, staying)
    text = f"Edge server {_edge(leaving)} leaves"
    await decide(homes, clock, text, out, *edge_set)  # who leaves may vote for it
    tell(f"edge server {_edge(leaving)} validates no more")
    await end(leaving.path.name)


async def rotate(
    homes: Sequence[NodeHome], home: NodeHome, restart: Callable[[str], Awaitable[object]], clock: Clock
) -> None:
    """Give a validator and its edge server new keys: by vote first, then in the home, then the node restarts with them.

    Until it has restarted its old votes count no more, so the others must be a quorum. The edge server's old key ends
    when the new one is in use; what it signed stays valid.
    """
    member = _edge(home)
    edge, validator = SigningKey.generate(Scheme.ML_DSA_44), SigningKey.generate(Scheme.ML_DSA_65)
    old = keystore.load(home.key, home.password.read_bytes())
    new_key = AddKey(member=member, scheme=44, key=f"0x{edge.public_key.hex()}")
    seat = RotateValidator(member=member, key=f"0x{validator.public_key.hex()}")
    await decide(homes, clock, f"New keys for edge server {member}", new_key, seat)
    replace_keys(home, edge, validator)
    await restart(home.path.name)
    others = [one for one in homes if one.path != home.path]
    ends = EndKey(address=f"0x{old.address.hex()}")
    await decide(others, clock, f"The old key of edge server {member} ends", ends)
    await _level(home, (await asyncio.to_thread(_awake, others))[0], clock)


def _awake(homes: Sequence[NodeHome]) -> list[NodeHome]:
    """Return the homes whose nodes answer, the furthest first; raises LedgerUnreachableError when none does."""
    blocks = [_block(home) for home in homes]
    awake = [home for block, home in sorted(zip(blocks, homes, strict=True), key=lambda pair: -pair[0]) if block >= 0]
    if not awake:
        message = "no other edge server is here" if not homes else f"none of the {len(homes)} nodes answers"
        raise LedgerUnreachableError(message)
    return awake


def _edge_set(homes: Sequence[NodeHome], members: Sequence[NodeHome]) -> list[Asked]:
    """Return what makes the edge servers of `members` the next edge set, and that of every job that is not closed."""
    return edge_set_of(connect(_awake(homes)[0].read().rpc_url), [_edge(home) for home in members])


def _office(home: NodeHome) -> Office:
    return Office.connect(home.read().rpc_url, home.key, home.password.read_bytes())


def _suffices(home: NodeHome, number: int) -> bool:
    standing = next(one for one in standings(home.read().rpc_url) if one.number == number)
    return 3 * standing.approvals > 2 * standing.electorate


def _member_of(home: NodeHome, key: SigningKey) -> int:
    return Registry(connect(home.read().rpc_url), addresses.REGISTRY).member_of(key.address)


def _edge(home: NodeHome) -> int:
    edge = home.read().edge
    if edge is None:
        message = f"{home.path.name} has no edge server"
        raise RunDirectoryError(message)
    return edge.member


def _has_snapshot(home: NodeHome) -> bool:
    return home.snapshots.is_dir() and any(path.name.isdecimal() for path in home.snapshots.iterdir())


async def _trusted(homes: Sequence[NodeHome]) -> SyncFile:
    """Return the newest header of the first node as the new node's trust root."""
    servers = tuple(f"127.0.0.1:{home.read().comet}" for home in (*homes, *homes))[:2]
    rpc = CometRpc(f"http://{servers[0]}")
    try:
        height = (await rpc.status()).height
        trusted = header_hash(await rpc.header(height))
    finally:
        await rpc.close()
    return SyncFile(servers=servers, height=height, hash=trusted.hex())


async def _level(home: NodeHome, other: NodeHome, clock: Clock) -> None:
    """Wait until a node has every block that another one has now."""
    goal = await asyncio.to_thread(_block, other)
    limit = clock.monotonic() + SYNC_S
    while (await asyncio.to_thread(_block, home)) < goal:
        if clock.monotonic() > limit:
            message = f"{home.path.name} is not level after {SYNC_S:.0f} s; see `merit testnet logs {home.path.name}`"
            raise RunDirectoryError(message)
        await clock.sleep(_POLL_S)


def _block(home: NodeHome) -> int:
    try:
        return connect(home.read().rpc_url).eth.block_number
    except LedgerUnreachableError:
        return -1
