"""Experiments of kind `allocation`: the figures of arXiv 1905.01656, for every scheme that allocates tasks.

    [scenario]     what the learners are (the paper's Table I), federated or parallelised
    [staleness]    Figure 2: staleness, greatest and average, over the number of learners
    [accuracy]     Figure 3: validation accuracy over global cycles, trained for real
    [[paper]]      what the paper reports; the result says what was found for each
    [assert]       what has to hold at the end

Every point is made once per seed; a seed decides where the learners stand, and, where they train, the first model and
how the samples are dealt out and ordered. All allocations are made, and the data read, before anybody trains.
A run that was cut off goes on where events.jsonl ends: a training that is whole there is not made again.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

import msgspec

from learner.allocation.instance import Allocation, Instance
from learner.allocation.scenario import Learning, Scenario, generate
from learner.allocation.schemes import FILLING, SCHEMES
from learner.data import Split, digits, mnist
from merit.clock import Clock
from node.errors import ConfigError
from node.experiments.allocation_plots import Curve, plot_accuracy, plot_staleness
from node.experiments.manifest import Assertion, Heading, Result
from node.experiments.manifest import mnist_directory as mnist_in

Scheme = Literal["least", "most-updates", "sai", "ipopt", "synchronous", "equal"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Learners = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

TABLE_SAMPLES = Scenario().samples
_EVENTS = "events.jsonl"
CURVES: tuple[Scheme, ...] = ("most-updates", "least", "synchronous", "equal")


class ScenarioPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs from the defaults of `learner.allocation.scenario.Scenario`.

    `samples`: with fewer than the 60,000 of Table I, the cycle and the way of the model shrink alike, so that the same
    updates fit. `loss_db` and `loss_db_per_decade` of distance: 70 and 21 is the other reading of the path loss.
    """

    learning: Learning = "federated"
    samples: Count = TABLE_SAMPLES
    least_updates: Literal[0, 1] = 1
    loss_db: float = Scenario().loss_db
    loss_db_per_decade: float = Scenario().loss_db_per_decade


class StalenessPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figure 2: each scheme for each number of learners, cycle in seconds, and seed."""

    learners: Annotated[tuple[Learners, ...], msgspec.Meta(min_length=1)]
    seconds: Annotated[tuple[Above0, ...], msgspec.Meta(min_length=1)]
    seeds: Count = 10
    schemes: Annotated[tuple[Scheme, ...], msgspec.Meta(min_length=1)] = ("least", "most-updates", "sai", "equal")


class AccuracyPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figure 3: each scheme trains for so many global cycles of `seconds`.

    `data`: mnist lies in `directory`, by default mnist/ in $MERIT_SHARED or in ../shared; digits come with
    scikit-learn. A learner's update is one pass over its samples in batches of `batch_size`.
    """

    learners: Annotated[tuple[Learners, ...], msgspec.Meta(min_length=1)]
    seconds: Above0
    seeds: Count = 3
    cycles: Count = 10
    schemes: Annotated[tuple[Scheme, ...], msgspec.Meta(min_length=1)] = CURVES
    data: Literal["mnist", "digits"] = "mnist"
    directory: str = ""
    model: str = "mlp"
    batch_size: Count = 128
    learning_rate: Above0 = 0.1


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number of the paper: `value` of `what` for a scheme; 0 cycles for "never".

    `what`: max_staleness or average_staleness, or the cycles after which the accuracy first reaches `reaches`.
    """

    scheme: Scheme
    learners: Learners
    seconds: Above0
    what: Literal["max_staleness", "average_staleness", "cycles"]
    value: float
    reaches: Share = 0.95


class StalenessBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mean over seeds of a scheme's greatest or average staleness lies from `least` to `most`."""

    scheme: Scheme
    learners: Learners
    seconds: Above0
    what: Literal["max_staleness", "average_staleness"]
    least: float = 0.0
    most: float


class AccuracyBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mean over seeds of a scheme's accuracy is at least `least` after its last cycle."""

    scheme: Scheme
    learners: Learners
    least: Share


