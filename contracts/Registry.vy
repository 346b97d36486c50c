# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize codesize
"""
@title Merit Registry: members, their keys over time, and numbered edge sets
@license Apache-2.0
@notice A member is a number with a role and a payout address; its keys come and go. Whoever judges a signature asks which
        key was in force in that block, so the past stays verifiable after a key has ended. An edge set is a numbered,
        unchangeable list of edge servers: a job names the set whose members count for it.
@dev Privileged calls check one `governor` address: an account at first, a voting contract later. Other rooms read the
     storage of this contract by its committed layout (contracts/README.md), so every mapping is kept flat and says why it is there.
"""

# What a member may be. A member has one role for ever; who needs two roles is admitted twice, with other keys.
EDGE_SERVER: constant(uint8) = 1
CLIENT: constant(uint8) = 2
SPONSOR: constant(uint8) = 3
AUDITOR: constant(uint8) = 4

# Signature schemes and the length of what identifies an account in each.
PLAIN: constant(uint8) = 0  # a bare account address: secp256k1 on the dev network, any account on other chains
ML_DSA_44: constant(uint8) = 44  # FIPS 204, table 2
ML_DSA_65: constant(uint8) = 65
ADDRESS_BYTES: constant(uint256) = 20
ML_DSA_44_KEY_BYTES: constant(uint256) = 1312
ML_DSA_65_KEY_BYTES: constant(uint256) = 1952

MAX_EDGE_SET: constant(uint256) = 128

# The `valid_to` of a key that nobody has ended.
FOREVER: constant(uint256) = max_value(uint256)

struct Member:
    role: uint8  # 0 = no such member
    suspended: bool
    payout: address

struct Key:
    scheme: uint8
    valid_from: uint256  # first block in which the key speaks for its member
    valid_to: uint256  # first block in which it does no longer

event MemberAdmitted:
    member: indexed(uint256)
    role: uint8
    payout: address

event KeyAdded:
    member: indexed(uint256)
    account: indexed(address)
    scheme: uint8
    key: Bytes[ML_DSA_65_KEY_BYTES]
    valid_from: uint256

event KeyEnded:
    member: indexed(uint256)
    account: indexed(address)
    valid_to: uint256

event Suspended:
    member: indexed(uint256)

event Reinstated:
    member: indexed(uint256)

event PayoutSet:
    member: indexed(uint256)
    payout: address

event EdgeSetDefined:
    number: indexed(uint256)
    members: DynArray[uint256, MAX_EDGE_SET]

event GovernorSet:
    governor: indexed(address)

# The precompile that keeps public keys in the ledger's state; zero on a chain that has none (KeyAdded then carries the key).
KEYS_PRECOMPILE: immutable(address)

# The one account that may call what is privileged.
_governor: address

# How many members there are: ids run from 1 to this number.
_member_count: uint256

# How many clients are admitted and not suspended; kept because a job with phi = all asks at every round boundary.
_active_clients: uint256

# How many edge servers are admitted and not suspended; kept because every vote of the Council is measured by it.
_active_edge_servers: uint256

# Member id -> role, suspension and payout; everything that belongs to the id and not to a key.
_members: HashMap[uint256, Member]

# Account -> member id, for ever: an address never passes to another member, so old records keep their author.
_member_of: HashMap[address, uint256]

# Account -> scheme and validity; by account because whoever judges a signature starts from its signer.
_keys: HashMap[address, Key]

# Member id -> how many keys it ever had.
_key_count: HashMap[uint256, uint256]

# Member id -> index -> account, so that a member's keys can be listed without reading events.
_key_list: HashMap[uint256, HashMap[uint256, address]]

# How many edge sets there are: numbers run from 1 to this number.
_edge_set_count: uint256

# Set number -> its members in the order given; never changed once written.
_edge_sets: HashMap[uint256, DynArray[uint256, MAX_EDGE_SET]]

# Set number -> member id -> sits in it; so that the ledger need not walk a list for each attestation.
_seats: HashMap[uint256, HashMap[uint256, bool]]


