"""Writes a bundle: takes rounds of a job, with all that proves and makes them, out of stores or from a node."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts import events as kinds
from merit.clock import Clock, SystemClock
from node.audit.blobs import Blobs
from node.audit.bundle import HEIGHTS, NAME, OF_HEIGHT, RECORDS, ROUNDS
from node.audit.certificates import Certificates
from node.audit.chains import Chains
from node.audit.container import Key, Kind, Writer
from node.audit.errors import NotAuditableError
from node.audit.findings import Findings, Progress
from node.audit.history import events_in
from node.audit.origins import Origin, origin
from node.audit.replay import Replays, Step
from node.audit.report import Divergence, Part
from node.audit.scope import RoundsScope, encode_scope
from node.audit.source import HeightRecords, Source
from node.audit.walk import EngineChain, Walk


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rounds of a job up to `height`, so many blobs and bytes; `divergences` are in it, too."""

    path: Path
    genesis_hash: bytes
    job: int
    first: int
    last: int
    height: int
    blobs: int
    size: int
    divergences: tuple[Divergence, ...]

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {
            "file": str(self.path),
            "genesis_hash": "0x" + self.genesis_hash.hex(),
            "job": self.job,
            "rounds": [self.first, self.last],
            "height": self.height,
            "blobs": self.blobs,
            "bytes": self.size,
            "divergences": [one.to_json() for one in self.divergences],
        }


class _Written:
    """A source that writes down what it gives."""

    def __init__(self, source: Source, writer: Writer) -> None:
        self._source, self._writer = source, writer
        self.name, self.decided = source.name, source.decided

    def records(self, height: int) -> HeightRecords:
        found = self._source.records(height)
        contents = (found.header, found.commit, found.transactions, found.evidence)
        for kind, content in zip(OF_HEIGHT, contents, strict=True):
            self._writer.add(Key(kind, height), content)
        return found

    def outcome(self, step: Step) -> bytes:
        return self._source.outcome(step)


@dataclass(slots=True)
class _Noting(Blobs):
    """Another's blobs, of which it notes those that are given away."""

    of: Blobs = field(default_factory=Blobs)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self.of

    def get(self, digest: bytes) -> bytes | None:
        found = self.of.get(digest)
        if found is not None:
            self.given.add(digest)
        return found

    def payload_digest(self, digest: bytes) -> bytes | None:
        return self.of.payload_digest(digest)


def export_rounds(
    target: Path | str,
    path: Path,
    rounds: tuple[int, int],
    *,
    job: int = 1,
    edges: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Exported:
    """Write a bundle that proves rounds of a job.

    Args:
        target: the directory of a run, a node's home under CometBFT, or the URL of a node.
        path: where the bundle goes.
        rounds: the first and the last of them.
        job: its number.
        edges: intakes of edge servers, for blobs; without any, those that the node names. Only with a URL.
        progress: called with the name of each part when it begins.
        clock: times the parts; the machine's by default.

    Raises:
        NotAuditableError: the rounds are not to be had there: not decided and paid yet, or their blobs are gone; or
            what is there does not follow from its own genesis document.

    """
    findings = Findings(clock or SystemClock(), progress)
    with origin(target, edges, findings) as found:
        scope = RoundsScope(job=job, first=rounds[0], last=rounds[1])
        return _Export(found, findings, scope).write(path)


class _Export:
    """One export: an audit of the rounds that writes down what it reads."""

    def __init__(self, origin: Origin, findings: Findings, scope: RoundsScope) -> None:
        self._origin, self._findings, self._scope = origin, findings, scope
        self._all = Chains(NAME, findings, None, None)

    def write(self, path: Path) -> Exported:
        origin, scope = self._origin, self._scope
        with Writer(path) as writer:
            writer.add(Key(Kind.SCOPE), encode_scope(scope))
            writer.add(Key(Kind.GENESIS), origin.genesis.encode())
            with self._findings.timed(HEIGHTS):
                height = self._heights(_Written(origin.source, writer))
            with self._findings.timed(RECORDS):
                self._all.records()
            blobs = _Noting(of=origin.blobs)
            with self._findings.timed(ROUNDS):
                self._all.rounds(blobs, scope)
            missing = next((one for one in self._findings.divergences if one.part is Part.BUNDLE), None)
            if missing is not None:
                raise NotAuditableError(origin.name, f"not all of it is there: {missing.line()}")
            names = sorted(blobs.given)
            writer.add(Key(Kind.NAMES), b"".join(names))
            for number, name in enumerate(names):
                writer.add(Key(Kind.BLOB, number), origin.blobs.get(name) or b"")
        genesis_hash = self._all.genesis_hash
        size, found = path.stat().st_size, tuple(self._findings.divergences)
        return Exported(path, genesis_hash, scope.job, scope.first, scope.last, height, len(names), size, found)

    def _heights(self, source: _Written) -> int:
        """Follow the chain until the last round is paid, and one height more, which commits to that."""
        certificates = Certificates(self._origin.genesis, Replays(), memory=1)
        chain = EngineChain(NAME, f"history of {self._origin.name}")
        walk = Walk(chain, source, certificates, self._findings, HEIGHTS)
        cursor = certificates.replays.begin(self._origin.genesis)
        self._all.genesis_hash = cursor.replay.genesis_hash
        self._all.chains = [chain]
        paid = False
        for height in range(1, source.decided + 1):
            walk.to(height)
            if chain.height < height:
                found = [one.line() for one in self._findings.divergences]
                why = f"height {height}: {chain.silent}" if chain.silent else found[0]
                raise NotAuditableError(self._origin.name, why)
            if paid:
                break
            paid = chain.cursor is not None and self._settles(chain.cursor.step)
        if not paid:
            last = f"round {self._scope.last} of job {self._scope.job}"
            why = f"{last} is not decided and paid there, up to height {chain.height}"
            raise NotAuditableError(self._origin.name, why)
        return chain.height

    def _settles(self, step: Step) -> bool:
        """Tell whether nothing of the last round is left to be done after this height."""
        wanted = self._scope.job, self._scope.last
        return step.block is not None and any(
            isinstance(event, kinds.RoundSettled | kinds.RoundUnpaid | kinds.RoundVoid)
            and (event.job, event.round) == wanted
            for event in events_in(step.block)
        )
