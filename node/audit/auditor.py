"""Audits a directory: each store by itself, then the history that they prove, the rounds in it, and the blobs."""

from pathlib import Path
from typing import TYPE_CHECKING

from chain.genesis import Genesis, decode_genesis
from merit.clock import Clock, SystemClock
from node.audit.blobs import Blobs, audit_blobs, report_damaged
from node.audit.certificates import Certificates
from node.audit.chains import GENESIS, Chains
from node.audit.directory import Layout, layout_of, undisturbed
from node.audit.effort import ONE, Effort
from node.audit.engine import audit_engine
from node.audit.findings import Findings, Progress
from node.audit.history import Places, blocks_of
from node.audit.ledger import audit_ledger
from node.audit.replay import Replay, Replays
from node.audit.report import WHOLE, AuditReport, Divergence, Part

if TYPE_CHECKING:
    from node.audit.walk import EngineChain

ENGINES, LEDGERS, RECORDS, ROUNDS, BLOBS, STORES = (
    "engine stores",
    "ledger stores",
    "records",
    "rounds",
    "blobs",
    "stores compared",
)
"""The parts of an audit after genesis, in their order."""


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
        effort: Effort = ONE,
    ) -> AuditReport:
        """See `audit_directory`."""
        layout = layout_of(directory)
        with undisturbed(directory):
            findings = Findings(self._clock, progress)
            return _Audit(layout, self, Chains(WHOLE, findings, genesis_hash, head), findings, effort).run()

    def certificates(self, genesis: Genesis) -> Certificates:
        """Return what was verified under a genesis document."""
        return self._certificates.setdefault(genesis.digest(), Certificates(genesis, self._replays))

    @property
    def replays(self) -> Replays:
        """Return what was executed."""
        return self._replays


class _Audit:
    """One audit of one directory."""

    def __init__(self, layout: Layout, auditor: Auditor, chains: Chains, findings: Findings, effort: Effort) -> None:
        self._layout, self._auditor, self._findings, self._effort = layout, auditor, findings, effort
        self._all = chains
        self._chains: dict[int, EngineChain] = {}
        self._ledger_heights: dict[int, int] = {}
        self._blobs = Blobs()

    def run(self) -> AuditReport:
        """Audit everything; whatever raises becomes a divergence that names the part."""
        part, genesis = self._all.part, list[Genesis]()
        part(GENESIS, lambda: genesis.append(self._genesis()))
        if genesis:
            part(ENGINES, lambda: self._engines(self._auditor.certificates(genesis[0])))
            part(LEDGERS, self._ledgers)
            part(RECORDS, self._all.records)
            part(BLOBS, self._read_blobs)
            part(ROUNDS, lambda: self._all.rounds(self._blobs, effort=self._effort))
            part(BLOBS, lambda: report_damaged(self._blobs, self._findings))
            part(STORES, self._compare)
        return self._all.report(str(self._layout.root))

    def _genesis(self) -> Genesis:
        raw = self._layout.genesis.read_bytes()
        genesis = decode_genesis(raw)
        chains = self._all
        if genesis.encode() != raw:
            canonical = "canonical JSON (sorted keys, no spaces)"
            chains.diverges(Part.GENESIS, canonical, "another form of the same document")
        chains.genesis_hash = self._auditor.replays.begin(genesis).replay.genesis_hash
        if chains.wanted is not None and chains.wanted != chains.genesis_hash:
            chains.diverges(Part.GENESIS, f"hash 0x{chains.wanted.hex()}", f"0x{chains.genesis_hash.hex()}")
        tally = self._findings.tallies[GENESIS]
        tally.add("validators", len(genesis.validators))
        tally.add("members", len(genesis.members))
        tally.add("block made again")
        return genesis

    def _engines(self, certificates: Certificates) -> None:
        owners = {validator.name: bytes(validator.public_key) for validator in certificates.genesis.validators}
        before = certificates.signatures
        for number, home in self._layout.validators.items():
            own = owners.get(f"validator-{number}")
            self._chains[number] = audit_engine(number, home / "engine", own, certificates, self._findings)
        self._all.chains = list(self._chains.values())
        named = {chain.genesis for chain in self._all.chains} - {b""}
        digest = certificates.genesis.digest()
        if len(named) == 1 and digest not in named:  # no store was made for this document: so that is what is false
            self._all.diverges(
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

    def _read_blobs(self) -> None:
        self._blobs = audit_blobs(self._layout.edges, self._findings)
        absent = sorted(self._all.edge_servers() - self._layout.edges.keys())
        if absent:
            self._findings.remark(f"no blobs of edge servers {', '.join(map(str, absent))} are here")

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
        """Compare the stores with each other, each ledger with its engine, and all with the head that is trusted."""
        self._all.compare(STORES)
        for number, chain in self._chains.items():
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
        self._all.find_head(behind=False)


def audit_directory(
    directory: Path,
    *,
    genesis_hash: bytes | None = None,
    head: bytes | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    effort: Effort = ONE,
) -> AuditReport:
    """Audit the directory of a run or development network, which must not be running.

    Args:
        directory: as `node.audit.directory` describes it.
        genesis_hash: the hash of block 0 (32 bytes) that the caller trusts; without it the report says that the
            directory is self-consistent only.
        head: the hash of an engine header or a ledger block that must be in every store's chain.
        progress: called with the name of each part when it begins.
        clock: times the parts; the machine's by default.
        effort: how rounds are computed.

    Raises:
        NotAuditableError: the directory holds no network, or one that runs.

    """
    return Auditor(clock).audit(directory, genesis_hash=genesis_hash, head=head, progress=progress, effort=effort)
