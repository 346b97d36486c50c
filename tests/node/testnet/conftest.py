"""What the tests of a testnet share."""

from pathlib import Path

import pytest

from chain.engines.cometbft import binary
from chain.engines.errors import CometBinaryError


@pytest.fixture(scope="session")
def program() -> Path:
    """The program `cometbft`."""
    try:
        return binary.find()
    except CometBinaryError as error:
        pytest.skip(str(error))
