"""From a selected round to what edge servers attest: named part digests, and the chunks of thetas that pay it.

Every digest is SHA-256 over a canonical encoding, but that of the thetas: the Ledger checks it, so it is keccak256
over the ABI encoding.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from contracts import records
from contracts.digests import Attestation, Part, Settlement, name32, settlement
from contracts.records import ModelHeader, UpdateHeader
from learner import rounds
from learner.aggregation import encode_aggregate
from learner.gram import encode_gram
from node.rounds.log import Selection

PART_NAMES = ("inputs", "gram", "thetas", "aggregate", "model")

_INPUTS_DOMAIN = b"merit/inputs/1"


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """A round computed: what is attested (`parts`), what is paid (`thetas`) and the new model's blob.

    `result` is None for the closing of a job, which computes nothing.
    """

    selection: Selection
    result: rounds.RoundResult | None
    thetas: Settlement
    model_blob: bytes
    parts: tuple[Part, ...]

    @property
    def attestation(self) -> Attestation:
        """What an edge server says on the ledger."""
        chosen = self.selection
        return Attestation(chosen.job, chosen.round, chosen.height, len(chosen.records), chosen.spent, self.parts)


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


def decode_update(blob: bytes) -> tuple[UpdateHeader, np.ndarray]:
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


def score(selection: Selection, inputs: rounds.RoundInputs, bases: dict[int, bytes]) -> ScoredRound:
    """Compute a selected round and the digests that are attested.

    Args:
        selection: the records of the round, at least one.
        inputs: their updates and base models, in the same order.
        bases: digest of the model of every base version that occurs, and of the current one.

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
    parts = tuple(Part(name32(name), digests[name]) for name in PART_NAMES)
    return ScoredRound(selection=selection, result=result, thetas=table, model_blob=blob, parts=parts)


def closing(selection: Selection, model: bytes) -> ScoredRound:
    """Return what is attested when a closing job has nothing live left: no records, no thetas, the model as it is."""
    table = settlement((), ())
    digests = {"inputs": inputs_digest(selection, {}), "thetas": table.digest, "model": model}
    parts = tuple(Part(name32(name), digest) for name, digest in digests.items())
    return ScoredRound(selection=selection, result=None, thetas=table, model_blob=b"", parts=parts)
