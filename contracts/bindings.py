"""Typed bindings: call data and views of the contracts (their events are in `contracts.events`).

Nothing else in the tree spells the contracts' functions.

    ledger = Ledger(w3, address)                          # a web3.Web3 that is connected to any EVM chain
    ledger.job(1).version                                 # a view, at the newest block or at a given height
    w3.eth.send_transaction({"to": ..., "data": Ledger.encode_acknowledge(1, up_to=5)})
    for event in ledger.events(first=100, last=200): ...  # frozen dataclasses, in the order of the chain

Addresses are 20 bytes, digests 32, amounts wei. web3 and eth_abi are imported when first used.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

from contracts.abi import address_of, functions
from contracts.calls import Call
from contracts.digests import Attestation
from contracts.events import Event, decode_events
from contracts.records import Record
from contracts.terms import JobTerms
from contracts.upgrades import Upgrade, UpgradeKind

if TYPE_CHECKING:
    from web3 import Web3

Height = int | Literal["latest"]


class Role(IntEnum):
    """What a member may be."""

    EDGE_SERVER = 1
    CLIENT = 2
    SPONSOR = 3
    AUDITOR = 4


class JobStatus(IntEnum):
    """Where a job stands; it only ever moves forward."""

    UNKNOWN = 0
    PROPOSED = 1
    OPEN = 2
    CLOSING = 3
    CLOSED = 4


class RoundStatus(IntEnum):
    """How far a round is."""

    UNDECIDED = 0
    AGREED = 1
    POSTED = 2
    SETTLED = 3
    UNPAID = 4
    VOID = 5


class Vote(IntEnum):
    """What a member says of a proposal."""

    NONE = 0
    APPROVES = 1
    REJECTS = 2


# What views return


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the Registry."""

    role: Role
    suspended: bool
    payout: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """A member's key: `scheme` is 0 (plain account), 44 or 65; in force while valid_from <= height < valid_to."""

    account: bytes
    scheme: int
    valid_from: int
    valid_to: int


@dataclass(frozen=True, slots=True)
class Standing:
    """For whom an account speaks in a block; `member` is 0 if for nobody."""

    member: int
    role: int
    suspended: bool
    scheme: int


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job stands. `version` is the last decided round; the round being worked on is the next one."""

    status: JobStatus
    sponsor: int
    edge_set: int
    edge_set_pending: int
    version: int
    phi_now: int
    boundary: int
    next_sequence: int
    head: bytes
    spent: int
    spent_agreed: int
    model: bytes


@dataclass(frozen=True, slots=True)
class Accounts:
    """A job's money in wei: escrow (with the reserves of agreed rounds) + pending + released = funded - refunded."""

    funded: int
    refunded: int
    escrow: int
    pending: int
    released: int


@dataclass(frozen=True, slots=True)
class VestingAccounts:
    """What became of a job's pay that vests, in wei: received = held + vested + forfeited."""

    received: int
    held: int
    vested: int
    forfeited: int


@dataclass(frozen=True, slots=True)
class RoundState:
    """How a round was decided and how far it is settled."""

    status: RoundStatus
    first_attested: int
    variants: int
    least_spent: int
    digest: bytes
    height: int
    k: int
    thetas: bytes
    model: bytes
    reward: int
    total: int
    chunks: int
    settled_chunks: int
    settled_thetas: int


@dataclass(frozen=True, slots=True)
class ProposalState:
    """A proposal; `digest` is keccak256(abi_encode(calls)), its calls and text stand in its event."""

    proposer: int
    expiry: int
    digest: bytes
    executed: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """Approvals of edge servers in good standing, and how many of these there are."""

    approvals: int
    electorate: int

    @property
    def suffices(self) -> bool:
        """Tell whether more than two thirds approve."""
        return 3 * self.approvals > 2 * self.electorate


@dataclass(frozen=True, slots=True)
class ValidatorState:
    """A validator's member (0 if block 0 named none), power (0 if it takes no part) and key (empty if unknown)."""

    member: int
    power: int
    key: bytes


