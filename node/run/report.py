"""The report of a run: one page that needs nothing but itself, its numbers as JSON, and three plots as images."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from node.errors import RunDirectoryError
from node.run import explanations
from node.run.amounts import data_size, duration, tokens, tokens_exact
from node.run.events import AuditVerdict, EventLog, PaySettled, RunStarted
from node.run.explanations import Explanations
from node.run.history import PPB, ClientSummary, History

if TYPE_CHECKING:
    from node.run.plots import Plot

EVENTS_FILE = "events.jsonl"
AUDIT_FILE = "audit.json"
REPORT_FORMAT = 1
MOST_ROUNDS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Command:
    """A command line that the page proposes, and what it is good for."""

    line: str
    purpose: str


@dataclass(frozen=True, slots=True)
class _Tile:
    name: str
    value: str
    remark: str


@dataclass(frozen=True, slots=True)
class _Drawing:
    title: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class _Worth:
    """Why a record, or a client on average, earned what it did; `base` of a client counts its records."""

    client: str
    base: str
    beside: str
    theta: str
    parts: list[str]
    reward: str
    fate: str


@dataclass(frozen=True, slots=True)
class _RoundRow:
    """A round as the page shows it; `kind` is paid, unpaid or void."""

    number: int
    kind: str
    records: str
    theta: str
    delay: str
    reward: str
    accuracy: str
    height: int
    clients: str


def write_report(directory: Path, commands: Sequence[Command] | None = None) -> Path:
    """Write `report/` into a run directory from its event log and, if it is there, its `audit.json`.

    The report holds `index.html`, `report.json`, `accuracy.png`, `rewards.png` and `staleness.png`. It may be written
    while the run goes on, and again at any time.

    Args:
        directory: the run directory.
        commands: what the page proposes to do next; audit, rewards and going on with the run by default.

    Returns:
        The path of `index.html`.

    Raises:
        RunDirectoryError: no run was started there, or its log or its audit.json is unreadable.

    """
    history = History(EventLog(directory / EVENTS_FILE).read())
    if history.started is None:
        message = f"{directory} holds no run: start one with merit run --dir {directory}"
        raise RunDirectoryError(message)
    audit = _read_audit(directory / AUDIT_FILE) or history.audit
    explained = explanations.read(directory)
    chosen = default_commands(directory, history.started) if commands is None else commands
    report = directory / "report"
    report.mkdir(exist_ok=True)
    from node.run import plots  # noqa: PLC0415 - matplotlib takes half a second to load

    images = {"accuracy": plots.accuracy, "rewards": plots.rewards, "staleness": plots.staleness}
    for name, plot in images.items():
        plots.png(plot, history, report / f"{name}.png")
    numbers = msgspec.to_builtins(_numbers(history, audit, explained), str_keys=True)
    (report / "report.json").write_bytes(msgspec.json.encode(numbers, order="sorted") + b"\n")
    page = report / "index.html"
    page.write_text(_page(history, history.started, audit, chosen, explained), encoding="utf-8")
    return page


def default_commands(directory: Path, started: RunStarted) -> list[Command]:
    """Return what anybody can do with a run directory, as lines for a shell."""
    place = shlex.quote(str(directory))
    return [
        Command(
            f"merit audit {place} --genesis {shlex.quote(started.genesis_hash)}", "replay everything, trust nobody"
        ),
        Command(f"merit rewards {place}", "who was paid what, round by round"),
        Command(
            f"merit run {shlex.quote(str(directory / 'run.toml'))} --dir {place}", "go on where the run was stopped"
        ),
    ]


def _read_audit(path: Path) -> AuditVerdict | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=AuditVerdict)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        message = f"{path} is no audit's verdict ({error}): run the audit again"
        raise RunDirectoryError(message) from error


# -- the numbers --------------------------------------------------------------------------------------------------


def _numbers(history: History, audit: AuditVerdict | None, explained: Explanations) -> dict[str, object]:
    """Everything that the page shows and more; amounts in wei as decimal strings, thetas in parts per billion."""
    check = history.reward_check()
    return {
        "format": REPORT_FORMAT,
        "run": history.started,
        "seconds": history.seconds,
        "resumed_at": history.resumed_at,
        "finished": history.finished,
        "audit": audit,
        "updates": history.updates,
        "credited_wei": str(history.credited_wei),
        "reward_check": {
            **asdict(check),
            "base_wei": _decimal(check.base_wei),
            "owed_wei": str(check.owed_wei),
            "credited_wei": str(check.credited_wei),
            "ledger_wei": _decimal(check.ledger_wei),
            "holds": check.holds,
        },
        "clients": [_client_numbers(client) for client in history.clients()],
        "rounds": history.rounds,
        "settled": history.settled,
        "explained": explained.records,
        "plans": history.plans,
        "newest_plan": history.newest_plan,
        "accuracy": history.accuracies,
        "refused": history.refused,
        "skipped": history.skipped,
        "delays": Counter(record.delay for record in history.records),
    }


def _client_numbers(client: ClientSummary) -> dict[str, object]:
    amounts = {name: str(getattr(client, name)) for name in ("reward_wei", "vested_wei", "forfeited_wei")}
    return {**asdict(client), **amounts}


def _decimal(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


# -- the page -----------------------------------------------------------------------------------------------------


def _page(
    history: History,
    started: RunStarted,
    audit: AuditVerdict | None,
    commands: Sequence[Command],
    explained: Explanations,
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - not needed to make plots

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tokens": tokens, "tokens_exact": tokens_exact, "duration": duration, "size": data_size}
    clients = history.clients()
    return environment.get_template("report.html").render(
        run=started,
        finished=history.finished,
        resumed=len(history.resumed_at),
        audit=audit,
        tiles=_tiles(history, started),
        check=history.reward_check(),
        drawings=_drawings(history, started, clients),
        clients=clients,
        credited=history.credited_wei,
        best_paid=max((client.reward_wei for client in clients), default=0),
        rounds=[_round_row(history, index) for index in range(min(len(history.rounds), MOST_ROUNDS_SHOWN))],
        rounds_in_all=len(history.rounds),
        refused=sorted(history.refused.items()),
        skipped=sorted(history.skipped.items()),
        commands=commands,
        slowness=history.slowness,
        work=_work(history),
        parts=explained.parts,
        meanings=explanations.meanings(started.rule, explained.parts),
        worth=_worth(history, explained),
        reasons=_reasons(history, explained),
    )


def _work(history: History) -> dict[int, str]:
    """Return what the newest plan gives each client, as the page shows it; empty where work is not allocated."""
    plan = history.newest_plan
    shares = () if plan is None else plan.shares
    return {one.client: f"{one.samples} \N{MULTIPLICATION SIGN} {one.epochs}" for one in shares}


def _worth(history: History, explained: Explanations) -> list[_Worth]:
    """Return each client's means, the best paid first, as `_clients` lists them."""
    order = {client.client: at for at, client in enumerate(history.clients())}
    paid = {client.client: client.reward_wei for client in history.clients()}
    return [
        _Worth(
            client=str(client),
            base=f"{records:,}",
            beside="",
            theta=f"{theta:.3f}",
            parts=[f"{means[name]:.3f}" if name in means else "" for name in explained.parts],
            reward=tokens(paid.get(client, 0)),
            fate="",
        )
        for client, records, theta, means in sorted(explained.means(), key=lambda row: order.get(row[0], len(order)))
    ]


