"""Reads a node's JSON-RPC answers: typed, strict, of bounded depth; `FaultError` for one that is no such answer."""

import re
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from chain import light
from chain.engines.base import EngineName
from chain.light import errors as light_errors
from node.audit.errors import FaultError, UnansweredError
from node.audit.fetch import Reply
from node.audit.report import Part
from node.audit.source import HeightRecords

T = TypeVar("T")

_OK: Final = 200
_DEPTH: Final = 16
"""No answer nests deeper than seven. py-evm lifts Python's recursion limit, so a parser must not see more."""
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # one that does not end takes the rest
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_QUANTITY: Final = re.compile(r"0x[0-9a-f]{1,16}")
_DATA: Final = re.compile(r"0x[0-9a-f]*")


class _Error(msgspec.Struct):
    code: int
    message: str


class _Envelope(msgspec.Struct):
    """An answer of JSON-RPC 2.0."""

    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Error | None = None


class _Height(msgspec.Struct):
    header: str
    commit: str
    transactions: str
    evidence: str
    appHash: str  # noqa: N815 - the answer's own name


class _Heights(msgspec.Struct):
    heights: list[_Height]


class _Validator(msgspec.Struct):
    publicKey: str  # noqa: N815 - the answer's own name
    power: str


class _EdgeServer(msgspec.Struct):
    url: str


class _Status(msgspec.Struct):
    height: str
    firstHeight: str  # noqa: N815 - the answer's own name
    engine: EngineName
    edgeServers: list[_EdgeServer] = []  # noqa: N815 - the answer's own name


@dataclass(frozen=True, slots=True)
class Status:
    """Where a node says that it stands and begins, and the URLs of edge servers that it knows."""

    height: int
    first: int
    edges: tuple[str, ...]


def result(name: str, method: str, reply: Reply) -> bytes:
    """Return the JSON of the result in a node's answer to `method`.

    Raises:
        UnansweredError: the node refuses to answer; what it says is not about the ledger.
        FaultError: it is no answer.

    """
    if reply.status != _OK:
        raise UnansweredError(name, f"{method}: HTTP status {reply.status}")
    _bounded(method, reply.body)
    envelope = _decoded(method, reply.body, _Envelope)
    if envelope.error is not None:
        raise UnansweredError(name, f"{method}: error {envelope.error.code}: {ascii(envelope.error.message)[:120]}")
    if isinstance(envelope.result, msgspec.UnsetType):
        raise FaultError(Part.ANSWER, f"{method}: a result or an error", "neither")
    return bytes(envelope.result)


def status(raw: bytes) -> Status:
    """Read what a node says of itself."""
    found = _decoded("merit_status", raw, _Status)
    height, first = (_quantity("merit_status", text) for text in (found.height, found.firstHeight))
    return Status(height, first, tuple(edge.url for edge in found.edgeServers))


def heights(raw: bytes, most: int, first: int) -> list[HeightRecords]:
    """Read a page that begins at height `first` and holds at most `most` of them."""
    method = "merit_heights"
    found = _decoded(method, raw, _Heights).heights
    if len(found) > most:
        raise FaultError(Part.ANSWER, f"{method}: at most {most} heights", f"{len(found)}")
    return [
        HeightRecords(
            height,
            _data(method, one.header),
            _data(method, one.commit),
            _data(method, one.transactions),
            _data(method, one.evidence),
            _data(method, one.appHash),
        )
        for height, one in enumerate(found, first)
    ]


def validators(raw: bytes) -> light.ValidatorSet:
    """Read the validators of a height."""
    method = "merit_validators"
    found = _decoded(method, raw, list[_Validator])
    try:
        return light.ValidatorSet(
            tuple(light.Validator(_data(method, one.publicKey), _quantity(method, one.power)) for one in found)
        )
    except light_errors.LightError as error:
        raise FaultError(Part.VALIDATORS, "a set of validators in CometBFT's order", str(error)) from None


def _bounded(method: str, body: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, delete=_NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEPTH:
            raise FaultError(Part.ANSWER, f"{method}: JSON that nests at most {_DEPTH} deep", "deeper")


def _decoded(method: str, raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FaultError(Part.ANSWER, f"{method}: an answer as chain/rpc gives it", str(error)) from None


def _data(method: str, text: str) -> bytes:
    if _DATA.fullmatch(text) is None or len(text) % 2:
        raise FaultError(Part.ANSWER, f"{method}: 0x and two digits per byte", ascii(text)[:80])
    return bytes.fromhex(text[2:])


def _quantity(method: str, text: str) -> int:
    if _QUANTITY.fullmatch(text) is None:
        raise FaultError(Part.ANSWER, f"{method}: 0x and at most 16 digits", ascii(text)[:80])
    return int(text, 16)