@deploy
def __init__(governor: address, keys_precompile: address):
    """
    @notice Start with no members.
    @param governor The account that may call what is privileged; not zero.
    @param keys_precompile The precompile that keeps public keys in state; zero if the chain has none.
    """
    assert governor != empty(address), "Registry: governor is zero"
    KEYS_PRECOMPILE = keys_precompile
    self._governor = governor
    log GovernorSet(governor=governor)


# Privileged: membership


@external
def admit(role: uint8, scheme: uint8, key: Bytes[ML_DSA_65_KEY_BYTES], payout: address) -> uint256:
    """
    @notice Admit a member with its first key, valid from this block on.
    @param role 1 edge server, 2 client, 3 sponsor, 4 auditor.
    @param scheme 0 for a plain account, 44 or 65 for ML-DSA-44 or ML-DSA-65.
    @param key The 20-byte account address (scheme 0) or the whole public key.
    @param payout Where the member's rewards and refunds go; not zero.
    @return The id of the new member.
    """
    self._only_governor()
    assert role >= EDGE_SERVER and role <= AUDITOR, "Registry: unknown role"
    assert payout != empty(address), "Registry: payout address is zero"
    member: uint256 = self._member_count + 1
    self._member_count = member
    self._members[member] = Member(role=role, suspended=False, payout=payout)
    if role == CLIENT:
        self._active_clients += 1
    if role == EDGE_SERVER:
        self._active_edge_servers += 1
    log MemberAdmitted(member=member, role=role, payout=payout)
    self._add_key(member, scheme, key)
    return member


@external
def addKey(member: uint256, scheme: uint8, key: Bytes[ML_DSA_65_KEY_BYTES]):
    """
    @notice Give a member one more key, valid from this block on.
    @param member The member's id.
    @param scheme 0 for a plain account, 44 or 65 for ML-DSA-44 or ML-DSA-65.
    @param key The 20-byte account address (scheme 0) or the whole public key.
    """
    self._only_governor()
    self._must_exist(member)
    self._add_key(member, scheme, key)


@external
def endKey(account: address):
    """
    @notice End a key: this block is the last in which it speaks for its member.
    @dev The key stays in force to the end of the block, so that `keyValidAt` gives one answer for a whole block and a record
         of the same block stays valid. Besides the governor, the key itself may do it: who fears for a key retires it at once.
    @param account The key's account.
    """
    member: uint256 = self._member_of[account]
    assert member != 0, "Registry: unknown address"
    assert msg.sender == self._governor or msg.sender == account, "Registry: caller is neither governor nor that key"
    assert self._keys[account].valid_to == FOREVER, "Registry: key has ended already"
    valid_to: uint256 = block.number + 1
    self._keys[account].valid_to = valid_to
    log KeyEnded(member=member, account=account, valid_to=valid_to)


@external
def suspend(member: uint256):
    """
    @notice Suspend a member: it keeps what it has earned, and may neither record, acknowledge nor attest.
    @param member The member's id.
    """
    self._only_governor()
    self._must_exist(member)
    assert not self._members[member].suspended, "Registry: member is suspended already"
    self._members[member].suspended = True
    if self._members[member].role == CLIENT:
        self._active_clients -= 1
    if self._members[member].role == EDGE_SERVER:
        self._active_edge_servers -= 1
    log Suspended(member=member)


@external
def reinstate(member: uint256):
    """
    @notice End a member's suspension.
    @param member The member's id.
    """
    self._only_governor()
    self._must_exist(member)
    assert self._members[member].suspended, "Registry: member is not suspended"
    self._members[member].suspended = False
    if self._members[member].role == CLIENT:
        self._active_clients += 1
    if self._members[member].role == EDGE_SERVER:
        self._active_edge_servers += 1
    log Reinstated(member=member)


