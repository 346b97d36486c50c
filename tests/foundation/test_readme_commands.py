"""Every command of every README is executed, or taken by the real argument parser; `readme_commands.py` says which."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from typer._click import Command as ClickCommand
from typer.main import get_command

from chain.engines.cometbft import binary
from chain.engines.errors import CometBinaryError
from node.experiments.manifest import load
from node.machine.checks import require_complete
from node.machine.home import NodeHome
from node.testnet.layout import free_port_base
from tests.conftest import ROOT
from tests.foundation.readme_commands import PROOFS, READMES, Command, Runs, commands, words_of
from tests.node.test_up import document, up

ALL: Final = commands()
GUARD_S: Final = 900
"""No scenario takes longer; none expects to take so long."""
SHELL: Final = {"source", "export", "grep", "cat", "cp", "for", "done"}
SPAN: Final = re.compile(r"(?<!`)`(merit [^`]+)`(?!`)")


# -- all of them -------------------------------------------------------------------------------------------------------


def test_every_command_of_a_readme_has_its_proof_and_every_proof_its_command() -> None:
    assert {command.key for command in ALL} == set(PROOFS)


def test_every_command_that_runs_is_a_scenarios() -> None:
    named = {proof.scenario for proof in PROOFS.values() if isinstance(proof, Runs)}
    assert named == {"quick", "founding", "run", "up", "examples", "testnet", "machine"}


def a_command(words: Sequence[str]) -> tuple[ClickCommand, list[str]]:
    """Return the command that `merit WORDS` names, and what is left for it."""
    name, *rest = words
    command: Any = get_command(importlib.import_module(f"node.cli.{name}").app)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    return command, rest


def parsed(line: str) -> None:
    """Let the real parser take a `merit` command; a usage error fails the test."""
    _, *words = words_of(line)
    command, rest = a_command(words)
    if "--help" not in rest:
        command.make_context("merit", rest)
    for word in rest:
        if word.startswith("scripts/experiments/") and word.endswith(".toml"):
            load(
                ROOT / word,
                data_directory="DIR" if "--data-dir" in rest else "",
                seeds=7 if "--seeds" in rest else None,
            )


@pytest.mark.parametrize("command", ALL, ids=lambda command: f"{command.readme}: {command.key[:60]}")
def test_every_command_is_one_that_the_program_has(command: Command) -> None:
    for line in command.lines:
        program, *words = line.split()
        match program:
            case "merit":
                parsed(line)
            case "scripts/demo":
                assert 'exec "$root/.venv/bin/merit" run --preset digits "$@"' in (ROOT / program).read_text()
                parsed(" ".join(["merit run --preset digits", *words]))
            case "scripts/test":
                assert subprocess.run(["bash", "-n", ROOT / program], check=False).returncode == 0  # noqa: S603, S607 - our own script
            case "python" if words[0] == "-m":
                assert importlib.util.find_spec(words[1]) is not None
                assert all((ROOT / word).exists() for word in words[2:])
            case "python":
                assert (ROOT / words[0]).exists()
            case _:
                assert program in SHELL or program.startswith("net=")


def spans() -> list[str]:
    texts = [(ROOT / readme).read_text(encoding="utf-8") for readme in READMES]
    return sorted({span for text in texts for span in SPAN.findall(text)})


@pytest.mark.parametrize("span", spans())
def test_commands_within_the_text_name_what_there_is(span: str) -> None:
    """They are full of placeholders, so only command names and options are looked up."""
    for part in span.split("&&"):
        words = part.split()[1:]
        if not words or words[0].startswith("-") or words[0] in {"NAME", "..."}:
            continue
        command, rest = a_command(words)
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        wanted = {word.split("=")[0].strip("[],") for word in rest if word.startswith("-") and word != "-"}
        assert wanted <= options | {"--help"}
        assert not getattr(command, "commands", {}) or not rest, "a group has no such command"


# -- scenarios ---------------------------------------------------------------------------------------------------------


class Shell:
    """One bash, as a newcomer has it open, in a scratch directory; every command must end with 0.

    Args:
        scenario: it types the READMEs' commands of this scenario.
        scratch: an empty directory, which gets what a checkout has: `scripts`, `.venv` and CometBFT.
        substitutes: what is written in place of what a README names: ports, directories.

    """

    def __init__(self, scenario: str, scratch: Path, substitutes: Mapping[str, str]) -> None:
        """Begin; nothing runs before `run`."""
        self.scratch, self._substitutes = scratch, substitutes
        (scratch / "scripts").symlink_to(ROOT / "scripts")
        (scratch / ".venv").symlink_to(sys.prefix)
        if (ROOT / binary.LOCAL).is_dir():
            (scratch / binary.LOCAL).parent.mkdir()
            (scratch / binary.LOCAL).symlink_to(ROOT / binary.LOCAL)
        self._script = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
        self._left = {
            command.key: proof.instead or command.typed
            for command in ALL
            if isinstance(proof := PROOFS[command.key], Runs) and proof.scenario == scenario
        }

    def take(self, *starts: str, home: str = "HOME", after: str = "") -> None:
        """Type the commands of the scenario that begin so, each once; `home` is what stands for HOME."""
        for start in starts:
            key = next(key for key in self._left if key.startswith(start))
            self.type(self._left.pop(key).replace("HOME", home) + after)

    def type(self, text: str) -> None:
        """Type something that is in no README, or an example with its placeholders filled in."""
        for old, new in self._substitutes.items():
            text = text.replace(old, new)
        self._script += [f"echo {shlex.quote('$ ' + text.splitlines()[0])}", text]

    def until(self, condition: str) -> None:
        """Wait until a command ends with 0."""
        self.type(f"until {condition}; do sleep 1; done")

    def run(self) -> list[str]:
        """Run all of it and return what it printed; every command of the scenario must have been typed."""
        assert not self._left, f"not run: {list(self._left)}"
        done = subprocess.run(  # noqa: S603 - our own commands
            ["bash", "-c", "\n".join(self._script)], cwd=self.scratch, env=environment(), check=False,  # noqa: S607 - as a user has it
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=GUARD_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-8000:]
        return [line.rstrip() for line in done.stdout.splitlines()]


def environment() -> dict[str, str]:
    """Return the environment of a newcomer's shell: this checkout's `merit`."""
    programs = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "dumb"}


@pytest.fixture
def comet() -> None:
    """CometBFT, without which testnets do not run."""
    try:
        binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))


def shown(readme: str, command: str) -> list[re.Pattern[str]]:
    """Return the lines that a README shows below `$ COMMAND`, or in the block after the one that ends with it."""
    below = (ROOT / readme).read_text(encoding="utf-8").split(f"{command}\n", 1)[1]
    if below.startswith("```\n"):
        below = below.split("```\n", 2)[2]
    lines = [line.rstrip() for line in below.split("```")[0].splitlines() if line != "..."]
    return [re.compile(re.escape(line).replace(re.escape("..."), ".*")) for line in lines]


def test_what_takes_seconds_prints_what_the_readmes_show(tmp_path: Path) -> None:
    here = Shell("quick", tmp_path, {})
    here.take("merit run --help", "merit experiment list", "merit bench --list")
    experiment = "merit experiment run scripts/experiments/"
    here.take(f"{experiment}consensus-twins", f"{experiment}consensus-f-plus-1")
    here.take("merit simulate --seeds 0:100 ", "merit simulate --seeds 0:1000 ", "merit simulate --seeds 3")
    here.take("cat > four.toml", "merit allocate four.toml")
    printed = here.run()
    for readme, command in (
        ("learner/README.md", "merit allocate four.toml"),
        ("chain/simulation/README.md", "# one seed: its trace and its digest"),
        ("node/experiments/README.md", f"$ {experiment}consensus-f-plus-1.toml"),
    ):
        wanted = shown(readme, command)
        assert len(wanted) > 3
        assert [line.pattern for line in wanted if not any(map(line.fullmatch, printed))] == [], readme


def test_a_newcomers_keys_and_home_are_made_as_the_guide_says(tmp_path: Path) -> None:
    here = Shell("founding", tmp_path, {"--clients 20": "--clients 1"})
    here.take("merit testnet init")
    here.type("printf secret > password")
    here.take("merit keys new edge.pem", "merit keys new validator.pem")
    here.type("cp consortium/genesis.json .")
    guide = (ROOT / "node/machine/README.md").read_text(encoding="utf-8")
    join, rotate = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "guide.py").write_text(f"{join}\n{rotate}")
    here.type("python guide.py")
    here.run()
    home = NodeHome(tmp_path / "node5")
    require_complete(home, home.read())
    assert home.key.with_name("edge.pem.old").exists()


@pytest.mark.slow
def test_a_run_is_audited_exported_and_proved_by_receipt(tmp_path: Path) -> None:
    here = Shell("run", tmp_path, {})
    here.take("source .venv", "scripts/demo")
    here.type(r"genesis=$(grep -m 1 -o '0x[0-9a-f]\{64\}' RUN/events.jsonl)")
    here.take("merit audit RUN", "merit export RUN", "merit audit two.merit", "merit rewards RUN")
    here.take("merit client receipt", "merit audit own.receipt")
    here.take("merit run --preset digits --phi all", "merit run --preset digits --allocation exact")
    printed = here.run()
    assert sum(line.startswith("OK: everything follows from genesis 0x") for line in printed) == 3


def served(scratch: Path, scenario: str, scheme: str) -> tuple[Shell, int]:
    """Return a shell in which the dev network's ports are free ones, and the port of its JSON-RPC."""
    port = free_port_base(1, 20_000)
    rpc = f"http://127.0.0.1:{port}"
    ports = f"--port {port} --edge-port {port + 1} --dashboard-port {port + 9}"
    substitutes = {
        "merit up --clients 2": f"merit up --clients 2 {ports}",
        "http://127.0.0.1:8545": rpc,
        f"{scheme}://127.0.0.1:8601": f"{scheme}://127.0.0.1:{port + 1}",
        f"{scheme}://127.0.0.1:8602": f"{scheme}://127.0.0.1:{port + 2}",
        **{f"merit job {what} ": f"merit job {what} --rpc {rpc} " for what in ("create", "show", "close")},
        "PYTHONPATH=scripts/examples": f"PYTHONPATH=scripts/examples:{ROOT}",
    }
    here = Shell(scenario, scratch, substitutes)
    here.take("merit up", after=" > up.log 2>&1 &")
    here.until("grep -q Sponsor up.log")
    return here, port


