"""What computing one round again gave, without its large vectors: for another process, or for an audit that goes on."""

from typing import Self

import msgspec
import numpy as np

from contracts.digests import Part as NamedPart
from contracts.digests import settlement
from learner.rounds import Outcome, RoundResult
from node.audit.findings import Findings
from node.audit.report import Divergence, Tally
from node.rounds.attestation import ScoredRound
from node.rounds.context import Beside
from node.rounds.history import decode_history
from node.rounds.log import JobLog, Selection


class KeptRound(msgspec.Struct, frozen=True, kw_only=True):
    """A `ScoredRound`: `gram` int64[k, k] as little-endian bytes, thetas in ppb, the attested parts by name."""

    outcome: str
    gram: bytes
    thetas: tuple[int, ...]
    worth: dict[str, tuple[int, ...]]
    parts: tuple[tuple[bytes, bytes], ...]
    plan: bytes
    history: bytes
    versions: tuple[int, ...]

    @classmethod
    def of(cls, scored: ScoredRound) -> Self | None:
        """Keep a round that was computed; None for one that computes nothing."""
        result = scored.result
        if result is None:
            return None
        return cls(
            outcome=str(result.outcome),
            gram=result.gram.astype("<i8").tobytes(),
            thetas=result.thetas,
            worth={name: tuple(column) for name, column in result.parts.items()},
            parts=tuple((part.name, part.digest) for part in scored.parts),
            plan=scored.plan_blob,
            history=scored.history_blob,
            versions=() if scored.names is None else scored.names.versions,
        )

    def scored(self, selection: Selection, log: JobLog) -> ScoredRound:
        """Return the round as it was scored, but without aggregate and model."""
        count = len(selection.records)
        gram = np.frombuffer(self.gram, dtype="<i8").astype(np.int64).reshape(count, count)
        nothing, empty = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
        history = decode_history(self.history) if self.history else {}
        result = RoundResult(
            Outcome(self.outcome), gram, self.thetas, (), sum(self.thetas), nothing, empty, self.worth, history
        )
        table = settlement([entry.client for entry in selection.records], self.thetas)
        parts = tuple(NamedPart(name, digest) for name, digest in self.parts)
        names = Beside(log.needs_of(selection.round), self.versions)
        return ScoredRound(selection, result, table, b"", parts, self.plan, self.history, names)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A round of a job that was computed again, and all that was found meanwhile.

    `scored` is None if blobs were lost. `verdicts`: what is wrong with the update of a record by its number, None for
    nothing.
    """

    job: int
    round: int
    scored: KeptRound | None
    divergences: tuple[Divergence, ...]
    remarks: tuple[str, ...]
    counts: dict[str, int]
    verdicts: dict[int, str | None]

    @property
    def key(self) -> tuple[int, int]:
        """Which round of which job."""
        return self.job, self.round

    def tell(self, findings: Findings, part: str) -> None:
        """Add what was found to what is known, counted under `part`."""
        for divergence in self.divergences:
            findings.diverges(divergence)
        for text in self.remarks:
            findings.remark(text)
        tally = findings.tallies.setdefault(part, Tally(part))
        for what, number in self.counts.items():
            tally.add(what, number)
