"""What can be exported from: the directory of a run, a node's home under CometBFT, or a node that answers."""

import asyncio
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Final

from chain.engines.cometbft import binary
from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import CometBinaryError, CometUnreachableError, UnknownHeightError
from chain.genesis import Genesis, load_genesis
from chain.light import Height, encode_commit, encode_evidence_list, encode_header, encode_txs
from node.audit.blobs import Blobs, audit_blobs
from node.audit.directory import layout_of, undisturbed
from node.audit.engine import stored_chain
from node.audit.errors import FaultError, NotAuditableError, UnansweredError, UnreadableStoreError
from node.audit.fetch import Fetcher
from node.audit.fetched import FetchedBlobs
from node.audit.findings import Findings
from node.audit.nodes import Node, checked_url
from node.audit.replay import Step
from node.audit.source import HeightRecords, Source
from node.edge.peers import MAX_BLOB_BYTES
from node.machine.home import NodeHome

_SERVES: Final = re.compile(r"Starting RPC HTTP server on (127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True)
class Origin:
    """A chain as one source tells it, its genesis document, and blobs. Nothing of it is believed."""

    name: str
    source: Source
    genesis: Genesis
    blobs: Blobs


def is_url(target: Path | str) -> bool:
    """Tell whether a target names a node and no file."""
    return str(target).startswith(("http://", "https://"))


@contextmanager
def origin(target: Path | str, edges: Sequence[str], findings: Findings) -> Iterator[Origin]:
    """Open a target; `edges` are intakes of edge servers for the blobs of a node.

    Raises:
        NotAuditableError: there is none.
        ConfigError: a URL that is none.

    """
    if is_url(target):
        with _node(str(target), edges, findings) as found:
            yield found
    elif (Path(target) / "node.toml").is_file():
        with _home(NodeHome(Path(target)), findings) as found:
            yield found
    else:
        with undisturbed(Path(target)):
            yield _directory(Path(target), findings)


def _directory(directory: Path, findings: Findings) -> Origin:
    """Take the validator's store that goes furthest; its chain is verified as it is read."""
    layout, stores, why = layout_of(directory), [], ""
    for number, home in layout.validators.items():
        try:
            stores.append(stored_chain(number, home / "engine"))
        except UnreadableStoreError as error:
            why = str(error)
    if not stores:
        raise NotAuditableError(directory, f"no validator's engine store can be read: {why}")
    furthest = max(stores, key=lambda store: store.decided)
    with findings.timed("blobs"):
        blobs = audit_blobs(layout.edges, findings)
    return Origin(f"{directory} ({furthest.name})", furthest, load_genesis(layout.genesis), blobs)


@contextmanager
def _node(url: str, edges: Sequence[str], findings: Findings) -> Iterator[Origin]:
    checked = checked_url(url, "URL")
    intakes = [checked_url(edge, "--edge") for edge in edges]
    with Fetcher() as fetcher, TemporaryDirectory(prefix="merit-export-") as directory:
        node = Node(checked, fetcher)
        try:
            status, document = node.ask_status(), node.ask_genesis()
            node.read_status(status)
            genesis = node.read_genesis(document)
        except (FaultError, UnansweredError) as error:
            raise NotAuditableError(checked, str(error)) from None
        if node.first > 1:
            raise NotAuditableError(checked, f"begins at height {node.first}; name a node that has the whole chain")
        with findings.timed("blobs"):
            blobs = FetchedBlobs(tuple(intakes or node.edges), fetcher, Path(directory), MAX_BLOB_BYTES, findings)
        yield Origin(checked, node, genesis, blobs)


@contextmanager
def _home(home: NodeHome, findings: Findings) -> Iterator[Origin]:
    """Read a stopped node's home: `cometbft inspect` serves what CometBFT keeps there, and changes nothing."""
    edge = home.read().edge
    with home.locked():
        with findings.timed("blobs"):
            blobs = audit_blobs({} if edge is None else {edge.member: home.path}, findings)
        with _inspected(home.comet) as url, asyncio.Runner() as runner:
            chain = InspectedChain(str(home.path), CometRpc(url), runner)
            try:
                yield Origin(str(home.path), chain, load_genesis(home.genesis), blobs)
            finally:
                chain.close()


@contextmanager
def _inspected(comet: Path) -> Iterator[str]:
    """Serve CometBFT's own stores on a free port of the loopback interface; yield the URL."""
    try:
        program = binary.find()
    except CometBinaryError as error:
        raise NotAuditableError(comet, str(error)) from None
    command = [str(program), "inspect", "--home", str(comet), "--rpc.laddr", "tcp://127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603 - CometBFT itself
        try:
            said = list[str]()
            for line in process.stdout or ():
                said.append(line.strip())
                if (found := _SERVES.search(line)) is not None:
                    # it logs every request: a pipe that nobody empties would stop it after some twenty heights
                    emptied = Thread(target=deque, args=(process.stdout, 0), daemon=True)
                    emptied.start()
                    try:
                        yield f"http://{found[1]}"
                    finally:
                        process.terminate()
                        emptied.join()
                    return
            why = said[-1] if said else "says nothing"
            raise NotAuditableError(comet, f"cometbft inspect: {why}")
        finally:
            process.terminate()


class InspectedChain:
    """What CometBFT has stored, as a source of a chain."""

    def __init__(self, name: str, comet: CometRpc, runner: asyncio.Runner) -> None:
        """Ask how far it goes."""
        self.name, self._comet, self._runner = name, comet, runner
        self.decided = runner.run(comet.newest())

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._comet.close())

    def records(self, height: int) -> HeightRecords:
        """Return what CometBFT has for a height; raises UnansweredError."""
        try:
            return self._runner.run(self._records(Height(height)))
        except (CometUnreachableError, UnknownHeightError) as error:
            raise UnansweredError(self.name, str(error)) from None

    async def _records(self, height: Height) -> HeightRecords:
        header, commit = await self._comet.signed_header(height)
        transactions, evidence = await self._comet.transactions(height), await self._comet.evidence(height)
        return HeightRecords(
            height,
            encode_header(header),
            encode_commit(commit),
            encode_txs(transactions),
            encode_evidence_list(evidence),
            b"",
        )

    @staticmethod
    def outcome(step: Step) -> bytes:
        """Return what it says of an outcome: nothing."""
        del step
        return b""
