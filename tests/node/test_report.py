"""The event log and the report that is made of it."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from merit.chance import seeded
from node.errors import RunDirectoryError
from node.run.events import (
    Accuracy,
    Allocated,
    AuditVerdict,
    Event,
    EventLog,
    PaySettled,
    RecordPaid,
    Refusals,
    RoundDone,
    RunFinished,
    RunStarted,
    Share,
)
from node.run.explanations import Explanations, RecordWorth
from node.run.history import History
from node.run.report import MOST_ROUNDS_SHOWN, Command, default_commands, write_report

TOKEN = 10**18
BASE_WEI = 100 * TOKEN + 7
PHI = 3
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def started(*, title: str = "digits", seconds: float = 0.0, resumed: bool = False) -> RunStarted:
    return RunStarted(
        seconds=seconds,
        title=title,
        genesis_hash="0x" + "ab" * 32,
        chain_id=19781,
        edge_servers=4,
        clients=5,
        rounds=10,
        seed=1,
        preset_or_file="preset digits",
        model="softmax",
        data="digits",
        rule="cosine",
        aggregation="delta",
        phi=PHI,
        resumed=resumed,
    )


def round_done(
    number: int, *, clients: tuple[int, ...] = (5, 6, 7), agreed: bool = True, paid: bool = True
) -> RoundDone:
    chance = seeded(1, "round", number)
    reward = BASE_WEI * len(clients) // PHI if agreed and paid else 0
    cuts = [0, *sorted(chance.randrange(reward + 1) for _ in clients[1:]), reward] if clients else [0]
    return RoundDone(
        seconds=2.0 * number,
        round=number,
        height=10 * number,
        block_hash="0x" + "cd" * 32,
        agreed=agreed,
        paid=agreed and paid,
        phi=PHI,
        reward_wei=str(reward),
        records=tuple(
            RecordPaid(
                client=client,
                theta_ppb=chance.randrange(10**9) if paid else 0,
                reward_wei=str(last - first),
                delay=number % 3,
                counter=number,
                base=max(0, number - 1 - number % 3),
                sequence=PHI * number + place,
            )
            for place, (client, (first, last)) in enumerate(zip(clients, pairwise(cuts), strict=True))
        ),
        skipped={"copy": 1} if number == 2 else {},
        voids=0,
    )


def settled(number: int) -> PaySettled:
    """Return how a round's pay was settled two rounds later: client 6 had fallen."""
    rewards = {record.client: record.reward_wei for record in round_done(number).records}
    return PaySettled(
        seconds=2.0 * number + 5,
        round=number,
        judge=number + 2,
        vested_wei={client: amount for client, amount in rewards.items() if client != 6},
        forfeited_wei={6: rewards[6]},
    )


def worth(record: RecordPaid, **parts: int) -> RecordWorth:
    return RecordWorth(
        job=1,
        round=1,
        client=record.client,
        base=record.base,
        beside=record.base,
        theta_ppb=record.theta_ppb,
        parts=parts,
    )


def explain(directory: Path, records: list[RecordWorth]) -> None:
    (directory / "explained.json").write_bytes(msgspec.json.encode(Explanations(records=tuple(records))))


def accuracy(version: int, share: float = 0.5, loss: float | None = 0.7) -> Accuracy:
    return Accuracy(seconds=2.0 * version + 0.5, version=version, accuracy=share, loss=loss)


def finished(events: Iterable[Event], *, lines: tuple[str, ...] = ("4 stores agree",)) -> RunFinished:
    history = History(events)
    clients = history.clients()
    return RunFinished(
        seconds=history.seconds + 1,
        rounds=len(history.rounds),
        updates=history.updates,
        blocks=123,
        accuracy=0.875,
        paid_wei=str(history.credited_wei),
        audit=AuditVerdict(ok=True, lines=lines),
        disk_bytes={"chain": 10_000_000, "blobs": 20_000},
        cpu_seconds=12.5,
        peak_memory_bytes=1_500_000_000,
        tau_avg={client.client: 1.25 for client in clients},
        rewards_wei={client.client: str(client.reward_wei) for client in clients},
        data_sizes={client.client: 70 for client in clients},
        slow_clients=tuple(client.client for client in clients[-1:]),
    )


