"""Rounds: what the event log selects, and what is attested of it."""
