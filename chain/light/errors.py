"""What can be wrong with a stored record, a certificate or a chain of headers.

ChainError
+-- LightError
    +-- MalformedRecordError             bytes that are not the one encoding of a valid record
    +-- InvalidValidatorSetError         order, duplicates or powers that no validator set may have
    +-- CertificateError            a commit that does not prove its header
    |   +-- WrongChainError, WrongValidatorsError, WrongHeightError, WrongBlockError, NilCertificateError
    |   +-- WrongSignatureCountError, UnknownFlagError, AbsentWithContentError
    |   +-- UnknownSignerError, DuplicateSignerError, MisplacedSignerError
    |   +-- WrongSignatureLengthError, BadSignatureError
    |   +-- NotEnoughPowerError          too few signers, exactly two thirds included
    +-- BrokenChainError                 a header that does not follow from the one before it
    |   +-- HeightGapError, WrongLastBlockError, WrongLastCommitError, WrongTimeError
    |   +-- WrongAppHashError, WrongResultsError, WrongDataError, UnexpectedValidatorsError, UnknownProposerError
    +-- TrustError                       a header that cannot be believed from where trust stands
        +-- TrustExpiredError, FutureHeaderError, NotEnoughTrustError, NotAheadError, MissingBlockError
        +-- TrustPolicyError             a policy under which nothing can be trusted safely
"""

from enum import StrEnum

from chain.errors import ChainError


class Record(StrEnum):
    """What a store keeps and a peer sends."""

    HEADER = "header"
    COMMIT = "commit"
    VALIDATORS = "validator set"
    TRANSACTIONS = "transaction list"
    EVIDENCE = "evidence"
    BLOCK = "block"
    VOTE = "vote"
    PROPOSAL = "proposal"


class SetFault(StrEnum):
    """Why validators form no set."""

    EMPTY = "it is empty"
    POWER = "a power is below 1"
    TOTAL = "the powers sum to more than CometBFT's bound of (2^63 - 1) // 8"
    DUPLICATE = "a key occurs twice"
    ABSENT = "a validator is removed that is not in it"
    ORDER = "the order is not by power, the greatest first, then by address"


class LightError(ChainError):
    """Root of what a verifier can find."""


class MalformedRecordError(LightError):
    """Bytes that are not the one canonical encoding of a valid record."""

    def __init__(self, record: Record, reason: str) -> None:
        """Build the line."""
        super().__init__(f"malformed {record}: {reason}; restore it from another validator's store")
        self.record = record
        self.reason = reason


class InvalidValidatorSetError(LightError):
    """Validators that cannot form a set: see `fault`."""

    def __init__(self, fault: SetFault) -> None:
        """Build the line."""
        super().__init__(f"invalid validator set: {fault}")
        self.fault = fault


class EvidenceError(LightError):
    """Evidence that does not prove what it says; `height` is that of the block that holds it."""

    def __init__(self, height: int, what: str, expected: str, found: str) -> None:
        """Build the line."""
        super().__init__(f"evidence in height {height} refused: {what}: expected {expected}, found {found}")
        self.height = height
        self.what = what
        self.expected = expected
        self.found = found


class CertificateError(LightError):
    """A commit that does not prove its header; `height` is the height of the header that it was offered for."""

    def __init__(self, height: int, reason: str) -> None:
        """Build the line."""
        super().__init__(f"certificate of height {height} refused: {reason}")
        self.height = height
        self.reason = reason


class WrongChainError(CertificateError):
    """The header belongs to another chain."""

    def __init__(self, height: int, expected: str, found: str) -> None:
        """Build the line."""
        super().__init__(height, f"the header is of chain {found!r}, not {expected!r}")
        self.expected = expected
        self.found = found


class WrongValidatorsError(CertificateError):
    """The header names another validator set than the trusted one."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"the header names validators {found.hex()}, trusted are {expected.hex()}")
        self.expected = expected
        self.found = found


class WrongHeightError(CertificateError):
    """The commit is for another height than the header."""

    def __init__(self, height: int, found: int) -> None:
        """Build the line."""
        super().__init__(height, f"the commit is for height {found}")
        self.found = found


class WrongBlockError(CertificateError):
    """The commit is for another block than the header."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"the commit is for block {found.hex()}, the header's hash is {expected.hex()}")
        self.expected = expected
        self.found = found


class NilCertificateError(CertificateError):
    """The commit is for no block at all."""

    def __init__(self, height: int) -> None:
        """Build the line."""
        super().__init__(height, "the commit is for nil, which decides no block")


class WrongSignatureCountError(CertificateError):
    """The commit does not have exactly one slot per validator."""

    def __init__(self, height: int, expected: int, found: int) -> None:
        """Build the line."""
        super().__init__(height, f"{found} signature slots for {expected} validators")
        self.expected = expected
        self.found = found


class UnknownFlagError(CertificateError):
    """A slot is neither absent, nor for the block, nor for nil."""

    def __init__(self, height: int, index: int, flag: int) -> None:
        """Build the line."""
        super().__init__(height, f"slot {index} has the unknown flag {flag}")
        self.index = index
        self.flag = flag


class AbsentWithContentError(CertificateError):
    """A slot is marked absent and yet carries a signer, a time or a signature."""

    def __init__(self, height: int, index: int) -> None:
        """Build the line."""
        super().__init__(height, f"slot {index} is marked absent but is not empty")
        self.index = index


class UnknownSignerError(CertificateError):
    """A signer is not in the validator set."""

    def __init__(self, height: int, index: int, address: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"slot {index} is signed by {address.hex()}, who is no validator")
        self.index = index
        self.address = address


class DuplicateSignerError(CertificateError):
    """A validator fills more than one slot."""

    def __init__(self, height: int, index: int, address: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"slot {index} repeats validator {address.hex()}")
        self.index = index
        self.address = address


