"""`scripts/flip_bytes` in small: what it does with a run, and that it can fail."""

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from node.audit import Auditor, AuditReport
from node.audit.replay import Replay
from tests.conftest import ROOT
from tests.node.audit import tamper

SCRIPT = ROOT / "scripts" / "flip_bytes"


def flip_bytes(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(run), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("flip_bytes", str(SCRIPT))
    spec = spec_from_loader("flip_bytes", loader)
    assert spec is not None
    module = sys.modules["flip_bytes"] = module_from_spec(spec)  # its dataclasses look there
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def store_of(file: str) -> str:
    """Say how a report names the store that a file belongs to."""
    match file.split("/"):
        case ["validators", number, store, _]:
            return f"validator {number} {store}"
        case ["edge", number, "blobs", *_]:
            return f"edge {number} blobs"
        case _:
            return "directory"


def test_every_flipped_bit_is_detected_in_its_store_or_does_no_harm(untouched: Path, tmp_path: Path) -> None:
    file = tmp_path / "flips.json"
    result = flip_bytes(untouched, "--positions", "6", "--seed", "3", "--json", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
    outcomes = json.loads(file.read_text())
    assert len(outcomes) == 6
    for outcome in outcomes:
        if outcome["outcome"] == "harmless":
            assert outcome["named"] == "every key and value is the untouched one"
        else:
            assert outcome["named"].startswith(store_of(outcome["position"]["file"]))


def test_a_run_that_does_not_audit_clean_is_refused(run: Path, replay: Replay) -> None:
    tamper.updates(run, replay)[0].unlink()
    result = flip_bytes(run, "--positions", "1")
    assert result.returncode == 1
    assert "does not audit clean" in result.stderr


@pytest.mark.parametrize("sighted", [True, False])
def test_a_flip_that_an_audit_overlooks_is_missed(
    script: ModuleType, auditor: Auditor, run: Path, replay: Replay, *, sighted: bool
) -> None:
    untouched = auditor.audit(run)
    file = tamper.updates(run, replay)[0]
    position = script.Position(0, "blob", str(file.relative_to(run)), 100, 0)

    class Blind:
        """An auditor that always says what it said of the untouched run."""

        def audit(self, _: Path) -> AuditReport:
            return untouched

    judge: Any = auditor if sighted else Blind()
    outcome = script.judge(judge, run, untouched, script.content_of(run), position)
    assert outcome.outcome == ("detected" if sighted else "missed")
