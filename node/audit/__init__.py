"""Replays a history from what members stored, answer or export, and says what does not follow from it."""

from node.audit.auditor import Auditor, audit_directory
from node.audit.bundle import audit_bundle
from node.audit.errors import AuditError, NotAuditableError
from node.audit.network import audit_network
from node.audit.receipt import audit_receipt
from node.audit.report import AuditReport, Divergence, Part, Tally

__all__ = [
    "AuditError",
    "AuditReport",
    "Auditor",
    "Divergence",
    "NotAuditableError",
    "Part",
    "Tally",
    "audit_bundle",
    "audit_directory",
    "audit_network",
    "audit_receipt",
]
