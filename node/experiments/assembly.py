"""How the edge servers of an experiment in virtual time decide by vote, and how one joins, leaves and gets new keys.

As `node/testnet/membership.py` does it on processes, by the same calls; but nobody waits in a thread: each edge
server's own sender carries what its operator does in the Council.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hexbytes import HexBytes
from web3.exceptions import TransactionNotFound

from chain.crypto.schemes import Scheme
from contracts import addresses
from contracts.bindings import Council, Registry, Vote
from contracts.events import Event, Proposed, decode_events
from merit.clock import Clock
from node.council import AddKey, AddValidator, Admit, Asked, EndKey, RemoveValidator, RotateValidator, edge_set_of
from node.edge.local import LocalEdgeServers
from node.errors import RunDirectoryError, TransactionFailedError
from node.network import LocalNetwork

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxReceipt

    from node.edge.server import EdgeServer

PATIENCE_S: Final = 120.0
"""What the Council is asked for is in a block by then, or the experiment cannot go on."""
_POLL_S: Final = 0.05
_DAY_S: Final = 86_400
_GAS: Final = 60_000_000


class Assembly:
    """The edge servers of a network that runs; what they are asked to do they do one thing after another."""

    def __init__(
        self, network: LocalNetwork, servers: LocalEdgeServers, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        """Let `servers` govern; `tell` hears what has happened."""
        self._network, self._servers, self._clock, self._tell = network, servers, clock, tell
        self._floor = asyncio.Lock()
        self._left: set[int] = set()  # member ids

    async def decide(self, text: str, *asked: Asked) -> None:
        """Propose, approve until that suffices, and carry out; who stands still or is gone has no vote.

        Raises TransactionFailedError when the Council refuses, RunDirectoryError when no quorum can vote.
        """
        async with self._floor:
            number = await self._decide(text, *asked)
        self._tell(f"decided: {text} (proposal {number})")

    async def join(self) -> int:
        """Admit one more edge server, let its validator learn the chain and then take part; return its place, from 0.

        Raises as `decide`.
        """
        async with self._floor:
            member = Registry(self._w3, addresses.REGISTRY).member_count() + 1
            edge = self._network.make_key(f"member-{member}", Scheme.ML_DSA_44)
            admit = Admit(role="edge-server", scheme=44, key=_hex(edge.public_key))
            await self._decide("Admit one more edge server", admit)
            self._tell(f"edge server {member} is admitted")
            node = await self._network.add_validator()
            engine = self._network.engine
            goal = max(engine.member(other).height for other in range(node))
            await self._until(lambda: engine.member(node).height >= goal, f"node{node + 1} to be level")
            self._servers.admit(member)
            self._tell(f"node{node + 1} has started from the first block and is level")
            key = self._network.key(f"validator-{node + 1}").public_key
            seat = AddValidator(member=member, key=_hex(key))
            await self._decide(f"Let edge server {member} validate", seat, *self._edge_set())
        self._tell(f"edge server {member} validates")
        return node

    async def leave(self, node: int, member: int) -> None:
        """Take an edge server out of the validators and of the edge sets of open jobs, then end its node.

        Raises as `decide`.
        """
        async with self._floor:
            self._left.add(member)
            out = RemoveValidator(member=member)
            await self._decide(f"Edge server {member} leaves", out, *self._edge_set())
            self._tell(f"edge server {member} validates no more")
            self._servers.stop(node)
            await self._network.engine.stop_validator(node)

    async def rotate(self, node: int, member: int) -> None:
        """Give a validator and its edge server new keys: by vote; the edge server starts again, the validator goes on.

        Raises as `decide`.
        """
        async with self._floor:
            old = self._network.member_key(member)
            name = f"member-{member}.{len(Registry(self._w3, addresses.REGISTRY).keys(member)) + 1}"
            edge = self._network.make_key(name, Scheme.ML_DSA_44)
            validator = await self._network.add_validator_key(node)
            new_key = AddKey(member=member, scheme=44, key=_hex(edge.public_key))
            seat = RotateValidator(member=member, key=_hex(validator.public_key))
            await self._decide(f"New keys for edge server {member}", new_key, seat)
            self._network.replace_key(f"member-{member}", name)
            if self._servers.at(node) is not None:
                self._servers.stop(node)
                self._servers.start(node)
            await self._decide(f"The old key of edge server {member} ends", EndKey(address=_hex(old.address)))

    async def _decide(self, text: str, *asked: Asked) -> int:
        council = Council(self._w3, addresses.COUNCIL)
        calls = [one.call(council) for one in asked]
        expiry = int(self._w3.eth.get_block("latest")["timestamp"]) + _DAY_S
        logs = await self._sent(f"propose: {text}", Council.encode_propose(expiry, text, calls))
        number = next(event.proposal for event in logs if isinstance(event, Proposed))
        await self._until(lambda: self._approved(number), f"the approval of proposal {number}")
        await self._sent(f"execute {number}", Council.encode_execute(number, calls))
        return number

    def _approved(self, number: int) -> bool:
        """Tell whether enough approve; let everybody vote who has not and can."""
        council = Council(self._w3, addresses.COUNCIL)
        tally = council.tally(number)
        if 3 * tally.approvals > 2 * tally.electorate:
            return True
        for server in self._voters():
            if council.vote_of(number, server.member) is Vote.NONE:
                vote = Council.encode_vote(number, approves=True)
                server.sender.send(f"vote {number}", to=addresses.COUNCIL, data=vote, gas=_GAS)
        return False

    async def _sent(self, purpose: str, data: bytes) -> list[Event]:
        """Send a call to the Council in the name of a server that is awake; return what its block says of it."""
        transaction: bytes | None = None

        def landed() -> bool:
            nonlocal transaction
            if transaction is None:
                for server in self._voters()[:1]:
                    transaction = server.sender.send(purpose, to=addresses.COUNCIL, data=data, gas=_GAS)
            return transaction is not None and self._receipt(transaction) is not None

        await self._until(landed, purpose)
        receipt = None if transaction is None else self._receipt(transaction)
        if receipt is None or not receipt["status"]:
            message = f"{purpose}: the Council refuses, see run.log"
            raise TransactionFailedError(message)
        return decode_events(dict(log) for log in receipt["logs"])

    def _voters(self) -> list["EdgeServer"]:
        """Return the servers that can vote now."""
        registry = Registry(self._w3, addresses.REGISTRY)
        known = [(server, registry.member(server.member)) for server in self._servers.awake.values()]
        return [server for server, member in known if member is not None and not member.suspended]

    def _edge_set(self) -> list[Asked]:
        """Return what makes all that have not left the next edge set, and that of every open job."""
        return edge_set_of(self._w3, [member for member in self._servers.members if member not in self._left])

    @property
    def _w3(self) -> "Web3":
        return self._network.web3(next(iter(self._servers.awake), 0))  # one that has ended can still be read

    def _receipt(self, transaction: bytes) -> "TxReceipt | None":
        try:
            return self._w3.eth.get_transaction_receipt(HexBytes(transaction))
        except TransactionNotFound:
            return None

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        limit = self._clock.monotonic() + PATIENCE_S
        while not done():
            if self._clock.monotonic() > limit:
                message = f"waited {PATIENCE_S:.0f} s for {what}; see run.log"
                raise RunDirectoryError(message)
            await self._clock.sleep(_POLL_S)


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
