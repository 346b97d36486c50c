# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize codesize
"""
@title Merit Council: edge servers vote on who takes part and on what rules
@license Apache-2.0
@notice An edge server proposes a list of calls; as soon as more than two thirds of the edge servers that are admitted and
        not suspended approve, anybody may have them made in the Council's name. Where the Council is the Registry's governor,
        that is how members, keys, edge sets, jobs' rules, validators and the program's versions change.
@dev Voting and executing are two transactions: a vote cannot fail because of the calls, costs the same for everybody, and
     the calls run when their gas is paid by whoever wants them. Votes are judged when the calls are made: those of members
     that are suspended by then do not count, and the number needed is that of the day.
     The Council also keeps the validators and the schedule of upgrades, as the Registry keeps members. Those calls, too, are
     the governor's: the Council's own where it governs, an account's on a development network, block 0's in both. The ledger
     reads them from this storage by the committed layout (contracts/README.md).
"""

interface Registry:
    def governor() -> address: view
    def member(member: uint256) -> (uint8, bool, address): view
    def standing(account: address) -> (uint256, uint8, bool, uint8): view
    def activeEdgeServers() -> uint256: view

# The role, as the Registry numbers it.
EDGE_SERVER: constant(uint8) = 1

# A proposal's bounds. The longest call that it needs defines an edge set of 128 members (4,164 bytes).
MAX_CALLS: constant(uint256) = 16
MAX_CALL_BYTES: constant(uint256) = 4608
MAX_TEXT_BYTES: constant(uint256) = 256
MAX_VOTING_SECONDS: constant(uint256) = 2592000  # 30 days
MAX_APPROVALS: constant(uint256) = 1024

# What a member says of a proposal. 0 = nothing.
APPROVES: constant(uint8) = 1
REJECTS: constant(uint8) = 2

# Validators sign votes with ML-DSA-65 and nothing else (FIPS 204, table 2).
ML_DSA_65_KEY_BYTES: constant(uint256) = 1952
MAX_VALIDATORS: constant(uint256) = 128
MAX_POWER: constant(uint256) = 10 ** 12  # keeps every sum far below CometBFT's bound of 2^60

# What can be upgraded.
EXECUTION: constant(uint256) = 1
CONTRACTS: constant(uint256) = 2
RULES: constant(uint256) = 3
MAX_VERSION: constant(uint256) = 65535
MIN_NOTICE: constant(uint256) = 8  # blocks between the decision and the first block of the new version

struct Call:
    target: address
    data: Bytes[MAX_CALL_BYTES]

struct Proposal:
    proposer: uint256  # member id; 0 = no such proposal
    expiry: uint256  # last block time at which it takes votes and can be executed
    digest: bytes32  # keccak256(abi_encode(calls))
    executed: bool

struct Validator:
    member: uint256  # its edge server; 0 = block 0 named none
    power: uint256  # 0 = takes no part (any more)

struct Upgrade:
    version: uint256
    height: uint256  # the first block in which it holds

event Proposed:
    proposal: indexed(uint256)
    proposer: indexed(uint256)
    expiry: uint256
    text: String[MAX_TEXT_BYTES]
    calls: DynArray[Call, MAX_CALLS]

event Voted:
    proposal: indexed(uint256)
    member: indexed(uint256)
    approves: bool

event Executed:
    proposal: indexed(uint256)
    executor: indexed(address)
    approvals: uint256
    electorate: uint256

event ValidatorChanged:
    validator: indexed(address)
    member: indexed(uint256)
    power: uint256
    key: Bytes[ML_DSA_65_KEY_BYTES]

event UpgradeScheduled:
    kind: indexed(uint256)
    version: uint256
    height: uint256

event UpgradeCancelled:
    kind: indexed(uint256)
    version: uint256
    height: uint256

# Who is who, and who governs.
REGISTRY: immutable(Registry)

# How many proposals there are: they are numbered from 1 to this number.
_proposal_count: uint256

# Proposal -> who made it, until when it can be voted on, what it does.
_proposals: HashMap[uint256, Proposal]

# Proposal -> member -> what it says; so that nobody is counted twice and nothing is taken back.
_votes: HashMap[uint256, HashMap[uint256, uint8]]

