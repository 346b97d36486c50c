"""The few questions that a node asks the CometBFT beside it, over that one's JSON-RPC.

What comes back is decoded strictly: an answer that has another shape is a `CometUnreachableError`, as none is.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import msgspec

from chain import light
from chain.engines.errors import CometUnreachableError, UnknownHeightError
from chain.light import Height

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S: Final = 10.0
_VALIDATORS_PER_PAGE: Final = 100
_RFC3339: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
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
        sync = (await self._get("/status"))["sync_info"]
        peers = (await self._get("/net_info"))["n_peers"]
        return self._read(
            lambda: Status(Height(int(sync["latest_block_height"])), bool(sync["catching_up"]), int(peers))
        )

    async def first(self) -> Height:
        """Return the earliest height that it has; what it said last when it does not answer."""
        with contextlib.suppress(CometUnreachableError):
            sync = (await self._get("/status"))["sync_info"]
            self._first = self._read(lambda: Height(max(int(sync["earliest_block_height"]), 1)))
        return self._first

    async def header(self, height: Height) -> light.Header:
        """Return the header of a decided height; raises UnknownHeightError."""
        return (await self.signed_header(height))[0]

    async def commit(self, height: Height) -> light.Commit:
        """Return the commit that decided a height; raises UnknownHeightError."""
        return (await self.signed_header(height))[1]

    async def signed_header(self, height: Height) -> tuple[light.Header, light.Commit]:
        """Return the header and the commit of a decided height; raises UnknownHeightError."""
        signed = (await self._at("/commit", height))["signed_header"]
        return self._read(lambda: (_header(signed["header"]), _commit(signed["commit"])))

    async def transactions(self, height: Height) -> tuple[bytes, ...]:
        """Return the transactions of a decided height, as decided; raises UnknownHeightError."""
        block = (await self._at("/block", height))["block"]
        return self._read(lambda: tuple(base64.b64decode(tx, validate=True) for tx in block["data"]["txs"] or ()))

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
            total = self._read(lambda: int(answer["total"]))  # noqa: B023 - called at once
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
            raise _RefusalError(body.error.data or body.error.message)
        return body.result or {}

    def _read(self, reader: Callable[[], _T]) -> _T:
        try:
            return reader()
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise CometUnreachableError(self.url, f"unexpected answer: {error!r}") from None


class _RefusalError(Exception):
    """CometBFT answered with an error."""


class _Error(msgspec.Struct):
    message: str = ""
    data: str = ""


class _Answer(msgspec.Struct):
    result: dict[str, Any] | None = None
    error: _Error | None = None


def _header(fields: dict[str, Any]) -> light.Header:
    return light.Header(
        app_version=int(fields["version"].get("app", 0)),
        chain_id=fields["chain_id"],
        height=Height(int(fields["height"])),
        time=_time(fields["time"]),
        last_block_id=_block_id(fields["last_block_id"]),
        last_commit_hash=bytes.fromhex(fields["last_commit_hash"]),
        data_hash=bytes.fromhex(fields["data_hash"]),
        validators_hash=bytes.fromhex(fields["validators_hash"]),
        next_validators_hash=bytes.fromhex(fields["next_validators_hash"]),
        consensus_hash=bytes.fromhex(fields["consensus_hash"]),
        app_hash=bytes.fromhex(fields["app_hash"]),
        last_results_hash=bytes.fromhex(fields["last_results_hash"]),
        evidence_hash=bytes.fromhex(fields["evidence_hash"]),
        proposer_address=bytes.fromhex(fields["proposer_address"]),
    )


def _commit(fields: dict[str, Any]) -> light.Commit:
    return light.Commit(
        Height(int(fields["height"])),
        int(fields["round"]),
        _block_id(fields["block_id"]),
        tuple(map(_slot, fields["signatures"])),
    )


def _slot(fields: dict[str, Any]) -> light.CommitSig:
    flag = light.BlockIdFlag(fields["block_id_flag"])
    if flag is light.BlockIdFlag.ABSENT:
        return light.ABSENT
    signature = base64.b64decode(fields["signature"], validate=True)
    return light.CommitSig(flag, bytes.fromhex(fields["validator_address"]), _time(fields["timestamp"]), signature)


def _block_id(fields: dict[str, Any]) -> light.BlockId:
    parts = fields["parts"]
    return light.BlockId(
        bytes.fromhex(fields["hash"]), light.PartSetHeader(int(parts["total"]), bytes.fromhex(parts["hash"]))
    )


def _validator(fields: dict[str, Any]) -> light.Validator:
    return light.Validator(_public_key(fields["pub_key"]), int(fields["voting_power"]))


def _public_key(fields: dict[str, Any]) -> bytes:
    if fields["type"] != _ML_DSA_65:
        message = f"a validator key of type {fields['type']}"
        raise ValueError(message)
    return base64.b64decode(fields["value"], validate=True)


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


def _time(text: str) -> light.Timestamp:
    """Read RFC 3339 in UTC with up to nine decimals, as Go writes it."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        message = f"{text!r} is no time"
        raise ValueError(message)
    *date, fraction = found.groups()
    seconds = calendar.timegm((*map(int, date), 0, 0, 0))
    return light.Timestamp(seconds, int((fraction or "").ljust(9, "0")))
