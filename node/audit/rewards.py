"""What was paid to whom: the contracts' events, from a directory's store or from a node that answers RPC."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chain.application import Application
from chain.errors import StoreError
from chain.storage import Store
from contracts.addresses import LEDGER, VESTING
from contracts.events import Credited, Forfeited, PayVests, Vested, decode_event, event_topic
from node.audit.directory import layout_of
from node.audit.errors import NotAuditableError
from node.errors import LedgerUnreachableError

if TYPE_CHECKING:
    from contracts.events import Event

_BLOCKS_PER_QUERY: Final = 1_024


class Fate(StrEnum):
    """What became of what was credited; where pay does not vest, it is the client's at once."""

    RELEASED = "released"
    HELD = "held"
    FORFEITED = "forfeited"


@dataclass(frozen=True, slots=True)
class Reward:
    """What one record of a round earned: theta in parts per billion, the reward in wei, the block that credited it."""

    job: int
    round: int
    client: int
    theta_ppb: int
    reward_wei: int
    block: int
    fate: Fate


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

    from contracts.bindings import Ledger, Vesting  # noqa: PLC0415 - with web3

    w3 = Web3(Web3.HTTPProvider(url))
    contracts = Ledger(w3, LEDGER), Vesting(w3, VESTING)
    found: list[Event] = []
    try:
        newest = w3.eth.block_number
        for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
            for contract in contracts:
                found.extend(contract.events(first, min(first + _BLOCKS_PER_QUERY - 1, newest)))
    except RequestException as error:
        message = f"{url}: no ledger answers there ({type(error).__name__}); name the URL that `merit up` prints"
        raise LedgerUnreachableError(message) from None
    return list(_credited(found))


def _of_store(store: Store) -> Iterable[Reward]:
    reader = Application(store).reader()
    newest = reader.latest()
    topics = ([event_topic(kind.__name__) for kind in (Credited, PayVests, Vested, Forfeited)],)
    events: list[Event] = []
    for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
        last = min(first + _BLOCKS_PER_QUERY - 1, newest)
        logs = reader.logs(first, last, addresses=[LEDGER, VESTING], topics=topics)
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
        events += [event for event in decoded if event is not None]
    return _credited(events)


def _credited(events: "list[Event]") -> Iterable[Reward]:
    vests = {event.job for event in events if isinstance(event, PayVests)}
    settled = {
        (event.job, event.round, event.client): Fate.RELEASED if isinstance(event, Vested) else Fate.FORFEITED
        for event in events
        if isinstance(event, Vested | Forfeited)
    }
    for event in events:
        if isinstance(event, Credited):
            fate = Fate.RELEASED
            if event.job in vests and event.reward:
                fate = settled.get((event.job, event.round, event.client), Fate.HELD)
            yield Reward(event.job, event.round, event.client, event.theta, event.reward, event.block, fate)
