"""What stops an engine, and what it answers to its callers.

ChainError
+-- EnginesError
    +-- NotRunningError           the engine or this validator is stopped
    +-- UnknownHeightError        no such height is decided here
    +-- UnknownValidatorError     a key that two validators are to have
    +-- NoQuorumError             not more than two thirds of the power is running
    +-- DivergenceError           two validators computed different results: the engine stops
    +-- ProposalRefusedError      no proposal finds enough acceptance: the engine stops
    +-- ProposalTooLargeError     the application proposed more than a block holds: the engine stops
    +-- StandstillError           no validator that runs can bring the height on: the engine stops
    +-- RecoveryError             a validator's stores do not fit together
    |   +-- ApplicationAheadError
    |   +-- ReplayError
    +-- EngineStoreError          the engine's database cannot be used
    |   +-- StoreInUseError, OtherGenesisError, UnknownFormatError, UnfinishedHeightError, CorruptRecordError
    +-- CometError                CometBFT, the program beside a node
        +-- AbciError             it asks what cannot be answered
        +-- CometUnreachableError it does not answer
        +-- HandOverError         transactions cannot be taken from other nodes
        +-- CometBinaryError      it is not installed, or another version is
        +-- CometHomeError        its directory cannot be used
"""

from pathlib import Path

from chain.errors import ChainError
from chain.light import Height


class EnginesError(ChainError):
    """Root of what an engine can say."""


class NotRunningError(EnginesError):
    """The engine, or the validator that was asked, is stopped."""

    def __init__(self, validator: bytes | None = None, cause: Exception | None = None) -> None:
        """Build the line; `validator` is an address, or None for the whole engine, and `cause` what stopped it."""
        who = f"validator {validator.hex()}" if validator else "the engine"
        super().__init__(f"{who} is not running{f': {cause}' if cause else '; start it first'}")
        self.validator, self.cause = validator, cause


class PoolFullError(EnginesError):
    """Too much waits for a block."""

    def __init__(self, transactions: int, size: int) -> None:
        """Build the line; `size` in bytes."""
        super().__init__(f"the pool is full ({transactions} transactions, {size} bytes); send again later")
        self.transactions, self.size = transactions, size


class UnknownHeightError(EnginesError):
    """No such height is decided here."""

    def __init__(self, height: Height, newest: Height) -> None:
        """Build the line."""
        super().__init__(f"height {height} is not decided here; the newest is {newest}")
        self.height, self.newest = height, newest


class UnknownValidatorError(EnginesError):
    """A validator's key is in use already."""

    def __init__(self, address: bytes, why: str) -> None:
        """Build the line; `address` has 20 bytes."""
        super().__init__(f"validator {address.hex()} {why}")
        self.address, self.why = address, why


class NoQuorumError(EnginesError):
    """Not more than two thirds of the power is running."""

    def __init__(self, height: Height, running: int, total: int) -> None:
        """Build the line."""
        super().__init__(f"height {height} waits: power {running} of {total} is running, more than 2/3 is needed")
        self.height, self.running, self.total = height, running, total


class DivergenceError(EnginesError):
    """Two validators computed different results for one height; nothing of that height is committed."""

    def __init__(self, height: Height, what: str, results: dict[bytes, bytes]) -> None:
        """Build the line; `results` maps validator addresses to what each computed."""
        found = ", ".join(f"{address.hex()} has {result.hex()}" for address, result in results.items())
        super().__init__(f"height {height}: validators disagree on the {what}: {found}; the engine has stopped")
        self.height, self.what, self.results = height, what, results


class ProposalRefusedError(EnginesError):
    """No running proposer's block was accepted by more than two thirds of the power."""

    def __init__(self, height: Height, accepted: int, total: int) -> None:
        """Build the line."""
        super().__init__(
            f"height {height}: the best proposal was accepted by power {accepted} of {total}; the engine has stopped"
        )
        self.height, self.accepted, self.total = height, accepted, total


