"""Experiments of kind `consensus`: scripted faults and lies in virtual time, replayed exactly by their seed.

    validators, powers, heights, milliseconds, heals    who decides how much, and how long it may take
    [timeouts] [network] [[link]] [[clock]]             the world as it always is
    [[byzantine]] [[change]]                            who lies at which heights; whose power changes when
    [[fault]] [[disk]] [[drop]]                         what breaks when
    [assert]                                            what has to hold for every seed

What may be said in each is in `chain.simulation.scenario`. With `seeds` above 1 all of them are played, and the trace,
the plot and the replay command are those of the smallest that fails.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from chain.simulation.errors import SettingsError
from chain.simulation.scenario import Scenario, Validator, fault_bound_holds
from chain.simulation.script import Played, play
from merit.clock import Clock
from node.errors import ConfigError
from node.experiments.consensus_plots import latencies, plot
from node.experiments.manifest import Assertion, Result

if TYPE_CHECKING:
    from chain.simulation.trace import Block

_TRACE: Final = "trace.txt"
_PLOT: Final = "plot.png"
_EVENTS: Final = "events.jsonl"
_TOLD_EVERY: Final = 100
_FAILURES_NAMED: Final = 10

_Count = Annotated[int, msgspec.Meta(ge=0)]


class RoundOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The height is decided in a round from `least` to `most`."""

    height: Annotated[int, msgspec.Meta(ge=1)]
    least: _Count = 0
    most: _Count | None = None


