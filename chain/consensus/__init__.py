"""Tendermint consensus (arXiv 1807.04938) as a pure core: no I/O, no clock, no randomness, no signatures, no logging."""
