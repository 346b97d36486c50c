# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize codesize
"""
@title Merit Ledger: jobs, records, rounds and rewards
@license Apache-2.0
@notice A sponsor escrows a budget for a learning job. Clients sign records of their updates; edge servers put them on chain,
        acknowledge that they hold the blobs, and attest what each round made of them. More than two thirds of the job's
        edge set decide a round; this contract then computes each reward from the agreed scores, credits it, and pays on demand.
        Contracts version 4: a job's rewards can vest. They go to a contract that its sponsor names, as soon as they are credited.
@dev It takes the place of version 3 at the same address and over the same storage.
     The contract judges form, order and money. What a round selects and how it scores is a pure function of the event log:
     the quorum judges it, and an audit derives it again. At every step, per job and in total:
     escrow (free + reserved) + pending + released = funded - refunded.
     Other rooms read this storage by its committed layout (contracts/README.md), and with a verifier present native code
     writes what `recordBatch` writes here: `_refusal` and `_put` are its semantic reference.
"""

interface Registry:
    def governor() -> address: view
    def member(member: uint256) -> (uint8, bool, address): view
    def standing(account: address) -> (uint256, uint8, bool, uint8): view
    def seat(number: uint256, member: uint256) -> (bool, uint256): view
    def edgeSetCount() -> uint256: view
    def activeClients() -> uint256: view

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Holder:
    def hold(job: uint256, round: uint256, clients: DynArray[uint256, CHUNK], amounts: DynArray[uint256, CHUNK]): nonpayable

# Roles, as the Registry numbers them.
EDGE_SERVER: constant(uint8) = 1
CLIENT: constant(uint8) = 2
SPONSOR: constant(uint8) = 3

# What a job can be. It only ever moves forward.
PROPOSED: constant(uint8) = 1  # created; the edge set does not hold model 0 and the job file yet
OPEN: constant(uint8) = 2  # takes records
CLOSING: constant(uint8) = 3  # takes no more records; what is recorded is settled first
CLOSED: constant(uint8) = 4  # the free escrow went back; agreed rounds can still be settled

# What a round can be. 0 = undecided.
AGREED: constant(uint8) = 1  # a quorum stands; its reward is reserved; the thetas are not posted yet
POSTED: constant(uint8) = 2  # total and chunk digests are here; chunks are being settled
SETTLED: constant(uint8) = 3  # every chunk is credited
UNPAID: constant(uint8) = 4  # all thetas are 0: the reserve went back
VOID: constant(uint8) = 5  # no quorum in time: nobody is paid

# Why a record is left out of a batch, in the order in which the checks are made (the signature last, being the dearest).
RECORDED: constant(uint256) = 0
BAD_SIGNATURE: constant(uint256) = 1
UNKNOWN_KEY: constant(uint256) = 2
NOT_A_CLIENT: constant(uint256) = 3
EXPIRED: constant(uint256) = 4
FUTURE_BASE: constant(uint256) = 5
STALE_BASE: constant(uint256) = 6
NOT_RISING: constant(uint256) = 7
WRONG_LENGTH: constant(uint256) = 8
NO_BUDGET: constant(uint256) = 9
MALFORMED: constant(uint256) = 10

# A batch entry: body (76) || scheme (1) || signer (20) || signature.
BODY_BYTES: constant(uint256) = 76
ENTRY_HEAD_BYTES: constant(uint256) = 97
ML_DSA_44: constant(uint256) = 44  # FIPS 204, table 2
ML_DSA_65: constant(uint256) = 65
ML_DSA_44_SIGNATURE_BYTES: constant(uint256) = 2420
ML_DSA_65_SIGNATURE_BYTES: constant(uint256) = 3309
MAX_ENTRIES: constant(uint256) = 128
MAX_BATCH_BYTES: constant(uint256) = 435968  # MAX_ENTRIES * (ENTRY_HEAD_BYTES + ML_DSA_65_SIGNATURE_BYTES)
REASON_WORDS: constant(uint256) = 5  # 32 reasons a word: MAX_ENTRIES and one for a malformed rest
MAX_REASONS: constant(uint256) = 160

# An update's blob: header (96) || dimension * int16.
HEADER_BYTES: constant(uint256) = 96

# Limits of a job; learner/RULES.md derives from them that no sum leaves 64 bits.
MAX_DIMENSION: constant(uint32) = 67108864  # 2^26
MAX_SHIFT: constant(uint8) = 16
MAX_MODEL_BITS: constant(uint8) = 30  # an int32 model keeps at least one integer bit
MAX_NORM_SQUARED: constant(uint256) = 2 ** 63
MAX_PHI: constant(uint256) = 1024
MAX_RECORDS_PER_BASE: constant(uint16) = 1024
MAX_FUNDED: constant(uint256) = 2 ** 192  # keeps every product of amounts below 2^256

MAX_EXCEPTIONS: constant(uint256) = 128  # entries in each list of an acknowledgement
MAX_PARTS: constant(uint256) = 16
CHUNK: constant(uint256) = 64  # thetas settled in one call
MAX_CHUNKS: constant(uint256) = 16  # MAX_PHI / CHUNK
MAX_THETA: constant(uint256) = 10 ** 9  # parts per billion
MAX_RELEASED_JOBS: constant(uint256) = 64  # jobs paid out in one call

# Names of the two parts that the contract itself reads, ASCII, zero padded.
THETAS: constant(bytes32) = 0x7468657461730000000000000000000000000000000000000000000000000000
MODEL: constant(bytes32) = 0x6d6f64656c000000000000000000000000000000000000000000000000000000

# The row of `_accounts` that sums over all jobs; jobs are numbered from 1.
ALL_JOBS: constant(uint256) = 0

struct JobTerms:
    dimension: uint32  # parameters of the model
    fraction_bits: uint8  # of an update's fixed point numbers
    shift: uint8  # the model has fraction_bits + shift
    norm_bound_squared: uint256  # of an update, in squared integer units
    phi: uint16  # records in a round; 0 = all active clients
    max_wait: uint32  # seconds after which a round closes with fewer
    base_reward: uint128  # wei paid in a full round
    rules_version: uint16
    scoring: bytes32  # ASCII, zero padded
    aggregation: bytes32  # ASCII, zero padded
    staleness: bytes32  # ASCII, zero padded
    max_staleness: uint16  # versions that a record's base may lie back
    record_deadline: uint32  # seconds until an unavailable record is void
    attestation_timeout: uint32  # seconds until a round without quorum may be voided
    records_per_base: uint16  # records that a round may take per client and base
    edge_set: uint32  # the first edge set
    job_file: bytes32  # SHA-256 of the canonical job file
    model: bytes32  # SHA-256 of model 0

struct Job:
    status: uint8
    sponsor: uint256
    edge_set: uint256  # in force
    edge_set_pending: uint256  # in force from the next boundary; 0 = none
    version: uint256  # of the last decided round
    phi_now: uint256  # of the round being worked on
    boundary: uint256  # block time at which that round began
    next_sequence: uint256
    head: bytes32  # running digest over all records
    spent: uint256  # sequences below next_sequence that are no longer live: what the budget rule counts with
    spent_agreed: uint256  # the same as the last quorum stated it; void rounds leave it alone
    model: bytes32  # SHA-256 of the current model

struct Rules:
    version: uint16  # 0 = none pending
    scoring: bytes32  # ASCII, zero padded
    aggregation: bytes32  # ASCII, zero padded
    staleness: bytes32  # ASCII, zero padded

