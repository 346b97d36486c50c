"""The fork's configuration: py-evm's Prague, changed where a permissioned ledger differs from Ethereum.

- no system contracts and no system calls in a block (EIP-2935, EIP-4788, EIP-7002, EIP-7251 are off);
- base fee constant 0, no block reward, coinbase zero;
- contracts are created only in transactions of accounts that genesis names, at any depth;
- precompiles 0x01, 0x02, 0x04 and our own two, from execution version 2 on three, from 3 on four; see
  ADR-precompiles.md beside this file for the others;
- transactions are judged by `chain.execution.transactions` before they get here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast

from eth._utils.address import generate_contract_address
from eth.abc import ComputationAPI, MessageAPI, SignedTransactionAPI, StateAPI, TransactionContextAPI
from eth.db.backends.base import BaseAtomicDB
from eth.exceptions import VMError
from eth.typing import JournalDBCheckpoint
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState, PragueTransactionExecutor
from eth.vm.message import Message
from eth_typing import Address as EthAddress
from eth_typing import Hash32

from chain.crypto.addresses import Address
from chain.errors import VersionError
from chain.execution.accounts import Accounts
from chain.execution.blocks import Header
from chain.execution.interpreter import interpret
from chain.execution.keys import keep_key_precompile
from chain.execution.lookup import NodeCache
from chain.execution.quotas import quotas_precompile
from chain.execution.recent import RecentEvents
from chain.execution.records import record_batch_precompile
from chain.execution.signature_precompile import signature_precompile
from chain.execution.signatures import VerdictCache
from chain.execution.standings import Standings
from chain.execution.transactions import Candidate
from chain.execution.versions import Schedules
from contracts.addresses import COUNCIL, KEYS, QUOTAS, REGISTRY, SIGNATURES, VERIFIER
from contracts.upgrades import UpgradeKind

_KEPT_PRECOMPILES: Final = (1, 2, 4)  # ecrecover, SHA-256, identity


@dataclass(frozen=True, slots=True)
class Environment:
    """What genesis fixes for execution, and what this replica remembers: verdicts, decoded nodes, and so on."""

    chain_id: int
    genesis_hash: bytes
    gas_limit: int
    classical: bool
    deployers: frozenset[Address]
    verdicts: VerdictCache = field(default_factory=VerdictCache, compare=False)
    nodes: NodeCache = field(default_factory=NodeCache, compare=False)
    schedules: Schedules = field(default_factory=Schedules, compare=False)
    standings: Standings = field(default_factory=Standings, compare=False)
    events: RecentEvents = field(default_factory=RecentEvents, compare=False)


class CreationRefusedError(VMError):
    """A contract was to be created in a transaction of an account that genesis does not name."""


class MeritComputation(PragueComputation):
    """Runs one message."""

    opcodes = dict(PragueComputation.opcodes)  # noqa: RUF012 - our own: py-evm's is one table that any importer changes
    _precompiles = {
        address: precompile
        for address, precompile in PragueComputation.get_precompiles().items()
        if int.from_bytes(address, "big") in _KEPT_PRECOMPILES
    } | {Address(VERIFIER): record_batch_precompile, Address(KEYS): keep_key_precompile}

    @classmethod
    def apply_computation(
        cls,
        state: StateAPI,
        message: MessageAPI,
        transaction_context: TransactionContextAPI,
        parent_computation: ComputationAPI | None = None,
    ) -> ComputationAPI:
        """Run one message: what py-evm's does, with our loop in it."""
        with cls(state, message, transaction_context) as computation:
            if computation.is_origin_computation:
                computation.contracts_created = []
                if message.is_create:
                    cls.consume_initcode_gas_cost(computation)
            if parent_computation is not None:
                computation.contracts_created = parent_computation.contracts_created
            if message.is_create:
                computation.contracts_created.append(message.storage_address)
            precompile = cls._precompiles.get(message.code_address)
            if precompile is None:
                cast("MeritComputation", computation).run()
            elif not message.is_delegation:
                precompile(computation)
        return computation

    def run(self) -> None:
        """Run the code to its end."""
        interpret(self, self.opcodes)

    @classmethod
    def apply_create_message(
        cls,
        state: StateAPI,
        message: MessageAPI,
        transaction_context: TransactionContextAPI,
        parent_computation: ComputationAPI | None = None,
    ) -> ComputationAPI:
        """Create a contract if the transaction's sender may; a refused creation fails like one that ran out of gas."""
        if transaction_context.origin not in cast("MeritState", state).environment.deployers:
            with cls(state, message, transaction_context) as computation:
                refusal = "contract creation is for the deployers that genesis names"
                raise CreationRefusedError(refusal)
            return computation  # py-evm's context manager has kept the error in it
        return super().apply_create_message(state, message, transaction_context, parent_computation=parent_computation)


class MeritComputationV2(MeritComputation):
    """Runs one message of execution version 2: contracts can have ML-DSA signatures verified."""

    _precompiles = MeritComputation.get_precompiles() | {Address(SIGNATURES): signature_precompile}


class MeritComputationV3(MeritComputationV2):
    """Runs one message of execution version 3: the governor can change quotas."""

    _precompiles = MeritComputationV2.get_precompiles() | {Address(QUOTAS): quotas_precompile}


COMPUTATIONS: Final[dict[int, type[MeritComputation]]] = {
    1: MeritComputation,
    2: MeritComputationV2,
    3: MeritComputationV3,
}
"""What runs messages under each of `chain.execution.versions.EXECUTION_VERSIONS`."""


