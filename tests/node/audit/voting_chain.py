"""A chain as CometBFT would decide it: validators that votes change, versions that switch, evidence.

Everything that the ledger says comes from a real one; headers, commits and evidence are made and signed here, with each
validator's key, so that a test can also make what a quorum could only do by conspiring.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chain import light
from chain.application import Misbehavior, Timestamp
from chain.engines.base import EngineName, last_results_hash
from chain.genesis import Hex, ValidatorEntry
from chain.validators import CONSENSUS_PARAMS
from contracts.addresses import COUNCIL, TOKEN
from contracts.bindings import Council, Token
from contracts.calls import Call
from contracts.upgrades import UpgradeKind
from tests.chain.ledger import SPONSOR, Replica, edge, genesis, key

TIME = 1_700_000_000
KEYS = [key(f"voting chain, validator {number}") for number in range(5)]
BY_ADDRESS = {light.validator_address(one.public_key): one for one in KEYS}
EXECUTED = 3
"""The height that carries out what the edge servers voted for."""
PUNISHED = 6
"""The height that holds the evidence."""
TOP = 14
SWITCHES = (EXECUTED + 8, EXECUTED + 9, EXECUTED + 10)
"""Blocks, here heights as well, from which version 2 of execution, contracts and rules holds."""


def members(powers: dict[int, int]) -> light.ValidatorSet:
    return light.ValidatorSet.of(light.Validator(KEYS[number].public_key, power) for number, power in powers.items())


BEFORE, VOTED, AFTER = members({0: 1, 1: 1, 2: 1, 3: 1}), members({4: 1, 1: 2, 2: 1, 3: 1}), members({4: 1, 1: 2, 2: 1})
NAME = genesis().name
PROPOSED = [
    Call(COUNCIL, Council.encode_rotate_validator(light.validator_address(KEYS[0].public_key), KEYS[4].public_key)),
    Call(COUNCIL, Council.encode_set_validator_power(light.validator_address(KEYS[1].public_key), 2)),
    *(
        Call(COUNCIL, Council.encode_schedule_upgrade(kind, 2, height))
        for kind, height in zip(UpgradeKind, SWITCHES, strict=True)
    ),
]


def voted(height: int) -> light.ValidatorSet:
    """Return the validators of a height by CometBFT's rule: a height's updates hold from two heights later on."""
    return BEFORE if height < EXECUTED + 2 else VOTED if height < PUNISHED + 2 else AFTER


def block_id(label: bytes) -> light.BlockId:
    return light.BlockId(label.ljust(32, b"\0"), light.PartSetHeader(1, label.ljust(32, b"\1")))


def double_vote(time: light.Timestamp, *, signer: int = 3, **changes: object) -> light.DuplicateVote:
    """Return what proves that validator 3 voted twice at height 4; `signer` is who signed in fact."""
    votes = []
    for label in (b"a", b"b"):
        vote = light.Vote(
            kind=light.VoteType.PRECOMMIT,
            height=light.Height(4),
            round=1,
            block_id=block_id(label),
            timestamp=light.Timestamp(TIME + 240, 5),
            validator_address=light.validator_address(KEYS[3].public_key),
            validator_index=0,
            signature=b"",
        )
        canonical = light.CanonicalVote(
            light.VoteType.PRECOMMIT, vote.height, vote.round, vote.block_id, vote.timestamp
        )
        signed = KEYS[signer].sign(light.vote_sign_bytes(canonical, NAME), light.VOTE_CONTEXT)
        votes.append(replace(vote, signature=signed))
    found = light.DuplicateVote(votes[0], votes[1], total_power=4, validator_power=1, timestamp=time)
    return replace(found, **changes)  # type: ignore[arg-type] # a test's own fields


@dataclass
class VotingChain:
    """An engine that has decided `TOP` heights.

    `validators_of` says who decides a height; `proof` gives what height `PUNISHED` holds, from the time of height 4,
    and `repeated` whether the next one holds it again.
    """

    name: EngineName = EngineName.COMETBFT
    validators_of: Callable[[int], light.ValidatorSet] = voted
    proof: Callable[[light.Timestamp], Sequence[light.Evidence]] = lambda time: (double_vote(time),)
    repeated: bool = False

    def __post_init__(self) -> None:
        entries = (
            ValidatorEntry(name=f"validator-{n}", public_key=Hex(KEYS[n].public_key), member=n + 1) for n in range(4)
        )
        document = genesis(governor=Hex(COUNCIL), validators=tuple(entries), time=TIME)
        self.replica = Replica(document=document, time=TIME)
        self.height, self.genesis = light.Height(TOP), document
        self.headers: dict[int, light.Header] = {}
        self.commits: dict[int, light.Commit] = {}
        self.bodies: dict[int, tuple[bytes, ...]] = {}
        self.proofs: dict[int, tuple[bytes, ...]] = {}
        last, results, app_hash = light.EMPTY_COMMIT, last_results_hash(()), self.replica.genesis_hash
        time = light.Timestamp(TIME)
        found: Sequence[light.Evidence] = ()
        for height in map(light.Height, range(1, TOP + 1)):
            if height == PUNISHED:
                found = self.proof(self.headers[4].time)  # once: the next signature would be another one
            proven = found if height in self._punished() else ()
            txs = self._transactions(height)
            self.proofs[height] = tuple(map(light.encode_evidence, proven))
            current, following = self.validators_of(height), self.validators_of(height + 1)
            header = light.Header(
                app_version=document.versions.execution,
                chain_id=document.name,
                height=height,
                time=time,
                last_block_id=last.block_id,
                last_commit_hash=light.commit_hash(last),
                data_hash=light.data_hash(txs),
                validators_hash=light.validators_hash(current),
                next_validators_hash=light.validators_hash(following),
                consensus_hash=light.consensus_hash(CONSENSUS_PARAMS),
                app_hash=app_hash,
                last_results_hash=results,
                evidence_hash=light.evidence_hash(self.proofs[height]),
                proposer_address=current.validators[0].address,
            )
            last = self._decided(light.Block(header, txs, last, self.proofs[height]), current)
            self.headers[height], self.commits[height], self.bodies[height] = header, last, txs
            finalized = self.replica.app.finalize_block(
                height, Timestamp(time.seconds, time.nanos), txs, self._reports(proven)
            )
            self.replica.app.commit()
            app_hash, results = finalized.app_hash, last_results_hash(finalized.results)
            time = light.median_time(last, current)

    def _punished(self) -> set[int]:
        return {PUNISHED, PUNISHED + 1} if self.repeated else {PUNISHED}

    def _transactions(self, height: int) -> tuple[bytes, ...]:
        sign = self.replica.sign
        self.replica.nonces.clear()
        match height:
            case 1:
                return (sign(edge(1), COUNCIL, Council.encode_propose(TIME + 10_000, "all of it", PROPOSED)),)
            case 2:
                return tuple(sign(edge(n), COUNCIL, Council.encode_vote(1, approves=True)) for n in (1, 2, 3))
            case 3:
                return (sign(edge(4), COUNCIL, Council.encode_execute(1, PROPOSED)),)
            case _:
                return (sign(SPONSOR, TOKEN, Token.encode_transfer(bytes(19) + b"\1", height)),)

    @staticmethod
    def _reports(proven: Sequence[light.Evidence]) -> list[Misbehavior]:
        """What CometBFT tells the ledger, spelled out apart from what the audit does."""
        return [
            Misbehavior(1, one.vote_a.validator_address, one.validator_power, 4, one.timestamp.to_ns(), one.total_power)
            for one in proven
            if isinstance(one, light.DuplicateVote)
        ]

    @staticmethod
    def _decided(block: light.Block, validators: light.ValidatorSet) -> light.Commit:
        """Let the validators vote; the last one's votes of heights 2 and 4 are for nil and absent."""
        height = block.header.height
        moment = light.Timestamp(TIME + 60 * height, 7)
        slots = [light.CommitSig(light.BlockIdFlag.COMMIT, one.address, moment, b"") for one in validators]
        if height == 2:
            slots[-1] = replace(slots[-1], flag=light.BlockIdFlag.NIL)
        if height == 4:
            slots[-1] = light.ABSENT
        unsigned = light.Commit(height, height % 3, light.block_id(block), tuple(slots))
        signed = [
            slot
            if slot == light.ABSENT
            else replace(
                slot,
                signature=BY_ADDRESS[slot.validator_address].sign(
                    light.commit_sign_bytes(unsigned, index, NAME), light.VOTE_CONTEXT
                ),
            )
            for index, slot in enumerate(slots)
        ]
        return replace(unsigned, signatures=tuple(signed))

    @property
    def history(self) -> "VotingChain":
        return self

    async def validators(self, height: int) -> light.ValidatorSet:
        return self.validators_of(height)

    async def signed_header(self, height: int) -> tuple[light.Header, light.Commit]:
        return self.headers[height], self.commits[height]

    @staticmethod
    async def first() -> int:
        return 1

    async def transactions(self, height: int) -> tuple[bytes, ...]:
        return self.bodies[height]

    async def evidence(self, height: int) -> tuple[bytes, ...]:
        return self.proofs[height]
