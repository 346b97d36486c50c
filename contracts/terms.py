"""What is agreed about a job at its creation."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class JobTerms:
    """What is agreed about a job at its creation; names are zero padded ASCII (`digests.name32`), times seconds.

    Only the rules can change afterwards (`rules_version`, `scoring`, `aggregation`, `staleness`), at a round boundary.
    """

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

    def with_rules(self, version: int, scoring: bytes, aggregation: bytes, staleness: bytes) -> Self:
        """Return the terms under other rules, as event `RulesChanged` names them."""
        return replace(self, rules_version=version, scoring=scoring, aggregation=aggregation, staleness=staleness)