# Proposal -> how many approve, suspended ones included.
_approval_count: HashMap[uint256, uint256]

# Proposal -> index -> member that approves; each is judged when the calls are made.
_approvals: HashMap[uint256, HashMap[uint256, uint256]]

# Validator -> member and power. A validator is the first 20 bytes of its key's SHA-256, as the engine names it; the entry
# stays when it leaves, so that its key never passes to another member and a late report of its misbehavior finds the member.
_validators: HashMap[address, Validator]

# Validator -> its public key: what a replica that joins from state alone gives its engine.
_validator_keys: HashMap[address, Bytes[ML_DSA_65_KEY_BYTES]]

# The validators that take part, in the order in which they came.
_active: DynArray[address, MAX_VALIDATORS]

# Member -> the validator that it runs now, zero if none: one per member. Row 0, for those without a member, means nothing.
_validator_of: HashMap[uint256, address]

# The power of all validators that take part.
_total_power: uint256

# What `_total_power` was when the governor last changed validators: expulsions together may not take a third of it.
_agreed_power: uint256

# Kind -> how many upgrades are scheduled or hold already.
_upgrade_count: HashMap[uint256, uint256]

# Kind -> index -> version and its first block; both rise. The first entry is what genesis started with.
_upgrades: HashMap[uint256, HashMap[uint256, Upgrade]]


@deploy
def __init__(registry: address):
    """
    @notice Start with no proposals, no validators and no versions.
    @param registry The Registry whose edge servers vote, and whose governor makes the privileged calls.
    """
    REGISTRY = Registry(registry)


# Proposals


@external
def propose(expiry: uint256, text: String[MAX_TEXT_BYTES], calls: DynArray[Call, MAX_CALLS]) -> uint256:
    """
    @notice Propose calls to be made in the Council's name, in this order, all or none. Only an edge server; it does not vote by it.
    @dev Only the digest is stored: the event has the calls, and whoever executes them gives them again.
    @param expiry The last block time, in seconds, at which the proposal takes votes and can be executed; at most 30 days away.
    @param text What it is for.
    @param calls 1 to 16 calls of contracts.
    @return The proposal's number.
    """
    proposer: uint256 = self._caller()
    assert expiry > block.timestamp and expiry <= block.timestamp + MAX_VOTING_SECONDS, "Council: expiry is not within 30 days"
    assert len(calls) > 0, "Council: proposal has no calls"
    for call: Call in calls:
        assert call.target.is_contract, "Council: target is no contract"
    proposal: uint256 = self._proposal_count + 1
    self._proposal_count = proposal
    self._proposals[proposal] = Proposal(proposer=proposer, expiry=expiry, digest=keccak256(abi_encode(calls)), executed=False)
    log Proposed(proposal=proposal, proposer=proposer, expiry=expiry, text=text, calls=calls)
    return proposal


@external
def vote(proposal: uint256, approves: bool):
    """
    @notice Approve or reject a proposal. Only an edge server; once, and it stays so.
    @param proposal Its number.
    @param approves True to approve. A rejection says so and counts as a missing approval.
    """
    member: uint256 = self._caller()
    self._must_be_open(proposal)
    assert self._votes[proposal][member] == 0, "Council: member has voted already"
    self._votes[proposal][member] = APPROVES if approves else REJECTS
    if approves:
        count: uint256 = self._approval_count[proposal]
        assert count < MAX_APPROVALS, "Council: proposal has 1024 approvals"
        self._approvals[proposal][count] = member
        self._approval_count[proposal] = count + 1
    log Voted(proposal=proposal, member=member, approves=approves)


@external
def execute(proposal: uint256, calls: DynArray[Call, MAX_CALLS]):
    """
    @notice Make an approved proposal's calls, each once, all or none: a call that fails undoes everything. Anybody may, once more
            than two thirds of the edge servers that are admitted and not suspended in this moment approve it.
    @param proposal Its number.
    @param calls As they were proposed.
    """
    self._must_be_open(proposal)
    assert self._proposals[proposal].digest == keccak256(abi_encode(calls)), "Council: these are not the proposed calls"
    approvals: uint256 = self._count(proposal)
    electorate: uint256 = staticcall REGISTRY.activeEdgeServers()
    assert approvals * 3 > electorate * 2, "Council: too few approvals"
    self._proposals[proposal].executed = True
    log Executed(proposal=proposal, executor=msg.sender, approvals=approvals, electorate=electorate)
    for call: Call in calls:
        raw_call(call.target, call.data)


