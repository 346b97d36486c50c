"""A bundle: some rounds of a job with everything that it takes to compute them again, in one file, offline.

    scope                                  which rounds (`node.audit.scope`)
    genesis                                the genesis document
    header, commit, transactions, evidence of each height, from 1 to where the last of these rounds is paid
    names                                  SHA-256 of each blob, ascending, 32 bytes each
    blob, blob, ...                        in that order

Nothing in it is believed: from the genesis hash on, every height is verified and executed again as for a node
(`node.audit.walk`), so that validators, members and records follow from it; every blob must hash to its name, be named
by that history, and be needed.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count, pairwise, takewhile
from pathlib import Path
from typing import Final

from chain.genesis import Genesis, decode_genesis
from merit.clock import Clock, SystemClock
from node.audit.blobs import Blobs, Content, content_of
from node.audit.certificates import Certificates
from node.audit.chains import GENESIS, Chains
from node.audit.container import Container, Key, Kind
from node.audit.effort import ONE, Effort
from node.audit.errors import FaultError, NotAuditableError
from node.audit.findings import Findings, Progress
from node.audit.replay import Replays, Step
from node.audit.report import AuditReport, Divergence, Part
from node.audit.scope import RoundsScope, decode_scope
from node.audit.source import HeightRecords
from node.audit.walk import EngineChain, Walk

HEIGHTS, RECORDS, BLOBS, ROUNDS = "heights", "records", "blobs", "rounds"
"""The parts of an audit after genesis, in their order."""

NAME: Final = "bundle"
OF_HEIGHT: Final = (Kind.HEADER, Kind.COMMIT, Kind.TRANSACTIONS, Kind.EVIDENCE)
_DIGEST_BYTES: Final = 32


def form(container: Container) -> Iterator[tuple[Key, ...]]:
    """Yield the entries of a bundle in their order (`node.audit.container.Form`)."""
    names = Key(Kind.NAMES)
    yield (Key(Kind.SCOPE),)
    yield (Key(Kind.GENESIS),)
    for height in count(1):
        first = Key(OF_HEIGHT[0], height)
        yield (first,) if height == 1 else (first, names)
        if names in container:
            break
        for kind in OF_HEIGHT[1:]:
            yield (Key(kind, height),)
    for number in range(len(container[names]) // _DIGEST_BYTES):
        yield (_blob(number),)


def _blob(number: int) -> Key:
    return Key(Kind.BLOB, number)


class BundledChain:
    """The heights of a bundle as a source of a chain."""

    name = NAME

    def __init__(self, container: Container) -> None:
        """Read what was indexed."""
        self._container = container
        self.decided = next(height for height in count(1) if Key(Kind.HEADER, height) not in container) - 1

    def records(self, height: int) -> HeightRecords:
        """Return what the bundle has for a height."""
        header, commit, transactions, evidence = (self._container[Key(kind, height)] for kind in OF_HEIGHT)
        return HeightRecords(height, header, commit, transactions, evidence, b"")

    @staticmethod
    def outcome(step: Step) -> bytes:
        """Return what a bundle says of an outcome: nothing."""
        del step
        return b""


class BundledBlobs(Blobs):
    """The blobs of a bundle; each is read when it is asked for, and `unneeded` are those that never were."""

    def __init__(self, container: Container) -> None:
        """Read the names; raises FaultError unless they rise."""
        super().__init__()
        raw = container[Key(Kind.NAMES)]
        self._container = container
        self.names = [raw[at : at + _DIGEST_BYTES] for at in range(0, len(raw), _DIGEST_BYTES)]
        self._numbers: dict[bytes, int] = {}
        if len(raw) % _DIGEST_BYTES or any(one >= other for one, other in pairwise(self.names)):
            raise FaultError(Part.BUNDLE, "names of 32 bytes that rise", f"{len(raw)} bytes that do not")

    def verify(self, contents: Iterable[Content], findings: Findings) -> None:
        """Compare every blob with its name; one that is not what it says is as good as absent, and `damaged`."""
        tally = findings.tallies[BLOBS]
        for number, (name, content) in enumerate(zip(self.names, contents, strict=True)):
            tally.add("contents")
            tally.add("bytes", content.length)
            if content.digest == name:
                self._numbers[name] = number
                self._payloads[name] = content.payload
            else:
                self.damaged[0, name] = f"blob {number}, which has SHA-256 {content.digest.hex()}"

    def __contains__(self, digest: bytes) -> bool:
        """Tell whether the bundle has it."""
        return digest in self._numbers

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests."""
        return iter(self._numbers)

    def get(self, digest: bytes) -> bytes | None:
        """Return a blob's bytes, None if the bundle does not have it."""
        number = self._numbers.get(digest)
        if number is None:
            return None
        self.given.add(digest)
        return self._container[_blob(number)]

    def unneeded(self) -> list[bytes]:
        """Return the blobs that nobody has asked for."""
        return [name for name in self.names if name in self._numbers and name not in self.given]


