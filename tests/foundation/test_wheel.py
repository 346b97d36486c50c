"""The wheel holds every file that the program reads, and works outside a checkout and without torch."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web3 import HTTPProvider, Web3

from tests.conftest import ROOT
from tests.foundation.test_arrows import ROOMS
from tests.node.audit.conftest import made
from tests.node.test_up import document, pay

DATA = tuple(
    f"*.{kind}" for kind in ["css", "cu", "html", "j2", "js", "json", "md", "proto", "py", "pyi", "toml", "typed", "vy"]
)


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
        "contracts/v2/Token.vy",
        "contracts/v3/Ledger.vy",
        "contracts/artifacts/Council.json",
        "contracts/artifacts/Ledger.json",
        "contracts/artifacts/Registry.json",
        "contracts/artifacts/Token.json",
        "contracts/artifacts/v2/Token.json",
        "contracts/artifacts/v3/Ledger.json",
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
    trains = ("learner.allocation.cycles", "learner.dense", "learner.models", "learner.roots", "learner.simulation.")
    trains += ("learner.training", "node.edge.roots", "node.run.", "node.sdk")
    assert [name for name in training if not name.startswith(trains)] == []


UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel with what it asks for, and nothing else, into an environment of its own; return its programs.

    The packages have the versions of the development lock. They come from uv's cache, or from the registry that
    scripts/setup uses.
    """
    folder = tmp_path_factory.mktemp("installed")
    programs = folder / "env" / "bin"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "env"], check=True)  # noqa: S603 - ours
    command = [UV, "pip", "install", "--quiet", "--python", programs / "python", "-c", ROOT / "requirements-dev.lock"]
    for network in (["--offline"], []):
        result = subprocess.run([*command, *network, wheel], capture_output=True, text=True, check=False)  # noqa: S603
        if result.returncode == 0:
            return programs
    pytest.skip(f"the wheel's packages are neither in uv's cache nor to be had: {result.stderr}")


def merit(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command as somebody who has no checkout: no variable of ours, another directory."""
    command = [installed / "merit", *arguments]
    return subprocess.run(  # noqa: S603 - ours
        command, cwd=installed, env={"PATH": os.defpath}, capture_output=True, text=True, check=False
    )


@contextmanager
def network(installed: Path, directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [installed / "merit", "up", "--dir", directory, "--port", "0", "--json", *options]
    with subprocess.Popen(  # noqa: S603 - ours
        command, cwd=installed, env={"PATH": os.defpath}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_an_installed_wheel_brings_neither_torch_nor_anything_of_a_checkout(installed: Path) -> None:
    listed = subprocess.run(  # noqa: S603 - ours
        [UV, "pip", "list", "--format", "json", "--python", installed / "python"], capture_output=True, check=True
    )
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert "merit-ledger" in names
    assert not names & {"torch", "scikit-learn", "pytest", "vyper", "titanoboa", "eth-tester", "hypothesis"}
    assert merit(installed, "doctor").returncode == 0


@pytest.mark.slow
def test_an_installed_wheel_starts_a_network_goes_on_with_it_and_audits_it(installed: Path, tmp_path: Path) -> None:
    directory = tmp_path / "net"
    with network(installed, directory, "--classical") as process:
        said = document(process)
        w3 = Web3(HTTPProvider(said["rpc"]))
        assert pay(w3, said["accounts"][0]["private_key"]).blockNumber == 1
        process.terminate()
        assert process.wait(60) == 0
    with network(installed, directory) as process:
        again = document(process)
        assert (again["genesis_hash"], again["block"]) == (said["genesis_hash"], 1)
        w3 = Web3(HTTPProvider(again["rpc"]))
        assert pay(w3, said["accounts"][0]["private_key"]).blockNumber == 2
        process.terminate()
        assert process.wait(60) == 0
    audit = merit(installed, "audit", str(directory), "--genesis", said["genesis_hash"])
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert audit.stdout.splitlines()[-1] == f"OK: everything follows from genesis {said['genesis_hash']}"


@pytest.mark.slow
def test_an_installed_wheel_audits_a_run_of_somebody_who_trains(installed: Path, tmp_path: Path) -> None:
    directory = made(tmp_path)
    honest = merit(installed, "audit", str(directory), "--json")
    assert honest.returncode == 0, honest.stdout + honest.stderr
    assert json.loads(honest.stdout)["verified"]["rounds"]["rounds"] >= 3
    update = next(path for path in directory.glob("edge/3/blobs/*/*") if path.read_bytes().startswith(b"MRTU"))
    update.unlink()
    damaged = merit(installed, "audit", str(directory))
    assert damaged.returncode == 1
    assert damaged.stdout.splitlines()[-1].startswith("DIVERGES: edge 3 blobs, height ")
