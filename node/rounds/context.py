"""What a round is scored beside on a ledger: references, earlier records, steps and the clients' history, by name.

Everything is named by a digest that is on chain, so that edge servers and auditors put the same `Context` together from
blobs. What the ledger does not carry is the sum of each client's updates: it is as large as a model for each client.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from learner.context import Context, step_between
from learner.contribution import History, Needs
from learner.fixedpoint import Model, Update
from learner.references import References
from learner.rounds import Entry
from node.rounds.log import JobLog, RecordEntry, Selection
from node.rounds.references import Commitment, ReferenceLog

_REFERENCES_DOMAIN = b"merit/references/1"


@dataclass(frozen=True, slots=True)
class Beside:
    """What a selected round is scored beside, by name; empty where its rule does not ask.

    `versions`: of each record, in the order of selection, the version whose references it counts against. `used`: the
    references of each version that is read. `records` and `steps` by round: what it consumed; the digests of the models
    before and after it. `history`: digest of the history before the round, b"" for none.
    """

    needs: Needs
    versions: tuple[int, ...] = ()
    used: Mapping[int, tuple[Commitment, ...]] = field(default_factory=dict)
    records: Mapping[int, tuple[RecordEntry, ...]] = field(default_factory=dict)
    steps: Mapping[int, tuple[bytes, bytes]] = field(default_factory=dict)
    history: bytes = b""

    @property
    def digests(self) -> set[bytes]:
        """Names of all blobs that the context is made of."""
        return {
            *(one.digest for commitments in self.used.values() for one in commitments),
            *(entry.digest for entries in self.records.values() for entry in entries),
            *(digest for models in self.steps.values() for digest in models),
            *filter(None, [self.history]),
        }

    def part(self, selection: Selection) -> bytes:
        """Digest of part "references": which of whom each record counts against.

        SHA-256 over the domain, job, round, number of records, each record's version, number of versions; then for each
        version in ascending order its number, how many references it has, and of each the edge server and the digest of
        the blob. Numbers in 8 bytes, big-endian.
        """
        numbers = [selection.job, selection.round, len(self.versions), *self.versions, len(self.used)]
        fields = [_REFERENCES_DOMAIN, *(n.to_bytes(8, "big") for n in numbers)]
        for version in sorted(self.used):
            fields += [n.to_bytes(8, "big") for n in (version, len(self.used[version]))]
            for one in self.used[version]:
                fields += [one.edge.to_bytes(8, "big"), one.digest]
        return hashlib.sha256(b"".join(fields)).digest()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the contents of names come from; None for one that is not here."""

    references: Callable[[Commitment], References | None]
    update: Callable[[RecordEntry], Update | None]
    model: Callable[[bytes], Model | None]
    history: Callable[[bytes], History | None]


def beside(selection: Selection, log: JobLog, references: ReferenceLog) -> Beside | None:
    """Name what a round is scored beside; None while references that it uses are not settled."""
    needs = log.needs_of(selection.round)
    used: dict[int, tuple[Commitment, ...]] = {}
    versions: tuple[int, ...] = ()
    if needs.references:
        versions = tuple(references.beside(entry) for entry in selection.records)
        for version in references.used_by(selection, needs):
            settled = references.settled(version)
            if settled is None:
                return None
            used[version] = settled
    records: dict[int, tuple[RecordEntry, ...]] = {}
    steps: dict[int, tuple[bytes, bytes]] = {}
    if needs.window is not None:
        for past in range(max(1, selection.round - needs.window.rounds), selection.round):
            chosen = log.outcomes[past - 1].selection
            records[past] = () if chosen is None else chosen.records
        for past in range(max(1, selection.round - needs.window.steps), selection.round):
            steps[past] = (log.model_at(past - 1), log.model_at(past))
    history = log.history_at(selection.round - 1) if needs.history else b""
    return Beside(needs, versions, used, records, steps, history)


def entries_of(
    selection: Selection, updates: Sequence[Update], samples: Mapping[int, int], names: Beside
) -> list[Entry]:
    """Return a round's entries: its records with their updates and what the job file credits to their clients."""
    versions: Sequence[int | None] = names.versions or (None,) * len(updates)
    return [
        Entry(record.base, update, samples.get(record.client, 0), record.client, version)
        for record, update, version in zip(selection.records, updates, versions, strict=True)
    ]


def context_of(names: Beside, sources: Sources, shift: int, weights: tuple[int, ...]) -> Context | None:
    """Put a context together from blobs; None if one is not here, or the rule needs sums of updates.

    `weights`: what each class counts by the job file (`JobFile.class_weights`).
    """
    if names.needs.sums:
        return None
    references = {
        version: [sources.references(one) for one in commitments] for version, commitments in names.used.items()
    }
    records = {past: [sources.update(entry) for entry in entries] for past, entries in names.records.items()}
    models = {digest: sources.model(digest) for pair in names.steps.values() for digest in pair}
    history = sources.history(names.history) if names.history else {}
    found = {digest: model for digest, model in models.items() if model is not None}
    published = {version: [one for one in table if one is not None] for version, table in references.items()}
    present = {past: [one for one in updates if one is not None] for past, updates in records.items()}
    lost = len(found) < len(models) or history is None
    lost = lost or any(len(published[version]) < len(table) for version, table in references.items())
    if lost or history is None or any(len(present[past]) < len(updates) for past, updates in records.items()):
        return None
    steps = {past: step_between(found[old], found[new], shift) for past, (old, new) in names.steps.items()}
    return Context(references=published, records=present, steps=steps, history=history, weights=weights)