# The contracts


class _Contract:
    """A deployed contract: where it is and a connection to its chain."""

    name: str

    def __init__(self, w3: "Web3", address: bytes) -> None:
        self.w3 = w3
        self.address = address

    def events(self, first: int, last: int) -> list[Event]:
        """Return this contract's events of the blocks `first` to `last`, both included, in the order of the chain."""
        logs = self.w3.eth.get_logs({"address": self._checksum, "fromBlock": first, "toBlock": last})
        return decode_events(logs)

    @functools.cached_property
    def _checksum(self) -> Any:  # noqa: ANN401 - web3's ChecksumAddress, imported only for type checkers
        return self.w3.to_checksum_address(self.address)

    def _call(self, function: str, *arguments: object, at: Height = "latest") -> tuple[Any, ...]:
        method = functions(self.name)[function]
        output = self.w3.eth.call({"to": self._checksum, "data": method.encode(*arguments)}, at)
        return method.decode(bytes(output))

    @classmethod
    def _encode(cls, function: str, *arguments: object) -> bytes:
        return functions(cls.name)[function].encode(*arguments)


class Registry(_Contract):
    """Members, their keys over time, and numbered edge sets."""

    name = "Registry"

    # views

    def governor(self, at: Height = "latest") -> bytes:
        """Return who may call what is privileged."""
        return address_of(self._call("governor", at=at)[0])

    def member_count(self, at: Height = "latest") -> int:
        """Return the highest member id."""
        return int(self._call("memberCount", at=at)[0])

    def member_of(self, account: bytes, at: Height = "latest") -> int:
        """Return whose account this is or was; 0 if unknown."""
        return int(self._call("memberOf", account, at=at)[0])

    def member(self, member: int, at: Height = "latest") -> Member | None:
        """Return what is known of a member, or None if there is no such member."""
        role, suspended, payout = self._call("member", member, at=at)
        return Member(Role(role), suspended, address_of(payout)) if role else None

    def active_clients(self, at: Height = "latest") -> int:
        """Return how many clients are admitted and not suspended."""
        return int(self._call("activeClients", at=at)[0])

    def active_edge_servers(self, at: Height = "latest") -> int:
        """Return how many edge servers are admitted and not suspended: the Council's electorate."""
        return int(self._call("activeEdgeServers", at=at)[0])

    def keys(self, member: int, at: Height = "latest") -> tuple[Key, ...]:
        """Return all keys that a member ever had, in the order in which they were added."""
        count = self._call("keyCount", member, at=at)[0]
        found = (self._call("keyAt", member, index, at=at) for index in range(count))
        return tuple(Key(address_of(account), scheme, first, end) for account, scheme, first, end in found)

    def key_valid_at(self, account: bytes, height: int, at: Height = "latest") -> bool:
        """Return whether a key spoke for its member in block `height`."""
        return bool(self._call("keyValidAt", account, height, at=at)[0])

    def standing(self, account: bytes, at: Height = "latest") -> Standing:
        """Return for whom an account speaks."""
        return Standing(*self._call("standing", account, at=at))

    def edge_set_count(self, at: Height = "latest") -> int:
        """Return the highest number of an edge set."""
        return int(self._call("edgeSetCount", at=at)[0])

    def edge_set(self, number: int, at: Height = "latest") -> tuple[int, ...]:
        """Return the member ids of an edge set; empty if there is no such set."""
        return tuple(self._call("edgeSet", number, at=at)[0])

    # call data

    @classmethod
    def encode_admit(cls, role: Role, scheme: int, key: bytes, payout: bytes) -> bytes:
        """Call data: admit a member with its first key (governor)."""
        return cls._encode("admit", role, scheme, key, payout)

    @classmethod
    def encode_add_key(cls, member: int, scheme: int, key: bytes) -> bytes:
        """Call data: give a member one more key (governor)."""
        return cls._encode("addKey", member, scheme, key)

    @classmethod
    def encode_end_key(cls, account: bytes) -> bytes:
        """Call data: end a key after this block (governor, or the key itself)."""
        return cls._encode("endKey", account)

    @classmethod
    def encode_suspend(cls, member: int) -> bytes:
        """Call data: suspend a member (governor)."""
        return cls._encode("suspend", member)

    @classmethod
    def encode_reinstate(cls, member: int) -> bytes:
        """Call data: end a member's suspension (governor)."""
        return cls._encode("reinstate", member)

    @classmethod
    def encode_set_payout(cls, member: int, payout: bytes) -> bytes:
        """Call data: set where a member's rewards go (governor, or the member)."""
        return cls._encode("setPayout", member, payout)

    @classmethod
    def encode_set_edge_set(cls, members: Sequence[int]) -> bytes:
        """Call data: define a new edge set of 1 to 128 edge servers (governor)."""
        return cls._encode("setEdgeSet", members)

    @classmethod
    def encode_set_governor(cls, governor: bytes) -> bytes:
        """Call data: hand the privileged calls to another account (governor)."""
        return cls._encode("setGovernor", governor)