# Privileged: validators


@external
def addValidator(member: uint256, key: Bytes[ML_DSA_65_KEY_BYTES], power: uint256):
    """
    @notice Let an edge server's validator take part, from two engine heights after this block's on. Only the governor.
    @param member An edge server that is not suspended and runs no validator; 0 = none, in block 0 only.
    @param key The validator's ML-DSA-65 public key; not another member's, now or ever.
    @param power Its weight in the engine's quorum, 1 to 10^12.
    """
    self._only_governor()
    self._power_must_fit(power)
    assert len(self._active) < MAX_VALIDATORS, "Council: there are 128 validators"
    if member != 0 or block.number != 0:
        self._may_validate(member)
        assert self._validator_of[member] == empty(address), "Council: member runs a validator"
    self._enter(member, key, power)
    self._agreed_power = self._total_power


@external
def removeValidator(validator: address):
    """
    @notice Let a validator take part no longer. Only the governor; never the last one.
    @param validator The first 20 bytes of its key's SHA-256.
    """
    self._only_governor()
    assert len(self._active) != 1, "Council: no validator would be left"
    self._leave(validator)
    self._agreed_power = self._total_power


@external
def rotateValidator(validator: address, key: Bytes[ML_DSA_65_KEY_BYTES]):
    """
    @notice Replace a validator's key: the same member and power. Only the governor.
    @param validator The first 20 bytes of the old key's SHA-256.
    @param key The new ML-DSA-65 public key; not another member's, now or ever.
    """
    self._only_governor()
    member: uint256 = self._validators[validator].member
    power: uint256 = self._validators[validator].power
    if member != 0:
        self._may_validate(member)
    self._leave(validator)
    self._enter(member, key, power)
    self._agreed_power = self._total_power


@external
def setValidatorPower(validator: address, power: uint256):
    """
    @notice Change a validator's weight. Only the governor.
    @param validator The first 20 bytes of its key's SHA-256.
    @param power Its weight in the engine's quorum, 1 to 10^12.
    """
    self._only_governor()
    self._power_must_fit(power)
    self._must_take_part(validator)
    self._total_power = self._total_power - self._validators[validator].power + power
    self._validators[validator].power = power
    self._agreed_power = self._total_power
    self._log(validator)


@external
def expelValidator(validator: address):
    """
    @notice Remove a validator for misbehavior that the engine has proved. The ledger makes this call itself, in the governor's
            name, in the block that has the report.
    @dev More than two thirds of the power that the governor last decided on must remain: an accident that makes many sign twice
         must not hand the ledger to the few that are left. Beyond that the members decide.
    @param validator The first 20 bytes of its key's SHA-256.
    """
    self._only_governor()
    remaining: uint256 = self._total_power - self._validators[validator].power
    assert remaining * 3 > self._agreed_power * 2, "Council: too little power would remain"
    self._leave(validator)


# Privileged: upgrades


@external
def scheduleUpgrade(kind: uint256, version: uint256, height: uint256):
    """
    @notice Agree on a version and on the first block in which it holds. A node that lacks it stops there. Only the governor.
    @dev Block 0 says what the ledger starts with, for height 0.
    @param kind 1 execution, 2 contracts, 3 rules.
    @param version Above the last one that was scheduled.
    @param height At least 8 blocks away, and after the last one that was scheduled.
    """
    self._only_governor()
    assert kind >= EXECUTION and kind <= RULES, "Council: unknown kind of upgrade"
    count: uint256 = self._upgrade_count[kind]
    last: Upgrade = empty(Upgrade)
    if count > 0:
        last = self._upgrades[kind][count - 1]
    assert version > last.version and version <= MAX_VERSION, "Council: version does not rise"
    if block.number != 0:
        assert height >= block.number + MIN_NOTICE, "Council: upgrade is less than 8 blocks away"
        assert height > last.height, "Council: an upgrade is scheduled for then or later"
    self._upgrades[kind][count] = Upgrade(version=version, height=height)
    self._upgrade_count[kind] = count + 1
    log UpgradeScheduled(kind=kind, version=version, height=height)


