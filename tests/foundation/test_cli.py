"""What every `merit` command keeps to: quick help, one-line errors that name what is near, exit codes, --json."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from chain.crypto.keystore import load
from merit.errors import MeritError
from node.cli import COMMANDS, main
from tests.conftest import ROOT

HEAVY = {"eth", "numpy", "rich", "sklearn", "torch", "web3"}


def modules_after(*arguments: str) -> set[str]:
    """The top-level modules that a process has loaded when `merit ARGUMENTS` is done."""
    program = (
        "import sys; from node.cli import main; code = main(sys.argv[1:]);"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return set(result.stderr.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    assert not modules_after("--help") & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_neither_torch_nor_an_evm(command: str) -> None:
    assert not modules_after(command, "--help") & {"eth", "numpy", "sklearn", "torch", "web3"}


@pytest.mark.parametrize("command", COMMANDS)
def test_listed_command_exists_and_takes_json(command: str) -> None:
    app: typer.Typer = importlib.import_module(f"node.cli.{command}").app
    group = typer.main.get_command(app)
    leaves = list(getattr(group, "commands", {command: group}).values())
    assert leaves
    for leaf in leaves:
        assert "--json" in [option for parameter in leaf.params for option in parameter.opts], leaf.name


def test_every_command_line_of_help_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["docter"], "'doctor'"),
        (["keys", "sow"], "'show'"),
        (["doctor", "--jsn"], "--json"),
        (["keys", "new", "--scheme", "ml-dsa-87", "x"], "'ml-dsa-65'"),
        (["bench", "a-benchmark-that-is-not-there"], "did you mean"),
    ],
)
def test_usage_error_is_one_line_that_names_what_is_near(
    arguments: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("merit: ")
    assert output.err.count("\n") == 1
    assert near in output.err


def test_without_a_command_the_help_is_shown_as_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def _command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `merit doctor` do nothing but raise `error`."""
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("node.cli.doctor.app", app)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MeritError("the job has no budget: top it up"), "merit: the job has no budget: top it up\n"),
        (FileNotFoundError(2, "No such file or directory", "x.toml"), "merit: No such file or directory: x.toml\n"),
        (OSError(28, "No space left on device"), "merit: No space left on device\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "merit: this needs torch, which is not installed: pip install 'merit-ledger[train]'\n",
        ),
        (typer.Abort(), "merit: stopped\n"),
    ],
)
def test_mistake_of_a_user_is_one_line_and_exit_code_2(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _command(monkeypatch, error)
    assert main(["doctor"]) == 2
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [KeyError("a bug"), ModuleNotFoundError("a bug", name="node.cli.nonsense")])
def test_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    _command(monkeypatch, error)
    with pytest.raises(type(error), match="a bug"):
        main(["doctor"])


def test_traceback_of_a_mistake_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    _command(monkeypatch, MeritError("wrong"))
    monkeypatch.setenv("MERIT_TRACEBACK", "1")
    with pytest.raises(MeritError, match="wrong"):
        main(["doctor"])


@pytest.mark.parametrize(("error", "code"), [(typer.Exit(1), 1), (KeyboardInterrupt(), 130)])
def test_command_that_stops_early_gives_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _command(monkeypatch, error)
    assert main(["doctor"]) == code


def test_doctor_finds_the_required_parts_and_names_a_way_to_each_missing_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    parts = {part["name"]: part for part in report["parts"]}
    assert set(parts) >= {"Python", "packages", "torch", "scikit-learn", "liboqs", "anvil", "disk", "cores", "memory"}
    assert all(part["cost"] and part["bring"] for part in parts.values() if part["found"] is None)


def test_doctor_names_each_part_once() -> None:
    names = [part.name for part in importlib.import_module("node.cli.doctor").parts()]
    assert len(names) == len(set(names))


