"""Many seeds, resumably: a log with a line for each block of seeds, which a later call goes on with.

The log is JSON Lines: first what is run and the digest of the sources it is run with, then a line per block of seeds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from chain.simulation.errors import CampaignError
from chain.simulation.settings import Settings
from chain.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BLOCK: Final = 500
"""Seeds in one line of the log."""

_SOURCES: Final = ("chain.consensus", "chain.simulation")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a campaign runs: `seeds` from `first` on, each with every number of validators."""

    first: int
    seeds: int
    validators: tuple[int, ...]
    heights: int
    block: int
    sources: str


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run that broke a rule."""

    seed: int
    validators: int
    rule: str
    detail: str


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of the seeds from `first` on, below `until`; `digest` is over the digests of all of its runs."""

    validators: int
    first: int
    until: int
    failures: tuple[Failure, ...]
    decided: int
    rounds_lost: int
    events: int
    counts: dict[str, int]
    digest: str


@dataclass(slots=True)
class Totals:
    """Of all blocks so far."""

    runs: int = 0
    failures: list[Failure] = field(default_factory=list)
    decided: int = 0
    rounds_lost: int = 0
    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    by_validators: Counter[int] = field(default_factory=Counter)

    def add(self, block: Block) -> None:
        """Add a block."""
        self.runs += block.until - block.first
        self.by_validators[block.validators] += block.until - block.first
        self.failures.extend(block.failures)
        self.decided += block.decided
        self.rounds_lost += block.rounds_lost
        self.events += block.events
        self.counts.update(block.counts)


def run_campaign(
    first: int,
    until: int,
    validators: Sequence[int],
    *,
    heights: int = 5,
    block: int = BLOCK,
    log: Path | None = None,
    tell: Callable[[Totals], None] | None = None,
) -> Totals:
    """Run the seeds from `first` on, below `until`, with each number of validators; go on with `log` where it ends.

    `tell` hears the totals after each block. Raises SettingsError, CampaignError.
    """
    if until <= first:
        message = f"there is no seed from {first} on that is below {until}"
        raise CampaignError(message)
    for count in validators:
        Settings(
            seed=first, validators=count, heights=heights
        )  # refuses what cannot be simulated, before anything runs
    head = Head(first, until - first, tuple(validators), heights, block, sources_digest())
    totals, done = Totals(), 0
    if log is not None:
        for found in _resume(log, head):
            totals.add(found)
            done += 1
    blocks = [(count, begin, min(begin + block, until)) for begin in range(first, until, block) for count in validators]
    for count, begin, end in blocks[done:]:
        made = _run_block(count, begin, end, heights)
        if log is not None:
            _append(log, made)
        totals.add(made)
        if tell is not None:
            tell(totals)
    return totals


def sources_digest() -> str:
    """Return the SHA-256 over the sources of core and simulation, in hexadecimal."""
    digest = sha256()
    for package in _SOURCES:
        for file in sorted(files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _run_block(validators: int, first: int, until: int, heights: int) -> Block:
    digest, counts, failures = sha256(), Counter[str](), list[Failure]()
    decided = rounds_lost = events = 0
    for seed in range(first, until):
        outcome = simulate(Settings(seed=seed, validators=validators, heights=heights))
        digest.update(bytes.fromhex(outcome.digest))
        counts.update(outcome.counts)
        decided += outcome.decided
        rounds_lost += outcome.rounds_lost
        events += outcome.events
        if outcome.violation is not None:
            failures.append(Failure(seed, validators, outcome.violation.value, outcome.detail))
    return Block(
        validators, first, until, tuple(failures), decided, rounds_lost, events, dict(counts), digest.hexdigest()
    )


def _resume(log: Path, head: Head) -> list[Block]:
    if not log.exists() or b"\n" not in log.read_bytes():
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(msgspec.json.encode(head) + b"\n")
        return []
    raw = log.read_bytes()
    if not raw.endswith(b"\n"):  # whoever wrote the last line was stopped in the middle of it
        raw = raw[: raw.rfind(b"\n") + 1]
        log.write_bytes(raw)
    lines = raw.splitlines()
    try:
        found = msgspec.json.decode(lines[0], type=Head)
        blocks = [msgspec.json.decode(line, type=Block) for line in lines[1:]]
    except msgspec.DecodeError as error:
        message = f"{log}: is no log of a campaign, or damaged ({error}); name another file"
        raise CampaignError(message) from error
    if found != head:
        message = f"{log}: holds another campaign, or one of another version of the sources; name another file"
        raise CampaignError(message)
    return blocks


def _append(log: Path, line: Block) -> None:
    with log.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")
