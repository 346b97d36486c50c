"""`merit export`: write rounds of a job, with everything that proves them, into one file."""

import re
from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json

app = typer.Typer()


@app.command()
def export(
    source: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="A run's directory, a stopped node's home, or a node's URL.")
    ],
    *,
    rounds: Annotated[str, typer.Option(metavar="A:B", help="The first and the last round, or one.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the bundle goes.")] = Path("rounds.merit"),
    job: Annotated[int, typer.Option(min=1, help="Number of the job.")] = 1,
    edge: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Fetch blobs here; repeatable. [default: where the node says]"),
    ] = None,
    json: Json = False,
) -> None:
    """Write rounds of a job, with everything that proves them, into one file that anybody can audit offline.

    `merit audit FILE --genesis HASH` verifies it and computes these rounds again, with nothing but the genesis hash.
    """
    first, last = _span(rounds)
    from node.audit.export import export_rounds  # noqa: PLC0415 - loads the EVM
    from node.audit.origins import is_url  # noqa: PLC0415 - as above

    if edge and not is_url(source):
        message = "a directory has the blobs of its edge servers; use it with a URL"
        raise typer.BadParameter(message, param_hint="--edge")

    def progress(part: str) -> None:
        if not json:
            typer.echo(f"reading {part} ...", err=True)

    target = source if is_url(source) else Path(source)
    found = export_rounds(target, out, (first, last), job=job, edges=edge or [], progress=progress)
    if json:
        print_json(found.to_json())
        return
    typer.echo(
        f"{found.path}: rounds {found.first} to {found.last} of job {found.job}, {found.height} heights,"
        f" {found.blobs} blobs, {found.size:,} bytes"
    )
    for divergence in found.divergences:
        typer.echo(f"note: the audit of this bundle will say: {divergence.line()}")
    typer.echo(f"next: merit audit {found.path} --genesis 0x{found.genesis_hash.hex()}")


def _span(text: str) -> tuple[int, int]:
    """Read A:B, or A for A:A; both at least 1, A not after B."""
    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text)
    first, last = (0, 0) if found is None else (int(found[1]), int(found[2] or found[1]))
    if not 1 <= first <= last:
        message = f"{text} is not A:B, two numbers of rounds from 1 on"
        raise typer.BadParameter(message, param_hint="--rounds")
    return first, last
