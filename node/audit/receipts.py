"""Makes a client's receipt out of stores or from a node, which are verified and executed again on the way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chain import light
from chain.light import Height, LightBlock
from contracts import events as kinds
from merit.clock import Clock, SystemClock
from node.audit.bundle import HEIGHTS
from node.audit.certificates import Certificates, Past
from node.audit.container import Key, Kind, Writer, receipt_key
from node.audit.errors import NotAuditableError
from node.audit.findings import Findings, Progress
from node.audit.history import blocks_of
from node.audit.members import Members
from node.audit.origins import Origin, origin
from node.audit.receipt import NAME, OF_HEIGHT, ReceiptReport, audit_receipt, events_of, policy, told_of
from node.audit.replay import Replay, Replays, Step
from node.audit.scope import ReceiptScope, encode_scope
from node.audit.source import HeightRecords, Source
from node.audit.walk import EngineChain, Walk
from node.errors import SelectionDivergesError
from node.rounds.log import JobLog

_FIRST: Final = 1


class _Seen:
    """A source that remembers the headers and commits that it gave."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.decided = source.name, source.decided
        self.signed: list[tuple[bytes, bytes]] = []

    def records(self, height: int) -> HeightRecords:
        found = self._source.records(height)
        self.signed.append((found.header, found.commit))
        return found

    def outcome(self, step: Step) -> bytes:
        return self._source.outcome(step)


def save_receipt(
    target: Path | str,
    path: Path,
    client: int,
    *,
    job: int = 1,
    sequence: int | None = None,
    edges: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> ReceiptReport:
    """Write what proves a client's record and, once it is there, its reward; return what it proves.

    Args:
        target: the directory of a run, a stopped node's home under CometBFT, or the URL of a node.
        path: where the receipt goes.
        client: the client's member id.
        job: number of the job.
        sequence: the record's number in the job; by default the client's newest record there.
        edges: intakes of edge servers; see `node.audit.export.export_rounds`.
        progress: called with the name of each part when it begins.
        clock: times the parts; the machine's by default.

    Raises:
        NotAuditableError: the record is not to be had there, or no header commits to its block yet; or what is there
            does not follow from its own genesis document.

    """
    findings = Findings(clock or SystemClock(), progress)
    with origin(target, edges, findings) as found:
        making = _Making(found, findings)
        making.write(path, making.scope(job, client, sequence))
    return audit_receipt(path, genesis_hash=making.genesis_hash)


class _Making:
    """The making of one receipt."""

    def __init__(self, origin: Origin, findings: Findings) -> None:
        self._origin = origin
        certificates = Certificates(origin.genesis, Replays(), memory=1)
        self._source, chain = _Seen(origin.source), EngineChain(NAME)
        with findings.timed(HEIGHTS):
            Walk(chain, self._source, certificates, findings, HEIGHTS).to(self._source.decided)
        if findings.divergences or chain.cursor is None or not chain.complete:
            why = findings.divergences[0].line() if findings.divergences else chain.silent
            raise NotAuditableError(origin.name, why)
        self._past = Past(chain.cursor, chain.headers)
        self._height = chain.height

    @property
    def _replay(self) -> Replay:
        return self._past.cursor.replay

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0."""
        return self._replay.genesis_hash

    def scope(self, job: int, client: int, sequence: int | None) -> ReceiptScope:
        """Find the record, the round that took it, and the blocks and heights that tell of them."""
        log = self._log(job)
        own = [] if log is None else [one for one in log.records if one.client == client]
        chosen = [one for one in own if sequence in {None, one.sequence}]
        if not chosen:
            which = "no record" if sequence is None else f"no record {sequence}"
            why = f"client {client} has {which} in job {job}"
            raise NotAuditableError(self._origin.name, why)
        entry = chosen[-1]
        draft = ReceiptScope(
            job=job, client=client, sequence=entry.sequence, round=entry.round or None, heights=(), blocks=()
        )
        steps = [
            step
            for step in self._replay.steps[_FIRST:]
            if step.block is not None and told_of(events_of(step.block.number, step.block.receipts), draft)
        ]
        known = [step for step in steps if step.height < self._height]
        if not known:
            why = f"no header commits yet to what height {steps[0].height} gave; ask again after the next height"
            raise NotAuditableError(self._origin.name, why)
        blocks = tuple((int(step.block.number), len(step.block.receipts)) for step in known if step.block is not None)
        heights = self._trace(sorted({_FIRST, *(step.height + 1 for step in known)}))
        return ReceiptScope(
            job=job, client=client, sequence=entry.sequence, round=draft.round, heights=heights, blocks=blocks
        )

    def _log(self, job: int) -> JobLog | None:
        """Follow a job; blobs are asked for only if the log shows that a record was a copy."""
        try:
            return _followed(self._replay, job, lambda digest: digest)
        except SelectionDivergesError:
            blobs = self._origin.blobs
            return _followed(self._replay, job, lambda digest: blobs.payload_digest(digest) or digest)

    def _trace(self, heights: list[int]) -> tuple[int, ...]:
        """Return these heights, and those between that somebody needs who follows the validators from the first."""
        found = [self.light_block(Height(heights[0]))]
        for height in heights[1:]:
            target = self.light_block(Height(height))
            steps = light.bisect(found[-1], Height(height), self, policy(self._origin.genesis), target.header.time)
            found += steps[1:]
        return tuple(int(one.height) for one in found)

    def light_block(self, height: Height) -> LightBlock:
        """Return a height that was verified (`light.Source`)."""
        header, commit = self._source.signed[height - 1]
        return LightBlock(light.decode_header(header), light.decode_commit(commit), self._past.validators(height))

    def write(self, path: Path, scope: ReceiptScope) -> None:
        """Write the file."""
        with Writer(path) as writer:
            writer.add(Key(Kind.SCOPE), encode_scope(scope))
            writer.add(Key(Kind.GENESIS), self._origin.genesis.encode())
            for height in scope.heights:
                validators = light.encode_validators(self._past.validators(height))
                contents = (*self._source.signed[height - 1], validators)
                for kind, content in zip(OF_HEIGHT, contents, strict=True):
                    writer.add(Key(kind, height), content)
            for number, _ in scope.blocks:
                block = self._replay.reader.block(number)
                writer.add(Key(Kind.BLOCK, number), block.header.encode())
                for index, receipt in enumerate(block.receipts):
                    writer.add(receipt_key(number, index), receipt.encode())


def _followed(replay: Replay, job: int, payload: Callable[[bytes], bytes | None]) -> JobLog | None:
    """Return the log of a job at the end of a replay; None if there is no such job."""
    members, log = Members.at_genesis(replay.genesis), None
    for block in blocks_of(replay):
        for event in block.events:
            members.apply(event)
            if isinstance(event, kinds.JobCreated) and event.job == job:
                log = JobLog(job=job, terms=event.terms, edge_set_of=lambda number: members.edge_sets[number])
        if log is not None:
            log.observe(block.block_events(), payload)
    return log