def test_doctor_says_what_brings_cometbft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("chain.engines.cometbft.binary.LOCAL", Path("no/such/place"))
    monkeypatch.setenv("PATH", str(tmp_path))
    parts = {part.name: part for part in importlib.import_module("node.cli.doctor").parts()}
    assert parts["cometbft"].found is None
    assert parts["cometbft"].bring == "merit testnet install"


def test_the_machine_that_runs_every_test_gets_each_program_that_a_test_needs() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("scripts/")]
    for name in commands:
        assert os.access(ROOT / name, os.X_OK), name
    assert {"scripts/install-anvil", "scripts/install-cometbft", "scripts/install-liboqs"} <= set(commands)


def test_doctor_fails_when_a_required_package_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.doctor.requires", lambda _: ["no-such-package>=1", "numpy>=2 ; extra == 'train'"])
    assert main(["doctor", "--json"]) == 1
    missing = [part for part in json.loads(capsys.readouterr().out)["parts"] if part["name"] == "packages"]
    assert "no-such-package" in missing[0]["cost"]


def test_doctor_counts_a_program_that_does_not_run_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "go"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {part.name: part.found for part in importlib.import_module("node.cli.doctor").parts()}["go"] is None


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_bytes(b"correct horse\n")
    return file


@pytest.mark.parametrize("scheme", ["ml-dsa-44", "ml-dsa-65"])
def test_new_key_is_shown_as_it_was_made(
    scheme: str, tmp_path: Path, password: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "client.pem"
    assert main(["keys", "new", str(path), "--scheme", scheme, "--password-file", str(password), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["scheme"] == scheme
    assert main(["keys", "show", str(path), "--password-file", str(password), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made
    key = load(path, b"correct horse")
    assert made["address"].lower() == f"0x{key.address.hex()}"
    assert made["public_key"] == f"0x{key.public_key.hex()}"


def test_key_file_is_never_overwritten(tmp_path: Path, password: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "client.pem"
    path.write_text("something of value")
    assert main(["keys", "new", str(path), "--password-file", str(password)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "something of value"


def test_wrong_password_is_one_line(tmp_path: Path, password: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "client.pem"
    assert main(["keys", "new", str(path), "--password-file", str(password)]) == 0
    password.write_bytes(b"wrong\n")
    capsys.readouterr()
    assert main(["keys", "show", str(path), "--password-file", str(password)]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)


def test_empty_password_is_refused(tmp_path: Path, password: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password.write_bytes(b"\nsecond line\n")
    assert main(["keys", "new", str(tmp_path / "client.pem"), "--password-file", str(password)]) == 2
    assert "empty" in capsys.readouterr().err
    assert not (tmp_path / "client.pem").exists()


def test_without_a_terminal_the_password_must_come_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "new", str(tmp_path / "client.pem")]) == 2
    assert "--password-file" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tests" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "sums.py").write_text(
        '"""Sums of small numbers."""\n\n\ndef run():\n    return [{"name": "one", "value": 1.23456, "unit": "us"}]\n'
    )
    monkeypatch.setattr("node.cli.bench.checkout", lambda: tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])  # bench adds the checkout to it
    return folder


@pytest.mark.usefixtures("checkout")
def test_bench_prints_what_a_benchmark_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "sums"]) == 0
    output = capsys.readouterr().out
    assert "Sums of small numbers" in output
    assert "1.23" in output


@pytest.mark.usefixtures("checkout")
def test_bench_writes_exact_values_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sums": [{"name": "one", "value": 1.23456, "unit": "us"}]}


@pytest.mark.usefixtures("checkout")
def test_bench_lists_without_running(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "slow.py").write_text('"""Takes for ever."""\n\n\ndef run():\n    raise AssertionError\n')
    assert main(["bench", "--list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["slow", "sums"]


def test_bench_outside_a_checkout_says_where_the_benchmarks_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.bench.checkout", lambda: None)
    assert main(["bench"]) == 2
    assert "clone the repository" in capsys.readouterr().err