class Token(_Contract):
    """What rewards are paid in: ERC-20, 18 decimals."""

    name = "Token"

    # views

    def balance_of(self, account: bytes, at: Height = "latest") -> int:
        """Return an account's tokens in wei."""
        return int(self._call("balanceOf", account, at=at)[0])

    def balances_of(self, accounts: Sequence[bytes], at: Height = "latest") -> tuple[int, ...]:
        """Return many accounts' tokens in wei, at most 1,024 (contracts version 2)."""
        return tuple(self._call("balancesOf", accounts, at=at)[0])

    def allowance(self, owner: bytes, spender: bytes, at: Height = "latest") -> int:
        """Return what `spender` may still move of `owner`'s tokens."""
        return int(self._call("allowance", owner, spender, at=at)[0])

    def total_supply(self, at: Height = "latest") -> int:
        """Return all tokens that were ever minted."""
        return int(self._call("totalSupply", at=at)[0])

    # call data

    @classmethod
    def encode_mint(cls, to: bytes, amount: int) -> bytes:
        """Call data: make new tokens (governor)."""
        return cls._encode("mint", to, amount)

    @classmethod
    def encode_transfer(cls, to: bytes, amount: int) -> bytes:
        """Call data: move the caller's tokens."""
        return cls._encode("transfer", to, amount)

    @classmethod
    def encode_transfer_from(cls, owner: bytes, to: bytes, amount: int) -> bytes:
        """Call data: move tokens of somebody who approved the caller."""
        return cls._encode("transferFrom", owner, to, amount)

    @classmethod
    def encode_approve(cls, spender: bytes, amount: int) -> bytes:
        """Call data: set what a spender may move of the caller's tokens."""
        return cls._encode("approve", spender, amount)


