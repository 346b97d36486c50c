"""Copies what an LMDB environment holds to standard output; run as a script, in a process of its own.

    python -P reader.py DIRECTORY [TABLE ...]

A damaged database file can kill the process that maps it (SIGBUS, SIGSEGV) or keep it busy for ever. Here that
is this process, and the audit sees it end by a signal. It imports nothing but lmdb, so that it starts at once, opens
the environment for reading without a lock file, and changes nothing.

Each entry is a head (table u8, key length u32, value length u64, big-endian), the key and the value; table 0 is the
unnamed one, the others are numbered in the order of the arguments. A head with table 255 ends the copy. An error
that LMDB notices is one line on standard error and exit code 3.
"""

import signal
import struct
import sys

import lmdb

HEAD = struct.Struct(">BIQ")
END = 255
FAILED = 3
STALLED_S = 60  # no 1,000 entries take so long; SIGALRM then ends the process
_ENTRIES_PER_ALARM = 1_000


def copy(directory: str, tables: list[str]) -> None:
    """Write every entry of the unnamed table and of `tables` to standard output."""
    signal.alarm(STALLED_S)
    out = sys.stdout.buffer
    environment = lmdb.open(directory, readonly=True, lock=False, create=False, max_dbs=len(tables) + 1)
    databases = [None, *(environment.open_db(table.encode(), create=False) for table in tables)]
    count = 0
    with environment.begin(buffers=True) as transaction:
        for number, database in enumerate(databases):
            for key, value in transaction.cursor(db=database):
                count += 1
                if count % _ENTRIES_PER_ALARM == 0:
                    signal.alarm(STALLED_S)
                out.write(HEAD.pack(number, len(key), len(value)))
                out.write(key)
                out.write(value)
    out.write(HEAD.pack(END, 0, 0))
    out.flush()


if __name__ == "__main__":
    try:
        copy(sys.argv[1], sys.argv[2:])
    except lmdb.Error as error:
        print(error, file=sys.stderr)  # noqa: T201 - a script: this line is its answer
        sys.exit(FAILED)
