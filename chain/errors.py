"""Errors of the replicated ledger.

    ChainError
    +-- KeyFileError             a key at rest
    |   +-- KeyFileExistsError
    |   +-- KeyFileMissingError
    |   +-- KeyFileOpenError     readable by others
    |   +-- KeyFilePasswordError
    |   +-- KeyFileFormatError
    +-- KeyLengthError           a seed or public key of the wrong size
    +-- RlpError                 bytes that are not canonical RLP
    +-- TransactionError         a transaction that cannot be built or decoded
    +-- GenesisError             a genesis document that cannot be used
    +-- StoreError               the ledger's database
    |   +-- StoreMissingError
    |   +-- StoreFormatError     made by another version of this program
    |   +-- StoreChainError      holds another ledger
    |   +-- StoreCorruptError    a value that is not what was written
    |   +-- StoreReadOnlyError
    +-- BlockError               a stored block that does not decode or check
    +-- UnknownBlockError        no such block
    +-- StateMissingError        a block whose state this replica never had
    +-- SnapshotError            a snapshot of the store
    |   +-- SnapshotExistsError  something lies where it is to be written
    |   +-- SnapshotManifestError
    |   +-- SnapshotChunkError   a chunk is missing or not what the manifest says
    |   +-- SnapshotContentError what is in it is not what its app hash stands for
    |   +-- SnapshotLedgerError  of another ledger or moment than the one asked for
    |   +-- SnapshotSizeError    more than a snapshot may hold
    +-- LogLimitError            a query for more events than one answer holds
    +-- TraceLimitError          a trace longer than one answer holds
    +-- OverrideError            a call that supposes what cannot be
    +-- SimulatedBlockError      supposed blocks that cannot be made
    +-- VersionError             rules that this program does not have
    +-- ContractUpgradeError     a contract that is not what an upgrade replaces
    +-- ConsensusError           certificates, evidence, journals (chain.consensus.errors)
    +-- SimulationError          what cannot be simulated (chain.simulation.errors)
    +-- EngineError              the engine broke the application's contract

A peer's bad input is never an exception: it is a result with a code (`chain.application.Code`).
"""

from pathlib import Path

from merit.errors import MeritError


class ChainError(MeritError):
    """Root of this room's branch."""


class KeyFileError(ChainError):
    """A key at rest cannot be written or read."""

    def __init__(self, path: Path, message: str) -> None:
        """Name the file first: it is what the user has to act on."""
        self.path = path
        super().__init__(f"{path}: {message}")


class KeyFileExistsError(KeyFileError):
    """A key file is never overwritten."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "exists already; a key is never overwritten, choose another file")


class KeyFileMissingError(KeyFileError):
    """There is no such file."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "no such key file; make one with `merit keys new`")


class KeyFileOpenError(KeyFileError):
    """Other users of the machine may read the file."""

    def __init__(self, path: Path, mode: int) -> None:
        """Build the line; `mode` holds the permission bits found."""
        self.mode = mode
        super().__init__(path, f"is open to other users (mode {mode:04o}); run `chmod 600 {path}`")


class KeyFilePasswordError(KeyFileError):
    """The password does not open the file."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "the password is wrong")


class KeyFileFormatError(KeyFileError):
    """The file is no encrypted ML-DSA key."""

    def __init__(self, path: Path, found: str) -> None:
        """Build the line; `found` says what the file is instead."""
        self.found = found
        super().__init__(path, f"is {found}, not an encrypted ML-DSA-44 or ML-DSA-65 key in PKCS8 PEM")


class KeyLengthError(ChainError):
    """A seed or public key has the wrong size."""

    def __init__(self, what: str, expected: int, found: int) -> None:
        """Sizes in bytes."""
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"{what} has {found} bytes, expected {expected}")


class RlpError(ChainError):
    """Bytes that are not the canonical RLP encoding of anything."""


class TransactionError(ChainError):
    """A transaction that cannot be built or decoded; the message is the reason."""


class GenesisError(ChainError):
    """A genesis document that cannot be used; the message names the field."""


class StoreError(ChainError):
    """The ledger's database cannot be used."""

    def __init__(self, path: Path, message: str) -> None:
        """Name the directory first."""
        self.path = path
        super().__init__(f"{path}: {message}")


