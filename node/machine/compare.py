"""Where a node's ledger and another node's part: the first block that differs, and what in it does.

The home's node need not run; its store is only read. Blocks name their parents, so the first one that differs is found
by bisection. Its height is then executed again here, on the state that both ledgers still shared, and what it used is
compared with the other node's state (`node.machine.writes`). Executing it again also says which of the two ledgers
this program would have made.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import msgspec

from chain.application import Again, Application, Block, Code, Decided
from chain.crypto.hashing import keccak256
from chain.errors import StoreMissingError
from chain.execution.blocks import EngineHeight
from chain.rpc import shapes
from chain.storage import Store
from node.errors import ConfigError, HomeError, LedgerUnreachableError
from node.machine.home import NodeHome
from node.machine.other import OtherNode, TheirLog, TheirReceipt, asking
from node.machine.writes import Roots, WriteDifference, compare_writes

if TYPE_CHECKING:
    from chain.execution.reader import Reader

HERE: Final = "here"
THERE: Final = "there"
NEITHER: Final = "neither"
UNKNOWN: Final = "unknown"


class TransactionDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The first transaction with two outcomes, each in a few words."""

    index: int
    hash: str
    here: str
    there: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first height whose blocks differ.

    `here`, `there`: the blocks' hashes, empty where the height made none. `header`: fields that differ, by their names
    in JSON-RPC. `writes`: values that differ after the height, the first used one first; `unnamed`: a line each for
    what differs and cannot be named. `again`: the hash that executing the height again here gives, and `agrees` with
    whom: "here", "there" or "neither". `decided`: what was executed again is what the engine decided; else only what
    this ledger's block holds, because the other node could not tell. With no block either, `agrees` is "unknown".
    """

    height: int
    block: int
    here: str
    there: str
    header: tuple[str, ...]
    transaction: TransactionDifference | None
    writes: tuple[WriteDifference, ...]
    unnamed: tuple[str, ...]
    again: str
    agrees: str
    decided: bool


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A node that answered: how far both ledgers were compared, and the first height that differs, if any."""

    url: str
    compared: int
    differs: int | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `difference` is with the first node of `nodes` that differs. `silent`: a line for each other."""

    home: str
    name: str
    height: int
    block: int
    nodes: tuple[Asked, ...]
    silent: tuple[str, ...]
    difference: Difference | None

    @property
    def differs(self) -> bool:
        """Tell whether any node has another ledger."""
        return any(node.differs is not None for node in self.nodes)


@dataclass(frozen=True, slots=True)
class _Parting:
    """The first height that differs; each side's block of it, None where that side made none; `number` is its."""

    height: int
    number: int
    here: Block | None
    there: dict[str, str] | None


def compare(home: NodeHome, urls: Sequence[str], progress: Callable[[str], None] = lambda _: None) -> Comparison:
    """Compare a home's ledger with the nodes at `urls`, by default its peers'.

    Raises:
        RunDirectoryError: there is no such home.
        ConfigError: it names no peer to ask, and neither does `urls`.
        StoreError: it has no ledger, or a damaged one.
        HomeError: a node is of another chain.
        LedgerUnreachableError: no node answers.

    """
    file = home.read()
    asked = list(dict.fromkeys(urls or [peer.rpc for peer in file.peers if peer.rpc]))
    if not asked:
        message = f"{home.file} says of no peer where its JSON-RPC is (peers.rpc): name a node with --rpc URL"
        raise ConfigError(message)
    store = Store.open(home.ledger, readonly=True)
    with contextlib.closing(store), asking(asked) as others:
        application = Application(store)
        if application.info().app_hash == b"":
            raise StoreMissingError(home.ledger)
        return _Comparing(home, file.name, application, progress).run(others)


