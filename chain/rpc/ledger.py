"""The `merit_*` methods: what a verifier of this ledger needs and Ethereum has no word for."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec

from chain.engines.errors import UnknownHeightError
from chain.light import (
    Height,
    encode_commit,
    encode_evidence_list,
    encode_header,
    encode_txs,
    evidence_hash,
    header_hash,
)
from chain.rpc.errors import NotFoundError
from chain.rpc.limits import HEIGHTS_BYTES, HEIGHTS_PER_PAGE
from chain.rpc.parameters import BlockSelector, Tag
from chain.rpc.shapes import Json, data, number

if TYPE_CHECKING:
    from chain.application import Application
    from chain.crypto.addresses import Address
    from chain.engines.base import Engine
    from chain.execution.quotas import Account, Meter

_NO_EVIDENCE: Final = evidence_hash(())


class LedgerMethods:
    """Answers for one node; heights are the engine's, not numbers of blocks."""

    def __init__(self, application: "Application", engine: "Engine") -> None:
        """Read the ledger from `application`, headers and commits from the engine's history."""
        self._application = application
        self._genesis = application.genesis
        self._genesis_hash = application.genesis_hash
        self._reader = application.reader()
        self._engine, self._history = engine, engine.history
        self._edge_servers: dict[int, str] = {}

    def announce(self, edge_servers: Mapping[int, str]) -> None:
        """Tell from now on, in `merit_status`, where edge servers serve blobs: member id -> URL."""
        self._edge_servers = dict(edge_servers)

    def genesis(self) -> object:
        """Return the genesis document; its canonical JSON (sorted keys, no spaces) hashes to block 0's extra data."""
        return msgspec.json.decode(self._genesis.encode())

    def genesis_hash(self) -> str:
        """Return the hash of block 0."""
        return data(self._genesis_hash)

    async def status(self) -> Json:
        """Return where this node stands."""
        head = self._reader.header()
        genesis = self._genesis
        return {
            "name": genesis.name,
            "chainId": number(genesis.chain_id),
            "genesisHash": data(self._genesis_hash),
            "engine": self._engine.name,
            "height": number(self._engine.height),
            "firstHeight": number(await self._history.first()),
            "blockNumber": number(head.number),
            "blockHash": data(head.hash),
            "validators": number(len(self._reader.validators())),
            "classical": genesis.classical,
            "edgeServers": [{"member": number(member), "url": url} for member, url in self._edge_servers.items()],
            "versions": self._reader.versions()._asdict(),
            "version": version("merit-ledger"),
        }

    def quota(self, address: "Address") -> Json | None:
        """Return what an account may send in this window of block time and what it has; None without quotas.

        `quotas`: each of them bounds the account; empty for the governor, whom none does. `reserve`: for an edge
        server's calls to the Council when its own quota is used up. What waits in the pool is not in `used`.
        """
        meter = self._reader.meter(self._application.time)
        if meter is None:
            return None
        sender = meter.sender(address)
        return {
            "kind": sender.kind,
            "member": number(sender.member),
            "windowSeconds": number(meter.window_s),
            "nextWindow": number(meter.next_window),
            "quotas": [_quota(meter, account) for account in sender.accounts],
            "reserve": None if sender.reserve is None else _quota(meter, sender.reserve),
            "recordsPerJob": number(meter.records_per_job),
        }

    async def commit(self, selector: BlockSelector) -> Json:
        """Return the header of an engine height and the commit that decided it, in CometBFT's canonical encodings.

        `chain.light.decode_header`, `decode_commit` and `verify_commit` read them. The header's app hash is the hash of
        the newest block after the height before.
        """
        height = self._height(selector)
        try:
            header, commit = await self._history.signed_header(height)
        except UnknownHeightError as error:
            raise NotFoundError(str(error)) from None
        return {
            "height": number(height),
            "hash": data(header_hash(header)),
            "time": f"{header.time.seconds}.{header.time.nanos:09d}",
            "appHash": data(header.app_hash),
            "header": data(encode_header(header)),
            "commit": data(encode_commit(commit)),
        }

    async def heights(self, first: int, count: int) -> Json:
        """Return what was decided at up to `count` heights from `first` on, each in CometBFT's canonical encodings.

        A page ends early at `HEIGHTS_PER_PAGE` heights, at `HEIGHTS_BYTES` of records, and at the newest height; beyond
        that it is empty. `appHash` is what this node's ledger has after executing the height, which the next header
        commits to.
        """
        page: list[Json] = []
        start, size = max(first, 1), 0
        for height in map(Height, range(start, min(start + min(count, HEIGHTS_PER_PAGE) - 1, self._engine.height) + 1)):
            records = await self._records(height)
            size += sum(map(len, records.values()))
            if page and size > HEIGHTS_BYTES:
                break
            page.append({name: data(raw) for name, raw in records.items()})
        return {"height": number(self._engine.height), "heights": page}

    async def _records(self, height: Height) -> dict[str, bytes]:
        """Read one decided height; the only place that `heights` asks for records."""
        try:
            header, commit = await self._history.signed_header(height)
            txs = await self._history.transactions(height)
            evidence = () if header.evidence_hash == _NO_EVIDENCE else await self._history.evidence(height)
        except UnknownHeightError as error:  # an engine may keep the newest heights only
            raise NotFoundError(str(error)) from None
        return {
            "header": encode_header(header),
            "commit": encode_commit(commit),
            "transactions": encode_txs(txs),
            "evidence": encode_evidence_list(evidence),
            "appHash": self._reader.block_at_height(height).hash,
        }

    async def validators(self, selector: BlockSelector) -> list[Json]:
        """Return the validators of an engine height, in the order in which they stand in its commit."""
        height = max(self._height(selector), Height(1))  # before height 1 is decided, its validators are known
        try:
            validators = await self._history.validators(height)
        except UnknownHeightError as error:
            raise NotFoundError(str(error)) from None
        return [
            {
                "address": data(validator.address),
                "publicKey": data(validator.public_key),
                "power": number(validator.power),
            }
            for validator in validators
        ]

    def _height(self, selector: BlockSelector) -> Height:
        match selector:
            case Tag.EARLIEST:
                return Height(1)
            case int():
                return Height(selector)
            case _:
                return self._engine.height


def _quota(meter: "Meter", account: "Account") -> Json:
    return {
        "of": account.who,
        "limit": {name: number(value) for name, value in account.limit._asdict().items()},
        "used": {name: number(value) for name, value in meter.used(account)._asdict().items()},
    }
