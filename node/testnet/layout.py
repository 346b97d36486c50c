"""What a testnet's directory holds, and how it is made.

    DIR/testnet.toml       how it was made (`TestnetFile`); a directory without it holds no testnet
    DIR/genesis.json       what all agree on
    DIR/keys/              governor.pem, member-N.pem of clients and sponsor; `password` opens them, mode 0600;
                           under TLS intake.crt, the certificates of all intakes
    DIR/nodes/nodeN/       a home each (node/machine/home.py)
    DIR/control.sock       where the supervisor takes commands while it runs
    DIR/supervisor.log     what a detached supervisor says

It is made beside its final name and put in place by one rename, so half a testnet is never taken for a whole one.
"""

import base64
import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import Annotated, Final

import msgspec
import tomli_w

from chain.crypto import keystore
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.cometbft.home import NodeKey, write_home, write_validator_key
from chain.genesis import Genesis, load_genesis
from chain.light import validator_address
from contracts import artifacts
from contracts.bindings import Role
from contracts.records import MAX_ENTRIES
from merit.chance import entropy
from node.configuration import convert, read_toml
from node.errors import RunDirectoryError
from node.founding import MOST_VALIDATORS, Founding, Membership
from node.machine.home import EdgeFile, NodeFile, NodeHome, PeerFile, SnapshotsFile, SyncFile, TimingFile, TlsFile
from node.tls import identity

DEFAULT_DIRECTORY: Final = Path(".merit/testnet")
DEFAULT_PORT: Final = 27_000
PORTS_PER_NODE: Final = 10
_LAST_PORT: Final = 65_535
_PASSWORD_BYTES: Final = 32
_NAMES: Final = ("127.0.0.1", "localhost")  # for which the intakes' certificates speak


class TestnetFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`testnet.toml`: how a testnet is made.

    `powers`: the validators' voting powers, 1 each by default. `relays`: the nodes reach each other through relays in
    the supervisor, so that `perturb` can disconnect one; without them connections are direct, and a little faster.
    `batch`: records that an edge server puts into one transaction at most.
    `council`: edge servers govern by vote; else the key `governor` does. `contracts`: their version from block 1 on.
    `dashboards`: each node serves one; it reads every block, which costs a node that does nothing else but record.
    `tls`: clients and edge servers reach every intake over TLS 1.3 with X25519MLKEM768 and ML-DSA certificates.
    """

    __test__ = False  # no test class

    validators: Annotated[int, msgspec.Meta(ge=1, le=MOST_VALIDATORS)] = 4
    powers: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    clients: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 20
    client_scheme: int = int(Scheme.ML_DSA_44)
    tokens: Annotated[int, msgspec.Meta(ge=0)] = 1_000_000
    port: Annotated[int, msgspec.Meta(ge=1024, le=65_000)] = DEFAULT_PORT
    relays: bool = True
    batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_ENTRIES)] = MAX_ENTRIES
    council: bool = True
    contracts: Annotated[int, msgspec.Meta(ge=1)] = max(artifacts.VERSIONS)
    dashboards: bool = True
    tls: bool = False
    chain_id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    timing: TimingFile = TimingFile()
    snapshots: SnapshotsFile = SnapshotsFile(every=200)

    @property
    def edges(self) -> range:
        """Member ids of the edge servers, which are the validators."""
        return range(1, self.validators + 1)

    @property
    def client_members(self) -> range:
        """Member ids of the clients."""
        return range(self.validators + 1, self.validators + self.clients + 1)

    @property
    def sponsor(self) -> int:
        """Member id of the sponsor, who holds the tokens."""
        return self.validators + self.clients + 1


class Layout:
    """The paths of a testnet's directory."""

    def __init__(self, directory: Path) -> None:
        """Name the directory."""
        self.directory = directory
        self.file = directory / "testnet.toml"
        self.genesis = directory / "genesis.json"
        self.keys = directory / "keys"
        self.password = self.keys / "password"
        self.certificates = self.keys / identity.CERTIFICATE_NAME
        self.nodes = directory / "nodes"
        self.control = directory / "control.sock"
        self.log = directory / "supervisor.log"

    def read(self) -> TestnetFile:
        """Read how the testnet was made; RunDirectoryError when there is none."""
        if not self.file.exists():
            message = f"{self.directory} holds no testnet: make one with `merit testnet init`"
            raise RunDirectoryError(message)
        return convert(read_toml(self.file), TestnetFile, str(self.file))

    def homes(self) -> list[NodeHome]:
        """Return the homes in the order of their numbers."""
        found = [path for path in self.nodes.iterdir() if path.name.startswith("node") and path.name[4:].isdecimal()]
        return [NodeHome(path) for path in sorted(found, key=lambda path: int(path.name[4:]))]

    def home(self, number: int) -> NodeHome:
        """Return one home; numbers count from 1."""
        return NodeHome(self.nodes / f"node{number}")

    def member_key_path(self, member: int) -> Path:
        """Where the key of a client or the sponsor lies; an edge server's lies in its home."""
        return self.keys / f"member-{member}.pem"

    def member_key(self, member: int) -> SigningKey:
        """Load the key of a client or the sponsor; errors as in `keystore.load`."""
        return keystore.load(self.member_key_path(member), self.password.read_bytes())


