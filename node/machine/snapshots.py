"""Snapshots of a running node's ledger: for members that join, and for an operator's peace of mind."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from chain.snapshots.keeping import Keeper
from node.machine.home import NodeFile, NodeHome


@contextmanager
def kept(home: NodeHome, file: NodeFile) -> Iterator[Keeper | None]:
    """Give what takes the node's snapshots, None where `snapshots.every` is 0; leave this before the store is closed.

    Snapshots that were taken before they were turned off stay where they are, and are served no more.
    """
    if file.snapshots.every == 0:
        yield None
        return
    with ThreadPoolExecutor(1, thread_name_prefix="snapshots") as thread:
        keeper = Keeper(home.snapshots, thread, every=file.snapshots.every, keep=file.snapshots.keep)
        try:
            yield keeper
        finally:
            keeper.close()
