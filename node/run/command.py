"""`merit run` from start to end: the session, the audit, the report, and what is printed."""

import contextlib
import logging
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.console import Console

from learner.staleness import delay, tau_avg
from merit.clock import Clock
from node.audit import AuditReport, audit_directory
from node.dashboard.local import RunDashboard
from node.rounds.log import JobLog, RecordStatus
from node.run import explanations
from node.run.amounts import tokens
from node.run.config import RunFile
from node.run.events import AuditVerdict, RoundDone, RunFinished
from node.run.history import History
from node.run.phases import Phase, enter
from node.run.report import write_report
from node.run.session import Session
from node.run.table import LiveTable

_DEFAULT_DIRECTORY = Path("runs")
_KIB = 1 << 10
_MIB = 1 << 20


async def execute(
    run: RunFile,
    directory: Path | None,
    clock: Clock,
    *,
    quiet: bool,
    source: str,
    dashboard: int | None = None,
    tell: Callable[[dict[str, object]], None] | None = None,
) -> dict[str, object]:
    """Run (or go on), audit, write the report; return the summary that `--json` prints.

    Args:
        run: what to run.
        directory: the run directory; a new one under `runs/` when None.
        clock: real time.
        quiet: print nothing.
        source: the run file or preset that it came from, for the report.
        dashboard: port of a dashboard that shows the run, and goes on until SIGINT or SIGTERM; None for none.
        tell: called with the summary when there is one, before the dashboard is waited for.

    """
    directory = (directory or _fresh()).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=quiet)
    async with contextlib.AsyncExitStack() as stack:
        show = None
        if dashboard is not None:
            show = RunDashboard(clock, dashboard, lambda url: _say_dashboard(console, url))
            stack.push_async_callback(show.close)
        with logged_to(directory / "run.log"):
            summary = await _execute(run, directory, clock, console, source=source, show=show)
            if tell is not None:
                tell(summary)
            if show is not None:
                console.print("The dashboard goes on; Ctrl-C ends it.")
                await show.stay(directory)
    return summary


def _say_dashboard(console: Console, url: str) -> None:
    if console.quiet:
        typer.echo(f"dashboard {url}", err=True)
    else:
        console.print(f"dashboard {url}", soft_wrap=True, highlight=False)


async def _execute(
    run: RunFile, directory: Path, clock: Clock, console: Console, *, source: str, show: RunDashboard | None
) -> dict[str, object]:
    with LiveTable(console, run.rounds) as table:
        session = Session(directory, run, clock, table.feed, source=source, show=show)
        table.restore(session.events.read())
        await session.run()
    console.print("The job is closed and paid. Auditing every store from block 0 ...")
    enter(Phase.AUDIT)
    verdict = audit_directory(directory, genesis_hash=session.genesis_hash)
    enter(Phase.REPORT)
    finished = _finished(session, verdict)
    session.events.write(finished)
    table.feed(finished)
    explanations.write(directory, verdict)
    report = write_report(directory)
    _say_what_next(console, session, finished, report)
    return {
        "directory": str(directory),
        "report": str(report),
        "genesis_hash": session.genesis_hash,
        "rounds": finished.rounds,
        "version": finished.version,
        "model": str(session.model_path()),
        "updates": finished.updates,
        "blocks": finished.blocks,
        "accuracy": finished.accuracy,
        "paid_wei": finished.paid_wei,
        "seconds": finished.seconds,
        "disk_bytes": finished.disk_bytes,
        "peak_memory_bytes": finished.peak_memory_bytes,
        "ok": verdict.ok,
        "audit": verdict.to_json(),
    }


