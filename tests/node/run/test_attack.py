"""A run under attack: a quarter of the clients flip labels, pay vests, everything audits, and the report says why."""

import asyncio
import json
from pathlib import Path

import pytest

from learner.contribution.decomposed import MEASURES
from merit.clock import SystemClock
from node.audit.rewards import Fate, rewards_in
from node.run.command import execute
from node.run.config import override, preset

FLIPPERS = (5, 6, 7, 8)
"""The first four of sixteen clients; edge servers are members 1 to 4."""
PARTS = ["new", *(f"{kind}{name}" for kind in ("", "mean_", "typical_") for name in MEASURES)]


@pytest.mark.slow
def test_a_run_in_which_a_quarter_flips_labels_audits_clean_and_says_why_they_earn_little(tmp_path: Path) -> None:
    run = override(
        preset("digits"),
        {
            "rounds": 24,
            "vesting.rounds": 6,
            "clients.count": 16,
            "clients.label_flippers": len(FLIPPERS),
            "clients.slow": 0,
            "round.phi": 8,
        },
    )
    summary = asyncio.run(execute(run, tmp_path, SystemClock(), quiet=True, source="test"))
    assert summary["ok"], summary["audit"]
    rewards = rewards_in(tmp_path)
    credited = sum(one.reward_wei for one in rewards)
    released = sum(one.reward_wei for one in rewards if one.fate is Fate.RELEASED)
    theirs = sum(one.reward_wei for one in rewards if one.client in FLIPPERS and one.fate is Fate.RELEASED)
    assert 4 * theirs < released <= credited, "less than their share of the clients"
    assert not [one for one in rewards if one.fate is Fate.HELD and one.reward_wei], "all is settled at the end"

    report = json.loads((tmp_path / "report" / "report.json").read_bytes())
    assert report["run"]["label_flippers"] == list(FLIPPERS)
    told = {row["client"]: row for row in report["clients"]}
    assert sum(int(told[client]["vested_wei"]) for client in FLIPPERS if client in told) == theirs
    assert sum(int(row["vested_wei"]) for row in told.values()) == released
    explained = report["explained"]
    assert len(explained) == len(rewards), "every record that was paid is explained"
    assert all(set(PARTS) <= set(row["parts"]) for row in explained)
    assert [row["theta_ppb"] for row in explained] == [one.theta_ppb for one in rewards]
    honesty = {
        flips: [row["parts"]["mean_honesty"] for row in explained if (row["client"] in FLIPPERS) is flips]
        for flips in (True, False)
    }
    means = {flips: sum(values) // len(values) for flips, values in honesty.items()}
    assert means[True] < means[False], "the part that sees through them"
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Who earned what, and why" in page
    attackers = {row["client"] for row in report["clients"]} & set(FLIPPERS)
    assert page.count("flips labels</span>") == 2 * len(attackers), "beside what they earned, and why"
    assert report["finished"]["version"] == summary["version"] == run.rounds
    assert Path(summary["model"]).is_file()
