"""Scripted experiments: a manifest in, a verdict with its evidence out."""
