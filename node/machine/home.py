"""A node's home: one directory with everything that a member's machine needs to take part.

    HOME/node.toml          addresses, peers and settings (`NodeFile`)
    HOME/genesis.json       what all agree on
    HOME/keys/edge.pem      the edge server's key, encrypted; HOME/keys/password opens it; both mode 0600
    HOME/keys/intake.pem    the key of the intake's TLS, opened by the same password; its certificate is intake.crt
    HOME/keys/trusted.crt   certificates of the members' intakes that are reached over TLS
    HOME/comet/             CometBFT's home: its keys, its blocks, its votes
    HOME/ledger/            the ledger's store
    HOME/blobs/             updates and models
    HOME/payloads           payload digests of pruned updates
    HOME/root-samples.npz   private samples of the edge server (`learner.data.arrays`), for scoring rules that need
                            references; without the file it commits to none
    HOME/sealed/            references that are not opened yet
    HOME/snapshots/         of the ledger, one directory for each height at which one was taken
    HOME/dashboard.sqlite   the dashboard's index, made again when it is gone
    HOME/logs/              node.jsonl, comet.log
    HOME/abci.sock          where CometBFT finds the node while both run

A home is complete: it may be moved to another machine, where `merit node start HOME` runs it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import tomli_w

from chain.engines.cometbft.home import Timing
from chain.rpc.access import Access, AccessError
from contracts.records import MAX_ENTRIES
from node.configuration import convert, read_toml
from node.errors import ConfigError, RunDirectoryError
from node.tls.identity import CERTIFICATE_NAME, KEY_NAME

SOCKET: Final = "abci.sock"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class TlsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The intake over TLS 1.3 with ML-DSA certificates, on any address: the one port that needs no tunnel.

    A key exchange other than X25519MLKEM768 is refused, unless `classical` allows it.
    """

    port: Port
    host: str = "127.0.0.1"
    classical: bool = False


class EdgeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edge server beside the node: its member id, its intake's port and TLS, records in one transaction at most."""

    member: Annotated[int, msgspec.Meta(ge=1)]
    port: Port
    batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_ENTRIES)] = MAX_ENTRIES
    tls: TlsFile | None = None


class PeerFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another member's node, as this one reaches it.

    `validator`: its validator address in hexadecimal, empty for a node that only follows. `p2p`: ID@HOST:PORT of its
    CometBFT. `handover`: HOST:PORT for transactions. `intake`: URL of its edge server, empty if it has none; https is
    post-quantum TLS, with a certificate in HOME/keys/trusted.crt. `rpc`: URL
    of its JSON-RPC, which `merit node compare` asks; the node itself does not need it.
    """

    name: str
    member: int = 0
    validator: str = ""
    p2p: str = ""
    handover: str = ""
    intake: str = ""
    rpc: str = ""


class TimingFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `chain.engines.cometbft.home.Timing`; milliseconds."""

    propose: Annotated[int, msgspec.Meta(ge=10, le=600_000)] = Timing().propose
    vote: Annotated[int, msgspec.Meta(ge=10, le=600_000)] = Timing().vote
    commit: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = Timing().commit
    empty: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = Timing().empty

    def timing(self) -> Timing:
        """Return what CometBFT's configuration is made from."""
        return Timing(self.propose, self.vote, self.commit, self.empty)


class SyncFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a new node starts: a header that its operator trusts, and two members' CometBFT RPC (HOST:PORT) to ask.

    The node takes over the newest snapshot that peers offer and that follows from that header, and goes on from there.
    """

    servers: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    height: Annotated[int, msgspec.Meta(ge=1)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class SnapshotsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the node takes a snapshot of its ledger: at every `every`-th height, 0 for never; the newest `keep` stay.

    By default one in 83 minutes of an idle ledger with its height every 5 seconds, more often when it works. A snapshot
    is as large as the ledger's history. Two, because somebody may be in the middle of the older one.
    """

    every: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 1_000
    keep: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2


class BlobsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the edge server keeps blobs: updates of the newest `retain_rounds` rounds of each job, 0 for all.

    At least one member of a network keeps all, or nobody can compute old rounds again, and no edge server can join.
    """

    retain_rounds: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class AccessFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may ask the node's JSON-RPC besides programs on its machine; see `chain.rpc.access`.

    `hosts`: what a proxy before the node may name as host, without port. `origins`: pages whose scripts may ask, such
    as `https://app.example.org`.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could never match, when the file is read."""
        try:
            self.access()
        except AccessError as error:
            raise ValueError(str(error)) from None

    def access(self) -> Access:
        """Return what the server goes by."""
        return Access.of(self.hosts, self.origins)


class NodeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`node.toml`: every port is on the loopback interface; between machines a tunnel carries them (docs: deployment).

    `p2p`, `comet`, `rpc`, `handover`: ports of CometBFT's peers, CometBFT's own RPC, Ethereum's JSON-RPC, and of
    transactions from other nodes. `dashboard`: port of the pages for people, none by default. `access`: who may ask
    the JSON-RPC from elsewhere, nobody by default. `least_disk_mib`: with less free disk the node says that it is not
    ready.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern="^[A-Za-z0-9_.-]+$")]
    p2p: Port
    comet: Port
    rpc: Port
    handover: Port
    dashboard: Port | None = None
    edge: EdgeFile | None = None
    peers: tuple[PeerFile, ...] = ()
    timing: TimingFile = TimingFile()
    sync: SyncFile | None = None
    snapshots: SnapshotsFile = SnapshotsFile()
    blobs: BlobsFile = BlobsFile()
    access: AccessFile = AccessFile()
    least_disk_mib: Annotated[int, msgspec.Meta(ge=0)] = 1_024

    @property
    def ports(self) -> dict[str, int]:
        """Every port that the node opens, by its key in the file."""
        ports = {"p2p": self.p2p, "comet": self.comet, "rpc": self.rpc, "handover": self.handover}
        if self.dashboard is not None:
            ports["dashboard"] = self.dashboard
        if self.edge is not None:
            ports["edge.port"] = self.edge.port
            if self.edge.tls is not None:
                ports["edge.tls.port"] = self.edge.tls.port
        return ports

    @property
    def rpc_url(self) -> str:
        """Where the node's JSON-RPC is."""
        return f"http://127.0.0.1:{self.rpc}"

    @property
    def dashboard_url(self) -> str:
        """Where the node's dashboard is; empty without one."""
        return f"http://127.0.0.1:{self.dashboard}" if self.dashboard is not None else ""

    @property
    def comet_url(self) -> str:
        """Where CometBFT's RPC is."""
        return f"http://127.0.0.1:{self.comet}"

    @property
    def intake_url(self) -> str:
        """Where the edge server's intake is; empty without one."""
        return f"http://127.0.0.1:{self.edge.port}" if self.edge else ""

    @property
    def clients_url(self) -> str:
        """Where clients and edge servers on this machine reach the intake: over TLS, if it has that."""
        if self.edge is None or self.edge.tls is None:
            return self.intake_url
        return f"https://127.0.0.1:{self.edge.tls.port}"

    def encode(self) -> bytes:
        """Return the TOML."""
        return tomli_w.dumps(_without_none(msgspec.to_builtins(self))).encode()


class NodeHome:
    """The paths of a home."""

    def __init__(self, path: Path) -> None:
        """Name the directory."""
        self.path = path
        self.file = path / "node.toml"
        self.genesis = path / "genesis.json"
        self.key = path / "keys" / "edge.pem"
        self.password = path / "keys" / "password"
        self.tls_key = path / "keys" / KEY_NAME
        self.tls_certificate = path / "keys" / CERTIFICATE_NAME
        self.trusted = path / "keys" / "trusted.crt"
        self.comet = path / "comet"
        self.ledger = path / "ledger"
        self.blobs = path / "blobs"
        self.payloads = path / "payloads"
        self.root_samples = path / "root-samples.npz"
        self.sealed = path / "sealed"
        self.snapshots = path / "snapshots"
        self.dashboard = path / "dashboard.sqlite"
        self.logs = path / "logs"
        self.socket = path / SOCKET

    def read(self, file: Path | None = None) -> NodeFile:
        """Read `node.toml`, or another file of its kind; ConfigError in one line."""
        path = self.file if file is None else file
        if not self.path.is_dir():
            message = f"{self.path}: no such node home; make one with `merit testnet init`"
            raise RunDirectoryError(message)
        return convert(read_toml(path), NodeFile, str(path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for this process; RunDirectoryError if another one does."""
        holder = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{self.path} is in use by another node process: stop that one first"
                raise RunDirectoryError(message) from None
            yield
        finally:
            os.close(holder)


def host_and_port(text: str) -> tuple[str, int]:
    """Split HOST:PORT; ConfigError in one line."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        message = f"{text!r} is no HOST:PORT"
        raise ConfigError(message)
    return host, int(port)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is None is left out, in tables within tables too."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