struct Accounts:
    funded: uint256
    refunded: uint256
    free: uint256  # escrow that no agreed round has a claim on
    reserved: uint256  # escrow of agreed rounds that are not settled
    pending: uint256  # credited, not paid out
    released: uint256

struct Round:
    status: uint8
    first_attested: uint256  # block time of the first attestation
    variants: uint256  # digests that have support now
    least_spent: uint256  # least `spent` of any attestation: what a void round is sure to have used up
    digest: bytes32
    height: uint256
    k: uint256
    thetas: bytes32
    model: bytes32
    reward: uint256
    total: uint256  # sum of all thetas
    chunks: uint256
    settled_chunks: uint256
    settled_thetas: uint256  # sum of the thetas credited so far

struct Vesting:
    holder: address  # who receives what is credited; zero: nobody but the members
    rounds: uint256  # after which the holder settles it

struct Part:
    name: bytes32  # ASCII, zero padded
    digest: bytes32

struct Record:
    job: uint256
    client: uint256
    base: uint256
    counter: uint256
    digest: bytes32
    length: uint256
    expiry: uint256
    signer: address

event JobCreated:
    job: indexed(uint256)
    sponsor: indexed(uint256)
    terms: JobTerms
    budget: uint256

event JobAcknowledged:
    job: indexed(uint256)
    edge: indexed(uint256)
    support: uint256

event PayVests:
    job: indexed(uint256)
    holder: indexed(address)
    rounds: uint256

event JobOpened:
    job: indexed(uint256)
    phi: uint256

event ToppedUp:
    job: indexed(uint256)
    funder: indexed(address)
    amount: uint256

event JobClosing:
    job: indexed(uint256)
    next_sequence: uint256

event JobClosed:
    job: indexed(uint256)

event Refunded:
    job: indexed(uint256)
    payout: indexed(address)
    amount: uint256

event EdgeSetPending:
    job: indexed(uint256)
    number: uint256

event EdgeSetChanged:
    job: indexed(uint256)
    number: uint256
    round: uint256

event RulesPending:
    job: indexed(uint256)
    version: uint16
    scoring: bytes32
    aggregation: bytes32
    staleness: bytes32

event RulesChanged:
    job: indexed(uint256)
    round: indexed(uint256)
    version: uint16
    scoring: bytes32
    aggregation: bytes32
    staleness: bytes32

event Recorded:
    job: indexed(uint256)
    client: indexed(uint256)
    digest: indexed(bytes32)
    sequence: uint256
    base: uint64
    counter: uint32
    length: uint64
    expiry: uint64
    signer: address
    submitter: address
    verified: bool

event Refused:
    job: indexed(uint256)
    client: indexed(uint256)
    digest: indexed(bytes32)
    reason: uint8

event Acknowledged:
    job: indexed(uint256)
    edge: indexed(uint256)
    first: uint256
    up_to: uint256
    missing: DynArray[uint64, MAX_EXCEPTIONS]
    invalid: DynArray[uint64, MAX_EXCEPTIONS]
    resolved: DynArray[uint64, MAX_EXCEPTIONS]

event ReferencesCommitted:
    job: indexed(uint256)
    version: indexed(uint256)
    edge: indexed(uint256)
    model: bytes32
    digest: bytes32

event ReferencesAcknowledged:
    job: indexed(uint256)
    version: indexed(uint256)
    edge: indexed(uint256)
    held: DynArray[uint64, MAX_EXCEPTIONS]

event Attested:
    job: indexed(uint256)
    round: indexed(uint256)
    edge: indexed(uint256)
    digest: bytes32
    height: uint256
    k: uint256
    spent: uint256
    parts: DynArray[Part, MAX_PARTS]
    support: uint256

event AttestedLate:
    job: indexed(uint256)
    round: indexed(uint256)
    edge: indexed(uint256)
    digest: bytes32

event RoundAgreed:
    job: indexed(uint256)
    round: indexed(uint256)
    digest: bytes32
    height: uint256
    k: uint256
    spent: uint256
    thetas: bytes32
    model: bytes32
    reward: uint256
    phi_next: uint256

event RoundVoid:
    job: indexed(uint256)
    round: indexed(uint256)
    variants: uint256
    spent: uint256
    phi_next: uint256

event RoundUnpaid:
    job: indexed(uint256)
    round: indexed(uint256)

event ThetasPosted:
    job: indexed(uint256)
    round: indexed(uint256)
    total: uint256
    chunk_digests: DynArray[bytes32, MAX_CHUNKS]

event Credited:
    job: indexed(uint256)
    round: indexed(uint256)
    client: indexed(uint256)
    theta: uint256
    reward: uint256

event RoundSettled:
    job: indexed(uint256)
    round: indexed(uint256)
    paid: uint256

event Released:
    member: indexed(uint256)
    job: indexed(uint256)
    payout: indexed(address)
    amount: uint256

event Ticked:
    sender: indexed(address)

# Who is who.
REGISTRY: immutable(Registry)

# What rewards are paid in.
TOKEN: immutable(Token)

# The precompile that verifies batches of records natively; zero on a chain that has none.
VERIFIER: immutable(address)

# How many jobs there are: they are numbered from 1 to this number.
_job_count: uint256

# Job -> what was agreed about it at creation. Only its rules can change, at a round boundary.
_terms: HashMap[uint256, JobTerms]

# Job -> where it stands.
_jobs: HashMap[uint256, Job]

# Job -> its money; row 0 sums over all jobs, so that the invariant can be checked with two reads.
_accounts: HashMap[uint256, Accounts]

# Job -> client -> (base + 1) << 32 | counter of the newest record: the replay rule in one word.
_marks: HashMap[uint256, HashMap[uint256, uint256]]

# Job -> edge server -> holds model 0 and the job file; so that nobody is counted twice.
_ready: HashMap[uint256, HashMap[uint256, bool]]

# Job -> how many edge servers are ready.
_ready_count: HashMap[uint256, uint256]

# Job -> edge server -> sequences below this one are acknowledged; acknowledgements continue there.
_acknowledged: HashMap[uint256, HashMap[uint256, uint256]]

# Job -> round -> how it was decided.
_rounds: HashMap[uint256, HashMap[uint256, Round]]

# Job -> round -> edge server -> the digest that it attests now; so that a replaced attestation loses its support.
_attested: HashMap[uint256, HashMap[uint256, HashMap[uint256, bytes32]]]

# Job -> round -> digest -> how many edge servers attest it now.
_support: HashMap[uint256, HashMap[uint256, HashMap[bytes32, uint256]]]

# Job -> round -> digests of the chunks of thetas; each chunk is checked by itself.
_chunks: HashMap[uint256, HashMap[uint256, DynArray[bytes32, MAX_CHUNKS]]]

# Member -> everything ever credited to it.
_credited: HashMap[uint256, uint256]

# Member -> everything ever paid out to it; the difference can be released.
_withdrawn: HashMap[uint256, uint256]

# Member -> job -> credited and not paid out; by job so that each job's accounts stay exact.
_owed: HashMap[uint256, HashMap[uint256, uint256]]

# Member -> how many jobs owe it something.
_owing_count: HashMap[uint256, uint256]

# Member -> index -> job that owes it something; entries from `_owing_count` on are left over and meaningless.
_owing_jobs: HashMap[uint256, HashMap[uint256, uint256]]

