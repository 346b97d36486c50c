"""One small run for all tests of the audit, made once; every test that damages something gets a copy."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.genesis import load_genesis
from node.audit import Auditor, AuditReport
from node.audit.replay import Replay

MAKING_LIMIT_S = 600
GOVERNED = "governed"  # nobody lies in this one: see make_governed_run


def made(root: Path, lie: str = "") -> Path:
    """Make a run once for all test processes; return its directory."""
    directory = root / f"run-{lie or 'honest'}"
    done = directory / "run.done"
    with (root / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            module, lies = ("make_governed_run", []) if lie == GOVERNED else ("make_run", [lie] if lie else [])
            command = [sys.executable, "-m", f"tests.node.audit.{module}", str(directory), *lies]
            subprocess.run(command, check=True, timeout=MAKING_LIMIT_S)  # noqa: S603 - our own script
            done.touch()
    return directory


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the directory of the run with a lie, of the governed one, or of the honest one for an empty name."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base  # workers share one directory
    return lambda lie="": made(root, lie)


@pytest.fixture(scope="session")
def untouched(runs: Callable[[str], Path]) -> Path:
    """Give the honest run; read only."""
    return runs("")


@pytest.fixture(scope="session")
def auditor(untouched: Path) -> Auditor:
    """Give an auditor that has verified the honest run, so that a copy costs it little."""
    known = Auditor()
    assert known.audit(untouched).ok
    return known


@pytest.fixture
def run(untouched: Path, tmp_path: Path) -> Path:
    """Give a copy of the honest run to damage."""
    return copied(untouched, tmp_path / "run")


@pytest.fixture
def audit(auditor: Auditor) -> Callable[[Path], AuditReport]:
    """Audit a directory with what is known already."""
    return auditor.audit


@pytest.fixture
def replay(auditor: Auditor, untouched: Path) -> Replay:
    """Give what executing the honest run again gave; read only."""
    return auditor.replays.begin(load_genesis(untouched / "genesis.json")).replay


def copied(source: Path, target: Path) -> Path:
    """Copy what an audit reads."""
    for name in ("genesis.json", "validators", "edge"):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
    return target
