"""`merit run`: train, score and pay on a network in one process, then audit it and write a report."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json

app = typer.Typer()

_FLAGS = {
    "edge_servers": "network.edge_servers",
    "clients": "clients.count",
    "slow": "clients.slow",
    "label_flippers": "clients.label_flippers",
    "slow_factor": "clients.slow_factor",
    "interval": "clients.interval",
    "rounds": "rounds",
    "target_accuracy": "target_accuracy",
    "seed": "seed",
    "phi": "round.phi",
    "max_wait": "round.max_wait",
    "model": "model",
    "rule": "rules.scoring",
    "aggregation": "rules.aggregation",
    "vesting": "vesting.rounds",
    "allocation": "allocation.rule",
    "cycle": "allocation.cycle",
    "partition": "data.partition",
    "data_dir": "data.directory",
}


@app.command()
def run(
    job: Annotated[Path | None, typer.Argument(help="A run file (TOML); without one, a preset.")] = None,
    *,
    preset: Annotated[str, typer.Option(help="digits, mnist or paper.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Run directory; an unfinished run in it goes on.")
    ] = None,
    data: Annotated[str, typer.Option(help="digits or mnist: the preset of that data set.")] = "",
    data_dir: Annotated[str | None, typer.Option(help="Directory of the MNIST idx files.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds to decide.")] = None,
    target_accuracy: Annotated[float | None, typer.Option(help="Stop early at this test accuracy; 0 never.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data, partition, speeds and training.")] = None,
    edge_servers: Annotated[int | None, typer.Option(help="Edge servers, each a validator.")] = None,
    clients: Annotated[int | None, typer.Option(help="Clients.")] = None,
    slow: Annotated[int | None, typer.Option(help="How many of them are slow.")] = None,
    slow_factor: Annotated[float | None, typer.Option(help="How many times slower.")] = None,
    label_flippers: Annotated[int | None, typer.Option(help="How many of them attack by flipping labels.")] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds in which a client's new samples come.")] = None,
    phi: Annotated[str | None, typer.Option(help="Records in a round, or all (synchronous).")] = None,
    max_wait: Annotated[int | None, typer.Option(help="Seconds after which a round closes with fewer.")] = None,
    model: Annotated[str | None, typer.Option(help="softmax, mlp, cnn or module:factory.")] = None,
    rule: Annotated[str | None, typer.Option(help="Scoring rule of RULES.md: cosine, anchored, ...")] = None,
    aggregation: Annotated[str | None, typer.Option(help="literal or delta.")] = None,
    vesting: Annotated[
        int | None, typer.Option(metavar="ROUNDS", help="Settle a round's pay so many rounds later; 0 pays at once.")
    ] = None,
    allocation: Annotated[
        str | None, typer.Option(help="Who trains how much: none (all the same), equal or exact.")
    ] = None,
    cycle: Annotated[float | None, typer.Option(help="Seconds of a client's cycle, where work is allocated.")] = None,
    partition: Annotated[str | None, typer.Option(help="iid, shards or dirichlet.")] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the run in a browser, and go on showing it until Ctrl-C.")
    ] = False,
    dashboard_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where --dashboard listens on 127.0.0.1; 0 takes a free port.")
    ] = 8580,
    json: Json = False,
) -> None:
    """Train, score and pay on a network in one process, then audit it and write a report."""
    from merit.clock import SystemClock  # noqa: PLC0415 - heavy imports wait until the command runs
    from node.run import config  # noqa: PLC0415
    from node.run.command import execute  # noqa: PLC0415

    flags = {
        "data_dir": data_dir, "rounds": rounds, "target_accuracy": target_accuracy, "seed": seed,
        "edge_servers": edge_servers, "clients": clients, "slow": slow, "slow_factor": slow_factor,
        "label_flippers": label_flippers,
        "interval": interval, "phi": _phi(phi), "max_wait": max_wait, "model": model, "rule": rule,
        "aggregation": aggregation, "vesting": vesting, "allocation": allocation, "cycle": cycle,
        "partition": partition,
    }  # fmt: skip
    changes: dict[str, object] = {_FLAGS[name]: value for name, value in flags.items() if value is not None}
    name = data or preset or "digits"
    chosen = config.load(job, changes) if job is not None else config.override(config.preset(name), changes)
    source = f"preset {name}" if job is None else str(job)
    port = dashboard_port if dashboard else None
    tell = print_json if json else None
    summary = asyncio.run(
        execute(chosen, directory, SystemClock(), quiet=json, source=source, dashboard=port, tell=tell)
    )
    if not summary["ok"]:
        raise typer.Exit(1)


def _phi(text: str | None) -> int | None:
    """Read `--phi`: a number, or `all`, which the ledger writes as 0."""
    if text is None or text == "all":
        return None if text is None else 0
    if not text.isdecimal():
        msg = f"{text} is neither a number nor all"
        raise typer.BadParameter(msg, param_hint="--phi")
    return int(text)
