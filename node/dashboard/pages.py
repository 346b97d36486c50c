"""The pages: each reads what it shows when it is asked for, a page of lists at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from web3.exceptions import TransactionNotFound, Web3Exception

from node.dashboard import charts, ledger, queries, registry
from node.dashboard.gateway import Gateway
from node.dashboard.index import Index
from node.dashboard.insight import Insight
from node.dashboard.rendering import environment
from node.dashboard.run_files import RunFiles
from node.dashboard.search import search
from node.dashboard.signers import Signers
from node.errors import LedgerUnreachableError

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager

    from web3 import Web3

MEMBERS_PER_PAGE: Final = 25
_NEWEST: Final = 8
_UNREACHABLE: Final = (LedgerUnreachableError, Web3Exception)

Handler: TypeAlias = Callable[[Request], Response]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work of this node took since its start, in seconds."""

    name: str
    times: int
    seconds: float
    longest: float


@dataclass(frozen=True, slots=True)
class Sources:
    """What pages read from; `costs` tells where this process spends its time, `behind` why the index stands still."""

    name: str
    index: Index
    gateway: Gateway
    signers: Signers
    insight: Insight
    behind: Callable[[], str] = lambda: ""
    run: RunFiles | None = None
    costs: Callable[[], Sequence[Cost]] = field(default=tuple)


