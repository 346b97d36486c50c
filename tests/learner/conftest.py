"""Where the tests find MNIST."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def mnist_directory() -> Path:
    """The directory of the four idx files, or a skip that says what to set."""
    directory = Path(os.environ.get("MERIT_SHARED", ROOT.parent / "shared")) / "mnist"
    if not directory.is_dir():
        pytest.skip(f"{directory} is not there: set MERIT_SHARED to a directory that holds mnist/")
    return directory