def learned(here: Shell) -> None:
    """Wait until two rounds are decided, while two clients learn in the background."""
    here.type("clients=$(jobs -p | tail -n 2)")
    here.until("""merit job show 1 --json | grep -Eq '"version": *([2-9]|[1-9][0-9])'""")


def ended(here: Shell) -> None:
    """Wait for the clients, who end by themselves when the job is closed, and for the job's end."""
    here.type("for client in $clients; do wait $client; done")
    here.until("""merit job show 1 --json | grep -Eq '"status": *"closed"'""")


@pytest.mark.slow
def test_a_job_on_a_development_network_learns_pays_and_audits_clean(tmp_path: Path) -> None:
    here, port = served(tmp_path, "up", "http")
    here.take("cat > job.toml", "net=", "merit job create", "for n in")
    learned(here)
    here.take("merit job show", "merit job close")
    ended(here)
    here.take("merit rewards")
    here.type(f"merit rewards --rpc http://127.0.0.1:{port} --json > paid.json")
    here.type("merit job show 1 --json > job.json")
    script = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "paid.py").write_text(script.replace(":8545", f":{port}"), encoding="utf-8")
    here.type("python paid.py > listed.txt")
    here.type("kill %1; wait %1; merit audit .merit/dev")
    assert here.run()[-1].startswith("OK, self-consistent only")
    job, paid = (json.loads((tmp_path / name).read_bytes()) for name in ("job.json", "paid.json"))
    assert (job["status"], int(job["escrow_wei"])) == ("closed", 0)
    assert int(job["pending_wei"]) == sum(int(reward["reward_wei"]) for reward in paid["rewards"]) > 0
    listed = (tmp_path / "listed.txt").read_text().splitlines()
    assert len(listed) == sum(reward["client"] == 5 for reward in paid["rewards"]) > 0
    with up(tmp_path / ".merit" / "dev", "--edge-port", "0", "--json") as network:  # goes on, edge servers and all
        assert len(document(network)["edge_servers"]) == 4


