"""The intake API as an OpenAPI 3.1 document."""

from collections.abc import Mapping

_HEX32 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _parameter(name: str, where: str, schema: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


_JOB = _parameter("job", "path", {"type": "integer", "minimum": 1})
_CLIENT = _parameter("client", "path", {"type": "integer", "minimum": 1})
_DIGEST = _parameter("digest", "path", _HEX32)
_WAIT = _parameter("wait", "query", {"type": "number", "minimum": 0, "maximum": 30, "description": "seconds"})
_UNTIL = _parameter("until", "query", {"enum": ["recorded", "settled"]})
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ANSWER: dict[str, object] = {
    "type": "object",
    "required": ["status", "reason", "sequence", "kind"],
    "properties": {
        "status": {
            "enum": [
                "queued", "pending", "held", "available", "void", "consumed", "copy", "stale", "surplus",
                "stored", "refused", "unknown",
            ]
        },
        "reason": {"type": "string"},
        "sequence": {"type": ["integer", "null"]},
        "kind": {"type": "string", "description": "which check refused"},
    },
}  # fmt: skip


def _responses(schema: Mapping[str, object], *, refusal: bool = False) -> dict[str, object]:
    body = {"application/json": {"schema": schema}}
    answers: dict[str, object] = {
        "200": {"description": "done", "content": body},
        "400": {"description": "the request makes no sense; `reason` says why"},
    }
    if refusal:
        answers["422"] = {"description": "refused; `kind` and `reason` say why", "content": body}
    return answers


def _get(summary: str, parameters: list[dict[str, object]], schema: Mapping[str, object]) -> dict[str, object]:
    return {"get": {"summary": summary, "parameters": parameters, "responses": _responses(schema)}}


_OBJECT: dict[str, object] = {"type": "object"}

DOCUMENT: dict[str, object] = {
    "openapi": "3.1.0",
    "info": {"title": "Merit edge server: intake", "version": "1"},
    "paths": {
        "/v1/status": _get("who this server is and which jobs it knows", [], _OBJECT),
        "/v1/jobs/{job}": _get(
            "a job: status, version and model; waits for a version beyond `after`",
            [_JOB, _parameter("after", "query", {"type": "integer"}), _WAIT],
            _OBJECT,
        ),
        "/v1/jobs/{job}/models/{version}": _get(
            "digests of a version's model and of the plan for it",
            [_JOB, _parameter("version", "path", {"type": "integer"})],
            _OBJECT,
        ),
        "/v1/jobs/{job}/clients/{client}": _get("a client's replay mark", [_JOB, _CLIENT], _OBJECT),
        "/v1/jobs/{job}/clients/{client}/records/{digest}": _get(
            "what has become of a record",
            [_JOB, _CLIENT, _DIGEST, _WAIT, _UNTIL],
            _ANSWER,
        ),
        "/v1/members/{address}": _get(
            "the member that an address speaks for",
            [_parameter("address", "path", {"type": "string", "pattern": "^[0-9a-f]{40}$"})],
            _OBJECT,
        ),
        "/v1/records": {
            "post": {
                "summary": "offer a signed record; the ledger takes it in the next batch",
                "parameters": [_WAIT, _UNTIL],
                "requestBody": {"required": True, "content": _BYTES},
                "responses": _responses(_ANSWER, refusal=True),
            }
        },
        "/v1/blobs/{digest}": {
            "get": {
                "summary": "a blob, verified",
                "parameters": [_DIGEST],
                "responses": {
                    "200": {"description": "its bytes", "content": _BYTES},
                    "404": {"description": "not here, or damaged"},
                },
            },
            "put": {
                "summary": "a blob: an update whose record is final, or a file that a job names",
                "parameters": [_DIGEST],
                "requestBody": {"required": True, "content": _BYTES},
                "responses": _responses(_ANSWER, refusal=True) | {"507": {"description": "the blob store is full"}},
            },
        },
    },
}
