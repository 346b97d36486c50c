"""The dashboard's index: what pages list, kept in a SQLite file, so that no page reads the history of the ledger.

The file is a cache. One of another ledger or of another format, or a damaged one, is made again from block 1 on.
Amounts are decimal strings of wei, thetas parts per billion, times seconds of block time, hashes and digests bytes.

Threads: whoever opened the index writes, in one thread; `reading` gives any thread a connection of its own.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

FORMAT: Final = "2"
BUSY_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE blocks (
  number INTEGER PRIMARY KEY, hash BLOB NOT NULL, height INTEGER NOT NULL, time INTEGER NOT NULL,
  transactions INTEGER NOT NULL, gas INTEGER NOT NULL, events INTEGER NOT NULL
);
CREATE INDEX blocks_by_hash ON blocks (hash);
CREATE INDEX blocks_by_height ON blocks (height);

CREATE TABLE jobs (
  job INTEGER PRIMARY KEY, sponsor INTEGER NOT NULL, block INTEGER NOT NULL, status TEXT NOT NULL, terms TEXT NOT NULL,
  phi INTEGER NOT NULL, budget TEXT NOT NULL, paid TEXT NOT NULL DEFAULT '0', vests TEXT NOT NULL DEFAULT '0',
  records INTEGER NOT NULL DEFAULT 0, boundary INTEGER, title TEXT NOT NULL DEFAULT ''
);

-- A round that is decided. `begun`, `fixed`, `time`, `settled`: when the round before ended, when its selection was
-- fixed, when it was decided, when all of it was credited. `selected`: whether its records' base versions are known.
CREATE TABLE rounds (
  job INTEGER, round INTEGER, block INTEGER NOT NULL, agreed INTEGER NOT NULL, height INTEGER, phi INTEGER NOT NULL,
  k INTEGER, reward TEXT NOT NULL, paid TEXT NOT NULL DEFAULT '0', digest BLOB NOT NULL, thetas BLOB NOT NULL,
  model BLOB NOT NULL, variants INTEGER NOT NULL, credited INTEGER NOT NULL DEFAULT 0,
  theta INTEGER NOT NULL DEFAULT 0, begun INTEGER, fixed INTEGER, time INTEGER NOT NULL, settled INTEGER,
  selected INTEGER NOT NULL DEFAULT 0, delays INTEGER NOT NULL DEFAULT 0, skipped TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (job, round)
) WITHOUT ROWID;
CREATE INDEX rounds_by_block ON rounds (block);
CREATE INDEX rounds_void ON rounds (job, round) WHERE agreed = 0;
CREATE INDEX rounds_to_select ON rounds (job, round) WHERE selected = 0;

CREATE TABLE attestations (
  job INTEGER, round INTEGER, edge INTEGER, block INTEGER NOT NULL, digest BLOB NOT NULL, late INTEGER NOT NULL,
  PRIMARY KEY (job, round, edge)
) WITHOUT ROWID;
CREATE TABLE variants (
  job INTEGER, round INTEGER, digest BLOB, parts TEXT NOT NULL, PRIMARY KEY (job, round, digest)
) WITHOUT ROWID;

CREATE TABLE records (
  job INTEGER, sequence INTEGER, client INTEGER NOT NULL, base INTEGER NOT NULL, counter INTEGER NOT NULL,
  digest BLOB NOT NULL, length TEXT NOT NULL, block INTEGER NOT NULL, round INTEGER, place INTEGER,
  PRIMARY KEY (job, sequence)
) WITHOUT ROWID;
CREATE INDEX records_by_client ON records (client, job, sequence);
CREATE INDEX records_by_digest ON records (digest);

-- A place in a round's selection: what the ledger credited it, and, once known, which record took it.
-- `total`: tokens that its client was credited in the job up to here.
CREATE TABLE places (
  job INTEGER, round INTEGER, place INTEGER, client INTEGER NOT NULL, theta INTEGER, reward TEXT, total REAL,
  sequence INTEGER, base INTEGER, fate TEXT NOT NULL DEFAULT '', PRIMARY KEY (job, round, place)
) WITHOUT ROWID;
CREATE INDEX places_by_client ON places (job, client, round, total, theta);  -- with all that charts draw

-- Why a place earned what it did, as somebody computed it who came to these thetas.
CREATE TABLE reasons (
  job INTEGER, round INTEGER, place INTEGER, beside INTEGER, parts TEXT NOT NULL, thetas BLOB,
  PRIMARY KEY (job, round, place)
) WITHOUT ROWID;

CREATE TABLE clients (
  job INTEGER, client INTEGER, credited INTEGER NOT NULL DEFAULT 0, theta INTEGER NOT NULL DEFAULT 0,
  placed INTEGER NOT NULL DEFAULT 0, delays INTEGER NOT NULL DEFAULT 0, reward TEXT NOT NULL DEFAULT '0',
  total REAL NOT NULL DEFAULT 0, PRIMARY KEY (job, client)
) WITHOUT ROWID;
CREATE INDEX clients_by_reward ON clients (job, total);

CREATE TABLE accuracy (version INTEGER PRIMARY KEY, seconds REAL NOT NULL, accuracy REAL NOT NULL, loss REAL);
"""


class Index:
    """An open index.

    Args:
        path: the file; made when missing, with its directory.
        genesis_hash: of the ledger (32 bytes).

    Raises:
        OSError, sqlite3.Error: the file can be neither used nor made again.

    """

    def __init__(self, path: Path, genesis_hash: bytes) -> None:
        """Open, or make again, the file."""
        self.path = path
        self.revision = 0
        """Rises with everything that pages may show."""
        ours = (FORMAT, genesis_hash.hex())
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _stamp(path) != ours:
            _log.info("%s is of another ledger or version: it is made again", path)
            remove(path)
        self._writer = _connect(path)
        if _stamp(path) is None:
            with self._writer:
                self._writer.executescript(_SCHEMA)
                self._writer.executemany(
                    "INSERT INTO about VALUES (?, ?)", zip(("format", "genesis"), ours, strict=True)
                )

    @property
    def block(self) -> int:
        """The newest block that was read; 0 before any."""
        return int(self._writer.execute("SELECT coalesce(max(number), 0) FROM blocks").fetchone()[0])

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Write several things that pages see at once, or not at all when it fails."""
        with self._writer:
            yield self._writer
        self.revision += 1

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that only reads; rows go by column names."""
        with closing(_connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            yield connection

    def close(self) -> None:
        """Close the writer's connection."""
        self._writer.close()


def remove(path: Path) -> None:
    """Remove an index with what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")  # a cache: what a crash of the machine takes is read again
    return connection


def _stamp(path: Path) -> tuple[str, str] | None:
    """Return the format and the genesis hash that a file names; None if it is no index, or a damaged one."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        if connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
            found = dict(connection.execute("SELECT name, value FROM about"))
            return found.get("format", ""), found.get("genesis", "")
    return None
