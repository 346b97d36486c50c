"""How rounds are computed again: by several processes, and without those that an earlier audit has computed.

Given what the ledger says, rounds are independent: each takes its models by their digests. So whoever has all of them
can compute the rounds in any order. What a process finds is told by one, in the order of the chain: the report is the
same for any number of them.
"""

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from contracts import events as kinds
from contracts.digests import name32
from node.audit.blobs import Blobs
from node.audit.errors import NotAuditableError
from node.audit.history import HistoryBlock
from node.audit.kept import Kept
from node.audit.replay import Replay
from node.audit.scope import RoundsScope
from node.rounds.attestation import ALLOCATION, HISTORY

Key = tuple[int, int]
"""A job's number and a round's."""

Compute = Callable[[frozenset[Key], Callable[[Kept], None]], None]
"""Computes these rounds again and gives each away as it is done."""

_FORMAT: Final = b"merit kept rounds 1\n"
_CARRIED: Final = frozenset({name32(HISTORY), name32(ALLOCATION)})
"""Parts of an attestation that the next round takes, beside the model."""
_PER_PROCESS_LEAST: Final = 2
"""Rounds below which another process costs more than it does."""


@dataclass(frozen=True, slots=True)
class Work:
    """The rounds of one history, and what computes some of them; with a `scope`, only its rounds."""

    replay: Replay
    blocks: Sequence[HistoryBlock]
    blobs: Blobs
    scope: RoundsScope | None
    compute: Compute

    def agreed(self) -> Iterator[tuple[HistoryBlock, kinds.RoundAgreed]]:
        """Yield each agreed round that takes records, with its block."""
        for block in self.blocks:
            for event in block.events:
                if isinstance(event, kinds.RoundAgreed) and event.k and self._has(event.job, event.round):
                    yield block, event

    def _has(self, job: int, number: int) -> bool:
        return self.scope is None or self.scope.has(job, number)

    def bindings(self) -> dict[Key, bytes]:
        """Return what each round follows from: the block that agreed on it, whose hash covers all before it."""
        found: dict[Key, bytes] = {}
        program = version("merit-ledger").encode()
        for block, event in self.agreed():
            executed = self.replay.steps[block.height].block
            name = b"" if executed is None else executed.hash
            place = event.job.to_bytes(8, "big") + event.round.to_bytes(8, "big")
            found[event.job, event.round] = hashlib.sha256(program + self.replay.genesis_hash + name + place).digest()
        return found

    def independent(self) -> bool:
        """Tell whether any round can be computed without those before it: what they made is all here, by digest."""
        made = {event.model for _, event in self.agreed()}
        for block in self.blocks:
            for event in block.events:
                if isinstance(event, kinds.Attested) and self._has(event.job, event.round):
                    made |= {part.digest for part in event.parts if part.name in _CARRIED}
        return all(digest in self.blobs for digest in made)


@dataclass(frozen=True, slots=True)
class Effort:
    """`jobs`: processes at once. `keep`: the file of an audit that goes on where it was stopped; None for none."""

    jobs: int = 1
    keep: Path | None = None

    def known(self, work: Work) -> dict[Key, Kept]:
        """Return what is known of rounds before they are told one after another: computed by others, or kept."""
        if self == ONE or not work.independent():
            return {}
        bindings = work.bindings()
        if self.keep is None:
            known: dict[Key, Kept] = {}
            self._compute(work, list(bindings), lambda kept: known.update({kept.key: kept}))
            return known
        with _Store(self.keep) as store:
            known = store.read(bindings)

            def take(kept: Kept) -> None:
                known[kept.key] = kept
                if kept.scored is not None and not kept.divergences:  # what was lost or wrong is looked at again
                    store.write(bindings[kept.key], kept)

            self._compute(work, [key for key in bindings if key not in known], take)
        return known

    def _compute(self, work: Work, keys: list[Key], take: Callable[[Kept], None]) -> None:
        processes = min(self.jobs, len(keys) // _PER_PROCESS_LEAST)
        if processes > 1:
            size = -(-len(keys) // processes)
            shares = [frozenset(keys[at : at + size]) for at in range(0, len(keys), size)]
            _in_processes(shares, work, take)
        elif keys and self.keep is not None:
            work.compute(frozenset(keys), take)


ONE: Final = Effort()
"""One process, and nothing kept."""


def _in_processes(shares: Sequence[frozenset[Key]], work: Work, take: Callable[[Kept], None]) -> None:
    """Compute each share in a process of its own; take what they give as it comes."""
    context = multiprocessing.get_context("fork")  # the replay is large, and need not be copied
    readers: list[Connection] = []
    processes = []
    for share in shares:
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(share, work, writer), daemon=True)
        process.start()
        writer.close()
        readers.append(reader)
        processes.append(process)
    while readers:
        for ready in wait(readers):
            if isinstance(ready, Connection):
                _receive(ready, readers, work.blobs, take)
    for started in processes:
        started.join()


def _receive(reader: Connection, readers: list[Connection], blobs: Blobs, take: Callable[[Kept], None]) -> None:
    """Take one message; a process that dies has given what it gave, and the rest is computed again here."""
    try:
        raw = reader.recv_bytes()
    except EOFError:
        readers.remove(reader)
        return
    if raw[:1] == b"k":
        take(msgspec.msgpack.decode(raw[1:], type=Kept))
    else:
        blobs.given.update(msgspec.msgpack.decode(raw[1:], type=list[bytes]))


def _work(share: frozenset[Key], work: Work, writer: Connection) -> None:
    work.compute(share, lambda kept: writer.send_bytes(b"k" + msgspec.msgpack.encode(kept)))
    writer.send_bytes(b"g" + msgspec.msgpack.encode(sorted(work.blobs.given)))
    writer.close()


class _Store:
    """A file of rounds that were computed again, one after another: binding, length, content.

    It is the auditor's own and believed. A binding covers the whole history up to its round, genesis hash and program
    version included: what was kept of another history is not found. An end that was not written whole is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, bindings: Mapping[Key, bytes]) -> dict[Key, Kept]:
        """Return what is kept of these rounds, and open the file for more."""
        raw = self._path.read_bytes() if self._path.exists() else b""
        if raw and not raw.startswith(_FORMAT):
            raise NotAuditableError(self._path, "keeps no rounds of an audit; name a new file by --resume")
        wanted = {binding: key for key, binding in bindings.items()}
        found: dict[Key, Kept] = {}
        at = len(_FORMAT) if raw else 0
        while at + 36 <= len(raw):
            binding, size = raw[at : at + 32], int.from_bytes(raw[at + 32 : at + 36], "big")
            if at + 36 + size + 32 > len(raw):
                break
            content, check = raw[at + 36 : at + 36 + size], raw[at + 36 + size : at + 68 + size]
            if hashlib.sha256(binding + content).digest() != check:
                break
            if binding in wanted:
                with suppress(msgspec.MsgspecError):  # of another version of this program: computed again
                    found[wanted[binding]] = msgspec.msgpack.decode(content, type=Kept)
            at += 68 + size
        self._file = self._path.open("r+b" if raw else "wb")
        if raw:
            self._file.seek(at)
            self._file.truncate()
        else:
            self._file.write(_FORMAT)
        return found

    def write(self, binding: bytes, kept: Kept) -> None:
        """Keep a round."""
        if self._file is None:
            message = "a store is read before it is written"
            raise RuntimeError(message)
        content = msgspec.msgpack.encode(kept)
        self._file.write(binding + len(content).to_bytes(4, "big") + content)
        self._file.write(hashlib.sha256(binding + content).digest())
        self._file.flush()
