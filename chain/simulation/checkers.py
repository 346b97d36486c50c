"""What must hold whatever breaks: each check knows what everybody signed, and believes no node.

A violation ends the run. The checks use no code of the core but its types, so that a fault in there cannot hide itself.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from chain.consensus.limits import ROUNDS_MOST
from chain.consensus.types import Address, Height, Proposal, Round, ValueId, Vote, VoteKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chain.consensus.driver import Decided
    from chain.consensus.errors import ConsensusError
    from chain.consensus.types import Equivocation
    from chain.simulation.keys import KeyRing
    from chain.simulation.node import Node
    from chain.simulation.trace import Trace

_Slot = tuple[int, int, int]


class Rule(Enum):
    """What never may happen."""

    CONTRADICTION = "an honest validator contradicts itself"
    INVALID_VOTE = "an honest validator votes for an invalid value"
    LOCK = "an honest validator breaks its lock"
    POLKA = "a polka is claimed that never was"
    QUORUM = "a decision without a quorum"
    CERTIFICATE = "a certificate that does not certify"
    INVALID_DECISION = "an invalid value is decided"
    FORK = "a fork"
    HONEST_ACCUSED = "evidence against an honest validator"
    EVIDENCE = "evidence that proves nothing"
    ROUND = "an honest validator enters a round without a reason"
    ORDER = "a height is decided out of order"
    REPLAY = "a replay that does not repeat"
    DAMAGE = "files are damaged on a sound disk"
    MEMORY = "memory without bound"
    LIVENESS = "no decision after healing"
    SIGNER = "a signer is asked to contradict itself"


class ViolationError(Exception):
    """Something happened that never may."""

    def __init__(self, rule: Rule, detail: str) -> None:
        """Build the line."""
        self.rule, self.detail = rule, detail
        super().__init__(f"{rule.value}: {detail}")


class Watch:
    """Sees everything that nodes sign, decide, accuse and recover."""

    def __init__(self, keys: KeyRing, powers: Mapping[Height, Mapping[Address, int]], trace: Trace) -> None:
        """Judge by the `powers` of each height."""
        self.counts: Counter[str] = Counter()
        self.honest: set[Address] = set()
        self.decisions: dict[Height, ValueId] = {}
        self.flipped: set[int] = set()
        """Nodes whose disk was damaged."""
        self.accused_validators: set[Address] = set()
        self.forks: set[Height] = set()
        """Heights with two decisions; only where `forks_end` does not let the first one end the run."""
        self.forks_end = True
        self.on_height: Callable[[Height], None] | None = None
        """Told of each height that an honest node decides first."""
        self._keys, self._powers, self._trace = keys, powers, trace
        self._said: dict[tuple[Address, _Slot], Vote | Proposal] = {}
        self._votes: dict[tuple[Height, Round, VoteKind, ValueId | None], set[Address]] = {}
        self._present: dict[tuple[Height, Round], set[Address]] = {}
        self._precommitted: dict[tuple[Height, Round], set[Address]] = {}
        self._locks: dict[tuple[Address, Height], Vote] = {}

    def signed(self, node: Node, message: Vote | Proposal) -> None:
        """Hear of a signature, before anybody else does."""
        if node.honest:
            self._check_round(message)
        here = (message.height, message.round)
        self._present.setdefault(here, set()).add(message.validator)
        if isinstance(message, Vote):
            self._votes.setdefault((*here, message.kind, message.value_id), set()).add(message.validator)
            if message.kind == VoteKind.PRECOMMIT:
                self._precommitted.setdefault(here, set()).add(message.validator)
        if not node.honest:
            return
        slot = (message.height, message.round, int(message.kind) if isinstance(message, Vote) else 0)
        earlier = self._said.setdefault((message.validator, slot), message)
        if earlier != message:
            raise ViolationError(Rule.CONTRADICTION, f"{earlier} and {message}")
        if isinstance(message, Proposal):
            if message.valid_round >= 0:
                self._require_polka(message, message.valid_round)
        elif message.value_id is not None:
            self._check_vote(message, message.value_id)

    def _check_round(self, message: Vote | Proposal) -> None:
        """Require 2f+1 precommits of the round before (L47, L65), or f+1 of others in this one (L55)."""
        height, round_ = message.height, message.round
        others = self._present.get((height, round_), set()) - {message.validator}
        ended = self._precommitted.get((height, Round(round_ - 1)), set())
        total = sum(self._powers[height].values())
        if round_ > 0 and 3 * self._power(height, others) < total and 3 * self._power(height, ended) <= 2 * total:
            earlier = self._present.get((height, round_), set())
            if message.validator not in earlier:
                raise ViolationError(Rule.ROUND, str(message))

    def _power(self, height: Height, validators: set[Address]) -> int:
        return sum(self._powers[height].get(validator, 0) for validator in validators)

    def _check_vote(self, vote: Vote, value_id: ValueId) -> None:
        key = (vote.validator, vote.height)
        if vote.kind == VoteKind.PRECOMMIT:
            self._require_polka(vote, vote.round)
            self._locks[key] = vote
            return
        if not value_id[-1]:
            raise ViolationError(Rule.INVALID_VOTE, str(vote))
        lock = self._locks.get(key)
        if lock is None or lock.value_id == value_id:
            return
        later = range(lock.round, vote.round)
        if not any(self._has_quorum(vote.height, Round(r), VoteKind.PREVOTE, value_id) for r in later):
            raise ViolationError(Rule.LOCK, f"{vote} after {lock}")

    def _require_polka(self, message: Vote | Proposal, round_: Round) -> None:
        if not self._has_quorum(message.height, round_, VoteKind.PREVOTE, message.value_id):
            raise ViolationError(Rule.POLKA, f"round {round_}: {message}")

    def _has_quorum(self, height: Height, round_: Round, kind: VoteKind, value_id: ValueId | None) -> bool:
        voters = self._votes.get((height, round_, kind, value_id), set())
        return 3 * self._power(height, voters) > 2 * sum(self._powers[height].values())

    def decided(self, node: Node, decided: Decided) -> None:
        """Hear of a decision, before it changes anything."""
        if not node.honest:
            return
        proposal, certificate = decided.proposal, decided.certificate
        height, value_id = proposal.height, proposal.value_id
        if height != node.height:
            raise ViolationError(Rule.ORDER, f"node {node.number} decides height {height} while at {node.height}")
        if not self._has_quorum(height, certificate.round, VoteKind.PRECOMMIT, value_id):
            raise ViolationError(Rule.QUORUM, f"node {node.number}, {proposal}")
        signers = {vote.validator for vote in certificate.votes if self._keys.holds(vote)}
        if 3 * self._power(height, signers) <= 2 * sum(self._powers[height].values()):
            raise ViolationError(Rule.CERTIFICATE, f"node {node.number}, {certificate}")
        if not value_id[-1]:
            raise ViolationError(Rule.INVALID_DECISION, f"node {node.number}, {proposal}")
        news = height not in self.decisions
        first = self.decisions.setdefault(height, value_id)
        if first != value_id:
            detail = f"height {height}: node {node.number} decides {value_id.hex()}, another {first.hex()}"
            if self.forks_end:
                raise ViolationError(Rule.FORK, detail)
            if height not in self.forks:
                self._trace.happened(f"{Rule.FORK.value}: {detail}")
            self.forks.add(height)
        self._trace.decided(node, decided)
        if news and self.on_height is not None:
            self.on_height(height)

    def accused(self, node: Node, evidence: Equivocation) -> None:
        """Hear of evidence."""
        if not node.honest:
            return
        first, second = evidence.first, evidence.second
        if first.validator in self.honest:
            raise ViolationError(Rule.HONEST_ACCUSED, str(evidence))
        if first == second or not (self._keys.holds(first) and self._keys.holds(second)):
            raise ViolationError(Rule.EVIDENCE, str(evidence))
        self.counts["equivocations proved"] += 1
        self.accused_validators.add(first.validator)

    def replayed(self, node: Node, *, same: bool) -> None:
        """Hear that a whole journal was replayed, and whether that led to where the node was before."""
        self.counts["journals replayed"] += 1
        if node.honest and not same:
            raise ViolationError(Rule.REPLAY, f"node {node.number}")

    def damaged(self, node: Node, error: ConsensusError) -> None:
        """Hear that a node found its files damaged."""
        self.counts["damage detected"] += 1
        if node.number not in self.flipped:
            raise ViolationError(Rule.DAMAGE, f"node {node.number}: {error}")

    def measured(self, node: Node) -> None:
        """Look at how much a node keeps."""
        size, limit = node.driver.size(), node.driver.size_limit()
        if node.driver.rounds_kept() > ROUNDS_MOST:
            raise ViolationError(Rule.MEMORY, f"node {node.number} keeps {node.driver.rounds_kept()} rounds")
        if size > limit:
            raise ViolationError(Rule.MEMORY, f"node {node.number} keeps {size} messages, more than {limit}")
