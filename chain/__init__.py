"""The ledger room: a replicated ledger; knows nothing of learning."""
