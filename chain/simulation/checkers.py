"""What must hold whatever breaks: each check knows what everybody signed, and believes no node.

A violation ends the run. The checks use no code of the core but its types, so that a fault in there cannot hide itself.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from chain.consensus.types import Address, Height, Proposal, Round, ValueId, Vote, VoteKind

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        self._keys, self._powers, self._trace = keys, powers, trace
        self._said: dict[tuple[Address, _Slot], Vote | Proposal] = {}
        self._votes: dict[tuple[Height, Round, VoteKind, ValueId | None], set[Address]] = {}
        self._locks: dict[tuple[Address, Height], Vote] = {}

    def signed(self, node: Node, message: Vote | Proposal) -> None:
        """Hear of a signature, before anybody else does."""
        if isinstance(message, Vote):
            key = (message.height, message.round, message.kind, message.value_id)
            self._votes.setdefault(key, set()).add(message.validator)
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
        powers = self._powers[height]
        voters = self._votes.get((height, round_, kind, value_id), set())
        return 3 * sum(powers.get(voter, 0) for voter in voters) > 2 * sum(powers.values())

    def decided(self, node: Node, decided: Decided) -> None:
        """Hear of a decision, before it changes anything."""
        if not node.honest:
            return
        proposal, certificate = decided.proposal, decided.certificate
        height, value_id = proposal.height, proposal.value_id
        if not self._has_quorum(height, certificate.round, VoteKind.PRECOMMIT, value_id):
            raise ViolationError(Rule.QUORUM, f"node {node.number}, {proposal}")
        signers = {vote.validator for vote in certificate.votes if self._keys.holds(vote)}
        powers = self._powers[height]
        if 3 * sum(powers.get(signer, 0) for signer in signers) <= 2 * sum(powers.values()):
            raise ViolationError(Rule.CERTIFICATE, f"node {node.number}, {certificate}")
        if not value_id[-1]:
            raise ViolationError(Rule.INVALID_DECISION, f"node {node.number}, {proposal}")
        first = self.decisions.setdefault(height, value_id)
        if first != value_id:
            detail = f"height {height}: node {node.number} decides {value_id.hex()}, another {first.hex()}"
            raise ViolationError(Rule.FORK, detail)
        self._trace.decided(node, decided)

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

    def replayed(self, node: Node, *, same: bool) -> None:
        """Hear that a journal was replayed twice."""
        self.counts["journals replayed"] += 1
        if not same:
            raise ViolationError(Rule.REPLAY, f"node {node.number}")

    def damaged(self, node: Node, error: ConsensusError) -> None:
        """Hear that a node found its files damaged."""
        self.counts["damage detected"] += 1
        if node.number not in self.flipped:
            raise ViolationError(Rule.DAMAGE, f"node {node.number}: {error}")

    def measured(self, node: Node) -> None:
        """Look at how much a node keeps."""
        size, limit = node.driver.size(), node.driver.size_limit()
        if size > limit:
            raise ViolationError(Rule.MEMORY, f"node {node.number} keeps {size} messages, more than {limit}")
