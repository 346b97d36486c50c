"""Audits one validator's ledger store: each entry must be, byte for byte, what executing the history again writes.

That covers block headers, transactions, receipts, indexes and every node of every state at once; and since what the
replay wrote is all that may be there, an entry that nothing explains is found as well as one that is missing.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from chain.execution.index import Commit
from chain.snapshots.content import below, roots
from chain.storage import Space, as_stored
from node.audit import dump
from node.audit.differences import difference, differing_bytes
from node.audit.errors import UnreadableStoreError
from node.audit.findings import Findings
from node.audit.history import Place, Places
from node.audit.replay import BEFORE_GENESIS, Expected, Replay
from node.audit.report import Divergence, Part

_PARTS: Final[Mapping[Space, Part]] = {
    Space.META: Part.META,
    Space.NODE: Part.STATE,
    Space.HEADER: Part.BLOCK,
    Space.NUMBER: Part.INDEX,
    Space.TRANSACTION: Part.TRANSACTION,
    Space.RECEIPT: Part.RECEIPT,
    Space.PLACE: Part.INDEX,
    Space.MISBEHAVIOR: Part.BLOCK,
}
_TABLES: Final = (Space.META, *(space for space in Space if space is not Space.META))  # what says the height first
_CHECK_BYTES: Final = 8  # chain.storage puts a checksum before each value but a state node
_COMMIT: Final = b"commit"
_START: Final = b"start"  # the commit whose snapshot a store starts from


def audit_ledger(name: str, directory: Path, replay: Replay, places: Places, findings: Findings, *, whole: bool) -> int:
    """Compare the ledger store in `directory` with `replay` and return the engine height at which it stands.

    `whole` tells that the replay reaches as far as this validator decided; what lies above a shorter one is not judged.
    """
    audit = _LedgerAudit(name, replay, places, findings, whole=whole)
    try:
        for entry in dump.entries(directory, [space.value for space in _TABLES]):
            audit.see(entry)
    except UnreadableStoreError as error:
        findings.diverges(Divergence(store=name, part=Part.STORE, expected="a readable database", found=error.why))
        return BEFORE_GENESIS
    audit.finish()
    return audit.height


class _LedgerAudit:
    """The audit of one store, entry by entry."""

    def __init__(self, name: str, replay: Replay, places: Places, findings: Findings, *, whole: bool) -> None:
        self._name, self._replay, self._places, self._findings, self._whole = name, replay, places, findings, whole
        self._newest = replay.steps[-1].height
        self._own: dict[bytes, bytes] = {}
        self._own_judged = False
        self._seen: dict[Space, set[bytes]] = {space: set() for space in Space}
        self._above = 0
        self._start: Commit | None = None
        self.height = BEFORE_GENESIS

    def see(self, entry: dump.Entry) -> None:
        """Judge one entry."""
        self._findings.tallies["ledger stores"].add("entries")
        if not entry.table:
            if entry.key not in {space.encode() for space in Space}:
                self._unexplained(Part.STORE, entry.key, "a table")
            return
        space = Space(entry.table)
        if space is Space.META:
            self._own[entry.key] = entry.value
            return
        if not self._own_judged:
            self._judge_own()
        expected = self._replay.expected(space).get(entry.key)
        if expected is None or expected.height > self.height:
            self._unexpected(space, entry.key)
            return
        self._seen[space].add(entry.key)
        if entry.value != expected.value:
            self._different(space, entry.key, entry.value, expected)

    def finish(self) -> None:
        """Name what is missing, once every entry was seen."""
        if not self._own_judged:
            self._judge_own()
        given_up = self._given_up()
        for space in Space:
            if space is not Space.META:
                for key, expected in self._replay.expected(space).items():
                    if expected.height <= self.height and key not in self._seen[space]:
                        if space is Space.NODE and key in given_up:
                            continue
                        self._missing(space, key, expected)
        if self._above:
            self._findings.remark(
                f"{self._name}: {self._above} entries above height {self._newest} are not judged: no engine store"
                " proves what was decided there"
            )
        counts = self._findings.tallies["ledger stores"]
        for space, what in ((Space.HEADER, "blocks"), (Space.TRANSACTION, "transactions"), (Space.RECEIPT, "receipts")):
            counts.add(what, len(self._seen[space]))
        counts.add("state nodes", len(self._seen[Space.NODE]))

    def _judge_own(self) -> None:
        """Read the height at which the store stands; what it says about itself must be what it said at that height."""
        self._own_judged = True
        raw = self._own.get(_COMMIT)
        stands = BEFORE_GENESIS
        if raw is not None:
            try:
                stands = msgspec.msgpack.decode(raw[_CHECK_BYTES:], type=Commit).height
            except msgspec.MsgspecError as error:
                self._diverges(Part.META, "a record of the last commit", str(error))
                stands = self._newest
        if not BEFORE_GENESIS <= stands <= self._newest:
            if self._whole:
                self._diverges(Part.META, f"a height up to {self._newest}, which the engine decided", str(stands))
            self.height = self._newest
            return
        self.height = stands
        expected = {**self._replay.own_entries(stands)}
        self._judge_start(expected, stands)
        for key in sorted(expected.keys() | self._own.keys()):
            if expected.get(key) != self._own.get(key):
                wanted, found = differing_bytes(expected.get(key, b""), self._own.get(key, b""))
                self._diverges(Part.META, f"{key.decode(errors='backslashreplace')}: {wanted}", found)

    def _judge_start(self, expected: dict[bytes, bytes], stands: int) -> None:
        """Expect the record of a start from a snapshot, if there is one, to be that height's own commit."""
        raw = self._own.get(_START)
        if raw is None:
            return
        try:
            start = msgspec.msgpack.decode(raw[_CHECK_BYTES:], type=Commit)
        except msgspec.MsgspecError:
            start = None
        if start is None or not 0 <= start.height <= stands:
            self._diverges(Part.META, f"a start from a snapshot of a height up to {stands}", f"{raw.hex()}")
            expected[_START] = raw  # named already
            return
        commit = self._replay.own_entries(start.height)[_COMMIT][_CHECK_BYTES:]
        expected[_START] = as_stored(Space.META, _START, commit)
        if expected[_START] == raw:
            self._start = start
            self._findings.remark(
                f"{self._name}: started from a snapshot of height {start.height} and has no states of blocks before"
            )

    def _given_up(self) -> AbstractSet[bytes]:
        """Return the state nodes that a store may lack because no state since the snapshot it started from has them."""
        start = self._start
        if start is None:
            return frozenset()
        nodes = self._replay.expected(Space.NODE)
        reader = self._replay.reader
        needed: set[bytes] = set()
        for number in range(start.number, reader.block_at_height(self.height).number + 1):
            waiting = roots(reader.header(number))
            while waiting:
                reference = waiting.pop()
                if reference.hash not in needed:
                    needed.add(reference.hash)
                    waiting.extend(below(reference.kind, nodes[reference.hash].value))
        return {key for key, expected in nodes.items() if expected.height <= start.height} - needed

    def _unexpected(self, space: Space, key: bytes) -> None:
        if not self._whole and self.height >= self._newest:
            self._above += 1
        else:
            self._unexplained(_PARTS[space], key, str(space))

    def _unexplained(self, part: Part, key: bytes, what: str) -> None:
        self._diverges(part, "no entry that nothing explains", f"{what} 0x{key.hex()}")

    def _different(self, space: Space, key: bytes, value: bytes, expected: Expected) -> None:
        wanted, found, client = difference(space, expected.value, value)
        place = self._place(space, key, expected)
        if client is not None:
            place = replace(place, client=client)
        self._diverges(_PARTS[space], f"{space} 0x{key.hex()}: {wanted}", found, place)

    def _missing(self, space: Space, key: bytes, expected: Expected) -> None:
        self._diverges(_PARTS[space], f"{space} 0x{key.hex()}", "nothing", self._place(space, key, expected))

    def _place(self, space: Space, key: bytes, expected: Expected) -> Place:
        return self._places.of(space, key, expected)

    def _diverges(self, part: Part, expected: str, found: str, place: Place | None = None) -> None:
        where = place or Place()
        self._findings.diverges(
            Divergence(
                store=self._name,
                part=part,
                expected=expected,
                found=found,
                height=where.height,
                block=where.block,
                job=where.job,
                round=where.round,
                client=where.client,
            )
        )