def make(directory: Path, file: TestnetFile, time: int, *, force: bool = False) -> Genesis:
    """Make a testnet; `time`, in seconds since the epoch, is that of block 0.

    Raises:
        RunDirectoryError: the directory holds something, and `force` does not allow to remove it; or powers or ports
            do not fit.
        GenesisError: no ledger can start from such a document.

    """
    if file.powers and len(file.powers) != file.validators:
        message = f"{len(file.powers)} powers for {file.validators} validators: name one for each"
        raise RunDirectoryError(message)
    last = file.port + PORTS_PER_NODE * file.validators - 1
    if last > _LAST_PORT:
        message = f"{file.validators} validators from port {file.port} on need ports up to {last}: name a lower --port"
        raise RunDirectoryError(message)
    directory = directory.resolve()
    layout = Layout(directory)
    if directory.exists() and any(directory.iterdir()):
        if not force:
            what = "holds a testnet already" if layout.file.exists() else "is not empty"
            message = f"{directory} {what}: --force removes it, or name another --dir"
            raise RunDirectoryError(message)
        if not layout.file.exists():
            message = f"{directory} is not empty and holds no testnet: --force removes testnets only"
            raise RunDirectoryError(message)
    making = directory.with_name(f".{directory.name}.making")
    removing = directory.with_name(f".{directory.name}.removing")
    for left in (making, removing):
        shutil.rmtree(left, ignore_errors=True)
    try:
        genesis = _make(Layout(making), file, time)
        if directory.exists():
            directory.rename(removing)
        making.rename(directory)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    shutil.rmtree(removing, ignore_errors=True)
    return genesis


def _make(layout: Layout, file: TestnetFile, time: int) -> Genesis:
    roles = [Role.EDGE_SERVER] * file.validators + [Role.CLIENT] * file.clients + [Role.SPONSOR]
    scheme = Scheme(file.client_scheme)
    founding = Founding(
        chain_id=file.chain_id,
        validators=file.validators,
        powers=file.powers or None,
        members=tuple(Membership(role, scheme if role == Role.CLIENT else Scheme.ML_DSA_44) for role in roles),
        tokens={file.sponsor: file.tokens * 10**18},
        council=file.council,
        contracts=file.contracts,
    )
    keys = founding.keys()
    genesis = founding.document(keys, (), time)
    layout.keys.mkdir(parents=True, mode=0o700)
    password = entropy(_PASSWORD_BYTES).hex().encode()
    _write(layout.password, password)
    for name in ("governor", *(f"member-{member}" for member in (*file.client_members, file.sponsor))):
        keystore.save(layout.keys / f"{name}.pem", keys[name], password)
    genesis.save(layout.genesis)
    node_keys = {number: NodeKey(entropy(32)) for number in file.edges}
    validators = [keys[f"validator-{number}"] for number in file.edges]
    peers = [_peer(file, number, number, validators[number - 1], node_keys[number]) for number in file.edges]
    for number in file.edges:
        home = layout.home(number)
        home.path.mkdir(parents=True)
        ports = _ports(file, number)
        node_file = NodeFile(
            name=f"node{number}",
            p2p=ports["p2p"],
            comet=ports["comet"],
            rpc=ports["rpc"],
            handover=ports["handover"],
            dashboard=ports["dashboard"] if file.dashboards else None,
            edge=_edge(file, number, number),
            peers=tuple(peer for peer in peers if peer.member != number),
            timing=file.timing,
            snapshots=file.snapshots,
        )
        edge = keys[f"member-{number}"]
        write_node(home, node_file, genesis, validators[number - 1], node_keys[number], edge=edge, time=time)
    _exchange_certificates(layout, file)
    content = msgspec.to_builtins(file)
    layout.file.write_bytes(tomli_w.dumps({key: value for key, value in content.items() if value is not None}).encode())
    return genesis


