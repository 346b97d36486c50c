"""Runs that are killed with SIGKILL go on when they are started again, and audit clean (`scripts/kill_runs`)."""

import contextlib
import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.run.phases import Phase, entered

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_goes_on_and_audits_clean(tmp_path: Path) -> None:
    verdict = tmp_path / "verdict.json"
    command = [sys.executable, "scripts/kill_runs", "--kills", "3", "--each", "3", "--rounds", "4", "--seed", "2"]
    done = subprocess.run(  # noqa: S603 - our own script
        [*command, "--dir", str(tmp_path / "runs"), "--json", str(verdict)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(verdict.read_bytes())
    assert (found["ok"], found["kills"], found["good"]) == (True, 3, 1)
    (trial,) = found["trials"]
    assert trial["rounds"] >= 4
    assert int(trial["paid_wei"]) > 0
    assert not Path(trial["directory"]).exists()


def test_the_log_names_the_phases_and_a_torn_line_none() -> None:
    before = "2026-01-01 00:00:00,000 INFO node.run.phases: phase: "
    log = f"{before}start-up\n2026 WARNING node.sender: phase: audit\n{before}training\n{before}clos"
    assert entered(log) == [Phase.START, Phase.TRAINING]
    assert entered("") == []


def test_a_second_process_of_clients_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        waiting = subprocess.Popen(  # noqa: S603 - our own module; there is no host.json, so it fails once it may go on
            [sys.executable, "-m", "node.run.host", str(tmp_path / "host.json")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not _holds_open(waiting.pid, tmp_path / "lock"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {waiting.wait(0.05)}")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)  # without the lock it would have ended at once
    _, errors = waiting.communicate()
    assert b"host.json" in errors
    assert waiting.returncode == 1


def _holds_open(process: int, path: Path) -> bool:
    """Tell whether a process has opened a file; False if it ends meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return any(file.readlink() == path for file in Path(f"/proc/{process}/fd").iterdir())
    return False
