"""Keeps the index up to the ledger, the edge server and the run beside it; one `step` at a time."""

import logging
import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Final, cast

from web3.exceptions import Web3Exception

from contracts import addresses
from contracts.errors import ContractsError
from contracts.events import decode_events
from merit.errors import MeritError
from node.dashboard.gateway import Gateway
from node.dashboard.index import Index
from node.dashboard.ingest import (
    BlockSummary,
    add_accuracy,
    add_block,
    add_reason,
    add_selection,
    add_title,
)
from node.dashboard.insight import Insight
from node.dashboard.run_files import RunFiles
from node.dashboard.signers import Signers

if TYPE_CHECKING:
    from collections.abc import Callable

    from web3 import Web3
    from web3.types import LogReceipt

_log = logging.getLogger(__name__)

BLOCKS_PER_STEP: Final = 64  # what pages see at once while a long history is read
ROUNDS_PER_STEP: Final = 256


class Follower:
    """Reads what is new. `failing` says what could not be read in the last step, empty if nothing."""

    def __init__(
        self, index: Index, gateway: Gateway, signers: Signers, insight: Insight, run: RunFiles | None = None
    ) -> None:
        """Write into `index`; `run` is the directory of a run whose log is read as well."""
        self._index, self._gateway, self._signers, self._insight, self._run = index, gateway, signers, insight, run
        self.failing = ""

    def step(self, *, watched: bool = True) -> bool:
        """Read some of what is new; tell whether there is more. Commits are read only while somebody watches."""
        more, failing = False, ""
        steps: list[Callable[[], bool]] = [self._read_edge, self._read_run]
        if self._gateway.attached:
            steps = [self._read_blocks, *([self._read_commits] if watched else ()), *steps]
        for step in steps:
            try:
                more |= step()
            except (MeritError, ContractsError, Web3Exception, sqlite3.Error, OSError) as error:
                failing = failing or str(error)
                _log.warning("the dashboard is behind: %s", error)
        self.failing = failing
        return more and not failing

    def _read_blocks(self) -> bool:
        with self._gateway.borrow() as w3:
            height, head = self._index.block, w3.eth.block_number
            last = min(head, height + BLOCKS_PER_STEP)
            if height >= last:
                return False
            logs = _logs(w3, height + 1, last)
            blocks = [_summary(w3, number) for number in range(height + 1, last + 1)]
        with self._index.writing() as db:
            for block in blocks:
                add_block(db, block, decode_events(logs[block.number]))
        return last < head

    def _read_commits(self) -> bool:
        with self._gateway.borrow() as w3:
            before = self._signers.height
            more = self._signers.read(w3)
        self._index.revision += self._signers.height > before
        return more

    def _read_edge(self) -> bool:
        """Take what the edge server found: titles, selections of rounds, and why records are worth what they are."""
        with self._index.reading() as db:
            untitled = [row["job"] for row in db.execute("SELECT job FROM jobs WHERE title = ''")]
            waiting = db.execute(
                "SELECT job, round FROM rounds WHERE selected = 0 LIMIT ?", (ROUNDS_PER_STEP,)
            ).fetchall()
        titles = [(job, title) for job in untitled if (title := self._insight.title(job))]
        known = [(job, self._insight.outcome(job, round_)) for job, round_ in waiting]
        outcomes = [(job, outcome) for job, outcome in known if outcome is not None]
        reasons = self._insight.take_reasons()
        if titles or outcomes or reasons:
            with self._index.writing() as db:
                for job, title in titles:
                    add_title(db, job, title)
                for job, outcome in outcomes:
                    add_selection(db, job, outcome)
                for reason in reasons:
                    add_reason(db, reason)
        return len(outcomes) == ROUNDS_PER_STEP

    def _read_run(self) -> bool:
        """Take what a run's own log and its audit say."""
        if self._run is None:
            return False
        measured, reasons = self._run.read_new()
        if measured or reasons:
            with self._index.writing() as db:
                for one in measured:
                    add_accuracy(db, one)
                for reason in reasons:
                    add_reason(db, reason)
        return False


def _logs(w3: "Web3", first: int, last: int) -> "dict[int, list[LogReceipt]]":
    places = [w3.to_checksum_address(address) for address in (addresses.LEDGER, addresses.VESTING)]
    logs: defaultdict[int, list[LogReceipt]] = defaultdict(list)
    for log in w3.eth.get_logs({"fromBlock": first, "toBlock": last, "address": places}):
        logs[log["blockNumber"]].append(log)
    return logs


def _summary(w3: "Web3", number: int) -> BlockSummary:
    block = w3.eth.get_block(number)
    return BlockSummary(
        number=number,
        hash=bytes(block["hash"]),
        height=int.from_bytes(bytes(block["extraData"]), "big"),
        time=int(block["timestamp"]),
        transactions=len(cast("list[object]", block["transactions"])),
        gas=int(block["gasUsed"]),
    )
