"""Edge servers beside the validators of a local network: one each, in this process, on the loopback interface.

Edge server ID keeps its blobs in DIR/edge/ID/blobs, and references that are not opened yet in DIR/edge/ID/sealed.
"""

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

from chain.rpc.http import LoopbackServer
from contracts import addresses, bindings
from merit.clock import Clock
from node.blobs import BlobStore
from node.edge.intake import Intake
from node.edge.peers import DirectoryPeer
from node.edge.references import Roots, Teach
from node.edge.server import EdgeServer
from node.errors import RunDirectoryError
from node.network import LocalNetwork
from node.sender import MLDSASigner, Sender


class LocalEdgeServers:
    """The edge servers of a network that runs; nothing happens in them but in `step`.

    Args:
        network: a started network; server n talks to validator n.
        members: the servers' member ids, in the order of the validators.
        clock: paces transactions and answers.
        teach: what each server's private samples teach, by member id; none where no scoring rule needs it.

    """

    def __init__(
        self, network: LocalNetwork, members: Sequence[int], clock: Clock, *, teach: Mapping[int, Teach] | None = None
    ) -> None:
        """Open the blob stores."""
        self._network, self._clock, self._teach = network, clock, teach or {}
        self._stores = {member: BlobStore(network.directory / "edge" / str(member) / "blobs") for member in members}
        self._running: dict[int, EdgeServer] = {}
        self._paused: set[int] = set()
        for node in range(len(members)):
            self.start(node)

    @property
    def servers(self) -> list[EdgeServer]:
        """Those that run, in the order of their validators."""
        return [self._running[node] for node in sorted(self._running)]

    @property
    def first(self) -> int:
        """The place of the first that runs, from 0; RunDirectoryError when none does."""
        if not self._running:
            message = "no edge server runs"
            raise RunDirectoryError(message)
        return min(self._running)

    @property
    def members(self) -> list[int]:
        """The servers' member ids, in the order of their validators, also of those that do not run."""
        return list(self._stores)

    @property
    def awake(self) -> dict[int, EdgeServer]:
        """Those that run and do not stand still, by their places from 0."""
        return {node: self._running[node] for node in sorted(self._running.keys() - self._paused)}

    def admit(self, member: int) -> None:
        """Start one more server, beside the newest validator; the others fetch blobs from it, too."""
        node, store = len(self._stores), BlobStore(self._network.directory / "edge" / str(member) / "blobs")
        self._stores[member] = store
        for place, server in self._running.items():
            server.peers.append(self._peer(node, place))
        self.start(node)

    def _peer(self, there: int, here: int) -> DirectoryPeer:
        """Return the server at one place as the one at another asks it."""
        member, store = list(self._stores.items())[there]
        return DirectoryPeer(member, store, partial(self._network.engine.reaches, there, here))

    def at(self, node: int) -> EdgeServer | None:
        """Return the server of a place, from 0; None while it does not run."""
        return self._running.get(node)

    def start(self, node: int) -> None:
        """Start the server of a place with what lies on the disk and on the ledger; harmless when it runs."""
        if node in self._running:
            return
        member = list(self._stores)[node]
        w3 = self._network.web3(node)
        self._running[node] = EdgeServer(
            member=member,
            w3=w3,
            ledger=bindings.Ledger(w3, addresses.LEDGER),
            registry=bindings.Registry(w3, addresses.REGISTRY),
            sender=member_sender(self._network, member, self._clock, node),
            blobs=self._stores[member],
            peers=[self._peer(place, node) for place in range(len(self._stores)) if place != node],
            genesis_hash=self._network.genesis_hash,
            clock=self._clock,
            roots=self._roots(member),
        )

    def stop(self, node: int) -> None:
        """Let the server of a place end as if it were killed: what it had only in memory is lost."""
        self._running.pop(node, None)
        self._paused.discard(node)

    def pause(self, node: int) -> None:
        """Let the server of a place stand still, with all that it has in memory; harmless when it does not run."""
        if node in self._running:
            self._paused.add(node)

    def resume(self, node: int) -> None:
        """Let it go on; harmless when it does."""
        self._paused.discard(node)

    def is_paused(self, node: int) -> bool:
        """Tell whether the server of a place stands still."""
        return node in self._paused

    def _roots(self, member: int) -> Roots | None:
        if member not in self._teach:
            return None
        return Roots(self._teach[member], BlobStore(self._network.directory / "edge" / str(member) / "sealed"))

    async def listen(self, stack: contextlib.AsyncExitStack, *, first_port: int = 0) -> list[str]:
        """Start every intake and return their URLs, which `merit_status` tells from then on; `stack` stops them.

        Server n listens on `first_port` + n, from 0; on a free port when that is 0.

        Raises:
            BindError: a port is taken.

        """
        urls = []
        for number, server in enumerate(self.servers):
            http = LoopbackServer(Intake(server, self._clock).app, port=first_port + number if first_port else 0)
            await http.start()
            stack.push_async_callback(http.stop)
            urls.append(http.url)
        served = {server.member: url for server, url in zip(self.servers, urls, strict=True)}
        for node in range(self._network.validators):
            self._network.dispatcher(node).announce(served)
        return urls

    def step(self) -> None:
        """Let each server do what is due, but for those that stand still."""
        for server in self.awake.values():
            server.step()


def member_sender(network: LocalNetwork, member: int, clock: Clock, node: int = 0) -> Sender:
    """Return the account of a member that block 0 admitted, connected to one of the validators."""
    signer = MLDSASigner(
        network.member_key(member),
        chain_id=network.genesis.chain_id,
        genesis_hash=network.genesis_hash,
        key_on_chain=True,
    )
    return Sender(network.web3(node), signer, clock)
