"""What somebody looks for: a hash, an address, a round, a block, a member; from the text to the pages that show it."""

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from web3.exceptions import TransactionNotFound

from node.dashboard import queries, registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from web3 import Web3

Ask: TypeAlias = "Callable[[Callable[[Web3], int]], int | None]"
"""Asks the ledger a question; None when it does not answer."""

LONGEST: Final = 200
_HASH: Final = re.compile(r"(?:0x)?([0-9a-f]{64})", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"(?:0x)?([0-9a-f]{40})", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"(block|round|job|client|member|edge server|record)?\s*#?\s*([0-9][0-9,]{0,18})", re.IGNORECASE
)
_ROUND_OF_JOB: Final = re.compile(r"(?:job\s*)?#?([0-9]{1,18})\s*(?:/|round)\s*#?([0-9]{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that shows what was looked for."""

    path: str
    name: str


def search(text: str, db: sqlite3.Connection, ask: Ask) -> list[Hit]:
    """Return the pages that show what the text names, the likeliest first.

    Args:
        text: what somebody typed.
        db: a connection to the index.
        ask: asks the ledger, which alone knows transactions and members.

    """
    text = text.strip()[:LONGEST]
    if found := _HASH.fullmatch(text):
        return _of_hash(bytes.fromhex(found[1]), db, ask)
    if found := _ADDRESS.fullmatch(text):
        return [Hit(f"/accounts/0x{found[1].lower()}", "account")]
    if found := _ROUND_OF_JOB.fullmatch(text):
        job, number = int(found[1]), int(found[2])
        return [_round(job, number)] if queries.round_(db, job, number) else []
    if found := _NAMED.fullmatch(text):
        return _of_number((found[1] or "").lower(), int(found[2].replace(",", "")), db, ask)
    return []


def _of_hash(name: bytes, db: sqlite3.Connection, ask: Ask) -> list[Hit]:
    number = queries.block_of_hash(db, name)
    if number is not None:
        return [Hit(f"/blocks/{number}", f"block {number}")]
    if records := queries.records_of_digest(db, name):
        return [Hit(f"/jobs/{row['job']}/records/{row['sequence']}", f"record {row['sequence']}") for row in records]
    if ask(lambda w3: _is_transaction(name, w3)):
        return [Hit(f"/transactions/0x{name.hex()}", "transaction")]
    return []


def _is_transaction(name: bytes, w3: "Web3") -> bool:
    try:
        w3.eth.get_transaction_receipt(w3.to_hex(name))
    except TransactionNotFound:
        return False
    return True


def _of_number(kind: str, number: int, db: sqlite3.Connection, ask: Ask) -> list[Hit]:
    hits = []
    if kind in {"", "round"}:
        hits += [_round(job, number) for job in queries.jobs_with_round(db, number)]
    if kind in {"", "block"} and queries.block(db, number):
        hits.append(Hit(f"/blocks/{number}", f"block {number}"))
    if kind in {"", "client", "member", "edge server"} and 0 < number <= (ask(registry.members) or 0):
        hits.append(Hit(f"/members/{number}", f"member {number}"))
    if kind in {"", "job"} and queries.job(db, number):
        hits.append(Hit(f"/jobs/{number}", f"job {number}"))
    if kind == "record":
        hits += [
            Hit(f"/jobs/{job}/records/{number}", f"record {number} of job {job}")
            for job in queries.jobs_with_record(db, number)
        ]
    return hits


def _round(job: int, number: int) -> Hit:
    return Hit(f"/jobs/{job}/rounds/{number}", f"round {number} of job {job}")
