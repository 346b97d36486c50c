"""The live view of a run, on a terminal and in a pipe."""

import io

import pytest
from rich.console import Console

from node.run.amounts import data_size, duration, tokens, tokens_exact
from node.run.events import Accuracy, Event, RecordPaid, Refusals, RoundDone, RunStarted
from node.run.table import NEWEST_ROUNDS, LiveTable, short_list

TOKEN = 10**18
ESCAPE = "\x1b"


def started(*, title: str = "digits", seconds: float = 0.0, resumed: bool = False) -> RunStarted:
    return RunStarted(
        seconds=seconds,
        title=title,
        genesis_hash="ab" * 32,
        chain_id=19781,
        edge_servers=4,
        clients=20,
        rounds=40,
        seed=1,
        preset_or_file="digits",
        model="softmax",
        data="digits",
        rule="cosine",
        aggregation="delta",
        phi=2,
        resumed=resumed,
    )


def round_done(
    number: int, *, agreed: bool = True, paid: bool = True, clients: tuple[int, ...] = (5, 6), seconds: float = 1.0
) -> RoundDone:
    return RoundDone(
        seconds=seconds,
        round=number,
        height=1000 + number,
        block_hash="cd" * 32,
        agreed=agreed,
        paid=paid,
        phi=2,
        reward_wei=str(100 * TOKEN if paid else 0),
        records=tuple(
            RecordPaid(
                client=client,
                theta_ppb=500_000_000,
                reward_wei=str(100 * TOKEN // len(clients) if paid else 0),
                delay=0,
                counter=number,
                base=number - 1,
                sequence=number,
            )
            for client in clients
        ),
        skipped={},
        voids=0,
    )


def accuracy(version: int, share: float) -> Accuracy:
    return Accuracy(seconds=1.5, version=version, accuracy=share, loss=0.3)


class Terminal(Console):
    """A terminal whose clock stands still until it is told otherwise."""

    def __init__(self, *, width: int = 100, height: int = 30) -> None:
        self.seconds = 0.0
        self.written = io.StringIO()
        super().__init__(
            file=self.written,
            force_terminal=True,
            width=width,
            height=height,
            get_time=lambda: self.seconds,
            _environ={"TERM": "xterm"},
        )


def on_terminal(table: LiveTable, *, width: int = 100) -> str:
    """What the table would draw now, as plain text."""
    paper = Console(file=io.StringIO(), width=width, _environ={})
    with paper.capture() as captured:
        paper.print(table._render())  # noqa: SLF001 - what Live draws, without its cursor movements
    return captured.get()


def in_a_pipe(*events: Event) -> str:
    pipe = io.StringIO()
    with LiveTable(Console(file=pipe, _environ={}), 40) as table:
        for event in events:
            table.feed(event)
    return pipe.getvalue()


def test_pipe_gets_one_line_for_each_round() -> None:
    text = in_a_pipe(started(), round_done(1), accuracy(1, 0.5), round_done(2))
    assert [line[:11] for line in text.splitlines()[1:]] == ["round  1/40", "round  2/40"]


def test_long_lines_of_a_pipe_are_not_wrapped() -> None:
    text = in_a_pipe(round_done(1, clients=tuple(range(1000, 1100))))
    assert text.count("\n") == 1
    assert "+" in text


def test_pipe_gets_no_control_codes_even_from_a_hostile_title() -> None:
    text = in_a_pipe(started(title=f"{ESCAPE}[2J\r\x07\u202eevil [bold]\nround 1"), round_done(1), accuracy(1, 0.5))
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "evil [bold]?round 1" in text


def test_terminal_does_not_obey_a_hostile_title() -> None:
    terminal = Terminal()
    with LiveTable(terminal, 40) as table:
        table.feed(started(title=f"{ESCAPE}[2Jevil [blink]x[/blink]"))
    assert f"{ESCAPE}[2J" not in terminal.written.getvalue()
    assert "?[2Jevil [blink]x[/blink]" in terminal.written.getvalue()


def test_line_of_a_void_round_says_that_nobody_is_paid() -> None:
    assert "void: no agreement, nobody is paid" in in_a_pipe(round_done(1, agreed=False, paid=False))


def test_line_of_a_round_after_the_plan_says_what_it_is_for() -> None:
    last, after = in_a_pipe(round_done(40), round_done(41)).splitlines()
    assert "after the plan: settles what came before" in after
    assert "after the plan" not in last


def test_line_of_an_unpaid_round_says_why() -> None:
    assert "unpaid: every theta is 0" in in_a_pipe(round_done(1, paid=False))


def test_accuracy_that_arrives_later_fills_its_own_round() -> None:
    table = LiveTable(Terminal(), 40)
    for event in (started(), round_done(1), round_done(2)):
        table.feed(event)
    before = on_terminal(table)
    table.feed(accuracy(1, 0.4321))
    after = on_terminal(table).splitlines()
    assert "43.2%" not in before
    assert [line for line in after if "43.2%" in line and "1001" in line]
    assert not [line for line in after if "43.2%" in line and "1002" in line]


def test_version_that_is_never_measured_gets_a_dash_once_a_newer_one_is() -> None:
    table = LiveTable(Terminal(), 40)
    for event in (round_done(1), round_done(2), accuracy(2, 0.5)):
        table.feed(event)
    skipped = next(line for line in on_terminal(table).splitlines() if "1001" in line)
    assert skipped.split()[-2:] == ["-", "1001"]


def test_table_shows_only_the_newest_rounds() -> None:
    table = LiveTable(Terminal(), 40)
    for number in range(1, 31):
        table.feed(round_done(number))
    blocks = [line.split()[-1] for line in on_terminal(table).splitlines() if line.split()[-1].startswith("10")]
    assert blocks == [str(1000 + number) for number in range(31 - NEWEST_ROUNDS, 31)]


@pytest.mark.parametrize("width", [40, 60, 72, 80, 200])
def test_client_lists_never_wrap_the_table(width: int) -> None:
    table = LiveTable(Terminal(width=width), 40)
    empty = len(on_terminal(table, width=width).splitlines())
    for number in range(1, 6):
        table.feed(round_done(number, clients=tuple(range(1, 1025))))
    lines = on_terminal(table, width=width).splitlines()
    assert len(lines) == empty + 5
    assert max(map(len, lines)) <= width


def test_low_terminal_is_not_overfilled() -> None:
    table = LiveTable(Terminal(height=12), 40)
    for number in range(1, 31):
        table.feed(round_done(number))
    assert len(on_terminal(table).splitlines()) <= 12


def test_time_left_follows_the_pace_of_the_newest_rounds() -> None:
    table = LiveTable(Terminal(), 40)
    for number in range(1, 11):
        table.feed(round_done(number, seconds=2.0 * number))
    assert "elapsed 20 s, about 1:00 min left" in on_terminal(table)


def test_elapsed_time_goes_on_between_events() -> None:
    terminal = Terminal()
    table = LiveTable(terminal, 40)
    table.feed(round_done(1, seconds=5.0))
    terminal.seconds = 7.0
    assert "elapsed 12 s" in on_terminal(table)


def test_refusals_of_all_servers_and_starts_add_up() -> None:
    table = LiveTable(Terminal(), 40)
    for event in (
        started(),
        Refusals(seconds=1, edge_server=1, counts={"copy": 1}),
        Refusals(seconds=2, edge_server=1, counts={"copy": 2}),
        Refusals(seconds=2, edge_server=2, counts={"expired": 4}),
        started(seconds=3, resumed=True),
        Refusals(seconds=4, edge_server=1, counts={"copy": 1}),
    ):
        table.feed(event)
    assert "refused 7 (copy 3, expired 4)" in on_terminal(table)


def test_restored_rounds_are_counted_but_not_printed_again() -> None:
    pipe = io.StringIO()
    table = LiveTable(Console(file=pipe, _environ={}), 40)
    table.restore([started(), round_done(1)])
    table.feed(accuracy(1, 0.5))
    table.feed(round_done(2))
    assert pipe.getvalue().count("round ") == 1


@pytest.mark.parametrize(("width", "text"), [(20, "1 22 333"), (7, "1 22 +1"), (4, "1 +2"), (2, "+3"), (1, "+3")])
def test_list_names_as_many_as_fit_and_counts_the_others(width: int, text: str) -> None:
    assert short_list([1, 22, 333], width) == text


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0"),
        (1, "0.000000000000000001"),
        (12_345 * 10**10, "0.000123"),
        (TOKEN, "1"),
        (TOKEN * 3 // 2, "1.50"),
        (1_234_567 * TOKEN + TOKEN // 3, "1,234,567.33"),
        (2**128 * TOKEN, "340,282,366,920,938,463,463,374,607,431,768,211,456"),
    ],
)
def test_amounts_have_the_digits_that_matter(wei: int, text: str) -> None:
    assert tokens(wei) == text


@pytest.mark.parametrize("wei", [0, 1, 10**17, TOKEN + 1, 2**256 - 1])
def test_exact_amounts_lose_no_wei(wei: int) -> None:
    digits, _, decimals = tokens_exact(wei).replace(",", "").partition(".")
    assert int(digits + decimals.ljust(18, "0")) == wei


def test_durations_and_sizes_read_naturally() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 187, 7451)] == ["0 s", "1:00 min", "3:07 min", "2:04:11 h"]
    assert [data_size(count) for count in (0, 999, 1234, 999_600)] == ["0 B", "999 B", "1.23 kB", "1 MB"]
