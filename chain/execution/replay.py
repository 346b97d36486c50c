"""A block of the ledger run once more, transaction by transaction, under the eyes of tracers; nothing of it is kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chain.errors import BlockError
from chain.execution.blocks import Block, Header
from chain.execution.evm import Environment, open_state
from chain.execution.executor import run_candidate
from chain.execution.index import ancestor_hashes
from chain.execution.keys import find_key, keep_key
from chain.execution.nodes import CommittedNodes
from chain.execution.tracing import Tracer, traced
from chain.execution.transactions import Opener
from chain.execution.upgrades import begin_block
from chain.execution.verdicts import Code, Refusal
from chain.storage import Store


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a transaction did this time; `gas` is its limit, `output` what its outermost message returned."""

    hash: bytes
    gas: int
    gas_used: int
    succeeded: bool
    output: bytes


def replay(
    store: Store, environment: Environment, parent: Header, block: Block, watch: Callable[[int], Tracer | None]
) -> Iterator[Replayed]:
    """Run the transactions of `block` on the state after `parent`, its parent, in order.

    `watch` gives the tracer of a transaction by its place in the block, or None. `BlockError` when one cannot run any
    more, which a store that is whole never gives.
    """
    ancestors = ancestor_hashes(store, parent, parent.hash)
    state = open_state(CommittedNodes(store), block.header, parent.state_root, ancestors, environment)
    plain = state.computation_class
    opener = Opener(environment)
    begin_block(state, block.misbehavior)
    for index, raw in enumerate(block.transactions):
        opened = opener.open(raw, lambda address: find_key(state, address))
        if isinstance(opened, Refusal):
            message = f"transaction {index} of block {block.number} does not run again: {opened.reason}"
            raise BlockError(message)
        tracer = watch(index)
        state.computation_class = plain if tracer is None else traced(plain, tracer)  # type: ignore[assignment] # both py-evm's
        state.lock_changes()
        if tracer is not None:
            tracer.begin(state)
        if opened.new_key is not None:
            keep_key(state, opened.sender, opened.new_key)
        result, computation = run_candidate(state, opened)
        if tracer is not None:
            tracer.end(state)
        yield Replayed(opened.hash, opened.gas, result.gas_used, result.code is Code.OK, bytes(computation.output))
