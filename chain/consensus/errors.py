"""What the core and its files answer to a caller's mistake or to damage.

ChainError
+-- ConsensusError
    +-- ValidatorPowersError   powers that make no set
    +-- CertificateFaultError  votes that certify nothing
    +-- EvidenceFaultError     two statements that contradict nothing
    +-- JournalError           a journal that is not what was written
    +-- SignerRecordError      a signer's record that is not what was written
    +-- ContradictionError     a signer was asked to contradict what it has signed

A peer's bad message is none of them: it is a `Rejected` with a reason.
"""

from chain.errors import ChainError


class ConsensusError(ChainError):
    """Root of what the core can say."""


class ValidatorPowersError(ConsensusError):
    """These powers make no validator set; the message says why."""


class CertificateFaultError(ConsensusError):
    """A certificate does not certify; the message says why."""


class EvidenceFaultError(ConsensusError):
    """Two statements are no equivocation; the message says why."""


class JournalError(ConsensusError):
    """A journal is damaged before its end, or shorter than what was signed by it."""

    def __init__(self, position: int, why: str) -> None:
        """`position` counts records from 0."""
        self.position, self.why = position, why
        super().__init__(
            f"the journal is damaged at record {position}: {why};"
            " this validator must not vote before the height after its last signature is decided without it"
        )


class SignerRecordError(ConsensusError):
    """The record of the last signature is damaged."""

    def __init__(self, why: str) -> None:
        """Say `why`."""
        self.why = why
        super().__init__(f"the signer's record is damaged: {why}; this validator's key must not sign again")


class ContradictionError(ConsensusError):
    """A signer was asked for a statement that does not come after its last one and is not that one."""

    def __init__(self, asked: tuple[int, int, int], last: tuple[int, int, int]) -> None:
        """Both are positions: height, round, step."""
        self.asked, self.last = asked, last
        super().__init__(f"asked to sign at (height, round, step) {asked} after having signed otherwise at {last}")