@external
def setPayout(member: uint256, payout: address):
    """
    @notice Set where a member's rewards and refunds go. By the governor, or by a key in force of the member unless it is suspended.
    @param member The member's id.
    @param payout The new address; not zero.
    """
    self._must_exist(member)
    if msg.sender != self._governor:
        assert self._in_force(msg.sender, block.number) and self._member_of[msg.sender] == member, "Registry: caller is neither governor nor the member"
        assert not self._members[member].suspended, "Registry: member is suspended"
    assert payout != empty(address), "Registry: payout address is zero"
    self._members[member].payout = payout
    log PayoutSet(member=member, payout=payout)


@external
def setEdgeSet(members: DynArray[uint256, MAX_EDGE_SET]) -> uint256:
    """
    @notice Define a new edge set. It never changes; a job moves from one number to another.
    @param members Ids of admitted edge servers, each once, none suspended, 1 to 128 of them.
    @return The number of the set.
    """
    self._only_governor()
    assert len(members) > 0, "Registry: edge set is empty"
    number: uint256 = self._edge_set_count + 1
    self._edge_set_count = number
    for member: uint256 in members:
        assert self._members[member].role == EDGE_SERVER, "Registry: not an edge server"
        assert not self._members[member].suspended, "Registry: edge server is suspended"
        assert not self._seats[number][member], "Registry: edge server is named twice"
        self._seats[number][member] = True
    self._edge_sets[number] = members
    log EdgeSetDefined(number=number, members=members)
    return number


@external
def setGovernor(governor: address):
    """
    @notice Hand the privileged calls to another account.
    @param governor The new governor; not zero.
    """
    self._only_governor()
    assert governor != empty(address), "Registry: governor is zero"
    self._governor = governor
    log GovernorSet(governor=governor)


# Views


@external
@view
def governor() -> address:
    """
    @notice Who may call what is privileged.
    @return The governor's account.
    """
    return self._governor


@external
@view
def keysPrecompile() -> address:
    """
    @notice The precompile that keeps public keys in state.
    @return Its address; zero if the chain has none.
    """
    return KEYS_PRECOMPILE


@external
@view
def memberCount() -> uint256:
    """
    @notice How many members were ever admitted.
    @return The highest id.
    """
    return self._member_count


@external
@view
def memberOf(account: address) -> uint256:
    """
    @notice Whose account this is or was.
    @param account Any address.
    @return The member's id, whether or not the key is still in force; 0 if the address is unknown.
    """
    return self._member_of[account]


@external
@view
def member(member: uint256) -> (uint8, bool, address):
    """
    @notice What is known of a member.
    @param member The member's id.
    @return Role (0 if there is no such member), suspended, payout address.
    """
    return self._members[member].role, self._members[member].suspended, self._members[member].payout


@external
@view
def activeClients() -> uint256:
    """
    @notice How many clients are admitted and not suspended.
    @return Their number.
    """
    return self._active_clients


@external
@view
def activeEdgeServers() -> uint256:
    """
    @notice How many edge servers are admitted and not suspended.
    @return Their number.
    """
    return self._active_edge_servers


@external
@view
def keyCount(member: uint256) -> uint256:
    """
    @notice How many keys a member ever had.
    @param member The member's id.
    @return Their number.
    """
    return self._key_count[member]


@external
@view
def keyAt(member: uint256, index: uint256) -> (address, uint8, uint256, uint256):
    """
    @notice One key of a member, in the order in which they were added.
    @param member The member's id.
    @param index From 0 to `keyCount(member)` - 1.
    @return Account, scheme, first block in force, first block no longer in force.
    """
    assert index < self._key_count[member], "Registry: no such key"
    account: address = self._key_list[member][index]
    return account, self._keys[account].scheme, self._keys[account].valid_from, self._keys[account].valid_to


@external
@view
def keyValidAt(account: address, height: uint256) -> bool:
    """
    @notice Whether a key spoke for its member in a block.
    @param account The key's account.
    @param height The block's number.
    @return True if valid_from <= height < valid_to.
    """
    return self._in_force(account, height)


