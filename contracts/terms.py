"""What is agreed about a job at its creation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobTerms:
    """What is agreed about a job at its creation; names are zero padded ASCII (`digests.name32`), times seconds."""

    dimension: int
    fraction_bits: int
    shift: int
    norm_bound_squared: int
    phi: int
    max_wait: int
    base_reward: int
    rules_version: int
    scoring: bytes
    aggregation: bytes
    staleness: bytes
    max_staleness: int
    record_deadline: int
    attestation_timeout: int
    records_per_base: int
    edge_set: int
    job_file: bytes
    model: bytes