class _Comparing:
    def __init__(self, home: NodeHome, name: str, application: Application, progress: Callable[[str], None]) -> None:
        self._home, self._name, self._progress = home, name, progress
        self._application = application
        self._reader: Reader = application.reader()
        self._head = self._reader.latest()

    def run(self, others: Sequence[OtherNode]) -> Comparison:
        nodes: list[Asked] = []
        silent: list[str] = []
        difference: Difference | None = None
        for other in others:
            self._progress(other.url)
            try:
                parting, compared = self._part(other)
                if parting is not None and difference is None:
                    difference = self._explain(parting, other)
            except LedgerUnreachableError as error:
                silent.append(str(error))
                continue
            nodes.append(Asked(url=other.url, compared=compared, differs=None if parting is None else parting.height))
        if not nodes:
            raise LedgerUnreachableError(silent[0] if len(silent) == 1 else f"no node answers: {'; '.join(silent)}")
        return Comparison(
            home=str(self._home.path),
            name=self._name,
            height=self._application.height,
            block=self._head,
            nodes=tuple(nodes),
            silent=tuple(silent),
            difference=difference,
        )

    # -- where they part --------------------------------------------------------------------------------------------

    def _part(self, other: OtherNode) -> tuple[_Parting | None, int]:
        """Return where the ledgers part, None as far as both go, and the number of the last block compared."""
        where = other.where()
        if where.genesis_hash != self._application.genesis_hash:
            mine, theirs = self._application.genesis, where
            message = (
                f"{self._home.path} is of {mine.name} with genesis hash 0x{self._application.genesis_hash.hex()}, "
                f"the node at {other.url} of {theirs.chain} with 0x{theirs.genesis_hash.hex()}: they are other chains"
            )
            raise HomeError(message)
        same, top = 0, min(self._head, where.block)
        first = top + 1  # that differs or is not on both sides
        while same + 1 < first:
            # the newest block first: mostly all is the same
            middle = top if first > top else (same + first) // 2
            if other.header(middle)["hash"] == shapes.data(self._reader.header(middle).hash):
                same = middle
            else:
                first = middle
        here = self._reader.block(first) if first <= self._head else None
        there = other.header(first) if first <= where.block else None
        mine_at = None if here is None else int(here.engine_height)
        theirs_at = None if there is None else _engine_height(other, there)
        match mine_at, theirs_at:
            case int(), int() if mine_at == theirs_at:
                return _Parting(mine_at, first, here, there), top
            case int(), _ if mine_at <= where.height and (theirs_at is None or mine_at < theirs_at):
                return _Parting(mine_at, first, here, None), top
            case _, int() if theirs_at <= self._application.height and (mine_at is None or theirs_at < mine_at):
                return _Parting(theirs_at, first, None, there), top
        return None, top  # one is behind, and what it has is the same

    # -- what differs there -----------------------------------------------------------------------------------------

    def _explain(self, parting: _Parting, other: OtherNode) -> Difference:
        here, there = parting.here, parting.there
        decided, known = self._decided(parting, other)
        again = self._application.again(parting.number - 1, decided)
        before = self._reader.header(parting.number - 1)
        mine = "" if here is None else shapes.data(here.hash)
        theirs = "" if there is None else there["hash"]
        anew = "" if again.block is None else shapes.data(again.block.hash)
        roots = Roots(
            before=before.state_root,
            here=before.state_root if here is None else here.header.state_root,
            there=before.state_root if there is None else bytes.fromhex(there["stateRoot"][2:]),
            again=again.state_root,
        )
        at = parting.number if there is not None else parting.number - 1
        writes = compare_writes(again, roots, here, other, at)
        return Difference(
            height=parting.height,
            block=parting.number,
            here=mine,
            there=theirs,
            header=() if here is None or there is None else _fields(here, there),
            transaction=self._transaction(parting, decided, again, other),
            writes=tuple(writes.found),
            unnamed=tuple(writes.unnamed),
            again=anew,
            agrees=UNKNOWN
            if here is None and not known
            else HERE
            if anew == mine
            else THERE
            if anew == theirs
            else NEITHER,
            decided=known,
        )

    def _decided(self, parting: _Parting, other: OtherNode) -> tuple[Decided, bool]:
        """Return what to execute, and whether it is what was decided; misbehavior is known from this ledger only."""
        here = parting.here
        misbehavior = () if here is None else here.misbehavior
        height = EngineHeight(parting.height)
        if (told := other.decided(parting.height)) is not None:
            time, transactions = told
            if here is None or set(here.transactions) <= set(transactions):
                return Decided(height, time, transactions, misbehavior), True
        if here is not None:
            return Decided(height, here.header.timestamp, here.transactions, misbehavior), False
        return Decided(height, self._reader.header(parting.number - 1).timestamp, (), ()), False

    def _transaction(
        self, parting: _Parting, decided: Decided, again: Again, other: OtherNode
    ) -> TransactionDifference | None:
        mine = [] if parting.here is None else [_receipt(found) for found in self._receipts(parting.number)]
        theirs = [] if parting.there is None else other.receipts(parting.number)
        reasons = {shapes.data(result.hash): result.reason for result in again.results if result.code > Code.REVERTED}
        for index, (here, there) in enumerate(zip_longest(mine, theirs)):
            if here == there:
                continue
            if here is not None and there is not None and here.transactionHash == there.transactionHash:
                event = next(
                    (at for at, (one, two) in enumerate(zip_longest(here.logs, there.logs)) if one != two), None
                )
                return TransactionDifference(
                    index=index, hash=here.transactionHash, here=_outcome(here, event), there=_outcome(there, event)
                )
            # of two different ones, the earlier decided one is missing on the other side
            order = [shapes.data(keccak256(raw)) for raw in decided.transactions]
            names = [one.transactionHash for one in (here, there) if one is not None]
            name = min(names, key=lambda name: order.index(name) if name in order else len(order))
            left_out = f"not in the block ({reasons[name]})" if name in reasons else "not in the block"
            return TransactionDifference(
                index=index,
                hash=name,
                here=_outcome(here) if here is not None and here.transactionHash == name else left_out,
                there=_outcome(there) if there is not None and there.transactionHash == name else "not in the block",
            )
        return None

    def _receipts(self, number: int) -> list[shapes.Json]:
        timestamp = self._reader.header(number).timestamp
        return [shapes.receipt(found, timestamp) for found in self._reader.receipts(number)]


