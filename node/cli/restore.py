"""`merit restore`: make a node's ledger and blobs from a backup."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json

app = typer.Typer()


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `merit backup` made.")],
    home: Annotated[Path, typer.Argument(help="The node's home, without a ledger.")],
    *,
    app_hash: Annotated[
        str, typer.Option("--app-hash", help="As a node or the light client tells it; else the backup is believed.")
    ] = "",
    json: Json = False,
) -> None:
    """Make the ledger and the blobs of a home that has no ledger; keys and CometBFT's directory stay as they are."""
    from msgspec import to_builtins  # noqa: PLC0415 - keeps --help quick

    from node.machine.backup import restore as put_back  # noqa: PLC0415 - as above
    from node.machine.home import NodeHome  # noqa: PLC0415 - as above

    content = put_back(source, NodeHome(home.absolute()), app_hash=_hash(app_hash))
    if json:
        print_json({"home": str(home), "trusted": bool(app_hash), **to_builtins(content)})
        return
    typer.echo(f"{home}: {content.chain} at height {content.height}, {content.blobs} blobs")
    if not app_hash:
        typer.echo(
            f"checked against the app hash that the backup names, 0x{content.app_hash}: compare it with a node's"
        )
    typer.echo("`merit node start` executes what CometBFT has beyond that; it stops with a line if CometBFT has less")


def _hash(text: str) -> bytes | None:
    if not text:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:  # noqa: PLR2004 - keccak256
        message = f"--app-hash {text}: give 64 hexadecimal digits"
        raise typer.BadParameter(message)
    return value