class MeritExecutor(PragueTransactionExecutor):
    """Runs one transaction that `chain.execution.transactions` has judged."""

    def validate_transaction(self, transaction: SignedTransactionAPI) -> None:
        """Judge nothing: that is done, with a code for each reason."""

    def build_evm_message(self, transaction: SignedTransactionAPI) -> MessageAPI:
        """Buy gas, use the nonce, make the message; py-evm's own formats a debug line of the whole transaction too."""
        state = self.vm_state
        price = state.get_gas_price(transaction)
        if price:
            state.delta_balance(transaction.sender, -transaction.gas * price)
        state.increment_nonce(transaction.sender)
        created = None if transaction.to else generate_contract_address(transaction.sender, transaction.nonce)
        return Message(
            gas=transaction.gas - transaction.intrinsic_gas,
            to=transaction.to,
            sender=transaction.sender,
            value=transaction.value,
            data=transaction.data if transaction.to else b"",
            code=state.get_code(transaction.to) if transaction.to else transaction.data,
            create_address=created,  # type: ignore[arg-type] # None for a call, as in py-evm itself
        )

    @staticmethod
    def calc_data_floor_gas(transaction: SignedTransactionAPI, gas_used: int, gas_refund: int) -> int:
        """Return what is missing to the floor for calldata (EIP-7623); py-evm would count all bytes again."""
        floor: int = cast("Candidate", transaction).floor_gas
        return max(floor - (gas_used - gas_refund), 0)

    def gas_used(self, transaction: Candidate, computation: ComputationAPI) -> int:
        """Gas after refunds, at least the floor for calldata (EIP-3529, EIP-7623)."""
        used: int = transaction.gas - computation.get_gas_remaining()
        refund: int = min(computation.get_gas_refund(), used // 5)
        return max(used - refund, transaction.floor_gas)


class MeritState(PragueState):
    """Accounts, storage and code at one point of the ledger; `schedule` is that point's of versions."""

    computation_class = MeritComputation
    transaction_executor_class = MeritExecutor

    def __init__(
        self, database: BaseAtomicDB, context: ExecutionContext, state_root: bytes, environment: Environment
    ) -> None:
        """Start from a state root; changes stay in memory until `persist`.

        Runs code under the execution version that this state has scheduled for the context's block; `VersionError` if
        this program lacks it.
        """
        # not py-evm's own initialization, which makes accounts only to throw them away
        self.environment = environment
        self._db = database
        self.execution_context = context
        self._account_db = self.accounts = Accounts(database, state_root, environment.nodes)
        root = self.accounts.storage_root(Address(COUNCIL))
        self.schedule = environment.schedules.of(root, self.get_storage)
        version = self.schedule.version(UpgradeKind.EXECUTION, context.block_number)
        if version not in COMPUTATIONS:
            raise VersionError("execution", version, tuple(COMPUTATIONS), block=context.block_number)  # noqa: EM101 - a field
        self.computation_class = COMPUTATIONS[version]

    def get_tip(self, transaction: SignedTransactionAPI) -> int:
        """Return what the coinbase gets per gas: nothing from a simulated call that offers less than the base fee."""
        tip: int = super().get_tip(transaction)
        return max(tip, 0)

    def registry_root(self) -> bytes | None:
        """Return the root of the Registry's storage as it stands (see `chain.execution.standings`)."""
        return self.accounts.unchanged_storage_root(Address(REGISTRY))

    # py-evm has a journal of its own for transient storage; here one log undoes everything

    def snapshot(self) -> tuple[Hash32, JournalDBCheckpoint]:
        """Return where `revert` comes back to."""
        return self.accounts.state_root, self.accounts.record()

    def revert(self, snapshot: tuple[Hash32, JournalDBCheckpoint]) -> None:
        """Undo everything since `snapshot`."""
        self.accounts.discard(snapshot[1])

    def commit(self, snapshot: tuple[Hash32, JournalDBCheckpoint]) -> None:
        """Keep everything since `snapshot`."""

    def get_transient_storage(self, address: EthAddress, slot: int) -> bytes:
        """Return a word of EIP-1153's storage."""
        return self.accounts.get_transient(address, slot)

    def set_transient_storage(self, address: EthAddress, slot: int, value: bytes) -> None:
        """Set a word of EIP-1153's storage."""
        self.accounts.set_transient(address, slot, value)

    def clear_transient_storage(self) -> None:
        """Forget EIP-1153's storage at the end of a transaction."""
        self.accounts.clear_transient()

    def set_system_contracts(self) -> None:
        """Set none."""


def open_state(
    database: BaseAtomicDB, header: Header, state_root: bytes, ancestors: Iterable[bytes], environment: Environment
) -> MeritState:
    """Open the state `state_root` for execution in the block `header`; `ancestors` are block hashes, parent first."""
    context = ExecutionContext(
        coinbase=header.coinbase,
        timestamp=header.timestamp,
        block_number=header.number,
        difficulty=header.difficulty,
        mix_hash=Hash32(header.mix_hash),
        gas_limit=header.gas_limit,
        prev_hashes=map(Hash32, ancestors),
        chain_id=environment.chain_id,
        base_fee_per_gas=header.base_fee_per_gas,
        excess_blob_gas=header.excess_blob_gas,
    )
    return MeritState(database, context, state_root, environment)


def created_address(sender: Address, nonce: int) -> Address:
    """Return the address of the contract that this sender creates with this nonce."""
    return generate_contract_address(sender, nonce)