class Ledger(_Contract):
    """Jobs, records, rounds and rewards."""

    name = "Ledger"

    # views

    def registry(self, at: Height = "latest") -> bytes:
        """Return the Registry's address."""
        return address_of(self._call("registry", at=at)[0])

    def token(self, at: Height = "latest") -> bytes:
        """Return the token's address."""
        return address_of(self._call("token", at=at)[0])

    def verifier(self, at: Height = "latest") -> bytes:
        """Return the verifier's address; zero if records are not verified on chain."""
        return address_of(self._call("verifier", at=at)[0])

    def job_count(self, at: Height = "latest") -> int:
        """Return the highest job number."""
        return int(self._call("jobCount", at=at)[0])

    def terms(self, job: int, at: Height = "latest") -> JobTerms:
        """Return what was agreed about a job; all zero if there is no such job."""
        return JobTerms(*self._call("terms", job, at=at)[0])

    def job(self, job: int, at: Height = "latest") -> JobState:
        """Return where a job stands."""
        status, *rest = self._call("job", job, at=at)[0]
        return JobState(JobStatus(status), *rest)

    def round(self, job: int, round_: int, at: Height = "latest") -> RoundState:
        """Return how a round was decided."""
        status, *rest = self._call("round", job, round_, at=at)[0]
        return RoundState(RoundStatus(status), *rest)

    def accounts(self, job: int, at: Height = "latest") -> Accounts:
        """Return a job's money; `job` = 0 is the sum over all jobs."""
        return Accounts(*self._call("accounts", job, at=at))

    def free_escrow(self, job: int, at: Height = "latest") -> int:
        """Return the escrow that no agreed round has a claim on."""
        return int(self._call("freeEscrow", job, at=at)[0])

    def vesting(self, job: int, at: Height = "latest") -> tuple[bytes, int]:
        """Return who holds a job's rewards until they are settled (zero: nobody), and after how many rounds."""
        holder, rounds = self._call("vesting", job, at=at)
        return address_of(holder), int(rounds)

    def replay_mark(self, job: int, client: int, at: Height = "latest") -> int:
        """Return (base + 1) << 32 | counter of a client's newest record; 0 without one."""
        return int(self._call("replayMark", job, client, at=at)[0])

    def acknowledged_up_to(self, job: int, edge: int, at: Height = "latest") -> int:
        """Return the first sequence number that an edge server has said nothing of."""
        return int(self._call("acknowledgedUpTo", job, edge, at=at)[0])

    def acknowledged_job(self, job: int, edge: int, at: Height = "latest") -> bool:
        """Return whether an edge server said that it holds model 0 and the job file."""
        return bool(self._call("acknowledgedJob", job, edge, at=at)[0])

    def attestation(self, job: int, round_: int, edge: int, at: Height = "latest") -> bytes:
        """Return the digest that an edge server attests of a round; 32 zero bytes without one."""
        return bytes(self._call("attestation", job, round_, edge, at=at)[0])

    def support(self, job: int, round_: int, digest: bytes, at: Height = "latest") -> int:
        """Return how many edge servers attest a variant."""
        return int(self._call("support", job, round_, digest, at=at)[0])

    def credited(self, member: int, at: Height = "latest") -> int:
        """Return everything that was ever credited to a member, in wei."""
        return int(self._call("credited", member, at=at)[0])

    def releasable(self, member: int, at: Height = "latest") -> int:
        """Return what `release` can pay a member now, in wei."""
        return int(self._call("releasable", member, at=at)[0])

    # call data

    @classmethod
    def encode_create_job(cls, terms: JobTerms, budget: int) -> bytes:
        """Call data: propose a job with a budget that the caller approved (sponsor)."""
        return cls._encode("createJob", _values(terms), budget)

    @classmethod
    def encode_vest_pay(cls, job: int, holder: bytes, rounds: int) -> bytes:
        """Call data: have a proposed job's rewards go to a holder (its sponsor; contracts version 4)."""
        return cls._encode("vestPay", job, holder, rounds)

    @classmethod
    def encode_acknowledge_job(cls, job: int) -> bytes:
        """Call data: state that model 0 and the job file are held (edge server of the set)."""
        return cls._encode("acknowledgeJob", job)

    @classmethod
    def encode_top_up(cls, job: int, amount: int) -> bytes:
        """Call data: add to a job's budget from the caller's approved tokens (anyone)."""
        return cls._encode("topUp", job, amount)

    @classmethod
    def encode_close_job(cls, job: int) -> bytes:
        """Call data: take no more records (the job's sponsor)."""
        return cls._encode("closeJob", job)

    @classmethod
    def encode_use_edge_set(cls, job: int, number: int) -> bytes:
        """Call data: move a job to another edge set at its next boundary (governor)."""
        return cls._encode("useEdgeSet", job, number)

    @classmethod
    def encode_use_rules(cls, job: int, version: int, scoring: bytes, aggregation: bytes, staleness: bytes) -> bytes:
        """Call data: have a job scored by other rules from its next boundary on (governor); names as in `JobTerms`."""
        return cls._encode("useRules", job, version, scoring, aggregation, staleness)

    @classmethod
    def encode_apply_edge_set(cls, job: int) -> bytes:
        """Call data: put the pending edge set in force because the old one is silent (anyone)."""
        return cls._encode("applyEdgeSet", job)

    @classmethod
    def encode_record(cls, record: Record) -> bytes:
        """Call data: record an update (the client itself)."""
        return cls._encode("record", *(getattr(record, name) for name in Record.__slots__))

    @classmethod
    def encode_record_batch(cls, job: int, batch: bytes) -> bytes:
        """Call data: record what clients signed (any edge server); `batch` as `records.encode_batch` makes it."""
        return cls._encode("recordBatch", job, batch)

    @classmethod
    def batch_of(cls, call: bytes) -> bytes | None:
        """Return the batch that call data of `recordBatch` passes, None if it is no such call."""
        passed = functions(cls.name)["recordBatch"].arguments(call)
        return None if passed is None else bytes(passed[1])

    @classmethod
    def decode_record_batch(cls, output: bytes) -> bytes:
        """Return the reasons that an `eth_call` of `recordBatch` answered: one byte per entry, 0 = recorded."""
        return bytes(functions(cls.name)["recordBatch"].decode(output)[0])

    @classmethod
    def encode_acknowledge(
        cls,
        job: int,
        up_to: int,
        missing: Sequence[int] = (),
        invalid: Sequence[int] = (),
        resolved: Sequence[int] = (),
    ) -> bytes:
        """Call data: state which blobs are held (edge server of the set); lists rise, at most 128 entries each."""
        return cls._encode("acknowledge", job, up_to, missing, invalid, resolved)

    @classmethod
    def encode_commit_references(cls, job: int, version: int, model: bytes, digest: bytes) -> bytes:
        """Call data: commit to references of the current or next version (edge server of the set; version 3)."""
        return cls._encode("commitReferences", job, version, model, digest)

    @classmethod
    def encode_acknowledge_references(cls, job: int, version: int, held: Sequence[int]) -> bytes:
        """Call data: state whose references are held, by member ids (edge server of the set; version 3)."""
        return cls._encode("acknowledgeReferences", job, version, held)

    @classmethod
    def encode_attest(cls, attestation: Attestation) -> bytes:
        """Call data: attest what a round made of the event log (edge server of the set)."""
        parts = [(part.name, part.digest) for part in attestation.parts]
        numbers = (attestation.height, attestation.k, attestation.spent)
        return cls._encode("attest", attestation.job, attestation.round, *numbers, parts)

    @classmethod
    def encode_void_round(cls, job: int, round_: int) -> bytes:
        """Call data: give up a round that found no quorum in time (anyone)."""
        return cls._encode("voidRound", job, round_)

    @classmethod
    def encode_tick(cls) -> bytes:
        """Call data: make a block that shows the time (anyone)."""
        return cls._encode("tick")

    @classmethod
    def encode_post_thetas(cls, job: int, round_: int, total: int, chunk_digests: Sequence[bytes]) -> bytes:
        """Call data: post the sum of a round's thetas and its chunks' digests (anyone)."""
        return cls._encode("postThetas", job, round_, total, chunk_digests)

    @classmethod
    def encode_settle_chunk(
        cls, job: int, round_: int, index: int, clients: Sequence[int], thetas: Sequence[int]
    ) -> bytes:
        """Call data: credit one chunk of a round's rewards (anyone)."""
        return cls._encode("settleChunk", job, round_, index, clients, thetas)

    @classmethod
    def encode_release(cls, member: int) -> bytes:
        """Call data: pay a member what it has been credited (anyone)."""
        return cls._encode("release", member)