class ProposalTooLargeError(EnginesError):
    """The application proposed more than it was allowed to."""

    def __init__(self, height: Height, allowed: int, found: int) -> None:
        """Build the line; both sizes in bytes of encoded transactions."""
        super().__init__(f"height {height}: the application proposed {found} bytes where {allowed} are allowed")
        self.height, self.allowed, self.found = height, allowed, found


class StandstillError(EnginesError):
    """All that was sent has arrived, no timeout is left, and the height is not decided everywhere."""

    def __init__(self, height: Height, behind: list[bytes]) -> None:
        """Build the line; `behind` holds the addresses of those that have not decided."""
        who = ", ".join(address.hex() for address in behind)
        super().__init__(f"height {height} stands still at {who}; the engine has stopped")
        self.height, self.behind = height, behind


class RecoveryError(EnginesError):
    """A validator's stores do not fit together."""


class ApplicationAheadError(RecoveryError):
    """The application has executed heights that the engine's store does not hold."""

    def __init__(self, address: bytes, application: Height, store: Height) -> None:
        """Build the line."""
        super().__init__(
            f"validator {address.hex()}: its application is at height {application}, its engine store only at "
            f"{store}; restore the engine store, or delete the application's store so that it is replayed"
        )
        self.address, self.application, self.store = address, application, store


class ReplayError(RecoveryError):
    """Executing a height again gave another result than the one recorded."""

    def __init__(self, address: bytes, height: Height, recorded: bytes, found: bytes) -> None:
        """Build the line; the results are an app hash or a results hash."""
        super().__init__(
            f"validator {address.hex()}: height {height} gives {found.hex()} now, recorded is {recorded.hex()}; "
            "restore its stores from another validator or run the version that made them"
        )
        self.address, self.height, self.recorded, self.found = address, height, recorded, found


class EngineStoreError(EnginesError):
    """The engine's database cannot be used."""

    def __init__(self, path: Path, message: str) -> None:
        """Name the directory first."""
        super().__init__(f"{path}: {message}")
        self.path = path


class StoreInUseError(EngineStoreError):
    """Another process runs this validator; two of them would sign twice."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "is in use by another running validator; stop that one first")


class OtherGenesisError(EngineStoreError):
    """The store belongs to another genesis document."""

    def __init__(self, path: Path, expected: bytes, found: bytes) -> None:
        """Build the line; both digests are SHA-256 of the document."""
        super().__init__(
            path, f"belongs to the genesis document {found.hex()}, not {expected.hex()}; use another directory"
        )
        self.expected, self.found = expected, found


class UnknownFormatError(EngineStoreError):
    """The store was made by another version of this program, or is no engine store."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        """Build the line."""
        super().__init__(path, f"has format {found}, this program reads {expected}; use the version that made it")
        self.expected, self.found = expected, found


class UnfinishedHeightError(EngineStoreError):
    """A store of a former format was left between a vote and its decision."""

    def __init__(self, path: Path, found: str, height: Height) -> None:
        """Build the line."""
        super().__init__(
            path,
            f"has format {found} and a vote for height {height}, undecided; let the version that made it finish",
        )
        self.found, self.height = found, height


class CorruptRecordError(EngineStoreError):
    """A record is not what was written; nothing of it is used."""

    def __init__(self, path: Path, record: str, why: str) -> None:
        """Build the line."""
        super().__init__(path, f"{record} is damaged ({why}); restore this store from a copy")
        self.record, self.why = record, why


class CometError(EnginesError):
    """CometBFT, the program beside a node, or its home."""


class AbciError(CometError):
    """CometBFT asks what this ledger cannot answer, or sends what is no message."""


class CometUnreachableError(CometError):
    """CometBFT does not answer its node, or answers what is no answer."""

    def __init__(self, url: str, problem: str) -> None:
        """Build the line."""
        super().__init__(f"CometBFT at {url} does not answer ({problem}): does it run?")
        self.url = url


class HandOverError(CometError):
    """The port on which other nodes hand transactions over cannot be used."""


class CometBinaryError(CometError):
    """The program is not installed, or is another version."""


class CometHomeError(CometError):
    """A CometBFT home cannot be made or used."""
