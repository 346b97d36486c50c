"""From a selected round to what edge servers attest: named part digests, and the chunks of thetas that pay it.

Every digest is SHA-256 over a canonical encoding, but that of the thetas: the Ledger checks it, so it is keccak256
over the ABI encoding.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts import records
from contracts.digests import Attestation, Part, Settlement, fallen_digest, fallen_words, name32, settlement
from contracts.records import ModelHeader, ReportingHeader, UpdateHeader, WorkReport
from learner import rounds
from learner.aggregation import encode_aggregate
from learner.allocation.plan import Plan
from learner.allocation.planning import PlanTerms, Work, next_plan
from learner.gram import encode_gram
from learner.vesting import fallen
from node.rounds.context import Beside
from node.rounds.history import encode_history
from node.rounds.log import Selection

PART_NAMES = ("inputs", "gram", "thetas", "aggregate", "model")
REFERENCES = "references"
"""The second part, under a rule that reads what edge servers publish."""

HISTORY = "history"
"""The part after the model, under a rule that remembers clients."""

VESTING = "vesting"
"""The part after the history, of a job whose pay vests."""

ALLOCATION = "allocation"
"""The last part, of a job that allocates work."""

_INPUTS_DOMAIN = b"merit/inputs/1"


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """A round computed: what is attested (`parts`), what is paid (`thetas`) and the new model's blob.

    `result` is None for the closing of a job, which computes nothing; `plan_blob` is empty if no work is allocated,
    `history_blob` if the rule remembers nothing. `names`: what the round was scored beside.
    """

    selection: Selection
    result: rounds.RoundResult | None
    thetas: Settlement
    model_blob: bytes
    parts: tuple[Part, ...]
    plan_blob: bytes = b""
    history_blob: bytes = b""
    names: Beside | None = None

    @property
    def attestation(self) -> Attestation:
        """What an edge server says on the ledger."""
        chosen = self.selection
        return Attestation(chosen.job, chosen.round, chosen.height, len(chosen.records), chosen.spent, self.parts)


@dataclass(frozen=True, slots=True)
class Planning:
    """What the plan after a round follows from: the one before, each consumed update's report in order, the terms."""

    before: Plan
    reports: Sequence[WorkReport]
    terms: PlanTerms


def is_header_of(found: UpdateHeader | ReportingHeader, expected: UpdateHeader, *, reports: bool | None) -> bool:
    """Tell whether an update's header is the one of its record.

    `reports`: whether the job wants the client's report, None if its file is not known. What a client reports is its
    own word and never wrong.
    """
    match found:
        case ReportingHeader():
            return reports is not False and found == expected.reporting(found.report)
        case UpdateHeader():
            return not reports and found == expected


def encode_model(model: np.ndarray, fraction_bits: int) -> bytes:
    """Return the canonical blob of a model: header, then int32 little-endian of shape [dimension]."""
    header = ModelHeader(fraction_bits=fraction_bits, dimension=len(model))
    return header.blob(model.astype("<i4").tobytes())


def decode_model(blob: bytes) -> tuple[ModelHeader, np.ndarray]:
    """Return header and int32 vector of a model blob.

    Raises:
        contracts.errors.ContractsError: the blob is not canonical.

    """
    header, payload = records.decode_model(blob)
    return header, np.frombuffer(payload, dtype="<i4").astype(np.int32)


def decode_update(blob: bytes) -> tuple[UpdateHeader | ReportingHeader, np.ndarray]:
    """Return header and int16 vector of an update's blob.

    Raises:
        contracts.errors.ContractsError: the blob is not canonical.

    """
    header, payload = records.decode_update(blob)
    return header, np.frombuffer(payload, dtype="<i2").astype(np.int16)


def inputs_digest(selection: Selection, bases: dict[int, bytes]) -> bytes:
    """Bind the round to its records and to the models that they start from.

    SHA-256 over the domain, job, round and H as 8-byte integers, the number of records, then per record its sequence
    number, client, base
    (8 bytes each) and blob digest, then per base in ascending order the version and the model's digest.
    """
    fields = [_INPUTS_DOMAIN, *(n.to_bytes(8, "big") for n in (selection.job, selection.round, selection.height))]
    fields.append(len(selection.records).to_bytes(8, "big"))
    for entry in selection.records:
        fields += [n.to_bytes(8, "big") for n in (entry.sequence, entry.client, entry.base)]
        fields.append(entry.digest)
    for version in sorted(bases):
        fields += [version.to_bytes(8, "big"), bases[version]]
    return hashlib.sha256(b"".join(fields)).digest()


def score(
    selection: Selection,
    inputs: rounds.RoundInputs,
    bases: dict[int, bytes],
    planning: Planning | None = None,
    names: Beside | None = None,
    *,
    vests: bool = False,
) -> ScoredRound:
    """Compute a selected round and the digests that are attested.

    Args:
        selection: the records of the round, at least one.
        inputs: their updates and base models, in the same order.
        bases: digest of the model of every base version that occurs, and of the current one.
        planning: what the next plan follows from, None for a job that allocates nothing.
        names: what the inputs' context was made of, None for a rule that needs none.
        vests: whether the job's pay vests, so that it must be agreed whose record has fallen.

    Raises:
        learner.errors.UnknownRule: this program does not have a rule that the terms name.

    """
    result = rounds.compute(inputs)
    table = settlement([entry.client for entry in selection.records], result.thetas)
    blob = encode_model(result.model, inputs.terms.model_fraction_bits)
    digests = {
        "inputs": inputs_digest(selection, bases),
        "gram": hashlib.sha256(encode_gram(result.gram)).digest(),
        "thetas": table.digest,
        "aggregate": hashlib.sha256(encode_aggregate(result.aggregate)).digest(),
        "model": hashlib.sha256(blob).digest(),
    }
    order, history_blob = list(PART_NAMES), b""
    if names is not None and names.needs.references:
        digests[REFERENCES] = names.part(selection)
        order.insert(1, REFERENCES)
    if names is not None and names.needs.history:
        history_blob = encode_history(result.history)
        digests[HISTORY] = hashlib.sha256(history_blob).digest()
        order.append(HISTORY)
    if vests:
        digests[VESTING] = fallen_digest(fallen_words(fallen(inputs.terms.scoring, result.history)))
        order.append(VESTING)
    parts = tuple(Part(name32(name), digests[name]) for name in order)
    plan_blob = b""
    if planning is not None:
        plan_blob = _plan(selection, planning).encode()
        parts = (*parts, Part(name32(ALLOCATION), hashlib.sha256(plan_blob).digest()))
    return ScoredRound(selection, result, table, blob, parts, plan_blob, history_blob, names)


def _plan(selection: Selection, planning: Planning) -> Plan:
    done = (
        Work(
            client=entry.client,
            samples=told.samples,
            epochs=told.epochs,
            training_us=told.training_us,
            gathering_us=told.gathering_us,
            transfer_us=told.transfer_us,
        )
        for entry, told in zip(selection.records, planning.reports, strict=True)
    )
    return next_plan(planning.before, selection.round, done, planning.terms)


def closing(selection: Selection, model: bytes) -> ScoredRound:
    """Return what is attested when a closing job has nothing live left: no records, no thetas, the model as it is."""
    table = settlement((), ())
    digests = {"inputs": inputs_digest(selection, {}), "thetas": table.digest, "model": model}
    parts = tuple(Part(name32(name), digest) for name, digest in digests.items())
    return ScoredRound(selection=selection, result=None, thetas=table, model_blob=b"", parts=parts)
