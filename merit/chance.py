"""The only module that makes random numbers: seeded streams for what must reproduce, entropy for keys."""

import hashlib
import random
import secrets


def seed_of(seed: int, *labels: str | int) -> int:
    """Derive a 64-bit seed from `seed` and a path of labels, so that streams never overlap by accident."""
    text = "/".join(str(label) for label in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def seeded(seed: int, *labels: str | int) -> random.Random:
    """Return the stream of this path of labels; equal arguments give equal streams."""
    return random.Random(seed_of(seed, *labels))  # noqa: S311 - reproducible by intent; keys come from `entropy`


def entropy(count: int) -> bytes:
    """`count` bytes from the operating system, for keys and nonces."""
    return secrets.token_bytes(count)
