"""Consensus in virtual time: everything breaks as a seed says, then a quorum heals and has to decide."""
