"""The plan that a job's clients work by: who trains on how many samples how often, and what is known of its speed.

A plan is a blob like a model: its digest is the part "allocation" of the attestation of the round that made it. All
integers are big-endian; a decoder accepts what encodes to the same bytes again and nothing else.

    head    24   "MRTA" | format u16 | 0 u16 | round u64 | number of shares u32 | 0 u32
    share   48   client u64 | seen u64 | samples u32 | epochs u32 | c2 u64 | c1 u64 | c0 u64     clients ascending
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from learner.errors import InvalidPlan

_HEAD: Final = struct.Struct(">4sHHQII")
_SHARE: Final = struct.Struct(">QQIIQQQ")
_MAGIC: Final = b"MRTA"
_FORMAT: Final = 1

HEAD_BYTES: Final = _HEAD.size
SHARE_BYTES: Final = _SHARE.size


@dataclass(frozen=True, slots=True)
class Task:
    """What a client does for one update: `epochs` on the `samples` of its stream from position `first` on."""

    samples: int
    epochs: int
    first: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one client is to do, and the speed that it is believed to have.

    `samples` d and `epochs` tau of its next updates. Its time for them is `c2` tau d + `c1` d + `c0` nanoseconds
    (arXiv 1905.01656, equation 5): per epoch and sample, per sample, per update. `seen`: the newest round that
    consumed an update of it.
    """

    client: int
    seen: int
    samples: int
    epochs: int
    c2: int
    c1: int
    c0: int

    @property
    def cycle_ns(self) -> int:
        """The time that its work should take, in nanoseconds."""
        return self.c2 * self.epochs * self.samples + self.c1 * self.samples + self.c0


@dataclass(frozen=True, slots=True)
class Plan:
    """The shares after a round, by client in ascending order; round 0 is the start, which knows nobody."""

    round: int
    shares: tuple[Share, ...] = ()

    def encode(self) -> bytes:
        """Return the canonical bytes; raise `InvalidPlan` if a number does not fit or the clients do not rise."""
        _check_order(self.shares)
        try:
            head = _HEAD.pack(_MAGIC, _FORMAT, 0, self.round, len(self.shares), 0)
            shares = [
                _SHARE.pack(one.client, one.seen, one.samples, one.epochs, one.c2, one.c1, one.c0)
                for one in self.shares
            ]
        except struct.error as error:
            raise InvalidPlan(reason=str(error)) from error
        return head + b"".join(shares)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the plan of these bytes; raise `InvalidPlan` unless they are canonical."""
        if len(data) < HEAD_BYTES:
            raise InvalidPlan(reason=f"{len(data)} bytes: the head alone has {HEAD_BYTES}")
        magic, form, zero, round_, count, zeros = _HEAD.unpack_from(data)
        if (magic, form, zero, zeros) != (_MAGIC, _FORMAT, 0, 0):
            raise InvalidPlan(reason=f"its head is {data[:HEAD_BYTES].hex()}")
        if len(data) != HEAD_BYTES + count * SHARE_BYTES:
            raise InvalidPlan(reason=f"{len(data)} bytes for {count} shares of {SHARE_BYTES} and a head")
        shares = tuple(Share(*fields) for fields in _SHARE.iter_unpack(data[HEAD_BYTES:]))
        _check_order(shares)
        return cls(round_, shares)

    def share_of(self, client: int) -> Share | None:
        """Return a client's share, None for one that the plan does not know."""
        return next((share for share in self.shares if share.client == client), None)


def _check_order(shares: tuple[Share, ...]) -> None:
    if any(first.client >= second.client for first, second in pairwise(shares)):
        raise InvalidPlan(reason="its clients do not rise")
