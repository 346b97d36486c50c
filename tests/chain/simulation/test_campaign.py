"""A campaign that was cut off goes on where it stopped, and comes to the same totals."""

from pathlib import Path

import pytest

from chain.simulation.campaign import run_campaign
from chain.simulation.errors import CampaignError, SettingsError


def test_a_campaign_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "deep" / "cut.jsonl"
    totals = run_campaign(0, 6, [4, 5], block=2, log=whole)
    assert (totals.runs, totals.failures, dict(totals.by_validators)) == (12, [], {4: 6, 5: 6})
    cut.parent.mkdir()
    lines = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    told: list[int] = []
    again = run_campaign(0, 6, [4, 5], block=2, log=cut, tell=lambda now: told.append(now.runs))
    assert told == [8, 10, 12]
    assert again == totals
    assert cut.read_bytes() == whole.read_bytes()


def test_a_finished_campaign_runs_nothing_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = run_campaign(0, 2, [4], log=log)
    told: list[int] = []
    assert run_campaign(0, 2, [4], log=log, tell=lambda now: told.append(now.runs)) == first
    assert told == []


def test_the_log_of_another_campaign_or_of_something_else_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    run_campaign(0, 1, [4], log=log)
    with pytest.raises(CampaignError, match="holds another campaign"):
        run_campaign(0, 2, [4], log=log)
    log.write_text("something else\n")
    with pytest.raises(CampaignError, match="is no log of a campaign"):
        run_campaign(0, 1, [4], log=log)


def test_what_cannot_be_run_is_refused_before_anything_runs() -> None:
    with pytest.raises(CampaignError, match="no seed from 5"):
        run_campaign(5, 5, [4])
    with pytest.raises(SettingsError, match="0 validators"):
        run_campaign(0, 1, [4, 0])
