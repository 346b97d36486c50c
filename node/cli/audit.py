"""`merit audit`: replay a network's history from its stores, or from what its nodes answer."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json

app = typer.Typer()

_HASH_BYTES = 32


@app.command()
def audit(
    directory: Annotated[
        Path | None, typer.Argument(help="The directory of a run or of a development network.")
    ] = None,
    *,
    rpc: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Audit a network that runs, by this node; repeat it to compare several."),
    ] = None,
    edge: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Fetch blobs here; repeatable. [default: where the nodes say]"),
    ] = None,
    genesis: Annotated[str, typer.Option(metavar="HASH", help="The genesis hash that you trust.")] = "",
    head: Annotated[str, typer.Option(metavar="HASH", help="A header or block that must be in every chain.")] = "",
    explain: Annotated[
        list[int] | None,
        typer.Option(metavar="ROUND", help="Show what each record of this round is worth; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Replay a network's history from its stores, or from its nodes' answers; say what diverges.

    Verifies each store or node by itself: every commit and signature, every block by executing it again, every record,
    blob, round, model and reward. Exit code 0: all of it follows from the genesis document; 1: it does not.
    """
    if (directory is None) == (not rpc):
        message = "name a directory, or nodes by --rpc URL"
        raise typer.BadParameter(message)
    if edge and not rpc:
        message = "a directory has the blobs of its edge servers; use it with --rpc"
        raise typer.BadParameter(message, param_hint="--edge")
    trusted, newest = _hash(genesis, "--genesis"), _hash(head, "--head")
    from node.audit import audit_directory, audit_network  # noqa: PLC0415 - loads the EVM

    def progress(part: str) -> None:
        if not json:
            typer.echo(f"auditing {part} ...", err=True)

    if directory is None:
        report = audit_network(rpc or [], edges=edge or [], genesis_hash=trusted, head=newest, progress=progress)
    else:
        report = audit_directory(directory, genesis_hash=trusted, head=newest, progress=progress)
    explained = [record for record in report.explained if record.round in (explain or ())]
    settled = [one for one in report.settled if one.round in (explain or ())]
    if json:
        reasons = {"explained": [one.to_json() for one in explained], "settled": [one.to_json() for one in settled]}
        print_json(report.to_json() | (reasons if explain else {}))
    else:
        for line in (*(one.line() for one in explained), *(one.line() for one in settled), *report.lines):
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(1)


def _hash(text: str, option: str) -> bytes | None:
    """Read a hash of 32 bytes in hexadecimal, None for an empty text."""
    if not text:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != _HASH_BYTES:
        message = f"{text} is not a hash of {_HASH_BYTES} bytes in hexadecimal"
        raise typer.BadParameter(message, param_hint=option)
    return value
