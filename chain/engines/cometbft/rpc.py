"""The few questions that a node asks the CometBFT beside it, over that one's JSON-RPC.

What comes back is decoded strictly: an answer that has another shape is a `CometUnreachableError`, as none is.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import msgspec

from chain import light
from chain.crypto.schemes import PUBLIC_KEY_BYTES, Scheme
from chain.engines.errors import CometUnreachableError, UnknownHeightError
from chain.light import Height
from chain.light.errors import LightError
from chain.light.types import HASH_BYTES, VALIDATOR_ADDRESS_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S: Final = 10.0
VALIDATORS_MAX: Final = 10_000
"""CometBFT's own bound (types/vote_set.go)."""
_VALIDATORS_PER_PAGE: Final = 100
_RFC3339: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_INTEGER: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_ML_DSA_65: Final = "cometbft/PubKeyMlDsa65"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a CometBFT stands; `peers` is how many it is connected to."""

    height: Height
    catching_up: bool
    peers: int


class CometRpc:
    """Asks one CometBFT; coroutines for one event loop."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Ask at `url`; `transport` replaces the network."""
        self.url = url
        self._first = Height(1)
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, transport=transport, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, raw: bytes) -> None:
        """Put bytes into its mempool; what it thinks of them is not waited for."""
        await self._get("/broadcast_tx_async", {"tx": f"0x{raw.hex()}"}, refusal=True)

    async def status(self) -> Status:
        """Tell where it stands."""
        node, net = await self._get("/status"), await self._get("/net_info")
        return self._read(lambda: _status(node["sync_info"], net))

    async def first(self) -> Height:
        """Return the earliest height that it has; what it said last when it does not answer."""
        with contextlib.suppress(CometUnreachableError):
            sync = (await self._get("/status"))["sync_info"]
            self._first = self._read(lambda: Height(max(int(sync["earliest_block_height"]), 1)))
        return self._first

    async def newest(self) -> Height:
        """Return the newest height that it has, 0 before the first; unlike `status`, `cometbft inspect` knows this."""
        answer = await self._get("/blockchain")
        return self._read(lambda: Height(int(answer["last_height"])))

    async def header(self, height: Height) -> light.Header:
        """Return the header of a decided height; raises UnknownHeightError."""
        return (await self.signed_header(height))[0]

    async def commit(self, height: Height) -> light.Commit:
        """Return the commit that decided a height; raises UnknownHeightError."""
        return (await self.signed_header(height))[1]

    async def signed_header(self, height: Height) -> tuple[light.Header, light.Commit]:
        """Return the header and the commit of a decided height; raises UnknownHeightError."""
        answer = await self._at("/commit", height)
        return self._read(lambda: _signed_header(answer["signed_header"]))

    async def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height, as decided; raises UnknownHeightError."""
        answer = await self._at("/block", height)
        return self._read(
            lambda: tuple(base64.b64decode(tx, validate=True) for tx in answer["block"]["data"]["txs"] or ())
        )

    async def evidence(self, height: Height) -> tuple[bytes, ...]:
        """Return what a decided height holds against validators, encoded; raises UnknownHeightError."""
        block = (await self._at("/block", height))["block"]
        return self._read(lambda: tuple(light.encode_evidence(_evidence(one)) for one in _evidence_of(block)))

    async def validators(self, height: Height) -> light.ValidatorSet:
        """Return the validators of a height, the next one's included; raises UnknownHeightError."""
        found: list[light.Validator] = []
        total = 1
        while len(found) < total:
            page = str(len(found) // _VALIDATORS_PER_PAGE + 1)
            answer = await self._at("/validators", height, page=page, per_page=str(_VALIDATORS_PER_PAGE))
            total = self._read(lambda: _total(answer["total"]))  # noqa: B023 - called at once
            new = self._read(lambda: [_validator(entry) for entry in answer["validators"]])  # noqa: B023 - as above
            if not new:
                break
            found += new
        return self._read(lambda: light.ValidatorSet.of(found))

    async def _at(self, path: str, height: Height, **more: str) -> dict[str, Any]:
        try:
            return await self._get(path, {"height": str(height), **more})
        except _RefusalError:
            status = await self.status()
            raise UnknownHeightError(height, status.height) from None

    async def _get(self, path: str, query: dict[str, str] | None = None, *, refusal: bool = False) -> dict[str, Any]:
        try:
            answer = await self._http.get(path, params=query)
            body = msgspec.json.decode(answer.content, type=_Answer)
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            raise CometUnreachableError(self.url, str(error) or type(error).__name__) from None
        if body.error is not None:
            if refusal:
                return {}
            raise _RefusalError(self.url, body.error.data or body.error.message)
        return body.result or {}

    def _read(self, reader: Callable[[], _T]) -> _T:
        try:
            return reader()
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, LightError) as error:
            raise CometUnreachableError(self.url, f"unexpected answer: {error!r}") from None


