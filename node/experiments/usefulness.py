"""Experiments of kind `usefulness`: what scoring rules pay, to whom, under which attack, in simulated federations.

    [[federation]]  a data set, a model, clients and a server: a scenario of `learner.simulation` with a name
    [[partition]]   how the samples are dealt out; without any, as each federation says
    [[attack]]      what a share of the clients does
    [axes]          parameters of the scenario that take several values each, all crossed
    [grid]          rules, seeds, and for how long
    [[plot]]        figures over an axis
    [[compare]]     differences along an axis, seed by seed
    [assert]        what has to hold at the end

Each federation runs with each partition, variant, rule, attack and seed, besides with nobody attacking ("none") and
without the attackers ("absent"). Every run is a file under cells/; a run that was cut off goes on with those that are
missing.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from learner.attacks import AnyAttack
from learner.contribution import names
from learner.errors import LearnerError
from learner.naming import word
from learner.simulation.scenario import Partition, Rules, Scenario, check_scenario
from merit.clock import Clock
from node.errors import ConfigError
from node.experiments.manifest import Assertion, Heading, Result, mnist_directory
from node.experiments.usefulness_axes import Axes, variants, word_of
from node.experiments.usefulness_plots import plot_curves, plot_lines, plot_matrix
from node.experiments.usefulness_tables import (
    COLUMNS,
    Place,
    Row,
    difference_table,
    differences,
    rows_of,
    text_table,
)
from node.experiments.usefulness_views import Comparison, Labels, Plot, check_views, pairs, panels

if TYPE_CHECKING:
    from learner.simulation.grid import Cell, Done
    from learner.simulation.summary import Summary

Count = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+$")]

NONE: Final = "none"
ABSENT: Final = "absent"
CELLS = "cells"
_EVENTS = "events.jsonl"
_TABLE = "table.txt"
_DIFFERENCES = "differences.txt"
_GRIDS_OWN = ("attack", "attackers_away", "seed")
_NO_AXES = (*_GRIDS_OWN, "partition", "rules.scoring")


class Federation(Scenario, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario with a name; attack and seed are the grid's to set."""

    name: Name

    def scenario(self) -> Scenario:
        """Return it without the name."""
        return Scenario(**{field: getattr(self, field) for field in Scenario.__struct_fields__})


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is run: each rule, with each attack, for `seeds` seeds from the manifest's on.

    `minutes`: after so many no run begins any more (0: all begin); those that did not are listed. `workers`: processes.
    `columns`: the figures of the tables in place of the usual ones.
    """

    rules: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    seeds: Count = 1
    references: tuple[Literal["none", "absent"], ...] = (NONE, ABSENT)
    minutes: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    columns: tuple[str, ...] = ()

    @property
    def headings(self) -> dict[str, str]:
        """Figure -> heading of its column."""
        return {what: COLUMNS.get(what, what) for what in self.columns or COLUMNS}


class Bound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mean over the seeds of a figure lies from `least` to `most`, in each federation and partition that is meant.

    Empty names mean all.
    """

    what: Literal["accuracy", "auc_update", "auc_client", "attackers_share", "starved", "accuracy_lost"]
    rule: str
    attack: str
    federation: str = ""
    partition: str = ""
    least: float = 0.0
    most: float = 1.0


