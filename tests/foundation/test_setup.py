"""`scripts/setup` in a made-up checkout: its programs are stand-ins, so nothing is downloaded."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAMS = ("awk", "bash", "cat", "cut", "df", "dirname", "du", "env", "flock", "rm", "sha256sum", "sleep", "uname")


class Checkout:
    """A checkout with a small lock, and a PATH that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.path = folder / "bin"
        self.log = folder / "log"
        (self.root / "scripts").mkdir(parents=True)
        self.path.mkdir()
        shutil.copy(ROOT / "scripts" / "setup", self.root / "scripts")
        (self.root / "pyproject.toml").write_text("[project]\n")
        for lock in ("requirements.lock", "requirements-dev.lock"):
            (self.root / lock).write_text(
                f"# {lock}\nuv==1.0 \\\n    --hash=sha256:00\nweb3==8.0 \\\n    --hash=sha256:11\n"
            )
        for program in PROGRAMS:
            found = shutil.which(program)
            assert found is not None
            (self.path / program).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        """Put a shell script into PATH, or into .venv for a name that starts with .venv."""
        file = self.root / name if name.startswith(".venv") else self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(f"#!/usr/bin/env bash\n{script}\n")
        file.chmod(0o755)

    def environment(self, *, uv: str = "") -> None:
        """Make a .venv whose python is this one, but whose pip and uv only write down how they are called."""
        log_call = f'echo "${{0##*/}} $*" >>{self.log}'
        self.program(".venv/bin/python", f'[[ $1 == -c ]] && exec {sys.executable} "$@"\n{log_call}')
        self.program(".venv/bin/uv", f"{log_call}\n{uv}")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        clean = {"PATH": str(self.path), "HOME": os.environ.get("HOME", "/"), **variables}
        command = [str(self.path / "bash"), str(self.root / "scripts" / "setup"), *arguments]
        return subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603

    def run(self, *arguments: str, **variables: str) -> tuple[int, list[str]]:
        process = self.start(*arguments, **variables)
        output, errors = process.communicate(timeout=60)
        assert output == ""
        assert process.returncode is not None
        return process.returncode, errors.splitlines()

    def stamp(self, kind: str, lock: str) -> None:
        content = (self.root / lock).read_bytes() + (self.root / "pyproject.toml").read_bytes()
        (self.root / f".venv/.merit-{kind}").write_text(hashlib.sha256(content).hexdigest() + "\n")

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


WORKING = f'exec {sys.executable} "$@"'
WITHOUT_VENV = f'[[ $2 == "import ensurepip, venv" ]] && exit 1\n{WORKING}'
FAILING_SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'


def test_without_python_one_line_says_which_is_needed(checkout: Checkout) -> None:
    checkout.program("python3.12", FAILING_SHIM)
    checkout.program("python3", "exit 1")  # another version: the check of the version fails
    code, lines = checkout.run()
    assert (code, len(lines)) == (1, 1)
    assert "Python 3.11, 3.12 or 3.13 is needed" in lines[0]


def test_python_without_venv_names_the_package_that_brings_it(checkout: Checkout) -> None:
    checkout.program("python3", WITHOUT_VENV)
    code, lines = checkout.run()
    assert (code, len(lines)) == (1, 1)
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in lines[0]


def test_shim_that_fails_and_python_without_venv_are_passed_over(checkout: Checkout) -> None:
    checkout.program("python3.13", FAILING_SHIM)
    checkout.program("python3.12", WITHOUT_VENV)
    checkout.program("python3", f'[[ $1 == -m ]] && {{ echo "$@" >{checkout.log}; exit 1; }}\n{WORKING}')
    code, lines = checkout.run()
    assert code == 1
    assert lines[0].startswith("setup: making .venv with Python 3.")
    assert checkout.calls() == ["-m venv --clear .venv"]


def test_python_that_was_named_is_not_replaced_by_another(checkout: Checkout) -> None:
    checkout.program("python3", WORKING)
    code, lines = checkout.run(PYTHON="/nowhere/python")
    assert (code, lines) == (1, ["setup: PYTHON=/nowhere/python is not a Python 3.11, 3.12 or 3.13 that runs"])


def test_little_disk_is_said_before_anything_is_made(checkout: Checkout) -> None:
    checkout.program("python3", WORKING)
    checkout.program("df", "printf 'header\\n/dev/x 1 1 %d 1%% /\\n' $((9 * 1024 * 1024))")
    code, lines = checkout.run()
    assert (code, len(lines)) == (1, 1)
    assert "10 GB of free disk are needed here, 9 GB are left" in lines[0]
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize(("option", "answer", "said"), [("-s", "Darwin", "Linux"), ("-m", "riscv64", "aarch64")])
def test_other_system_is_one_line(option: str, answer: str, said: str, checkout: Checkout) -> None:
    checkout.program("uname", f'[[ $1 == {option} ]] && echo {answer} || {shutil.which("uname")} "$@"')
    code, lines = checkout.run()
    assert (code, len(lines)) == (1, 1)
    assert said in lines[0]


def test_unknown_argument_is_a_usage_error(checkout: Checkout) -> None:
    assert checkout.run("--everything") == (2, ["usage: scripts/setup [--dev]"])


@pytest.mark.parametrize(
    ("arguments", "kind", "lock"),
    [
        ((), "runtime", "requirements.lock"),
        (("--dev",), "dev", "requirements-dev.lock"),
        ((), "dev", "requirements-dev.lock"),  # it holds all of the runtime lock
    ],
)
def test_environment_that_is_complete_is_left_alone(
    arguments: tuple[str, ...], kind: str, lock: str, checkout: Checkout
) -> None:
    checkout.environment()
    checkout.stamp(kind, lock)
    assert checkout.run(*arguments) == (0, [])
    assert checkout.calls() == []


def test_environment_follows_a_lock_that_changed(checkout: Checkout) -> None:
    checkout.environment()
    checkout.stamp("runtime", "requirements.lock")
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("rich==15.0 \\\n    --hash=sha256:22\n")
    assert checkout.run()[0] == 0
    assert any("--require-hashes -r requirements.lock" in call for call in checkout.calls())
    calls = len(checkout.calls())
    assert checkout.run() == (0, [])
    assert len(checkout.calls()) == calls


def test_uv_is_installed_with_the_hashes_of_the_lock(checkout: Checkout) -> None:
    checkout.environment()
    assert checkout.run()[0] == 0
    assert (checkout.root / ".venv/.merit-uv.txt").read_text() == "uv==1.0 \\\n    --hash=sha256:00\n"
    assert any(call.startswith("python -m pip install") and "--require-hashes" in call for call in checkout.calls())


def test_setup_that_was_cut_short_is_made_whole(checkout: Checkout) -> None:
    checkout.environment(uv="exit 1")
    code, lines = checkout.run()
    assert code == 1
    assert "could not be installed" in lines[-1]
    checkout.environment()
    code, lines = checkout.run()
    assert code == 0
    assert "cut short" in lines[0]
    assert any("--reinstall" in call for call in checkout.calls())
    assert checkout.run() == (0, [])


def test_two_setups_at_once_take_turns_and_install_once(checkout: Checkout) -> None:
    checkout.environment(uv="sleep 0.3")
    both = [checkout.start(), checkout.start()]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("--editable" in call for call in checkout.calls()) == 1