ORDINARY: list[Event] = [
    started(),
    round_done(1),
    accuracy(1, 0.3),
    Refusals(seconds=3.0, edge_server=1, counts={"expired": 2}),
    round_done(2, clients=(6, 7, 8)),
    accuracy(2, 0.6),
    round_done(3, agreed=False),
    round_done(4, paid=False),
    round_done(5, clients=(5, 9)),
    accuracy(5, 0.8),
]


def report_of(directory: Path, events: Iterable[Event], commands: list[Command] | None = None) -> str:
    log = EventLog(directory / "events.jsonl")
    for event in events:
        log.write(event)
    return write_report(directory, commands).read_text(encoding="utf-8")


def numbers(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "report" / "report.json").read_bytes())
    return content


@dataclass(frozen=True, slots=True)
class Written:
    directory: Path
    page: str


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Report of a finished run with a full, a partial, a void and an unpaid round."""
    directory = tmp_path_factory.mktemp("ordinary")
    return Written(directory, report_of(directory, [*ORDINARY, finished(ORDINARY)]))


class _Page(HTMLParser):
    """Collects the tags, their attributes and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def allocated(version: int, *epochs: int) -> Allocated:
    shares = tuple(
        Share(client=client, samples=20, epochs=tau, cycle_us=4_000_000) for client, tau in enumerate(epochs, start=5)
    )
    return Allocated(seconds=2.0 * version, version=version, shares=shares)


class TestAllocatedWork:
    def test_average_staleness_is_equation_13_over_the_plans_epochs(self) -> None:
        history = History([started(), allocated(1, 7), allocated(2, 5, 5, 4, 2)])
        alone, four = history.plans
        assert (alone.average_staleness, alone.max_staleness, alone.pair_sum) == (0.0, 0, 0)
        assert (four.pair_sum, four.max_staleness, four.epochs, four.samples) == (10, 3, 16, 80)
        assert four.average_staleness == pytest.approx(10 / 6)

    def test_a_plan_that_is_told_again_after_a_restart_changes_nothing(self) -> None:
        history = History([allocated(1, 5, 4), allocated(1, 9, 1)])
        assert [plan.max_staleness for plan in history.plans] == [1]

    def test_the_page_shows_the_rule_the_staleness_and_each_clients_work(self, tmp_path: Path) -> None:
        events = [replace(started(), allocation="exact"), allocated(1, 5, 5, 4), *ORDINARY[1:]]
        text = _Page(report_of(tmp_path, [*events, finished(events)])).text
        assert "Work is allocated by the rule exact" in text
        assert "Average staleness 0.67 epochs between two clients, mean of 1 plan; at most 1" in text
        assert "20 \N{MULTIPLICATION SIGN} 4" in text
        assert [plan["average_staleness"] for plan in numbers(tmp_path)["plans"]] == [pytest.approx(2 / 3)]

    def test_the_page_of_a_run_that_allocates_nothing_says_nothing_of_it(self, ordinary: Written) -> None:
        assert "Average staleness" not in ordinary.page
        assert "newest work" not in ordinary.page
        assert numbers(ordinary.directory)["plans"] == []


