"""Audits a network that runs, from outside: every node's chain by itself, then what they all prove, and the rounds.

No node is believed. A node that lies is a divergence that names it; one that does not answer is named and left out, and
the audit goes on with the others. All nodes go through the heights side by side, so that each height is verified and
executed once and no more than some pages of each are kept.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from chain import light
from chain.genesis import Genesis
from chain.light import errors as light_errors
from contracts.records import MODEL_HEADER_BYTES, MODEL_ITEM_BYTES
from merit.clock import Clock, SystemClock
from node.audit.auditor import Auditor
from node.audit.certificates import Certificates
from node.audit.chains import GENESIS, Chains
from node.audit.errors import FaultError, NotAuditableError, UnansweredError
from node.audit.fetch import ANSWER_S, Fetcher, Reply
from node.audit.fetched import FetchedBlobs
from node.audit.findings import Findings, Progress
from node.audit.nodes import PAGE_HEIGHTS, Node, checked_url
from node.audit.replay import Replays
from node.audit.report import AuditReport, Divergence, NodeAnswers, Part
from node.audit.walk import EngineChain, Walk
from node.edge.peers import MAX_BLOB_BYTES
from node.errors import ConfigError

HEIGHTS, RECORDS, ROUNDS, BLOBS, NODES = ("heights", "records", "rounds", "blobs", "nodes compared")
"""The parts of an audit after genesis, in their order."""

_WHOLE: Final = "network"
_TOLD_EVERY: Final = 1_024  # heights
_BLOB_BYTES_LEAST: Final = 1 << 20
"""What a job file may have; it names every client."""


@dataclass(slots=True)
class _Asked:
    """A node under audit."""

    node: Node
    chain: EngineChain
    walk: Walk | None = None
    compared: int = 0
    """Up to which height a node that began from a snapshot was compared."""


def _same_header(raw: bytes, expected: bytes) -> None:
    """Raise FaultError unless the bytes are the header with this hash."""
    try:
        found = light.header_hash(light.decode_header(raw))
    except light_errors.LightError as error:
        raise FaultError(Part.HEADER, "a header", str(error)) from None
    if found != expected:
        raise FaultError(Part.HEADER, f"hash 0x{expected.hex()}", f"0x{found.hex()}")


class _NetworkAudit:
    """One audit of some nodes."""

    def __init__(
        self,
        nodes: Sequence[Node],
        edges: tuple[str, ...],
        fetcher: Fetcher,
        *,
        chains: Chains,
        findings: Findings,
        auditor: Auditor | None,
    ) -> None:
        self._edges, self._fetcher, self._findings = edges, fetcher, findings
        self._all, self._auditor = chains, auditor
        self._asked = [_Asked(node, EngineChain(node.name, f"history of {node.name}")) for node in nodes]

    def run(self, directory: Path) -> AuditReport:
        """Audit everything; `directory` keeps blobs meanwhile."""
        part, certificates, blobs = self._all.part, list[Certificates](), list[FetchedBlobs]()
        part(GENESIS, lambda: certificates.extend(self._genesis()))
        if certificates:
            part(HEIGHTS, lambda: self._heights(certificates[0]))
            part(RECORDS, self._all.records)
            part(BLOBS, lambda: blobs.append(self._blobs(directory)))
            part(ROUNDS, lambda: self._all.rounds(blobs[0]))
            part(NODES, lambda: self._compare(certificates[0]))
        return self._all.report(
            "",
            tuple(
                NodeAnswers(
                    asked.chain.name, asked.chain.height or asked.compared, asked.node.decided, asked.chain.silent
                )
                for asked in self._asked
            ),
        )

    def _genesis(self) -> Iterator[Certificates]:
        """Take the document that the caller trusts, or the first node's; the others must have the same.

        Yields nothing when no node has the one that the caller trusts.
        """
        replays = self._auditor.replays if self._auditor else Replays()
        statuses = [asked.node.ask_status() for asked in self._asked]
        documents = [asked.node.ask_genesis() for asked in self._asked]
        found: list[tuple[_Asked, Genesis, bytes]] = []
        begun: list[_Asked] = []
        for asked, status, document in zip(self._asked, statuses, documents, strict=True):
            try:
                found.append((asked, *self._document(asked, status, document, replays)))
            except FaultError as fault:
                self._diverges(asked, fault)
            except UnansweredError as error:
                asked.chain.silent = error.why
                self._findings.remark(f"{asked.chain.name}: does not answer ({error.why}): it is not compared")
            except Exception as error:  # noqa: BLE001 - whatever its document makes this program do, it is that node's
                unusable = FaultError(Part.GENESIS, "a document that a ledger can start from", str(error))
                self._diverges(asked, unusable)
        if all(asked.chain.silent for asked in self._asked):
            whys = "; ".join(f"{asked.chain.name}: {asked.chain.silent}" for asked in self._asked)
            subject = "no node answers"
            raise NotAuditableError(subject, whys)
        right = [(genesis, name) for _, genesis, name in found if self._all.wanted in {None, name}]
        wanted = right[0][1] if right else self._all.wanted or b""
        for asked, _, name in found:
            if name == wanted:
                begun.append(asked)
            else:
                self._diverges(asked, FaultError(Part.GENESIS, f"hash 0x{wanted.hex()}", f"0x{name.hex()}"))
        if not right:
            return
        self._all.chains += [asked.chain for asked in begun if asked.node.first == 1]
        genesis, self._all.genesis_hash = right[0]
        tally = self._findings.tallies[GENESIS]
        tally.add("validators", len(genesis.validators))
        tally.add("members", len(genesis.members))
        tally.add("block made again")
        tally.add("nodes that have it", len(begun))
        if self._auditor:
            yield self._auditor.certificates(genesis)
        else:  # a height is asked for no more once all nodes have passed it
            yield Certificates(genesis, replays, memory=(len(self._asked) + 1) * PAGE_HEIGHTS)

    @staticmethod
    def _document(
        asked: _Asked, status: Future[Reply], document: Future[Reply], replays: Replays
    ) -> tuple[Genesis, bytes]:
        asked.node.read_status(status)
        genesis = asked.node.read_genesis(document)
        return genesis, replays.begin(genesis).replay.genesis_hash

    def _heights(self, certificates: Certificates) -> None:
        """Follow every node up to where it stood when it was asked first."""
        going: list[Walk] = []
        for asked in self._asked:
            if any(asked.chain is chain for chain in self._all.chains):
                asked.walk = Walk(asked.chain, asked.node, certificates, self._findings, HEIGHTS)
                going.append(asked.walk)
        target, before = 0, certificates.signatures
        while going:
            target += PAGE_HEIGHTS
            for walk in going:
                self._follow(walk, target)
            going = [walk for walk in going if not walk.ended]
            if going and target % _TOLD_EVERY == 0:
                self._findings.say(f"{HEIGHTS} after {target:,} of {max(walk.chain.decided for walk in going):,}")
        self._findings.tallies[HEIGHTS].add("nodes", len(self._all.chains))
        self._findings.tallies[HEIGHTS].add("different commit signatures", certificates.signatures - before)

    def _follow(self, walk: Walk, target: int) -> None:
        try:
            walk.to(target)
        except Exception as error:  # noqa: BLE001 - one node's bytes must not end the audit of the others
            walk.fail(f"{type(error).__name__}: {error}")

    def _blobs(self, directory: Path) -> FetchedBlobs:
        learned = dict.fromkeys(edge for asked in self._asked for edge in asked.node.edges)
        edges = self._edges or tuple(learned)
        if edges:
            self._findings.remark(
                "blobs are taken from whichever edge server gives them; what each one holds is not compared with what"
                " it acknowledged"
            )
        else:
            self._findings.remark("neither --edge nor a node names edge servers: rounds are checked by signatures only")
        self._findings.tallies[BLOBS].add("edge servers", len(edges))
        most = max(_BLOB_BYTES_LEAST, MODEL_HEADER_BYTES + MODEL_ITEM_BYTES * self._all.dimension())
        if self._all.has_references():  # how many rows they have says the job file, which is a blob itself
            most = MAX_BLOB_BYTES
        return FetchedBlobs(edges, self._fetcher, directory, most, self._findings, coming=self._all.named_blobs())

    def _compare(self, certificates: Certificates) -> None:
        """Compare the chains, and what each node calls its validators with who they are."""
        self._all.compare(NODES)
        for asked in self._asked:
            if asked.walk is not None and asked.chain.complete:
                try:
                    self._validators(asked, certificates.following(asked.walk.verified))
                except FaultError as fault:
                    self._diverges(asked, fault, asked.chain.height + 1)
                except UnansweredError as error:
                    self._findings.remark(f"{asked.chain.name}: does not say its validators ({error.why})")
        for asked in self._asked:
            if asked.node.first > 1 and not asked.chain.silent:
                self._begun_later(asked)
        self._all.find_head(behind=True)

    def _begun_later(self, asked: _Asked) -> None:
        """Compare a node that started from a snapshot, height by height, with what the others prove.

        Its first heights it cannot show. What it has must be, hash for hash, the chain that was followed from genesis.
        """
        node, name = asked.node, asked.chain.name
        proven = max((chain.headers for chain in self._all.chains if chain.complete), key=len, default=[])
        last = min(node.decided, len(proven))
        if last < node.first:
            self._findings.remark(f"{name}: begins at height {node.first}, which no other shows: it is not compared")
            return
        for height in range(node.first, last + 1):
            try:
                _same_header(node.records(height).header, proven[height - 1])
            except FaultError as fault:
                self._diverges(asked, fault, height)
                return
            except UnansweredError as error:
                asked.chain.silent = error.why
                self._findings.remark(f"{name}: does not answer any more ({error.why}), from height {height} on")
                return
            asked.compared = height
            self._findings.tallies[NODES].add("header hashes")
        self._findings.remark(f"{name}: began from a snapshot; compared from height {node.first} on")

    def _validators(self, asked: _Asked, following: light.ValidatorSet) -> None:
        found = asked.node.validators(asked.chain.height + 1)
        if found != following:
            expected, given = (light.validators_hash(validators).hex() for validators in (following, found))
            raise FaultError(Part.VALIDATORS, f"hash 0x{expected}", f"0x{given}")
        self._findings.tallies[NODES].add("sets of validators")

    def _diverges(self, asked: _Asked, fault: FaultError, height: int | None = None) -> None:
        self._findings.diverges(
            Divergence(
                store=asked.chain.name, part=fault.part, expected=fault.expected, found=fault.found, height=height
            )
        )


def audit_network(
    urls: Sequence[str],
    *,
    edges: Sequence[str] = (),
    genesis_hash: bytes | None = None,
    head: bytes | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    answer_s: float = ANSWER_S,
    auditor: Auditor | None = None,
    https: httpx.AsyncBaseTransport | None = None,
) -> AuditReport:
    """Audit a network that runs by what its nodes answer.

    Args:
        urls: JSON-RPC of one node or several, which are compared.
        edges: intakes of edge servers, for blobs; without any, those that the nodes name.
        genesis_hash: the hash of block 0 (32 bytes) that the caller trusts; without it the report says that the network
            is self-consistent only.
        head: the hash of an engine header or a ledger block that must be in the chain.
        progress: called with the name of each part when it begins, and with how far it has come.
        clock: times the parts; the machine's by default.
        answer_s: how long an answer may take.
        auditor: what it knows is not verified again, and it remembers everything; without one, no more of what the
            nodes answer is remembered than some pages of each.
        https: speaks TLS with https URLs (`node.tls.transport`); by default httpx's own, with the system's roots.

    Raises:
        ConfigError: a URL that is none, or one that is named twice.
        NotAuditableError: no node answers at all.

    """
    nodes = [checked_url(url, "--rpc") for url in urls]
    if not nodes:
        message = "name at least one node by --rpc URL"
        raise ConfigError(message)
    if len(set(nodes)) < len(nodes):
        message = f"--rpc {max(nodes, key=nodes.count)}: named twice; a node is compared with others, not with itself"
        raise ConfigError(message)
    servers = tuple(dict.fromkeys(checked_url(url, "--edge") for url in edges))
    findings = Findings(clock or SystemClock(), progress)
    chains = Chains(_WHOLE, findings, genesis_hash, head)
    with Fetcher(answer_s, https) as fetcher, TemporaryDirectory(prefix="merit-audit-") as directory:
        asked = [Node(url, fetcher) for url in nodes]
        audit = _NetworkAudit(asked, servers, fetcher, chains=chains, findings=findings, auditor=auditor)
        return audit.run(Path(directory))
