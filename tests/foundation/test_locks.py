"""The locks: complete, hashed, without addresses, and one the superset of the other."""

import re

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")


def requirements(lock: str) -> list[str]:
    return re.findall(r"^[a-z].*", (ROOT / lock).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_address_and_no_option(lock: str) -> None:
    assert not re.findall(r"^.*(?:://|^-).*$", (ROOT / lock).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[a-z])", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(requirements(lock))
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==\S+ ", block), block
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block


def test_development_lock_holds_the_runtime_lock_unchanged() -> None:
    assert set(requirements("requirements.lock")) <= set(requirements("requirements-dev.lock"))


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_lock_gives_each_package_exactly_once_on_every_machine(python: str, machine: str, lock: str) -> None:
    environment = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    lines = [Requirement(line.removesuffix("\\")) for line in requirements(lock)]
    chosen = [line.name for line in lines if line.marker is None or line.marker.evaluate(environment)]
    assert len(chosen) == len(set(chosen))
    assert {"hatchling", "torch", "uv", "web3"} <= set(chosen)
    assert set(chosen) == {line.name for line in lines}
