"""Where the password of a key file comes from: a file, or the terminal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from node.errors import ConfigError

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", help="Read the key's password from the first line of this file; else it is asked for."
    ),
]


def password_from(file: Path | None, *, new: bool = False) -> bytes:
    """Return the password, never empty: the file's first line, or what the user types (twice if `new`)."""
    if file is not None:
        lines = file.read_bytes().splitlines()
        if not lines or not lines[0]:
            message = f"{file}: the first line is empty; it must be the key's password"
            raise ConfigError(message)
        return lines[0]
    if not sys.stdin.isatty():
        message = "there is no terminal to ask for the key's password: name a file that holds it with --password-file"
        raise ConfigError(message)
    text: str = typer.prompt("Password of the key", hide_input=True, confirmation_prompt=new, err=True)
    return text.encode()
