"""Data sets and how they are dealt out to clients; everything random is seeded."""

from learner.data.dataset import Dataset, Split

__all__ = ["Dataset", "Split"]