class Vesting(_Contract):
    """Pay that is credited at once and released later (contracts version 4)."""

    name = "Vesting"

    # views

    def registry(self, at: Height = "latest") -> bytes:
        """Return the Registry's address."""
        return address_of(self._call("registry", at=at)[0])

    def token(self, at: Height = "latest") -> bytes:
        """Return the token's address."""
        return address_of(self._call("token", at=at)[0])

    def ledger(self, at: Height = "latest") -> bytes:
        """Return the Ledger's address."""
        return address_of(self._call("ledger", at=at)[0])

    def accounts(self, job: int, at: Height = "latest") -> VestingAccounts:
        """Return what became of a job's pay; `job` = 0 is the sum over all jobs."""
        return VestingAccounts(*self._call("accounts", job, at=at)[0])

    def held(self, job: int, round_: int, client: int, at: Height = "latest") -> int:
        """Return what a client was credited for a round and is not settled, in wei."""
        return int(self._call("held", job, round_, client, at=at)[0])

    def held_in(self, job: int, round_: int, at: Height = "latest") -> int:
        """Return what is held for a round in all, in wei."""
        return int(self._call("heldIn", job, round_, at=at)[0])

    def judged(self, job: int, round_: int, at: Height = "latest") -> bool:
        """Return whether it was shown whose record had fallen after a round."""
        return bool(self._call("judged", job, round_, at=at)[0])

    def fallen(self, job: int, round_: int, client: int, at: Height = "latest") -> bool:
        """Return whether a client's record had fallen after a round that is judged."""
        return bool(self._call("fallen", job, round_, client, at=at)[0])

    def decider(self, job: int, round_: int, at: Height = "latest") -> int:
        """Return by which round's records an agreed round's pay is settled; the call reverts while it is not due."""
        return int(self._call("decider", job, round_, at=at)[0])

    def releasable(self, member: int, at: Height = "latest") -> int:
        """Return what `release` can pay a member now, in wei."""
        return int(self._call("releasable", member, at=at)[0])

    # call data

    @classmethod
    def encode_hold(cls, job: int, round_: int, clients: Sequence[int], amounts: Sequence[int]) -> bytes:
        """Call data: hold what clients were credited (the Ledger)."""
        return cls._encode("hold", job, round_, clients, amounts)

    @classmethod
    def encode_judge(cls, agreed: Attestation, rules_version: int, fallen: Sequence[int]) -> bytes:
        """Call data: show whose record had fallen after an agreed round, as `digests.fallen_words` has it (anyone)."""
        parts = [(part.name, part.digest) for part in agreed.parts]
        numbers = (agreed.height, agreed.k, agreed.spent)
        return cls._encode("judge", agreed.job, agreed.round, rules_version, *numbers, parts, fallen)

    @classmethod
    def encode_settle(cls, job: int, round_: int, clients: Sequence[int]) -> bytes:
        """Call data: settle what clients were credited for a round, at most 128 of them (anyone)."""
        return cls._encode("settle", job, round_, clients)

    @classmethod
    def encode_release(cls, member: int) -> bytes:
        """Call data: pay a member what was settled in its favour (anyone)."""
        return cls._encode("release", member)


