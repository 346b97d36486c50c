"""`merit keys`: make ML-DSA signing keys in encrypted files, show, copy and rotate them."""

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
    """Make signing keys, show what a key file holds, copy it, and change a member's key."""


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


@app.command()
def backup(
    path: KeyPath,
    to: Annotated[Path, typer.Argument(metavar="COPY", help="Where the copy goes; no file that exists.")],
    *,
    password_file: PasswordFile = None,
    new_password_file: Annotated[
        Path | None,
        typer.Option(help="Encrypt the copy with the first line of this file; without it, with the key's password."),
    ] = None,
    json: Json = False,
) -> None:
    """Copy a key, encrypted, and check that the copy opens; put back by copying the file."""
    from chain.crypto.keystore import copy  # noqa: PLC0415 - `merit keys --help` needs no cryptography
    from chain.errors import KeyFileExistsError, KeyFileMissingError  # noqa: PLC0415 - as above

    if not path.exists():
        raise KeyFileMissingError(path)
    if to.exists():
        raise KeyFileExistsError(to)
    password = password_from(password_file)
    other = password if new_password_file is None else password_from(new_password_file)
    _print(to, copy(path, password, to, other), json=json)


@app.command()
def rotate(
    path: KeyPath,
    new_path: Annotated[Path, typer.Argument(metavar="NEW", help="The new key's file; made when it is missing.")],
    *,
    proposal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the proposal for the vote goes. [default: NEW.toml]")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End the old key; the new one must be in force.")] = False,
    password_file: PasswordFile = None,
    rpc: Annotated[str, typer.Option(help="URL of a node's JSON-RPC.")] = "http://127.0.0.1:8545",
    json: Json = False,
) -> None:
    """Change a member's key: make a new one, have it voted in, end the old one.

    The first call makes the new key and a proposal for `merit council propose`. Once the edge servers have carried that
    out, both keys count: go on with the new one, then end the old one with --end. What it signed stays valid.
    """
    from node import rotation  # noqa: PLC0415 - loads web3

    password = password_from(password_file)
    if end:
        stands = rotation.end(rpc, path, new_path, password)
        file = None
    else:
        stands, new = rotation.ask(rpc, path, new_path, password)
        file = None if stands.new else proposal or new_path.with_name(new_path.name + ".toml")
        if file is not None:
            file.write_bytes(rotation.proposal(stands.member, new))
    if json:
        print_json(
            {
                "member": stands.member,
                "proposal": None if file is None else str(file),
                "new_from": None if stands.new is None else stands.new.valid_from,
                "old_until": stands.old.valid_to if stands.over else None,
            }
        )
    elif file is not None:
        typer.echo(f"member {stands.member}: have {file} voted for (merit council propose), then use {new_path}")
    elif stands.new is not None and not stands.over:
        typer.echo(
            f"member {stands.member}: both keys count, the new one from block {stands.new.valid_from} on; use "
            f"{new_path}, then end the old one with --end"
        )
    else:
        typer.echo(f"member {stands.member}: the old key ends before block {stands.old.valid_to}, {new_path} counts")


@app.command()
def certificate(
    path: KeyPath,
    to: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="Where the certificate (PEM) goes.")],
    *,
    name: Annotated[
        list[str], typer.Option(help="Host name or IP address by which clients reach the intake; repeatable.")
    ],
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How long it holds.")] = 398,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Make a self-signed TLS certificate of a key: for an intake, whose clients name it with --trust.

    Take a key of its own (merit keys new --scheme ml-dsa-65), never one that signs for a member.
    """
    from chain.crypto.keystore import load  # noqa: PLC0415 - `merit keys --help` needs no cryptography
    from merit.clock import SystemClock  # noqa: PLC0415 - as above
    from node.tls import certificates, identity  # noqa: PLC0415 - as above

    made = certificates.certify(load(path, password_from(password_file)), name, now=SystemClock().now(), days=days)
    identity.write(to, made)
    (read,) = certificates.read(to)
    ends = f"{read.not_valid_after_utc:%Y-%m-%d}"
    if json:
        print_json({"certificate": str(to), "names": list(certificates.names_of(read)), "holds_until": ends})
    else:
        typer.echo(f"{to} is for {', '.join(certificates.names_of(read))} until {ends}")


def _print(path: Path, key: "SigningKey", *, json: bool) -> None:
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - `merit keys --help` needs no eth_utils

    address = str(to_checksum_address(key.address))
    name = key.scheme.name.lower().replace("_", "-")
    if json:
        print_json({"path": str(path), "scheme": name, "address": address, "public_key": key.public_key})
    else:
        typer.echo(f"key      {path}\nscheme   {name}\naddress  {address}")
