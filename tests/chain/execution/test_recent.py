"""Events that were read are remembered within a bound."""

from chain.crypto.addresses import ZERO
from chain.execution.blocks import BlockNumber, Log
from chain.execution.recent import Events, ReadEvents


def events(logs: int) -> Events:
    return ((bytes(32), (Log(ZERO, (), b""),) * logs),)


def test_the_blocks_read_last_are_remembered_as_far_as_their_logs_go() -> None:
    recent = ReadEvents(logs=10)
    for number, logs in enumerate((4, 4, 4)):
        recent.remember(BlockNumber(number), events(logs))
    assert recent.of(BlockNumber(0)) is None
    assert recent.of(BlockNumber(1)) == recent.of(BlockNumber(2)) == events(4)


def test_a_block_with_more_logs_than_the_bound_is_alone() -> None:
    recent = ReadEvents(logs=10)
    recent.remember(BlockNumber(0), events(1))
    recent.remember(BlockNumber(1), events(11))
    assert recent.of(BlockNumber(0)) is None
    assert recent.of(BlockNumber(1)) == events(11)
    recent.remember(BlockNumber(2), events(1))
    assert recent.of(BlockNumber(1)) is None


def test_a_block_without_events_is_remembered_too() -> None:
    recent = ReadEvents()
    recent.remember(BlockNumber(7), ())
    assert recent.of(BlockNumber(7)) == ()
