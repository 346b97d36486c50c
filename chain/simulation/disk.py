"""A disk that keeps what was synced and loses, tears or flips the rest when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random  # noqa: TID251 - the type only


class PowerLostError(Exception):
    """The machine stopped in the middle of a disk operation; whoever runs the node catches it."""


class Disk:
    """Files by name. Every change is an operation at which the power can fail.

    `fuse` is how many may still begin; `fails` is asked at each one for its file.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.files: dict[str, bytearray] = {}
        self.fuse: int | None = None
        self.fails: Callable[[str], bool] | None = None
        self.operations = 0
        self._synced: dict[str, int] = {}

    def append(self, name: str, data: bytes) -> None:
        """Write at the end; a crash may lose or tear it until `sync`."""
        self._begin(name)
        self.files.setdefault(name, bytearray()).extend(data)

    def sync(self, name: str) -> None:
        """Make all that was appended durable."""
        if self._synced.get(name, 0) < len(self.files.get(name, b"")):
            self._begin(name)
            self._synced[name] = len(self.files[name])

    def replace(self, name: str, data: bytes) -> None:
        """Write the whole file anew, durably: after a crash it is the old one or the new one."""
        self._begin(name)
        self.files[name] = bytearray(data)
        self._synced[name] = len(data)

    def cut(self, name: str, length: int) -> None:
        """Shorten a file, durably."""
        self.replace(name, bytes(self.files[name][:length]))

    def read(self, name: str) -> bytes:
        """Return a file; an empty one if there is none."""
        return bytes(self.files.get(name, b""))

    def crash(self, chance: Random) -> tuple[int, int]:
        """Lose what was not synced, all of it or some; return how many files lost their end, and how many were torn."""
        lost = torn = 0
        self.fuse = None
        for name, content in self.files.items():
            synced = self._synced.get(name, 0)
            if len(content) > synced:
                kept = chance.choice([synced, chance.randint(synced, len(content)), len(content)])
                lost += kept == synced
                torn += synced < kept < len(content)
                del content[kept:]
                self._synced[name] = len(content)
        return lost, torn

    def flip(self, name: str, bit: int) -> None:
        """Turn one bit of a file over."""
        self.files[name][bit // 8] ^= 1 << bit % 8

    def _begin(self, name: str) -> None:
        self.operations += 1
        if self.fuse is not None:
            if self.fuse == 0:
                raise PowerLostError
            self.fuse -= 1
        if self.fails is not None and self.fails(name):
            raise PowerLostError
