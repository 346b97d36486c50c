"""A height executed once more on the state that it began with, beside the ledger: nothing of it is kept.

Execution is a pure function, so the same program gives the same block. Another one tells that the store is damaged or
that another program wrote it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chain.crypto.addresses import Address
from chain.execution.blocks import Block, EngineHeight, Misbehavior
from chain.execution.difference import States
from chain.execution.evm import Environment, MeritState
from chain.execution.executor import Executor, TxResult
from chain.execution.index import read_header
from chain.execution.standings import Standings
from chain.execution.transactions import Opener, describe
from chain.storage import Store


@dataclass(frozen=True, slots=True)
class Decided:
    """What the engine decided for a height; `time` in whole seconds since the epoch."""

    height: EngineHeight
    time: int
    transactions: Sequence[bytes]
    misbehavior: Sequence[Misbehavior] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """What a height gave this time.

    `used`: the accounts that it read or wrote and the slots of each, in the order of first use. `inputs`: the call data
    of the block's transactions. `states` reads the ledger's states and this one's.
    """

    results: tuple[TxResult, ...]
    block: Block | None
    state_root: bytes
    used: Mapping[Address, tuple[int, ...]]
    inputs: tuple[bytes, ...]
    states: States


def execute_again(store: Store, environment: Environment, parent: int, decided: Decided, *, always: bool) -> Again:
    """Execute a height on top of the block `parent`; `always` as for `Executor.execute`."""
    view = store.view()
    header = read_header(view, parent)
    used: dict[Address, tuple[int, ...]] = {}

    def watch(state: MeritState) -> None:
        used.update((Address(address), slots) for address, slots in state.accounts.used().items())

    forgetful = replace(environment, standings=Standings())  # or what it remembers would not be among what it reads
    executed = Executor(view, forgetful, Opener(forgetful)).execute(
        header,
        decided.transactions,
        decided.misbehavior,
        height=decided.height,
        time=decided.time,
        always=always,
        watch=watch,
    )
    block = executed.block
    root = header.state_root if block is None else block.header.state_root
    inputs = () if block is None else tuple(describe(raw).data for raw in block.transactions)
    return Again(executed.results, block, root, used, inputs, States(view))