class StoreMissingError(StoreError):
    """There is no store to read."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "holds no ledger; start a node there first")


class StoreFormatError(StoreError):
    """The store was made by another version of this program, or is no store of ours."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        """Build the line from the format names."""
        self.expected, self.found = expected, found
        super().__init__(path, f"has format {found}, this program reads {expected}; use the version that made it")


class StoreChainError(StoreError):
    """The store holds another ledger."""

    def __init__(self, path: Path, expected: bytes, found: bytes) -> None:
        """Both arguments are digests of genesis documents (SHA-256)."""
        self.expected, self.found = expected, found
        super().__init__(
            path, f"holds the ledger of genesis document 0x{found.hex()}, not 0x{expected.hex()}; use another directory"
        )


class StoreCorruptError(StoreError):
    """A value is not what was written; nothing of it is used."""

    def __init__(self, path: Path, space: str, key: bytes, why: str) -> None:
        """`space` and `key` name the record."""
        self.space, self.key, self.why = space, key, why
        super().__init__(path, f"{space} 0x{key.hex()} {why}; restore this store from another node")


class StoreReadOnlyError(StoreError):
    """A store opened for reading was asked to change."""

    def __init__(self, path: Path) -> None:
        """Build the line."""
        super().__init__(path, "is open for reading only")


class BlockError(ChainError):
    """A block does not decode, or its parts do not belong together."""


class UnknownBlockError(ChainError):
    """There is no such block."""

    def __init__(self, block: str) -> None:
        """`block` is the number or hash that was asked for."""
        self.block = block
        super().__init__(f"there is no block {block}")


class StateMissingError(ChainError):
    """The block is here, and the state after it is not: this replica started from a later snapshot."""

    def __init__(self, number: int, start: int) -> None:
        """Name the blocks by their numbers: the one asked for, and the newest one in the snapshot."""
        self.number, self.start = number, start
        super().__init__(
            f"the state after block {number} is not here: this replica started from a snapshot of block {start};"
            " ask a replica that executed it"
        )


class SnapshotError(ChainError):
    """A snapshot cannot be written, read or used."""


class SnapshotExistsError(SnapshotError):
    """A snapshot or a ledger is never overwritten."""

    def __init__(self, path: Path, what: str) -> None:
        """Name the directory first; `what` says what it holds."""
        self.path, self.what = path, what
        super().__init__(f"{path}: holds {what} already; name a new directory")


class SnapshotManifestError(SnapshotError):
    """A manifest does not decode or breaks a limit; the message is the reason."""


class SnapshotChunkError(SnapshotError):
    """A chunk is missing or is not the one that the manifest names."""

    def __init__(self, index: int, why: str) -> None:
        """`index` counts from 0."""
        self.index, self.why = index, why
        super().__init__(f"chunk {index} {why}; take this snapshot from another source")


class SnapshotContentError(SnapshotError):
    """A snapshot holds something else than what its app hash stands for; the message says what."""


class SnapshotLedgerError(SnapshotError):
    """A snapshot is of another ledger, or of another app hash, than the one asked for."""

    def __init__(self, what: str, expected: bytes, found: bytes) -> None:
        """Say `what` differs, and how."""
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"the snapshot has {what} 0x{found.hex()}, not 0x{expected.hex()}; take another one")


class SnapshotSizeError(SnapshotError):
    """The ledger does not fit into a snapshot."""

    def __init__(self, chunks: int) -> None:
        """`chunks` is the greatest number of chunks."""
        self.chunks = chunks
        super().__init__(f"the ledger needs more than {chunks} chunks, which is what one snapshot may have")


class LogLimitError(ChainError):
    """A query matches more events than one answer holds."""

    def __init__(self, limit: int) -> None:
        """`limit` is the greatest number of events in one answer."""
        self.limit = limit
        super().__init__(f"more than {limit} events match; ask for fewer blocks at a time or name topics")


class TraceLimitError(ChainError):
    """A trace is longer than one answer holds."""

    def __init__(self, limit: int, what: str) -> None:
        """`limit` is the greatest number of `what` in one answer."""
        self.limit = limit
        super().__init__(f"more than {limit} {what} would be in the trace; ask for less of it, or for callTracer")


class OverrideError(ChainError):
    """A call supposes something of an account that cannot be."""

    def __init__(self, message: str, *, onto_itself: bool = False) -> None:
        """Say which account and what; `onto_itself` when a precompile was to be moved to where it is."""
        self.onto_itself = onto_itself
        super().__init__(message)


class SimulatedBlockError(ChainError):
    """Supposed blocks cannot be made; `fault` is the code that execution-apis has for it."""

    def __init__(self, fault: int, message: str) -> None:
        """Keep the code; the message is one line."""
        self.fault = fault
        super().__init__(message)


class VersionError(ChainError):
    """The ledger asks for rules that this program does not have."""

    def __init__(self, what: str, wanted: int, known: tuple[int, ...], *, block: int | None = None) -> None:
        """Say what is missing; `what` is execution, contracts or rules, `block` the number of the first to need it."""
        self.what, self.wanted, self.known, self.block = what, wanted, known, block
        have = ", ".join(map(str, known))
        asking = "the ledger uses" if block is None else f"from block {block} on the ledger uses"
        super().__init__(f"{asking} {what} version {wanted}, this program has {have}; install a newer merit-ledger")


class ContractUpgradeError(ChainError):
    """Where a contract of one version should stand is another one: an upgrade was scheduled over a skipped one."""

    def __init__(self, name: str, version: int) -> None:
        """Name the contract and the version that was to take its place."""
        self.name, self.version = name, version
        super().__init__(f"contracts version {version} does not find the {name} that it replaces")


class EngineError(ChainError):
    """The engine broke the application's contract (wrong height, commit without a block): a bug, the node stops."""