# Job -> the rules that hold from its next round boundary on, if the governor has named other ones.
_rules_pending: HashMap[uint256, Rules]

# Job -> who holds its rewards until they are settled; empty for a job whose members are paid at once.
_vesting: HashMap[uint256, Vesting]


@deploy
def __init__(registry: address, token: address, verifier: address):
    """
    @notice Start with no jobs.
    @dev A call to an address without code succeeds and returns nothing, so a verifier must prove that it is there.
    @param registry The Registry.
    @param token The token that rewards are paid in.
    @param verifier The precompile that verifies batches of records; zero if the chain has none.
    """
    REGISTRY = Registry(registry)
    TOKEN = Token(token)
    VERIFIER = verifier
    if verifier != empty(address):
        success: bool = False
        answer: Bytes[33] = b""
        success, answer = raw_call(verifier, b"merit/probe", max_outsize=33, is_static_call=True, revert_on_failure=False)
        assert success and answer == abi_encode(keccak256(b"merit/verifier/1")), "Ledger: verifier fails its known answer"


# A job's life


@external
def createJob(terms: JobTerms, budget: uint256) -> uint256:
    """
    @notice Propose a job and escrow its budget, which the caller must have approved. Only a sponsor.
    @param terms What is agreed about the job; see `JobTerms`.
    @param budget In wei of the token; at least one base reward.
    @return The job's number.
    """
    sponsor: uint256 = self._caller(SPONSOR)
    self._require(terms.dimension > 0 and terms.dimension <= MAX_DIMENSION, "Ledger: dimension is not 1 to 2^26")
    self._require(terms.shift <= MAX_SHIFT, "Ledger: shift is above 16")
    self._require(convert(terms.fraction_bits, uint256) + convert(terms.shift, uint256) <= convert(MAX_MODEL_BITS, uint256), "Ledger: model has more than 30 fraction bits")
    self._require(terms.norm_bound_squared > 0 and terms.norm_bound_squared < MAX_NORM_SQUARED, "Ledger: norm bound squared is not 1 to 2^63 - 1")
    self._require(convert(terms.phi, uint256) <= MAX_PHI, "Ledger: phi is above 1024")
    self._require(terms.max_wait > 0, "Ledger: max_wait is 0")
    self._require(terms.base_reward > 0, "Ledger: base reward is 0")
    self._rules_must_be_named(terms.rules_version, terms.scoring, terms.aggregation, terms.staleness)
    self._require(terms.record_deadline > 0, "Ledger: record deadline is 0")
    self._require(terms.attestation_timeout > 0, "Ledger: attestation timeout is 0")
    self._require(terms.records_per_base > 0 and terms.records_per_base <= MAX_RECORDS_PER_BASE, "Ledger: records per base is not 1 to 1024")
    edge_set: uint256 = convert(terms.edge_set, uint256)
    self._edge_set_must_exist(edge_set)
    self._require(terms.job_file != empty(bytes32), "Ledger: job file has no digest")
    self._require(terms.model != empty(bytes32), "Ledger: model has no digest")
    self._require(budget >= convert(terms.base_reward, uint256), "Ledger: budget is below one base reward")
    job: uint256 = self._job_count + 1
    self._job_count = job
    self._terms[job] = terms
    self._jobs[job].status = PROPOSED
    self._jobs[job].sponsor = sponsor
    self._jobs[job].edge_set = edge_set
    self._jobs[job].model = terms.model
    log JobCreated(job=job, sponsor=sponsor, terms=terms, budget=budget)
    self._fund(job, budget)
    return job


@external
def vestPay(job: uint256, holder: address, rounds: uint256):
    """
    @notice Have a job's rewards go to a holder that settles them so many rounds later. Only its sponsor, and before any edge
            server has acknowledged the job: what they agree to does not change.
    @dev Edge servers refuse a holder that they do not know.
    @param job A proposed job.
    @param holder Who receives and settles the rewards; see Vesting.
    @param rounds Rounds after which it settles; the holder says how many are possible.
    """
    own: bool = self._jobs[job].sponsor == self._caller(SPONSOR)
    self._require(own and self._jobs[job].status == PROPOSED and self._ready_count[job] == 0, "Ledger: pay cannot vest any more")
    self._vesting[job] = Vesting(holder=holder, rounds=rounds)
    log PayVests(job=job, holder=holder, rounds=rounds)


@external
def acknowledgeJob(job: uint256):
    """
    @notice State that the calling edge server holds model 0 and the job file. With more than two thirds of the set the job opens.
    @param job A proposed job.
    """
    self._require(self._jobs[job].status == PROPOSED, "Ledger: job is not proposed")
    edge: uint256 = self._caller(EDGE_SERVER)
    size: uint256 = self._seat(self._jobs[job].edge_set, edge)
    self._require(not self._ready[job][edge], "Ledger: edge server has acknowledged the job already")
    self._ready[job][edge] = True
    support: uint256 = self._ready_count[job] + 1
    self._ready_count[job] = support
    log JobAcknowledged(job=job, edge=edge, support=support)
    if support * 3 > size * 2:
        self._jobs[job].status = OPEN
        self._jobs[job].boundary = block.timestamp
        phi: uint256 = self._phi(job)
        self._jobs[job].phi_now = phi
        log JobOpened(job=job, phi=phi)


@external
def topUp(job: uint256, amount: uint256):
    """
    @notice Add to a job's budget from the caller's tokens. Anyone may; what is left in the end goes to the sponsor.
    @param job A job that is not closed.
    @param amount In wei of the token.
    """
    status: uint8 = self._jobs[job].status
    self._require(status != 0, "Ledger: unknown job")
    self._require(status != CLOSED, "Ledger: job is closed")
    self._require(amount > 0, "Ledger: top-up of 0")
    log ToppedUp(job=job, funder=msg.sender, amount=amount)
    self._fund(job, amount)


@external
def closeJob(job: uint256):
    """
    @notice Take no more records. What is recorded is settled first; the edge set then attests that nothing live is left, and
            the rest of the budget goes back. A job that never opened or never had a record closes at once. Only its sponsor.
    @param job A proposed or open job.
    """
    sponsor: uint256 = self._caller(SPONSOR)
    status: uint8 = self._jobs[job].status
    self._require(status == PROPOSED or status == OPEN, "Ledger: job is not proposed or open")
    self._require(self._jobs[job].sponsor == sponsor, "Ledger: caller is not the job's sponsor")
    next_sequence: uint256 = self._jobs[job].next_sequence
    self._jobs[job].status = CLOSING
    log JobClosing(job=job, next_sequence=next_sequence)
    if next_sequence == 0:
        self._close(job)


@external
def useEdgeSet(job: uint256, number: uint256):
    """
    @notice Move a job to another edge set from its next round boundary on. Only the governor.
    @param job An open or closing job.
    @param number A set of the Registry; the set in force withdraws what is pending.
    """
    self._require(msg.sender == staticcall REGISTRY.governor(), "Ledger: caller is not the governor")
    self._must_run(job)
    self._edge_set_must_exist(number)
    self._jobs[job].edge_set_pending = number
    log EdgeSetPending(job=job, number=number)


