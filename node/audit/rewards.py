"""What was paid to whom: the Ledger's `Credited` events, from a directory's store or from a node that answers RPC."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chain.application import Application
from chain.errors import StoreError
from chain.storage import Store
from contracts.addresses import LEDGER
from contracts.events import Credited, decode_event, event_topic
from node.audit.directory import layout_of
from node.audit.errors import NotAuditableError
from node.errors import LedgerUnreachableError

if TYPE_CHECKING:
    from contracts.events import Event

_BLOCKS_PER_QUERY: Final = 1_024


@dataclass(frozen=True, slots=True)
class Reward:
    """What one record of a round earned: theta in parts per billion, the reward in wei, the block that credited it."""

    job: int
    round: int
    client: int
    theta_ppb: int
    reward_wei: int
    block: int


def rewards_in(directory: Path) -> list[Reward]:
    """Return every reward that the first usable ledger store of a directory holds, in the order of the chain.

    It believes that store: whether it is right is the audit's business.

    Raises:
        NotAuditableError: no ledger store there can be read.

    """
    reasons: list[str] = []
    for home in layout_of(directory).validators.values():
        try:
            store = Store.open(home / "ledger", readonly=True)
        except StoreError as error:
            reasons.append(str(error))
            continue
        try:
            return list(_of_store(store))
        finally:
            store.close()
    raise NotAuditableError(directory, f"no ledger store can be read: {reasons[0]}")


def rewards_at(url: str) -> list[Reward]:
    """Return every reward that the node at `url` (Ethereum JSON-RPC over HTTP) knows, in the order of the chain.

    Raises:
        LedgerUnreachableError: nothing answers there.

    """
    from requests.exceptions import RequestException  # noqa: PLC0415 - web3 brings it; a directory needs neither
    from web3 import Web3  # noqa: PLC0415 - two seconds of imports

    from contracts.bindings import Ledger  # noqa: PLC0415 - with web3

    w3 = Web3(Web3.HTTPProvider(url))
    ledger = Ledger(w3, LEDGER)
    found: list[Event] = []
    try:
        newest = w3.eth.block_number
        for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
            found.extend(ledger.events(first, min(first + _BLOCKS_PER_QUERY - 1, newest)))
    except RequestException as error:
        message = f"{url}: no ledger answers there ({type(error).__name__}); name the URL that `merit up` prints"
        raise LedgerUnreachableError(message) from None
    return list(_credited(found))


def _of_store(store: Store) -> Iterable[Reward]:
    reader = Application(store).reader()
    newest = reader.latest()
    topics = (event_topic("Credited"),)
    for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
        logs = reader.logs(first, min(first + _BLOCKS_PER_QUERY - 1, newest), addresses=[LEDGER], topics=topics)
        decoded = (
            decode_event(
                found.log.topics,
                found.log.data,
                block=found.place.number,
                log_index=found.log_index,
                transaction=found.transaction_hash,
            )
            for found in logs
        )
        yield from _credited(event for event in decoded if event is not None)


def _credited(events: "Iterable[Event]") -> Iterable[Reward]:
    for event in events:
        if isinstance(event, Credited):
            yield Reward(event.job, event.round, event.client, event.theta, event.reward, event.block)
