"""The live view of a run: the newest rounds in a table on a terminal, one plain line a round anywhere else."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from node.run.amounts import duration, tokens
from node.run.events import Accuracy, Event, RoundDone, RunFinished, RunStarted
from node.run.history import PPB, History

NEWEST_ROUNDS = 15
_LINES_AROUND_THE_ROWS = 8
_REFRESHES_PER_SECOND = 2.0
_OTHER_COLUMNS_WIDTH = 62
_LEAST_CLIENTS_WIDTH = 7
_MOST_CLIENTS_WIDTH = 48
_PLAIN_CLIENTS_WIDTH = 24


class LiveTable:
    """Shows a run while it goes on; a context manager, so that the terminal is restored whatever happens.

    The elapsed time between two events is the console's own (`Console(get_time=...)`).

    Args:
        console: where to; a terminal gets the table, a pipe or a dumb terminal plain lines without control codes.
        rounds_total: how many rounds the run is to decide.

    """

    def __init__(self, console: Console, rounds_total: int) -> None:
        """Show nothing yet."""
        self._console = console
        self._rounds_total = rounds_total
        self._history = History()
        self._lock = Lock()  # the refreshing thread of Live draws while the run feeds
        self._fed_at = console.get_time()
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                console=console, get_renderable=self._render, refresh_per_second=_REFRESHES_PER_SECOND, transient=False
            )

    def __enter__(self) -> Self:
        """Take over the lower part of the terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw a last time and give the terminal back; the table stays."""
        if self._live is not None:
            self._live.stop()

    def restore(self, events: Iterable[Event]) -> None:
        """Take what an earlier start of the run logged, without a line for each of its rounds."""
        with self._lock:
            for event in events:
                self._history.feed(event)
            self._fed_at = self._console.get_time()

    def feed(self, event: Event) -> None:
        """Take one event and show it."""
        with self._lock:
            self._history.feed(event)
            self._fed_at = self._console.get_time()
            line = _plain_line(event, self._history, self._rounds_total) if self._live is None else None
        if line is not None:
            self._console.out(line, highlight=False)
            self._console.file.flush()  # a pipe keeps 8 KiB back otherwise

    def _render(self) -> RenderableType:
        with self._lock:
            return Group(self._status(), self._table())

    def _status(self) -> RenderableType:
        history = self._history
        done = len(history.rounds)
        progress = Table.grid(padding=(0, 2))
        progress.add_row(
            ProgressBar(total=max(self._rounds_total, 1), completed=done, width=24),
            Text(f"{done} of {self._rounds_total} rounds", style="bold"),
            Text(self._times(done), style="dim", no_wrap=True, overflow="ellipsis"),
        )
        lines: list[RenderableType] = [progress, _status_text(history)]
        if history.started is not None:
            lines.insert(0, Text(printable(history.started.title), style="bold", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _times(self, done: int) -> str:
        finished = self._history.finished
        if finished is not None:
            return f"finished after {duration(finished.seconds)}"
        elapsed = f"elapsed {duration(self._history.seconds + self._console.get_time() - self._fed_at)}"
        interval = self._history.round_interval(NEWEST_ROUNDS)
        left = max(0, self._rounds_total - done)
        if done and not left:
            return f"{elapsed}, closing"
        return elapsed if interval is None else f"{elapsed}, about {duration(interval * left)} left"

    def _table(self) -> Table:
        clients_width = min(self._console.width - _OTHER_COLUMNS_WIDTH, _MOST_CLIENTS_WIDTH)
        with_clients = clients_width >= _LEAST_CLIENTS_WIDTH
        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
        table.add_column("round", justify="right", no_wrap=True)
        if with_clients:
            table.add_column("clients", no_wrap=True, width=clients_width, overflow="ellipsis")
        for name, width in (("min theta max", 14), ("delay  max", 10), ("tokens", 7), ("accuracy", 8)):
            table.add_column(name, justify="right", no_wrap=True, min_width=width)
        table.add_column("block", justify="right", no_wrap=True, style="dim", min_width=6)
        rows = min(NEWEST_ROUNDS, max(1, self._console.height - _LINES_AROUND_THE_ROWS))
        for done in self._history.rounds[-rows:]:
            cells = [Text(str(done.round), style="bold")]
            if with_clients:
                cells.append(Text(short_list([record.client for record in done.records], clients_width), style="cyan"))
            cells += [*_numbers(done), self._accuracy(done.round), Text(str(done.height))]
            table.add_row(*cells)
        return table

    def _accuracy(self, version: int) -> Text:
        """Accuracy of a version: empty while it may still come, a dash once a newer version was measured instead."""
        accuracy, newest = self._history.accuracy_of(version), self._history.newest_accuracy
        if accuracy is not None:
            return Text(f"{accuracy:.1%}", style="green")
        return Text("-", style="dim") if newest is not None and newest.version > version else Text("")


def short_list(numbers: Sequence[int], width: int) -> str:
    """List as many numbers as fit into `width` characters, then `+n` for the others."""
    text = " ".join(map(str, numbers))
    for shown in range(len(numbers) - 1, -1, -1):
        if len(text) <= width:
            break
        text = " ".join([*map(str, numbers[:shown]), f"+{len(numbers) - shown}"])
    return text


def printable(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _numbers(done: RoundDone) -> list[Text]:
    """Theta, delay and reward of a round, as cells."""
    if not done.agreed:
        return [Text("no agreement", style="red"), Text(""), Text("void", style="red")]
    reward = Text(tokens(int(done.reward_wei)), style="yellow") if done.paid else Text("unpaid", style="red")
    if not done.records:
        return [Text(""), Text(""), reward]
    thetas = [record.theta_ppb / PPB for record in done.records]
    delays = [record.delay for record in done.records]
    spread = f"{min(thetas):.2f} {fmean(thetas):.2f} {max(thetas):.2f}"
    return [Text(spread), Text(f"{fmean(delays):5.1f} {max(delays):4}"), reward]


def _status_text(history: History) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    newest = history.newest_accuracy
    parts = [
        ("updates", f"{history.updates:,}"),
        ("paid", f"{tokens(history.credited_wei)} tokens"),
        ("accuracy", "not measured yet" if newest is None else f"{newest.accuracy:.1%} (version {newest.version})"),
        ("refused", _counts(history.refused)),
    ]
    for index, (name, value) in enumerate(parts):
        text.append(f"{'   ' if index else ''}{name} ", style="dim").append(value)
    return text


def _counts(counts: dict[str, int]) -> str:
    named = [f"{printable(kind)} {count}" for kind, count in sorted(counts.items()) if count]
    return f"{sum(counts.values()):,}" + (f" ({', '.join(named)})" if named else "")


def _plain_line(event: Event, history: History, rounds_total: int) -> str | None:
    match event:
        case RunStarted():
            verb = "goes on" if event.resumed else "starts"
            members = f"{event.edge_servers} edge servers, {event.clients} clients, {event.rounds} rounds"
            return f"run {verb}: {printable(event.title)}; {members}; genesis {printable(event.genesis_hash)}"
        case RoundDone():
            return _round_line(event, history, rounds_total)
        case RunFinished():
            accuracy = "not measured" if event.accuracy is None else f"{event.accuracy:.1%}"
            sums = f"{event.rounds} rounds, {event.updates} updates, {tokens(int(event.paid_wei))} tokens paid"
            return f"run finished after {duration(event.seconds)}: {sums}, test accuracy {accuracy}"
        case _:
            return None


def _round_line(done: RoundDone, history: History, rounds_total: int) -> str:
    width = len(str(rounds_total))
    parts = [f"round {done.round:>{width}}/{rounds_total}", f"{done.seconds:7.1f} s", f"block {done.height}"]
    clients = short_list([record.client for record in done.records], _PLAIN_CLIENTS_WIDTH)
    parts.append(f"clients {clients or 'none'}")
    if done.agreed and done.records:
        thetas = [record.theta_ppb / PPB for record in done.records]
        delays = [record.delay for record in done.records]
        parts.append(f"theta {min(thetas):.3f}-{fmean(thetas):.3f}-{max(thetas):.3f}")
        parts.append(f"delay {fmean(delays):.1f} (max {max(delays)})")
    if not done.agreed:
        parts.append("void: no agreement, nobody is paid")
    else:
        parts.append(f"paid {tokens(int(done.reward_wei))}" if done.paid else "unpaid: every theta is 0")
    if done.round > rounds_total:
        parts.append("after the plan: settles what came before")
    newest: Accuracy | None = history.newest_accuracy
    if newest is not None:
        parts.append(f"accuracy {newest.accuracy:.1%} (version {newest.version})")
    return "  ".join(parts)
