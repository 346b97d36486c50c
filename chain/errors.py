"""Errors of the replicated ledger."""

from merit.errors import MeritError


class ChainError(MeritError):
    """Root of this room's branch."""
