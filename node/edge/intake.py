"""The intake API: how clients and other edge servers talk to an edge server over HTTP.

    GET  /v1/status                        who this server is, which jobs it knows
    GET  /v1/jobs/{job}                    a job: status, version, model, terms; `?wait=S&after=V` waits for a version
    beyond V
    GET  /v1/jobs/{job}/models/{version}   the digests of a version's model and of the plan by which clients train on it
    GET  /v1/jobs/{job}/clients/{client}   the client's replay mark
    GET  /v1/members/{address}             the member that an address speaks for
    POST /v1/records                       a signed record, as the record codec writes it; `?wait=S` answers when it
    is on the ledger
    GET  /v1/jobs/{job}/clients/{client}/records/{digest}
                                           what has become of a record; `?wait=S&until=recorded` waits for it
    PUT  /v1/blobs/{digest}                a blob: an update whose record is final, or a file that a job names
    GET  /v1/blobs/{digest}                a blob, verified
    GET  /openapi.json                     this, for machines

Answers are JSON, blobs are bytes. A refusal is status 422 with `{"status": "refused", "reason": "..."}`.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import lru_cache

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.records import ENTRY_HEAD_BYTES, SIGNATURE_BYTES, SignedRecord
from merit.clock import Clock
from node.edge.openapi import DOCUMENT
from node.edge.peers import MAX_BLOB_BYTES
from node.edge.server import Answer, EdgeServer, JobDesk
from node.errors import BlobCorruptError, BlobMissingError
from node.rounds.log import JobStatus

MAX_WAIT_S = 30.0
POLL_S = 0.02
LOOK_S = 0.1
"""A record on the ledger is looked at so often by whoever waits for what the rounds make of it."""
MAX_RECORD_BYTES = ENTRY_HEAD_BYTES + max(SIGNATURE_BYTES.values())

_SETTLED = {"refused", "available", "void", "consumed", "copy", "stale", "surplus"}
_UNTIL = {"settled": _SETTLED, "recorded": {*_SETTLED, "pending", "held"}}
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ADDRESS = re.compile(r"(?:0x)?([0-9a-fA-F]{40})", re.ASCII)


class Intake:
    """The routes of one edge server; `app` is the ASGI application."""

    def __init__(self, server: EdgeServer, clock: Clock) -> None:
        """Serve `server`; `clock` paces those who wait."""
        self._server = server
        self._clock = clock
        self.app = Starlette(
            routes=[
                Route("/v1/status", self._guard(self._status)),
                Route("/v1/jobs/{job}", self._guard(self._job)),
                Route("/v1/jobs/{job}/models/{version}", self._guard(self._model)),
                Route("/v1/jobs/{job}/clients/{client}", self._guard(self._client)),
                Route("/v1/members/{address}", self._guard(self._member)),
                Route("/v1/records", self._guard(self._offer_record), methods=["POST"]),
                Route("/v1/jobs/{job}/clients/{client}/records/{digest}", self._guard(self._record)),
                Route("/v1/blobs/{digest}", self._guard(self._offer_blob), methods=["PUT"]),
                Route("/v1/blobs/{digest}", self._guard(self._blob)),
                Route("/openapi.json", self._openapi),
            ]
        )

    @staticmethod
    def _guard(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Turn what a caller got wrong into one line, never a traceback."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except (ValueError, LookupError) as error:
                return JSONResponse({"status": "refused", "reason": str(error)}, status_code=400)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it

        return guarded

    async def _status(self, _: Request) -> Response:
        return JSONResponse(self._server.status())

    async def _job(self, request: Request) -> Response:
        desk = self._desk(request)
        text = request.query_params.get("after")
        after = -1 if text in {None, "-1"} else _integer("after", text)
        deadline = self._deadline(request)
        while desk.log.version <= after and desk.log.status is JobStatus.OPEN and self._clock.monotonic() < deadline:
            await self._clock.sleep(POLL_S)
        return JSONResponse(self._server.job_status(desk))

    async def _model(self, request: Request) -> Response:
        version = _number(request, "version")
        log = self._desk(request).log
        if version > log.version:
            msg = f"version {version} is not decided yet"
            raise LookupError(msg)
        plan = log.plan_at(version).hex()
        return JSONResponse({"version": version, "model": log.model_at(version).hex(), "allocation": plan})

    async def _client(self, request: Request) -> Response:
        mark = self._desk(request).log.marks.get(_number(request, "client"))
        base, counter = (None, None) if mark is None else mark
        return JSONResponse({"base": base, "counter": counter})

    async def _member(self, request: Request) -> Response:
        found = _ADDRESS.fullmatch(request.path_params["address"])
        if found is None:
            msg = "an address is 40 hexadecimal digits"
            raise ValueError(msg)
        member = self._server.member_of(bytes.fromhex(found[1]))
        if member is None:
            return JSONResponse({"status": "refused", "reason": "no member has this address"}, status_code=404)
        return JSONResponse({"member": member.id, "role": member.role, "suspended": member.suspended})

    async def offer(self, query: str, body: bytes) -> tuple[int, bytes]:
        """Take a record; what `POST /v1/records` answers, for `node.edge.lane`."""
        try:
            wait, until = _waiting(query)
            answer = await self._offer(body, wait, until)
        except ValueError as error:
            return httpx.codes.BAD_REQUEST, msgspec.json.encode({"status": "refused", "reason": str(error)})
        return _code(answer), msgspec.json.encode(answer)

    async def _offer_record(self, request: Request) -> Response:
        wait, until = _waiting(request.url.query)
        return _answer(await self._offer(await self._body(request, MAX_RECORD_BYTES), wait, until))

    async def _offer(self, data: bytes, wait: float, until: str) -> Answer:
        deadline = self._clock.monotonic() + wait
        answer = self._server.offer_record(data)
        if answer.status == "queued" and wait > 0:
            record = SignedRecord.decode(data).record
            answer = await self._fate(record.job, record.client, record.digest, _UNTIL[until], deadline)
        return answer

    async def _record(self, request: Request) -> Response:
        job, client, digest = _number(request, "job"), _number(request, "client"), _digest(request)
        until = _until(request.query_params.get("until", "settled"))
        answer = await self._fate(job, client, digest, _UNTIL[until], self._deadline(request))
        return JSONResponse(asdict(answer))

    async def _fate(self, job: int, client: int, digest: bytes, until: set[str], deadline: float) -> Answer:
        """Wait until a record has one of these fates, or the time is over, and tell what has become of it.

        That it is on the ledger is told at once; what the rounds make of it is looked for now and then.
        """
        news = asyncio.Event()
        while True:
            answer = self._server.record_status(job, client, digest)
            left = deadline - self._clock.monotonic()
            if answer.status in until or answer.status == "unknown" or left <= 0:
                return answer
            news.clear()
            self._server.watch(job, client, digest, news.set)
            alarm = asyncio.create_task(self._clock.sleep(left if answer.status == "queued" else min(left, LOOK_S)))
            alarm.add_done_callback(lambda _: news.set())
            try:
                await news.wait()
            finally:
                alarm.cancel()
                self._server.unwatch(job, client, digest, news.set)

    async def _offer_blob(self, request: Request) -> Response:
        digest = _digest(request)
        return _answer(self._server.offer_blob(digest, await self._body(request, MAX_BLOB_BYTES)))

    async def _blob(self, request: Request) -> Response:
        try:
            return Response(self._server.blobs.get(_digest(request)), media_type="application/octet-stream")
        except (BlobMissingError, BlobCorruptError) as error:
            return JSONResponse({"status": "refused", "reason": str(error)}, status_code=404)

    @staticmethod
    async def _openapi(_: Request) -> Response:
        return JSONResponse(DOCUMENT)

    def _desk(self, request: Request) -> JobDesk:
        job = _number(request, "job")
        if job not in self._server.jobs:
            msg = f"no job {job} on this ledger"
            raise LookupError(msg)
        return self._server.jobs[job]

    def _deadline(self, request: Request) -> float:
        return self._clock.monotonic() + _seconds(request.query_params.get("wait", "0"))

    @staticmethod
    async def _body(request: Request, limit: int) -> bytes:
        """Read the body, refusing more than `limit` bytes before they are all here."""
        parts, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                msg = f"more than {limit} bytes"
                raise ValueError(msg)
            parts.append(chunk)
        return b"".join(parts)


def _number(request: Request, name: str) -> int:
    return _integer(name, request.path_params[name])


def _integer(name: str, text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        msg = f"{name} is a whole number"
        raise ValueError(msg)
    return int(text)


@lru_cache(maxsize=64)
def _waiting(query: str) -> tuple[float, str]:
    """Read how long to wait for which fate; clients ask the same again and again."""
    given = QueryParams(query)
    return _seconds(given.get("wait", "0")), _until(given.get("until", "recorded"))


def _seconds(text: str) -> float:
    try:
        wait = float(text)
    except ValueError:
        wait = math.nan
    if not math.isfinite(wait):
        msg = "wait is a number of seconds"
        raise ValueError(msg)
    return min(wait, MAX_WAIT_S)


def _until(text: str) -> str:
    if text not in _UNTIL:
        msg = f"until is one of {', '.join(_UNTIL)}"
        raise ValueError(msg)
    return text


def _digest(request: Request) -> bytes:
    text = request.path_params["digest"]
    if _DIGEST.fullmatch(text) is None:
        msg = "a digest is a SHA-256 in 64 hexadecimal digits, lower case"
        raise ValueError(msg)
    return bytes.fromhex(text)


def _answer(answer: Answer) -> Response:
    return JSONResponse(asdict(answer), status_code=_code(answer))


def _code(answer: Answer) -> int:
    if not answer.refused:
        return httpx.codes.OK
    return httpx.codes.INSUFFICIENT_STORAGE if answer.kind == "quota" else httpx.codes.UNPROCESSABLE_ENTITY