class _RefusalError(CometUnreachableError):
    """CometBFT answered with an error."""


class _Error(msgspec.Struct):
    message: str = ""
    data: str = ""


class _Answer(msgspec.Struct):
    result: dict[str, Any] | None = None
    error: _Error | None = None


def _status(sync: dict[str, Any], net: dict[str, Any]) -> Status:
    catching_up = sync["catching_up"]
    if not isinstance(catching_up, bool):
        message = f"catching_up is {catching_up!r}"
        raise TypeError(message)
    return Status(Height(_integer(sync["latest_block_height"])), catching_up, _integer(net["n_peers"]))


def _total(text: object) -> int:
    total = _integer(text)
    if not 1 <= total <= VALIDATORS_MAX:
        message = f"{total} validators"
        raise ValueError(message)
    return total


def _signed_header(fields: dict[str, Any]) -> tuple[light.Header, light.Commit]:
    return _header(fields["header"]), _commit(fields["commit"])


def _header(fields: dict[str, Any]) -> light.Header:
    return light.Header(
        app_version=_integer(fields["version"].get("app", 0)),
        chain_id=_text(fields["chain_id"]),
        height=Height(_integer(fields["height"])),
        time=_time(fields["time"]),
        last_block_id=_block_id(fields["last_block_id"]),
        last_commit_hash=_hex(fields["last_commit_hash"], HASH_BYTES),
        data_hash=_hex(fields["data_hash"], HASH_BYTES),
        validators_hash=_hex(fields["validators_hash"], HASH_BYTES),
        next_validators_hash=_hex(fields["next_validators_hash"], HASH_BYTES),
        consensus_hash=_hex(fields["consensus_hash"], HASH_BYTES),
        app_hash=_hex(fields["app_hash"], HASH_BYTES),
        last_results_hash=_hex(fields["last_results_hash"], HASH_BYTES),
        evidence_hash=_hex(fields["evidence_hash"], HASH_BYTES),
        proposer_address=_hex(fields["proposer_address"], VALIDATOR_ADDRESS_BYTES),
    )


def _commit(fields: dict[str, Any]) -> light.Commit:
    slots = fields["signatures"]
    if not isinstance(slots, list):
        message = f"{slots!r:.60} are no signatures"
        raise TypeError(message)
    return light.Commit(
        Height(_integer(fields["height"])),
        _integer(fields["round"]),
        _block_id(fields["block_id"]),
        tuple(map(_slot, slots)),
    )


def _slot(fields: dict[str, Any]) -> light.CommitSig:
    flag = light.BlockIdFlag(fields["block_id_flag"])
    if flag is light.BlockIdFlag.ABSENT:
        return light.ABSENT
    signature = base64.b64decode(fields["signature"], validate=True)
    return light.CommitSig(
        flag, _hex(fields["validator_address"], VALIDATOR_ADDRESS_BYTES), _time(fields["timestamp"]), signature
    )