class Council(_Contract):
    """Edge servers' votes, the validators, and the schedule of upgrades."""

    name = "Council"

    # views

    def registry(self, at: Height = "latest") -> bytes:
        """Return the Registry's address."""
        return address_of(self._call("registry", at=at)[0])

    def proposal_count(self, at: Height = "latest") -> int:
        """Return the highest proposal number."""
        return int(self._call("proposalCount", at=at)[0])

    def proposal(self, proposal: int, at: Height = "latest") -> ProposalState | None:
        """Return what is known of a proposal, or None if there is none of this number."""
        found = ProposalState(*self._call("proposal", proposal, at=at))
        return found if found.proposer else None

    def vote_of(self, proposal: int, member: int, at: Height = "latest") -> Vote:
        """Return what a member says of a proposal."""
        return Vote(self._call("voteOf", proposal, member, at=at)[0])

    def tally(self, proposal: int, at: Height = "latest") -> Tally:
        """Return how a proposal would be judged now."""
        return Tally(*self._call("standingOf", proposal, at=at))

    def validators(self, at: Height = "latest") -> tuple[bytes, ...]:
        """Return the validators that take part by their addresses (20 bytes), in the order in which they came."""
        return tuple(map(address_of, self._call("validators", at=at)[0]))

    def validator(self, validator: bytes, at: Height = "latest") -> ValidatorState:
        """Return what is known of a validator, also of one that has left."""
        return ValidatorState(*self._call("validator", validator, at=at))

    def validator_of(self, member: int, at: Height = "latest") -> bytes:
        """Return the validator that a member runs; zero if none."""
        return address_of(self._call("validatorOf", member, at=at)[0])

    def power(self, at: Height = "latest") -> tuple[int, int]:
        """Return the validators' power, and what it was when the governor last changed them."""
        total, agreed = self._call("power", at=at)
        return int(total), int(agreed)

    def upgrades(self, kind: UpgradeKind, at: Height = "latest") -> tuple[Upgrade, ...]:
        """Return the versions of a kind with their first blocks, rising; the first one is genesis's."""
        count = self._call("upgradeCount", kind, at=at)[0]
        return tuple(Upgrade(*self._call("upgrade", kind, index, at=at)) for index in range(count))

    # call data

    @classmethod
    def encode_propose(cls, expiry: int, text: str, calls: Sequence[Call]) -> bytes:
        """Call data: propose 1 to 16 calls (an edge server); `expiry` in seconds of block time."""
        return cls._encode("propose", expiry, text, _pairs(calls))

    @classmethod
    def encode_vote(cls, proposal: int, *, approves: bool) -> bytes:
        """Call data: approve or reject a proposal, for good (an edge server)."""
        return cls._encode("vote", proposal, approves)

    @classmethod
    def encode_execute(cls, proposal: int, calls: Sequence[Call]) -> bytes:
        """Call data: make an approved proposal's calls (anyone); `calls` as they were proposed."""
        return cls._encode("execute", proposal, _pairs(calls))

    @classmethod
    def encode_add_validator(cls, member: int, key: bytes, power: int) -> bytes:
        """Call data: let an edge server's validator take part (governor); `key` is ML-DSA-65."""
        return cls._encode("addValidator", member, key, power)

    @classmethod
    def encode_remove_validator(cls, validator: bytes) -> bytes:
        """Call data: let a validator take part no longer (governor)."""
        return cls._encode("removeValidator", validator)

    @classmethod
    def encode_rotate_validator(cls, validator: bytes, key: bytes) -> bytes:
        """Call data: replace a validator's key (governor)."""
        return cls._encode("rotateValidator", validator, key)

    @classmethod
    def encode_set_validator_power(cls, validator: bytes, power: int) -> bytes:
        """Call data: change a validator's weight (governor)."""
        return cls._encode("setValidatorPower", validator, power)

    @classmethod
    def encode_expel_validator(cls, validator: bytes) -> bytes:
        """Call data: remove a validator for proved misbehavior (the ledger itself, in the governor's name)."""
        return cls._encode("expelValidator", validator)

    @classmethod
    def encode_schedule_upgrade(cls, kind: UpgradeKind, version: int, height: int) -> bytes:
        """Call data: have a version hold from block `height` on (governor)."""
        return cls._encode("scheduleUpgrade", kind, version, height)

    @classmethod
    def encode_cancel_upgrade(cls, kind: UpgradeKind) -> bytes:
        """Call data: take back the upgrade that was scheduled last (governor)."""
        return cls._encode("cancelUpgrade", kind)


def _pairs(calls: Sequence[Call]) -> list[tuple[bytes, bytes]]:
    return [(call.target, call.data) for call in calls]


def _values(terms: JobTerms) -> tuple[object, ...]:
    return tuple(getattr(terms, name) for name in JobTerms.__slots__)
