"""Reads a store through `reader.py` in another process, and never trusts what comes."""

import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from node.audit import reader
from node.audit.errors import UnreadableStoreError

_VALUE_BYTES_MAX: Final = 1 << 28
"""No value of ours is near it; a damaged length must not make this process ask for the memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and value as they lie in a database; `table` is "" for the unnamed one."""

    table: str
    key: bytes
    value: bytes


def entries(directory: Path, tables: Sequence[str] = ()) -> Iterator[Entry]:
    """Yield every entry of the unnamed table, then of each of `tables`, in the order of the keys.

    Raises:
        UnreadableStoreError: the files are missing or damaged; what was yielded before stands.

    """
    if not (directory / "data.mdb").is_file():
        raise UnreadableStoreError(directory, "data.mdb is missing")
    command = [sys.executable, "-P", reader.__file__, str(directory), *tables]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603 - our own script
        if process.stdout is None or process.stderr is None:
            message = "a pipe was asked for and not made"
            raise RuntimeError(message)
        try:
            complete = yield from _parse(directory, process.stdout, ["", *tables])
            said = process.stderr.read().decode(errors="replace").strip()
        finally:
            process.kill()
    if process.returncode < 0 and not complete:
        raise UnreadableStoreError(directory, f"reading it ends by {signal.Signals(-process.returncode).name}")
    if not complete:
        raise UnreadableStoreError(directory, said.splitlines()[-1] if said else "it ends in the middle of an entry")


def _parse(directory: Path, pipe: IO[bytes], tables: Sequence[str]) -> Generator[Entry, None, bool]:
    """Yield entries; the generator's value tells whether the copy came to its end."""
    last: tuple[int, bytes] = (0, b"")
    while len(head := pipe.read(reader.HEAD.size)) == reader.HEAD.size:
        table, key_bytes, value_bytes = reader.HEAD.unpack(head)
        if table == reader.END:
            return True
        if value_bytes > _VALUE_BYTES_MAX:
            raise UnreadableStoreError(directory, f"an entry of {value_bytes} bytes")
        key, value = pipe.read(key_bytes), pipe.read(value_bytes)
        if len(key) != key_bytes or len(value) != value_bytes:
            break
        if not last < (table, key):  # a damaged tree can lead back to where it came from
            raise UnreadableStoreError(directory, f"keys out of order after 0x{last[1].hex()}")
        last = (table, key)
        yield Entry(tables[table], key, value)
    return False
