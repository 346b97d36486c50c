"""Who signed the newest heights: the commits of the engine, as `merit_commit` gives them."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from chain.light import BlockIdFlag, decode_commit, decode_header

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import RPCEndpoint

HEIGHTS_KEPT: Final = 100
HEIGHTS_AT_ONCE: Final = 20  # in one reading: each asks the engine, which may be another process


@dataclass(frozen=True, slots=True)
class Signed:
    """Who decided a height: its proposer, the round of consensus (0 = the first try), each validator's vote.

    `votes`: validator address (20 bytes) -> what it signed. A validator that did not sign in time is absent by name.
    """

    height: int
    round: int
    proposer: bytes
    votes: Mapping[bytes, BlockIdFlag]

    @property
    def signed(self) -> int:
        """How many signed the block."""
        return sum(flag is BlockIdFlag.COMMIT for flag in self.votes.values())


@dataclass(frozen=True, slots=True)
class Validator:
    """A validator of the newest height."""

    address: bytes
    power: int


class Signers:
    """The newest heights, oldest first, and the validators of the newest one; one thread reads them in."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._heights: deque[Signed] = deque(maxlen=HEIGHTS_KEPT)
        self.validators: tuple[Validator, ...] = ()

    @property
    def height(self) -> int:
        """The newest height that was read."""
        return self._heights[-1].height if self._heights else 0

    @property
    def heights(self) -> tuple[Signed, ...]:
        """The newest heights, the newest first."""
        return tuple(reversed(self._heights))

    def of(self, height: int) -> Signed | None:
        """Return one of them."""
        return next((one for one in self.heights if one.height == height), None)

    def read(self, w3: "Web3") -> bool:
        """Read some heights that are new; tell whether there are more."""
        newest = int(_ask(w3, "merit_status", [])["height"], 16)
        first = max(self.height + 1, newest - HEIGHTS_KEPT + 1, 1)
        last = min(newest, first + HEIGHTS_AT_ONCE - 1)
        if first > self.height + 1:
            self._heights.clear()  # too old by now: pages speak of heights without a gap
        for height in range(first, last + 1):
            validators = validators_at(w3, height)
            self._heights.append(signed_at(w3, height, validators))
            self.validators = validators
        return last < newest


def validators_at(w3: "Web3", height: int) -> tuple[Validator, ...]:
    """Return the validators of a height, in the order in which they stand in its commit."""
    found = _ask(w3, "merit_validators", [hex(height)])
    return tuple(Validator(bytes.fromhex(one["address"][2:]), int(one["power"], 16)) for one in found)


def signed_at(w3: "Web3", height: int, validators: Sequence[Validator] = ()) -> Signed:
    """Ask who decided a height; `validators` are those of it, if they are known."""
    answer = _ask(w3, "merit_commit", [hex(height)])
    header = decode_header(bytes.fromhex(answer["header"][2:]))
    commit = decode_commit(bytes.fromhex(answer["commit"][2:]))
    flags = [BlockIdFlag(slot.flag) for slot in commit.signatures]
    names = [validator.address for validator in validators or validators_at(w3, height)]
    return Signed(height, commit.round, header.proposer_address, dict(zip(names, flags, strict=True)))


def _ask(w3: "Web3", method: str, parameters: list[object]) -> Any:  # noqa: ANN401 - what JSON holds
    return w3.manager.request_blocking(cast("RPCEndpoint", method), parameters)
