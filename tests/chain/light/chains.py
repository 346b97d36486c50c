"""Makes chains of light blocks whose validators may change at every height, and sources that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from chain import light
from tests.chain.light.certificates import CHAIN_ID, GENESIS_TIME, key, make_commit, make_header

Powers = tuple[tuple[int, int], ...]
"""The number of each validator's key, and its power."""

BLOCK_S = 10
"""Between two heights."""


@cache
def validators(powers: Powers) -> light.ValidatorSet:
    return light.ValidatorSet.of(light.Validator(key(number).public_key, power) for number, power in powers)


def make_chain(
    sets: Sequence[Powers], *, common: Sequence[light.LightBlock] = (), app_hash: bytes = b"\x01" * 32, round_: int = 0
) -> tuple[light.LightBlock, ...]:
    """Make a block for each set of validators but the last, which the last block announces; go on after `common`."""
    blocks = list(common)
    for powers, following in zip(sets[len(blocks) :], sets[len(blocks) + 1 :], strict=False):
        blocks.append(_follow(blocks, validators(powers), validators(following), app_hash, round_))
    return tuple(blocks)


def _follow(
    blocks: Sequence[light.LightBlock],
    current: light.ValidatorSet,
    following: light.ValidatorSet,
    app_hash: bytes,
    round_: int,
) -> light.LightBlock:
    before: dict[str, object] = {}
    if blocks:
        last = blocks[-1].commit
        before = {"last_block_id": last.block_id, "last_commit_hash": light.commit_hash(last)}
    header = make_header(
        current,
        len(blocks) + 1,
        time=light.Timestamp(GENESIS_TIME.seconds + BLOCK_S * len(blocks)),
        next_validators_hash=light.validators_hash(following),
        app_hash=app_hash,
        **before,
    )
    return light.LightBlock(header, make_commit(header, current, round_=round_), current)


class Shown:
    """A source that shows a chain, from height 1 on, and notes what it is asked for."""

    def __init__(self, blocks: Sequence[light.LightBlock]) -> None:
        self.blocks: Mapping[int, light.LightBlock] = {block.height: block for block in blocks}
        self.asked: list[int] = []

    def light_block(self, height: light.Height) -> light.LightBlock | None:
        self.asked.append(height)
        return self.blocks.get(height)


def with_votes(block: light.LightBlock, voters: frozenset[int]) -> light.LightBlock:
    """Let only those slots vote for the block."""
    flags = [
        light.BlockIdFlag.COMMIT if index in voters else light.BlockIdFlag.ABSENT
        for index in range(len(block.validators))
    ]
    return replace(block, commit=make_commit(block.header, block.validators, flags))


def policy(**changes: object) -> light.TrustPolicy:
    fields: dict[str, object] = {"chain_id": CHAIN_ID, "trusting_period_ns": 10**12} | changes
    return light.TrustPolicy(**fields)  # type: ignore[arg-type]


def at(seconds: float) -> light.Timestamp:
    """Return the moment so long after genesis."""
    return light.Timestamp.from_ns(GENESIS_TIME.to_ns() + int(seconds * 10**9))
