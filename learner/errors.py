"""Errors of data, models and exact numerics."""

from merit.errors import MeritError


class LearnerError(MeritError):
    """Root of this room's branch."""