def add_node(
    layout: Layout, member: int, sync: SyncFile | None, edge: SigningKey, validator: SigningKey, *, time: float
) -> NodeHome:
    """Write the home of one more node, and let every other home know it.

    `member` is the id that the Registry has given to the edge server with the key `edge`; the node starts from a
    snapshot as `sync` says, or from the first block, and votes with the key `validator` once the Council lets it.
    `time`, in seconds since the epoch, is now.
    """
    file, genesis = layout.read(), load_genesis(layout.genesis)
    homes = layout.homes()
    number = len(homes) + 1
    home, ports = layout.home(number), _ports(file, number)
    node_key = NodeKey(entropy(32))
    own = _peer(file, number, member, validator, node_key)
    others = [_as_peer(other, other.read()) for other in homes]
    node_file = NodeFile(
        name=own.name,
        p2p=ports["p2p"],
        comet=ports["comet"],
        rpc=ports["rpc"],
        handover=ports["handover"],
        dashboard=ports["dashboard"] if file.dashboards else None,
        edge=_edge(file, number, member),
        peers=tuple(others),
        timing=file.timing,
        snapshots=file.snapshots,
        sync=sync,
    )
    making = home.path.with_name(f".{home.path.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    write_node(NodeHome(making), node_file, genesis, validator, node_key, edge=edge, time=time)
    making.rename(home.path)
    _exchange_certificates(layout, file)
    for other in homes:
        theirs = other.read()
        other.file.write_bytes(msgspec.structs.replace(theirs, peers=(*theirs.peers, own)).encode())
    return home


def replace_keys(home: NodeHome, edge: SigningKey, validator: SigningKey) -> None:
    """Put new keys into a home; the old ones stay beside them as `NAME.old`. They count from the node's next start.

    What the validator signed last is another key's business: a new key may sign from the next height on, and its state
    of votes goes on rising with it.
    """
    password = home.password.read_bytes()
    home.key.replace(home.key.with_name(home.key.name + ".old"))
    keystore.save(home.key, edge, password)
    path = home.comet / "config" / "priv_validator_key.json"
    path.replace(path.with_name(path.name + ".old"))
    write_validator_key(home.comet, validator)


def _as_peer(home: NodeHome, file: NodeFile) -> PeerFile:
    """Return a node as the others reach it, from its own home."""
    keys = home.comet / "config"
    validator = msgspec.json.decode((keys / "priv_validator_key.json").read_bytes())["address"].lower()
    node_key = base64.b64decode(msgspec.json.decode((keys / "node_key.json").read_bytes())["priv_key"]["value"])
    return PeerFile(
        name=file.name,
        member=file.edge.member if file.edge else 0,
        validator=validator,
        p2p=f"{NodeKey(node_key[:32]).id}@127.0.0.1:{file.p2p}",
        handover=f"127.0.0.1:{file.handover}",
        intake=file.clients_url,
        rpc=file.rpc_url,
    )


def _peer(file: TestnetFile, number: int, member: int, validator: SigningKey, node_key: NodeKey) -> PeerFile:
    ports = _ports(file, number)
    return PeerFile(
        name=f"node{number}",
        member=member,
        validator=validator_address(validator.public_key).hex(),
        p2p=f"{node_key.id}@127.0.0.1:{ports['p2p']}",
        handover=f"127.0.0.1:{ports['handover']}",
        intake=f"https://127.0.0.1:{ports['tls']}" if file.tls else f"http://127.0.0.1:{ports['edge']}",
        rpc=f"http://127.0.0.1:{ports['rpc']}",
    )


def write_node(
    home: NodeHome,
    file: NodeFile,
    genesis: Genesis,
    validator: SigningKey | None,
    node_key: NodeKey,
    *,
    edge: SigningKey | None,
    time: float,
) -> None:
    """Write a node's home into a directory that exists and is empty; `time` is now, for its certificate."""
    home.file.write_bytes(file.encode())
    genesis.save(home.genesis)
    if edge is not None:
        home.key.parent.mkdir(mode=0o700)
        password = entropy(_PASSWORD_BYTES).hex().encode()
        _write(home.password, password)
        keystore.save(home.key, edge, password)
        if file.edge is not None and file.edge.tls is not None:
            identity.make(home.key.parent, _NAMES, password, now=time)
    write_home(home.comet, genesis, validator, node_key, file.name)


def _edge(file: TestnetFile, number: int, member: int) -> EdgeFile:
    ports = _ports(file, number)
    tls = TlsFile(port=ports["tls"]) if file.tls else None
    return EdgeFile(member=member, port=ports["edge"], batch=file.batch, tls=tls)


def _exchange_certificates(layout: Layout, file: TestnetFile) -> None:
    """Let clients and every node take the certificates of all intakes; nodes that run read them with new peers."""
    if not file.tls:
        return
    homes = layout.homes()
    together = b"".join(home.tls_certificate.read_bytes() for home in homes)
    for path in (layout.certificates, *(home.trusted for home in homes)):
        writing = path.with_suffix(".writing")
        writing.write_bytes(together)
        writing.replace(path)  # whoever reads meanwhile sees all of the old or all of the new


def _ports(file: TestnetFile, number: int) -> dict[str, int]:
    first = file.port + PORTS_PER_NODE * (number - 1)
    return {name: first + at for at, name in enumerate(("p2p", "comet", "rpc", "edge", "handover", "dashboard", "tls"))}


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def free_port_base(nodes: int, first: int = DEFAULT_PORT) -> int:
    """Return a first port with which a testnet's ports are all free now; RunDirectoryError when there is none."""
    width = nodes * PORTS_PER_NODE
    for base in range(first, 60_000, width):
        if all(_is_free(base + at) for at in range(width)):
            return base
    message = f"no {width} free ports in a row from {first} on"
    raise RunDirectoryError(message)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False
