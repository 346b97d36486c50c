"""Why a round was lost, in words that runs with equal seeds share: signatures, and so blocks' hashes, differ."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chain.consensus.types import VoteKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from chain.consensus.driver import Driver
    from chain.consensus.types import Round, ValueId


def why_lost(driver: Driver, round_: Round, accepted: Collection[ValueId]) -> str:
    """Say in one line how far a round got at a validator, which is in the next one; `accepted` blocks are valid."""
    proposed = [proposal.value_id for proposal in driver.proposals(round_)]
    prevotes, precommits = (_power(driver, round_, kind) for kind in VoteKind)
    polkas = [value_id for value_id, power in prevotes.items() if driver.validators.has_quorum(power)]
    if not proposed:
        what = "no proposal came"
    elif len(proposed) > 1:
        what = "the proposer proposed two blocks"
    elif proposed[0] not in accepted:
        what = "the block is not valid"
    elif not polkas:
        what = "no polka was seen"
    elif polkas == [None]:
        what = "the polka was for nil"
    else:
        what = "too few precommits came"
    total = driver.validators.total_power
    return f"{what}; prevotes {_shares(prevotes, proposed, total)}; precommits {_shares(precommits, proposed, total)}"


def _power(driver: Driver, round_: Round, kind: VoteKind) -> Counter[ValueId | None]:
    """Return the power behind each thing that was voted for; validators repeat the votes of the round before theirs."""
    power: Counter[ValueId | None] = Counter()
    for vote in driver.catch_up().votes:
        if vote.round == round_ and vote.kind == kind:
            power[vote.value_id] += driver.validators.powers[vote.validator]
    return power


def _shares(power: Counter[ValueId | None], proposed: list[ValueId], total: int) -> str:
    shares = sorted((_name(value_id, proposed), share) for value_id, share in power.items())
    return ", ".join(f"{name} {share}/{total}" for name, share in shares) or "none"


def _name(value_id: ValueId | None, proposed: list[ValueId]) -> str:
    if value_id is None:
        return "nil"
    if value_id not in proposed:
        return "an unseen block"
    return "the block" if len(proposed) == 1 else f"block {proposed.index(value_id) + 1}"
