"""What the simulation answers to a caller's mistake.

ChainError
+-- SimulationError
    +-- SettingsError   what cannot be simulated
    +-- CampaignError   a log of another campaign, or a damaged one
"""

from chain.errors import ChainError


class SimulationError(ChainError):
    """Root of what the simulation can say."""


class SettingsError(SimulationError):
    """What was asked for cannot be simulated; the message says why."""


class CampaignError(SimulationError):
    """A campaign's log cannot be gone on with; the message says why."""
