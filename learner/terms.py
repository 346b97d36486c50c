"""The terms of a job that its numbers depend on, and the bounds that keep them exact."""

from dataclasses import dataclass

from learner.aggregation import FORMS
from learner.contribution import RULES, names, rule
from learner.contribution.plugins import names_a_package
from learner.errors import InvalidTerms
from learner.staleness import DISCOUNTS

RULES_VERSION = 1
MAX_DIMENSION = 1 << 26
MAX_MODEL_FRACTION_BITS = 30
MAX_SHIFT = 16
MAX_PHI = 1024
MAX_STALENESS = (1 << 16) - 1
UINT256_END = 1 << 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a job says about its numbers; the names are those of the ledger's job terms.

    `dimension` d: parameters of the model. `fraction_bits` f: of an update; a model has f + `shift` (k).
    `norm_bound_squared`: largest |u|^2, squared integer units. `phi`: records of a full round, 0 for all.
    `max_staleness`: largest version - base that the ledger records, in versions.
    """

    dimension: int
    fraction_bits: int
    shift: int
    norm_bound_squared: int
    phi: int
    max_staleness: int
    scoring: str = "cosine"
    aggregation: str = "literal"
    staleness: str = "constant"
    rules_version: int = RULES_VERSION

    @property
    def model_fraction_bits(self) -> int:
        """Fraction bits of the model: f + k."""
        return self.fraction_bits + self.shift


def check_terms(terms: Terms, *, context: bool = False) -> None:
    """Raise `InvalidTerms`, naming the term, unless every bound of RULES.md holds; to be called when a job is made.

    Raises `UnusableRule` for a scoring rule of a package that is not here.

    `context`: whether whoever computes the job's rounds gives them a `learner.context.Context`; without one, rules
    that need it are refused.

    Why these bounds suffice, with n <= 1,024 updates of int16 (|u| <= 2^15), weights p_i >= 0 that sum to 2^30:
    - Gram chunks: 8,192 columns * 2^30 = 2^43 < 2^53, exact in float64. |G_ij| <= 2^26 * 2^30 = 2^56 fits int64.
      Sums of rows (2^66) and of all entries (2^76) are taken in Python integers.
    - Shifted update: 2^15 << 16 = 2^31; base + that, at most 2^32, is compared with int32 in int64 at the hold check.
    - Weighted sum: 2^30 * 2^15 = 2^45 < 2^53, exact in float64; shifted 2^61. Models times 2^30: 2^31 * 2^30 = 2^61.
      The aggregate is the sum of the two, at most 2^62 < 2^63: int64 cannot overflow.
    """
    _within("dimension", terms.dimension, 1, MAX_DIMENSION)
    _within("fraction_bits", terms.fraction_bits, 0, MAX_MODEL_FRACTION_BITS)
    _within("shift", terms.shift, 0, min(MAX_SHIFT, MAX_MODEL_FRACTION_BITS - terms.fraction_bits))
    _within("phi", terms.phi, 0, MAX_PHI)
    _within("max_staleness", terms.max_staleness, 0, MAX_STALENESS)
    if not 1 <= terms.norm_bound_squared < UINT256_END:
        raise InvalidTerms(field="norm_bound_squared", value=terms.norm_bound_squared, allowed="1 to 2^256 - 1")
    versions = sorted({version for _, version in RULES})
    if terms.rules_version not in versions:
        raise InvalidTerms(field="rules_version", value=terms.rules_version, allowed=_one_of(versions))
    _check_scoring(terms, context=context)
    _named("staleness", terms.staleness, [name for name, version in DISCOUNTS if version == terms.rules_version])
    _named("aggregation", terms.aggregation, list(FORMS))


def _check_scoring(terms: Terms, *, context: bool) -> None:
    if not names_a_package(terms.scoring):
        _named("scoring", terms.scoring, names(terms.rules_version, alone=not context))
    elif not (rule(terms.scoring, terms.rules_version).needs.nothing or context):
        raise InvalidTerms(field="scoring", value=terms.scoring, allowed="a rule that needs no context")


def _within(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidTerms(field=field, value=value, allowed=f"{least} to {most}")


def _named(field: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise InvalidTerms(field=field, value=value, allowed=_one_of(sorted(known)))


def _one_of(values: list[int] | list[str]) -> str:
    return f"one of {', '.join(str(value) for value in values)}"
