"""The intake API: how clients and other edge servers talk to an edge server over HTTP.

    GET  /v1/status                        who this server is, which jobs it knows
    GET  /v1/jobs/{job}                    a job: status, version, model, terms; `?wait=S&after=V` waits for a version
    beyond V
    GET  /v1/jobs/{job}/models/{version}   the digest of a version's model
    GET  /v1/jobs/{job}/clients/{client}   the client's replay mark
    GET  /v1/members/{address}             the member that an address speaks for
    POST /v1/records                       a signed record, as the record codec writes it
    GET  /v1/jobs/{job}/records/{digest}   what has become of a record; `?wait=S&until=recorded` waits for it
    PUT  /v1/blobs/{digest}                a blob: an update whose record is final, or a file that a job names
    GET  /v1/blobs/{digest}                a blob, verified
    GET  /openapi.json                     this, for machines

Answers are JSON, blobs are bytes. A refusal is status 422 with `{"status": "refused", "reason": "..."}`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.records import DIGEST_BYTES, ENTRY_HEAD_BYTES, SIGNATURE_BYTES
from merit.clock import Clock
from node.edge.openapi import DOCUMENT
from node.edge.server import Answer, EdgeServer, JobDesk
from node.errors import BlobCorruptError, BlobMissingError, BlobQuotaError
from node.rounds.log import JobStatus

MAX_WAIT_S = 30.0
POLL_S = 0.02
MAX_BLOB_BYTES = 1 << 30
MAX_RECORD_BYTES = ENTRY_HEAD_BYTES + max(SIGNATURE_BYTES.values())

_SETTLED = {"refused", "available", "void", "consumed", "copy", "stale", "surplus"}
_RECORDED = {*_SETTLED, "pending", "held"}


class Intake:
    """The routes of one edge server; `app` is the ASGI application."""

    def __init__(self, server: EdgeServer, clock: Clock) -> None:
        """Serve `server`; `clock` paces those who wait."""
        self._server = server
        self._clock = clock
        self.app = Starlette(
            routes=[
                Route("/v1/status", self._guard(self._status)),
                Route("/v1/jobs/{job:int}", self._guard(self._job)),
                Route("/v1/jobs/{job:int}/models/{version:int}", self._guard(self._model)),
                Route("/v1/jobs/{job:int}/clients/{client:int}", self._guard(self._client)),
                Route("/v1/members/{address}", self._guard(self._member)),
                Route("/v1/records", self._guard(self._offer_record), methods=["POST"]),
                Route("/v1/jobs/{job:int}/records/{digest}", self._guard(self._record)),
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

        return guarded

    async def _status(self, _: Request) -> Response:
        return JSONResponse(self._server.status())

    async def _job(self, request: Request) -> Response:
        desk = self._desk(request)
        after = int(request.query_params.get("after", -1))
        deadline = self._deadline(request)
        while desk.log.version <= after and desk.log.status is JobStatus.OPEN and self._clock.monotonic() < deadline:
            await self._clock.sleep(POLL_S)
        return JSONResponse(self._server.job_status(desk))

    async def _model(self, request: Request) -> Response:
        version = request.path_params["version"]
        log = self._desk(request).log
        if version > log.version:
            msg = f"version {version} is not decided yet"
            raise LookupError(msg)
        return JSONResponse({"version": version, "model": log.model_at(version).hex()})

    async def _client(self, request: Request) -> Response:
        mark = self._desk(request).log.marks.get(request.path_params["client"])
        base, counter = (None, None) if mark is None else mark
        return JSONResponse({"base": base, "counter": counter})

    async def _member(self, request: Request) -> Response:
        member = self._server.member_of(bytes.fromhex(request.path_params["address"]))
        if member is None:
            return JSONResponse({"status": "refused", "reason": "no member has this address"}, status_code=404)
        return JSONResponse({"member": member.id, "role": member.role, "suspended": member.suspended})

    async def _offer_record(self, request: Request) -> Response:
        data = await self._body(request, MAX_RECORD_BYTES)
        return _answer(self._server.offer_record(data))

    async def _record(self, request: Request) -> Response:
        job, digest = request.path_params["job"], _digest(request)
        until = _RECORDED if request.query_params.get("until") == "recorded" else _SETTLED
        deadline = self._deadline(request)
        while True:
            answer = self._server.record_status(job, digest)
            if answer.status in until or answer.status == "unknown" or self._clock.monotonic() >= deadline:
                return JSONResponse(asdict(answer))
            await self._clock.sleep(POLL_S)

    async def _offer_blob(self, request: Request) -> Response:
        data = await self._body(request, MAX_BLOB_BYTES)
        try:
            return _answer(self._server.offer_blob(_digest(request), data))
        except BlobQuotaError as error:
            return JSONResponse({"status": "refused", "reason": str(error)}, status_code=507)

    async def _blob(self, request: Request) -> Response:
        try:
            return Response(self._server.blobs.get(_digest(request)), media_type="application/octet-stream")
        except (BlobMissingError, BlobCorruptError) as error:
            return JSONResponse({"status": "refused", "reason": str(error)}, status_code=404)

    @staticmethod
    async def _openapi(_: Request) -> Response:
        return JSONResponse(DOCUMENT)

    def _desk(self, request: Request) -> JobDesk:
        job = request.path_params["job"]
        if job not in self._server.jobs:
            msg = f"no job {job} on this ledger"
            raise LookupError(msg)
        return self._server.jobs[job]

    def _deadline(self, request: Request) -> float:
        return self._clock.monotonic() + min(float(request.query_params.get("wait", 0)), MAX_WAIT_S)

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


def _digest(request: Request) -> bytes:
    text = request.path_params["digest"]
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_BYTES:
        msg = f"{text} is no SHA-256 in hexadecimal"
        raise ValueError(msg)
    return digest


def _answer(answer: Answer) -> Response:
    return JSONResponse(asdict(answer), status_code=422 if answer.refused else 200)
