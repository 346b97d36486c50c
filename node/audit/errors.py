"""Errors of the audit.

    NodeError
    +-- AuditError
        +-- NotAuditableError      nothing here that could be audited
        +-- UnreadableStoreError   a database that cannot be read
        +-- UnansweredError        a node or an edge server that gives no answer
        +-- FaultError             a record that is not what it must be

The last three never leave an audit: `UnansweredError` becomes a remark, the others a
`Divergence` that says where it is.
"""

from pathlib import Path

from node.audit.report import Part
from node.errors import NodeError


class AuditError(NodeError):
    """Root of this room's branch."""


class NotAuditableError(AuditError):
    """There is nothing that could be audited."""

    def __init__(self, subject: Path | str, why: str) -> None:
        """Name the directory or the nodes first."""
        super().__init__(f"{subject}: {why}")
        self.subject, self.why = subject, why


class UnansweredError(AuditError):
    """A node or an edge server gives no answer: it is not there, not in time, or refuses."""

    def __init__(self, name: str, why: str) -> None:
        """Name the one that was asked first."""
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


class UnreadableStoreError(AuditError):
    """A database cannot be read."""

    def __init__(self, directory: Path, why: str) -> None:
        """Name the directory first."""
        super().__init__(f"{directory}: {why}")
        self.directory, self.why = directory, why


class FaultError(AuditError):
    """A record is not what it must be; whoever knows the record's place makes a `Divergence` of it."""

    def __init__(self, part: Part, expected: str, found: str) -> None:
        """Say what was expected in which part, and what is there."""
        super().__init__(f"{part}: expected {expected}, found {found}")
        self.part, self.expected, self.found = part, expected, found
