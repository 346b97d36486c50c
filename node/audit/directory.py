"""What lies where in the directory of a run, a development network, or a copy of parts of one.

    DIR/genesis.json                    the genesis document
    DIR/validators/N/engine, ledger     the two stores of validator N
    DIR/edge/N/blobs/ab/abcdef...       the blobs of edge server N
    DIR/lock                            held while a process uses the directory

Stores and blobs of any subset of the members may be there: each is audited by itself.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.audit.errors import NotAuditableError


@dataclass(frozen=True, slots=True)
class Layout:
    """The stores in a directory, by the number of their member."""

    root: Path
    validators: dict[int, Path]
    edges: dict[int, Path]

    @property
    def genesis(self) -> Path:
        """The genesis document."""
        return self.root / "genesis.json"


def layout_of(directory: Path) -> Layout:
    """Look at a directory; `NotAuditableError` if it holds no network."""
    if not (directory / "genesis.json").is_file():
        raise NotAuditableError(directory, "holds no network (no genesis.json); name the directory of a run")
    found = Layout(directory, _numbered(directory / "validators"), _numbered(directory / "edge"))
    if not found.validators:
        raise NotAuditableError(
            directory, "holds no validator's stores (validators/1 ...); name the directory of a run"
        )
    return found


def _numbered(directory: Path) -> dict[int, Path]:
    if not directory.is_dir():
        return {}
    numbered = {int(path.name): path for path in directory.iterdir() if path.is_dir() and path.name.isdecimal()}
    return dict(sorted(numbered.items()))


@contextmanager
def undisturbed(directory: Path) -> Iterator[None]:
    """Keep a network from starting in the directory meanwhile; `NotAuditableError` if one runs there now."""
    try:
        holder = os.open(directory / "lock", os.O_RDONLY)
    except FileNotFoundError:  # a copy, or a network that never started
        yield
        return
    try:
        try:
            fcntl.flock(holder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotAuditableError(
                directory, "is in use by a running network; stop it first, or audit a copy"
            ) from None
        yield
    finally:
        os.close(holder)  # releases the lock