def _reasons(history: History, explained: Explanations) -> dict[int, list[_Worth]]:
    """Return why each record of the rounds on the page earned what it did, by round, in the order of selection."""
    flags = explained.flags()
    settled = {one.round: one for one in history.settled}
    found: dict[int, list[_Worth]] = {}
    for done in history.rounds[:MOST_ROUNDS_SHOWN]:
        rewards = {(record.client, record.base, record.theta_ppb): record for record in done.records}
        for one in explained.of_round(done.round):
            paid = rewards.get((one.client, one.base, one.theta_ppb))
            found.setdefault(done.round, []).append(
                _Worth(
                    client=str(one.client),
                    base=str(one.base),
                    beside="" if one.beside is None else str(one.beside),
                    theta=f"{one.theta_ppb / PPB:.3f}",
                    parts=[_part(one.parts.get(name), flag=name in flags) for name in explained.parts],
                    reward="not credited" if paid is None or not done.paid else tokens(int(paid.reward_wei)),
                    fate=_fate(one.client, settled.get(done.round)),
                )
            )
    return found


def _part(value: int | None, *, flag: bool) -> str:
    if value is None:
        return ""
    return ("yes" if value else "no") if flag else f"{value / PPB:.3f}"


def _fate(client: int, settled: PaySettled | None) -> str:
    """Say what became of held pay; nothing where pay does not vest or nothing was credited."""
    if settled is None:
        return ""
    if client in settled.vested_wei:
        return f"released ({settled.judge})"
    return f"forfeited ({settled.judge})" if client in settled.forfeited_wei else ""


