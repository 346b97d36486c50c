# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize codesize
"""
@title Merit Vesting: pay that is credited at once and released later
@license Apache-2.0
@notice Holds what the Ledger credits for jobs whose pay vests. A round's pay is settled once so many rounds more are decided, or
        its job is closed: a client whose record with the scoring rule stands then can draw it; what others would have had is
        the sponsor's again. Contracts version 4 brings it.
@dev Whose record has fallen is the edge servers' word: part "vesting" of the attestation that a quorum agreed on. Anybody shows
     that part here, and the Ledger's digest of the attestation vouches for it. At every step, per job and in total:
     received = held + vested + forfeited, and the tokens here are what was received less what was paid out.
"""

interface Registry:
    def member(member: uint256) -> (uint8, bool, address): view

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

interface Ledger:
    def job(job: uint256) -> Job: view
    def round(job: uint256, round: uint256) -> Round: view
    def vesting(job: uint256) -> (address, uint256): view

# What a job is when all its rounds are decided, as the Ledger numbers it.
CLOSED: constant(uint8) = 4

CHUNK: constant(uint256) = 64  # clients credited in one call of the Ledger
MAX_CLIENTS: constant(uint256) = 128  # settled in one call
MAX_PARTS: constant(uint256) = 16
MAX_WORDS: constant(uint256) = 1024  # 256 member ids each
MAX_ROUNDS: constant(uint256) = 1024  # bounds the search for what decides; longer waits count as this

# Name of the part that is read here, ASCII, zero padded.
VESTING: constant(bytes32) = 0x76657374696e6700000000000000000000000000000000000000000000000000

# The row of `_accounts` that sums over all jobs; jobs are numbered from 1.
ALL_JOBS: constant(uint256) = 0

struct Job:
    status: uint8
    sponsor: uint256
    edge_set: uint256
    edge_set_pending: uint256
    version: uint256
    phi_now: uint256
    boundary: uint256
    next_sequence: uint256
    head: bytes32
    spent: uint256
    spent_agreed: uint256
    model: bytes32

struct Round:
    status: uint8
    first_attested: uint256
    variants: uint256
    least_spent: uint256
    digest: bytes32
    height: uint256
    k: uint256
    thetas: bytes32
    model: bytes32
    reward: uint256
    total: uint256
    chunks: uint256
    settled_chunks: uint256
    settled_thetas: uint256

struct Part:
    name: bytes32  # ASCII, zero padded
    digest: bytes32

struct Accounts:
    received: uint256
    held: uint256  # of rounds that are not settled
    vested: uint256  # the clients', paid out or not
    forfeited: uint256  # the sponsor's again, paid out or not

event Judged:
    job: indexed(uint256)
    round: indexed(uint256)
    fallen: DynArray[uint256, MAX_WORDS]

event Vested:
    job: indexed(uint256)
    round: indexed(uint256)
    client: indexed(uint256)
    judge: uint256
    amount: uint256

event Forfeited:
    job: indexed(uint256)
    round: indexed(uint256)
    client: indexed(uint256)
    judge: uint256
    amount: uint256

event Withdrawn:
    member: indexed(uint256)
    payout: indexed(address)
    amount: uint256

# Who is who.
REGISTRY: immutable(Registry)

# What rewards are paid in.
TOKEN: immutable(Token)

# Who credits, and knows how rounds were decided.
LEDGER: immutable(Ledger)

# Job -> what became of its pay; row 0 sums over all jobs, so that the invariant can be checked with two reads.
_accounts: HashMap[uint256, Accounts]

# Job -> round -> client -> credited for that round and not settled.
_held: HashMap[uint256, HashMap[uint256, HashMap[uint256, uint256]]]

# Job -> round -> the sum of that, so that it is known when nothing is left.
_round_held: HashMap[uint256, HashMap[uint256, uint256]]

# Job -> round -> whether it was shown whose record had fallen after that round.
_judged: HashMap[uint256, HashMap[uint256, bool]]

# Job -> round -> index -> clients 256 * index + bit whose record had fallen.
_fallen: HashMap[uint256, HashMap[uint256, HashMap[uint256, uint256]]]

