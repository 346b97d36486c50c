"""What taking part costs a client: energy and wear of training, bytes sent and received.

Figures, in floats: nobody is paid by them. A run tells them in mean costs of an honest client's update, so what matters
of the constants are their ratios.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from learner.simulation.scenario import Costs, DeviceClass

JOULES_PER_KWH = 3.6e6
RADIO_WATTS = 1.288
UP_JOULES_PER_MB = 3.507
DOWN_JOULES_PER_MB = 0.416
"""LTE of a phone: 1,288 mW while it sends or receives, 438.39 and 51.97 mW for each Mbit/s up and down (Huang et al.,
"A close examination of performance and power characteristics of 4G LTE networks", MobiSys 2012, power model)."""
RECORD_BYTES = 2_420 + 512
"""An ML-DSA-44 signature (FIPS 204), and the fields of a record and its receipt."""
UPDATE_BYTES = 2
MODEL_BYTES = 4


@dataclass(frozen=True, slots=True)
class Work:
    """What a client did in a run: updates sent, and passes of one sample through training."""

    updates: int
    passes: int


def cost(costs: Costs, device: DeviceClass, dimension: int, work: Work, *, slowness: float = 1.0) -> float:
    """Money that the work cost a client with this device and a model of `dimension` parameters, in euro.

    A client fetches a model (int32) and sends an update (int16) with a record each time. `slowness` stretches training.
    """
    seconds = work.passes * device.milliseconds_per_sample / 1_000 * slowness
    up = work.updates * (UPDATE_BYTES * dimension + RECORD_BYTES) / 1e6
    down = work.updates * MODEL_BYTES * dimension / 1e6
    joules = (
        device.watts * seconds
        + RADIO_WATTS * device.transfer_seconds * work.updates
        + UP_JOULES_PER_MB * up
        + DOWN_JOULES_PER_MB * down
    )
    wear = costs.euro_per_device_hour * seconds / 3_600
    return joules / JOULES_PER_KWH * costs.euro_per_kwh + (up + down) / 1_000 * costs.euro_per_gigabyte + wear


def gini(values: Sequence[float]) -> float | None:
    """Gini coefficient of amounts of at least 0: 0 if all are equal, towards 1 if one has all; None if all are 0."""
    total, count = sum(values), len(values)
    if not total:
        return None
    ranked = sum((2 * rank - count - 1) * value for rank, value in enumerate(sorted(values), 1))
    return ranked / (count * total)


def jain(values: Sequence[float]) -> float | None:
    """Jain's index (DEC-TR-301): (sum x)^2 / (n sum x^2), 1 if all are equal, 1/n if one has all; None for zeros."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None
