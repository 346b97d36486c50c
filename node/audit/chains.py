"""What several sources prove together: the histories, what is recorded and paid in them, and that all tell the same."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from chain.errors import ChainError
from contracts import events as kinds
from node.audit.blobs import Blobs
from node.audit.book import Book
from node.audit.effort import ONE, Effort, Key, Work
from node.audit.errors import FaultError, NotAuditableError
from node.audit.findings import Findings
from node.audit.history import HistoryBlock, blocks_of
from node.audit.kept import Kept
from node.audit.members import Members
from node.audit.replay import Replay
from node.audit.report import (
    AuditReport,
    ClientAccount,
    Divergence,
    Explained,
    ExplainedSettlement,
    NodeAnswers,
    Part,
    in_order,
)
from node.audit.rounds import Rounds
from node.audit.scope import RoundsScope
from node.audit.walk import EngineChain

if TYPE_CHECKING:
    from node.audit.arithmetic import Arithmetic

GENESIS: Final = "genesis"
_NOTHING: Final = b""


class Chains:
    """The chains of one audit, in the order of their sources; each later part trusts what the walks have proven.

    Args:
        subject: what is audited, for divergences that concern all of it.
        findings: where everything goes.
        genesis_hash: the hash of block 0 that the caller trusts, None without one.
        head: the hash of an engine header or a ledger block that must be in every chain, None without one.

    """

    def __init__(self, subject: str, findings: Findings, genesis_hash: bytes | None, head: bytes | None) -> None:
        """Start with none."""
        self._subject, self._findings, self._head = subject, findings, head
        self._members: dict[int, Members] = {}
        self._blocks: dict[int, tuple[HistoryBlock, ...]] = {}
        self._clients: list[ClientAccount] = []
        self._explained: list[Explained] = []
        self._settled: list[ExplainedSettlement] = []
        self._arithmetic: list[Arithmetic] = []
        self.wanted = genesis_hash
        self.genesis_hash = _NOTHING
        self.chains: list[EngineChain] = []

    def part(self, name: str, work: Callable[[], object]) -> None:
        """Do a part of the audit; whatever it raises becomes a divergence that names the part.

        But for NotAuditableError: then there is nothing to audit.
        """
        with self._findings.timed(name):
            try:
                work()
            except NotAuditableError:
                raise
            except FaultError as fault:
                self.diverges(fault.part, fault.expected, fault.found)
            except ChainError as error:
                part = Part.GENESIS if name == GENESIS else Part.STORE
                self.diverges(
                    part, "a document that a ledger can start from" if part is Part.GENESIS else name, str(error)
                )
            except Exception as error:  # noqa: BLE001 - hostile bytes must not end an audit: they are what it looks for
                self.diverges(Part.STORE, f"an audit of {name} that ends", f"{type(error).__name__}: {error}")

    def diverges(self, part: Part, expected: str, found: str) -> None:
        """Note a divergence that concerns all of what is audited."""
        self._findings.diverges(Divergence(store=self._subject, part=part, expected=expected, found=found))

    @property
    def longest(self) -> EngineChain:
        """The chain that goes furthest."""
        return max(self.chains, key=lambda chain: chain.height, default=EngineChain(""))

    def histories(self) -> Iterator[tuple[str, Replay]]:
        """Yield each history that a source proves, named after the first source that has it.

        One that stops earlier than another and agrees with it is a part of it. More than one means that validators have
        signed two blocks of one height.
        """
        found: set[int] = set()
        for chain in self.chains:
            if chain.cursor is not None and id(chain.cursor.replay) not in found:
                found.add(id(chain.cursor.replay))
                yield chain.history, chain.cursor.replay

    def _blocks_of(self, replay: Replay) -> tuple[HistoryBlock, ...]:
        """Return the blocks of a history that was followed to its end; decoding their events is done once."""
        if id(replay) not in self._blocks:
            self._blocks[id(replay)] = blocks_of(replay)
        return self._blocks[id(replay)]

    def records(self) -> None:
        """Judge every record again, and keep the books a second time."""
        for name, replay in self.histories():
            book = Book(Members.at_genesis(replay.genesis), replay.genesis_hash, self._findings, store=name)
            for block in self._blocks_of(replay):
                book.read(block)
                book.compare_totals(replay.reader.state(block.number))
            book.compare_everything(replay.reader.state())
            self._members[id(replay)] = book.members

    def edge_servers(self) -> set[int]:
        """Return the member ids of every edge server that has had a seat."""
        return {edge for members in self._members.values() for seats in members.edge_sets.values() for edge in seats}

    def dimension(self) -> int:
        """Return the greatest dimension that a job's model has, 0 without a job."""
        created = (
            event.terms.dimension
            for _, replay in self.histories()
            for block in self._blocks_of(replay)
            for event in block.events
            if isinstance(event, kinds.JobCreated)
        )
        return max(created, default=0)

    def has_references(self) -> bool:
        """Tell whether edge servers have committed to references."""
        return any(
            isinstance(event, kinds.ReferencesCommitted)
            for _, replay in self.histories()
            for block in self._blocks_of(replay)
            for event in block.events
        )

    def named_blobs(self) -> Iterator[bytes]:
        """Yield the digests that the histories name, in the order in which rounds will mostly need them."""
        for _, replay in self.histories():
            committed: dict[tuple[int, int, int], list[bytes]] = {}
            for block in self._blocks_of(replay):
                for event in block.events:
                    match event:
                        case kinds.JobCreated():
                            yield event.terms.job_file
                            yield event.terms.model
                        case kinds.Recorded():
                            yield event.digest
                        case kinds.ReferencesCommitted():
                            committed.setdefault((event.job, event.version, event.edge), []).append(event.digest)
                        case kinds.ReferencesAcknowledged():  # before that, nobody shows them
                            for edge in event.held:
                                yield from committed.get((event.job, event.version, edge), ())
                        case _:
                            pass  # names no blob that an audit cannot compute

    def rounds(self, blobs: Blobs, scope: RoundsScope | None = None, effort: Effort = ONE) -> None:
        """Derive, compute and compare every round, or those of a scope."""
        for name, replay in self.histories():
            members = self._members[id(replay)]
            make = partial(Rounds, members, blobs, replay.genesis_hash, store=name, scope=scope)
            blocks = self._blocks_of(replay)
            work = Work(replay, blocks, blobs, scope, partial(self._compute, make, blocks))
            rounds = make(self._findings, known=effort.known(work))
            for block in blocks:
                rounds.read(block)
            self._clients += rounds.finish()
            self._explained += rounds.explained
            self._settled += rounds.settled
            self._arithmetic += rounds.arithmetic

    def _compute(
        self,
        make: Callable[..., Rounds],
        blocks: Sequence[HistoryBlock],
        share: frozenset[Key],
        give: Callable[[Kept], None],
    ) -> None:
        """Compute some rounds for whoever tells of them later."""
        rounds = make(self._findings.apart(), share=share, give=give)
        for block in blocks:
            rounds.read(block)

    def compare(self, part: str) -> None:
        """Compare the chains with each other, and with the head that the caller trusts; count under `part`."""
        tally, longest = self._findings.tallies[part], self.longest
        for chain in self.chains:
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
        self._findings.remark(
            f"what executing height {longest.height} gave is committed to by nobody until the next header"
        )

    def find_head(self, *, behind: bool) -> None:
        """Look for the head that the caller trusts in every chain.

        `behind` forgives a chain that ends before the head and agrees with one that has it: a node that is asked at
        another moment. Of stores, each must have it.
        """
        head = self._head
        if head is None:
            return
        having = [chain for chain in self.chains if _has(chain, head)]
        for chain in self.chains:
            if chain in having:
                continue
            if behind and any(other.headers[: chain.height] == chain.headers for other in having):
                self._findings.remark(f"{chain.name}: ends at height {chain.height}, before the head 0x{head.hex()}")
            else:
                self._findings.diverges(
                    Divergence(store=chain.name, part=Part.HEAD, expected=f"0x{head.hex()}", found="no such header")
                )

    def report(self, directory: str, nodes: tuple[NodeAnswers, ...] = ()) -> AuditReport:
        """Say everything."""
        for text in self._findings.left_out():
            self._findings.remark(text)
        longest = self.longest
        return AuditReport(
            directory=directory,
            nodes=nodes,
            genesis_hash=self.genesis_hash,
            trusted=self.wanted is not None,
            head=longest.headers[-1] if longest.headers else _NOTHING,
            height=longest.height,
            tallies=tuple(self._findings.tallies.values()),
            clients=tuple(self._clients),
            explained=tuple(self._explained),
            settled=tuple(self._settled),
            arithmetic=tuple(self._arithmetic),
            remarks=tuple(self._findings.remarks),
            divergences=in_order(self._findings.divergences),
        )


def _has(chain: EngineChain, name: bytes) -> bool:
    """Whether a header or a ledger block of this chain has this hash."""
    steps = chain.cursor.replay.steps[: chain.height + 1] if chain.cursor else []
    return name in chain.headers or any(step.block is not None and step.block.hash == name for step in steps)
