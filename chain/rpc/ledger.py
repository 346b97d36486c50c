"""The `merit_*` methods: what a verifier of this ledger needs and Ethereum has no word for."""

from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from chain.engines.errors import UnknownHeightError
from chain.light import Height, encode_commit, encode_header, header_hash
from chain.rpc.errors import NotFoundError
from chain.rpc.parameters import BlockSelector, Tag
from chain.rpc.shapes import Json, data, number

if TYPE_CHECKING:
    from chain.application import Application
    from chain.engines.base import Engine


class LedgerMethods:
    """Answers for one node; heights are the engine's, not numbers of blocks."""

    def __init__(self, application: "Application", engine: "Engine") -> None:
        """Read the ledger from `application`, headers and commits from `engine`."""
        self._genesis = application.genesis
        self._genesis_hash = application.genesis_hash
        self._reader = application.reader()
        self._engine = engine

    def genesis(self) -> object:
        """Return the genesis document; its canonical JSON (sorted keys, no spaces) hashes to block 0's extra data."""
        return msgspec.json.decode(self._genesis.encode())

    def genesis_hash(self) -> str:
        """Return the hash of block 0."""
        return data(self._genesis_hash)

    def status(self) -> Json:
        """Return where this node stands."""
        head = self._reader.header()
        genesis = self._genesis
        return {
            "name": genesis.name,
            "chainId": number(genesis.chain_id),
            "genesisHash": data(self._genesis_hash),
            "height": number(self._engine.height),
            "blockNumber": number(head.number),
            "blockHash": data(head.hash),
            "validators": number(len(self._engine.validators(max(self._engine.height, Height(1))))),
            "classical": genesis.classical,
            "versions": self._reader.versions()._asdict(),
            "version": version("merit-ledger"),
        }

    def commit(self, selector: BlockSelector) -> Json:
        """Return the header of an engine height and the commit that decided it, in CometBFT's canonical encodings.

        `chain.light.decode_header`, `decode_commit` and `verify_commit` read them. The header's app hash is the hash of
        the newest block after the height before.
        """
        height = self._height(selector)
        try:
            header, commit = self._engine.header(height), self._engine.commit(height)
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

    def validators(self, selector: BlockSelector) -> list[Json]:
        """Return the validators of an engine height, in the order in which they stand in its commit."""
        height = max(self._height(selector), Height(1))  # before height 1 is decided, its validators are known
        return [
            {
                "address": data(validator.address),
                "publicKey": data(validator.public_key),
                "power": number(validator.power),
            }
            for validator in self._engine.validators(height)
        ]

    def _height(self, selector: BlockSelector) -> Height:
        match selector:
            case Tag.EARLIEST:
                return Height(1)
            case int():
                return Height(selector)
            case _:
                return self._engine.height
