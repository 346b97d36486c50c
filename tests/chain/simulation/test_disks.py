"""A validator comes back from a crash at any moment, and from any damage to its files, without contradicting itself."""

from dataclasses import replace
from functools import partial

import pytest

from chain.simulation.disk import Disk
from chain.simulation.network import CALM
from chain.simulation.node import JOURNAL, SIGNER, Node
from chain.simulation.settings import Settings, draw_plan
from chain.simulation.world import Run
from merit.chance import seeded

SETTINGS = Settings(seed=1, heights=2, liars=0)


def calm(**changes: object) -> Run:
    """Return a run in which nothing breaks."""
    plan = draw_plan(SETTINGS)
    quiet = {"faults": (), "weather": CALM, "left_out": frozenset(), "brittle": frozenset(), "break_ms": 400}
    return Run(SETTINGS, replace(plan, **{**quiet, **changes}))  # type: ignore[arg-type]


def restart(run: Run, node: Node) -> None:
    """Start a node now and then if it is down."""
    if not node.running:
        node.start()
    run.scheduler.after(100, partial(restart, run, node))


def operations() -> int:
    run = calm()
    run.run()
    return run.members[0].disk.operations


@pytest.mark.parametrize("proposer", [0, 1])
def test_a_crash_at_every_disk_operation_is_survived(proposer: int) -> None:
    for operation in range(operations()):
        run = calm()
        node = run.members[proposer]
        node.disk.fuse = operation
        run.scheduler.after(100, partial(restart, run, node))
        outcome = run.run()
        assert outcome.violation is None, f"operation {operation}: {outcome.detail}"
        assert len(node.chain) == SETTINGS.heights + 1


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [JOURNAL, SIGNER])
def test_damage_anywhere_is_detected_and_the_validator_comes_back_silently(name: str, step: int) -> None:
    size = len(_stopped(20).members[0].disk.read(name))
    assert size > 50
    for position in range(0, size, step):
        run = _stopped(20)
        node = run.members[0]
        node.disk.flip(name, 8 * position + position % 8)
        run.watch.flipped.add(0)
        run.scheduler.after(100, partial(restart, run, node))
        outcome = run.run()
        assert outcome.violation is None, f"byte {position}: {outcome.detail}"
        assert outcome.counts["damage detected"] == 1


def _stopped(after: int) -> Run:
    """Return a run whose node 0 has crashed after so many disk operations; it goes on from there."""
    first = Run(SETTINGS, draw_plan(SETTINGS)).members[0].address
    run = calm(brittle=frozenset({first}))
    node = run.members[0]
    node.disk.fuse = after
    for member in run.members:
        member.start()
    run.scheduler.run(60, lambda: not node.running)
    assert not node.running
    for member in run.members:
        member.start = partial(_already, member)  # type: ignore[method-assign] # `Run.run` starts everybody
    node.start = partial(Node.start, node)  # type: ignore[method-assign]
    run.faults.start = lambda: None  # type: ignore[method-assign]
    return run


def _already(member: Node) -> None:
    assert member.running


def test_a_disk_loses_or_tears_only_what_was_not_synced() -> None:
    seen = set()
    for seed in range(60):
        disk, chance = Disk(), seeded(seed, "disk")
        disk.append("file", b"durable")
        disk.sync("file")
        disk.append("file", b"volatile")
        disk.crash(chance)
        content = disk.read("file")
        assert b"durablevolatile".startswith(content)
        assert content.startswith(b"durable")
        seen.add(len(content))
    assert {7, 15} < seen


def test_a_replaced_file_is_the_old_one_or_the_new_one() -> None:
    disk = Disk()
    disk.replace("file", b"old")
    disk.replace("file", b"new")
    disk.crash(seeded(1, "disk"))
    assert disk.read("file") == b"new"
