"""`merit council`: edge servers govern by vote."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json, print_table

app = typer.Typer(no_args_is_help=True)

DEFAULT_RPC = "http://127.0.0.1:27002"  # the first node of a testnet
Rpc = Annotated[str, typer.Option(help="URL of a node's JSON-RPC.")]
Key = Annotated[Path, typer.Option(help="The edge server's key file.")]
PasswordFile = Annotated[Path, typer.Option(help="File that holds the key's password.")]
Number = Annotated[int, typer.Argument(help="Number of the proposal.")]


@app.command()
def propose(
    file: Annotated[Path, typer.Argument(help="The proposal (TOML; node/council.py says what it may hold).")],
    *,
    key: Key,
    password_file: PasswordFile,
    rpc: Rpc = DEFAULT_RPC,
    json: Json = False,
) -> None:
    """Propose changes, and approve them."""
    from node.council import Office, load  # noqa: PLC0415 - loads web3

    proposal = load(file)
    number = Office.connect(rpc, key, password_file.read_bytes()).propose(proposal)
    if json:
        print_json({"proposal": number})
    else:
        typer.echo(f"proposal {number} is made and approved by its proposer; more than 2/3 of the edge servers must")


@app.command()
def vote(
    proposal: Number,
    *,
    approve: Annotated[bool, typer.Option("--approve/--reject", help="What is said of it, for good.")],
    key: Key,
    password_file: PasswordFile,
    rpc: Rpc = DEFAULT_RPC,
    json: Json = False,
) -> None:
    """Approve or reject a proposal."""
    from node.council import Office  # noqa: PLC0415 - loads web3

    block = Office.connect(rpc, key, password_file.read_bytes()).vote(proposal, approves=approve)
    if json:
        print_json({"proposal": proposal, "approves": approve, "block": block})
    else:
        typer.echo(f"proposal {proposal} is {'approved' if approve else 'rejected'} in block {block}")


@app.command()
def execute(
    proposal: Number, *, key: Key, password_file: PasswordFile, rpc: Rpc = DEFAULT_RPC, json: Json = False
) -> None:
    """Have an approved proposal's changes made."""
    from node.council import Office  # noqa: PLC0415 - loads web3

    block = Office.connect(rpc, key, password_file.read_bytes()).execute(proposal)
    if json:
        print_json({"proposal": proposal, "block": block})
    else:
        typer.echo(f"proposal {proposal} is carried out in block {block}")


@app.command("list")
def list_proposals(*, rpc: Rpc = DEFAULT_RPC, json: Json = False) -> None:
    """List the proposals and where they stand."""
    from node.council import standings  # noqa: PLC0415 - loads web3

    found = standings(rpc)
    if json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        (one.number, one.proposer, f"{one.approvals} of {one.electorate}", "done" if one.executed else "open", one.text)
        for one in found
    ]
    print_table("proposals", ("number", "proposer", "approvals", "state", "text"), rows)


@app.command()
def show(*, rpc: Rpc = DEFAULT_RPC, json: Json = False) -> None:
    """Show the validators and the versions that hold and will hold."""
    from node.council import upgrades, validators  # noqa: PLC0415 - loads web3

    seats, schedule = validators(rpc), upgrades(rpc)
    if json:
        print_json({"validators": seats, "versions": schedule})
        return
    rows = [(f"0x{seat['address'].hex()}", seat["member"], seat["power"]) for seat in seats]
    print_table("validators", ("address", "member", "power"), rows)
    print_table("versions", ("of", "version", "from block"), [tuple(one.values()) for one in schedule])
