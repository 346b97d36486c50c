"""`merit simulate`: break consensus in virtual time, seed after seed, and say whether what must hold held."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import Json, print_json, print_table
from node.errors import ConfigError

if TYPE_CHECKING:
    from chain.simulation.campaign import Totals
    from chain.simulation.world import Outcome

app = typer.Typer()


@app.command()
def simulate(
    seeds: Annotated[
        str, typer.Option(metavar="A:B", help="Seeds A to B - 1; one number is that seed alone.")
    ] = "0:100",
    *,
    validators: Annotated[list[int] | None, typer.Option(help="How many; may be given several times.")] = None,
    heights: Annotated[int, typer.Option(min=1, help="Heights while everything breaks.")] = 5,
    log: Annotated[Path | None, typer.Option(help="Keep what was done here, and go on with it.")] = None,
    json: Json = False,
) -> None:
    """Simulate networks of validators that crash, lie and lose messages, then heal and have to decide.

    Exit code 1 if a run broke a rule. One seed alone prints its trace: what was decided, what broke, and why rounds
    were lost. Equal seeds give equal digests.
    """
    from chain.simulation.campaign import run_campaign  # noqa: PLC0415 - keeps --help quick
    from chain.simulation.settings import Settings  # noqa: PLC0415 - as above
    from chain.simulation.world import simulate as run  # noqa: PLC0415 - as above

    first, until = _range(seeds)
    counts = validators or [4]
    if ":" not in seeds:
        outcomes = [run(Settings(seed=first, validators=count, heights=heights)) for count in counts]
        for outcome in outcomes:
            _print_run(outcome, json=json)
        if any(outcome.violation is not None for outcome in outcomes):
            raise typer.Exit(1)
        return

    def tell(totals: "Totals") -> None:
        if not json:
            typer.echo(f"{totals.runs} runs, {len(totals.failures)} broke a rule", err=True)

    totals = run_campaign(first, until, counts, heights=heights, log=log, tell=tell)
    failures = [
        {"seed": one.seed, "validators": one.validators, "rule": one.rule, "detail": one.detail}
        for one in sorted(totals.failures, key=lambda failure: (failure.validators, failure.seed))
    ]
    if json:
        figures = {"runs": totals.runs, "decided": totals.decided, "rounds_lost": totals.rounds_lost}
        print_json({**figures, "events": totals.events, "failures": failures, "counts": dict(totals.counts)})
    else:
        print_table("What really happened", ("what", "times"), sorted(totals.counts.items()))
        typer.echo(
            f"{totals.runs:,} runs, {totals.decided:,} heights decided, {totals.rounds_lost:,} rounds lost, "
            f"{totals.events:,} events; {len(failures):,} runs broke a rule"
        )
        for one in failures[:10]:
            typer.echo(f"merit simulate --seeds {one['seed']} --validators {one['validators']}: {one['rule']}")
    if failures:
        raise typer.Exit(1)


def _range(seeds: str) -> tuple[int, int]:
    first, _, until = seeds.partition(":")
    try:
        return int(first), int(until) if until else int(first) + 1
    except ValueError:
        message = f"--seeds {seeds}: write A:B, two whole numbers, or one seed"
        raise ConfigError(message) from None


def _print_run(outcome: "Outcome", *, json: bool) -> None:
    broken = None if outcome.violation is None else outcome.violation.value
    if json:
        print_json(
            {
                "seed": outcome.settings.seed,
                "validators": outcome.settings.validators,
                "digest": outcome.digest,
                "broken": broken,
                "detail": outcome.detail,
                "decided": outcome.decided,
                "rounds_lost": outcome.rounds_lost,
                "events": outcome.events,
                "virtual_ms": outcome.virtual_ms,
                "counts": dict(outcome.counts),
                "trace": list(outcome.lines),
            }
        )
        return
    typer.echo("\n".join(outcome.lines))
    typer.echo(f"digest {outcome.digest}; {'every rule held' if broken is None else broken}")
