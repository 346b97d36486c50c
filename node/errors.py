"""Errors of edge servers, clients, audit and configuration."""

from merit.errors import MeritError


class NodeError(MeritError):
    """Root of this room's branch."""