def _block_id(fields: dict[str, Any]) -> light.BlockId:
    parts = fields["parts"]
    return light.BlockId(
        _hex(fields["hash"], HASH_BYTES), light.PartSetHeader(_integer(parts["total"]), _hex(parts["hash"], HASH_BYTES))
    )


def _validator(fields: dict[str, Any]) -> light.Validator:
    return light.Validator(_public_key(fields["pub_key"]), _integer(fields["voting_power"]))


def _public_key(fields: dict[str, Any]) -> bytes:
    if fields["type"] != _ML_DSA_65:
        message = f"a validator key of type {fields['type']}"
        raise ValueError(message)
    public_key = base64.b64decode(fields["value"], validate=True)
    if len(public_key) != PUBLIC_KEY_BYTES[Scheme.ML_DSA_65]:
        message = f"a validator key of {len(public_key)} bytes"
        raise ValueError(message)
    return public_key


def _evidence_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    return block["evidence"]["evidence"] or []


def _evidence(fields: dict[str, Any]) -> light.Evidence:
    """Read evidence as CometBFT's JSON has it (types/evidence.go); some fields have Go's names there."""
    value = fields["value"]
    match fields["type"]:
        case "tendermint/DuplicateVoteEvidence":
            return light.DuplicateVote(
                _vote(value["vote_a"]),
                _vote(value["vote_b"]),
                int(value["TotalVotingPower"]),
                int(value["ValidatorPower"]),
                _time(value["Timestamp"]),
            )
        case "tendermint/LightClientAttackEvidence":
            block = value["ConflictingBlock"]
            return light.LightClientAttack(
                header=_header(block["signed_header"]["header"]),
                commit=_commit(block["signed_header"]["commit"]),
                validators=tuple(map(_ranked, block["validator_set"]["validators"])),
                proposer=_ranked(block["validator_set"]["proposer"]),
                common_height=Height(int(value["CommonHeight"])),
                byzantine=tuple(map(_ranked, value["ByzantineValidators"] or ())),
                total_power=int(value["TotalVotingPower"]),
                timestamp=_time(value["Timestamp"]),
            )
        case other:
            message = f"evidence of type {other}"
            raise ValueError(message)


def _vote(fields: dict[str, Any]) -> light.Vote:
    return light.Vote(
        kind=int(fields["type"]),
        height=Height(int(fields["height"])),
        round=int(fields["round"]),
        block_id=_block_id(fields["block_id"]),
        timestamp=_time(fields["timestamp"]),
        validator_address=bytes.fromhex(fields["validator_address"]),
        validator_index=int(fields["validator_index"]),
        signature=base64.b64decode(fields["signature"], validate=True),
        extension=base64.b64decode(fields["extension"] or "", validate=True),
        extension_signature=base64.b64decode(fields["extension_signature"] or "", validate=True),
    )


def _ranked(fields: dict[str, Any]) -> light.RankedValidator:
    return light.RankedValidator(
        bytes.fromhex(fields["address"]),
        _public_key(fields["pub_key"]),
        int(fields["voting_power"]),
        int(fields["proposer_priority"]),
    )


def _integer(value: object) -> int:
    """Read a number as Go writes it: small ones as numbers, those of 64 bits as text."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not _INTEGER.fullmatch(str(value)):
        message = f"{value!r:.60} is no integer"
        raise ValueError(message)
    return int(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r:.60} is no text"
        raise TypeError(message)
    return value


def _hex(value: object, size: int) -> bytes:
    """Read hexadecimal digits of so many bytes, or of none."""
    found = bytes.fromhex(_text(value))
    if found and len(found) != size:
        message = f"{len(found)} bytes instead of {size}"
        raise ValueError(message)
    return found


def _time(text: str) -> light.Timestamp:
    """Read RFC 3339 in UTC with up to nine decimals, as Go writes it."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        message = f"{text!r} is no time"
        raise ValueError(message)
    *date, fraction = found.groups()
    seconds = calendar.timegm((*map(int, date), 0, 0, 0))
    return light.Timestamp(seconds, int((fraction or "").ljust(9, "0")))
