"""Errors of edge servers, clients, audit and configuration.

NodeError
+-- ConfigError                 a configuration file or flag is wrong
+-- BlobMissingError            no blob of that digest here
+-- BlobCorruptError            a blob's bytes do not hash to its name
+-- BlobQuotaError              the blob store is full
+-- PayloadsNeededError         a round cannot be selected before these blobs are here
+-- SelectionDivergesError      the quorum agreed on a round that the event log does not give
+-- LedgerUnreachableError      the ledger does not answer, or is another one
+-- ServersUnreachableError     no edge server answers a client
+-- RunDirectoryError           a run directory is in use, half made or of another run
+-- HistoryError                a blob is not what a scoring rule remembers of clients
+-- HomeError                   a node's home lacks a part, or its parts do not belong together
+-- TransportError              TLS that cannot be served where it was asked for
+-- CertificateError            a TLS certificate or its key cannot be used
+-- HandshakeError              the other end of a TLS connection is not what is asked for
"""

from pathlib import Path

from merit.errors import MeritError


class NodeError(MeritError):
    """Root of this room's branch."""


class ConfigError(NodeError):
    """A configuration file or flag is wrong; the message names the key and what would be right."""


class BlobMissingError(NodeError):
    """No blob of that digest here."""

    def __init__(self, digest: bytes) -> None:
        """Name the digest."""
        super().__init__(f"blob {digest.hex()} is not in this store")
        self.digest = digest


class BlobCorruptError(NodeError):
    """A blob's bytes do not hash to its name."""

    def __init__(self, digest: bytes, path: Path) -> None:
        """Name the digest and the file."""
        super().__init__(f"blob {path} does not hash to its name: remove the file, the node fetches it again")
        self.digest = digest
        self.path = path


class BlobQuotaError(NodeError):
    """The blob store is full."""

    def __init__(self, root: Path, quota_bytes: int) -> None:
        """Name the store and its limit."""
        super().__init__(f"blob store {root} is full ({quota_bytes} bytes): raise its quota or prune old rounds")
        self.root = root
        self.quota_bytes = quota_bytes


class PayloadsNeededError(NodeError):
    """A round cannot be selected before these blobs are here: equal payloads must be recognised."""

    def __init__(self, digests: tuple[bytes, ...]) -> None:
        """Keep the digests that the caller must fetch."""
        super().__init__(f"{len(digests)} blobs are needed to select the round, first {digests[0].hex()}")
        self.digests = digests


class SelectionDivergesError(NodeError):
    """The quorum agreed on a round that the event log does not give: this node or the quorum is wrong."""

    def __init__(self, job: int, round_: int, part: str, agreed: object, derived: object) -> None:
        """Name the job, the round, the part, and both values."""
        super().__init__(f"job {job} round {round_}: {part} agreed on chain is {agreed}, the event log gives {derived}")
        self.job = job
        self.round = round_
        self.part = part


class HistoryError(NodeError):
    """A blob is not, in its one canonical form, what a scoring rule remembers of clients."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it."""
        super().__init__(f"no canonical history of clients: {reason}")


class LedgerUnreachableError(NodeError):
    """The ledger does not answer, or is another one."""


class TransactionFailedError(NodeError):
    """The ledger refuses a transaction or reverts it; the message is its reason."""


class ServersUnreachableError(NodeError):
    """No edge server answers a client."""


class RunDirectoryError(NodeError):
    """A run directory is in use, half made or of another run."""


class HomeError(NodeError):
    """A node's home lacks a part, its parts do not belong together, or what it needs of the machine is taken."""


class TransportError(NodeError):
    """TLS that cannot be served where it was asked for."""


class CertificateError(NodeError):
    """A TLS certificate or its key cannot be used; the message names the file or the name."""


class HandshakeError(NodeError):
    """The other end of a TLS connection, its certificate or its key exchange is not what is asked for."""
