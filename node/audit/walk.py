"""Follows one source's chain height by height: verify its records, execute them again, compare the outcome."""

from dataclasses import dataclass, field

from chain.light import ValidatorSet
from node.audit.certificates import Certificates, Past, Verified
from node.audit.errors import FaultError, UnansweredError
from node.audit.findings import Findings
from node.audit.replay import Cursor
from node.audit.report import Divergence, Part
from node.audit.source import Source


@dataclass(slots=True)
class EngineChain:
    """What one source proves. `headers[h - 1]` is the hash of height h; `cursor` stands at the last one.

    `history` names what it proves, `decided` is the height at which the source says that it stands, `genesis` the
    digest of the genesis document that it was made for; `silent` says why it answers no more.
    """

    name: str
    history: str = ""
    cursor: Cursor | None = None
    headers: list[bytes] = field(default_factory=list)
    decided: int = 0
    complete: bool = False
    genesis: bytes = b""
    silent: str = ""

    @property
    def height(self) -> int:
        """The last height that was verified."""
        return len(self.headers)


class Walk:
    """The way through one source's chain, up to its end, its first fault, or its last answer."""

    def __init__(
        self, chain: EngineChain, source: Source, certificates: Certificates, findings: Findings, part: str
    ) -> None:
        """Begin at genesis; count under the part of the audit that is called `part`."""
        self._source, self._certificates, self._findings = source, certificates, findings
        self._cursor = certificates.replays.begin(certificates.genesis)
        self._tally = findings.tallies[part]
        self._stopped = False
        self.chain = chain
        self.verified: Verified | None = None
        """The last height that is right."""
        chain.cursor = self._cursor
        self._past = Past(self._cursor, chain.headers)
        chain.decided = source.decided

    @property
    def ended(self) -> bool:
        """Whether nothing is left to verify."""
        return self._stopped or self.chain.height >= self.chain.decided

    def validators(self, height: int) -> ValidatorSet:
        """Return who decides a height, or, above the one after the last that is right, who decides that one."""
        if height <= self.chain.height:
            return self._past.validators(height)
        return self._certificates.following(self.verified)

    def to(self, height: int) -> None:
        """Go on up to `height`, or to where it ends."""
        while not self.ended and self.chain.height < height:
            self._next(self.chain.height + 1)
        self.chain.complete = not self._stopped and self.chain.height == self.chain.decided

    def _next(self, height: int) -> None:
        chain = self.chain
        try:
            records = self._source.records(height)
            verified = self._certificates.verify(self.verified, records, self._past)
        except FaultError as fault:
            self._stop(fault, height)
            return
        except UnansweredError as error:
            self._stopped = True
            chain.silent = error.why
            self._findings.remark(
                f"{chain.name}: does not answer any more ({error.why}): heights {height} to {chain.decided} of"
                " it are not compared"
            )
            return
        step = self._cursor.advance(verified.inputs)
        self.verified = verified
        chain.headers.append(verified.hash)
        self._tally.add("heights")
        self._tally.add("bytes", records.size)
        if verified.inputs.misbehavior:
            self._tally.add("reports of misbehavior", len(verified.inputs.misbehavior))
        if step.updates:
            self._tally.add("validator updates", len(step.updates))
        expected = self._source.outcome(step)
        if records.outcome != expected:
            self._diverges(FaultError(Part.OUTCOME, expected.hex(), records.outcome.hex()), height)

    def fail(self, why: str) -> None:
        """Note that the next height cannot be verified, for a reason that nobody has foreseen."""
        self._stop(FaultError(Part.STORE, "an audit of this height that ends", why), self.chain.height + 1)

    def _stop(self, fault: FaultError, height: int) -> None:
        self._stopped = True
        self._diverges(fault, height)
        self._findings.remark(
            f"{self.chain.name}: heights {height} to {self.chain.decided} are not verified further after this"
            " divergence"
        )

    def _diverges(self, fault: FaultError, height: int) -> None:
        part = fault.part
        if part is Part.LAST_COMMIT:
            part, height = Part.COMMIT, height - 1
        self._findings.diverges(
            Divergence(store=self.chain.name, part=part, expected=fault.expected, found=fault.found, height=height)
        )