@external
def cancelUpgrade(kind: uint256):
    """
    @notice Take back the upgrade that was scheduled last, before the block in which it would hold. Only the governor.
    @param kind 1 execution, 2 contracts, 3 rules.
    """
    self._only_governor()
    count: uint256 = self._upgrade_count[kind]
    assert count > 0 and self._upgrades[kind][count - 1].height > block.number, "Council: no upgrade lies ahead"
    upgrade: Upgrade = self._upgrades[kind][count - 1]
    self._upgrades[kind][count - 1] = empty(Upgrade)
    self._upgrade_count[kind] = count - 1
    log UpgradeCancelled(kind=kind, version=upgrade.version, height=upgrade.height)


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
def proposalCount() -> uint256:
    """
    @notice How many proposals were ever made.
    @return The highest number.
    """
    return self._proposal_count


@external
@view
def proposal(proposal: uint256) -> (uint256, uint256, bytes32, bool):
    """
    @notice What is known of a proposal; its calls and text stand in its event.
    @param proposal Its number.
    @return Proposer (0 if there is no such proposal), expiry, keccak256(abi_encode(calls)), executed.
    """
    found: Proposal = self._proposals[proposal]
    return found.proposer, found.expiry, found.digest, found.executed


@external
@view
def voteOf(proposal: uint256, member: uint256) -> uint8:
    """
    @notice What a member says of a proposal.
    @param proposal Its number.
    @param member The member's id.
    @return 0 nothing, 1 approves, 2 rejects.
    """
    return self._votes[proposal][member]


@external
@view
def standingOf(proposal: uint256) -> (uint256, uint256):
    """
    @notice How a proposal would be judged now.
    @param proposal Its number.
    @return Approvals that count, edge servers that are admitted and not suspended; it takes more than 2/3 of these.
    """
    return self._count(proposal), staticcall REGISTRY.activeEdgeServers()


@external
@view
def validators() -> DynArray[address, MAX_VALIDATORS]:
    """
    @notice The validators that take part.
    @return The first 20 bytes of their keys' SHA-256, in the order in which they came.
    """
    return self._active


@external
@view
def validator(validator: address) -> (uint256, uint256, Bytes[ML_DSA_65_KEY_BYTES]):
    """
    @notice What is known of a validator, also of one that has left.
    @param validator The first 20 bytes of its key's SHA-256.
    @return Member id (0 if block 0 named none), power (0 if it takes no part), public key (empty if unknown).
    """
    found: Validator = self._validators[validator]
    return found.member, found.power, self._validator_keys[validator]


@external
@view
def validatorOf(member: uint256) -> address:
    """
    @notice The validator that a member runs.
    @param member The member's id.
    @return The first 20 bytes of its key's SHA-256; zero if it runs none.
    """
    return self._validator_of[member]


@external
@view
def power() -> (uint256, uint256):
    """
    @notice The validators' power, and what expulsions are measured by.
    @return Power of all that take part; what it was when the governor last changed them.
    """
    return self._total_power, self._agreed_power


@external
@view
def upgradeCount(kind: uint256) -> uint256:
    """
    @notice How many versions there were or will be, the first one included.
    @param kind 1 execution, 2 contracts, 3 rules.
    @return Their number.
    """
    return self._upgrade_count[kind]


@external
@view
def upgrade(kind: uint256, index: uint256) -> (uint256, uint256):
    """
    @notice One version and when it begins.
    @param kind 1 execution, 2 contracts, 3 rules.
    @param index From 0 to `upgradeCount(kind)` - 1.
    @return Version, the first block in which it holds.
    """
    found: Upgrade = self._upgrades[kind][index]
    return found.version, found.height


# Internal


@internal
@view
def _only_governor():
    """
    @dev Revert unless the governor calls: the Council itself where it governs.
    """
    assert msg.sender == staticcall REGISTRY.governor(), "Council: caller is not the governor"


