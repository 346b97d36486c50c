"""Tendermint consensus (arXiv 1807.04938) as a pure core: no I/O, clock, randomness, signatures or logging."""
