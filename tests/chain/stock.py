"""py-evm as it comes: the oracle for everything that chain.execution does in a faster way.

Its accounts behind journals, its tries that take one key at a time, its interpreter and its way through a transaction;
the roots of lists by the trie package, blooms by eth_bloom. Ours are the configuration, the native contracts and the
decoding of transactions, which have oracles of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import rlp
from eth.abc import SignedTransactionAPI
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState, PragueTransactionExecutor
from eth_bloom import BloomFilter
from eth_typing import Hash32
from trie.hexary import HexaryTrie

from chain.crypto.addresses import Address
from chain.execution import evm, executor
from chain.execution.blocks import BLOOM_BYTES, Log
from chain.storage import Space
from contracts.addresses import COUNCIL
from contracts.upgrades import UpgradeKind
from tests.chain.ledger import Replica


class StockComputation(evm.MeritComputation):
    """py-evm's interpreter and opcodes, with our precompiles and our rule about deployers."""

    opcodes = evm.MeritComputation.opcodes  # py-evm's before titanoboa put tracers there that trip on short stacks
    apply_computation = classmethod(PragueComputation.apply_computation.__func__)  # type: ignore[attr-defined,assignment]
    apply_message = classmethod(PragueComputation.apply_message.__func__)  # type: ignore[attr-defined,assignment]


class StockComputationV2(StockComputation):
    """The same with the precompiles of execution version 2."""

    _precompiles = evm.MeritComputationV2.get_precompiles()


class StockComputationV3(StockComputation):
    """The same with the precompiles of execution version 3."""

    _precompiles = evm.MeritComputationV3.get_precompiles()


COMPUTATIONS = {1: StockComputation, 2: StockComputationV2, 3: StockComputationV3}


class StockExecutor(PragueTransactionExecutor):
    """py-evm's way through a transaction; what it would refuse is judged before."""

    gas_used = evm.MeritExecutor.gas_used

    def validate_transaction(self, transaction: SignedTransactionAPI) -> None:
        """Judge nothing, as ours."""


class StockState(PragueState):
    """py-evm's accounts and journals."""

    computation_class = StockComputation
    transaction_executor_class = StockExecutor

    def __init__(self, database: Any, context: Any, state_root: bytes, environment: evm.Environment) -> None:
        self.environment = environment
        super().__init__(database, context, Hash32(state_root))
        root = self._account_db._get_storage_root(Address(COUNCIL))  # type: ignore[attr-defined] # noqa: SLF001 - py-evm has no other way
        self.schedule = environment.schedules.of(root, self.get_storage)
        version = self.schedule.version(UpgradeKind.EXECUTION, context.block_number)
        self.computation_class = COMPUTATIONS[version]

    def registry_root(self) -> None:
        """Say that the Registry may have changed: what it says is read each time."""

    def set_system_contracts(self) -> None:
        """Set none, as ours."""


def plain_ordered_root(values: Sequence[bytes]) -> bytes:
    """The root of the trie rlp(index) -> value, one key at a time."""
    trie = HexaryTrie({})
    for index, value in enumerate(values):
        trie[rlp.encode(index)] = value
    return bytes(trie.root_hash)


def plain_bloom_of(logs: Iterable[Log]) -> bytes:
    """The bloom of logs by eth_bloom."""
    bloom = BloomFilter.from_iterable(value for log in logs for value in (log.address, *log.topics))
    return int(bloom).to_bytes(BLOOM_BYTES, "big")


@contextmanager
def stock_execution() -> Iterator[None]:
    """Let every state that is opened, and every block that is executed, be py-evm's."""
    with (
        patch.object(evm, "MeritState", StockState),
        patch.object(executor, "MeritExecutor", StockExecutor),
        patch.object(executor, "ordered_root", plain_ordered_root),
        patch.object(executor, "bloom_of", plain_bloom_of),
    ):
        yield


def stored(replica: Replica) -> dict[Space, dict[bytes, bytes]]:
    """The tables of a store in memory, as they lie there."""
    tables: dict[Space, dict[bytes, bytes]] = replica.store._backing._tables  # type: ignore[attr-defined] # noqa: SLF001
    return tables
