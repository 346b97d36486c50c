"""eth_subscribe: new headers, logs and sent transactions, told to connections as they come.

One task follows the engine while anybody subscribes. It makes each message once and hands it to every connection that
wants it; a connection takes it at once or is dropped by its own rules (`chain.rpc.websocket`), so nobody waits for
anybody.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from chain.execution.transactions import describe
from chain.rpc import shapes
from chain.rpc.errors import InvalidParamsError, LimitError, RpcError
from chain.rpc.ethereum import refuse_one_block
from chain.rpc.limits import SUBSCRIPTIONS
from chain.rpc.parameters import LogQuery, flag, log_query, shown
from merit.chance import entropy

if TYPE_CHECKING:
    from chain.engines.base import Engine
    from chain.execution.reader import Reader
    from chain.light import Height
    from chain.rpc.ethereum import EthereumMethods

_log = logging.getLogger(__name__)
_NAME_BYTES = 16


class Kind(StrEnum):
    """What can be subscribed to.

    `newPendingTransactions` are those that this node was sent; `syncing` tells when that begins or ends, which it never
    does here: a node serves what it has executed.
    """

    HEADS = "newHeads"
    LOGS = "logs"
    TRANSACTIONS = "newPendingTransactions"
    SYNCING = "syncing"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a connection wants to hear of, from the block after `after` on.

    `query` is for logs only; `full` for sent transactions: whole ones, not their hashes.
    """

    name: str
    kind: Kind
    query: LogQuery | None
    full: bool
    after: int


@dataclass(eq=False, slots=True)
class Subscriber:
    """One connection: `deliver` takes a message without waiting, `drop` ends the connection and says why."""

    deliver: Callable[[bytes], None]
    drop: Callable[[str], None]
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


class Subscriptions:
    """All subscriptions of one node. It belongs to the thread of the engine's event loop."""

    def __init__(self, reader: "Reader", eth: "EthereumMethods", engine: "Engine") -> None:
        """Start with nobody."""
        self._reader, self._eth, self._engine = reader, eth, engine
        self._subscribers: set[Subscriber] = set()
        self._following: asyncio.Task[None] | None = None
        self._told = 0
        eth.sent.listen(self._tell_sent)

    @property
    def subscribers(self) -> frozenset[Subscriber]:
        """The connections that subscribe to something."""
        return frozenset(self._subscribers)

    def subscribe(self, subscriber: Subscriber, kind: object, options: object) -> str:
        """Add a subscription and return its name; `InvalidParamsError` and `LimitError` say why not."""
        if kind not in set(Kind):
            message = f"{shown(kind)} cannot be subscribed to; there are {', '.join(Kind)}"
            raise InvalidParamsError(message)
        if len(subscriber.subscriptions) >= SUBSCRIPTIONS:
            message = f"a connection has at most {SUBSCRIPTIONS} subscriptions"
            raise LimitError(message)
        wanted, full = None, False
        if kind == Kind.LOGS:
            wanted = log_query({} if options is None else options, "filter")
            refuse_one_block(wanted)
        elif kind == Kind.TRANSACTIONS and options is not None:
            full = flag(options, "full transactions")
        elif options is not None and options is not False:
            message = f"{kind} takes no options"
            raise InvalidParamsError(message)
        head = self._reader.latest()
        if self._following is None or self._following.done():
            self._told = head
            self._following = asyncio.get_running_loop().create_task(
                self._follow(self._engine.height), name="subscriptions"
            )
        name = f"0x{entropy(_NAME_BYTES).hex()}"
        subscriber.subscriptions[name] = Subscription(name, Kind(str(kind)), wanted, full, head)
        self._subscribers.add(subscriber)
        return name

    def unsubscribe(self, subscriber: Subscriber, name: object) -> bool:
        """End a subscription of this connection; tell whether there was one."""
        found = subscriber.subscriptions.pop(str(name), None) is not None
        if not subscriber.subscriptions:
            self.forget(subscriber)
        return found

    def forget(self, subscriber: Subscriber) -> None:
        """Forget a connection that has ended; the last one takes the task with it."""
        self._subscribers.discard(subscriber)
        if not self._subscribers and self._following is not None:
            self._following.cancel()
            self._following = None

    async def _follow(self, after: "Height") -> None:
        try:
            async for _ in self._engine.subscribe(after):
                self._tell_blocks()
        except Exception:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            _log.exception("subscriptions end")
        for subscriber in list(self._subscribers):
            subscriber.drop("the node makes no more blocks")

    def _tell_blocks(self) -> None:
        """Tell what the blocks since the last time hold."""
        head = self._reader.latest()
        for number in range(self._told + 1, head + 1):
            made: dict[LogQuery | None, list[bytes]] = {}
            for subscriber in list(self._subscribers):
                for wanted in list(subscriber.subscriptions.values()):
                    if wanted.kind not in {Kind.HEADS, Kind.LOGS} or wanted.after >= number:
                        continue
                    try:
                        if wanted.query not in made:
                            made[wanted.query] = self._contents(wanted.query, number)
                    except RpcError as error:  # more logs in one block than an answer holds
                        subscriber.drop(error.message)
                        break
                    for content in made[wanted.query]:
                        subscriber.deliver(_notification(wanted.name, content))
        self._told = head

    def _contents(self, query: LogQuery | None, number: int) -> list[bytes]:
        if query is None:
            header = self._reader.header(number)
            return [msgspec.json.encode(shapes.header(header, header.hash))]
        return [msgspec.json.encode(log) for log in self._eth.logs_between(query, number, number)]

    def _tell_sent(self, name: bytes, raw: bytes) -> None:
        for subscriber in list(self._subscribers):
            for wanted in list(subscriber.subscriptions.values()):
                if wanted.kind is Kind.TRANSACTIONS:
                    content = shapes.waiting_transaction(describe(raw)) if wanted.full else shapes.data(name)
                    subscriber.deliver(_notification(wanted.name, msgspec.json.encode(content)))


def _notification(name: str, content: bytes) -> bytes:
    head = b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"%s","result":' % name.encode()
    return head + content + b"}}"
