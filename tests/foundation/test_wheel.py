"""The wheel holds every file that the program reads, and works outside a checkout and without torch."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.foundation.test_arrows import ROOMS

DATA = ("*.cu", "*.html", "*.j2", "*.json", "*.md", "*.proto", "*.py", "*.pyi", "*.toml", "*.typed", "*.vy")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)  # noqa: S603 - ours
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, program: str) -> str:
    """Run `program` on the unpacked wheel, with the packages of this environment but torch and scikit-learn."""
    blocked = "import sys; sys.modules.update(torch=None, sklearn=None)\n"
    command = [sys.executable, "-W", "ignore", "-c", blocked + program]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    result = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert result.returncode == 0, result.stderr
    return result.stdout


def sources() -> set[str]:
    return {
        str(file.relative_to(ROOT))
        for room in ROOMS
        for pattern in DATA
        for file in (ROOT / room).rglob(pattern)
        if "__pycache__" not in file.parts
    }


def test_wheel_holds_the_rooms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == sources()


@pytest.mark.parametrize(
    "pattern",
    [
        "*/py.typed",
        "chain/proto/*.proto",
        "chain/proto/*_pb2.py",
        "contracts/*.vy",
        "contracts/artifacts/Ledger.json",
        "contracts/artifacts/Registry.json",
        "contracts/artifacts/Token.json",
        "learner/RULES.md",
    ],
)
def test_wheel_holds_the_data_that_the_program_reads(pattern: str, unpacked: Path) -> None:
    assert list(unpacked.glob(pattern))


def test_wheel_carries_the_licence(unpacked: Path) -> None:
    (licence,) = unpacked.glob("merit_ledger-*.dist-info/licenses/LICENSE")
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_command_of_the_wheel_runs_without_torch(unpacked: Path) -> None:
    output = run(unpacked, "from node.cli import main; print(main.__code__.co_filename); sys.exit(main(['doctor']))")
    assert output.startswith(str(unpacked))


def test_every_module_but_those_that_train_loads_without_torch_and_development_packages(unpacked: Path) -> None:
    program = f"""
import importlib, pkgutil
from learner.errors import MissingExtra
sys.modules.update(dict.fromkeys(("boa", "eth_tester", "grpc_tools", "hypothesis", "pytest", "vyper")))
for room in {ROOMS}:
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if module.name.rpartition(".")[2] not in ("__main__", "build"):  # build: tools of a checkout
            try:
                importlib.import_module(module.name)
            except (MissingExtra, ModuleNotFoundError) as error:
                if getattr(error, "name", "torch") not in ("torch", "sklearn"):
                    raise
                print(module.name)
"""
    training = run(unpacked, program).split()
    assert [name for name in training if not name.startswith(("learner.models", "learner.training", "node.run."))] == []