@internal
@view
def _caller() -> uint256:
    """
    @dev For whom the caller speaks; revert unless that is an edge server that is not suspended.
    @return The member's id.
    """
    member: uint256 = 0
    role: uint8 = 0
    suspended: bool = False
    scheme: uint8 = 0
    member, role, suspended, scheme = staticcall REGISTRY.standing(msg.sender)
    assert role == EDGE_SERVER and not suspended, "Council: caller is no edge server in good standing"
    return member


@internal
@view
def _may_validate(member: uint256):
    """
    @dev Revert unless a member is an edge server that is not suspended.
    @param member The member's id.
    """
    assert self._in_good_standing(member), "Council: member is no edge server in good standing"


@internal
@view
def _in_good_standing(member: uint256) -> bool:
    """
    @dev Whether a member counts among the electorate.
    @param member The member's id.
    @return True for an edge server that is not suspended.
    """
    role: uint8 = 0
    suspended: bool = False
    payout: address = empty(address)
    role, suspended, payout = staticcall REGISTRY.member(member)
    return role == EDGE_SERVER and not suspended


@internal
@view
def _must_be_open(proposal: uint256):
    """
    @dev Revert unless a proposal exists and is neither executed nor expired.
    @param proposal Its number.
    """
    assert self._proposals[proposal].proposer != 0, "Council: unknown proposal"
    assert not self._proposals[proposal].executed, "Council: proposal is executed already"
    assert block.timestamp <= self._proposals[proposal].expiry, "Council: proposal has expired"


@internal
@view
def _count(proposal: uint256) -> uint256:
    """
    @dev Count the approvals of members that are in good standing now.
    @param proposal Its number.
    @return Their number.
    """
    approvals: uint256 = 0
    for index: uint256 in range(self._approval_count[proposal], bound=MAX_APPROVALS):
        if self._in_good_standing(self._approvals[proposal][index]):
            approvals += 1
    return approvals


@internal
@pure
def _power_must_fit(power: uint256):
    """
    @dev Revert unless a validator may have this power.
    @param power Its weight.
    """
    assert power > 0 and power <= MAX_POWER, "Council: power is not 1 to 10^12"


@internal
@view
def _must_take_part(validator: address):
    """
    @dev Revert unless a validator takes part.
    @param validator The first 20 bytes of its key's SHA-256.
    """
    assert self._validators[validator].power != 0, "Council: no such validator takes part"


@internal
@pure
def _address(key: Bytes[ML_DSA_65_KEY_BYTES]) -> address:
    """
    @dev Name a validator as the engine does (CometBFT, crypto/mldsa65/key.go).
    @param key Its public key.
    @return The first 20 bytes of the key's SHA-256.
    """
    return convert(convert(sha256(key), uint256) >> 96, address)


@internal
def _enter(member: uint256, key: Bytes[ML_DSA_65_KEY_BYTES], power: uint256):
    """
    @dev Let a key take part, one that its member has used before included.
    @param member Its edge server; 0 = none.
    @param key The public key.
    @param power Its weight, more than 0.
    """
    assert len(key) == ML_DSA_65_KEY_BYTES, "Council: validator key is not 1952 bytes"
    validator: address = self._address(key)
    assert self._validators[validator].power == 0, "Council: validator takes part already"
    before: uint256 = self._validators[validator].member
    assert before == 0 or before == member, "Council: key was another member's"
    self._validator_keys[validator] = key
    self._validators[validator] = Validator(member=member, power=power)
    self._active.append(validator)
    self._total_power += power
    self._validator_of[member] = validator
    self._log(validator)


@internal
def _leave(validator: address):
    """
    @dev Let a validator take part no longer; the others keep their order.
    @param validator The first 20 bytes of its key's SHA-256.
    """
    self._must_take_part(validator)
    remaining: DynArray[address, MAX_VALIDATORS] = []
    for other: address in self._active:
        if other != validator:
            remaining.append(other)
    self._active = remaining
    self._total_power -= self._validators[validator].power
    self._validators[validator].power = 0
    self._validator_of[self._validators[validator].member] = empty(address)
    self._log(validator)


@internal
def _log(validator: address):
    """
    @dev Say what a validator is from now on; the engine hears of it from this event.
    @param validator The first 20 bytes of its key's SHA-256.
    """
    log ValidatorChanged(
        validator=validator,
        member=self._validators[validator].member,
        power=self._validators[validator].power,
        key=self._validator_keys[validator],
    )
