"""Baseline: an update counts by the number of samples that the job file credits to its client (FedAvg's weights)."""

from learner.contribution.round import Round

PPB = 10**9


def score(scored: Round) -> tuple[int, ...]:
    """theta_i = 10^9 * samples_i // max_j samples_j, in ppb; all 0 if no entry has samples."""
    most = max(scored.samples, default=0)
    if most == 0:
        return (0,) * len(scored.samples)
    return tuple(PPB * samples // most for samples in scored.samples)
