"""The `merit` command: one module per command, imported only when that command is used.

`COMMANDS` names every command with its line of help. `merit NAME ...` imports `node.cli.NAME` and takes its `app`,
a `typer.Typer`: with one function in it (and no callback) it is a plain command, with several it is a group of
subcommands. So `merit --help` loads none of torch, py-evm, web3 and numpy, and answers at once. A command module
keeps to the same rule at its top level, so that its own `--help` is quick too: it imports what is heavy inside the
function that needs it.

What every command keeps to:

- it takes `--json` (`node.cli.console.Json`) and then prints one JSON document to standard output, nothing else;
- exit code 0: done; 1: what was asked about is false (`raise typer.Exit(1)`, as for an audit that fails);
  2: bad usage or input;
- a user's mistake raises a `MeritError`, whose message becomes the one line `merit: ...` on standard error. Anything
  else is a bug and shows its traceback.
"""

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from merit.errors import MeritError

if TYPE_CHECKING:
    from typer._click import Command, Context

COMMANDS = {  # at most 61 characters of help, which fit into 80 columns
    "run": "Train, score, pay and audit on a network in one process.",
    "up": "Start a development network with Ethereum JSON-RPC.",
    "testnet": "Run many validators under CometBFT, and break them on purpose.",
    "node": "Run one member's node on this machine, and see how it does.",
    "backup": "Copy a node's ledger and blobs while it runs.",
    "restore": "Make a node's ledger and blobs from a backup.",
    "experiment": "Run a scripted experiment, and say whether its claims hold.",
    "client": "Train on own data and send signed updates to edge servers.",
    "job": "Create, show, top up and close learning jobs.",
    "council": "Vote on members, validators, rules and versions.",
    "rewards": "List what was paid to whom, round by round.",
    "audit": "Replay a history from stores or nodes; say what diverges.",
    "export": "Write rounds with their proofs into one file to audit.",
    "allocate": "Deal samples and updates out with the least staleness.",
    "simulate": "Break consensus in virtual time, seed after seed.",
    "keys": "Make, show, copy and rotate signing keys.",
    "bench": "Measure signatures, execution of records and exact numerics.",
    "doctor": "Say what is here, and what a missing part costs and needs.",
}

_TRAIN_EXTRA = {"sklearn", "torch"}


class LazyGroup(TyperGroup):
    """A group that lists its commands from a table and imports one only when it is to run."""

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, Command | None, list[str]]":
        """Replace the table's entry by the real command; an unknown name is a usage error with the nearest one."""
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:
            return name, listed, rest
        command = get_command(importlib.import_module(f"node.cli.{name}").app)
        command.name = name
        command.short_help = COMMANDS[name]
        return name, command, rest


# Plain help here: rich's would cost half of the time that `merit --help` takes.
app = typer.Typer(name="merit", cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the flag's value
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - costs 20 ms that no other command should pay

        typer.echo(f"merit {version('merit-ledger')}")
        raise typer.Exit


@app.callback()
def _merit(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Merit, a permissioned post-quantum ledger that pays edge learners for what their updates are worth."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default) and return its exit code.

    MERIT_TRACEBACK=1 in the environment shows the traceback of every error, for whoever looks for a bug.
    """
    group = get_command(app)
    if not isinstance(group, LazyGroup):
        message = "the root of the command line must be the lazy group"
        raise TypeError(message)
    for name, line in COMMANDS.items():
        group.add_command(TyperCommand(name, help=line))
    try:
        result = group.main(args=arguments, prog_name="merit", standalone_mode=False)
    except (MeritError, typer.TyperException, OSError, ModuleNotFoundError, typer.Abort) as error:
        explanation = _explain(error)
        if explanation is None or os.environ.get("MERIT_TRACEBACK"):
            raise
        typer.echo(explanation, err=True)
        return 2
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> str | None:
    """Return what a user is told about `error`, one line but for a help text; None if it is a bug."""
    match error:
        case MeritError():
            return f"merit: {error}"
        case typer.TyperException():
            return _explain_usage(error)
        case typer.Abort():
            return "merit: stopped"
        case ModuleNotFoundError() if error.name in _TRAIN_EXTRA:
            return f"merit: this needs {error.name}, which is not installed: pip install 'merit-ledger[train]'"
        case OSError():
            return f"merit: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        case _:
            return None


def _explain_usage(error: typer.TyperException) -> str:
    context: Context | None = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message()  # the help itself
    hint = "" if context is None else f" (see {context.command_path} --help)"
    return f"merit: {error.format_message().rstrip('.')}{hint}"