class Assertions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold.

    `exact_is_best`: on no instance does a scheme that fills the cycle have less staleness than `least`, or with a
    staleness of at most 1 more updates than `most-updates`.
    """

    exact_is_best: bool = True
    staleness: tuple[StalenessBound, ...] = ()
    accuracy: tuple[AccuracyBound, ...] = ()


class Manifest(Heading, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"assert_": "assert"}):
    """The whole file."""

    scenario: ScenarioPart = ScenarioPart()
    staleness: StalenessPart | None = None
    accuracy: AccuracyPart | None = None
    paper: tuple[Published, ...] = ()
    assert_: Assertions = Assertions()


def check(manifest: Manifest, source: str) -> None:
    """Refuse what makes nothing, or asks about what is not made; ConfigError in one line."""
    staleness, accuracy, wanted = manifest.staleness, manifest.accuracy, manifest.assert_
    made: set[tuple[str, str, int, float]] = set()
    if staleness is not None:
        made |= set(product(("staleness",), staleness.schemes, staleness.learners, staleness.seconds))
    if accuracy is not None:
        made |= set(product(("accuracy",), accuracy.schemes, accuracy.learners, (accuracy.seconds,)))
    asked = [
        *(
            ("paper", ("accuracy" if p.what == "cycles" else "staleness", p.scheme, p.learners, p.seconds))
            for p in manifest.paper
        ),
        *(("assert.staleness", ("staleness", b.scheme, b.learners, b.seconds)) for b in wanted.staleness),
        *(
            ("assert.accuracy", ("accuracy", b.scheme, b.learners, accuracy.seconds if accuracy else 0.0))
            for b in wanted.accuracy
        ),
    ]
    problem = "" if made else "nothing to do: give it a [staleness] or an [accuracy] table"
    for where, (part, scheme, learners, seconds) in asked:
        if (part, scheme, learners, seconds) not in made and not problem:
            problem = f"{where}: [{part}] makes no point of {scheme} with {learners} learners and {seconds:g} s"
    if problem:
        message = f"{source}: {problem}"
        raise ConfigError(message)


def with_data(manifest: Manifest, directory: str) -> Manifest:
    """Return the manifest with the directory of MNIST; as it is when nobody trains."""
    if manifest.accuracy is None:
        return manifest
    return msgspec.structs.replace(manifest, accuracy=msgspec.structs.replace(manifest.accuracy, directory=directory))


@dataclass(frozen=True, slots=True)
class Point:
    """Where a scheme is asked for an allocation."""

    scheme: Scheme
    learners: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What an earlier run wrote down of a training: by which allocation, and the accuracy after each cycle."""

    d: list[int]
    tau: list[int]
    accuracies: list[float]

    def is_of(self, allocation: Allocation) -> bool:
        """Whether the same allocation is asked for now."""
        return (
            allocation.d is not None
            and allocation.tau is not None
            and (self.d, self.tau) == (allocation.d.tolist(), allocation.tau.tolist())
        )


def read_trainings(log: Path) -> dict[Point, Trained]:
    """Read the trainings of an earlier run, whole or not; none where there is no log. A line cut off is left out."""
    found: dict[Point, Trained] = {}
    for line in log.read_bytes().splitlines() if log.exists() else []:
        if not line:
            continue
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # the process ended while it wrote this line
        point = Point(event["scheme"], event["K"], event["T"], event["seed"])
        if event["event"] == "allocation" and event["d"] is not None:
            before = found.get(point)
            if before is None or (before.d, before.tau) != (event["d"], event["tau"]):
                found[point] = Trained(event["d"], event["tau"], [])
        elif event["event"] == "cycle":
            del found[point].accuracies[event["cycle"] - 1 :]  # one that began again
            found[point].accuracies.append(event["accuracy"])
    return found