def _tiles(history: History, started: RunStarted) -> list[_Tile]:
    rounds, finished, measured = history.rounds, history.finished, history.run_accuracy
    void = sum(not done.agreed for done in rounds)
    unpaid = sum(done.agreed and not done.paid for done in rounds)
    exceptions = [f"{count} {word}" for count, word in ((void, "void"), (unpaid, "unpaid")) if count]
    last = finished.accuracy if finished is not None else None
    if last is None and measured is not None:
        last = measured.accuracy
    of_version = f"version {measured.version}, " if measured is not None and history.rounds_after else ""
    best = max((point.accuracy for point in history.accuracies), default=None)
    paid = len(rounds) - void - unpaid
    if after := len(history.rounds_after):
        exceptions.insert(0, f"{after} after version {history.version}")
    blocks = finished.blocks if finished is not None else max((done.height for done in rounds), default=0)
    pace = f"{60 * len(rounds) / history.seconds:.1f} rounds a minute" if rounds and history.seconds else "no round yet"
    return [
        _Tile(
            "Test accuracy",
            "\N{EN DASH}" if last is None else f"{last:.1%}",
            "not measured" if best is None else f"{of_version}best {best:.1%}, of {len(history.accuracies)} versions",
        ),
        _Tile("Rounds", f"{len(rounds):,}", ", ".join([f"of {started.rounds:,} planned", *exceptions])),
        _Tile("Updates", f"{history.updates:,}", "signed, recorded, scored"),
        _Tile("Paid", tokens(history.credited_wei), f"tokens, in {paid:,} paid round{'' if paid == 1 else 's'}"),
        _Tile("Blocks", f"{blocks:,}", f"agreed by {started.edge_servers} edge servers"),
        _Tile("Time", duration(history.seconds), pace),
        *_staleness_tile(history),
    ]


def _staleness_tile(history: History) -> list[_Tile]:
    """Return the average staleness of equation 13 over all plans; nothing where work is not allocated."""
    plans = history.plans
    if not plans:
        return []
    mean = fmean(plan.average_staleness for plan in plans)
    most = max(plan.max_staleness for plan in plans)
    return [
        _Tile(
            "Average staleness",
            f"{mean:.2f}",
            f"epochs between two clients, mean of {_number(len(plans), 'plan')}; at most {most}",
        )
    ]


