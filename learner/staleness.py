"""Staleness: what a delay takes off theta, and a client's average delay.

Round r makes version r from version r - 1. A record with base b that round r consumes has delay tau = r - 1 - b.
"""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import isqrt
from types import MappingProxyType

from learner.errors import UnknownRule

PPB = 10**9


def delay(round_number: int, base: int) -> int:
    """Delay tau = r - 1 - b, in versions, of a record with base b that round r consumes."""
    return round_number - 1 - base


def constant(tau: int) -> int:
    """No discount: 10^9 ppb whatever the delay."""
    del tau
    return PPB


def polynomial(tau: int) -> int:
    """(1 + tau)^(-1/2) in ppb, rounded down: isqrt(10^18 // (1 + tau)) (FedAsync, arXiv 1903.03934, with a = 1/2)."""
    return isqrt(PPB * PPB // (1 + tau))


HINGE_DELAY = 4
HINGE_SLOPE = 10


def hinge(tau: int) -> int:
    """10^9 ppb up to tau = 4, then 10^9 // (10 (tau - 4) + 1) (FedAsync, arXiv 1903.03934, with a = 10 and b = 4)."""
    return PPB // (HINGE_SLOPE * max(0, tau - HINGE_DELAY) + 1)


Discount = Callable[[int], int]

DISCOUNTS: Mapping[tuple[str, int], Discount] = MappingProxyType(
    {("constant", 1): constant, ("polynomial", 1): polynomial, ("hinge", 1): hinge}
)


def discount(name: str, version: int) -> Discount:
    """Find the discount (delay in versions -> ppb) of this name and rules version; `UnknownRule` if there is none."""
    try:
        return DISCOUNTS[name, version]
    except KeyError:
        known = sorted(known for known, of_version in DISCOUNTS if of_version == version)
        raise UnknownRule(kind="staleness rule", name=name, version=version, known=known) from None


def discounted(theta: int, discount_ppb: int) -> int:
    """Theta after a discount, in ppb, rounded down."""
    return theta * discount_ppb // PPB


def next_phi(phi: int, delays: Iterable[int], *, target: int, most: int) -> int:
    """How many records the next round takes, so that their mean delay comes to `target` versions: 1 to `most`.

    More by one if the mean delay of the records of this round was above the target, since larger rounds make fewer
    versions; fewer by one if it was below; the same if it was met or there was no record.
    """
    over = [delay - target for delay in delays]
    step = (sum(over) > 0) - (sum(over) < 0)
    return min(max(1, phi + step), most)


def tau_avg(consumed_delays: Iterable[int], pending_bases: Iterable[int], version: int) -> Fraction | None:
    """Average delay of a client over all of its records, in versions, exact; None if it has no record.

    (sum of the delays of its consumed records + sum over C_T of the delays so far) / T_i, where C_T are its records
    on the ledger that a later round can still take and T_i counts both. `version` is the newest decided version: a
    pending record with base b has waited version - b so far, the delay that it would have in the next round.
    A stated reading of BFL-MEC's average delay: what is still training at T is not on the ledger.
    """
    delays = [*consumed_delays, *(version - base for base in pending_bases)]
    return Fraction(sum(delays), len(delays)) if delays else None