@external
def useRules(job: uint256, version: uint16, scoring: bytes32, aggregation: bytes32, staleness: bytes32):
    """
    @notice Have a job scored and aggregated by other rules from its next round boundary on. Only the governor, whose business it is
            that the sponsor agrees.
    @param job An open or closing job.
    @param version Of the rules; not 0.
    @param scoring Name of the scoring rule, ASCII, zero padded.
    @param aggregation Name of the aggregation rule.
    @param staleness Name of the staleness rule. The rules in force withdraw what is pending.
    """
    self._require(msg.sender == staticcall REGISTRY.governor(), "Ledger: caller is not the governor")
    self._must_run(job)
    self._rules_must_be_named(version, scoring, aggregation, staleness)
    self._rules_pending[job] = Rules(version=version, scoring=scoring, aggregation=aggregation, staleness=staleness)
    log RulesPending(job=job, version=version, scoring=scoring, aggregation=aggregation, staleness=staleness)


@external
def applyEdgeSet(job: uint256):
    """
    @notice Put the pending edge set in force now, because the set in force is silent: max_wait has passed since the boundary and
            nobody has attested the round. Anyone may.
    @param job An open or closing job with a pending set.
    """
    self._must_run(job)
    self._require(self._jobs[job].edge_set_pending != 0, "Ledger: no edge set is pending")
    self._require(block.timestamp >= self._jobs[job].boundary + convert(self._terms[job].max_wait, uint256), "Ledger: max_wait has not passed")
    self._require(self._rounds[job][self._jobs[job].version + 1].first_attested == 0, "Ledger: round is attested already")
    self._change_edge_set(job)


# Records


@external
def record(job: uint256, client: uint256, base: uint64, counter: uint32, digest: bytes32, length: uint64, expiry: uint64) -> uint256:
    """
    @notice Record an update in a transaction of the client itself: the transaction's signature is the record's.
    @param job An open job.
    @param client The caller's member id.
    @param base The model version that the update starts from.
    @param counter Counts the client's records of one base; (base, counter) must rise.
    @param digest SHA-256 of the update's blob.
    @param length The blob's bytes.
    @param expiry Last block time, in seconds, at which the record is taken.
    @return The record's sequence number.
    """
    self._require(self._jobs[job].status == OPEN, "Ledger: job is not open")
    entry: Record = Record(
        job=job,
        client=client,
        base=convert(base, uint256),
        counter=convert(counter, uint256),
        digest=digest,
        length=convert(length, uint256),
        expiry=convert(expiry, uint256),
        signer=msg.sender,
    )
    reason: uint256 = self._refusal(entry, 0)
    self._require(reason != UNKNOWN_KEY, "Ledger: key is unknown, not in force or another member's")
    self._require(reason != NOT_A_CLIENT, "Ledger: member is no client or is suspended")
    self._require(reason != EXPIRED, "Ledger: record has expired")
    self._require(reason != FUTURE_BASE, "Ledger: base is above the current version")
    self._require(reason != STALE_BASE, "Ledger: base is too old")
    self._require(reason != NOT_RISING, "Ledger: base and counter do not rise")
    self._require(reason != WRONG_LENGTH, "Ledger: blob length does not fit the dimension")
    self._require(reason != NO_BUDGET, "Ledger: budget cannot pay another record")
    return self._put(entry, True)