def _drawings(history: History, started: RunStarted, clients: Sequence[ClientSummary]) -> list[_Drawing]:
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2

    from node.run import plots  # noqa: PLC0415 - matplotlib takes half a second to load

    planned: list[tuple[str, Plot, str, str]] = [
        ("accuracy", plots.accuracy, "Test accuracy over time", _accuracy_caption(history)),
        ("rewards", plots.rewards, "Reward per client", _rewards_caption(clients)),
        ("staleness", plots.staleness, "Staleness", _staleness_caption(history)),
        ("theta", plots.theta, "Theta per round", _theta_caption(history, started.rule)),
    ]
    if history.plans:
        planned.append(("work", plots.work, "Allocated work", _work_caption(history)))
    return [
        # what `svg` returns is ours: numbers, and the title that it escapes itself
        _Drawing(title, Markup(plots.svg(plot, history, name, title)), caption)  # noqa: S704 - see above
        for name, plot, title, caption in planned
    ]


def _accuracy_caption(history: History) -> str:
    points, final = history.accuracies, history.run_accuracy
    if final is None:
        return "No version was measured."
    near = next(point for point in points if point.accuracy >= 0.95 * final.accuracy)
    text = f"Version {final.version} classifies {final.accuracy:.1%} of the test set"
    if near.version != final.version:
        text = f"{text}; version {near.version} came within 5% of that after {duration(near.seconds)}"
    return f"{text}. {history.settling}." if history.settling else f"{text}."


def _rewards_caption(clients: Sequence[ClientSummary]) -> str:
    if not any(client.reward_wei for client in clients):
        return "Nobody was paid."
    best = clients[0]
    text = f"Client {best.client} earned most: {tokens(best.reward_wei)} tokens for {_number(best.records, 'record')}"
    slow = [client.reward_wei for client in clients if client.slow]
    others = [client.reward_wei for client in clients if not client.slow]
    if not slow or not others:
        return f"{text}."
    means = f"{tokens(sum(slow) // len(slow))} tokens each, the others {tokens(sum(others) // len(others))}"
    return f"{text}. The slow clients earned {means} on average."


def _staleness_caption(history: History) -> str:
    delays = [record.delay for record in history.records]
    if not delays:
        return "No record was consumed."
    fresh = sum(delay == 0 for delay in delays) / len(delays)
    return (
        f"{fresh:.0%} of the records were trained on the version that their round replaced; "
        f"the mean delay is {fmean(delays):.2f} versions, the longest {max(delays)}."
    )


def _work_caption(history: History) -> str:
    last = history.plans[-1]
    given = f"{_number(last.samples, 'sample')} and {_number(last.epochs, 'epoch')}"
    return (
        f"How far apart the epochs of two clients are: {last.average_staleness:.2f} on average (equation 13 of arXiv "
        f"1905.01656) and {last.max_staleness} at most in the newest plan, which gives "
        f"{_number(last.clients, 'client')} {given}."
    )


def _theta_caption(history: History, rule: str) -> str:
    thetas = [record.theta_ppb / PPB for done in history.rounds if done.agreed for record in done.records]
    if not thetas:
        return "No round was agreed."
    nothing = sum(theta == 0 for theta in thetas)
    return (
        f"What each update is worth by the rule {rule}: {fmean(thetas):.2f} on average. "
        f"{_number(nothing, 'update')} scored 0 and earned nothing."
    )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _round_row(history: History, index: int) -> _RoundRow:
    done = history.rounds[index]
    thetas = [record.theta_ppb / PPB for record in done.records]
    delays = [record.delay for record in done.records]
    accuracy = history.accuracy_of(done.round)
    kind = ("paid" if done.paid else "unpaid") if done.agreed else "void"
    return _RoundRow(
        number=done.round,
        kind=kind,
        records=f"{len(done.records)} of {done.phi}",
        theta=f"{min(thetas):.3f} / {fmean(thetas):.3f} / {max(thetas):.3f}" if thetas and done.agreed else "",
        delay=f"{fmean(delays):.1f} / {max(delays)}" if delays else "",
        reward=tokens(int(done.reward_wei)) if done.paid else kind,
        accuracy="" if accuracy is None else f"{accuracy:.1%}",
        height=done.height,
        clients=" ".join(str(record.client) for record in done.records),
    )
