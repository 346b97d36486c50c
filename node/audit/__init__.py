"""Replays a network's whole history from what its members stored or answer, and says what does not follow from it."""

from node.audit.auditor import Auditor, audit_directory
from node.audit.errors import AuditError, NotAuditableError
from node.audit.network import audit_network
from node.audit.report import AuditReport, Divergence, Part, Tally

__all__ = [
    "AuditError",
    "AuditReport",
    "Auditor",
    "Divergence",
    "NotAuditableError",
    "Part",
    "Tally",
    "audit_directory",
    "audit_network",
]
