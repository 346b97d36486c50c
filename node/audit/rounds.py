"""Audits every job: derives its rounds from the log, computes each again, and compares what was attested and paid.

The rules are those that edge servers run (`node.rounds`, `learner.rounds`): one implementation, here over events that
come from executing the history again and blobs that hash to their names. What an outvoted server said is a remark; what
the quorum agreed on or the Ledger paid and does not follow is a divergence.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from chain.execution.transactions import describe
from contracts import digests, records
from contracts import events as kinds
from contracts.abi import functions
from contracts.addresses import LEDGER
from contracts.addresses import VESTING as VESTING_CONTRACT
from contracts.digests import Part as NamedPart
from contracts.errors import ContractsError
from contracts.events import Event
from contracts.records import ModelHeader, UpdateHeader, WorkReport
from learner import rewards
from learner.allocation.plan import Plan
from learner.context import Context
from learner.contribution import History
from learner.errors import InvalidPlan, InvalidReferences, UnknownRule, UnusableRule
from learner.fixedpoint import Model, Update, check_update
from learner.references import References
from learner.rounds import RoundInputs
from learner.staleness import tau_avg
from learner.terms import Terms
from merit.errors import MeritError
from node.audit import checks
from node.audit.arithmetic import Arithmetic, arithmetic
from node.audit.blobs import Blobs
from node.audit.errors import FaultError, NotAuditableError
from node.audit.findings import Findings
from node.audit.history import HistoryBlock, Transaction
from node.audit.kept import Kept, KeptRound
from node.audit.members import Members
from node.audit.references import Shown
from node.audit.report import ClientAccount, Divergence, Explained, ExplainedSettlement, Part, Tally
from node.audit.scope import RoundsScope
from node.audit.vesting import VestingAudit
from node.edge.references import Place
from node.errors import HistoryError, PayloadsNeededError, SelectionDivergesError
from node.jobs import JobFile, decode_job_file, learner_terms
from node.rounds.attestation import (
    ALLOCATION,
    HISTORY,
    PART_NAMES,
    REFERENCES,
    VESTING,
    Planning,
    ScoredRound,
    closing,
    decode_model,
    is_header_of,
    score,
)
from node.rounds.context import Beside, Sources, beside, context_of, entries_of
from node.rounds.history import decode_history
from node.rounds.log import JobLog, RecordEntry, RecordStatus, RoundOutcome, Selection
from node.rounds.references import Commitment, ReferenceLog

_PARTS: Final = {name: Part(name) for name in (*PART_NAMES, REFERENCES, HISTORY, VESTING, ALLOCATION)}
_INT16 = np.dtype("<i2")
_PART: Final = "rounds"


@dataclass(slots=True)
class _Payment:
    """A round being paid: what is due to whom, in order, and how much of it was credited.

    `thetas` is None when the round could not be computed again: then the rewards are checked by the thetas that the
    quorum's digest covers.
    """

    outcome: RoundOutcome
    clients: tuple[int, ...]
    thetas: tuple[int, ...] | None
    credited: list[kinds.Credited] = field(default_factory=list)
    finished: bool = False

    def due(self) -> tuple[int, ...]:
        """Return each reward in wei."""
        return rewards.rewards(self.outcome.reward_wei, self.thetas or ())


@dataclass(slots=True)
class _Job:
    """A job under audit; `derived` holds what each round that was computed again should have been attested as.

    `plan` and `history` are the newest ones that were computed, with their digests.
    """

    log: JobLog
    terms: Terms
    created: int
    references: ReferenceLog
    vesting: VestingAudit
    file: JobFile | None = None
    plan: tuple[bytes, Plan] = (b"", Plan(0))
    history: tuple[bytes, History] = (b"", MappingProxyType({}))
    stuck: bool = False
    ready: set[int] = field(default_factory=set)
    claims: dict[int, dict[int, bool]] = field(default_factory=lambda: defaultdict(dict))
    attested: dict[int, dict[int, kinds.Attested]] = field(default_factory=lambda: defaultdict(dict))
    derived: dict[int, digests.Attestation] = field(default_factory=dict)
    payments: dict[int, _Payment] = field(default_factory=dict)
    models: "OrderedDict[bytes, Model]" = field(default_factory=OrderedDict)
    verdicts: dict[int, str | None] = field(default_factory=dict)
    lost: set[bytes] = field(default_factory=set)

    @property
    def reports(self) -> bool | None:
        """Whether clients report how they worked, so that plans follow; None without the job file."""
        return None if self.file is None else self.file.allocation is not None


class Rounds:
    """The audit of all jobs; `read` takes block after block, `finish` what can be said at the end."""

    def __init__(
        self,
        members: Members,
        blobs: Blobs,
        genesis_hash: bytes,
        findings: Findings,
        *,
        store: str,
        scope: RoundsScope | None = None,
        known: Mapping[tuple[int, int], Kept] | None = None,
        share: frozenset[tuple[int, int]] | None = None,
        give: Callable[[Kept], None] | None = None,
    ) -> None:
        """Derive from `members`' edge sets and the servers' `blobs`; note what is wrong under the name `store`.

        With a `scope`, its rounds must be computed again, and no others are; whether a record before them is a copy is
        judged as far as blobs are here. What is `known` of rounds is not computed again; with a `share`, by job and
        round, no others are computed. Each that is computed is given to `give`.
        """
        self._members, self._blobs, self._genesis_hash = members, blobs, genesis_hash
        self._findings, self._store, self._scope = findings, store, scope
        self._known, self._share, self._give = known or {}, share, give
        self._uncompared: set[bytes] = set()
        self._jobs: dict[int, _Job] = {}
        self._block: HistoryBlock | None = None
        self._heights: dict[int, int] = {}
        self.explained: list[Explained] = []
        self.settled: list[ExplainedSettlement] = []
        self.arithmetic: list[Arithmetic] = []

    def read(self, block: HistoryBlock) -> None:
        """Apply a block: derive, compute, compare."""
        self._block = block
        self._heights[block.number] = block.height
        for event in block.events:
            if isinstance(event, kinds.JobCreated):
                log = JobLog(
                    job=event.job, terms=event.terms, edge_set_of=lambda number: self._members.edge_sets[number]
                )
                terms, references = learner_terms(event.terms), ReferenceLog(event.job)
                self._jobs[event.job] = _Job(log, terms, block.number, references, VestingAudit(log))
                self._open(self._jobs[event.job])
        for job in self._jobs.values():
            if not job.stuck:
                self._advance(job, block)

    def _advance(self, job: _Job, block: HistoryBlock) -> None:
        decided = len(job.log.outcomes)
        self._closing(job, block)
        for event in block.events:
            if getattr(event, "job", None) == job.log.job:
                self._note(job, event)
        if not self._observe(job, block):
            return
        for outcome in job.log.outcomes[decided:]:
            self._outcome(job, outcome)
        self._vests(job, block)
        for event in block.events:
            if getattr(event, "job", None) == job.log.job:
                self._paid(job, event)
                self._vested(job, event)
        for transaction in block.transactions:
            for event in transaction.events:
                if isinstance(event, kinds.AttestedLate) and event.job == job.log.job:
                    self._late(job, transaction, event)

    def _observe(self, job: _Job, block: HistoryBlock) -> bool:
        """Let the log take the block; False if the job's rounds cannot be followed any further."""
        while True:
            try:
                told = block.block_events()
                job.log.observe(told, lambda digest: self._payload(job, digest))
                job.references.observe(told, job.log)
            except PayloadsNeededError as needed:
                job.lost.update(needed.digests)
                for digest in needed.digests if self._blobs.anywhere else ():
                    entry = job.log.naming(digest)[0]
                    self._findings.remark(
                        f"job {job.log.job}: the blob of record {entry.sequence} (client {entry.client}) is nowhere:"
                        " whether its payload is a copy cannot be told"
                    )
            except SelectionDivergesError as error:
                if job.lost:  # a copy that could not be recognised changes a selection
                    self._findings.remark(
                        f"job {job.log.job} round {error.round}: its selection is not derived again: blobs are missing"
                    )
                else:
                    self._diverges(job, Part.SELECTION, "what the event log gives", str(error), round_=error.round)
                self._stop(job)
                return False
            else:
                return True

    def _payload(self, job: _Job, digest: bytes) -> bytes | None:
        """Return a payload's digest; for a blob that is lost its own digest, which equals no other payload's."""
        found = None if digest in job.lost else self._blobs.payload_digest(digest)
        if found is None and self._scope is not None:
            self._uncompared.add(digest)
        return digest if found is None and (self._scope is not None or digest in job.lost) else found

    def _wanted(self, job: _Job, number: int) -> bool:
        """Tell whether a round is to be computed again."""
        if self._share is not None and (job.log.job, number) not in self._share:
            return False
        return self._scope is None or self._scope.has(job.log.job, number)

    @property
    def _tally(self) -> Tally:
        return self._findings.tallies.setdefault(_PART, Tally(_PART))

    def _prove_copies(self, job: _Job, selection: Selection) -> None:
        """Read both blobs of each copy that a round passed over: a bundle needs them, or the next rounds are others."""
        for sequence, status in selection.skipped:
            if self._scope is not None and self._scope.job == job.log.job and status is RecordStatus.COPY:
                for one in (sequence, job.log.original_of(sequence)):
                    self._blobs.get(job.log.records[one].digest)

    def _stop(self, job: _Job) -> None:
        job.stuck = True
        self._findings.remark(
            f"job {job.log.job}: rounds after {job.log.version} are not computed again: they follow from one that"
            " is not what it must be, or not known"
        )

    # -- what servers say -------------------------------------------------------------------------------------------

    def _open(self, job: _Job) -> None:
        """Compare the terms on the ledger with the job file that they name."""
        terms = job.log.terms
        if self._scope is not None and self._scope.job != job.log.job:
            return
        raw = self._blobs.get(terms.job_file)
        if raw is None:
            if self._scope is not None:
                self._lost(job, Part.JOB_FILE, terms.job_file, "the job file")
            elif not self._blobs.anywhere:
                self._findings.remark(
                    f"job {job.log.job}: no blobs are here: its rounds are checked by signatures only"
                )
            elif not self._blobs.exhaustive:
                self._findings.remark(f"job {job.log.job}: no server gives its job file, blob {terms.job_file.hex()}")
            else:
                self._diverges(job, Part.JOB_FILE, f"blob {terms.job_file.hex()}", "no server has it")
            return
        try:
            job_file = decode_job_file(raw)
            asked = job_file.ledger_terms(model=terms.model, edge_set=terms.edge_set)
        except UnusableRule as error:  # a package that members may have; the job's first round, if any, asks for it
            self._findings.remark(f"job {job.log.job}: its file is not compared with its terms: {error}")
            asked = terms
        except MeritError as error:
            self._diverges(job, Part.JOB_FILE, "a job file", str(error))
            return
        if asked != terms:
            self._diverges(job, Part.JOB_FILE, f"the ledger's terms, {terms}", str(asked))
        job.file = job_file
        if self._scope is None:
            self._model(job, terms.model)
        self._tally.add("jobs")

    def _note(self, job: _Job, event: Event) -> None:
        match event:
            case kinds.JobAcknowledged():
                job.ready.add(event.edge)
            case kinds.Acknowledged():
                claims = job.claims[event.edge]
                exceptions = {*event.missing, *event.invalid}
                claims.update({s: True for s in range(event.first, event.up_to) if s not in exceptions})
                claims.update(dict.fromkeys(event.resolved, True))
                claims.update(dict.fromkeys(event.invalid, False))
            case kinds.Attested():
                job.attested[event.round][event.edge] = event
            case _:
                pass  # the log's business, or the books'

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _outcome(self, job: _Job, outcome: RoundOutcome) -> None:
        """Compute a decided round again and compare what was agreed."""
        selection = outcome.selection
        scored = None
        if selection is not None:
            self._prove_copies(job, selection)
            if self._wanted(job, outcome.round):
                scored = self._computed(job, selection, agreed=outcome.agreed)
                if self._scope is not None:
                    self._carry(outcome)
        if not outcome.agreed:
            self._tally.add("void rounds")
        elif selection is not None:
            thetas = None if scored is None or scored.result is None else scored.result.thetas
            clients = tuple(entry.client for entry in selection.records)
            job.payments[outcome.round] = _Payment(outcome, clients, thetas)
            self._tally.add("rounds" if self._wanted(job, outcome.round) else "rounds followed by signatures")
            self._tally.add("selected records", len(clients))
            if scored is not None and scored.result is not None:
                job.vesting.computed(outcome.round, scored.result.history)
            if scored is not None:
                self._agreed(job, outcome, scored)
                self._explain(job, outcome, selection, scored)
        if scored is not None:
            self._outvoted(job, outcome, scored)

    def _agreed(self, job: _Job, outcome: RoundOutcome, scored: ScoredRound) -> None:
        expected = {part.name: part.digest for part in scored.parts}
        found = {part.name: part.digest for part in outcome.parts}
        part = _first_difference(scored.parts, outcome.parts)
        named = {"thetas": outcome.thetas, "model": outcome.model}
        if part is None:
            part = next((name for name, value in named.items() if expected[digests.name32(name)] != value), None)
            found |= {digests.name32(name): value for name, value in named.items()}
        if part is not None:
            key = digests.name32(part)
            self._diverges(
                job,
                _PARTS.get(part, Part.ATTESTATION),
                expected.get(key, b"").hex() or "no such part",
                found.get(key, b"").hex() or "no such part",
                round_=outcome.round,
            )
        self._tally.add("part digests", len(expected))

    def _explain(self, job: _Job, outcome: RoundOutcome, selection: Selection, scored: ScoredRound) -> None:
        """Keep why each record of a round earns what it does."""
        result, names = scored.result, scored.names
        if result is None or names is None:
            return
        self.arithmetic.append(arithmetic(job.log.terms_of(outcome.round), outcome, selection, result))
        for at, entry in enumerate(selection.records):
            parts = {name: column[at] for name, column in result.parts.items()}
            beside_ = names.versions[at] if names.versions else None
            row = Explained(selection.job, selection.round, entry.client, entry.base, beside_, result.thetas[at], parts)
            self.explained.append(row)

    def _outvoted(self, job: _Job, outcome: RoundOutcome, scored: ScoredRound) -> None:
        """Name the servers that attest something else than the round computed again."""
        attestation = job.derived[outcome.round] = scored.attestation
        for edge, event in sorted(job.attested[outcome.round].items()):
            said = digests.Attestation(event.job, event.round, event.height, event.k, event.spent, event.parts)
            if said != attestation:
                part = _first_difference(scored.parts, event.parts) or "selection"
                self._findings.remark(
                    f"job {event.job} round {event.round}: edge server {edge} attests another {part} than the round"
                    " computed again"
                )

    def _late(self, job: _Job, transaction: Transaction, event: kinds.AttestedLate) -> None:
        """Name a server whose attestation came after the decision and differs: its event has the digest alone."""
        derived = job.derived.get(event.round)
        if derived is None:
            return
        self._tally.add("late attestations")
        if derived.digest(job.log.terms.rules_version) == event.digest:
            return
        said = _attestation_in(transaction)
        part = "attestation" if said is None else _first_difference(derived.parts, said.parts) or "selection"
        self._findings.remark(
            f"job {event.job} round {event.round}: edge server {event.edge} attests, too late to count, another {part}"
            " than the round computed again"
        )

    def _closing(self, job: _Job, block: HistoryBlock) -> None:
        """Check the attestation that closed the job: nothing live was left, and the model stayed."""
        attested = [e for e in block.events if isinstance(e, kinds.Attested) and e.job == job.log.job and e.k == 0]
        closed = any(isinstance(event, kinds.JobClosed) and event.job == job.log.job for event in block.events)
        if not closed or not attested:
            return
        event = attested[-1]
        try:
            selection = job.log.select(lambda digest: self._payload(job, digest))
        except PayloadsNeededError:
            self._findings.remark(f"job {job.log.job}: its closing is not derived again: blobs are missing")
            return
        expected = None if selection is None else closing(selection, job.log.model).attestation
        found = digests.Attestation(event.job, event.round, event.height, event.k, event.spent, event.parts)
        if expected is not None:
            job.derived[event.round] = expected
        if expected != found:
            self._diverges(job, Part.SELECTION, f"closing {expected}", str(found), round_=event.round)
        self._tally.add("closed jobs")

    def _carry(self, outcome: RoundOutcome) -> None:
        """Read what a round of a scope leaves to the next: it goes with the bundle, so that any round can be first."""
        carried = {digests.name32(name) for name in (HISTORY, ALLOCATION)}
        for digest in (outcome.model, *(part.digest for part in outcome.parts if part.name in carried)):
            self._blobs.get(digest)

    def _computed(self, job: _Job, selection: Selection, *, agreed: bool) -> ScoredRound | None:
        """Compute a round, or take what is known of it; tell what was found either way."""
        kept, scored = self._known.get((selection.job, selection.round)), None
        if kept is None or not agreed or not selection.records:
            told, verdicts = self._findings, job.verdicts
            self._findings, job.verdicts = told.apart(), {}
            try:
                scored = self._scored(job, selection, agreed=agreed)
                kept = self._kept(job, selection, scored)
            finally:
                self._findings, job.verdicts = told, verdicts
            if self._give is not None and agreed and selection.records:
                self._give(kept)
        elif kept.scored is not None:
            scored = kept.scored.scored(selection, job.log)
        kept.tell(self._findings, _PART)
        job.verdicts |= kept.verdicts
        if scored is not None and scored.result is not None and scored.history_blob:
            job.history = records.blob_digest(scored.history_blob), scored.result.history
        if scored is not None and scored.plan_blob:
            job.plan = records.blob_digest(scored.plan_blob), Plan.decode(scored.plan_blob)
        return scored

    def _kept(self, job: _Job, selection: Selection, scored: ScoredRound | None) -> Kept:
        """Return what computing a round gave and what was found meanwhile."""
        found = self._findings
        return Kept(
            job=selection.job,
            round=selection.round,
            scored=None if scored is None else KeptRound.of(scored),
            divergences=tuple(found.divergences),
            remarks=tuple(found.remarks),
            counts=self._tally.counts,
            verdicts=job.verdicts,
        )

    def _scored(self, job: _Job, selection: Selection, *, agreed: bool) -> ScoredRound | None:
        """Compute a round from blobs; None, and a remark, if some are nowhere.

        A void round may have ended before its references were settled: then it cannot be computed.
        """
        if not selection.records:
            return closing(selection, job.log.model)
        log = job.log
        versions = sorted({entry.base for entry in selection.records} | {selection.round - 1})
        bases = {version: log.model_at(version) for version in versions}
        models = {version: self._model(job, name) for version, name in bases.items()}
        updates = [self._update(job, entry) for entry in selection.records]
        plan = self._plan(job, log.plan_at(selection.round - 1))
        names = beside(selection, log, job.references)
        if names is None:
            if agreed:
                expected = "a round whose references are settled"
                self._diverges(job, Part.REFERENCES, expected, "some are open", round_=selection.round)
            return None
        context = self._context(job, names)
        lost = ["job file"] if job.file is None else []
        lost += [f"the plan of version {selection.round - 1}"] if plan is None else []
        lost += ["what it is scored beside"] if context is None else []
        lost += [f"model {version}" for version, model in models.items() if model is None]
        lost += [
            f"update {entry.sequence}"
            for entry, update in zip(selection.records, updates, strict=True)
            if update is None
        ]
        if (lost or job.file is None or plan is None) and self._scope is not None and agreed:
            self._lost_of(job, selection, bases, lost)
            return None
        if lost or job.file is None or plan is None:
            self._findings.remark(
                f"job {log.job} round {selection.round}: not computed again, only checked by signatures:"
                f" {', '.join(lost)} lost"
            )
            self._tally.add("rounds checked by signature only")
            return None
        known = {version: model for version, model in models.items() if model is not None}
        present = [update for update in updates if update is not None]
        for entry, (_, update) in zip(selection.records, present, strict=True):
            self._fit(job, entry, known[entry.base], update, selection.round)
        samples = job.file.samples_by_member()
        entries = entries_of(selection, [update for _, update in present], samples, names)
        terms = learner_terms(log.terms_of(selection.round))
        inputs = RoundInputs(terms, selection.round, known[selection.round - 1], entries, known, context)
        planned = job.file.plan_terms(terms.rules_version)
        reports = [report for report, _ in present if report is not None]
        planning = None if planned is None else Planning(plan, reports, planned)
        try:
            scored = score(selection, inputs, bases, planning, names, vests=log.vests > 0)
        except UnknownRule as error:
            if agreed and isinstance(error, UnusableRule):  # members have the package, whoever audits needs it as well
                place = f"job {log.job} round {selection.round}"
                raise NotAuditableError(place, str(error)) from None
            self._findings.remark(f"job {log.job} round {selection.round}: not computed again: {error}")
            self._tally.add("rounds checked by signature only")
            return None
        if scored.result is not None:
            self._keep(job, records.blob_digest(scored.model_blob), scored.result.model)
            self._tally.add("Gram entries", int(scored.result.gram.size))
        if scored.history_blob:
            self._tally.add("histories")
        self._tally.add("references", sum(len(used) for used in names.used.values()))
        if planning is not None:
            self._tally.add("plans")
        return scored

    def _lost_of(self, job: _Job, selection: Selection, bases: dict[int, bytes], lost: list[str]) -> None:
        """Name each blob that a round of the scope takes and that is not here, or not what it must be."""
        number = selection.round
        for version, name in bases.items():
            if self._model(job, name) is None:
                self._lost(job, Part.MODEL, name, f"model {version}", number=number)
        for entry in selection.records:
            if self._blobs.get(entry.digest) is None:
                what = f"the update of record {entry.sequence}"
                self._lost(job, Part.BLOB, entry.digest, what, number=number, client=entry.client)
        expected = f"everything that round {number} is computed from"
        self._diverges(job, Part.BUNDLE, expected, f"not here: {', '.join(lost)}", round_=number)

    def _lost(
        self, job: _Job, part: Part, name: bytes, what: str, *, number: int | None = None, client: int | None = None
    ) -> None:
        """Name a blob that the scope needs."""
        expected, found = f"blob {name.hex()}, {what}", self._blobs.damaged.pop((0, name), "no such blob")
        self._diverges(job, part, expected, found, round_=number, client=client)

    def _context(self, job: _Job, names: Beside) -> Context | None:
        """Put together what a round is scored beside; None if some of it is nowhere."""
        if job.file is None:
            return None
        shown = self._shown(job, job.file)

        def references(one: Commitment) -> References | None:
            try:
                return shown.read(one)
            except InvalidReferences as error:
                self._diverges(job, Part.REFERENCES, f"references of edge server {one.edge}", error.reason)
                return None

        def update(entry: RecordEntry) -> Update | None:
            found = self._update(job, entry)
            return None if found is None else found[1]

        sources = Sources(
            references, update, lambda name: self._model(job, name), lambda name: self._history(job, name)
        )
        return context_of(names, sources, job.terms.shift, job.file.class_weights)

    def _shown(self, job: _Job, file: JobFile) -> Shown:
        place = Place(self._genesis_hash, LEDGER, job.log.job, file)
        return Shown(place, job.references, self._blobs)

    def _history(self, job: _Job, name: bytes) -> History | None:
        """Return what is remembered of clients by its digest: the one just computed, or from a server's blob."""
        if name == job.history[0]:
            return job.history[1]
        raw = self._blobs.get(name)
        if raw is None:
            return None
        try:
            return decode_history(raw)
        except HistoryError as error:
            self._diverges(job, Part.HISTORY, "a canonical history", str(error))
            return None

    # -- payment ----------------------------------------------------------------------------------------------------

    def _paid(self, job: _Job, event: Event) -> None:
        number = getattr(event, "round", None)
        payment = job.payments.get(number) if isinstance(number, int) else None
        if payment is None:
            return
        match event:
            case kinds.ThetasPosted():
                self._posted(job, payment, event)
            case kinds.Credited():
                payment.credited.append(event)
                self._credited(job, payment, event)
            case kinds.RoundUnpaid():
                payment.finished = True
                if payment.thetas is not None and any(payment.thetas):
                    self._diverges(job, Part.REWARD, f"{sum(payment.thetas)} ppb to pay", "unpaid", round_=event.round)
                self._tally.add("unpaid rounds")
            case kinds.RoundSettled():
                payment.finished = True
                self._settled(job, payment, event)
            case _:
                pass  # no step of a payment

    def _vests(self, job: _Job, block: HistoryBlock) -> None:
        """Compare, when a job opens, after how many rounds its pay is settled with what its file says."""
        opens = any(isinstance(event, kinds.JobOpened) and event.job == job.log.job for event in block.events)
        if not opens or job.file is None:
            return
        said, asked = (job.log.vests, job.log.holder), (job.file.vests, VESTING_CONTRACT if job.file.vests else b"")
        if said != asked:
            expected, found = (f"pay vests {rounds} rounds, at 0x{at.hex()}" for rounds, at in (asked, said))
            self._diverges(job, Part.JOB_FILE, expected, found)

    def _vested(self, job: _Job, event: Event) -> None:
        """Compare one step of held pay with what the records computed again say."""
        step = job.vesting.step(event)
        if step is None:
            return
        if step.expected != step.found:
            self._diverges(job, Part.VESTING, step.expected, step.found, event=event)
        if step.explained is not None:
            self.settled.append(step.explained)
        self._tally.add(step.counted)

    def _posted(self, job: _Job, payment: _Payment, event: kinds.ThetasPosted) -> None:
        count = len(payment.clients)
        if digests.thetas_digest(event.total, count, event.chunk_digests) != payment.outcome.thetas:
            self._diverges(
                job, Part.THETAS, f"digest {payment.outcome.thetas.hex()}", "other thetas", round_=event.round
            )
        if payment.thetas is not None:
            due = digests.settlement(payment.clients, payment.thetas)
            if (due.total, due.chunk_digests) != (event.total, event.chunk_digests):
                self._diverges(job, Part.THETAS, f"total {due.total}", f"total {event.total}", round_=event.round)

    def _credited(self, job: _Job, payment: _Payment, event: kinds.Credited) -> None:
        """Compare one reward with what the thetas computed again give."""
        at = len(payment.credited) - 1
        if at >= len(payment.clients) or event.client != payment.clients[at]:
            wanted = f"client {payment.clients[at]}" if at < len(payment.clients) else "no further reward"
            self._diverges(job, Part.REWARD, wanted, f"client {event.client}", event=event)
            return
        if payment.thetas is None:
            return
        if event.theta != payment.thetas[at]:
            self._diverges(job, Part.THETAS, f"{payment.thetas[at]} ppb", f"{event.theta} ppb", event=event)
        elif event.reward != (due := payment.due()[at]):
            self._diverges(job, Part.REWARD, f"{due} wei", f"{event.reward} wei", event=event)
        self._tally.add("rewards")

    def _settled(self, job: _Job, payment: _Payment, event: kinds.RoundSettled) -> None:
        paid = sum(credited.reward for credited in payment.credited)
        if paid != payment.outcome.reward_wei or event.paid != paid:
            expected = f"{payment.outcome.reward_wei} wei in all"
            self._diverges(job, Part.REWARD, expected, f"{paid} wei, said to be {event.paid}", round_=event.round)
        thetas = tuple(credited.theta for credited in payment.credited)
        if digests.settlement(payment.clients[: len(thetas)], thetas).digest != payment.outcome.thetas:
            self._diverges(job, Part.THETAS, payment.outcome.thetas.hex(), "other thetas credited", round_=event.round)
        if payment.thetas is None:
            due = rewards.rewards(payment.outcome.reward_wei, thetas)
            for credited, reward in zip(payment.credited, due, strict=True):
                if credited.reward != reward:
                    self._diverges(job, Part.REWARD, f"{reward} wei", f"{credited.reward} wei", event=credited)
        self._tally.add("paid rounds")

    # -- blobs ------------------------------------------------------------------------------------------------------

    def _model(self, job: _Job, name: bytes) -> Model | None:
        """Return a model by its digest: one just computed, or from a server's blob."""
        if name in job.models:
            job.models.move_to_end(name)
            return job.models[name]
        raw = self._blobs.get(name)
        if raw is None:
            return None
        header = ModelHeader(fraction_bits=job.terms.model_fraction_bits, dimension=job.terms.dimension)
        try:
            checks.model(raw, header)
        except FaultError as fault:
            self._diverges(job, fault.part, fault.expected, fault.found)
            return None
        _, model = decode_model(raw)
        self._keep(job, name, model)
        return model

    @staticmethod
    def _keep(job: _Job, name: bytes, model: Model) -> None:
        job.models[name] = model
        job.models.move_to_end(name)
        while len(job.models) > job.terms.max_staleness + 2:
            job.models.popitem(last=False)

    def _header(self, job: _Job, entry: RecordEntry) -> UpdateHeader:
        return UpdateHeader(
            fraction_bits=job.terms.fraction_bits,
            genesis_hash=self._genesis_hash,
            ledger=LEDGER,
            job=job.log.job,
            client=entry.client,
            base=entry.base,
            counter=entry.counter,
            dimension=job.terms.dimension,
        )

    def _plan(self, job: _Job, name: bytes) -> Plan | None:
        """Return a plan by its digest: the one just computed, or from a server's blob."""
        if not job.reports or not name:
            return Plan(0)
        if name == job.plan[0]:
            return job.plan[1]
        raw = self._blobs.get(name)
        if raw is None:
            return None
        try:
            return Plan.decode(raw)
        except InvalidPlan as error:
            self._diverges(job, Part.ALLOCATION, "a canonical plan", str(error))
            return None

    def _update(self, job: _Job, entry: RecordEntry) -> tuple[WorkReport | None, Update] | None:
        raw = self._blobs.get(entry.digest)
        if raw is None:
            return None
        try:
            report, payload = checks.update(raw, self._header(job, entry), reports=job.reports)
        except FaultError as fault:
            job.verdicts[entry.sequence] = fault.found
            self._diverges(job, Part.HOLD, fault.expected, fault.found, client=entry.client)
            return None
        return report, np.frombuffer(payload, dtype=_INT16).astype(np.int16)

    def _fit(self, job: _Job, entry: RecordEntry, base: Model, update: Update, number: int) -> None:
        """Judge what the holders of a consumed record should have judged."""
        rejected = check_update(base, update, shift=job.terms.shift, norm_bound_squared=job.terms.norm_bound_squared)
        job.verdicts[entry.sequence] = None if rejected is None else rejected.detail
        if rejected is not None:
            self._diverges(
                job, Part.HOLD, "an update that may be held", rejected.detail, round_=number, client=entry.client
            )
        self._tally.add("updates judged again")

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> tuple[ClientAccount, ...]:
        """Compare what servers said they hold with what they hold; return each client's account."""
        accounts: list[ClientAccount] = []
        for job in self._jobs.values():
            for number, payment in job.payments.items():
                if not payment.finished:
                    self._findings.remark(f"job {job.log.job} round {number}: agreed and not paid yet")
            for text in job.vesting.remarks():
                self._findings.remark(text)
            if self._scope is None:
                self._documents(job)
                self._models(job)
                self._plans(job)
                self._references(job)
                self._holds(job)
            accounts += self._accounts(job)
        if self._scope is not None:
            self._whole(self._scope)
        return tuple(accounts)

    def _whole(self, scope: RoundsScope) -> None:
        """Check that the rounds of the scope are all there; say what of others was not judged."""
        job = self._jobs.get(scope.job)
        decided = 0 if job is None else len(job.log.outcomes)
        if scope.last > decided and not self._findings.divergences:  # or that is why
            expected, found = f"rounds {scope.first} to {scope.last} of job {scope.job}", f"{decided} decided rounds"
            self._findings.diverges(Divergence(store=self._store, part=Part.BUNDLE, expected=expected, found=found))
        if self._uncompared:
            self._findings.remark(
                f"{len(self._uncompared)} records are outside of rounds {scope.first} to {scope.last}: whether one of"
                " those is a copy of them is the quorum's word"
            )

    def _documents(self, job: _Job) -> None:
        terms = job.log.terms
        for name, part in ((terms.job_file, Part.JOB_FILE), (terms.model, Part.MODEL)):
            for edge in self._blobs.lacking(name, job.ready):
                self._lacks(edge, job, part, name, block=job.created, round_=0 if part is Part.MODEL else None)

    def _models(self, job: _Job) -> None:
        """Check that who attested a model has it: the newest ones everybody, older ones somebody."""
        kept = job.terms.max_staleness + 1
        for outcome in job.log.outcomes:
            if not outcome.agreed:
                continue
            attesters = _attesters(job, outcome, NamedPart(digests.name32("model"), outcome.model))
            lacking = self._blobs.lacking(outcome.model, attesters)
            if lacking and (outcome.round > job.log.version - kept or outcome.model not in self._blobs):
                for edge in lacking:
                    self._lacks(edge, job, Part.MODEL, outcome.model, block=outcome.height, round_=outcome.round)
            self._tally.add("models")

    def _plans(self, job: _Job) -> None:
        """Check that who attested the newest plan has it, and that somebody has each older one."""
        if not job.reports:
            return
        newest = job.log.plan_at(job.log.version)
        for outcome in job.log.outcomes:
            part = next((part for part in outcome.parts if part.name == digests.name32(ALLOCATION)), None)
            if part is None:
                continue
            lacking = self._blobs.lacking(part.digest, _attesters(job, outcome, part))
            if lacking and (part.digest == newest or part.digest not in self._blobs):
                for edge in lacking:
                    self._lacks(edge, job, Part.ALLOCATION, part.digest, block=outcome.height, round_=outcome.round)

    def _references(self, job: _Job) -> None:
        """Name the servers whose references were left out, and those that lack what they said they hold."""
        if job.file is None:
            return
        for text in self._shown(job, job.file).remarks(job.log):
            self._findings.remark(text)
        for version in job.references.opened():
            for one in job.references.settled(version) or ():
                lacking = self._blobs.lacking(one.digest, job.references.holders(version, one.edge))
                if lacking and one.digest not in self._blobs:
                    for edge in lacking:
                        self._lacks(edge, job, Part.REFERENCES, one.digest, block=one.height)
                self._tally.add("references shown")

    def _holds(self, job: _Job) -> None:
        """Compare each server's acknowledgements with its directory and with the blob's own merits."""
        log = job.log
        for edge, claims in sorted(job.claims.items()):
            if edge not in self._blobs.servers:
                continue
            for sequence, held in sorted(claims.items()):
                if sequence >= len(log.records):
                    continue
                entry = log.records[sequence]
                if not held:
                    self._called_invalid(job, edge, entry)
                elif edge not in self._blobs.holders.get(entry.digest, set()):
                    self._lacks(
                        edge,
                        job,
                        Part.BLOB,
                        entry.digest,
                        block=entry.height,
                        round_=entry.round or None,
                        client=entry.client,
                    )
                elif (why := self._fault(job, entry)) is not None:
                    self._findings.remark(
                        f"job {log.job}: edge server {edge} says that it holds record {sequence} of client"
                        f" {entry.client}, which no server should hold: {why}"
                    )
                self._tally.add("acknowledged blobs")

    def _called_invalid(self, job: _Job, edge: int, entry: RecordEntry) -> None:
        if entry.digest in self._blobs and self._fault(job, entry) is None:
            self._findings.remark(
                f"job {job.log.job}: edge server {edge} calls record {entry.sequence} of client {entry.client} invalid,"
                " and it is not"
            )

    def _fault(self, job: _Job, entry: RecordEntry) -> str | None:
        """Say what is wrong with a record's blob, None if nothing is (or its base model is lost)."""
        if entry.sequence not in job.verdicts:
            raw, base = self._blobs.get(entry.digest), self._model(job, job.log.model_at(entry.base))
            job.verdicts[entry.sequence] = None if raw is None or base is None else self._unfit(job, entry, raw, base)
        return job.verdicts[entry.sequence]

    def _unfit(self, job: _Job, entry: RecordEntry, raw: bytes, base: Model) -> str | None:
        if len(raw) != entry.length:
            return f"{len(raw)} bytes, the record says {entry.length}"
        try:
            header, payload = records.decode_update(raw)
        except ContractsError as error:
            return str(error)
        if not is_header_of(header, self._header(job, entry), reports=job.reports):
            return "its header differs from its record"
        update = np.frombuffer(payload, dtype=_INT16).astype(np.int16)
        rejected = check_update(base, update, shift=job.terms.shift, norm_bound_squared=job.terms.norm_bound_squared)
        return None if rejected is None else rejected.detail

    def _accounts(self, job: _Job) -> list[ClientAccount]:
        """Return each client's consumed records, rewards and average delay."""
        log, found = job.log, []
        paid: dict[int, int] = defaultdict(int)
        for payment in job.payments.values():
            for credited in payment.credited:
                paid[credited.client] += credited.reward
        for client in sorted({entry.client for entry in log.records}):
            own = [entry for entry in log.records if entry.client == client]
            consumed = [entry for entry in own if entry.status is RecordStatus.CONSUMED]
            waiting = [
                entry.base
                for entry in own
                if entry.status in {RecordStatus.PENDING, RecordStatus.AVAILABLE}
                and log.version - entry.base <= job.terms.max_staleness
            ]
            delay = tau_avg((entry.round - 1 - entry.base for entry in consumed), waiting, log.version)
            found.append(ClientAccount(log.job, client, len(own), len(consumed), paid[client], delay))
        self._tally.add("average delays", len(found))
        return found

    def _lacks(
        self,
        edge: int,
        job: _Job,
        part: Part,
        digest: bytes,
        *,
        block: int,
        round_: int | None = None,
        client: int | None = None,
    ) -> None:
        self._findings.diverges(
            Divergence(
                store=f"edge {edge} blobs",
                part=part,
                height=self._heights.get(block),
                block=block,
                job=job.log.job,
                round=round_,
                client=client,
                expected=f"{digest.hex()}, which edge server {edge} says it holds",
                found=self._blobs.damaged.pop((edge, digest), "no such file"),
            )
        )

    def _diverges(
        self,
        job: _Job,
        part: Part,
        expected: str,
        found: str,
        *,
        round_: int | None = None,
        client: int | None = None,
        event: Event | None = None,
    ) -> None:
        if self._block is None:
            message = "a job was judged before the first block"
            raise RuntimeError(message)
        place = self._block.place(event)
        self._findings.diverges(
            Divergence(
                store=self._store,
                part=part,
                expected=expected,
                found=found,
                height=place.height,
                block=place.block,
                job=job.log.job,
                round=place.round if round_ is None else round_,
                client=place.client if client is None else client,
            )
        )


def _attesters(job: _Job, outcome: RoundOutcome, part: NamedPart) -> set[int]:
    """Return who attested this part of a decided round."""
    return {edge for edge, event in job.attested[outcome.round].items() if part in event.parts}


def _attestation_in(transaction: Transaction) -> digests.Attestation | None:
    """Return what a direct call of `attest` passes, None for any other transaction."""
    call = describe(transaction.raw)
    passed = functions("Ledger")["attest"].arguments(call.data) if call.to == LEDGER else None
    if passed is None:
        return None
    job, round_, height, k, spent, parts = passed
    return digests.Attestation(
        job, round_, height, k, spent, tuple(NamedPart(bytes(name), bytes(digest)) for name, digest in parts)
    )


def _first_difference(expected: tuple[NamedPart, ...], found: tuple[NamedPart, ...]) -> str | None:
    """Return the name of the first part that differs, in the order in which one follows from the other."""
    digests_found = {part.name: part.digest for part in found}
    for part in expected:
        if digests_found.pop(part.name, None) != part.digest:
            return digests.text_of(part.name)
    return digests.text_of(next(iter(digests_found))) if digests_found else None
