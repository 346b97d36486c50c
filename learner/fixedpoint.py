"""Fixed point: updates in int16, models in int32, and what is refused on the way.

With fraction bits f and shift k (job terms), an update's integer u stands for u / 2^f and a model's integer w for
w / 2^(f + k). A client sends u, keeps the rounding error and adds it to its next update (error feedback).
Nothing is clipped: what does not fit is `Rejected`, a value, because a peer's bad input is no exception here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from learner.gram import gram

Update: TypeAlias = NDArray[np.int16]
Model: TypeAlias = NDArray[np.int32]
Reals: TypeAlias = NDArray[np.float64]

INT16 = np.iinfo(np.int16)
INT32 = np.iinfo(np.int32)

_NORM_COLUMNS = 1 << 18
"""One row alone fits the cache in larger chunks than many do."""


class Refusal(StrEnum):
    """Why a vector is refused."""

    NOT_FINITE = "not-finite"
    WRONG_LENGTH = "wrong-length"
    OUT_OF_RANGE = "out-of-range"
    BEYOND_NORM = "beyond-norm"
    OVERFLOWS = "overflows"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A vector that is refused, with one line that says why."""

    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An update as it is sent, and what rounding left for the next one.

    `update` is int16[d]; `residual` is float64[d] in units of the update's last bit, within +-0.5.
    """

    update: Update
    residual: Reals


def encode_update(
    delta: Reals, fraction_bits: int, residual: Reals | None = None, *, norm_bound_squared: int | None = None
) -> Encoded | Rejected:
    """Round `delta` (float64[d], trained model less its base) to int16 with `fraction_bits`, half to even.

    `residual` is what the last accepted update left (none: zeros). If the answer is `Rejected`, nothing was sent and
    the old residual stays. `norm_bound_squared` is the job's bound in squared integer units.
    """
    if residual is not None and residual.shape != delta.shape:
        return Rejected(Refusal.WRONG_LENGTH, f"residual has shape {residual.shape}, the update {delta.shape}")
    if not np.isfinite(delta).all():
        return Rejected(Refusal.NOT_FINITE, "the update holds NaN or infinity: lower the learning rate")
    with np.errstate(over="ignore"):  # a product beyond float64 becomes infinite and is out of range just below
        exact = delta * 2.0**fraction_bits  # exact, and several times as fast as ldexp
    if residual is not None:
        exact = exact + residual
    rounded = np.rint(exact)
    if not (rounded.min(initial=0) >= INT16.min and rounded.max(initial=0) <= INT16.max):
        widest = float(np.abs(delta).max())
        return Rejected(
            Refusal.OUT_OF_RANGE,
            f"|{widest:.6g}| does not fit int16 with {fraction_bits} fraction bits: lower the learning rate",
        )
    update = rounded.astype(np.int16)
    if norm_bound_squared is not None and (refused := beyond_norm(update, norm_bound_squared)) is not None:
        return refused
    return Encoded(update, exact - rounded)


def decode_update(update: Update, fraction_bits: int) -> Reals:
    """Float64[d] that the update's integers stand for; exact."""
    return np.ldexp(update.astype(np.float64), -fraction_bits)


def encode_model(parameters: Reals, fraction_bits: int) -> Model | Rejected:
    """Round float64[d] to int32[d] with `fraction_bits` (the model's: f + k), half to even."""
    if not np.isfinite(parameters).all():
        return Rejected(Refusal.NOT_FINITE, "the model holds NaN or infinity")
    with np.errstate(over="ignore"):
        rounded = np.rint(np.ldexp(parameters, fraction_bits))
    if not ((rounded >= INT32.min) & (rounded <= INT32.max)).all():
        widest = float(np.abs(parameters).max())
        return Rejected(
            Refusal.OUT_OF_RANGE, f"|{widest:.6g}| does not fit int32 with {fraction_bits} fraction bits: use fewer"
        )
    return rounded.astype(np.int32)


def decode_model(model: Model, fraction_bits: int) -> Reals:
    """Float64[d] that the model's integers stand for; exact, since an int32 fits float64's 53 bits."""
    decoded: Reals = np.multiply(model, 2.0**-fraction_bits, dtype=np.float64)
    return decoded


def norm_squared(update: Update) -> int:
    """Give the squared Euclidean norm in squared integer units, exact."""
    return int(gram([update], chunk_columns=_NORM_COLUMNS)[0, 0])


def beyond_norm(update: Update, norm_bound_squared: int) -> Rejected | None:
    """Compare the squared norm with the job's bound, in integers; the bound itself is allowed."""
    if (squared := norm_squared(update)) > norm_bound_squared:
        return Rejected(Refusal.BEYOND_NORM, f"squared norm {squared} is beyond the job's bound {norm_bound_squared}")
    return None


def _largest(values: Model | Update) -> int:
    """Return the largest magnitude in a vector that is not empty."""
    return max(-int(values.min()), int(values.max()))


def overflows(base: Model, update: Update, shift: int) -> bool:
    """Whether some coordinate of base + (update << shift) leaves int32 (both [d], shift <= 16)."""
    if base.size and _largest(base) + (_largest(update) << shift) <= INT32.max:
        return False  # nearly always, and without a vector of int64
    moved = base.astype(np.int64) + (update.astype(np.int64) << shift)
    return bool(((moved < INT32.min) | (moved > INT32.max)).any())


def check_update(base: Model, update: Update, *, shift: int, norm_bound_squared: int) -> Rejected | None:
    """Check what a holder of the blob must check of its numbers: length, norm, and that base + (u << k) fits int32.

    None means that the update may be held. Every int16 is in range, so range needs no check once decoded.
    """
    if update.shape != base.shape:
        return Rejected(Refusal.WRONG_LENGTH, f"update has {update.size} parameters, its base {base.size}")
    if (refused := beyond_norm(update, norm_bound_squared)) is not None:
        return refused
    if overflows(base, update, shift):
        return Rejected(Refusal.OVERFLOWS, "base + (update << shift) leaves int32")
    return None