class Assertions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold; `complete`: every run of the grid was made."""

    complete: bool = True
    bounds: tuple[Bound, ...] = ()


class Manifest(Heading, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"assert_": "assert"}):
    """The whole file; `directory` is where MNIST lies."""

    grid: Grid
    federation: Annotated[tuple[Federation, ...], msgspec.Meta(min_length=1)]
    partition: tuple[Partition, ...] = ()
    attack: tuple[AnyAttack, ...] = ()
    axes: Axes = msgspec.field(default_factory=dict)
    plot: tuple[Plot, ...] = ()
    compare: tuple[Comparison, ...] = ()
    directory: str = ""
    assert_: Assertions = Assertions()


def check(manifest: Manifest, source: str) -> None:
    """Refuse a grid with nothing in it, twice the same, what contradicts itself, or bounds on what is not made."""
    for axis, values in manifest.axes.items():
        if axis in _NO_AXES or not values:
            message = f"{source}: axes: {axis} {'is set by the grid' if axis in _NO_AXES else 'has no values'}"
            raise ConfigError(message)
    places = [(place, cell) for place, cell in cells(manifest)]
    made = {place for place, _ in places}
    problem = ""
    if not manifest.attack and not manifest.grid.references:
        problem = "nothing to do: name an [[attack]] or grid.references"
    elif len({cell.name for _, cell in places}) < len(places):
        problem = "a federation, partition, rule or attack occurs twice"
    for federation in manifest.federation:
        for field in _GRIDS_OWN:
            if getattr(federation, field) != getattr(Scenario(), field) and not problem:
                problem = f"federation {federation.name}: {field} is the grid's to set: leave it out"
    known = names(Rules().version)
    for rule in manifest.grid.rules:
        if rule not in known and not problem:
            problem = f"grid.rules: no scoring rule {rule!r}: choose of {', '.join(known)}"
    check_views(manifest.plot, manifest.compare, labels(manifest))
    for bound in manifest.assert_.bounds:
        if not problem and not any(_meant(bound, place) for place in made):
            problem = f"assert.bounds: no run of rule {bound.rule!r} with attack {bound.attack!r} is made there"
    for _, cell in places if not problem else []:
        try:
            check_scenario(cell.scenario)
        except LearnerError as error:
            problem = f"{cell.name}: {error}"
            break
    if problem:
        message = f"{source}: {problem}"
        raise ConfigError(message)


def with_data(manifest: Manifest, directory: str) -> Manifest:
    """Return the manifest with the directory of MNIST."""
    return msgspec.structs.replace(manifest, directory=directory)


def cells(manifest: Manifest) -> "Iterator[tuple[Place, Cell]]":
    """Yield every run of the grid and its place, seed by seed, so that what is cut off lacks seeds and not rules."""
    from learner.simulation.grid import Cell  # noqa: PLC0415 - needs torch, which naming an experiment does not

    grid = manifest.grid
    attacks: list[tuple[str, AnyAttack | None]] = [(reference, None) for reference in grid.references]
    attacks += [(word(attack), attack) for attack in manifest.attack]
    for seed, federation in product(range(manifest.seed, manifest.seed + grid.seeds), manifest.federation):
        for partition in manifest.partition or (federation.partition,):
            for (label, attack), rule in product(attacks, grid.rules):
                plain = msgspec.structs.replace(
                    federation.scenario(),
                    partition=partition,
                    rules=msgspec.structs.replace(federation.rules, scoring=rule),
                    attack=attack,
                    attackers_away=label == ABSENT,
                    seed=seed,
                )
                for variant in variants(plain, manifest.axes):
                    place = Place(federation.name, word(partition), rule, label, variant.name)
                    yield place, Cell("-".join([*filter(None, place), f"seed-{seed}"]), variant.scenario)


def labels(manifest: Manifest) -> Labels:
    """Give the words of every place on the axes that there are, those of the grid among them."""
    words = {
        "-".join(chosen): dict(zip(manifest.axes, chosen, strict=True))
        for chosen in product(*(map(word_of, values) for values in manifest.axes.values()))
    }
    return {
        place: {**{axis: getattr(place, axis) for axis in Place._fields[:-1]}, **words[place.variant]}
        for place, _ in cells(manifest)
    }


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty or holds a run of the same file that was cut off.

    Raises:
        MeritError: data or torch is not there, before anything is computed, or a file of an earlier run is damaged.

    """
    from learner.simulation.grid import load, run_cells  # noqa: PLC0415 - with torch

    directory = mnist_directory(manifest.directory)
    placed = list(cells(manifest))
    for scenario in {cell.scenario.data: cell.scenario for _, cell in placed}.values():
        load(scenario, directory)
    begun = clock.monotonic()

    def elapsed() -> float:
        return round(clock.monotonic() - begun, 1)

    minutes = manifest.grid.minutes
    ended = run_cells(
        [cell for _, cell in placed],
        out / CELLS,
        mnist_directory=directory,
        workers=manifest.grid.workers,
        go_on=lambda: not minutes or clock.monotonic() - begun < 60 * minutes,
    )
    done: dict[str, Done] = {}
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not Console(stderr=True).is_terminal,
    )  # fmt: skip
    with bar, (out / _EVENTS).open("ab") as log:
        task = bar.add_task("runs", total=len(placed))
        while (one := await asyncio.to_thread(next, ended, None)) is not None:
            done[one.name] = one
            bar.update(task, completed=len(done), description=one.name)
            if one.cpu_seconds or one.reason:
                log.write(msgspec.json.encode(_event(one, elapsed())) + b"\n")
                log.flush()
            if bar.disable:
                tell(f"{elapsed():7.1f} s  {len(done)} of {len(placed)}  {one.name}{_found(one)}")
    return _result(manifest, out, placed, done, seconds=elapsed(), tell=tell)


