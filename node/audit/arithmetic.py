"""The arithmetic of one round's rewards, in numbers that a person can do again with a calculator for large integers."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isqrt
from typing import Final

from contracts.digests import text_of
from contracts.terms import JobTerms
from learner import rewards, staleness
from learner.rounds import RoundResult
from node.rounds.log import RoundOutcome, Selection

_WEI: Final = Decimal(10**18)
_PPB: Final = staleness.PPB
_COSINE: Final = ("cosine", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One record of a round: its client, the delay of its base, its theta in ppb, and what it earned in wei.

    `dot` and `squared`: update times sum of updates, and the update's squared norm, by the rule `cosine` alone.
    """

    client: int
    base: int
    theta_ppb: int
    reward_wei: int
    dot: int | None = None
    squared: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What a paid round gives to whom: `pool_wei` = base_wei * records // phi, divided by theta in order.

    `squared_sum`: the squared norm of the sum of all updates, by the rule `cosine` alone.
    """

    job: int
    round: int
    scoring: str
    staleness: str
    rules_version: int
    base_wei: int
    phi: int
    pool_wei: int
    shares: tuple[Share, ...]
    squared_sum: int | None = None

    def of(self, client: int | None) -> Iterator[str]:
        """Yield the lines for each record of a client, or of all."""
        for at, share in enumerate(self.shares):
            if client in {None, share.client}:
                yield from self._lines(at, share)

    def _lines(self, at: int, share: Share) -> Iterator[str]:
        total, before = sum(one.theta_ppb for one in self.shares), sum(one.theta_ppb for one in self.shares[:at])
        after, pool = before + share.theta_ppb, self.pool_wei
        yield f"job {self.job} round {self.round} client {share.client}: {Decimal(share.reward_wei) / _WEI:f} tokens"
        yield from self._theta(share)
        yield (
            f"  pool  = base * records // phi = {self.base_wei} * {len(self.shares)} // {self.phi} = {pool} wei,"
            " for the whole round"
        )
        others = ", ".join(f"client {one.client}: {one.theta_ppb}" for one in self.shares)
        yield f"  thetas of the round, in order: {others}; their sum is {total}"
        if total == 0:
            yield "  reward = 0: every theta is 0, and nobody is paid"
            return
        yield f"  the thetas before this one sum to {before}, with it to {after}"
        yield (
            f"  reward = pool * {after} // {total} - pool * {before} // {total}"
            f" = {pool * after // total} - {pool * before // total} = {share.reward_wei} wei"
        )

    def _theta(self, share: Share) -> Iterator[str]:
        tau = staleness.delay(self.round, share.base)
        if share.dot is None or share.squared is None or self.squared_sum is None:
            yield (
                f"  theta = {share.theta_ppb} of {_PPB}, by the rule {self.scoring} (version {self.rules_version}), at"
                f" a delay of {tau}"
            )
            return
        yield (
            f"  update . sum of updates = {share.dot}, |update|^2 = {share.squared},"
            f" |sum of updates|^2 = {self.squared_sum}"
        )
        product = share.squared * self.squared_sum
        raw = 0
        if share.dot <= 0 or product == 0:
            yield "  cosine = 0: the update does not point where the round points"
        else:
            raw = isqrt(_PPB * _PPB * share.dot * share.dot // product)
            yield f"  cosine = isqrt(10^18 * {share.dot}^2 // ({share.squared} * {self.squared_sum})) = {raw}"
        discount = staleness.discount(self.staleness, self.rules_version)(tau)
        yield (
            f"  theta = cosine * {self.staleness}({tau}) // 10^9 = {raw} * {discount} // {_PPB}"
            f" = {staleness.discounted(raw, discount)}, for a delay of {self.round} - 1 - {share.base} = {tau}"
        )

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON has them; amounts and products as strings, for most readers lose digits."""
        return {
            "job": self.job,
            "round": self.round,
            "scoring": self.scoring,
            "staleness": self.staleness,
            "rules_version": self.rules_version,
            "base_wei": str(self.base_wei),
            "phi": self.phi,
            "pool_wei": str(self.pool_wei),
            "squared_sum": None if self.squared_sum is None else str(self.squared_sum),
            "shares": [
                {
                    "client": one.client,
                    "base": one.base,
                    "theta_ppb": one.theta_ppb,
                    "reward_wei": str(one.reward_wei),
                    "dot": None if one.dot is None else str(one.dot),
                    "squared": None if one.squared is None else str(one.squared),
                }
                for one in self.shares
            ],
        }


def arithmetic(terms: JobTerms, outcome: RoundOutcome, selection: Selection, result: RoundResult) -> Arithmetic:
    """Put a round's numbers together, as it was computed again; `terms` are those of that round."""
    scoring, version = text_of(terms.scoring), terms.rules_version
    cosine = (scoring, version) == _COSINE
    gram: list[list[int]] = result.gram.tolist() if cosine else []
    dots = [sum(row) for row in gram]
    paid = rewards.rewards(outcome.reward_wei, result.thetas)
    shares = tuple(
        Share(
            client=entry.client,
            base=entry.base,
            theta_ppb=result.thetas[at],
            reward_wei=paid[at],
            dot=dots[at] if cosine else None,
            squared=gram[at][at] if cosine else None,
        )
        for at, entry in enumerate(selection.records)
    )
    return Arithmetic(
        job=selection.job,
        round=selection.round,
        scoring=scoring,
        staleness=text_of(terms.staleness),
        rules_version=version,
        base_wei=terms.base_reward,
        phi=outcome.phi,
        pool_wei=outcome.reward_wei,
        shares=shares,
        squared_sum=sum(dots) if cosine else None,
    )
