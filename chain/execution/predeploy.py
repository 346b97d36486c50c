"""Block 0: the state that the genesis document describes.

The contracts are created at their fixed addresses by running their own initcode, and members, edge sets, validators,
versions and tokens come to be by the governor's calls, in one state: whatever the contracts enforce later they enforce
here. Where the document names the Council as governor, these are its calls, without a vote. Block 0 has no
transactions, so it has no receipts: the events of these calls are not kept, and who wants to know the first members
asks the Registry's views.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.vm.message import Message

from chain.crypto.addresses import Address
from chain.errors import GenesisError
from chain.execution.blocks import EMPTY_ROOT, HASH_BYTES, BlockNumber, Header
from chain.execution.evm import Environment, MeritState, open_state
from chain.execution.governance import govern
from chain.execution.nodes import StagedNodes
from chain.execution.quotas import install_quotas
from chain.execution.reverts import revert_reason
from chain.execution.upgrades import install_contracts
from chain.execution.versions import FIRST
from chain.genesis import Genesis, Quotas, balance_table
from contracts.addresses import COUNCIL, KEYS, LEDGER, REGISTRY, TOKEN, VERIFIER
from contracts.artifacts import initcode
from contracts.bindings import Council, Registry, Role, Token
from contracts.upgrades import UpgradeKind

if TYPE_CHECKING:
    from chain.storage import Store

_GAS: Final = 10**15  # nobody pays for block 0; a bound all the same


def environment_of(genesis: Genesis, genesis_hash: bytes) -> Environment:
    """Return what the document fixes for execution; `genesis_hash` is the hash of block 0 (32 bytes)."""
    return Environment(
        chain_id=genesis.chain_id,
        genesis_hash=genesis_hash,
        gas_limit=genesis.gas_limit,
        classical=genesis.classical,
        deployers=frozenset(Address(bytes(deployer)) for deployer in genesis.deployers),
    )


def stage_genesis_state(store: "Store", genesis: Genesis) -> Header:
    """Stage the state of block 0 and return its header; `GenesisError` when a contract refuses something."""
    governor = Address(bytes(genesis.governor))
    draft = Header(
        parent_hash=bytes(HASH_BYTES),
        state_root=bytes(HASH_BYTES),
        number=BlockNumber(0),
        gas_limit=genesis.gas_limit,
        timestamp=genesis.time,
        extra_data=genesis.digest(),
    )
    # Only the governor acts in block 0, and it creates the contracts: no genesis hash exists to sign for yet.
    environment = Environment(
        chain_id=genesis.chain_id,
        genesis_hash=bytes(HASH_BYTES),
        gas_limit=genesis.gas_limit,
        classical=False,
        deployers=frozenset({governor}),
    )
    state = open_state(StagedNodes(store), draft, EMPTY_ROOT, (), environment)
    for address, amount in balance_table(genesis.balances, "balances").items():
        state.set_balance(address, amount)
    _create(state, governor, REGISTRY, "Registry", governor, KEYS)
    _create(state, governor, TOKEN, "Token", REGISTRY)
    _create(state, governor, LEDGER, "Ledger", REGISTRY, TOKEN, VERIFIER)
    _create(state, governor, COUNCIL, "Council", REGISTRY)
    install_contracts(state, FIRST, genesis.versions.contracts)
    versions = (genesis.versions.execution, genesis.versions.contracts, genesis.versions.rules)
    for kind, version in zip(UpgradeKind, versions, strict=True):
        _call(state, governor, COUNCIL, Council.encode_schedule_upgrade(kind, version, 0), "versions")
    for number, member in enumerate(genesis.members, 1):
        payout = member.address if member.payout is None else bytes(member.payout)
        data = Registry.encode_admit(Role(member.role), member.scheme, bytes(member.key), payout)
        _call(state, governor, REGISTRY, data, f"members: member {number}")
    for validator in genesis.validators:
        data = Council.encode_add_validator(validator.member or 0, bytes(validator.public_key), validator.power)
        _call(state, governor, COUNCIL, data, f"validators: {validator.name}")
    for number, edge_set in enumerate(genesis.edge_sets, 1):
        _call(state, governor, REGISTRY, Registry.encode_set_edge_set(edge_set), f"edge_sets: set {number}")
    for address, amount in balance_table(genesis.tokens, "tokens").items():
        _call(state, governor, TOKEN, Token.encode_mint(address, amount), f"tokens: 0x{address.hex()}")
    if isinstance(genesis.quotas, Quotas):
        install_quotas(state, genesis.quotas)
    state.persist()
    return replace(draft, state_root=bytes(state.state_root))


def _create(state: MeritState, governor: Address, at: bytes, name: str, *arguments: bytes) -> None:
    message = Message(
        gas=_GAS,
        to=CREATE_CONTRACT_ADDRESS,
        sender=governor,
        value=0,
        data=b"",
        code=initcode(name, *arguments),
        create_address=Address(at),
    )
    context = state.get_transaction_context_class()(gas_price=0, origin=governor)
    computation = state.computation_class.apply_create_message(state, message, context)
    if computation.is_error:
        text = f"genesis contracts: {name} cannot be created: {revert_reason(computation)}"
        raise GenesisError(text)
    state.lock_changes()
    state.clear_transient_storage()


def _call(state: MeritState, governor: Address, to: bytes, data: bytes, field: str) -> None:
    computation = govern(state, governor, to, data)
    if computation.is_error:
        text = f"genesis {field}: {revert_reason(computation)}"
        raise GenesisError(text)
