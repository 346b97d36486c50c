"""One member's machine: its home directory, the node process, and what keeps that and its CometBFT alive."""
