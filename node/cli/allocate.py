"""`merit allocate`: deal samples and updates out to learners with the least staleness (arXiv 1905.01656)."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import Json, print_json, print_table

if TYPE_CHECKING:
    from learner.allocation.certificates import Certificate
    from learner.allocation.exact import Point
    from learner.allocation.instance import Allocation, Instance

app = typer.Typer()

_SHOWN = 40


class Objective(StrEnum):
    """What is best."""

    STALENESS = "staleness"
    UPDATES = "updates"
    FRONTIER = "frontier"


@app.command()
def allocate(
    file: Annotated[Path, typer.Argument(help="The instance: .json, .toml or .csv.")],
    *,
    objective: Annotated[
        Objective,
        typer.Option(
            help="staleness: the least maximum of it, then the least average (pair_sum). updates: the most updates "
            "within --staleness. frontier: both, for the least staleness and the next --width."
        ),
    ] = Objective.STALENESS,
    staleness: Annotated[int, typer.Option(min=0, help="What --objective updates may use.")] = 1,
    width: Annotated[int, typer.Option(min=0, max=1000, help="How far the frontier goes.")] = 5,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the result, too.")] = None,
    json: Json = False,
) -> None:
    """Deal out samples and updates so that every learner works its full time.

    By default with the least staleness and, among those, the least average staleness. Exit code 1 if no allocation
    exists; the reason names the learner and the bound. node/allocation/files.py describes the files.
    """
    from learner.allocation import exact  # noqa: PLC0415 - loads numpy, which --help does without
    from learner.allocation.instance import Allocation, Status  # noqa: PLC0415 - as above
    from node.allocation.files import read_instance  # noqa: PLC0415 - as above
    from node.allocation.plots import plot_allocation, plot_frontier  # noqa: PLC0415 - as above

    instance = read_instance(file)
    match objective:
        case Objective.STALENESS:
            result: Allocation | tuple[Point, ...] = exact.allocate(instance)
        case Objective.UPDATES:
            result = exact.allocate_most_updates(instance, staleness)
        case Objective.FRONTIER:
            result = exact.frontier(instance, width)
    if isinstance(result, tuple):
        if json:
            print_json({"status": Status.OPTIMAL, "frontier": [_point(point) for point in result]})
        else:
            _print_frontier(result)
        if plot is not None:
            plot_frontier(plot, result)
        return
    if json:
        print_json(_document(result))
    else:
        _print(instance, result)
    if result.d is None or result.tau is None:
        raise typer.Exit(1)
    if plot is not None:
        plot_allocation(plot, result.d, result.tau)


def _document(result: "Allocation") -> dict[str, object]:
    from learner.allocation.certificates import Certificate  # noqa: PLC0415 - loads numpy

    claim = result.certificate
    plain = None if claim is None else asdict(claim)  # type: ignore[call-overload] # each certificate is a dataclass
    if result.d is None or result.tau is None:
        return {"status": result.status, "reason": result.reason, "certificate": plain}
    known = claim if isinstance(claim, Certificate) else None
    return {
        "status": result.status,
        "max_staleness": result.max_staleness,
        "pair_sum": result.pair_sum,
        "average_staleness": result.average_staleness,
        "updates": result.updates,
        "exact": known is not None and known.exact,
        "pair_sum_bound": known and known.pair_sum_bound,
        "updates_bound": known and known.updates_bound,
        "d": result.d.tolist(),
        "tau": result.tau.tolist(),
        "certificate": plain,
    }


def _point(point: "Point") -> dict[str, object]:
    return {
        "staleness": point.staleness,
        "most_updates": _document(point.most_updates),
        "least_average": _document(point.least_average),
    }


def _print(instance: "Instance", result: "Allocation") -> None:
    from learner.allocation.certificates import Certificate  # noqa: PLC0415 - loads numpy

    if result.d is None or result.tau is None:
        typer.echo(f"infeasible: {result.reason}")
        return
    time = instance.time
    rows = [
        (learner + 1, int(samples), int(updates), f"{100 * used / time.t:.1f} %")
        for learner, (samples, updates) in enumerate(zip(result.d[:_SHOWN], result.tau[:_SHOWN], strict=True))
        for used in [_time(instance, learner, int(samples), int(updates))]
    ]
    count = instance.learners
    title = (
        "Allocation" if count <= _SHOWN else f"Allocation, the first {_SHOWN} of {count:,} learners (--json has all)"
    )
    print_table(title, ("learner", "samples", "updates", "of T"), rows)
    typer.echo(
        f"{count:,} learners, {instance.d:,} samples, {result.updates:,} updates; staleness at most "
        f"{result.max_staleness}, average {result.average_staleness:.4g} (pair sum {result.pair_sum:,})"
    )
    if isinstance(result.certificate, Certificate):
        _print_reasons(result.certificate)


def _print_reasons(claim: "Certificate") -> None:
    windows, bound = claim.narrowest, claim.narrowest.first + 1
    who = "all learners together" if windows.short is None else f"learner {windows.short + 1}"
    reasons = [f"with {bound} updates or more each, {who} cannot take enough samples"]
    if windows.last > windows.first:
        reasons.append(f"with {windows.last - 1} or fewer, all together take more than there are")
    if windows.narrower:
        names = ", ".join(str(learner + 1) for learner, _, _ in windows.narrower[:3])
        reasons.append(f"a narrower range of updates has none that learner {names} can make")
    typer.echo("\n".join([f"No staleness is under {windows.least}:", *(f"- {reason}" for reason in reasons)]))
    for name, value in (("pair sum", claim.pair_sum_bound), ("updates", claim.updates_bound)):
        if value is not None:
            proof = "proved" if claim.exact else f"not proved, the bound is {value:,}"
            typer.echo(f"best {name}: {proof}")


def _print_frontier(points: "tuple[Point, ...]") -> None:
    rows = []
    for point in points:
        most, average = point.most_updates, point.least_average
        rows.append(
            (
                point.staleness,
                most.updates or 0,
                f"{most.average_staleness or 0:.4g}",
                f"{average.average_staleness or 0:.4g}",
                average.updates or 0,
            )
        )
    columns = ("staleness", "most updates", "their average", "least average", "its updates")
    print_table("Frontier: what a staleness at most so great allows", columns, rows)


def _time(instance: "Instance", learner: int, samples: int, updates: int) -> int:
    """Give t_k (equation 5)."""
    time = instance.time
    return int(time.c2[learner]) * updates * samples + int(time.c1[learner]) * samples + int(time.c0[learner])