class TestLog:
    def test_events_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        log = EventLog(tmp_path / "deep" / "events.jsonl")
        events = [*ORDINARY, finished(ORDINARY)]
        for event in events:
            log.write(event)
        assert EventLog(log.path).read() == events

    def test_missing_log_is_empty(self, tmp_path: Path) -> None:
        log = EventLog(tmp_path / "events.jsonl")
        assert log.read() == log.read_new() == []
        assert not log.path.exists()

    def test_torn_tail_is_dropped_at_every_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        EventLog(path).write(started())
        whole = path.stat().st_size
        EventLog(path).write(accuracy(1))
        content = path.read_bytes()
        for end in range(whole, len(content)):
            path.write_bytes(content[:end])
            assert EventLog(path).read() == [started()]

    def test_writer_cuts_the_torn_tail_before_it_appends(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        EventLog(path).write(started())
        with path.open("ab") as file:
            file.write(b'{"event":"round-done","sec')
        EventLog(path).write(accuracy(1))
        assert EventLog(path).read() == [started(), accuracy(1)]

    def test_reading_leaves_the_torn_tail_to_the_writer(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_bytes(b'{"event":')
        EventLog(path).read()
        assert path.read_bytes() == b'{"event":'

    @pytest.mark.parametrize(
        "line",
        [
            b"{}",
            b"not json",
            b"\xff",
            b'{"event":"surprise"}',
            b'{"event":"accuracy","seconds":1,"version":1,"accuracy":0.5,"loss":null,"more":1}',
            b'{"event":"accuracy","seconds":1,"version":1,"accuracy":1.5,"loss":null}',
            b'{"event":"accuracy","seconds":1,"version":"1","accuracy":0.5,"loss":null}',
        ],
    )
    def test_strange_line_is_refused_by_file_and_number(self, tmp_path: Path, line: bytes) -> None:
        log = EventLog(tmp_path / "events.jsonl")
        log.write(started())
        with log.path.open("ab") as file:
            file.write(line + b"\n")
        with pytest.raises(RunDirectoryError, match=r"events\.jsonl line 2 "):
            log.read()

    @pytest.mark.parametrize("amount", ["-1", "01", "1e3", "1.5", "", "1\n", "٣"])
    def test_amount_must_be_decimal_digits(self, tmp_path: Path, amount: str) -> None:
        path = tmp_path / "events.jsonl"
        text = json.dumps({**json.loads(_line(tmp_path, round_done(1))), "reward_wei": amount})
        path.write_text(f"{text}\n", encoding="utf-8")
        with pytest.raises(RunDirectoryError, match="reward_wei"):
            EventLog(path).read()

    def test_loss_that_is_not_finite_does_not_spoil_the_log(self, tmp_path: Path) -> None:
        log = EventLog(tmp_path / "events.jsonl")
        log.write(accuracy(1, loss=float("nan")))
        log.write(accuracy(2, loss=float("inf")))
        assert [event.loss for event in log.read() if isinstance(event, Accuracy)] == [None, None]

    def test_new_events_are_told_once_while_another_process_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        reader, writer = EventLog(path), EventLog(path)
        assert reader.read_new() == []
        writer.write(started())
        assert reader.read_new() == [started()]
        writer.write(accuracy(1))
        with path.open("ab") as file:
            file.write(b'{"event":"acc')
        assert reader.read_new() == [accuracy(1)]
        assert reader.read_new() == []

    def test_seconds_count_from_the_first_start_across_restarts(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        assert EventLog(path).seconds(1000.0) == 0.0
        EventLog(path).write(started())
        assert EventLog(path).seconds(1042.5) == 42.5
        assert EventLog(path).read() == [started()]

    def test_clock_that_was_set_back_gives_no_negative_seconds(self, tmp_path: Path) -> None:
        log = EventLog(tmp_path / "events.jsonl")
        log.seconds(1000.0)
        assert log.seconds(900.0) == 0.0


def _line(directory: Path, event: Event) -> bytes:
    log = EventLog(directory / "one.jsonl")
    log.write(event)
    return log.path.read_bytes()


class TestHistory:
    def test_rewards_add_up_over_full_and_partial_rounds(self) -> None:
        check = History([*ORDINARY, finished(ORDINARY)]).reward_check()
        assert check.holds
        assert (check.full_rounds, check.partial_rounds, check.base_wei) == (2, 1, BASE_WEI)
        assert check.credited_wei == check.owed_wei == check.ledger_wei == 2 * BASE_WEI + BASE_WEI * 2 // PHI

    def test_one_wei_too_much_breaks_the_sum(self) -> None:
        done = round_done(2)
        first = replace(done.records[0], reward_wei=str(int(done.records[0].reward_wei) + 1))
        more = replace(done, records=(first, *done.records[1:]))
        assert not History([started(), round_done(1), more]).reward_check().holds

    def test_full_round_that_pays_another_base_breaks_the_sum(self) -> None:
        done = round_done(2)
        nothing = replace(
            done, reward_wei="0", records=tuple(replace(record, reward_wei="0") for record in done.records)
        )
        assert not History([started(), round_done(1), nothing]).reward_check().holds

    def test_ledger_that_paid_something_else_breaks_the_sum(self) -> None:
        assert not History([*ORDINARY, replace(finished(ORDINARY), paid_wei="1")]).reward_check().holds

    def test_what_is_told_twice_after_a_restart_counts_once(self) -> None:
        twice = History([*ORDINARY, started(seconds=11, resumed=True), round_done(5, clients=(5, 9)), accuracy(5, 0.1)])
        once = History(ORDINARY)
        assert twice.credited_wei == once.credited_wei
        assert twice.updates == once.updates
        assert twice.accuracy_of(5) == 0.8
        assert len(twice.rounds) == 5

    def test_verdict_of_a_shorter_run_is_not_kept_after_a_restart(self) -> None:
        assert History([*ORDINARY, finished(ORDINARY), started(seconds=50, resumed=True)]).audit is None

    def test_pause_before_a_restart_does_not_slow_the_pace(self) -> None:
        late = [round_done(number) for number in (8, 9)]
        history = History([started(), round_done(1), started(seconds=15, resumed=True), *late])
        assert history.round_interval(15) == 2.0


class TestReport:
    def test_report_holds_a_page_numbers_and_three_images(self, ordinary: Written) -> None:
        report = ordinary.directory / "report"
        written = {path.name for path in report.iterdir()}
        assert written == {"index.html", "report.json", "accuracy.png", "rewards.png", "staleness.png"}
        assert ordinary.page.count("<svg ") == 4
        for name in ("accuracy", "rewards", "staleness"):
            assert (report / f"{name}.png").read_bytes().startswith(PNG_MAGIC)

    def test_page_names_figures_verdict_genesis_and_commands(self, ordinary: Written) -> None:
        text = _Page(ordinary.page).text
        for words in ("87.5%", "of 10 planned, 1 void, 1 unpaid", "✓ passed", "4 stores agree", "0x" + "ab" * 32):
            assert words in text
        assert f"merit audit {ordinary.directory} --genesis 0x{'ab' * 32}" in text
        assert f"merit rewards {ordinary.directory}" in text

    def test_page_shows_both_sums_to_the_wei(self, ordinary: Written) -> None:
        text = _Page(ordinary.page).text
        assert "✓ equal to the wei" in text
        assert "Owed by paid rounds 266.666666666666666685 Sum of all rewards 266.666666666666666685" in text

    def test_page_says_when_the_sums_differ(self, tmp_path: Path) -> None:
        done = round_done(2)
        page = report_of(tmp_path, [started(), round_done(1), replace(done, records=done.records[:1] * PHI)])
        assert "✗ sums differ" in page

    def test_audit_file_stands_above_the_log_and_its_failure_is_shown(self, tmp_path: Path) -> None:
        audit = {"ok": False, "lines": ["round 3 diverges"], "heights": 12}
        (tmp_path / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
        text = _Page(report_of(tmp_path, [*ORDINARY, finished(ORDINARY)])).text
        assert "✗ failed round 3 diverges" in text

    def test_damaged_audit_file_is_refused_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "audit.json").write_text("{}", encoding="utf-8")
        with pytest.raises(RunDirectoryError, match=r"audit\.json is no audit's verdict"):
            report_of(tmp_path, ORDINARY)

    def test_hostile_texts_stay_texts(self, tmp_path: Path) -> None:
        title = '<script>alert(1)</script> "><img src=x onerror=alert(1)> {{ 7 * 7 }} $\\frac{$ & <b> ]]>--></title>'
        last = finished(ORDINARY, lines=(title,))
        events = [started(title=title), *ORDINARY[1:], Refusals(seconds=4, edge_server=2, counts={title: 1}), last]
        page = _Page(report_of(tmp_path, events, [Command(title, title)]))
        assert not {"script", "img", "b"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert page.text.count(title) == 6

    def test_directory_with_spaces_is_quoted_for_the_shell(self) -> None:
        lines = [command.line for command in default_commands(Path("my run; rm -rf"), started())]
        assert lines == [
            f"merit audit 'my run; rm -rf' --genesis 0x{'ab' * 32}",
            "merit rewards 'my run; rm -rf'",
            "merit run 'my run; rm -rf/run.toml' --dir 'my run; rm -rf'",
        ]

    def test_page_loads_nothing_and_runs_nothing(self, ordinary: Written) -> None:
        page = _Page(ordinary.page)
        assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
        links = [value for name, value in page.attributes if name in {"href", "src", "xlink:href"}]
        assert all(value.startswith("#") for value in links)
        assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes

    def test_identifiers_in_the_page_are_unique_and_every_reference_is_met(self, ordinary: Written) -> None:
        text = ordinary.page
        identifiers = [value for name, value in _Page(text).attributes if name == "id"]
        references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert len(identifiers) == len(set(identifiers))
        assert references <= set(identifiers)

    def test_plots_take_their_colours_from_the_page(self, ordinary: Written) -> None:
        text = ordinary.page
        drawings = "".join(re.findall(r"<svg .*?</svg>", text, flags=re.DOTALL))
        assert "var(--ink)" in drawings
        assert not re.findall(r"#[0-9a-f]{6}\b", drawings)

    def test_numbers_are_canonical_and_complete(self, ordinary: Written) -> None:
        content = (ordinary.directory / "report" / "report.json").read_bytes()
        parsed = json.loads(content)
        assert content == json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        assert parsed["reward_check"]["holds"] is True
        assert sum(int(client["reward_wei"]) for client in parsed["clients"]) == int(parsed["credited_wei"])
        assert [done["round"] for done in parsed["rounds"]] == [1, 2, 3, 4, 5]
        assert parsed["refused"] == {"expired": 2}
        assert parsed["skipped"] == {"copy": 1}

    def test_equal_logs_give_equal_reports(self, tmp_path: Path, ordinary: Written) -> None:
        other = report_of(tmp_path, [*ORDINARY, finished(ORDINARY)])
        assert other.replace(str(tmp_path), str(ordinary.directory)) == ordinary.page

    def test_report_may_be_written_again_while_the_run_goes_on(self, tmp_path: Path) -> None:
        report_of(tmp_path, ORDINARY[:2])
        text = _Page(report_of(tmp_path, ORDINARY[2:])).text
        assert "The run is not finished." in text
        assert "not audited yet" in text
        assert len(numbers(tmp_path)["rounds"]) == 5

    def test_resumed_run_is_one_report(self, tmp_path: Path) -> None:
        events = [*ORDINARY, started(seconds=20, resumed=True), round_done(11), accuracy(11, 0.9)]
        text = _Page(report_of(tmp_path, events)).text
        assert "stopped and resumed once" in text
        assert "resumed after a stop" in text

    def test_directory_without_a_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="holds no run"):
            write_report(tmp_path)

    @pytest.mark.parametrize(
        "events",
        [
            pytest.param([started()], id="nothing yet"),
            pytest.param([started(), finished([started()])], id="no round"),
            pytest.param([started(), round_done(1, clients=(5,))], id="one client"),
            pytest.param([started(), round_done(1, clients=())], id="empty round"),
            pytest.param([started(), round_done(1, agreed=False)], id="only a void round"),
            pytest.param([started(), round_done(1, paid=False)], id="only an unpaid round"),
            pytest.param([started(), accuracy(0, 0.1)], id="only model 0"),
            pytest.param([started(), round_done(1), accuracy(1, 0.0)], id="accuracy zero"),
        ],
    )
    def test_thin_runs_have_a_report(self, tmp_path: Path, events: list[Event]) -> None:
        assert report_of(tmp_path, events).rstrip().endswith("</html>")

    def test_page_says_who_earned_what_and_why(self, tmp_path: Path) -> None:
        events: list[Event] = [started(), done := round_done(1), settled(1), finished([done])]
        records = [worth(record, authenticity=-250_000_000, accepted=10**9) for record in done.records]
        explain(tmp_path, records)
        page = _Page(report_of(tmp_path, events))
        assert "Who earned what, and why" in page.text
        row = page.text.split("Round 1: 3 records")[1].split("Left out")[0].split()
        assert row[row.index("theta") + 1 :][:2] == ["authenticity", "accepted"]
        for record in done.records:
            at = row.index(str(record.client))
            theta = f"{record.theta_ppb / 10**9:.3f}"
            assert theta in row[at : at + 9]
            assert row[at : at + 9][row[at : at + 9].index(theta) + 1 :][:2] == ["-0.250", "yes"]
        told = numbers(tmp_path)
        assert [one["parts"] for one in told["explained"]] == [{"authenticity": -250_000_000, "accepted": 10**9}] * 3
        assert told["settled"][0]["forfeited_wei"] == {"6": done.records[1].reward_wei}

    def test_page_of_a_run_that_is_not_audited_yet_explains_nothing(self, ordinary: Written) -> None:
        assert "Who earned what" not in ordinary.page

    def test_page_tells_the_model_of_the_run_from_what_the_rounds_after_it_made(self, tmp_path: Path) -> None:
        events = [started(), *(one for number in range(1, 4) for one in (round_done(number), accuracy(number)))]
        events += [replace(finished(events), version=2, accuracy=0.6), accuracy(3, 0.1)]
        text = _Page(report_of(tmp_path, events)).text
        assert "version 2, best 50.0%" in text
        assert "of 10 planned, 1 after version 2" in text
        assert "1 more round after version 2 settled 3 records that came before the job closed" in text
        assert "Version 2 classifies 50.0% of the test set" in text

    def test_page_of_a_run_without_rounds_after_it_says_nothing_of_them(self, ordinary: Written) -> None:
        assert "after version" not in _Page(ordinary.page).text

    def test_page_says_when_the_machine_was_too_slow_for_its_clients(self, tmp_path: Path, ordinary: Written) -> None:
        events = [started(), round_done(1), *(replace(round_done(number), waited=True) for number in (2, 3))]
        assert "in 2 of 3 rounds every record had come before" in _Page(report_of(tmp_path, events)).text
        assert "Too slow a machine" not in ordinary.page

    def test_damaged_explanations_are_refused_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "explained.json").write_text("{", encoding="utf-8")
        with pytest.raises(RunDirectoryError, match=r"explained\.json explains no run"):
            report_of(tmp_path, ORDINARY)

    def test_page_of_a_run_whose_pay_vests_says_what_became_of_it(self, tmp_path: Path) -> None:
        begun = msgspec.structs.replace(started(), vesting=2, label_flippers=(6,))
        events: list[Event] = [begun, done := round_done(1), round_done(2), settled(1)]
        explain(tmp_path, [worth(record) for record in done.records])
        text = _Page(report_of(tmp_path, events)).text
        assert "A round's pay is held and settled 2 rounds later" in text
        assert "1 of the clients attacks by flipping labels." in text
        assert text.count("released (3)") == 2
        assert text.count("forfeited (3)") == 1
        by_client = {client.client: client for client in History(events).clients()}
        first = {record.client: int(record.reward_wei) for record in done.records}
        assert (by_client[6].vested_wei, by_client[6].forfeited_wei) == (0, first[6])
        assert (by_client[5].vested_wei, by_client[5].forfeited_wei) == (first[5], 0)

    def test_long_run_shows_the_first_rounds_and_says_so(self, tmp_path: Path) -> None:
        rounds = [round_done(number, clients=(5, 6 + number % 40, 50)) for number in range(1, 2001)]
        text = report_of(tmp_path, [started(), *rounds, *(accuracy(number) for number in range(1, 2001))])
        assert f"The first {MOST_ROUNDS_SHOWN} of 2,000 rounds" in text
        assert len(numbers(tmp_path)["rounds"]) == 2000
        assert len(text) < 1_000_000
