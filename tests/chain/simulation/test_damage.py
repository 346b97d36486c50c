"""Files of a small run: every byte of them flipped, and a crash at every write with all that may be left of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from random import Random  # noqa: TID251 - the type only

import pytest

from chain.consensus.errors import JournalError, SignerRecordError
from chain.consensus.journal import recover
from chain.consensus.signing import decode_last_signature
from chain.simulation.disk import Disk
from chain.simulation.node import JOURNAL, SIGNER, Node
from merit.chance import seeded
from tests.chain.simulation.test_disks import SETTINGS, calm, restart

STOPS = (9, 17, 25, 40)
"""Milliseconds: in the middle of heights 1 and 2, between them, and near the end."""


@dataclass(frozen=True)
class Stopped:
    """A node as a crash finds it: its disk with all that was written, synced or not."""

    node: Node
    journal: bytes
    signer: bytes


@cache
def stopped(at_ms: int) -> tuple[Stopped, ...]:
    run = calm()
    for node in run.members:
        node.start()
    run.scheduler.run(at_ms, lambda: False)
    return tuple(Stopped(node, node.disk.read(JOURNAL), node.disk.read(SIGNER)) for node in run.members)


CASES = [(at_ms, number) for at_ms in STOPS for number in range(SETTINGS.validators)]


def flips(raw: bytes, *, every_bit: bool, salt: object) -> list[tuple[int, bytes]]:
    """Return the file with each byte damaged once, in one bit by the seed, or in each of its bits."""
    chance = seeded(1, "flips", str(salt))
    found = []
    for position in range(len(raw)):
        for bit in range(8) if every_bit else [chance.randrange(8)]:
            damaged = bytearray(raw)
            damaged[position] ^= 1 << bit
            found.append((position, bytes(damaged)))
    return found


@pytest.mark.parametrize(("at_ms", "number"), CASES)
def test_every_flipped_bit_of_a_signers_record_is_detected(at_ms: int, number: int) -> None:
    found = stopped(at_ms)[number]
    assert found.signer
    decode_last_signature(found.signer)
    for _, damaged in flips(found.signer, every_bit=True, salt=number):
        with pytest.raises(SignerRecordError):
            decode_last_signature(damaged)


@pytest.mark.parametrize(("at_ms", "number"), CASES)
def test_a_flipped_byte_of_a_journal_is_detected(at_ms: int, number: int) -> None:
    """A whole journal holds no byte that does not matter: none may change and leave a journal that is believed."""
    found = stopped(at_ms)[number]
    last = decode_last_signature(found.signer)
    height, owner = found.node.driver.height, found.node.address
    at_least = last.mark if last.height == height else None
    whole = recover(found.journal, height, owner, at_least=at_least)
    assert whole.length == len(found.journal) > 0
    for _, damaged in flips(found.journal, every_bit=number == 0, salt=(at_ms, number)):
        with pytest.raises(JournalError):
            recover(damaged, height, owner, at_least=at_least)


def test_a_flipped_byte_of_a_torn_journal_is_detected_or_was_cut_off_anyway() -> None:
    """What is left of a record that was never whole holds nothing that any signature was made by."""
    detected = harmless = 0
    for at_ms, number in CASES:
        found = stopped(at_ms)[number]
        last, height, owner = decode_last_signature(found.signer), found.node.driver.height, found.node.address
        at_least = last.mark if last.height == height else None
        for lost in (1, 15, 17, 30):
            torn = found.journal[:-lost]
            try:
                before = recover(torn, height, owner, at_least=at_least)
            except JournalError:
                continue  # a signature was made by what is lost, so it was synced, and no crash tears it
            for position, damaged in flips(torn, every_bit=False, salt=(at_ms, number, lost)):
                try:
                    after = recover(damaged, height, owner, at_least=at_least)
                except JournalError:
                    detected += 1
                    continue
                assert position >= before.length, f"byte {position} changed and nobody noticed"
                same = (before.inputs, before.length, before.journal.mark)
                assert (after.inputs, after.length, after.journal.mark) == same
                harmless += 1
    assert detected > 1000
    assert harmless > 50


def _keep(disk: Disk, left: Callable[[int, int], int], _: Random) -> tuple[int, int]:
    """Crash with so much left of each file: from what was synced on up to all of it."""
    disk.fuse = None
    for name, content in disk.files.items():
        synced = disk._synced.get(name, 0)  # noqa: SLF001 - what a crash may leave is the test's to choose
        del content[left(synced, len(content)) :]
        disk._synced[name] = len(content)  # noqa: SLF001
    return 0, 0


LEFT: dict[str, Callable[[int, int], int]] = {
    "nothing": lambda synced, _: synced,
    "a byte": lambda synced, end: min(synced + 1, end),
    "all but a byte": lambda synced, end: max(synced, end - 1),
    "all": lambda _, end: end,
}


def writes(number: int) -> list[int]:
    """Return which of a node's disk operations are writes of its journal, in a run in which nothing fails."""
    run, found = calm(), list[int]()
    disk = run.members[number].disk

    def note(name: str) -> bool:
        if name == JOURNAL:
            found.append(disk.operations - 1)
        return False

    disk.fails = note
    run.run()
    return found


def crash_at(number: int, operation: int, left: str) -> None:
    run = calm()
    node = run.members[number]
    node.disk.fuse = operation
    node.disk.crash = partial(_keep, node.disk, LEFT[left])  # type: ignore[method-assign]
    run.scheduler.after(100, partial(restart, run, node))
    outcome = run.run()
    assert outcome.violation is None, f"node {number}, operation {operation}, {left} is left: {outcome.detail}"
    assert outcome.counts["crashes in the middle of a disk operation"] == 1
    assert len(node.chain) == SETTINGS.heights + 1


@pytest.mark.parametrize("left", LEFT)
def test_a_crash_at_every_third_write_of_a_journal_is_survived(left: str) -> None:
    for operation in writes(0)[::3]:
        crash_at(0, operation, left)


@pytest.mark.slow
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("number", range(SETTINGS.validators))
def test_a_crash_at_every_write_of_every_journal_is_survived(number: int, left: str) -> None:
    for operation in writes(number):
        crash_at(number, operation, left)