# Member -> settled in its favour and not paid out, over all jobs.
_releasable: HashMap[uint256, uint256]


@deploy
def __init__(registry: address, token: address, ledger: address):
    """
    @notice Start with nothing.
    @param registry The Registry.
    @param token The token that rewards are paid in.
    @param ledger The Ledger whose jobs vest here.
    """
    REGISTRY = Registry(registry)
    TOKEN = Token(token)
    LEDGER = Ledger(ledger)


@external
def hold(job: uint256, round: uint256, clients: DynArray[uint256, CHUNK], amounts: DynArray[uint256, CHUNK]):
    """
    @notice Hold what clients were credited for a round. Only the Ledger, which has sent the tokens just before.
    @param job A job whose pay vests here.
    @param round The round that is being paid.
    @param clients Member ids, one per record.
    @param amounts What each record earned, in wei of the token.
    """
    assert msg.sender == LEDGER.address, "Vesting: caller is not the Ledger"
    total: uint256 = 0
    for i: uint256 in range(len(clients), bound=CHUNK):
        self._held[job][round][clients[i]] += amounts[i]
        total += amounts[i]
    self._round_held[job][round] += total
    for row: uint256 in [job, ALL_JOBS]:
        self._accounts[row].received += total
        self._accounts[row].held += total


@external
def judge(
    job: uint256,
    round: uint256,
    rules_version: uint256,
    height: uint256,
    k: uint256,
    spent: uint256,
    parts: DynArray[Part, MAX_PARTS],
    fallen: DynArray[uint256, MAX_WORDS],
):
    """
    @notice Show whose record had fallen after an agreed round. Anyone may: the Ledger knows the digest of the attestation.
    @dev The digest is that of `Ledger.attest`. Part "vesting" is keccak256(abi_encode(fallen)).
    @param job A job whose pay vests.
    @param round A round that a quorum agreed on.
    @param rules_version Version of the rules that the round was scored by.
    @param height What was attested: the block up to which the event log decides the round.
    @param k The records that it took.
    @param spent Sequences that were no longer live.
    @param parts Named digests in their order.
    @param fallen Bit client % 256 of word client // 256 is 1 for a client whose record had fallen; the last word is not 0.
    """
    assert not self._judged[job][round], "Vesting: round is judged already"
    attested: bytes32 = (staticcall LEDGER.round(job, round)).digest
    assert attested != empty(bytes32), "Vesting: no quorum agreed on the round"
    assert attested == keccak256(abi_encode(rules_version, job, round, height, k, spent, parts)), "Vesting: attestation is not what was agreed"
    digest: bytes32 = empty(bytes32)
    for part: Part in parts:
        if part.name == VESTING:
            digest = part.digest
    assert digest == keccak256(abi_encode(fallen)), "Vesting: fallen clients are not what was agreed"
    self._judged[job][round] = True
    for i: uint256 in range(len(fallen), bound=MAX_WORDS):
        self._fallen[job][round][i] = fallen[i]
    log Judged(job=job, round=round, fallen=fallen)


