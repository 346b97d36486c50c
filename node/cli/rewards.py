"""`merit rewards`: list what was paid to whom, round by round."""

import csv as csv_format
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import Json, print_json, print_table

if TYPE_CHECKING:
    from node.audit.rewards import Reward

app = typer.Typer()

_FATES = ("released", "held", "forfeited")
_WEI = Decimal(10**18)
_PPB = Decimal(10**9)
_COLUMNS = ("job", "round", "client", "theta_ppb", "reward_wei", "block", "fate")


@app.command()
def rewards(
    directory: Annotated[Path | None, typer.Argument(help="The directory of a run or development network.")] = None,
    *,
    rpc: Annotated[str, typer.Option(metavar="URL", help="Ask a running node instead of a directory.")] = "",
    client: Annotated[int | None, typer.Option(help="Only this client (member id).")] = None,
    round_: Annotated[int | None, typer.Option("--round", help="Only this round.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, amounts in wei.")] = False,
    json: Json = False,
) -> None:
    """List what was paid to whom, round by round.

    The rewards are the ledger's own events; `merit audit` tells whether they are right.
    """
    if (directory is None) == (not rpc):
        message = "name a directory, or a node by --rpc URL"
        raise typer.BadParameter(message)
    from node.audit.rewards import rewards_at, rewards_in  # noqa: PLC0415 - loads the EVM

    known = rewards_at(rpc) if directory is None else rewards_in(directory)
    chosen = [
        reward
        for reward in known
        if (client is None or reward.client == client) and (round_ is None or reward.round == round_)
    ]
    if json:
        print_json({"rewards": [_row(reward) for reward in chosen], **_sums(chosen)})
    elif csv:
        writer = csv_format.writer(sys.stdout)
        writer.writerow(_COLUMNS)
        writer.writerows([_row(reward)[name] for name in _COLUMNS] for reward in chosen)
    else:
        _print(chosen)


def _row(reward: "Reward") -> dict[str, object]:
    row: dict[str, object] = {name: getattr(reward, name) for name in _COLUMNS}
    return row | {"reward_wei": str(reward.reward_wei)}  # exceeds what most readers of JSON keep exactly


def _sums(chosen: "list[Reward]") -> dict[str, object]:
    """Return what was credited to each client, and of it what is released, held and forfeited; amounts as above."""
    paid, fates = _by_client(chosen)
    return {
        "clients": {str(member): str(amount) for member, amount in sorted(paid.items())},
        **{
            name: {str(member): str(amount) for member, amount in sorted(amounts.items())}
            for name, amounts in fates.items()
        },
        "total_wei": str(paid.total()),
    }


def _by_client(chosen: "list[Reward]") -> tuple[Counter[int], dict[str, Counter[int]]]:
    paid: Counter[int] = Counter()
    fates: dict[str, Counter[int]] = {name: Counter() for name in _FATES}
    for reward in chosen:
        paid[reward.client] += reward.reward_wei
        fates[reward.fate][reward.client] += reward.reward_wei
    return paid, fates


def _print(chosen: "list[Reward]") -> None:
    paid, fates = _by_client(chosen)
    rows = [
        (
            reward.job,
            reward.round,
            reward.client,
            f"{Decimal(reward.theta_ppb) / _PPB:.9f}",
            f"{Decimal(reward.reward_wei) / _WEI:f}",
            reward.block,
            reward.fate.value,
        )
        for reward in chosen
    ]
    print_table("Rewards in tokens", ("job", "round", "client", "theta", "reward", "block", "fate"), rows)
    sums = [(member, *(f"{Decimal(of[member]) / _WEI:f}" for of in (paid, *fates.values()))) for member in sorted(paid)]
    print_table("Credited to each client, in tokens", ("client", "credited", *_FATES), sums)
    typer.echo(f"{len(chosen)} rewards, {Decimal(paid.total()) / _WEI:f} tokens in all")
