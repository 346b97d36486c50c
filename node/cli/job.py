"""`merit job`: create, show, top up and close learning jobs on a running ledger."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json, print_table

app = typer.Typer()

Rpc = Annotated[str, typer.Option(help="JSON-RPC URL of any node.")]
Key = Annotated[Path, typer.Option(help="The sponsor's key file.")]
PasswordFile = Annotated[Path, typer.Option(help="File that holds the key's password.")]
Number = Annotated[int, typer.Argument(help="Number of the job.")]
Tokens = Annotated[int, typer.Option(help="Whole tokens.", min=1)]

DEFAULT_RPC = "http://127.0.0.1:8545"


@app.command()
def create(
    job_file: Annotated[Path, typer.Argument(help="The job file (TOML).")],
    *,
    server: Annotated[str, typer.Option(help="URL of an edge server's intake: it gets the job file and model 0.")],
    key: Key,
    password_file: PasswordFile,
    budget: Tokens,
    rpc: Rpc = DEFAULT_RPC,
    edge_set: Annotated[int, typer.Option(help="Number of the edge set that serves the job.")] = 1,
    model: Annotated[Path | None, typer.Option(help="Model 0 as a blob; made from the job file without.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of model 0.")] = 0,
    trust: Annotated[Path | None, typer.Option(help="Certificate (PEM) of an edge server with an https URL.")] = None,
    json: Json = False,
) -> None:
    """Propose a job with a budget, and bring its file and model 0 to an edge server."""
    from node.sponsor import Sponsor  # noqa: PLC0415 - heavy imports wait until the command runs

    sponsor = Sponsor.connect(rpc, key, password_file.read_bytes())
    number = sponsor.create(job_file, server, budget=budget, edge_set=edge_set, model=model, seed=seed, trust=trust)
    if json:
        print_json({"job": number})
    else:
        typer.echo(f"job {number} is proposed; it opens when more than 2/3 of edge set {edge_set} hold its files")


@app.command()
def show(job: Number, *, rpc: Rpc = DEFAULT_RPC, json: Json = False) -> None:
    """Show where a job stands, its terms and its money."""
    from node.sponsor import describe  # noqa: PLC0415

    fields = describe(rpc, job)
    if json:
        print_json(fields)
    else:
        print_table(f"job {job}", ("", ""), [_readable(name, value) for name, value in fields.items()])


def _readable(name: str, value: object) -> tuple[str, str]:
    from node.run.amounts import tokens_exact  # noqa: PLC0415

    if name.endswith("_wei"):
        return name.removesuffix("_wei").replace("_", " "), f"{tokens_exact(int(str(value)))} tokens"
    return name.replace("_", " "), f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


@app.command("top-up")
def top_up(
    job: Number, *, key: Key, password_file: PasswordFile, amount: Tokens, rpc: Rpc = DEFAULT_RPC, json: Json = False
) -> None:
    """Add tokens to a job's budget."""
    from node.sponsor import Sponsor  # noqa: PLC0415

    block = Sponsor.connect(rpc, key, password_file.read_bytes()).top_up(job, amount)
    if json:
        print_json({"job": job, "amount": amount, "block": block})
    else:
        typer.echo(f"job {job} got {amount} tokens in block {block}")


@app.command()
def close(job: Number, *, key: Key, password_file: PasswordFile, rpc: Rpc = DEFAULT_RPC, json: Json = False) -> None:
    """Take no more records; what is recorded is settled, the rest is refunded."""
    from node.sponsor import Sponsor  # noqa: PLC0415

    block = Sponsor.connect(rpc, key, password_file.read_bytes()).close(job)
    if json:
        print_json({"job": job, "block": block})
    else:
        typer.echo(f"job {job} takes no more records from block {block} on")
