"""`merit backup`: copy a node's ledger and blobs while it runs."""

from pathlib import Path
from typing import Annotated, Final

import typer

from node.cli.console import Json, print_json

app = typer.Typer()

NOT_IN_IT: Final = (
    "keys (keep them where you keep secrets)",
    "CometBFT's memory of votes (never restored from a copy: an old one lets the validator sign twice)",
    "CometBFT's blocks (the other members have them)",
)


@app.command()
def backup(
    home: Annotated[Path, typer.Argument(help="The node's home.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A new directory.")],
    *,
    json: Json = False,
) -> None:
    """Copy a node's ledger and blobs to a new directory while the node runs; never keys or the memory of votes."""
    from msgspec import to_builtins  # noqa: PLC0415 - keeps --help quick

    from node.machine.backup import backup as take  # noqa: PLC0415 - as above
    from node.machine.home import NodeHome  # noqa: PLC0415 - as above

    content = take(NodeHome(home.absolute()), destination.absolute())
    if json:
        print_json({"directory": str(destination), "not_in_it": NOT_IN_IT, **to_builtins(content)})
        return
    typer.echo(f"{destination}: {content.chain} at height {content.height}, app hash 0x{content.app_hash}")
    typer.echo(f"with {content.blobs} blobs, {content.blob_bytes:,} bytes")
    if content.damaged:
        typer.echo(f"{content.damaged} blobs of the home are damaged and left out; the node fetches them again")
    for what in NOT_IN_IT:
        typer.echo(f"not in it: {what}")