class Pages:
    """Answers GET requests; handlers run in threads, so that a slow one holds up nobody."""

    def __init__(self, sources: Sources) -> None:
        """Load the templates."""
        self._from = sources
        self._templates = environment()

    def routes(self) -> list[Route]:
        """Return every page with its path."""
        pages: dict[str, Handler] = {
            "/": self._overview,
            "/pulse": self._pulse,
            "/search": self._search,
            "/blocks": self._blocks,
            "/blocks/{number:int}": self._block,
            "/transactions/{hash}": self._transaction,
            "/accounts/{address}": self._account,
            "/validators": self._validators,
            "/members": self._members,
            "/members/{member:int}": self._member,
            "/jobs": self._jobs,
            "/jobs/{job:int}": self._job,
            "/jobs/{job:int}/clients": self._clients,
            "/jobs/{job:int}/rounds/{round:int}": self._round,
            "/jobs/{job:int}/records/{sequence:int}": self._record,
            "/jobs/{job:int}/charts/{chart}": self._chart,
            "/jobs/{job:int}/clients/{client:int}/charts/{chart}": self._chart,
            "/time": self._time,
        }
        return [Route(path, handler, methods=["GET"]) for path, handler in pages.items()]

    def failures(self) -> Mapping[Any, Any]:
        """Return what answers when a page cannot be shown."""
        return {HTTPException: self._failed, **dict.fromkeys(_UNREACHABLE, self._unreachable)}

    # -- the whole ---------------------------------------------------------------------------------------------------

    def _overview(self, request: Request) -> Response:
        with self._reading() as db:
            totals = queries.totals(db)
            job = None if totals.newest_job is None else queries.job(db, totals.newest_job)
            return self._page(
                request,
                "overview.html",
                totals=totals,
                job=job,
                started=None if self._from.run is None else self._from.run.started,
                blocks=queries.blocks(db, limit=_NEWEST),
                rounds=[] if job is None else queries.rounds(db, job["job"], limit=_NEWEST),
                ranking=[] if job is None else queries.ranking(db, job["job"], limit=_NEWEST),
                newest=self._from.signers.heights[:1],
                validators=self._from.signers.validators,
                measured=totals.accuracy is not None,
            )

    def _pulse(self, _: Request) -> Response:
        """Tell whether there is anything new; the page's script asks once in a while."""
        return JSONResponse({"revision": self._from.index.revision})

    def _search(self, request: Request) -> Response:
        text = request.query_params.get("q", "")
        with self._reading() as db:
            hits = search(text, db, self._ask)
        if len(hits) == 1:
            return RedirectResponse(hits[0].path, 303)
        status = 200 if hits or not text.strip() else 404
        running = self._ask(registry.members) is not None
        return self._page(request, "search.html", text=text, hits=hits, status=status, running=running)

    def _time(self, request: Request) -> Response:
        with self._reading() as db:
            totals = queries.totals(db)
            stages = None if totals.newest_job is None else queries.stages(db, totals.newest_job)
        phases = [] if self._from.run is None else self._from.run.phases
        costs = sorted(self._from.costs(), key=lambda cost: -cost.seconds)
        return self._page(request, "time.html", job=totals.newest_job, stages=stages, phases=phases, costs=costs)

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def _blocks(self, request: Request) -> Response:
        before = _asked(request, "before", queries.BEYOND)
        with self._reading() as db:
            found = queries.blocks(db, before)
        signed = {one.height: one for one in self._from.signers.heights}
        return self._page(request, "blocks.html", blocks=found, signed=signed, older=_older(found, "number", before))

    def _block(self, request: Request) -> Response:
        number = _number(request, "number")
        with self._reading() as db:
            found = queries.block(db, number)
            rounds = queries.rounds_in_block(db, number)
            newest = queries.totals(db).blocks
        if found is None:
            raise HTTPException(404, f"there is no block {number} yet")
        with self._from.gateway.borrow() as w3:
            block = ledger.block(w3, number)
        signed = self._ask(lambda w3: ledger.signed(w3, self._from.signers, found["height"]))
        return self._page(
            request,
            "block.html",
            block=block,
            row=found,
            rounds=rounds,
            signed=signed,
            members=self._members_of(signed.votes if signed else ()),
            newest=newest,
        )

    def _transaction(self, request: Request) -> Response:
        name = _hexadecimal(request.path_params["hash"], 32)
        with self._from.gateway.borrow() as w3:
            try:
                found = ledger.transaction(w3, name)
            except TransactionNotFound:
                raise HTTPException(404, f"no block holds a transaction 0x{name.hex()}") from None
        return self._page(request, "transaction.html", transaction=found)

    def _account(self, request: Request) -> Response:
        address = _hexadecimal(request.path_params["address"], 20)
        with self._from.gateway.borrow() as w3:
            member = registry.member_of(w3, address)
            if member:
                return RedirectResponse(f"/members/{member}", 303)
            found = ledger.account(w3, address)
        signs = address in {validator.address for validator in self._from.signers.validators}
        if not (found.name or signs or found.used):
            raise HTTPException(
                404,
                f"0x{address.hex()} is no member's, no contract's and no validator's, and never sent or held anything",
            )
        return self._page(request, "account.html", account=found, signs=signs)

    def _validators(self, request: Request) -> Response:
        signers = self._from.signers
        heights = signers.heights
        return self._page(
            request,
            "validators.html",
            validators=signers.validators,
            power=sum(validator.power for validator in signers.validators),
            heights=heights,
            signed=ledger.participation(heights),
            proposed=ledger.proposals(heights),
            members=self._members_of(validator.address for validator in signers.validators),
        )

    def _members(self, request: Request) -> Response:
        first = max(1, _asked(request, "from", 1))
        with self._from.gateway.borrow() as w3:
            last = registry.members(w3)
            numbers = range(first, min(last, first + MEMBERS_PER_PAGE - 1) + 1)
            found = [member for number in numbers if (member := registry.member(w3, number)) is not None]
        return self._page(request, "members.html", members=found, first=first, last=last, page=MEMBERS_PER_PAGE)

    # -- learning ------------------------------------------------------------------------------------------------------

    def _jobs(self, request: Request) -> Response:
        before = _asked(request, "before", queries.BEYOND)
        with self._reading() as db:
            found = queries.jobs(db, before)
        return self._page(request, "jobs.html", jobs=found, older=_older(found, "job", before))

    def _job(self, request: Request) -> Response:
        before = _asked(request, "before", queries.BEYOND)
        with self._reading() as db:
            job = _known(queries.job(db, _number(request, "job")), f"there is no job {request.path_params['job']}")
            rounds = queries.rounds(db, job["job"], before)
            return self._page(
                request,
                "job.html",
                job=job,
                rounds=rounds,
                older=_older(rounds, "round", before),
                newest=before == queries.BEYOND,
                ranking=queries.ranking(db, job["job"], limit=_NEWEST),
                measured=job["job"] == 1 and queries.totals(db).accuracy is not None,
            )

    def _clients(self, request: Request) -> Response:
        skip = _asked(request, "skip", 0)
        with self._reading() as db:
            job = _known(queries.job(db, _number(request, "job")), f"there is no job {request.path_params['job']}")
            found = queries.ranking(db, job["job"], skip)
        more = skip + len(found) if len(found) == queries.PAGE else None
        return self._page(request, "clients.html", job=job, ranking=found, skip=skip, more=more)

    def _round(self, request: Request) -> Response:
        number, round_ = _number(request, "job"), _number(request, "round")
        with self._reading() as db:
            job = _known(queries.job(db, number), f"there is no job {number}")
            found = _known(queries.round_(db, number, round_), f"round {round_} of job {number} is not decided (yet)")
            places = queries.places(db, number, round_)
            variants = queries.variants(db, number, round_)
        return self._page(
            request,
            "round.html",
            job=job,
            round=found,
            places=places,
            columns=_part_names(places),
            explained=_explained(places),
            variants=variants,
        )

    def _record(self, request: Request) -> Response:
        number, sequence = _number(request, "job"), _number(request, "sequence")
        with self._reading() as db:
            found = _known(queries.record(db, number, sequence), f"job {number} has no record {sequence}")
            places = [] if found["round"] is None else queries.places(db, number, found["round"])
        place = next((one for one in places if one["place"] == found["place"]), None)
        status = "consumed" if place else self._from.insight.status(number, sequence)
        return self._page(request, "record.html", record=found, place=place, fate=status)

    def _member(self, request: Request) -> Response:
        number, before = _number(request, "member"), _asked(request, "before", queries.BEYOND)
        answered = self._ask(lambda w3: [registry.member(w3, number)])
        member = answered[0] if answered else None
        with self._reading() as db:
            jobs = queries.jobs_of_client(db, number)
            if member is None and not jobs:
                if answered:
                    raise HTTPException(404, f"there is no member {number}")
                raise HTTPException(503, f"the ledger does not answer at the moment; member {number} earned nothing")
            job = _asked(request, "job", jobs[0]["job"] if jobs else 0)
            places = queries.places_of_client(db, job, number, before)
            records = [
                (row, "consumed" if row["round"] else self._from.insight.status(row["job"], row["sequence"]))
                for row in queries.records_of_client(db, number)
            ]
        return self._page(
            request,
            "member.html",
            number=number,
            member=member,
            jobs=jobs,
            job=job,
            places=places,
            columns=_part_names(places),
            explained=_explained(places),
            records=records,
            older=_older(places, "round", before),
        )

    def _chart(self, request: Request) -> Response:
        name, job = request.path_params["chart"].removesuffix(".json"), _number(request, "job")
        with self._reading() as db:
            _known(queries.job(db, job), f"there is no job {job}")
            if "client" in request.path_params:
                draw = _known(charts.CLIENT_CHARTS.get(name), f"there is no chart {name} of a client")
                chart = draw(db, job, _number(request, "client"))
            else:
                chart = _known(charts.CHARTS.get(name), f"there is no chart {name}")(db, job)
        if request.path_params["chart"].endswith(".json"):
            return JSONResponse(chart.figure())
        return self._page(request, "chart.html", chart=chart, job=job, rows=_rows(chart))

    # -- what they share -----------------------------------------------------------------------------------------------

    def _reading(self) -> "AbstractContextManager[sqlite3.Connection]":
        return self._from.index.reading()

    def _ask(self, question: "Callable[[Web3], _Answer]") -> _Answer | None:
        """Ask the ledger what a page can do without; None while it is not there, or does not answer in time."""
        try:
            with self._from.gateway.borrow() as w3:
                return question(w3)
        except _UNREACHABLE:
            return None

    def _members_of(self, validators: Iterable[bytes]) -> Mapping[bytes, int]:
        """Return whose validators these are; empty while the ledger does not say."""
        return self._ask(lambda w3: {one: registry.member_of_validator(w3, one) for one in validators}) or {}

    def _page(self, request: Request, template: str, *, status: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(
            name=self._from.name,
            path=request.url.path,
            query=values.get("text", ""),
            revision=self._from.index.revision,
            behind=self._from.behind(),
            link=_link,
            **values,
        )
        return HTMLResponse(text, status)

    def _failed(self, request: Request, error: HTTPException) -> Response:
        return self._page(request, "error.html", status=error.status_code, code=error.status_code, problem=error.detail)

    def _unreachable(self, request: Request, error: Exception) -> Response:
        return self._page(request, "error.html", status=503, code=503, problem=str(error))


def _number(request: Request, name: str) -> int:
    """Return a number of the path; one beyond every number here names nothing."""
    return _within(int(request.path_params[name]))


def _asked(request: Request, name: str, default: int) -> int:
    """Return a number of the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise HTTPException(400, f"{name} is no number")
    return _within(int(text[:20]))


def _within(number: int) -> int:
    if number > queries.BEYOND:
        raise HTTPException(404, "there is nothing with so high a number")
    return number


def _hexadecimal(text: str, length: int) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != length:
        raise HTTPException(404, f"what you look for has {2 * length} hexadecimal digits after 0x")
    return value


def _known(value: Any, problem: str) -> Any:  # noqa: ANN401 - a row of whatever table
    if value is None:
        raise HTTPException(404, problem)
    return value


def _older(rows: Sequence[Any], key: str, before: int) -> dict[str, int]:
    """Return the query of the next page of a list, empty at its end."""
    return {"before": rows[-1][key]} if len(rows) >= queries.PAGE and rows[-1][key] < before else {}


def _part_names(places: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for place in places for name in place["parts"]))


def _explained(places: Sequence[Mapping[str, Any]]) -> bool:
    return any(place["explained"] for place in places)


def _rows(chart: charts.Chart) -> list[list[float | None]]:
    """Return a chart as a table: x, then each line's y."""
    columns = [dict(zip(line.x, line.y, strict=True)) for line in chart.lines]
    return [[x, *(column.get(x) for column in columns)] for x in sorted({x for column in columns for x in column})]


def _link(path: str, **query: object) -> str:
    return f"{path}?{urlencode(query)}"