def _fresh() -> Path:
    """Return the first unused directory `runs/N`."""
    taken = {entry.name for entry in _DEFAULT_DIRECTORY.iterdir()} if _DEFAULT_DIRECTORY.exists() else set()
    number = 1
    while str(number) in taken:
        number += 1
    return _DEFAULT_DIRECTORY / str(number)


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Send the log to a file meanwhile: the terminal belongs to what is shown there."""
    root, noisy = logging.getLogger(), [logging.getLogger(name) for name in ("httpx", "web3", "eth")]
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers, levels = root.handlers, [logger.level for logger in (root, *noisy)]
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for logger in noisy:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = handlers
        for logger, level in zip((root, *noisy), levels, strict=True):
            logger.setLevel(level)
        handler.close()


def _finished(session: Session, verdict: AuditReport) -> RunFinished:
    log = session.log
    rounds = [event for event in session.events.read() if isinstance(event, RoundDone)]
    rewards: defaultdict[int, int] = defaultdict(int)
    for payments in log.payments.values():
        for payment in payments:
            rewards[payment.client] += payment.reward
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    clients = session.roles.clients
    return RunFinished(
        seconds=session.seconds(),
        rounds=len(rounds),
        updates=sum(len(event.records) for event in rounds),
        blocks=log.boundary_height if session.head is None else session.head,
        version=session.model_version,
        accuracy=session.accuracy,
        paid_wei=str(sum(rewards.values())),
        audit=AuditVerdict(ok=verdict.ok, lines=verdict.lines),
        disk_bytes=_disk(session.directory),
        cpu_seconds=sum(who.ru_utime + who.ru_stime for who in usage),
        peak_memory_bytes=sum(who.ru_maxrss for who in usage) * _KIB,
        tau_avg=_delays(log, clients),
        rewards_wei={client: str(rewards[client]) for client in clients},
        data_sizes=session.data_sizes,
        slow_clients=clients[len(clients) - session.run_file.clients.slow :],
    )


def _delays(log: JobLog, clients: tuple[int, ...]) -> dict[int, float]:
    """Average delay of every client that has a record; see `learner.staleness.tau_avg`."""
    found = {}
    for client in clients:
        own = [entry for entry in log.records if entry.client == client]
        consumed = [delay(entry.round, entry.base) for entry in own if entry.status is RecordStatus.CONSUMED]
        waiting = [entry.base for entry in own if entry.status in {RecordStatus.PENDING, RecordStatus.AVAILABLE}]
        average = tau_avg(consumed, waiting, log.version)
        if average is not None:
            found[client] = float(average)
    return found


def _disk(directory: Path) -> dict[str, int]:
    """Bytes on disk by part; a blob that several servers share by hard links counts once."""
    seen: set[tuple[int, int]] = set()
    sizes: defaultdict[str, int] = defaultdict(int)
    for path in directory.rglob("*"):
        if path.is_file():
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                part = path.relative_to(directory).parts[0]
                sizes[part if (directory / part).is_dir() else "files"] += status.st_blocks * 512
    return dict(sizes)


def _say_what_next(console: Console, session: Session, finished: RunFinished, report: Path) -> None:
    genesis = f"0x{session.genesis_hash.hex()}"
    for line in () if finished.audit is None else finished.audit.lines:
        console.print(f"  {line}", highlight=False)
    history = History(session.events.read())
    accuracy = "no accuracy measured" if finished.accuracy is None else f"test accuracy {finished.accuracy:.1%}"
    paid = tokens(int(finished.paid_wei))
    console.print(f"{finished.rounds} rounds, {finished.updates} updates, {paid} tokens paid, {accuracy}")
    for line in filter(None, (history.settling, history.slowness)):
        console.print(line)
    disk = ", ".join(f"{part} {size / _MIB:.1f} MiB" for part, size in sorted(finished.disk_bytes.items()))
    console.print(f"disk {sum(finished.disk_bytes.values()) / _MIB:.1f} MiB ({disk}); ", end="")
    console.print(f"peak memory {finished.peak_memory_bytes / _MIB:.0f} MiB")
    console.print(f"model         {session.model_path()} (version {finished.version})", soft_wrap=True)
    console.print(f"report        {report}", soft_wrap=True)
    console.print(f"genesis hash  {genesis}", soft_wrap=True)
    console.print("what to try next:")
    for command in (
        f"merit audit {session.directory} --genesis {genesis}",
        f"merit rewards {session.directory} --client {session.roles.clients[0]}",
        "merit run --preset digits --phi all        # everybody waits for the slowest",
    ):
        console.print(f"  {command}", soft_wrap=True, highlight=False)
