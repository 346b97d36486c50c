"""`merit keys`: make an ML-DSA signing key in an encrypted file, and show what such a file holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from node.cli.console import Json, print_json
from node.cli.passwords import PasswordFile, password_from

if TYPE_CHECKING:
    from chain.crypto.schemes import SigningKey

app = typer.Typer(no_args_is_help=True)

KeyPath = Annotated[Path, typer.Argument(metavar="PATH", help="The key file (encrypted PKCS8, mode 0600).")]


@app.callback()
def keys() -> None:
    """Make signing keys and show what a key file holds."""


@app.command()
def new(
    path: KeyPath,
    *,
    scheme: Annotated[
        Literal["ml-dsa-44", "ml-dsa-65"], typer.Option(help="FIPS 204 parameter set: 44 for clients, 65 for servers.")
    ] = "ml-dsa-44",
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Make a new key; a file that exists is never overwritten."""
    from chain.crypto.keystore import save  # noqa: PLC0415 - `merit keys --help` needs no cryptography
    from chain.crypto.schemes import Scheme, SigningKey  # noqa: PLC0415 - as above
    from chain.errors import KeyFileExistsError  # noqa: PLC0415 - as above

    if path.exists():  # before the user types a password twice; `save` decides
        raise KeyFileExistsError(path)
    key = SigningKey.generate(Scheme[scheme.upper().replace("-", "_")])
    save(path, key, password_from(password_file, new=True))
    _print(path, key, json=json)


@app.command()
def show(path: KeyPath, *, password_file: PasswordFile = None, json: Json = False) -> None:
    """Show a key's scheme, address and (with --json) public key; never its secret."""
    from chain.crypto.keystore import load  # noqa: PLC0415 - `merit keys --help` needs no cryptography
    from chain.errors import KeyFileMissingError  # noqa: PLC0415 - as above

    if not path.exists():
        raise KeyFileMissingError(path)
    _print(path, load(path, password_from(password_file)), json=json)


def _print(path: Path, key: "SigningKey", *, json: bool) -> None:
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - `merit keys --help` needs no eth_utils

    address = str(to_checksum_address(key.address))
    name = key.scheme.name.lower().replace("_", "-")
    if json:
        print_json({"path": str(path), "scheme": name, "address": address, "public_key": key.public_key})
    else:
        typer.echo(f"key      {path}\nscheme   {name}\naddress  {address}")
