"""What a task allocation is asked for and what it answers, in integers (arXiv 1905.01656, equations 1 to 13).

Learner k of K gets d_k samples and makes tau_k updates within the global cycle T. It needs the time
t_k = C2_k tau_k d_k + C1_k d_k + C0_k (equation 5) and the energy E_k = G2_k tau_k d_k + G1_k d_k + G0_k, if bounded.
Every number is an integer in one unit of time and one of energy: whether an update still fits at t_k = T exactly is
then no matter of rounding. Errors count learners from 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from learner.errors import InvalidInstance

Integers = npt.NDArray[np.int64]

LIMIT = 1 << 61
"""No coefficient, bound or T reaches this, so that no denominator C1 + a C2 with a C2 <= T + C2 leaves int64."""
_TIME = {"C2": "c2", "C1": "c1", "C0": "c0"}
_ENERGY = {"G2": "g2", "G1": "g1", "G0": "g0", "Emax": "emax"}
_KEYS = ("time", "energy", "d", "d_l", "d_u", "tau_min")


class Status(StrEnum):
    """What is known about an allocation."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True, eq=False)
class TimeModel:
    """t_k = c2 tau d + c1 d + c0, in one integer unit of time, within the global cycle `t`.

    `c2` (> 0) per update and sample, `c1` per sample, `c0` per cycle: int64, shape (K,).
    """

    c2: Integers
    c1: Integers
    c0: Integers
    t: int


