"""The arrows between the rooms: each import contract of pyproject.toml holds, and each one bites."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = ("merit", "chain", "contracts", "learner", "node")

# contract: (module, an import that it forbids)
PLANTS = {
    "floor": ("merit/chance.py", "import learner.gram"),
    "learner": ("learner/gram.py", "import contracts.errors"),
    "chain": ("chain/limits.py", "import learner.gram"),
    "contracts": ("contracts/errors.py", "import chain.limits"),
    "predeploys": ("chain/transaction.py", "import contracts.errors"),
    "seam": ("chain/storage.py", "import chain.engines.base"),
    "light": ("chain/light/errors.py", "import chain.storage"),
    "consensus": ("chain/consensus/round.py", "import merit.clock"),
    "simulation": ("chain/simulation/disk.py", "import chain.storage"),
    "node": ("node/sender.py", "import chain.storage"),
    "torch": ("node/sender.py", "import torch"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - ours


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return [contract["id"] for contract in settings["contracts"]]


def test_all_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_an_import_that_it_forbids() -> None:
    assert contracts() == list(PLANTS)


@pytest.mark.parametrize("contract", PLANTS)
def test_contract_sees_a_forbidden_import(contract: str, copy: Path) -> None:
    file, statement = PLANTS[contract]
    with (copy / file).open("a") as source:
        source.write(f"\n{statement}\n")
    result = lint(copy, "--contract", contract)
    assert result.returncode == 1
    importer = file.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {statement.removeprefix('import ')}" in result.stdout


def test_a_forbidden_import_inside_a_function_is_seen_too(copy: Path) -> None:
    with (copy / "node/sender.py").open("a") as source:
        source.write("\n\ndef late() -> None:\n    import torch\n")
    assert lint(copy, "--contract", "torch").returncode == 1