@external
def settle(job: uint256, round: uint256, clients: DynArray[uint256, MAX_CLIENTS]):
    """
    @notice Settle what clients were credited for a round, by the records of the round that decides: the newest agreed one up to
            the vesting rounds after it, or up to the job's last round if that is closed before. Anyone may.
    @param job A job whose pay vests.
    @param round A round whose pay is held and due.
    @param clients Member ids; who has nothing held is passed over.
    """
    left: uint256 = self._round_held[job][round]
    assert left > 0, "Vesting: nothing is held for the round"
    state: Job = staticcall LEDGER.job(job)
    decider: uint256 = self._decider(job, round, state)
    assert self._judged[job][decider], "Vesting: deciding round is not judged"
    vested: uint256 = 0
    forfeited: uint256 = 0
    for client: uint256 in clients:
        amount: uint256 = self._held[job][round][client]
        if amount == 0:
            continue
        self._held[job][round][client] = 0
        if (self._fallen[job][decider][client // 256] >> (client % 256)) & 1 == 0:
            vested += amount
            self._releasable[client] += amount
            log Vested(job=job, round=round, client=client, judge=decider, amount=amount)
        else:
            forfeited += amount
            log Forfeited(job=job, round=round, client=client, judge=decider, amount=amount)
    self._releasable[state.sponsor] += forfeited
    self._round_held[job][round] = left - vested - forfeited
    for row: uint256 in [job, ALL_JOBS]:
        self._accounts[row].held -= vested + forfeited
        self._accounts[row].vested += vested
        self._accounts[row].forfeited += forfeited


@external
def release(member: uint256):
    """
    @notice Pay a member what was settled in its favour, over all jobs, to its payout address. Anyone may.
    @param member The member's id.
    """
    amount: uint256 = self._releasable[member]
    assert amount > 0, "Vesting: nothing to release"
    role: uint8 = 0
    suspended: bool = False
    payout: address = empty(address)
    role, suspended, payout = staticcall REGISTRY.member(member)
    self._releasable[member] = 0
    log Withdrawn(member=member, payout=payout, amount=amount)
    assert extcall TOKEN.transfer(payout, amount), "Vesting: token makes no payment"


# Views


@external
@view
def registry() -> address:
    """
    @notice Who is who.
    @return The Registry's address.
    """
    return REGISTRY.address


@external
@view
def token() -> address:
    """
    @notice What rewards are paid in.
    @return The token's address.
    """
    return TOKEN.address


@external
@view
def ledger() -> address:
    """
    @notice Who credits.
    @return The Ledger's address.
    """
    return LEDGER.address


@external
@view
def accounts(job: uint256) -> Accounts:
    """
    @notice What became of a job's pay.
    @param job The job's number; 0 is the sum over all jobs.
    @return Received, held, vested and forfeited, in wei of the token.
    """
    return self._accounts[job]


@external
@view
def held(job: uint256, round: uint256, client: uint256) -> uint256:
    """
    @notice What a client was credited for a round and is not settled.
    @param job The job's number.
    @param round The round's number.
    @param client The client's member id.
    @return In wei of the token.
    """
    return self._held[job][round][client]


@external
@view
def heldIn(job: uint256, round: uint256) -> uint256:
    """
    @notice What is held for a round in all.
    @param job The job's number.
    @param round The round's number.
    @return In wei of the token.
    """
    return self._round_held[job][round]


@external
@view
def judged(job: uint256, round: uint256) -> bool:
    """
    @notice Whether it was shown whose record had fallen after a round.
    @param job The job's number.
    @param round The round's number.
    @return True if it was.
    """
    return self._judged[job][round]


@external
@view
def fallen(job: uint256, round: uint256, client: uint256) -> bool:
    """
    @notice Whether a client's record had fallen after a round that is judged.
    @param job The job's number.
    @param round The round's number.
    @param client The client's member id.
    @return True if it had.
    """
    return (self._fallen[job][round][client // 256] >> (client % 256)) & 1 == 1


@external
@view
def decider(job: uint256, round: uint256) -> uint256:
    """
    @notice By which round's records a round's pay is settled; revert while that is not known.
    @param job A job whose pay vests.
    @param round An agreed round.
    @return That round's number.
    """
    return self._decider(job, round, staticcall LEDGER.job(job))


@external
@view
def releasable(member: uint256) -> uint256:
    """
    @notice What `release` can pay a member now, over all jobs.
    @param member The member's id.
    @return In wei of the token.
    """
    return self._releasable[member]


@internal
@view
def _decider(job: uint256, round: uint256, state: Job) -> uint256:
    """
    @dev The paid round itself is agreed, so the search ends there at the latest.
    @param job The job's number.
    @param round An agreed round.
    @param state Where the job stands.
    @return The newest agreed round up to the one at which the pay is due.
    """
    holder: address = empty(address)
    rounds: uint256 = 0
    holder, rounds = staticcall LEDGER.vesting(job)
    last: uint256 = round + min(rounds, MAX_ROUNDS)
    if last > state.version:
        assert state.status == CLOSED, "Vesting: pay is not due"
        last = state.version
    for i: uint256 in range(MAX_ROUNDS + 1):
        if (staticcall LEDGER.round(job, last)).digest != empty(bytes32):
            break
        last -= 1
    return last
