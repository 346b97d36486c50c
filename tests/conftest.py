"""What all tests share: no deadlines in hypothesis, the folder of shared data, no skip in a full run, who runs what."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

import chain.execution.evm  # noqa: F401 - takes py-evm's opcodes before titanoboa puts tracers in their place

ROOT = Path(__file__).parent.parent
NO_SKIP = bool(os.environ.get("MERIT_NO_SKIP"))  # set by `scripts/test --all`
TESTNETS = (
    "tests/node/testnet/test_running.py",
    "tests/node/testnet/test_tls.py",
    "tests/node/experiments/test_runs.py",
    "tests/foundation/test_readme_commands.py::test_a_testnet_",
)

settings.register_profile("merit", deadline=None, print_blob=True)  # a shared machine keeps no deadline
settings.load_profile("merit")


class OneWorkerForTestnets(LoadGroupScheduling):  # type: ignore[misc] # untyped
    """Gives all tests that run a testnet to one worker: each needs the machine, and free ports, for itself.

    pytest-xdist's own mark `xdist_group` has no effect with pytest 9.2, which keeps node ids elsewhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "testnet" if nodeid.startswith(TESTNETS) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadGroupScheduling | None:
    return OneWorkerForTestnets(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with MNIST and published test vectors: $MERIT_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("MERIT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set MERIT_SHARED to the folder that holds mnist/ and vectors/")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # xfail reports itself as skipped, too, but means that the test ran
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("gpu") is None:
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIP and report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{reason}\nA full run skips nothing but tests marked gpu: install what this one needs."
