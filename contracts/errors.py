"""Errors of artifacts, records and blobs."""

from merit.errors import MeritError


class ContractsError(MeritError):
    """Root of this room's branch."""
