"""`merit simulate` as somebody types it."""

import json
from pathlib import Path

import pytest

from node.cli import main


def test_many_seeds_are_counted_and_hold(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["simulate", "--seeds", "0:3", "--validators", "4", "--validators", "5", "--log", str(tmp_path / "log")]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["decided"], told["failures"]) == (6, 36, [])
    assert main(arguments) == 0
    assert "6 runs, 36 heights decided" in capsys.readouterr().out


def test_one_seed_prints_its_trace_and_the_same_digest_twice(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for _ in range(2):
        assert main(["simulate", "--seeds", "7"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "height 1 decided in round" in said[0]
    assert "every rule held" in said[0]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--seeds", "a:b"], "write A:B"),
        (["--seeds", "3:3"], "there is no seed from 3"),
        (["--seeds", "0:1", "--validators", "99"], "99 validators"),
        (["--seeds=-1"], "seed -1"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert main(["simulate", *arguments]) == 2
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1
