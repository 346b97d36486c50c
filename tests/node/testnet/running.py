"""A testnet that runs, as its user has it: commands in this process, the network in one of its own."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from chain.crypto.schemes import SigningKey
from merit.clock import SystemClock
from node import cli
from node.account import Account
from node.machine.home import TimingFile
from node.testnet.layout import Layout, TestnetFile, free_port_base, make

CLOCK = SystemClock()
GUARD_S = 300.0
"""No test waits longer; none expects to wait for so long."""
QUICK = TimingFile(propose=1_000, vote=500, commit=10, empty=500)


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def merit(*arguments: object) -> Done:
    """Run `merit ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that must come about."""
    limit = CLOCK.monotonic() + GUARD_S
    while not holds():
        assert CLOCK.monotonic() < limit, f"waited {GUARD_S:.0f} s for {what}"
        CLOCK.wait(0.1)


class Testnet:
    """Four validators with quick heights, and what a test asks of them."""

    __test__ = False  # no test class

    def __init__(self, directory: Path, *, first_port: int, clients: int = 1, tls: bool = False) -> None:
        """Make it; `start` runs it."""
        port = free_port_base(4, first_port)
        file = TestnetFile(validators=4, clients=clients, port=port, timing=QUICK, tls=tls)
        self.genesis = make(directory, file, int(CLOCK.now()))
        self.layout = Layout(directory)
        self.file = file

    def merit(self, command: str, *arguments: object) -> Done:
        """Run `merit testnet COMMAND` on it."""
        return merit("testnet", command, *arguments, "--dir", self.layout.directory)

    def start(self) -> Done:
        """Run it in a process of its own, which outlives the command."""
        command = [sys.executable, "-m", "node.cli", "testnet", "start", "--detach", "--json", "--dir"]
        done = subprocess.run([*command, self.layout.directory], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
        return Done(done.returncode, done.stdout, done.stderr)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what `status` says of each node, by name."""
        done = self.merit("status", "--json")
        assert done.code == 0, done
        return {node["name"]: node for node in json.loads(done.out)["nodes"]}

    def heights(self) -> dict[str, int]:
        """Return every node's height, 0 where it does not answer."""
        return {name: node["height"] or 0 for name, node in self.status().items()}

    def grows(self, *names: str) -> None:
        """Wait until these nodes have two heights more than any has now."""
        goal = max(self.heights().values()) + 2
        until(lambda: all(self.heights()[name] >= goal for name in names), f"height {goal} at {', '.join(names)}")

    def perturb(self, name: str, how: str, seconds: float) -> str:
        """Break a node; return what is said of it."""
        done = self.merit("perturb", name, how, "--for", seconds, "--json")
        assert done.code == 0, done
        line: str = json.loads(done.out)["line"]
        return line

    @property
    def sponsor(self) -> SigningKey:
        """The key that holds the tokens."""
        return self.layout.member_key(self.file.sponsor)

    def account(self, node: int) -> Account:
        """The sponsor's account, over one node."""
        return Account.connect(
            self.layout.home(node).read().rpc_url,
            self.layout.member_key_path(self.file.sponsor),
            self.layout.password.read_bytes(),
        )
