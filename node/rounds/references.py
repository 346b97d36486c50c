"""What the events say about one job's references: who committed to which, and which of them count for a record.

Like `node.rounds.log`, a pure function of the event log (and of the selections that follow from it). The rules:

- A commitment to references of version v counts if it is its edge server's first one to what became model v, comes
  before the first record with base v, and not after the block at whose end the references of v are opened.
- The references of v are *opened* at block H of the first round that uses them. Before, nobody shows them.
- A record uses the references of its base, if they were not opened before its block; else those of the version that was
  current when it was sequenced, if these were not; else those of the next version, whose model did not exist yet.
  A rule that reads root updates of the current version uses, for round r, those of version r - 1 as well.
- Opened references are *settled* at the end of the first block at which more than 2/3 of the edge set in force hold the
  references of every commitment that counts, or by whose time `record_deadline` has passed since block H. Those that
  so many hold then are used, the others never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts import events
from learner.contribution import Needs
from node.rounds.log import BlockEvents, JobLog, RecordEntry, Selection


@dataclass(frozen=True, slots=True)
class Commitment:
    """An edge server's word on its references of a version: the digests of the model and of the references' blob."""

    edge: int
    version: int
    model: bytes
    digest: bytes
    height: int


@dataclass(slots=True)
class _Opening:
    """The references of a version from block H = `height` on; `used` is None until they are settled."""

    height: int
    deadline: int
    counted: tuple[Commitment, ...]
    used: tuple[Commitment, ...] | None = None


@dataclass(slots=True)
class ReferenceLog:
    """The references of one job, advanced block by block with `observe`."""

    job: int
    version: int = 0
    commitments: dict[int, list[Commitment]] = field(default_factory=dict)
    late: list[Commitment] = field(default_factory=list)
    _current: list[int] = field(default_factory=list)
    _bases: set[int] = field(default_factory=set)
    _openings: dict[int, _Opening] = field(default_factory=dict)
    _unsettled: set[int] = field(default_factory=set)
    _held: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)
    _blocks: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    _decided: int = 0

    def observe(self, block: BlockEvents, log: JobLog) -> None:
        """Apply one block's events, after the job's log has observed the block."""
        for outcome in log.outcomes[self._decided :]:
            if outcome.selection is not None:
                self.open(outcome.selection, log)
        if len(log.outcomes) > self._decided:
            self._blocks.clear()
        self._decided = len(log.outcomes)
        for event in block.events:
            if getattr(event, "job", None) == self.job:
                self._apply(event)
        self._blocks.append((block.height, block.timestamp, log.edge_set))
        for version in tuple(self._unsettled):
            self._judge(version, self._blocks[-1:])

    def open(self, selection: Selection, log: JobLog) -> None:
        """Open what a round uses, if it is not open yet; its selection must not change any more."""
        needs = log.needs_of(selection.round)
        for version in self.used_by(selection, needs):
            if version in self._openings:
                continue
            timestamp = next(stamp for height, stamp, _ in self._blocks if height == selection.height)
            counted = self.counted(version, log.model_at(version), selection.height)
            deadline = timestamp + log.terms.record_deadline
            self._openings[version] = _Opening(selection.height, deadline, counted)
            self._unsettled.add(version)
            self._judge(version, [known for known in self._blocks if known[0] >= selection.height])

    def used_by(self, selection: Selection, needs: Needs) -> tuple[int, ...]:
        """Return the versions whose references a round uses, in ascending order."""
        found = {self.beside(entry) for entry in selection.records} if needs.at_base else set()
        return tuple(sorted(found | ({selection.round - 1} if needs.newest_root and selection.records else set())))

    def beside(self, entry: RecordEntry) -> int:
        """Return the version whose references an available record counts against."""
        current = self._current[entry.sequence]
        return next((v for v in (entry.base, current) if not self._open_before(v, entry.height)), current + 1)

    def counted(self, version: int, model: bytes, height: int) -> tuple[Commitment, ...]:
        """Return the commitments to a version's `model` that count if block `height` opens it, by edge server."""
        found: dict[int, Commitment] = {}
        for commitment in self.commitments.get(version, ()):
            if commitment.model == model and commitment.height <= height:
                found.setdefault(commitment.edge, commitment)
        return tuple(found[edge] for edge in sorted(found))

    def settled(self, version: int) -> tuple[Commitment, ...] | None:
        """Return what is used of an opened version, None while that is not settled."""
        opening = self._openings.get(version)
        return None if opening is None else opening.used

    def opened(self) -> dict[int, tuple[Commitment, ...]]:
        """Return the commitments that count, of every version that was opened."""
        return {version: opening.counted for version, opening in sorted(self._openings.items())}

    def unsettled(self) -> dict[int, tuple[Commitment, ...]]:
        """Return the commitments that count, of the versions that are opened and not settled."""
        return {version: self._openings[version].counted for version in sorted(self._unsettled)}

    def next_deadline(self) -> int | None:
        """Return the block time at which the next opened version is settled in any case, None if all are."""
        return min((self._openings[version].deadline for version in self._unsettled), default=None)

    def may_commit(self, version: int) -> bool:
        """Tell whether a commitment to a version could still count."""
        return version >= self.version and version not in self._bases and version not in self._openings

    def holders(self, version: int, edge: int) -> set[int]:
        """Return the edge servers that said that they hold an edge server's references."""
        return {by for by, of in self._held.get(version, {}) if of == edge}

    def _apply(self, event: events.Event) -> None:
        match event:
            case events.Recorded():
                self._current.append(self.version)
                self._bases.add(event.base)
            case events.RoundAgreed() | events.RoundVoid():
                self.version = event.round
            case events.ReferencesCommitted():
                made = Commitment(event.edge, event.version, event.model, event.digest, event.block)
                (self.late if event.version in self._bases else self.commitments.setdefault(made.version, [])).append(
                    made
                )
            case events.ReferencesAcknowledged():
                held = self._held.setdefault(event.version, {})
                for edge in event.held:
                    held.setdefault((event.edge, edge), event.block)
            case _:
                pass  # the log's business

    def _open_before(self, version: int, height: int) -> bool:
        opening = self._openings.get(version)
        return opening is not None and opening.height < height

    def _judge(self, version: int, blocks: Sequence[tuple[int, int, tuple[int, ...]]]) -> None:
        """Settle an opened version at the first of these blocks that allows it."""
        opening = self._openings[version]
        held = self._held.get(version, {})
        for height, timestamp, servers in blocks:
            used = tuple(
                one
                for one in opening.counted
                if 3 * sum(held.get((by, one.edge), height + 1) <= height for by in servers) > 2 * len(servers)
            )
            if len(used) == len(opening.counted) or timestamp > opening.deadline:
                opening.used = used
                self._unsettled.discard(version)
                return
