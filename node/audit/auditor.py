"""Audits a directory: each store by itself, then the history that they prove, the rounds in it, and the blobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from chain.errors import ChainError
from chain.genesis import Genesis, decode_genesis
from merit.clock import Clock, SystemClock
from node.audit.blobs import Blobs, audit_blobs, report_damaged
from node.audit.book import Book
from node.audit.directory import Layout, layout_of, undisturbed
from node.audit.engine import Certificates, EngineChain, audit_engine
from node.audit.findings import Findings, Progress
from node.audit.history import Places, blocks_of
from node.audit.ledger import audit_ledger
from node.audit.members import Members
from node.audit.replay import Replay, Replays
from node.audit.report import WHOLE, AuditReport, ClientAccount, Divergence, Part, in_order
from node.audit.rounds import Rounds

GENESIS, ENGINES, LEDGERS, RECORDS, ROUNDS, BLOBS, STORES = (
    "genesis",
    "engine stores",
    "ledger stores",
    "records",
    "rounds",
    "blobs",
    "stores compared",
)
"""The parts of an audit, in their order."""

_NOTHING: Final = b""


class Auditor:
    """Audits directories; what it has verified once, it recognises by content and does not verify again.

    That is sound because all of it are pure functions of bytes: whether certificates and signatures hold, and what
    executing a history gives. Nothing that names a file, a store or a time is remembered.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Start knowing nothing."""
        self._clock = clock or SystemClock()
        self._replays = Replays()
        self._certificates: dict[bytes, Certificates] = {}

    def audit(
        self,
        directory: Path,
        *,
        genesis_hash: bytes | None = None,
        head: bytes | None = None,
        progress: Progress | None = None,
    ) -> AuditReport:
        """See `audit_directory`."""
        layout = layout_of(directory)
        with undisturbed(directory):
            return _Audit(layout, self, genesis_hash, head, Findings(self._clock, progress)).run()

    def certificates(self, genesis: Genesis) -> Certificates:
        """Return what was verified under a genesis document."""
        return self._certificates.setdefault(genesis.digest(), Certificates(genesis, self._replays))

    @property
    def replays(self) -> Replays:
        """Return what was executed."""
        return self._replays


class _Audit:
    """One audit of one directory."""

    def __init__(
        self, layout: Layout, auditor: Auditor, genesis_hash: bytes | None, head: bytes | None, findings: Findings
    ) -> None:
        self._layout, self._auditor, self._findings = layout, auditor, findings
        self._wanted, self._head = genesis_hash, head
        self._genesis_hash = _NOTHING
        self._chains: dict[int, EngineChain] = {}
        self._ledger_heights: dict[int, int] = {}
        self._members: dict[int, Members] = {}
        self._blobs = Blobs()
        self._clients: list[ClientAccount] = []

    def run(self) -> AuditReport:
        """Audit everything; whatever raises becomes a divergence that names the part."""
        genesis: list[Genesis] = []
        self._part(GENESIS, lambda: genesis.append(self._genesis()))
        if genesis:
            self._part(ENGINES, lambda: self._engines(self._auditor.certificates(genesis[0])))
            self._part(LEDGERS, self._ledgers)
            self._part(RECORDS, self._records)
            self._part(BLOBS, self._read_blobs)
            self._part(ROUNDS, self._rounds)
            self._part(BLOBS, lambda: report_damaged(self._blobs, self._findings))
            self._part(STORES, self._compare)
        return self._report()

    def _part(self, name: str, work: Callable[[], object]) -> None:
        with self._findings.timed(name):
            try:
                work()
            except ChainError as error:
                part = Part.GENESIS if name == GENESIS else Part.STORE
                self._diverges(
                    part, "a document that a ledger can start from" if part is Part.GENESIS else name, str(error)
                )
            except Exception as error:  # noqa: BLE001 - hostile bytes must not end an audit: they are what it looks for
                self._diverges(Part.STORE, f"an audit of {name} that ends", f"{type(error).__name__}: {error}")

    def _diverges(self, part: Part, expected: str, found: str, *, store: str = WHOLE) -> None:
        self._findings.diverges(Divergence(store=store, part=part, expected=expected, found=found))

    def _genesis(self) -> Genesis:
        raw = self._layout.genesis.read_bytes()
        genesis = decode_genesis(raw)
        if genesis.encode() != raw:
            self._diverges(Part.GENESIS, "canonical JSON (sorted keys, no spaces)", "another form of the same document")
        self._genesis_hash = self._auditor.replays.begin(genesis).replay.genesis_hash
        if self._wanted is not None and self._wanted != self._genesis_hash:
            self._diverges(Part.GENESIS, f"hash 0x{self._wanted.hex()}", f"0x{self._genesis_hash.hex()}")
        tally = self._findings.tallies[GENESIS]
        tally.add("validators", len(genesis.validators))
        tally.add("members", len(genesis.members))
        tally.add("block made again")
        return genesis

    def _engines(self, certificates: Certificates) -> None:
        owners = {validator.name: bytes(validator.public_key) for validator in certificates.genesis.validators}
        keys = [validator.public_key for validator in certificates.validators]
        before = certificates.signatures
        for number, home in self._layout.validators.items():
            key = owners.get(f"validator-{number}")
            own = None if key is None else keys.index(key)
            self._chains[number] = audit_engine(
                f"validator {number} engine", home / "engine", own, certificates, self._findings
            )
        named = {chain.genesis for chain in self._chains.values()} - {_NOTHING}
        digest = certificates.genesis.digest()
        if len(named) == 1 and digest not in named:  # no store was made for this document: so that is what is false
            self._diverges(
                Part.GENESIS, f"digest 0x{named.pop().hex()}, for which all stores were made", f"0x{digest.hex()}"
            )
        tally = self._findings.tallies[ENGINES]
        tally.add("stores", len(self._chains))
        tally.add("different commit signatures", certificates.signatures - before)
        absent = sorted(set(range(1, len(owners) + 1)) - self._chains.keys())
        if absent:
            self._findings.remark(f"no stores of validators {', '.join(map(str, absent))} are here")

    def _ledgers(self) -> None:
        places: dict[int, Places] = {}
        for number, home in self._layout.validators.items():
            replay, whole = self._history_for(number)
            known = places.setdefault(id(replay), Places(blocks_of(replay)))
            self._ledger_heights[number] = audit_ledger(
                f"validator {number} ledger", home / "ledger", replay, known, self._findings, whole=whole
            )
        self._findings.tallies[LEDGERS].add("stores", len(self._ledger_heights))

    def _histories(self) -> list[tuple[str, Replay]]:
        """Return each history that an engine store proves, named after the first store that has it.

        One that stops earlier than another and agrees with it is a part of it. More than one means that validators have
        signed two blocks of one height.
        """
        found: dict[int, tuple[str, Replay]] = {}
        for number, chain in self._chains.items():
            if chain.cursor is not None:
                found.setdefault(id(chain.cursor.replay), (f"history of validator {number}", chain.cursor.replay))
        return list(found.values())

    def _records(self) -> None:
        for name, replay in self._histories():
            book = Book(Members.at_genesis(replay.genesis), replay.genesis_hash, self._findings, store=name)
            for block in blocks_of(replay):
                book.read(block)
                book.compare_totals(replay.reader.state(block.number))
            book.compare_everything(replay.reader.state())
            self._members[id(replay)] = book.members

    def _read_blobs(self) -> None:
        self._blobs = audit_blobs(self._layout.edges, self._findings)
        seats = {edge for members in self._members.values() for seats in members.edge_sets.values() for edge in seats}
        absent = sorted(seats - self._layout.edges.keys())
        if absent:
            self._findings.remark(f"no blobs of edge servers {', '.join(map(str, absent))} are here")

    def _rounds(self) -> None:
        for name, replay in self._histories():
            members = self._members[id(replay)]
            rounds = Rounds(members, self._blobs, replay.genesis_hash, self._findings, store=name)
            for block in blocks_of(replay):
                rounds.read(block)
            self._clients += rounds.finish()

    def _history_for(self, number: int) -> tuple[Replay, bool]:
        """Return the replay that validator `number`'s ledger must equal, and whether it goes as far as was decided.

        That is its own engine's history; if that store is damaged, the longest one of the others that agrees with what
        is left of it.
        """
        own = self._chains[number]
        agreeing = [
            other
            for other in self._chains.values()
            if other.cursor is not None and other.headers[: own.height] == own.headers
        ]
        longest = max(agreeing, key=lambda other: other.height, default=own)
        cursor = (own if own.complete else longest).cursor
        if cursor is None:
            message = "an engine store was audited without its genesis document"
            raise RuntimeError(message)
        return cursor.replay, own.complete or longest.complete

    def _compare(self) -> None:
        """Compare the stores with each other, and with the head that the caller trusts."""
        tally = self._findings.tallies[STORES]
        longest = max(self._chains.values(), key=lambda chain: chain.height)
        for number, chain in self._chains.items():
            for height, (mine, theirs) in enumerate(zip(chain.headers, longest.headers, strict=False), 1):
                tally.add("header hashes")
                if mine != theirs:
                    self._findings.diverges(
                        Divergence(
                            store=chain.name,
                            part=Part.HEADER,
                            height=height,
                            expected=f"0x{theirs.hex()}, as in {longest.name}",
                            found=f"0x{mine.hex()}, which is as well certified: validators have signed both",
                        )
                    )
                    break
            if chain.complete and chain.height < longest.height:
                self._findings.remark(
                    f"{chain.name}: stands at height {chain.height}, {longest.name} at {longest.height}"
                )
            stands = self._ledger_heights.get(number, chain.height)
            if chain.complete and 0 <= stands < chain.height:
                self._findings.remark(
                    f"validator {number} ledger: stands at height {stands}, its engine at {chain.height}: the next"
                    " start executes the rest"
                )
            if chain.complete and stands > chain.height:  # a height is in the engine's store before it is executed
                self._findings.diverges(
                    Divergence(
                        store=chain.name,
                        part=Part.META,
                        height=chain.height + 1,
                        expected=f"the {stands} heights that its ledger store has executed",
                        found=f"{chain.height} heights",
                    )
                )
            if self._head is not None and self._head not in chain.headers and not self._is_block(chain, self._head):
                self._findings.diverges(
                    Divergence(
                        store=chain.name, part=Part.HEAD, expected=f"0x{self._head.hex()}", found="no such header"
                    )
                )
        self._findings.remark(
            f"what executing height {longest.height} gave is committed to by nobody until the next header"
        )

    @staticmethod
    def _is_block(chain: EngineChain, name: bytes) -> bool:
        steps = chain.cursor.replay.steps[: chain.height + 1] if chain.cursor else []
        return any(step.block is not None and step.block.hash == name for step in steps)

    def _report(self) -> AuditReport:
        for text in self._findings.left_out():
            self._findings.remark(text)
        longest = max(self._chains.values(), key=lambda chain: chain.height, default=EngineChain(""))
        return AuditReport(
            directory=str(self._layout.root),
            genesis_hash=self._genesis_hash,
            trusted=self._wanted is not None,
            head=longest.headers[-1] if longest.headers else _NOTHING,
            height=longest.height,
            tallies=tuple(self._findings.tallies.values()),
            clients=tuple(self._clients),
            remarks=tuple(self._findings.remarks),
            divergences=in_order(self._findings.divergences),
        )


def audit_directory(
    directory: Path,
    *,
    genesis_hash: bytes | None = None,
    head: bytes | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> AuditReport:
    """Audit the directory of a run or development network, which must not be running.

    Args:
        directory: as `node.audit.directory` describes it.
        genesis_hash: the hash of block 0 (32 bytes) that the caller trusts; without it the report says that the
            directory is self-consistent only.
        head: the hash of an engine header or a ledger block that must be in every store's chain.
        progress: called with the name of each part when it begins.
        clock: times the parts; the machine's by default.

    Raises:
        NotAuditableError: the directory holds no network, or one that runs.

    """
    return Auditor(clock).audit(directory, genesis_hash=genesis_hash, head=head, progress=progress)