@external
def recordBatch(job: uint256, batch: Bytes[MAX_BATCH_BYTES]) -> Bytes[MAX_REASONS]:
    """
    @notice Record up to 128 updates that clients have signed. A bad one is left out with a reason. Any edge server may.
    @dev With a verifier, native code reads this call's data and does everything below, and the signatures, in this contract's
         storage. Without one nobody verifies signatures here: the events say so, edge servers and auditors do it.
    @param job An open job.
    @param batch Entries, each: body (job u64 | client u64 | base u64 | counter u32 | digest 32 | length u64 | expiry u64,
           big-endian) || scheme u8 || signer 20 || signature of the scheme's length. An entry that is cut short, has an unknown
           scheme, names another job or is the 129th ends the batch.
    @return One reason per entry, 0 = recorded: 1 bad signature, 2 unknown key, 3 no client, 4 expired, 5 future base,
            6 stale base, 7 not rising, 8 wrong length, 9 budget, 10 malformed (the last one then).
    """
    self._caller(EDGE_SERVER)
    self._require(self._jobs[job].status == OPEN, "Ledger: job is not open")
    self._require(len(batch) > 0, "Ledger: batch is empty")
    if VERIFIER != empty(address):
        return raw_call(VERIFIER, msg.data, max_outsize=MAX_REASONS, is_delegate_call=True)
    reasons: uint256[REASON_WORDS] = empty(uint256[REASON_WORDS])
    count: uint256 = 0
    at: uint256 = 0
    for i: uint256 in range(MAX_ENTRIES + 1):
        if at == len(batch):
            break
        reason: uint256 = MALFORMED
        entry: Record = empty(Record)
        scheme: uint256 = 0
        end: uint256 = at + ENTRY_HEAD_BYTES
        if i < MAX_ENTRIES and end <= len(batch):
            scheme = convert(slice(batch, at + BODY_BYTES, 1), uint256)
            if scheme == ML_DSA_44:
                end += ML_DSA_44_SIGNATURE_BYTES
            elif scheme == ML_DSA_65:
                end += ML_DSA_65_SIGNATURE_BYTES
            else:
                end = max_value(uint256)
            if end <= len(batch) and convert(slice(batch, at, 8), uint256) == job:
                entry = Record(
                    job=job,
                    client=convert(slice(batch, at + 8, 8), uint256),
                    base=convert(slice(batch, at + 16, 8), uint256),
                    counter=convert(slice(batch, at + 24, 4), uint256),
                    digest=convert(slice(batch, at + 28, 32), bytes32),
                    length=convert(slice(batch, at + 60, 8), uint256),
                    expiry=convert(slice(batch, at + 68, 8), uint256),
                    signer=convert(slice(batch, at + 77, 20), address),
                )
                reason = self._refusal(entry, scheme)
        if reason == RECORDED:
            self._put(entry, False)
        else:
            log Refused(job=job, client=entry.client, digest=entry.digest, reason=convert(reason, uint8))
        reasons[i // 32] |= reason << (248 - 8 * (i % 32))
        count = i + 1
        if reason == MALFORMED:
            break
        at = end
    return slice(
        concat(
            convert(reasons[0], bytes32),
            convert(reasons[1], bytes32),
            convert(reasons[2], bytes32),
            convert(reasons[3], bytes32),
            convert(reasons[4], bytes32),
        ),
        0,
        count,
    )


@external
def acknowledge(
    job: uint256,
    up_to: uint256,
    missing: DynArray[uint64, MAX_EXCEPTIONS],
    invalid: DynArray[uint64, MAX_EXCEPTIONS],
    resolved: DynArray[uint64, MAX_EXCEPTIONS],
):
    """
    @notice State which blobs the calling edge server holds: all records from its last `up_to` to this one but those listed.
    @dev The contract keeps order and ranges only; who holds what, and when that makes a record available, follows from the events.
         An edge server of the pending set may acknowledge too, so that it can attest as soon as its set is in force.
    @param job An open or closing job.
    @param up_to The first sequence number that is not covered.
    @param missing Records of the new range that it does not hold, rising.
    @param invalid Records that it holds and found wrong, rising; of the new range, or missing before.
    @param resolved Records, missing before, that it holds now, rising.
    """
    self._must_run(job)
    edge: uint256 = self._sitter(job)
    first: uint256 = self._acknowledged[job][edge]
    self._require(up_to >= first, "Ledger: acknowledgement goes backwards")
    self._require(up_to <= self._jobs[job].next_sequence, "Ledger: acknowledgement of what is not recorded")
    self._require(up_to > first or len(invalid) + len(resolved) > 0, "Ledger: nothing to acknowledge")
    self._must_rise(missing, first, up_to)
    self._must_rise(invalid, 0, up_to)
    self._must_rise(resolved, 0, first)
    self._acknowledged[job][edge] = up_to
    log Acknowledged(job=job, edge=edge, first=first, up_to=up_to, missing=missing, invalid=invalid, resolved=resolved)


# References


@external
def commitReferences(job: uint256, version: uint256, model: bytes32, digest: bytes32):
    """
    @notice Commit the calling edge server to its references of a version of the model: of the current one, or of the next before it
            is decided, so that nobody can send a record of a version to which no server has committed.
    @dev Order and place are all that is kept, in the event: an edge server's first commitment to what became the version's model
         counts, if it comes before the first record of that base. A server of the pending set may commit, too.
    @param job A job that is proposed, open or closing.
    @param version The version.
    @param model SHA-256 of the model that the references are of.
    @param digest SHA-256 of the references' blob.
    """
    status: uint8 = self._jobs[job].status
    self._require(status >= PROPOSED and status <= CLOSING, "Ledger: job is unknown or closed")
    current: uint256 = self._jobs[job].version
    self._require(version == current or version == current + 1, "Ledger: version is neither current nor next")
    edge: uint256 = self._sitter(job)
    log ReferencesCommitted(job=job, version=version, edge=edge, model=model, digest=digest)


@external
def acknowledgeReferences(job: uint256, version: uint256, held: DynArray[uint64, MAX_EXCEPTIONS]):
    """
    @notice State whose references of a version the calling edge server holds, its own included. What was stated before stands.
    @dev A member id that committed to nothing says nothing.
    @param job An open or closing job.
    @param version A decided version.
    @param held Member ids of edge servers.
    """
    self._must_run(job)
    edge: uint256 = self._sitter(job)
    self._require(version <= self._jobs[job].version, "Ledger: version is not decided")
    self._require(len(held) > 0, "Ledger: nothing to acknowledge")
    log ReferencesAcknowledged(job=job, version=version, edge=edge, held=held)


# Rounds


@external
def attest(job: uint256, round: uint256, height: uint256, k: uint256, spent: uint256, parts: DynArray[Part, MAX_PARTS]):
    """
    @notice Attest what a round made of the event log. With more than two thirds of the set for one digest the round is decided:
            the version rises, the model becomes current, the reward is reserved. Until then a server may replace its
            attestation; afterwards nothing changes, and a late one only leaves an event.
    @param job An open or closing job.
    @param round The round being worked on (version + 1), or an older one (late).
    @param height The block up to which the event log decides the round.
    @param k Records that the round took, 1 to phi; 0 only while closing, when nothing live is left: it closes the job.
    @param spent Sequences below the next one that are no longer live: consumed, void, stale or copies, this round's included.
    @param parts Named digests in their order; "thetas" and "model" are read here.
    """
    status: uint8 = self._jobs[job].status
    self._require(status >= OPEN, "Ledger: job has not opened")
    edge: uint256 = self._caller(EDGE_SERVER)
    size: uint256 = self._seat(self._jobs[job].edge_set, edge)
    digest: bytes32 = keccak256(abi_encode(convert(self._terms[job].rules_version, uint256), job, round, height, k, spent, parts))
    version: uint256 = self._jobs[job].version
    self._require(round > 0 and round <= version + 1, "Ledger: round is not next")
    if status == CLOSED or round <= version:
        log AttestedLate(job=job, round=round, edge=edge, digest=digest)
        return
    self._require(height < block.number, "Ledger: height is not in the past")
    self._require(spent <= self._jobs[job].next_sequence, "Ledger: more is spent than recorded")
    if k == 0:
        self._require(status == CLOSING, "Ledger: round takes nothing")
        self._require(spent == self._jobs[job].next_sequence, "Ledger: live records are left")
    self._require(k <= self._jobs[job].phi_now, "Ledger: round takes more than phi")
    self._require(spent >= self._jobs[job].spent_agreed + k, "Ledger: less is spent than taken")
    thetas: bytes32 = empty(bytes32)
    model: bytes32 = empty(bytes32)
    for part: Part in parts:
        if part.name == THETAS:
            self._require(thetas == empty(bytes32), "Ledger: thetas are named twice")
            thetas = part.digest
        if part.name == MODEL:
            self._require(model == empty(bytes32), "Ledger: model is named twice")
            model = part.digest
    self._require(thetas != empty(bytes32), "Ledger: no digest of thetas")
    self._require(model != empty(bytes32), "Ledger: no digest of the model")
    support: uint256 = self._choose(job, round, edge, digest, spent)
    log Attested(job=job, round=round, edge=edge, digest=digest, height=height, k=k, spent=spent, parts=parts, support=support)
    if support * 3 > size * 2:
        self._jobs[job].spent = spent
        self._jobs[job].spent_agreed = spent
        if k == 0:
            self._close(job)
            return
        # a shrinking phi = all can leave records that the free escrow does not cover: they share what is there
        reward: uint256 = min(convert(self._terms[job].base_reward, uint256) * k // self._jobs[job].phi_now, self._accounts[job].free)
        for row: uint256 in [job, ALL_JOBS]:
            self._accounts[row].free -= reward
            self._accounts[row].reserved += reward
        self._rounds[job][round].status = AGREED
        self._rounds[job][round].digest = digest
        self._rounds[job][round].height = height
        self._rounds[job][round].k = k
        self._rounds[job][round].thetas = thetas
        self._rounds[job][round].model = model
        self._rounds[job][round].reward = reward
        self._jobs[job].model = model
        phi: uint256 = self._begin_round(job, round)
        log RoundAgreed(
            job=job,
            round=round,
            digest=digest,
            height=height,
            k=k,
            spent=spent,
            thetas=thetas,
            model=model,
            reward=reward,
            phi_next=phi,
        )


@external
def voidRound(job: uint256, round: uint256):
    """
    @notice Give up a round that found no quorum in time: the version rises, the model stays, nobody is paid. Anyone may.
    @dev Its records are spent, and the budget rule must not hold them against new records for ever. How many they are nobody
         agreed on: the least that any attestation says is taken, at most phi more than before, so that a liar cannot have
         many more records taken than the budget pays. The next quorum states the exact number.
    @param job An open or closing job.
    @param round The round being worked on.
    """
    self._must_run(job)
    self._require(round == self._jobs[job].version + 1, "Ledger: round is not next")
    first: uint256 = self._rounds[job][round].first_attested
    self._require(first != 0, "Ledger: nobody has attested the round")
    self._require(first + convert(self._terms[job].attestation_timeout, uint256) < block.timestamp, "Ledger: attestation timeout has not passed")
    before: uint256 = self._jobs[job].spent
    spent: uint256 = max(before, min(self._rounds[job][round].least_spent, before + self._jobs[job].phi_now))
    self._jobs[job].spent = spent
    self._rounds[job][round].status = VOID
    self._rounds[job][round].model = self._jobs[job].model
    phi: uint256 = self._begin_round(job, round)
    log RoundVoid(job=job, round=round, variants=self._rounds[job][round].variants, spent=spent, phi_next=phi)


@external
def tick():
    """
    @notice Make a block that shows the time: an idle chain has none, and deadlines are block times. Anyone may.
    """
    log Ticked(sender=msg.sender)


# Rewards


@external
def postThetas(job: uint256, round: uint256, total: uint256, chunk_digests: DynArray[bytes32, MAX_CHUNKS]):
    """
    @notice Post the sum of a round's thetas and the digests of their chunks. Anyone may: the quorum agreed on the digest of all
            that. If the sum is 0, nobody is paid and the reserve goes back to the escrow.
    @param job Any job.
    @param round An agreed round.
    @param total The sum of all thetas, in parts per billion.
    @param chunk_digests keccak256(abi_encode(client ids, thetas)) per chunk of 64 in the order of selection, the last one shorter.
    """
    self._require(self._rounds[job][round].status == AGREED, "Ledger: round does not wait for thetas")
    k: uint256 = self._rounds[job][round].k
    self._require(keccak256(abi_encode(total, k, chunk_digests)) == self._rounds[job][round].thetas, "Ledger: thetas do not match the agreed digest")
    self._require(total <= k * MAX_THETA, "Ledger: sum of thetas is impossible")
    self._require(len(chunk_digests) == (k + CHUNK - 1) // CHUNK, "Ledger: wrong number of chunks")
    log ThetasPosted(job=job, round=round, total=total, chunk_digests=chunk_digests)
    if total == 0:
        self._rounds[job][round].status = UNPAID
        reward: uint256 = self._rounds[job][round].reward
        for row: uint256 in [job, ALL_JOBS]:
            self._accounts[row].reserved -= reward
            self._accounts[row].free += reward
        log RoundUnpaid(job=job, round=round)
        if self._jobs[job].status == CLOSED:
            self._refund(job)
        return
    self._rounds[job][round].status = POSTED
    self._rounds[job][round].total = total
    self._rounds[job][round].chunks = len(chunk_digests)
    self._chunks[job][round] = chunk_digests


@external
def settleChunk(job: uint256, round: uint256, index: uint256, clients: DynArray[uint256, CHUNK], thetas: DynArray[uint256, CHUNK]):
    """
    @notice Credit one chunk of a round's rewards: reward_i = R * cum_i // total - R * cum_(i-1) // total, which sums to exactly R.
            In order, each chunk once. Anyone may. Where pay vests, what a chunk credits goes to the holder at once.
    @param job Any job.
    @param round A round whose thetas are posted.
    @param index The chunk, from 0.
    @param clients Member ids in the order of selection.
    @param thetas Their scores, in parts per billion.
    """
    self._require(self._rounds[job][round].status == POSTED, "Ledger: round has nothing to settle")
    self._require(index == self._rounds[job][round].settled_chunks, "Ledger: chunk is not next")
    self._require(keccak256(abi_encode(clients, thetas)) == self._chunks[job][round][index], "Ledger: chunk does not match its digest")
    self._require(len(clients) == min(self._rounds[job][round].k - index * CHUNK, CHUNK), "Ledger: chunk has the wrong size")
    self._require(len(clients) == len(thetas), "Ledger: clients and thetas differ in number")
    reward: uint256 = self._rounds[job][round].reward
    total: uint256 = self._rounds[job][round].total
    sum: uint256 = self._rounds[job][round].settled_thetas
    before: uint256 = reward * sum // total
    paid: uint256 = before
    holder: address = self._vesting[job].holder
    shares: DynArray[uint256, CHUNK] = []
    for i: uint256 in range(len(clients), bound=CHUNK):
        self._require(thetas[i] <= MAX_THETA, "Ledger: theta is above 1")
        sum += thetas[i]
        self._require(sum <= total, "Ledger: thetas exceed their sum")
        share: uint256 = reward * sum // total - paid
        paid += share
        shares.append(share)
        if share > 0 and holder == empty(address):
            self._credit(job, clients[i], share)
        log Credited(job=job, round=round, client=clients[i], theta=thetas[i], reward=share)
    credited: uint256 = paid - before
    for row: uint256 in [job, ALL_JOBS]:
        self._accounts[row].reserved -= credited
        if holder == empty(address):
            self._accounts[row].pending += credited
        else:
            self._accounts[row].released += credited
    self._rounds[job][round].settled_thetas = sum
    self._rounds[job][round].settled_chunks = index + 1
    if index + 1 == self._rounds[job][round].chunks:
        self._require(sum == total, "Ledger: thetas fall short of their sum")
        self._rounds[job][round].status = SETTLED
        log RoundSettled(job=job, round=round, paid=paid)
    if holder != empty(address):  # last of all: it is somebody else's code
        self._pay(holder, credited)
        extcall Holder(holder).hold(job, round, clients, shares)


@external
def release(member: uint256):
    """
    @notice Pay a member what it has been credited, to its payout address. Anyone may. Who is owed by more than 64 jobs calls again.
    @dev What vests is not here but at its holder. Suspension takes nothing away that was credited.
    @param member The member's id.
    """
    count: uint256 = self._owing_count[member]
    self._require(count > 0, "Ledger: nothing to release")
    role: uint8 = 0
    suspended: bool = False
    payout: address = empty(address)
    role, suspended, payout = staticcall REGISTRY.member(member)
    total: uint256 = 0
    for i: uint256 in range(MAX_RELEASED_JOBS):
        if count == 0:
            break
        count -= 1
        job: uint256 = self._owing_jobs[member][count]
        amount: uint256 = self._owed[member][job]
        self._owed[member][job] = 0
        for row: uint256 in [job, ALL_JOBS]:
            self._accounts[row].pending -= amount
            self._accounts[row].released += amount
        total += amount
        log Released(member=member, job=job, payout=payout, amount=amount)
    self._owing_count[member] = count
    self._withdrawn[member] += total
    self._pay(payout, total)


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
def verifier() -> address:
    """
    @notice The precompile that verifies batches of records.
    @return Its address; zero if the chain has none.
    """
    return VERIFIER


@external
@view
def jobCount() -> uint256:
    """
    @notice How many jobs were ever created.
    @return The highest number.
    """
    return self._job_count


@external
@view
def terms(job: uint256) -> JobTerms:
    """
    @notice What was agreed about a job at its creation, with the rules of the round being worked on.
    @param job The job's number.
    @return Its terms; all zero if there is no such job.
    """
    return self._terms[job]


@external
@view
def job(job: uint256) -> Job:
    """
    @notice Where a job stands.
    @param job The job's number.
    @return Its state; status 0 if there is no such job.
    """
    return self._jobs[job]


@external
@view
def round(job: uint256, round: uint256) -> Round:
    """
    @notice How a round was decided.
    @param job The job's number.
    @param round The round's number.
    @return Its state; status 0 while it is undecided.
    """
    return self._rounds[job][round]


@external
@view
def accounts(job: uint256) -> (uint256, uint256, uint256, uint256, uint256):
    """
    @notice A job's money, in wei of the token: escrow + pending + released = funded - refunded.
    @param job The job's number; 0 for all jobs together.
    @return Funded, refunded, escrow (reserves of agreed rounds included), pending (credited, not paid out), released.
    """
    row: Accounts = self._accounts[job]
    return row.funded, row.refunded, row.free + row.reserved, row.pending, row.released


@external
@view
def freeEscrow(job: uint256) -> uint256:
    """
    @notice The escrow that no agreed round has a claim on: what the budget rule counts with.
    @param job The job's number; 0 for all jobs together.
    @return In wei of the token.
    """
    return self._accounts[job].free


@external
@view
def vesting(job: uint256) -> (address, uint256):
    """
    @notice Who holds a job's rewards until they are settled, and after how many rounds that is.
    @param job The job's number.
    @return The holder, zero if members are paid at once, and the rounds.
    """
    return (self._vesting[job].holder, self._vesting[job].rounds)


@external
@view
def replayMark(job: uint256, client: uint256) -> uint256:
    """
    @notice The newest (base, counter) of a client in a job.
    @param job The job's number.
    @param client The client's member id.
    @return (base + 1) << 32 | counter; 0 if it has no record.
    """
    return self._marks[job][client]


@external
@view
def acknowledgedUpTo(job: uint256, edge: uint256) -> uint256:
    """
    @notice How far an edge server has acknowledged.
    @param job The job's number.
    @param edge The edge server's member id.
    @return The first sequence number that it has said nothing of.
    """
    return self._acknowledged[job][edge]


@external
@view
def acknowledgedJob(job: uint256, edge: uint256) -> bool:
    """
    @notice Whether an edge server said that it holds model 0 and the job file.
    @param job The job's number.
    @param edge The edge server's member id.
    @return True if it did.
    """
    return self._ready[job][edge]


@external
@view
def attestation(job: uint256, round: uint256, edge: uint256) -> bytes32:
    """
    @notice What an edge server attests of a round.
    @param job The job's number.
    @param round The round's number.
    @param edge The edge server's member id.
    @return The digest that counts for it; zero if it has attested nothing.
    """
    return self._attested[job][round][edge]


@external
@view
def support(job: uint256, round: uint256, digest: bytes32) -> uint256:
    """
    @notice How many edge servers attest a variant of a round.
    @param job The job's number.
    @param round The round's number.
    @param digest The variant.
    @return Their number.
    """
    return self._support[job][round][digest]


@external
@view
def credited(member: uint256) -> uint256:
    """
    @notice Everything that was ever credited to a member, over all jobs.
    @param member The member's id.
    @return In wei of the token.
    """
    return self._credited[member]


@external
@view
def releasable(member: uint256) -> uint256:
    """
    @notice What `release` can pay a member now, over all jobs.
    @param member The member's id.
    @return In wei of the token.
    """
    return self._credited[member] - self._withdrawn[member]


# Internal: refusing


@internal
@pure
def _require(holds: bool, reason: String[64]):
    """
    @dev `assert holds, reason`, written once: the code that packs a reason into revert data takes 136 bytes at every assert,
         and with some eighty of them the contract would not fit into EIP-170's 24,576 bytes.
    @param holds The condition.
    @param reason What the caller reads if it does not hold.
    """
    assert holds, reason


# Internal: who may


@internal
@view
def _caller(role: uint8) -> uint256:
    """
    @dev For whom the caller speaks; revert unless that is a member of this role that is not suspended.
    @param role The role that is needed.
    @return The member's id.
    """
    member: uint256 = 0
    its_role: uint8 = 0
    suspended: bool = False
    scheme: uint8 = 0
    member, its_role, suspended, scheme = staticcall REGISTRY.standing(msg.sender)
    self._require(member != 0, "Ledger: caller's key is unknown or not in force")
    self._require(its_role == role, "Ledger: caller has another role")
    self._require(not suspended, "Ledger: caller is suspended")
    return member


@internal
@view
def _seat(number: uint256, edge: uint256) -> uint256:
    """
    @dev Revert unless an edge server sits in a set.
    @param number The set.
    @param edge The edge server's member id.
    @return How many members the set has.
    """
    sits: bool = False
    size: uint256 = 0
    sits, size = staticcall REGISTRY.seat(number, edge)
    self._require(sits, "Ledger: edge server is not in the job's set")
    return size


@internal
@view
def _sitter(job: uint256) -> uint256:
    """
    @dev The edge server that calls; revert unless it sits in the job's set or in the pending one.
    @param job The job's number.
    @return Its member id.
    """
    edge: uint256 = self._caller(EDGE_SERVER)
    sits: bool = False
    size: uint256 = 0
    sits, size = staticcall REGISTRY.seat(self._jobs[job].edge_set, edge)
    if not sits:
        self._seat(self._jobs[job].edge_set_pending, edge)
    return edge


@internal
@view
def _must_run(job: uint256):
    """
    @dev Revert unless a job is open or closing.
    @param job The job's number.
    """
    status: uint8 = self._jobs[job].status
    self._require(status == OPEN or status == CLOSING, "Ledger: job is not open or closing")


@internal
@view
def _edge_set_must_exist(number: uint256):
    """
    @dev Revert unless the Registry knows an edge set.
    @param number The set.
    """
    self._require(number > 0 and number <= staticcall REGISTRY.edgeSetCount(), "Ledger: unknown edge set")


@internal
@pure
def _rules_must_be_named(version: uint16, scoring: bytes32, aggregation: bytes32, staleness: bytes32):
    """
    @dev Revert unless everything about the rules is named; which names there are is the edge servers' business.
    @param version Of the rules.
    @param scoring Name of the scoring rule.
    @param aggregation Name of the aggregation rule.
    @param staleness Name of the staleness rule.
    """
    self._require(version > 0, "Ledger: rules version is 0")
    self._require(scoring != empty(bytes32), "Ledger: scoring rule is not named")
    self._require(aggregation != empty(bytes32), "Ledger: aggregation rule is not named")
    self._require(staleness != empty(bytes32), "Ledger: staleness rule is not named")


# Internal: records


@internal
@view
def _refusal(entry: Record, scheme: uint256) -> uint256:
    """
    @dev Everything about a record but its signature. The order of these checks is part of the interface: native code that
         replaces them names the same reason for a record that is wrong in several ways.
    @param entry The record; its job is open.
    @param scheme What the signer's key must be; 0 = any.
    @return The reason to leave it out, or 0.
    """
    member: uint256 = 0
    role: uint8 = 0
    suspended: bool = False
    key_scheme: uint8 = 0
    member, role, suspended, key_scheme = staticcall REGISTRY.standing(entry.signer)
    if member == 0 or member != entry.client:
        return UNKNOWN_KEY
    if scheme != 0 and scheme != convert(key_scheme, uint256):
        return UNKNOWN_KEY
    if role != CLIENT or suspended:
        return NOT_A_CLIENT
    if entry.expiry < block.timestamp:
        return EXPIRED
    version: uint256 = self._jobs[entry.job].version
    if entry.base > version:
        return FUTURE_BASE
    if version - entry.base > convert(self._terms[entry.job].max_staleness, uint256):
        return STALE_BASE
    if self._mark(entry) <= self._marks[entry.job][entry.client]:
        return NOT_RISING
    if entry.length != HEADER_BYTES + 2 * convert(self._terms[entry.job].dimension, uint256):
        return WRONG_LENGTH
    payable_rounds: uint256 = self._accounts[entry.job].free // convert(self._terms[entry.job].base_reward, uint256)
    if self._jobs[entry.job].next_sequence - self._jobs[entry.job].spent >= self._jobs[entry.job].phi_now * payable_rounds:
        return NO_BUDGET
    return RECORDED


@internal
@pure
def _mark(entry: Record) -> uint256:
    """
    @dev base + 1, so that no record's mark is the 0 of a client without records.
    @param entry The record.
    @return (base + 1) << 32 | counter.
    """
    return ((entry.base + 1) << 32) | entry.counter


@internal
def _put(entry: Record, verified: bool) -> uint256:
    """
    @dev Number a record, raise the client's mark and extend the running digest:
         head = keccak256(head || keccak256(body || signer)), body as in a batch.
    @param entry A record that nothing speaks against.
    @param verified Whether the ledger itself has checked the client's signature.
    @return Its sequence number.
    """
    sequence: uint256 = self._jobs[entry.job].next_sequence
    self._jobs[entry.job].next_sequence = sequence + 1
    self._marks[entry.job][entry.client] = self._mark(entry)
    base: uint64 = convert(entry.base, uint64)
    counter: uint32 = convert(entry.counter, uint32)
    length: uint64 = convert(entry.length, uint64)
    expiry: uint64 = convert(entry.expiry, uint64)
    leaf: bytes32 = keccak256(
        concat(
            convert(convert(entry.job, uint64), bytes8),
            convert(convert(entry.client, uint64), bytes8),
            convert(base, bytes8),
            convert(counter, bytes4),
            entry.digest,
            convert(length, bytes8),
            convert(expiry, bytes8),
            convert(entry.signer, bytes20),
        )
    )
    self._jobs[entry.job].head = keccak256(concat(self._jobs[entry.job].head, leaf))
    log Recorded(
        job=entry.job,
        client=entry.client,
        digest=entry.digest,
        sequence=sequence,
        base=base,
        counter=counter,
        length=length,
        expiry=expiry,
        signer=entry.signer,
        submitter=msg.sender,
        verified=verified,
    )
    return sequence


@internal
@pure
def _must_rise(sequences: DynArray[uint64, MAX_EXCEPTIONS], first: uint256, end: uint256):
    """
    @dev Revert unless a list rises strictly within first <= sequence < end.
    @param sequences Sequence numbers.
    @param first The least that is allowed.
    @param end The first that is not allowed any more.
    """
    least: uint256 = first
    for sequence: uint64 in sequences:
        self._require(convert(sequence, uint256) >= least, "Ledger: exceptions do not rise or lie before their range")
        least = convert(sequence, uint256) + 1
    self._require(least <= end or len(sequences) == 0, "Ledger: exceptions lie beyond their range")


# Internal: rounds


@internal
def _choose(job: uint256, round: uint256, edge: uint256, digest: bytes32, spent: uint256) -> uint256:
    """
    @dev Count an attestation, in place of the server's earlier one if there is one.
    @param job The job's number.
    @param round The round being worked on.
    @param edge The edge server's member id.
    @param digest What it attests.
    @param spent The `spent` that it attests.
    @return The support of this digest now.
    """
    before: bytes32 = self._attested[job][round][edge]
    self._require(before != digest, "Ledger: edge server attests this already")
    if before != empty(bytes32):
        left: uint256 = self._support[job][round][before] - 1
        self._support[job][round][before] = left
        if left == 0:
            self._rounds[job][round].variants -= 1
    if self._rounds[job][round].first_attested == 0:
        self._rounds[job][round].first_attested = block.timestamp
        self._rounds[job][round].least_spent = spent
    elif spent < self._rounds[job][round].least_spent:
        self._rounds[job][round].least_spent = spent
    self._attested[job][round][edge] = digest
    support: uint256 = self._support[job][round][digest] + 1
    self._support[job][round][digest] = support
    if support == 1:
        self._rounds[job][round].variants += 1
    return support


@internal
def _begin_round(job: uint256, decided: uint256) -> uint256:
    """
    @dev The boundary after a decided round: what waits for one takes effect.
    @param job The job's number.
    @param decided The round that was just agreed or voided.
    @return phi of the round that begins.
    """
    self._jobs[job].version = decided
    self._jobs[job].boundary = block.timestamp
    if self._jobs[job].edge_set_pending != 0:
        self._change_edge_set(job)
    if self._rules_pending[job].version != 0:
        rules: Rules = self._rules_pending[job]
        self._rules_pending[job] = empty(Rules)
        self._terms[job].rules_version = rules.version
        self._terms[job].scoring = rules.scoring
        self._terms[job].aggregation = rules.aggregation
        self._terms[job].staleness = rules.staleness
        log RulesChanged(
            job=job,
            round=decided + 1,
            version=rules.version,
            scoring=rules.scoring,
            aggregation=rules.aggregation,
            staleness=rules.staleness,
        )
    phi: uint256 = self._phi(job)
    self._jobs[job].phi_now = phi
    return phi


@internal
@view
def _phi(job: uint256) -> uint256:
    """
    @dev How many records a round that begins now takes.
    @param job The job's number.
    @return The terms' phi, or if that is 0 the number of active clients, 1 to 1024.
    """
    phi: uint256 = convert(self._terms[job].phi, uint256)
    if phi == 0:
        phi = max(1, min(staticcall REGISTRY.activeClients(), MAX_PHI))
    return phi


@internal
def _change_edge_set(job: uint256):
    """
    @dev Put the pending edge set in force.
    @param job A job with a pending set.
    """
    number: uint256 = self._jobs[job].edge_set_pending
    self._jobs[job].edge_set = number
    self._jobs[job].edge_set_pending = 0
    log EdgeSetChanged(job=job, number=number, round=self._jobs[job].version + 1)


# Internal: money


@internal
def _fund(job: uint256, amount: uint256):
    """
    @dev Take tokens from the caller into a job's free escrow.
    @param job The job's number.
    @param amount In wei of the token.
    """
    self._require(amount <= MAX_FUNDED - self._accounts[job].funded, "Ledger: budget is above 2^192")
    for row: uint256 in [job, ALL_JOBS]:
        self._accounts[row].funded += amount
        self._accounts[row].free += amount
    self._require(extcall TOKEN.transferFrom(msg.sender, self, amount), "Ledger: token takes no payment")


@internal
def _close(job: uint256):
    """
    @dev Close a job and give its free escrow back.
    @param job A job of which no live record is left.
    """
    self._jobs[job].status = CLOSED
    log JobClosed(job=job)
    self._refund(job)


@internal
def _refund(job: uint256):
    """
    @dev Give a closed job's free escrow back to its sponsor.
    @param job The job's number.
    """
    amount: uint256 = self._accounts[job].free
    role: uint8 = 0
    suspended: bool = False
    payout: address = empty(address)
    role, suspended, payout = staticcall REGISTRY.member(self._jobs[job].sponsor)
    for row: uint256 in [job, ALL_JOBS]:
        self._accounts[row].free -= amount
        self._accounts[row].refunded += amount
    log Refunded(job=job, payout=payout, amount=amount)
    self._pay(payout, amount)


@internal
def _credit(job: uint256, member: uint256, amount: uint256):
    """
    @dev Note what a job owes a member; the job's own accounts are the caller's business, once for a whole chunk.
    @param job The job's number.
    @param member The member's id.
    @param amount More than 0, in wei of the token.
    """
    owed: uint256 = self._owed[member][job]
    if owed == 0:
        index: uint256 = self._owing_count[member]
        self._owing_jobs[member][index] = job
        self._owing_count[member] = index + 1
    self._owed[member][job] = owed + amount
    self._credited[member] += amount


@internal
def _pay(payout: address, amount: uint256):
    """
    @dev Send tokens out, after everything else is written.
    @param payout Who receives them.
    @param amount In wei of the token.
    """
    self._require(extcall TOKEN.transfer(payout, amount), "Ledger: token makes no payment")
