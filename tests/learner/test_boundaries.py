"""What agrees and pays needs numpy only; torch and scikit-learn come with the extra `train`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def output_without(packages: list[str], program: str) -> str:
    """Run `program` in a Python of its own in which `packages` cannot be imported."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    return subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", blocked + program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_rounds_and_data_work_without_torch_and_scikit_learn() -> None:
    modules = "learner.rounds, learner.references, learner.data.mnist, learner.data.digits, learner.data.partition"
    program = f"import {modules}; print('fine')"
    assert output_without(["torch", "sklearn", "scipy"], program) == "fine"


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("torch", "import learner.models"),
        ("torch", "import learner.training"),
        ("torch", "import learner.roots"),
        ("sklearn", "from learner.data.digits import load; load(1)"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_brings_it(package: str, line: str) -> None:
    program = (
        f"from learner.errors import MissingExtra\ntry:\n    {line}\nexcept MissingExtra as error:\n    print(error)"
    )
    assert output_without([package], program).endswith("is not installed: pip install 'merit-ledger[train]'")