@pytest.mark.slow
def test_an_own_model_is_learned_over_tls(tmp_path: Path) -> None:
    here, _ = served(tmp_path, "examples", "https")
    here.type("net=.merit/dev")
    here.take("export PYTHONPATH", "merit job create", "for part in")
    learned(here)
    here.take("python scripts/examples/read_rewards.py")
    here.type("merit job close 1 --key $net/keys/member-7.pem --password-file $net/keys/password")
    ended(here)
    assert [line for line in here.run() if line.endswith("tokens in all")]


TESTNET: Final = ".merit/testnet/nodes/"


@pytest.mark.slow
@pytest.mark.usefixtures("comet")
def test_a_testnet_votes_rotates_a_key_is_joined_left_and_audited(tmp_path: Path) -> None:
    port = free_port_base(5, 24_000)
    ports = {f"127.0.0.1:{27_000 + at}": f"127.0.0.1:{port + at}" for at in (2, 12, 22)}
    here = Shell("testnet", tmp_path, {**ports, "--clients 20": f"--clients 0 --port {port}"})
    (_, proposal, *_) = re.findall(r"```toml\n(.*?)```", (ROOT / "node/machine/README.md").read_text(), re.DOTALL)[1:]
    (tmp_path / "example.toml").write_text(proposal.replace("edge-server", "client"), encoding="utf-8")
    rpc = "--rpc http://127.0.0.1:27002"

    def office(node: str) -> str:
        return f"--key {TESTNET}{node}/keys/edge.pem --password-file {TESTNET}{node}/keys/password {rpc}"

    here.take("merit testnet init", "merit testnet start --detach", "merit testnet status", "merit testnet perturb")
    here.take("merit testnet logs")
    here.until(f"merit node status {TESTNET}node2 > /dev/null")
    here.type("printf secret > password; merit keys new admitted.pem --password-file password --json > admitted.json")
    here.type('key=$(python -c \'import json; print(json.load(open("admitted.json"))["public_key"])\')')
    here.type('sed "s/0x\\.\\.\\./$key/" example.toml > admit.toml')
    here.take("merit council propose admit", "merit council list", home=f"{TESTNET}node2")
    here.take("merit council vote", home=f"{TESTNET}node3")
    here.type(f"merit council vote 1 --approve {office('node4')}")
    here.take("merit council execute", "merit council show", home=f"{TESTNET}node2")
    here.take("merit keys rotate HOME", "merit council propose new", home=f"{TESTNET}node2")
    for node in ("node3", "node4"):
        here.type(f"merit council vote 2 --approve {office(node)}")
    here.type(f"merit council execute 2 {office('node3')}")
    here.take("cp HOME/keys/edge.pem", home=f"{TESTNET}node2")
    here.type("merit testnet perturb node2 restart")
    here.take("merit keys rotate old.pem", home=f"{TESTNET}node2")
    here.until(f"merit node status {TESTNET}node2 > /dev/null")
    here.take("merit testnet join", "merit testnet leave", "merit audit", "merit testnet stop")
    printed = here.run()
    assert any("node5 is a validator" in line for line in printed)
    assert any("node1 has left" in line for line in printed)
    assert any(line.startswith("OK, self-consistent only") for line in printed)


@pytest.mark.slow
@pytest.mark.usefixtures("comet")
def test_a_members_machine_is_started_backed_up_and_restored(tmp_path: Path) -> None:
    here = Shell("machine", tmp_path, {"DEST": "copy", "SOURCE": "copy"})
    home = "net/nodes/node1"
    here.type(f"merit testnet init --validators 1 --clients 0 --port {free_port_base(1, 25_000)} --dir net")
    here.take("merit keys new", "merit keys certificate", home=home)
    here.take("merit node start", home=home, after=" > node.log 2>&1 &")
    here.until(f"merit node status {home} > /dev/null")
    here.take("merit node status", "merit backup", home=home)
    here.type(f"kill %1; wait %1; mv {home}/ledger lost")
    here.take("merit restore", home=home)
    here.run()
    assert (tmp_path / home / "ledger").is_dir()
