"""`scripts/test --all` skips nothing but tests marked gpu: what cannot run there fails, and says why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TESTS = """
import pytest

def test_plain():
    pass

@pytest.mark.skip(reason="no anvil")
def test_marked():
    pass

def test_inside():
    pytest.skip("no liboqs")

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    raise AssertionError

@pytest.mark.gpu
@pytest.mark.skip(reason="no GPU")
def test_device():
    pass
"""


def outcome(folder: Path, *arguments: str, full: bool) -> tuple[int, str]:
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    (folder / "tests" / "test_some.py").write_text(TESTS)
    (folder / "tests" / "test_absent.py").write_text('import pytest\n\npytest.importorskip("no_such_package")\n')
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    environment = {name: value for name, value in os.environ.items() if name != "MERIT_NO_SKIP"}
    environment |= {"MERIT_NO_SKIP": "1"} if full else {}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # titanoboa's would load a compiler and an EVM
    command = [sys.executable, "-m", "pytest", "-ra", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return result.returncode, result.stdout


def test_skips_are_allowed_in_a_short_run(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, full=False)
    assert code == 0
    assert "1 passed, 4 skipped, 1 xfailed" in output


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")])
def test_full_run_fails_for_each_skip_but_those_of_a_gpu(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code, output = outcome(tmp_path, "--continue-on-collection-errors", *arguments, full=True)
    assert code == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in output
    for reason in ("no anvil", "no liboqs", "no_such_package"):
        assert reason in output
