"""What the commands share: the `--json` flag and the two ways to print, a JSON document or a table."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def print_json(document: object) -> None:
    """Print `document` to standard output as indented JSON with a final newline.

    Bytes become 0x-prefixed hex. Amounts in wei go in as strings: they exceed what most JSON readers keep exactly.
    """
    typer.echo(json.dumps(document, indent=2, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    message = f"{type(value).__name__} has no JSON form here"
    raise TypeError(message)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print `rows` under `columns`; numbers stand to the right, text to the left."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms that --json and --help need not pay
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    cells = [list(row) for row in rows]
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: a path in brackets is no markup
    Console().print(table)