async def run(manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> Result:
    """Run an experiment in directory `out`, which exists and is empty or holds a run of the same file that was cut off.

    Raises:
        MeritError: data, torch or a solver is not there, before anything is computed.

    """
    return await _Experiment(manifest, out, clock, tell).run()


class _Experiment:
    """One experiment under way."""

    def __init__(self, manifest: Manifest, out: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        self._manifest, self._out, self._clock, self._tell = manifest, out, clock, tell
        self._began = clock.monotonic()
        self._found: dict[Point, Allocation] = {}
        self._earlier = read_trainings(out / _EVENTS)
        if self._earlier:
            with (out / _EVENTS).open("ab") as log:
                log.write(b"\n")  # ends a line that was cut off
        self._accuracies: dict[Point, list[float]] = {}
        self._instances: dict[tuple[int, float, int], Instance] = {}

    async def run(self) -> Result:
        """Do all of it."""
        manifest, accuracy = self._manifest, self._manifest.accuracy
        split = None if accuracy is None else load_data(accuracy, manifest.seed, manifest.scenario.samples)
        for point in dict.fromkeys(_points(manifest)):  # both figures may ask for one
            self._found[point] = await asyncio.to_thread(self._allocate, point)
        files = {}
        if manifest.staleness is not None:
            files["staleness"] = self._picture_staleness(manifest.staleness)
        if accuracy is not None and split is not None:
            import torch  # noqa: PLC0415 - takes seconds to load

            torch.set_num_threads(1)  # what makes training the same on every run
            for point in _accuracy_points(accuracy, manifest.seed):
                await self._train(point, accuracy, split)
            files["accuracy"] = self._picture_accuracy(accuracy)
        assertions = self._assertions()
        for one in manifest.paper:
            self._tell(f"{_wanted(one)}: the paper {one.value:g}, ours {self._ours(one)}")
        return Result(
            kind="allocation",
            title=manifest.title,
            seed=manifest.seed,
            holds=all(one.holds for one in assertions),
            seconds=round(self._clock.monotonic() - self._began, 1),
            assertions=tuple(assertions),
            figures=self._figures(),
            files={"events": str(self._out / _EVENTS), **files},
        )

    # -- staleness --------------------------------------------------------------------------------------------------

    def _allocate(self, point: Point) -> Allocation:
        """Ask the scheme, and write down what it says."""
        found = SCHEMES[point.scheme](self._instance(point))
        self._log(
            "allocation",
            point,
            status=found.status,
            reason=found.reason,
            max_staleness=found.max_staleness,
            average_staleness=found.average_staleness,
            d=None if found.d is None else found.d.tolist(),
            tau=None if found.tau is None else found.tau.tolist(),
        )
        return found

    def _instance(self, point: Point) -> Instance:
        key = (point.learners, point.seconds, point.seed)
        if key not in self._instances:
            part = self._manifest.scenario
            table = Scenario(
                learning=part.learning,
                seconds=point.seconds,
                least_updates=part.least_updates,
                loss_db=part.loss_db,
                loss_db_per_decade=part.loss_db_per_decade,
            )
            scenario = table.shrunk(part.samples / TABLE_SAMPLES)
            self._instances[key] = generate(scenario, learners=point.learners, seed=point.seed)
        return self._instances[key]

    def _mean(self, scheme: str, learners: int, seconds: float, what: str) -> tuple[float, float] | None:
        """Mean and deviation over the seeds of a scheme's staleness; None where it found nothing."""
        values = [
            getattr(found, what)
            for point, found in self._found.items()
            if (point.scheme, point.learners, point.seconds) == (scheme, learners, seconds) and found.tau is not None
        ]
        return _spread(values) if values else None

    def _picture_staleness(self, part: StalenessPart) -> str:
        curves = {
            (what, seconds): [
                Curve.of(scheme, [(k, self._mean(scheme, k, seconds, what)) for k in part.learners])
                for scheme in part.schemes
            ]
            for what, seconds in product(("max_staleness", "average_staleness"), part.seconds)
        }
        path = self._out / "staleness.png"
        plot_staleness(path, title=self._manifest.title, seconds=part.seconds, curves=curves)
        return str(path)

    # -- accuracy ---------------------------------------------------------------------------------------------------

    async def _train(self, point: Point, part: AccuracyPart, split: Split) -> None:
        """Train by the point's allocation for all cycles, unless it has none."""
        from learner.allocation.cycles import cycles  # noqa: PLC0415 - loads torch
        from learner.training import SGD  # noqa: PLC0415 - as above

        allocation = self._found[point]
        if allocation.d is None or allocation.tau is None:
            self._tell(f"{_named(point)}: {allocation.reason}")
            return
        steps = cycles(
            split,
            allocation.d.tolist(),
            allocation.tau.tolist(),
            model=part.model,
            sgd=SGD(epochs=1, batch_size=part.batch_size, learning_rate=part.learning_rate),
            redealt=self._manifest.scenario.learning == "parallelised",
            seed=point.seed,
        )
        reached = self._accuracies.setdefault(point, [])
        earlier = self._earlier.get(point)
        if earlier and len(earlier.accuracies) >= part.cycles and earlier.is_of(allocation):
            reached += earlier.accuracies[: part.cycles]
            return
        for cycle in range(1, part.cycles + 1):
            evaluation = await asyncio.to_thread(next, steps)
            reached.append(evaluation.accuracy)
            self._log("cycle", point, cycle=cycle, accuracy=evaluation.accuracy, loss=evaluation.loss)
        self._tell(f"{self._elapsed():7.1f} s  {_named(point)}: {' '.join(f'{one:.3f}' for one in reached)}")

    def _curve(self, scheme: str, learners: int) -> list[tuple[float, float]]:
        """Mean and deviation over the seeds of a scheme's accuracy after each cycle; empty where it found nothing."""
        runs = [
            values for point, values in self._accuracies.items() if (point.scheme, point.learners) == (scheme, learners)
        ]
        return [_spread(after) for after in zip(*runs, strict=True)]

    def _picture_accuracy(self, part: AccuracyPart) -> str:
        curves = {
            learners: [
                Curve.of(scheme, list(enumerate(self._curve(scheme, learners), start=1))) for scheme in part.schemes
            ]
            for learners in part.learners
        }
        path = self._out / "accuracy.png"
        title = f"{self._manifest.title} (T = {part.seconds:g} s)"
        marks = sorted({one.reaches for one in self._manifest.paper if one.what == "cycles"})
        plot_accuracy(path, title=title, curves=curves, marks=marks)
        return str(path)

    # -- what was found ---------------------------------------------------------------------------------------------

    def _figures(self) -> dict[str, Any]:
        staleness, accuracy = self._manifest.staleness, self._manifest.accuracy
        figures: dict[str, Any] = {"allocations": len(self._found), "trainings": len(self._accuracies)}
        if staleness is not None:
            figures["staleness"] = [
                {"scheme": scheme, "learners": k, "seconds": seconds}
                | {
                    what: None if (found := self._mean(scheme, k, seconds, what)) is None else _digits(found)
                    for what in ("max_staleness", "average_staleness", "updates")
                }
                for seconds, k, scheme in product(staleness.seconds, staleness.learners, staleness.schemes)
            ]
        if accuracy is not None:
            figures["accuracy"] = [
                {"scheme": scheme, "learners": k, "by_cycle": [_digits(one) for one in self._curve(scheme, k)]}
                for k, scheme in product(accuracy.learners, accuracy.schemes)
            ]
        if self._manifest.paper:
            figures["paper"] = [{**msgspec.to_builtins(one), "ours": self._ours(one)} for one in self._manifest.paper]
        return figures

    def _ours(self, published: Published) -> float | None:
        """Find ours for a number of the paper; 0 cycles for never, None where there was no allocation."""
        if published.what != "cycles":
            found = self._mean(published.scheme, published.learners, published.seconds, published.what)
            return None if found is None else round(found[0], 3)
        curve = self._curve(published.scheme, published.learners)
        return first_reached([mean for mean, _ in curve], published.reaches) if curve else None

    def _assertions(self) -> list[Assertion]:
        wanted = self._manifest.assert_
        found = [exact_is_best(self._found)] if wanted.exact_is_best else []
        for bound in wanted.staleness:
            mean = self._mean(bound.scheme, bound.learners, bound.seconds, bound.what)
            found.append(
                Assertion(
                    name=f"{bound.what} of {bound.scheme}, K = {bound.learners}, T = {bound.seconds:g} s",
                    holds=mean is not None and bound.least <= mean[0] <= bound.most,
                    detail="no allocation" if mean is None else f"{mean[0]:.3f} of {bound.least:g} to {bound.most:g}",
                )
            )
        for least in wanted.accuracy:
            curve = self._curve(least.scheme, least.learners)
            found.append(
                Assertion(
                    name=f"accuracy of {least.scheme}, K = {least.learners}",
                    holds=bool(curve) and curve[-1][0] >= least.least,
                    detail=f"{curve[-1][0]:.4f} of {least.least:g}" if curve else "no allocation",
                )
            )
        return found

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began

    def _log(self, event: str, point: Point, **found: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        place = {"scheme": point.scheme, "K": point.learners, "T": point.seconds, "seed": point.seed}
        line = {"seconds": round(self._elapsed(), 2), "event": event, **place, **found}
        with (self._out / _EVENTS).open("ab") as log:
            log.write(msgspec.json.encode(line) + b"\n")


def exact_is_best(found: Mapping[Point, Allocation]) -> Assertion:
    """Assert that no scheme that fills the cycle beats an exact one at what that one is exact for."""
    places: dict[tuple[int, float, int], dict[str, Allocation]] = {}
    for point, allocation in found.items():
        places.setdefault((point.learners, point.seconds, point.seed), {})[point.scheme] = allocation
    compared = 0
    for place, schemes in places.items():
        least, most = schemes.get("least"), schemes.get("most-updates")
        for name, other in schemes.items():
            if name not in FILLING or other.max_staleness is None or other.updates is None:
                continue
            compared += 1
            beaten = least is not None and (least.max_staleness is None or other.max_staleness < least.max_staleness)
            outdone = (
                most is not None and other.max_staleness <= 1 and (most.updates is None or other.updates > most.updates)
            )
            if beaten or outdone:
                detail = f"{name} beats it with (K, T, seed) = {place}"
                return Assertion(name="exact is best", holds=False, detail=detail)
    return Assertion(name="exact is best", holds=True, detail=f"{compared} allocations on {len(places)} instances")


def first_reached(accuracies: Sequence[float], target: float) -> int:
    """Return the first cycle, from 1, after which the accuracy is at least `target`; 0 if it never is."""
    return next((cycle for cycle, accuracy in enumerate(accuracies, start=1) if accuracy >= target), 0)


def load_data(part: AccuracyPart, seed: int, samples: int) -> Split:
    """Read what is trained on.

    Raises:
        LearnerError: a file is not there, or not what it should be.
        ConfigError: it has fewer training samples than a cycle deals out.

    """
    split = digits.load(seed) if part.data == "digits" else mnist.load(mnist_directory(part))
    if len(split.train) < samples:
        message = f"{part.data} has {len(split.train)} training samples: set scenario.samples to at most that"
        raise ConfigError(message)
    return split


def mnist_directory(part: AccuracyPart) -> Path:
    """Return where MNIST is looked for."""
    return mnist_in(part.directory)


def _points(manifest: Manifest) -> Iterator[Point]:
    """Yield where both figures ask for an allocation."""
    staleness, accuracy, seed = manifest.staleness, manifest.accuracy, manifest.seed
    if staleness is not None:
        seeds = range(seed, seed + staleness.seeds)
        for seconds, learners, one, scheme in product(staleness.seconds, staleness.learners, seeds, staleness.schemes):
            yield Point(scheme, learners, seconds, one)
    if accuracy is not None:
        yield from _accuracy_points(accuracy, seed)


def _accuracy_points(part: AccuracyPart, seed: int) -> Iterator[Point]:
    for learners, one, scheme in product(part.learners, range(seed, seed + part.seeds), part.schemes):
        yield Point(scheme, learners, part.seconds, one)


def _named(point: Point) -> str:
    return f"{point.scheme}, K = {point.learners}, T = {point.seconds:g} s, seed {point.seed}"


def _wanted(one: Published) -> str:
    what = f"cycles to {one.reaches:g}" if one.what == "cycles" else one.what
    return f"{one.scheme}, K = {one.learners}, T = {one.seconds:g} s, {what}"


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def _digits(spread: tuple[float, float]) -> dict[str, float]:
    return {"mean": round(spread[0], 4), "deviation": round(spread[1], 4)}
