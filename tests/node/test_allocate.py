"""`merit allocate`: files in, table, JSON and plot out, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from learner.allocation.certificates import faults
from learner.allocation.exact import allocate
from learner.allocation.instance import Instance
from node.allocation.files import read_instance
from node.cli import main

CASE: dict[str, Any] = {
    "time": {"C2": [468, 468, 1605, 1605], "C1": [60, 75, 80, 66], "C0": [900, 1200, 1500, 2000], "T": 75_000},
    "energy": {"G2": [2, 2, 3, 0], "G1": [1, 1, 1, 0], "G0": [5, 5, 5, 0], "Emax": [300, 280, 90, 0]},
    "d": 60,
    "d_l": 1,
    "d_u": [40, 40, 40, 25],
    "tau_min": 1,
}
TOML = """
d = 60
d_l = 1
d_u = [40, 40, 40, 25]
tau_min = 1
[time]
C2 = [468, 468, 1605, 1605]
C1 = [60, 75, 80, 66]
C0 = [900, 1200, 1500, 2000]
T = 75000
[energy]
G2 = [2, 2, 3, 0]
G1 = [1, 1, 1, 0]
G0 = [5, 5, 5, 0]
Emax = [300, 280, 90, 0]
"""
CSV = """C2,C1,C0,G2,G1,G0,Emax,d_l,d_u,T,d,tau_min
468,60,900,2,1,5,300,1,40,75000,60,1
468,75,1200,2,1,5,280,1,40,,,
1605,80,1500,3,1,5,90,1,40,75000,60,1
1605,66,2000,0,0,0,0,1,25,,,
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "case.json"
    path.write_text(json.dumps(CASE))
    return path


@pytest.mark.parametrize(("suffix", "text"), [("json", json.dumps(CASE)), ("toml", TOML), ("csv", CSV)])
def test_every_kind_of_file_holds_the_same_instance(suffix: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"case.{suffix}"
    path.write_text(text)
    assert read_instance(path).to_json() == Instance.from_json(CASE).to_json()


def test_json_holds_the_allocation_and_its_staleness(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["allocate", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = allocate(Instance.from_json(CASE))
    assert faults(Instance.from_json(CASE), found) == ()
    assert found.d is not None
    assert found.tau is not None
    assert document["status"] == "optimal"
    assert (document["d"], document["tau"]) == (found.d.tolist(), found.tau.tolist())
    assert (document["max_staleness"], document["pair_sum"]) == (found.max_staleness, found.pair_sum)
    assert document["exact"] is True
    assert document["pair_sum_bound"] <= document["pair_sum"]


def test_table_shows_every_learner_and_says_why_nothing_is_better(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["allocate", str(file)]) == 0
    output = capsys.readouterr().out
    assert "4 learners, 60 samples" in output
    assert "No staleness is under" in output
    assert "best pair sum: proved" in output


def test_infeasible_is_an_answer_with_a_reason_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "case.json"
    path.write_text(json.dumps(CASE | {"d": 600}))
    assert main(["allocate", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "infeasible"
    assert "d = 600 cannot be reached" in document["reason"]
    assert main(["allocate", str(path)]) == 1
    assert "infeasible: d = 600 cannot be reached" in capsys.readouterr().out


def test_more_updates_are_made_where_staleness_is_allowed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    updates = []
    for staleness in ("1", "3"):
        assert main(["allocate", str(file), "--objective", "updates", "--staleness", staleness, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["max_staleness"] <= int(staleness)
        assert document["updates"] == sum(document["tau"]) == document["updates_bound"]
        updates.append(document["updates"])
    assert updates == sorted(updates)


def test_frontier_is_listed_and_drawn(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "frontier.png"
    arguments = ["allocate", str(file), "--objective", "frontier", "--width", "2"]
    assert main([*arguments, "--json", "--plot", str(picture)]) == 0
    points = json.loads(capsys.readouterr().out)["frontier"]
    assert [point["staleness"] for point in points] == list(range(points[0]["staleness"], points[0]["staleness"] + 3))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(arguments) == 0
    assert "most updates" in capsys.readouterr().out


def test_allocation_is_drawn(file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "allocation.png"
    assert main(["allocate", str(file), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("case.yaml", "", "an instance is a .json, .toml or .csv file"),
        ("case.json", "{", "case.json: Expecting"),
        ("case.json", "[]", "an instance is an object with time"),
        ("case.json", "[" * 100_000, "more lists and objects than an instance has"),
        ("case.json", '{"d": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("case.json", json.dumps(CASE | {"tau_min": 3}), "tau_min is 3: choose 0 or 1"),
        ("case.toml", TOML.replace("468, 468", "468, 0"), "time.C2 of learner 2 of 4 is 0: choose 1"),
        ("case.toml", "d = ", "case.toml: Invalid value"),
        ("case.csv", "", "there is no column C0"),
        ("case.csv", CSV.replace("Emax", "E"), "there is no column Emax"),
        ("case.csv", CSV.splitlines()[0], "there are no learners"),
        ("case.csv", CSV.replace("1605,80", "many,80"), "C2 of learner 3 of 4 must be an integer, not 'many'"),
        ("case.csv", CSV.replace("40,75000,60,1\n1605", "40,75001,60,1\n1605"), "T of learner 3 of 4 is"),
        ("case.csv", CSV.replace("25,,,", "25,,,,7"), "row 4 has more fields than the header"),
        ("case.csv", CSV.replace("25,,,", ""), "d_u of learner 4 of 4 must be an integer, not ''"),
    ],
)
def test_wrong_file_is_one_line_and_exit_code_2(
    name: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert main(["allocate", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("merit: ")
    assert output.err.count("\n") == 1
    assert told in output.err


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("json", "toml", "csv"):
        assert main(["allocate", str(tmp_path / f"none.{suffix}")]) == 2
        assert f"none.{suffix}" in capsys.readouterr().err