@dataclass(frozen=True, slots=True, eq=False)
class EnergyModel:
    """E_k = g2 tau d + g1 d + g0 <= emax, in one integer unit of energy; int64, shape (K,), none negative."""

    g2: Integers
    g1: Integers
    g0: Integers
    emax: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """What is to be allocated: `d` samples, at least `d_l` (>= 1) and at most `d_u` to each learner, int64, shape (K,).

    `tau_min`: 0, or 1 if every learner must make an update. Whether it can be done is not checked here.

    Raises:
        InvalidInstance: a coefficient out of its range or arrays of different lengths.

    """

    time: TimeModel
    energy: EnergyModel | None
    d: int
    d_l: Integers
    d_u: Integers
    tau_min: int

    def __post_init__(self) -> None:
        """Check shapes, types and ranges."""
        count = len(self.d_l)
        if count == 0:
            raise InvalidInstance(reason="there are no learners")
        if self.tau_min not in (0, 1):
            raise InvalidInstance(reason=f"tau_min is {self.tau_min}: choose 0 or 1")
        if abs(self.time.t) >= LIMIT:
            raise InvalidInstance(reason=f"time.T is {self.time.t}: choose a unit in which it stays below 2^61")
        for name, values, least in self._arrays():
            if values.dtype != np.int64 or values.shape != (count,):
                raise InvalidInstance(reason=f"{name} must be {count} integers, one for each learner, as d_l has")
            _check_range(name, values, least)

    @property
    def learners(self) -> int:
        """K."""
        return len(self.d_l)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Instance":
        """Read `{"time": {"C2": [..], "C1": [..], "C0": [..], "T": n}, "energy": null, "d": n, ...}`.

        "energy" may be a table of lists "G2", "G1", "G0" and "Emax"; "d_l", "d_u" and "tau_min" end the form. Bounds
        are a number or one per learner; all numbers are integers.

        Raises:
            InvalidInstance: a key too few or too many, something that is no integer, or what `Instance` refuses.

        """
        _check_keys("", values, _KEYS, optional=("energy",))
        time = _table("time", values["time"])
        _check_keys("time.", time, (*_TIME, "T"))
        count = _count(time)
        energy: EnergyModel | None = None
        if values.get("energy") is not None:
            table = _table("energy", values["energy"])
            _check_keys("energy.", table, tuple(_ENERGY))
            energy = EnergyModel(**{ours: _array(f"energy.{key}", table[key], count) for key, ours in _ENERGY.items()})
        return cls(
            time=TimeModel(
                **{ours: _array(f"time.{key}", time[key], count) for key, ours in _TIME.items()},
                t=_integer("time.T", time["T"]),
            ),
            energy=energy,
            d=_integer("d", values["d"]),
            d_l=_array("d_l", values["d_l"], count),
            d_u=_array("d_u", values["d_u"], count),
            tau_min=_integer("tau_min", values["tau_min"]),
        )

    def to_json(self) -> dict[str, object]:
        """Give the JSON form that `from_json` reads, with one bound per learner."""
        energy = self.energy
        return {
            "time": {key: getattr(self.time, ours).tolist() for key, ours in _TIME.items()} | {"T": self.time.t},
            "energy": None if energy is None else {key: getattr(energy, o).tolist() for key, o in _ENERGY.items()},
            "d": self.d,
            "d_l": self.d_l.tolist(),
            "d_u": self.d_u.tolist(),
            "tau_min": self.tau_min,
        }

    def _arrays(self) -> list[tuple[str, Integers, int]]:
        """Name every array of the JSON form with the least value that it may hold."""
        arrays = [(f"time.{key}", getattr(self.time, ours), int(key == "C2")) for key, ours in _TIME.items()]
        if self.energy is not None:
            arrays += [(f"energy.{key}", getattr(self.energy, ours), 0) for key, ours in _ENERGY.items()]
        return [*arrays, ("d_l", self.d_l, 1), ("d_u", self.d_u, 0)]


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """What each learner is given: `d` samples and `tau` updates, int64, shape (K,); None when it is infeasible.

    `reason`: which learner and which bound make it infeasible, or what else is to be said in one line.
    `certificate`: why nothing better exists (`learner.allocation.certificates`), None where nobody claims that.
    """

    status: Status
    d: Integers | None = None
    tau: Integers | None = None
    reason: str = ""
    certificate: object = field(default=None, repr=False)

    @property
    def max_staleness(self) -> int | None:
        """Largest |tau_k - tau_l|, in updates; None when infeasible."""
        return None if self.tau is None else int(self.tau.max()) - int(self.tau.min())

    @property
    def pair_sum(self) -> int | None:
        """Sum of |tau_k - tau_l| over all pairs, the numerator of equation 13; None when infeasible."""
        return None if self.tau is None else pair_sum(self.tau)

    @property
    def average_staleness(self) -> float | None:
        """Equation 13: `pair_sum` over the number of pairs K (K - 1) / 2, 0 for one learner; None when infeasible."""
        if self.tau is None:
            return None
        count = len(self.tau)
        return pair_sum(self.tau) / max(1, count * (count - 1) // 2)

    @property
    def updates(self) -> int | None:
        """Sum of tau_k over all learners; None when infeasible."""
        return None if self.tau is None else total(self.tau)


def pair_sum(tau: Integers) -> int:
    """Sum of |tau_k - tau_l| over all pairs, exact: sum over i of (2 i - K + 1) tau_(i), tau ascending from i = 0."""
    count = len(tau)
    spread = np.sort(tau - tau.min())
    weights = 2 * np.arange(count, dtype=np.int64) - (count - 1)
    if count * count * int(spread[-1]) < LIMIT:
        return int(weights @ spread)
    return sum(weight * value for weight, value in zip(weights.tolist(), spread.tolist(), strict=True))


def total(values: Integers) -> int:
    """Sum of any number of int64, exact: high and low halves are added apart where one sum could overflow."""
    if len(values) * max(abs(int(values.max())), abs(int(values.min()))) < 1 << 63:
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def _check_range(name: str, values: Integers, least: int) -> None:
    wrong = (values < least) | (values >= LIMIT)
    if wrong.any():
        learner = int(wrong.argmax())
        raise InvalidInstance(
            reason=f"{name} of learner {learner + 1} of {len(values)} is {values[learner]}: choose {least} to 2^61 - 1"
        )


def _check_keys(where: str, table: Mapping[str, object], keys: Sequence[str], optional: Sequence[str] = ()) -> None:
    missing = [key for key in keys if key not in table and key not in optional]
    if missing:
        raise InvalidInstance(reason=f"{where}{missing[0]} is missing")
    unknown = [key for key in table if key not in keys]
    if unknown:
        raise InvalidInstance(reason=f"unknown key {where}{unknown[0]}: there are {', '.join(keys)}")


def _table(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInstance(reason=f"{name} must be a table of coefficients")
    return value


def _count(time: Mapping[str, object]) -> int:
    values = time["C2"]
    if not isinstance(values, list):
        raise InvalidInstance(reason="time.C2 must be a list, one integer for each learner")
    return len(values)


def _integer(name: str, value: object) -> int:
    if type(value) is not int:
        raise InvalidInstance(reason=f"{name} must be an integer, not {value!r}")
    return value


def _array(name: str, value: object, count: int) -> Integers:
    """Make an array of one integer for each learner; only bounds may be a single number."""
    if not isinstance(value, list):
        if not name.startswith("d_"):
            raise InvalidInstance(reason=f"{name} must be a list, one integer for each learner")
        value = [_integer(name, value)] * count
    if len(value) != count:
        raise InvalidInstance(reason=f"{name} has {len(value)} numbers for {count} learners in time.C2")
    for learner, one in enumerate(value, start=1):
        if type(one) is not int or not -LIMIT < one < LIMIT:
            shown = f"{one!r:.40}"
            raise InvalidInstance(
                reason=f"{name} of learner {learner} of {count} is {shown}: choose an integer below 2^61"
            )
    return np.array(value, dtype=np.int64)
