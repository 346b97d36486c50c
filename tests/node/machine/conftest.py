"""A home of a ledger with one validator, and the program that decides its heights."""

from pathlib import Path

import pytest

from chain.engines.cometbft import binary
from chain.engines.errors import CometBinaryError
from merit.clock import SystemClock
from node.machine.home import NodeHome, TimingFile
from node.testnet.layout import Layout, TestnetFile, free_port_base, make

QUICK = TimingFile(propose=1_000, vote=500, commit=10, empty=500)


@pytest.fixture(scope="session")
def program() -> Path:
    """The program `cometbft`."""
    try:
        return binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A network of one validator, which nobody runs."""
    file = TestnetFile(validators=1, clients=1, port=free_port_base(1, 43_000), relays=False, timing=QUICK)
    make(tmp_path / "net", file, int(SystemClock().now()))
    return Layout(tmp_path / "net")


@pytest.fixture
def home(layout: Layout) -> NodeHome:
    """The home of its validator."""
    return layout.home(1)
