"""The ledger under CometBFT: the protocol, the answers, the homes, and the real program."""