class _BundleAudit:
    """One audit of one bundle."""

    def __init__(self, container: Container, chains: Chains, findings: Findings, effort: Effort) -> None:
        self._container, self._all, self._findings, self._effort = container, chains, findings, effort
        self._blobs: BundledBlobs | None = None

    def run(self) -> AuditReport:
        """Audit everything; whatever raises becomes a divergence that names the part."""
        part, begun = self._all.part, list[tuple[RoundsScope, Certificates]]()
        part(GENESIS, lambda: begun.append(self._begin()))
        if begun:
            scope, certificates = begun[0]
            # SHA-256 lets other threads run, so blobs are hashed beside the heights, and waited for in their part
            with ThreadPoolExecutor(self._effort.jobs) as hashing:
                contents = hashing.map(self._content, takewhile(self._container.__contains__, map(_blob, count())))
                part(HEIGHTS, lambda: self._heights(certificates))
                part(RECORDS, self._all.records)
                part(BLOBS, lambda: self._read_blobs(contents))
            part(ROUNDS, lambda: self._rounds(scope))
            part(HEIGHTS, self._end)
        return self._all.report(str(self._container.path))

    def _begin(self) -> tuple[RoundsScope, Certificates]:
        self._container.index(form)
        scope = decode_scope(self._container[Key(Kind.SCOPE)])
        if not isinstance(scope, RoundsScope):
            raise FaultError(Part.BUNDLE, "the scope of a bundle", "that of a receipt")
        genesis, replays = decode_genesis(self._container[Key(Kind.GENESIS)]), Replays()
        self._genesis(genesis, replays.begin(genesis).replay.genesis_hash)
        return scope, Certificates(genesis, replays, memory=1)

    def _genesis(self, genesis: Genesis, found: bytes) -> None:
        wanted = self._all.wanted
        self._all.genesis_hash = found
        if wanted not in {None, found}:
            expected = b"" if wanted is None else wanted
            raise FaultError(Part.GENESIS, f"hash 0x{expected.hex()}", f"0x{found.hex()}")
        if genesis.encode() != self._container[Key(Kind.GENESIS)]:
            expected_form = "canonical JSON (sorted keys, no spaces)"
            raise FaultError(Part.GENESIS, expected_form, "another form of the same document")
        tally = self._findings.tallies[GENESIS]
        tally.add("validators", len(genesis.validators))
        tally.add("members", len(genesis.members))
        tally.add("block made again")

    def _heights(self, certificates: Certificates) -> None:
        source = BundledChain(self._container)
        chain = EngineChain(NAME, f"history of the {NAME}")
        self._all.chains = [chain]
        Walk(chain, source, certificates, self._findings, HEIGHTS).to(source.decided)
        self._findings.tallies[HEIGHTS].add("commit signatures", certificates.signatures)

    def _content(self, key: Key) -> Content:
        return content_of(BytesIO(self._container[key]))

    def _read_blobs(self, contents: Iterable[Content]) -> None:
        self._blobs = BundledBlobs(self._container)
        self._blobs.verify(contents, self._findings)

    def _rounds(self, scope: RoundsScope) -> None:
        if self._blobs is None:
            return
        self._all.rounds(self._blobs, scope, self._effort)
        for (_, name), what in self._blobs.damaged.items():
            self._diverges(f"a blob with SHA-256 {name.hex()}, its name", what)
        if not self._findings.divergences:
            for name in self._blobs.unneeded():
                self._diverges("no blob that these rounds do not need", f"blob {name.hex()}")

    def _diverges(self, expected: str, found: str) -> None:
        self._findings.diverges(Divergence(store=NAME, part=Part.BLOB, expected=expected, found=found))

    def _end(self) -> None:
        self._all.compare(HEIGHTS)
        self._all.find_head(behind=False)


def audit_bundle(
    path: Path,
    *,
    genesis_hash: bytes | None = None,
    head: bytes | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    effort: Effort = ONE,
) -> AuditReport:
    """Audit a bundle as `node.audit.export` writes it; needs no network and no other file.

    Args:
        path: the file.
        genesis_hash: the hash of block 0 (32 bytes) that the caller trusts; without it the report says that the bundle
            is self-consistent only.
        head: the hash of an engine header or a ledger block that must be in the bundle's chain.
        progress: called with the name of each part when it begins.
        clock: times the parts; the machine's by default.
        effort: how rounds are computed.

    Raises:
        NotAuditableError: the file is no bundle of this version.

    """
    if not path.is_file():
        raise NotAuditableError(path, "is no file")
    findings = Findings(clock or SystemClock(), progress)
    with Container(path) as container:
        return _BundleAudit(container, Chains(NAME, findings, genesis_hash, head), findings, effort).run()