def _result(
    manifest: Manifest,
    out: Path,
    placed: "Sequence[tuple[Place, Cell]]",
    done: "dict[str, Done]",
    *,
    seconds: float,
    tell: Callable[[str], None],
) -> Result:
    summaries: dict[Place, dict[int, Summary]] = {place: {} for place, _ in placed}
    for place, cell in placed:
        one = done.get(cell.name)
        if one is not None and one.summary is not None:
            summaries[place][cell.scenario.seed] = one.summary
    rows = rows_of(summaries, absent=ABSENT)
    table = text_table(rows, manifest.grid.headings)
    (out / _TABLE).write_text(table, encoding="utf-8")
    tell(table)
    compared = [pair for one in manifest.compare for pair in pairs(one, labels(manifest))]
    found = differences(summaries, compared)
    if found:
        (out / _DIFFERENCES).write_text(difference_table(found, manifest.grid.headings), encoding="utf-8")
        tell((out / _DIFFERENCES).read_text(encoding="utf-8"))
    not_run = [cell.name for _, cell in placed if cell.name not in done]
    failed = [{"cell": one.name, "reason": one.reason} for one in done.values() if one.summary is None]
    for name in not_run:
        tell(f"not run: {name}")
    assertions = [_bound(bound, rows) for bound in manifest.assert_.bounds]
    if manifest.assert_.complete:
        lacking = len(not_run) + len(failed)
        detail = f"{len(placed) - lacking} of {len(placed)} runs" + (f"; {failed[0]['reason']}" if failed else "")
        assertions.insert(0, Assertion(name="complete", holds=not lacking, detail=detail))
    fresh = [one for one in done.values() if one.summary is not None and one.cpu_seconds]
    updates = sum(one.summary.updates for one in fresh if one.summary is not None)
    cpu_seconds = sum(one.cpu_seconds for one in fresh)
    return Result(
        kind="usefulness",
        title=manifest.title,
        seed=manifest.seed,
        holds=all(one.holds for one in assertions),
        seconds=seconds,
        assertions=tuple(assertions),
        figures={
            "runs": len(placed),
            "updates": updates,
            "updates_per_cpu_second": round(updates / cpu_seconds, 1) if cpu_seconds else None,
            "table": [{**row.place._asdict(), **row.figures()} for row in rows],
            "not_run": not_run,
            "failed": failed,
        },
        files={
            "events": str(out / _EVENTS),
            "table": str(out / _TABLE),
            **({"differences": str(out / _DIFFERENCES)} if found else {}),
            **(_pictures(manifest, out, rows, placed) if not manifest.axes else {}),
            **_lines(manifest, out, rows),
        },
    )


def _pictures(
    manifest: Manifest, out: Path, rows: Sequence[Row], placed: "Sequence[tuple[Place, Cell]]"
) -> dict[str, str]:
    """Draw a picture for each figure of which there is anything, and accuracy over virtual time."""
    files = {}
    for what in ("attackers_share", "accuracy", "auc_client"):
        found = [row for row in rows if row.values.get(what) is not None]
        mark = None
        if what == "attackers_share":
            found = [row for row in found if row.place.attack != ABSENT]
            mark = manifest.federation[0].attackers
        if found:
            files[what] = str(out / f"{what.replace('_', '-')}.png")
            plot_matrix(Path(files[what]), title=manifest.title, rows=found, what=what, label=COLUMNS[what], mark=mark)
    curves: dict[Place, list[list[tuple[float, float]]]] = {}
    for place, cell in placed:
        file = out / CELLS / f"{cell.name}.jsonl"
        if file.exists():
            curves.setdefault(place, []).append(_curve(file))
    if curves:
        files["curves"] = str(out / "curves.png")
        plot_curves(Path(files["curves"]), title=manifest.title, curves=curves)
    return files


def _lines(manifest: Manifest, out: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Draw the plots that the file asks for."""
    files, of = {}, labels(manifest)
    for one in manifest.plot if rows else ():
        files[one.name] = str(out / f"{one.name}.png")
        words = list(dict.fromkeys(own[one.x] for own in of.values()))
        found = panels(one, rows, of)
        plot_lines(Path(files[one.name]), title=manifest.title, x=one.x, panels=found, words=words)
    return files


def _curve(file: Path) -> list[tuple[float, float]]:
    """Read (virtual seconds, accuracy) of each evaluation of a run."""
    events = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    return [(one["at_us"] / 1e6, one["accuracy"]) for one in events if one["event"] == "evaluation"]


def _bound(bound: Bound, rows: Sequence[Row]) -> Assertion:
    found = [row.values[bound.what] for row in rows if _meant(bound, row.place)]
    holds = bool(found) and all(one is not None and bound.least <= one.mean <= bound.most for one in found)
    means = ", ".join("nothing" if one is None else f"{one.mean:.3f}" for one in found)
    return Assertion(
        name=f"{bound.what} of {bound.rule} under {bound.attack}",
        holds=holds,
        detail=f"{means or 'nothing'} of {bound.least:g} to {bound.most:g}",
    )


def _meant(bound: Bound, place: Place) -> bool:
    return (
        (bound.rule, bound.attack) == (place.rule, place.attack)
        and bound.federation in {"", place.federation}
        and bound.partition in {"", place.partition}
    )


def _event(one: "Done", seconds: float) -> dict[str, Any]:
    updates = one.summary.updates if one.summary is not None else 0
    return {
        "seconds": seconds,
        "event": "run",
        "cell": one.name,
        "cpu_seconds": round(one.cpu_seconds, 3),
        "updates_per_cpu_second": round(updates / one.cpu_seconds, 1) if one.cpu_seconds else None,
        "reason": one.reason,
    }


def _found(one: "Done") -> str:
    if one.summary is None:
        return f": {one.reason}"
    share = one.summary.attackers_share
    return f": accuracy {one.summary.accuracy:.3f}" + ("" if share is None else f", attackers' share {share:.3f}")