@external
@view
def standing(account: address) -> (uint256, uint8, bool, uint8):
    """
    @notice For whom an account speaks in this block: one call for everything that a permission check needs.
    @param account Any address.
    @return Member id, role, suspended, the key's scheme; all zero if the address is unknown or its key is not in force.
    """
    if not self._in_force(account, block.number):
        return 0, 0, False, 0
    member: uint256 = self._member_of[account]
    return member, self._members[member].role, self._members[member].suspended, self._keys[account].scheme


@external
@view
def edgeSetCount() -> uint256:
    """
    @notice How many edge sets were ever defined.
    @return The highest number.
    """
    return self._edge_set_count


@external
@view
def edgeSet(number: uint256) -> DynArray[uint256, MAX_EDGE_SET]:
    """
    @notice The members of an edge set.
    @param number The set's number.
    @return Their ids in the order in which they were given; empty if there is no such set.
    """
    return self._edge_sets[number]


@external
@view
def seat(number: uint256, member: uint256) -> (bool, uint256):
    """
    @notice Whether a member sits in an edge set, and how large the set is: what a quorum is counted with.
    @param number The set's number.
    @param member The member's id.
    @return Sits in it, number of its members.
    """
    return self._seats[number][member], len(self._edge_sets[number])


# Internal


@internal
@view
def _only_governor():
    """
    @dev Revert unless the governor calls.
    """
    assert msg.sender == self._governor, "Registry: caller is not the governor"


@internal
@view
def _must_exist(member: uint256):
    """
    @dev Revert if there is no such member.
    @param member The member's id.
    """
    assert self._members[member].role != 0, "Registry: unknown member"


@internal
@view
def _in_force(account: address, height: uint256) -> bool:
    """
    @dev An unknown account has valid_to = 0, so it is never in force.
    @param account The key's account.
    @param height The block's number.
    @return True if valid_from <= height < valid_to.
    """
    return self._keys[account].valid_from <= height and height < self._keys[account].valid_to


@internal
def _add_key(member: uint256, scheme: uint8, key: Bytes[ML_DSA_65_KEY_BYTES]):
    """
    @dev Compute the account of a key, have the precompile keep the key, and note its validity. The address of an ML-DSA key is
         keccak256(scheme || key)[12:], so the key of an address can never change.
    @param member The member's id.
    @param scheme 0, 44 or 65.
    @param key An address or a public key of exactly the scheme's length.
    """
    account: address = empty(address)
    if scheme == PLAIN:
        assert len(key) == ADDRESS_BYTES, "Registry: plain address is not 20 bytes"
        account = convert(slice(key, 0, ADDRESS_BYTES), address)
        assert account != empty(address), "Registry: plain address is zero"
    else:
        if scheme == ML_DSA_44:
            assert len(key) == ML_DSA_44_KEY_BYTES, "Registry: ML-DSA-44 key is not 1312 bytes"
        else:
            assert scheme == ML_DSA_65, "Registry: unknown scheme"
            assert len(key) == ML_DSA_65_KEY_BYTES, "Registry: ML-DSA-65 key is not 1952 bytes"
        named: Bytes[ML_DSA_65_KEY_BYTES + 1] = concat(convert(scheme, bytes1), key)
        account = convert(convert(keccak256(named), uint256) & convert(max_value(uint160), uint256), address)
        if KEYS_PRECOMPILE != empty(address):
            success: bool = False
            answer: Bytes[32] = b""
            success, answer = raw_call(KEYS_PRECOMPILE, named, max_outsize=32, revert_on_failure=False)
            assert success and answer == abi_encode(account), "Registry: key precompile disagrees"
    assert self._member_of[account] == 0, "Registry: address is known already"
    self._member_of[account] = member
    self._keys[account] = Key(scheme=scheme, valid_from=block.number, valid_to=FOREVER)
    index: uint256 = self._key_count[member]
    self._key_list[member][index] = account
    self._key_count[member] = index + 1
    log KeyAdded(member=member, account=account, scheme=scheme, key=key, valid_from=block.number)
