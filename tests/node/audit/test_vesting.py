"""Runs whose pay vests: who had fallen is computed again, each settlement follows from it, and every wei is found."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.crypto.addresses import Address
from chain.genesis import load_genesis
from contracts import events as kinds
from contracts.addresses import VESTING
from contracts.layout import slot
from node.audit import Auditor, AuditReport, Part, audit_directory
from node.audit.held import HeldBook
from node.audit.history import HistoryBlock, blocks_of
from node.audit.replay import Replay
from node.audit.rewards import Fate, rewards_in
from node.cli import main
from tests.node.audit.make_run import LIED

Runs = Callable[[str], Path]


@pytest.fixture(scope="module")
def auditor() -> Auditor:
    return Auditor()


@pytest.fixture(scope="module")
def honest(runs: Runs, auditor: Auditor) -> AuditReport:
    return auditor.audit(runs("vesting"))


@pytest.fixture(scope="module")
def replay(runs: Runs, auditor: Auditor, honest: AuditReport) -> Replay:
    assert honest.ok, honest.lines
    return auditor.replays.begin(load_genesis(runs("vesting") / "genesis.json")).replay


@pytest.fixture(scope="module")
def blocks(replay: Replay) -> tuple[HistoryBlock, ...]:
    return blocks_of(replay)


def counts(report: AuditReport, name: str) -> dict[str, int]:
    return next(tally for tally in report.tallies if tally.name == name).counts


def test_a_run_whose_pay_vests_audits_clean_and_every_settlement_is_judged_again(honest: AuditReport) -> None:
    assert honest.ok, honest.lines
    rounds = counts(honest, "rounds")
    assert rounds["settlements"] == len(honest.settled) > rounds["rounds"] >= 5
    assert rounds["rounds judged again"] >= 4
    assert rounds["part digests"] == 8 * rounds["rounds"], "the part vesting is one of them"
    assert not [remark for remark in honest.remarks if "settled" in remark]


def test_every_wei_that_was_credited_is_settled_by_the_records_two_rounds_later(honest: AuditReport) -> None:
    last = counts(honest, "rounds")["rounds"]
    for one in honest.settled:
        assert one.judge == min(one.round + 2, last)
        assert f"round {one.round} client {one.client}: {one.amount_wei:,} wei were held" in one.line()
    settled = sum(one.amount_wei for one in honest.settled)
    assert settled == sum(account.reward_wei for account in honest.clients) > 0


def test_members_hold_in_tokens_what_was_released_to_them(replay: Replay, blocks: tuple[HistoryBlock, ...]) -> None:
    told = [event for block in blocks for event in block.events]
    own = Counter[int]()
    for event in told:
        if isinstance(event, kinds.Vested):
            own[event.client] += event.amount
    drawn = {event.member: event.amount for event in told if isinstance(event, kinds.Withdrawn)}
    assert {client: drawn[client] for client in own} == own
    state = replay.reader.state()
    assert state.get_storage(Address(VESTING), slot("Vesting", "_accounts", 0, "held")) == 0


def test_the_command_explains_what_became_of_held_pay(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(runs("vesting")), "--explain", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " wei were held; " in line]
    assert lines
    assert all("its record after round 3 (" in line and line.endswith(": released") for line in lines)


def test_rewards_say_what_is_released(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert {one.fate for one in rewards_in(runs("vesting")) if one.reward_wei} == {Fate.RELEASED}
    assert main(["rewards", str(runs("vesting"))]) == 0
    assert "forfeited" in capsys.readouterr().out


def test_a_quorum_that_lies_about_the_fallen_is_named(runs: Runs) -> None:
    report = audit_directory(runs("fallen"))
    assert not report.ok
    assert {one.part for one in report.divergences} == {Part.VESTING}
    assert {one.round for one in report.divergences if one.client is None} == {LIED}
    taken = [one for one in report.divergences if one.client is not None]
    assert taken
    for one in taken:
        assert one.round == LIED - 1, "whose pay that round settles"
        assert "released by the record after round" in one.expected
        assert "forfeited by the record after round" in one.found
    forfeited = [one for one in report.settled if not one.stands]
    assert {one.client for one in forfeited} >= {one.client for one in taken}
    listed = [one for one in rewards_in(runs("fallen")) if one.fate is Fate.FORFEITED]
    assert {(one.round, one.client) for one in listed} == {(one.round, one.client) for one in forfeited}


def book(
    blocks: tuple[HistoryBlock, ...], change: Callable[[kinds.Event], kinds.Event | None]
) -> list[tuple[str, str]]:
    """Keep the books over changed events; return whatever does not agree with itself."""
    kept, told = HeldBook(), list[tuple[str, str]]()
    for block in blocks:
        for event in block.events:
            changed = change(event)
            said = None if changed is None else kept.apply(changed)
            if said is not None and said[0] != said[1]:
                told.append(said)
    return told


def test_books_over_the_true_events_agree_with_the_state(blocks: tuple[HistoryBlock, ...], replay: Replay) -> None:
    kept = HeldBook()
    for block in blocks:
        for event in block.events:
            said = kept.apply(event)
            assert said is None or said[0] == said[1]
    assert list(kept.compare(replay.reader.state())) == []
    kept.total.held += 1
    assert next(expected for expected, _ in kept.compare(replay.reader.state())).startswith("job 0: HeldAccounts(")


@pytest.mark.parametrize("lost", [kinds.Credited, kinds.Vested])
def test_an_event_that_is_left_out_is_missed_at_the_next_step(
    blocks: tuple[HistoryBlock, ...], lost: type[kinds.Event]
) -> None:
    seen = Counter[str]()

    def without_the_first(event: kinds.Event) -> kinds.Event | None:
        if isinstance(event, lost):
            seen[lost.__name__] += 1
            return None if seen[lost.__name__] == 1 else event
        return event

    assert book(blocks, without_the_first)
