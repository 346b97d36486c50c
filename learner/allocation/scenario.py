"""Learners as arXiv 1905.01656 places and equips them (its Table I), as instances in whole nanoseconds.

The paper's equations, per learner k, with what its constants stand for:
    eq. 1-4     r_k = W log2(1 + P_k h_k / N0)           bits/s; h_k from the path loss over the distance R_k
    eq. 5-8     t_k = C2_k tau_k d_k + C1_k d_k + C0_k   seconds of one global cycle
                C2_k = C_m / f_k                         one update on one sample
                C1_k = (F P_d + 2 P_m S_d) / r_k         a sample there (parallelised only), and what grows with it
                C0_k = 2 P_m S_m / r_k                   the model there and back
    eq. 9-12    t_k = T, sum of d_k = d, d_l <= d_k <= d_u, tau_k whole
Readings of ours where the paper leaves a choice:
- path loss: 7 + 2.1 log10(R), R in metres, taken in decibels as it is written. In bels (70 + 21 log10(R) dB), more
  like a real channel, the model needs 0.2 to 0.5 s for both ways instead of 0.09 s; computation outweighs either.
- N0 is a density: the noise power is N0 * W. No fading beside the path loss.
- positions: uniform over the disc, at least a metre from its centre; they are all that chance decides.
- which half is fast: learners 0, 2, 4, ...; of an odd number one more is fast than slow.
- P_d = 8 bit, what a pixel of MNIST has. S_d = 0: this model does not grow with its samples.
Every coefficient is rounded up to a whole nanosecond, so that what fits in integers also fits in time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil, floor, log2, log10, sqrt
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from learner.allocation.instance import EnergyModel, Instance, TimeModel
from merit.chance import seeded

NANOSECONDS = 10**9
NANOJOULES = 10**9

Learning = Literal["federated", "parallelised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is common to all learners of an instance; the defaults are the paper's Table I for MNIST and its MLP.

    `learning`: "federated" learners hold their samples; to "parallelised" ones the server sends them in every cycle.
    `samples` is d, `seconds` T. `operations_per_sample` is C_m, `features` F, `sample_bits` P_d, `weights` S_m,
    `weight_bits` P_m. `speeds_hz` are given in turn. `energy_joules` bounds each learner's energy in a cycle, None: no
    bound; `switched_capacitance` (kappa, an operation at f Hz costs kappa f^2 joules) is a customary value, for the
    paper has none.
    """

    learning: Learning = "federated"
    samples: int = 60_000
    seconds: float = 15.0
    least_samples: int = 1
    most_samples: int | None = None
    least_updates: int = 1
    operations_per_sample: int = 1_123_736
    features: int = 784
    sample_bits: int = 8
    weights: float = 280_440
    weight_bits: int = 32
    speeds_hz: tuple[int, ...] = (2_400_000_000, 700_000_000)
    bandwidth_hz: float = 5e6
    power_dbm: float = 23.0
    noise_dbm_per_hz: float = -174.0
    radius_m: float = 50.0
    loss_db: float = 7.0
    loss_db_per_decade: float = 2.1
    energy_joules: float | None = None
    switched_capacitance: float = 1e-28

    def shrunk(self, share: float) -> Self:
        """Take this share of the samples, of the cycle and of the model's way: the same updates in less work."""
        return replace(
            self, samples=round(self.samples * share), seconds=self.seconds * share, weights=self.weights * share
        )


def generate(scenario: Scenario, *, learners: int, seed: int) -> Instance:
    """Place so many learners by `seed` and return their instance: time in nanoseconds, energy in nanojoules.

    Equal arguments give equal instances, and more learners leave the positions of the first ones as they are.
    """
    rates = [_rate(scenario, _distance(scenario, seed, learner)) for learner in range(learners)]
    speeds = [scenario.speeds_hz[learner % len(scenario.speeds_hz)] for learner in range(learners)]
    model_bits = scenario.weights * scenario.weight_bits
    sample_bits = scenario.features * scenario.sample_bits if scenario.learning == "parallelised" else 0
    time = TimeModel(
        c2=_whole(scenario.operations_per_sample * NANOSECONDS / speed for speed in speeds),
        c1=_whole(sample_bits * NANOSECONDS / rate for rate in rates),
        c0=_whole(2 * model_bits * NANOSECONDS / rate for rate in rates),
        t=floor(scenario.seconds * NANOSECONDS),
    )
    most = scenario.samples if scenario.most_samples is None else scenario.most_samples
    return Instance(
        time=time,
        energy=_energy(scenario, speeds, rates),
        d=scenario.samples,
        d_l=np.full(learners, scenario.least_samples, dtype=np.int64),
        d_u=np.full(learners, most, dtype=np.int64),
        tau_min=scenario.least_updates,
    )


def _energy(scenario: Scenario, speeds: list[int], rates: list[float]) -> EnergyModel | None:
    """E_k = kappa f_k^2 C_m tau d + P_k * (seconds of sending the model): receiving costs nothing here."""
    if scenario.energy_joules is None:
        return None
    per_operation = scenario.switched_capacitance * scenario.operations_per_sample
    sending = _watts(scenario.power_dbm) * scenario.weights * scenario.weight_bits
    return EnergyModel(
        g2=_whole(per_operation * speed**2 * NANOJOULES for speed in speeds),
        g1=np.zeros(len(speeds), dtype=np.int64),
        g0=_whole(sending / rate * NANOJOULES for rate in rates),
        emax=np.full(len(speeds), floor(scenario.energy_joules * NANOJOULES), dtype=np.int64),
    )


def _distance(scenario: Scenario, seed: int, learner: int) -> float:
    """Metres from the server, uniform over the disc."""
    return max(1.0, scenario.radius_m * sqrt(seeded(seed, "allocation", "position", learner).random()))


def _rate(scenario: Scenario, metres: float) -> float:
    """Bits per second at this distance, by Shannon's bound (eq. 1)."""
    loss = scenario.loss_db + scenario.loss_db_per_decade * log10(metres)
    received = _watts(scenario.power_dbm - loss)
    return scenario.bandwidth_hz * log2(1 + received / (_watts(scenario.noise_dbm_per_hz) * scenario.bandwidth_hz))


def _watts(dbm: float) -> float:
    return float(10 ** ((dbm - 30) / 10))


def _whole(values: Iterable[float]) -> NDArray[np.int64]:
    return np.array([ceil(value) for value in values], dtype=np.int64)
