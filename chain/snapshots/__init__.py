"""Snapshots of the ledger: a new replica starts from one, and a ledger is backed up and restored by one (README.md)."""