def _engine_height(other: OtherNode, header: dict[str, str]) -> int:
    try:
        return int(header["extraData"], 16)
    except ValueError:
        message = f"the node at {other.url} gives a header without the engine's height"
        raise LedgerUnreachableError(message) from None


def _fields(here: Block, there: dict[str, str]) -> tuple[str, ...]:
    mine = shapes.header(here.header, here.hash)
    return tuple(name for name, value in mine.items() if name != "hash" and there.get(name) != value)


def _receipt(found: shapes.Json) -> TheirReceipt:
    """Bring a receipt of ours into the form in which the other node's comes."""
    return msgspec.convert(found, TheirReceipt)


def _outcome(receipt: TheirReceipt, event: int | None = None) -> str:
    """Say what a transaction did, and what the event is that differs."""
    what = "succeeded" if receipt.status == "0x1" else "reverted"
    text = f"{what}, {int(receipt.gasUsed, 16):,} gas, {len(receipt.logs)} events"
    if event is None:
        return text
    return f"{text}, event {event}: {_event(receipt.logs[event])}" if event < len(receipt.logs) else text


def _event(log: TheirLog) -> str:
    return f"{log.address} {' '.join(log.topics)} {log.data}"


def lines(found: Comparison) -> list[str]:
    """Return the comparison as text."""
    told = [f"{found.name}: height {found.height}, block {found.block}, in {found.home}"]
    for node in found.nodes:
        same = f"the same up to block {node.compared}, the last that both have"
        told.append(f"{node.url}: {same if node.differs is None else f'differs from height {node.differs} on'}")
    told += [f"not compared: {line}" for line in found.silent]
    if (it := found.difference) is None:
        return told
    told.append(f"height {it.height}, block {it.block}: {it.here or 'no block'} here, {it.there or 'no block'} there")
    if it.header:
        told.append(f"header fields that differ: {', '.join(it.header)}")
    if it.transaction is None:
        told.append("every transaction has the same outcome on both sides")
    else:
        tx = it.transaction
        told += [f"first transaction that differs: {tx.hash} (index {tx.index})"]
        told += [f"  here:  {tx.here}", f"  there: {tx.there}"]
    if it.writes:
        told += _write_lines(it.writes)
    elif not it.unnamed:
        told.append("every account and storage slot has the same value on both sides")
    told += it.unnamed
    told.append(_verdict(it))
    return told


def _write_lines(writes: Sequence[WriteDifference]) -> list[str]:
    first = writes[0]
    account = first.account or f"the account whose address hashes to {first.account_hash}"
    who = f"{first.contract} ({account})" if first.contract else account
    what = first.part
    if first.part == "storage" and first.slot_hash:
        place = f"slot {first.slot}" if first.slot else f"the slot whose number hashes to {first.slot_hash}"
        what = f"{first.name} ({place})" if first.name else place
    told = [f"first write that differs: {who}, {what}"]
    told.append(f"  before {first.before}, here {first.here}, there {first.there}")
    if len(writes) > 1:
        told.append(f"  {len(writes) - 1} more values differ after this height (--json lists them)")
    return told


def _verdict(it: Difference) -> str:
    anew = it.again or "no block"
    match it.agrees:
        case "unknown":
            return (
                "not executed again: HOME has no block of the height, and the other node does not tell its transactions"
            )
        case "here":
            text = (
                "executing the height again here gives HOME's block: this program computes what HOME holds, "
                "and the other node's program another one"
            )
        case "there":
            text = (
                "executing the height again here gives the other node's block, not HOME's: HOME's store is damaged, "
                "or another program wrote it; move HOME/ledger away to learn the chain again from the others"
            )
        case _:
            text = f"executing the height again here gives {anew}: neither HOME's block nor the other node's"
    if not it.decided:
        text += " (the other node does not tell what was decided; executed was what HOME's block holds)"
    return text