class Assertions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold, besides the rules that every run must keep.

    Before the healing: `decided_least`, by default all heights, and `decided_most`; rounds lost of all heights,
    `lost_least` and `lost_most`; heights with two decisions, `forks`; `round`; `block_ms_most`: how long the slowest
    height takes. In the whole run: the validators that evidence convicts, `accused`; `counts`: what really happened at
    least so often, by the names in the result.
    """

    decided_least: _Count | None = None
    decided_most: _Count | None = None
    lost_least: _Count = 0
    lost_most: _Count | None = None
    forks: _Count = 0
    accused: tuple[Validator, ...] | None = None
    round: tuple[RoundOf, ...] = ()
    block_ms_most: _Count | None = None
    counts: dict[str, Annotated[int, msgspec.Meta(ge=1)]] = {}


class Manifest(Scenario, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"assert_": "assert"}):
    """The whole file: a heading, a scenario and what it asserts, for `seeds` seeds from `seed` on."""

    kind: str
    title: Annotated[str, msgspec.Meta(min_length=1)]
    teaches: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**62)] = 1
    seeds: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 1
    out: str = ""
    assert_: Assertions = Assertions()


def check(manifest: Manifest, source: str) -> None:
    """Refuse a scenario that cannot be played, and an assertion that can never hold."""
    try:
        manifest.check()
    except SettingsError as error:
        message = f"{source}: {error}"
        raise ConfigError(message) from error
    problem = _impossible(manifest)
    if problem:
        message = f"{source}: assert.{problem}"
        raise ConfigError(message)


def with_data(manifest: Manifest, directory: str) -> Manifest:  # noqa: ARG001 - nobody learns here
    """Return the manifest as it is."""
    return manifest


def _impossible(manifest: Manifest) -> str:
    """Say which assertion can never hold; an empty string if each may."""
    wanted, heights = manifest.assert_, manifest.heights
    least = heights if wanted.decided_least is None else wanted.decided_least
    most = heights if wanted.decided_most is None else wanted.decided_most
    if wanted.decided_most is not None and wanted.decided_least is None:
        least = 0
    if least > heights:
        return f"decided_least: {least} are more than the {heights} heights"
    if least > most:
        return f"decided_most: {most} are fewer than decided_least, {least}"
    if wanted.lost_most is not None and wanted.lost_least > wanted.lost_most:
        return f"lost_most: {wanted.lost_most} are fewer than lost_least, {wanted.lost_least}"
    if wanted.forks > heights:
        return f"forks: {wanted.forks} are more than the {heights} heights"
    if wanted.forks and fault_bound_holds(manifest):
        return "forks: with less than a third of the power lying nothing may fork"
    for name in wanted.accused or ():
        if name not in manifest.liars:
            return f"accused: {name} does not lie: evidence against it would break a rule"
    for one in wanted.round:
        if one.height > heights:
            return f"round: height {one.height} is after the last one, {heights}"
        if one.most is not None and one.least > one.most:
            return f"round: height {one.height} cannot be decided from round {one.least} to {one.most}"
    return ""


@dataclass(frozen=True, slots=True)
class _Seed:
    """What came of one seed."""

    seed: int
    played: Played
    assertions: tuple[Assertion, ...]

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.assertions)


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Play a scenario in directory `out`, which exists and is empty."""
    begun = clock.monotonic()
    failed: list[int] = []
    counts: Counter[str] = Counter()
    lost = 0
    one = shown = _play(manifest, manifest.seed)
    with (out / _EVENTS).open("wb") as log:
        for done in range(1, manifest.seeds + 1):
            counts.update(one.played.outcome.counts)
            lost += one.played.rounds_lost
            log.write(msgspec.json.encode(_event(one)) + b"\n")
            if not one.holds:
                shown = shown if failed else one
                failed.append(one.seed)
            if done % _TOLD_EVERY == 0:
                tell(f"{done} of {manifest.seeds} seeds, {len(failed)} failed")
            if done < manifest.seeds:
                one = _play(manifest, one.seed + 1)
    again = _play(manifest, shown.seed).played.outcome.digest
    lines = (*shown.played.outcome.lines, f"digest {shown.played.outcome.digest}")
    (out / _TRACE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot(out / _PLOT, title=f"{manifest.title} (seed {shown.seed})", blocks=shown.played.blocks)
    for line in lines:
        tell(line)
    figures: dict[str, Any] = {
        "seed_shown": shown.seed,
        "digest": shown.played.outcome.digest,
        "decided": shown.played.decided,
        "rounds_lost": shown.played.rounds_lost,
        "virtual_ms": shown.played.outcome.virtual_ms,
        "blocks": [_block(block) for block in shown.played.blocks],
        "counts": [{"what": what, "times": times} for what, times in sorted(counts.items())],
    }
    assertions = list(shown.assertions)
    if manifest.seeds > 1:
        figures |= {
            "seeds": manifest.seeds,
            "seeds_failed": len(failed),
            "rounds_lost_mean": round(lost / manifest.seeds, 3),
            "failed": failed[:_FAILURES_NAMED],
        }
        detail = f"{manifest.seeds - len(failed)} of {manifest.seeds}"
        assertions.insert(0, Assertion(name="every seed", holds=not failed, detail=detail))
    if failed:
        figures["replay"] = f"merit experiment run {out / 'experiment.toml'} --seed {shown.seed}"
        tell(f"seed {shown.seed} is the smallest that fails; replay it with {figures['replay']}")
    same = again == shown.played.outcome.digest
    assertions.append(Assertion(name="the same digest again", holds=same, detail=again[:16]))
    return Result(
        kind="consensus",
        title=manifest.title,
        seed=manifest.seed,
        holds=all(one.holds for one in assertions),
        seconds=round(clock.monotonic() - begun, 3),
        assertions=tuple(assertions),
        figures=figures,
        files={"trace": str(out / _TRACE), "events": str(out / _EVENTS), "plot": str(out / _PLOT)},
    )


def _play(manifest: Manifest, seed: int) -> _Seed:
    played = play(manifest, seed, forks_end=not manifest.assert_.forks)
    return _Seed(seed, played, tuple(_judge(manifest, played)))


def _judge(manifest: Manifest, played: Played) -> list[Assertion]:
    """Compare what came of a seed with what is asserted."""
    wanted, outcome = manifest.assert_, played.outcome
    broken = outcome.violation
    found = [
        Assertion(
            name="the rules hold",
            holds=broken is None,
            detail="all of them" if broken is None else f"{broken.value}: {outcome.detail}",
        )
    ]
    least, most = wanted.decided_least, wanted.decided_most
    if least is None:
        least = manifest.heights if most is None else 0
    found.append(_between("heights decided", played.decided, least, most))
    if wanted.lost_least or wanted.lost_most is not None:
        found.append(_between("rounds lost", played.rounds_lost, wanted.lost_least, wanted.lost_most))
    if wanted.forks:
        found.append(_between("forks", len(played.forks), wanted.forks, wanted.forks))
    if wanted.accused is not None:
        accused, named = ", ".join(played.accused) or "nobody", tuple(sorted(wanted.accused))
        found.append(Assertion(name="evidence", holds=played.accused == named, detail=f"against {accused}"))
    for one in wanted.round:
        rounds = [block.round for block in played.blocks if block.height == one.height]
        found.append(_between(f"round of height {one.height}", rounds[0] if rounds else None, one.least, one.most))
    if wanted.block_ms_most is not None:
        slowest = max(latencies(played.blocks), default=None)
        found.append(_between("slowest height, ms", slowest, 0, wanted.block_ms_most))
    found += [_between(what, outcome.counts.get(what, 0), times, None) for what, times in wanted.counts.items()]
    return found


def _between(name: str, found: int | None, least: int, most: int | None) -> Assertion:
    bounds = f"{least} or more" if most is None else f"{least}" if least == most else f"{least} to {most}"
    holds = found is not None and found >= least and (most is None or found <= most)
    return Assertion(name=name, holds=holds, detail=f"{'none' if found is None else found} of {bounds}")


def _event(one: _Seed) -> dict[str, Any]:
    played, outcome = one.played, one.played.outcome
    return {
        "event": "seed",
        "seed": one.seed,
        "holds": one.holds,
        "digest": outcome.digest,
        "broken": None if outcome.violation is None else outcome.violation.value,
        "decided": played.decided,
        "rounds_lost": played.rounds_lost,
        "forks": len(played.forks),
        "accused": played.accused,
        "virtual_ms": outcome.virtual_ms,
        "failed": [assertion.name for assertion in one.assertions if not assertion.holds],
    }


def _block(block: "Block") -> dict[str, Any]:
    return {
        "height": block.height,
        "round": block.round,
        "at_ms": block.at_ms,
        "proposer": block.proposer,
        "lost": block.lost,
    }