class MisplacedSignerError(CertificateError):
    """A validator fills another validator's slot."""

    def __init__(self, height: int, index: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"slot {index} belongs to {expected.hex()} but names {found.hex()}")
        self.index = index
        self.expected = expected
        self.found = found


class WrongSignatureLengthError(CertificateError):
    """A signature does not have the length of its scheme."""

    def __init__(self, height: int, index: int, expected: int, found: int) -> None:
        """Build the line."""
        super().__init__(height, f"the signature in slot {index} has {found} bytes instead of {expected}")
        self.index = index
        self.expected = expected
        self.found = found


class BadSignatureError(CertificateError):
    """A signature does not verify."""

    def __init__(self, height: int, index: int, address: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"the signature of {address.hex()} in slot {index} does not verify")
        self.index = index
        self.address = address


class NotEnoughPowerError(CertificateError):
    """The votes for the block do not hold more than two thirds of the power; nil and absent ones count nothing."""

    def __init__(self, height: int, signed: int, nil: int, total: int) -> None:
        """Build the line."""
        super().__init__(
            height, f"power {signed} of {total} signed the block ({nil} signed nil): more than 2/3 is needed"
        )
        self.signed = signed
        self.nil = nil
        self.total = total


class BrokenChainError(LightError):
    """A header that does not follow from the one before it; `height` is the later one's."""

    def __init__(self, height: int, reason: str) -> None:
        """Build the line."""
        super().__init__(f"height {height} does not follow: {reason}")
        self.height = height
        self.reason = reason


class HeightGapError(BrokenChainError):
    """Heights must rise by one."""

    def __init__(self, height: int, expected: int) -> None:
        """Build the line."""
        super().__init__(height, f"expected height {expected}")
        self.expected = expected


class WrongLastBlockError(BrokenChainError):
    """`last_block_id` is not the block that was decided one height before."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"last_block_id is {found.hex()}, decided was {expected.hex()}")
        self.expected = expected
        self.found = found


class WrongLastCommitError(BrokenChainError):
    """`last_commit_hash` is not the hash of the commit of one height before."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"last_commit_hash is {found.hex()}, the commit before hashes to {expected.hex()}")
        self.expected = expected
        self.found = found


class WrongTimeError(BrokenChainError):
    """The time is not the weighted median of the last commit's vote times, or does not rise."""

    def __init__(self, height: int, expected: str, found: str) -> None:
        """Build the line."""
        super().__init__(height, f"its time is {found}, it must be {expected}")
        self.expected = expected
        self.found = found


class WrongAppHashError(BrokenChainError):
    """`app_hash` is not the result of executing the height before."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"app_hash is {found.hex()}, executing the height before gave {expected.hex()}")
        self.expected = expected
        self.found = found


class WrongResultsError(BrokenChainError):
    """`last_results_hash` is not the hash of the transaction results of the height before."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"last_results_hash is {found.hex()}, the results before hash to {expected.hex()}")
        self.expected = expected
        self.found = found


class WrongDataError(BrokenChainError):
    """The block's content (`part` names it) is not what its header or block id commits to."""

    def __init__(self, height: int, part: str, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"its {part} hash to {found.hex()}, committed is {expected.hex()}")
        self.part = part
        self.expected = expected
        self.found = found


class UnexpectedValidatorsError(BrokenChainError):
    """`validators_hash` is not the `next_validators_hash` of the height before."""

    def __init__(self, height: int, expected: bytes, found: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"its validators are {found.hex()}, announced were {expected.hex()}")
        self.expected = expected
        self.found = found


class UnknownProposerError(BrokenChainError):
    """The proposer is not in the validator set."""

    def __init__(self, height: int, address: bytes) -> None:
        """Build the line."""
        super().__init__(height, f"its proposer {address.hex()} is no validator")
        self.address = address


class TrustError(LightError):
    """A header that cannot be believed by skipping from a trusted one; `height` is that of the header."""

    def __init__(self, height: int, reason: str) -> None:
        """Build the line."""
        super().__init__(f"height {height} cannot be trusted: {reason}")
        self.height = height
        self.reason = reason


class TrustExpiredError(TrustError):
    """The trusted header is older than the trusting period: its validators may have nothing left to lose."""

    def __init__(self, height: int, trusted_height: int, expired: str, now: str) -> None:
        """Build the line."""
        super().__init__(
            height,
            f"the trust in height {trusted_height} expired at {expired}, it is {now}: take a newer header to trust",
        )
        self.trusted_height = trusted_height


class FutureHeaderError(TrustError):
    """The header's time is further ahead than clocks may drift."""

    def __init__(self, height: int, time: str, latest: str) -> None:
        """Build the line."""
        super().__init__(height, f"its time is {time}, it must be before {latest}")


class NotEnoughTrustError(TrustError):
    """Too little of the trusted power signed, so that perhaps no honest validator did: a height between may help."""

    def __init__(self, height: int, trusted_height: int, signed: int, total: int, level: str) -> None:
        """Build the line."""
        super().__init__(
            height, f"power {signed} of {total} of height {trusted_height} signed it: more than {level} is needed"
        )
        self.signed = signed
        self.total = total


class NotAheadError(TrustError):
    """The height is not after the trusted one."""

    def __init__(self, height: int, trusted_height: int) -> None:
        """Build the line."""
        super().__init__(height, f"it is not after the trusted height {trusted_height}")
        self.trusted_height = trusted_height


class MissingBlockError(TrustError):
    """A source does not have a height that is needed."""

    def __init__(self, height: int) -> None:
        """Build the line."""
        super().__init__(height, "the source does not have it")


class TrustPolicyError(LightError):
    """A policy under which nothing can be trusted safely; the message says why."""
