"""A network whose event loop runs in a thread of its own, as a node's does: tests ask from another thread."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from web3 import HTTPProvider, Web3

from chain.crypto.hashing import keccak256
from chain.crypto.schemes import backends
from chain.rpc.http import RpcServer
from contracts.artifacts import load
from node.network import LocalNetwork

T = TypeVar("T")


class Background:
    """A running network and its RPC server."""

    def __init__(self, directory: Path, **wishes: Any) -> None:
        backends()  # liboqs is imported with a warning silenced, which holds for one thread only
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network")
        self._thread.start()
        self.network = LocalNetwork(directory, sync=False, **wishes)
        try:
            self.run(self.network.start())
        except BaseException:
            self._end()
            raise
        self.server = RpcServer(self.network.dispatcher(), port=0)
        self.run(self.server.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def stop(self) -> None:
        self.run(self.server.stop())
        self.run(self.network.stop())
        self._end()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def http(self) -> Web3:
        """web3.py as anybody would connect it."""
        return Web3(HTTPProvider(self.server.url, exception_retry_configuration=None))


def contract(w3: Web3, name: str, address: bytes) -> Any:
    return w3.eth.contract(Web3.to_checksum_address(address), abi=load(name).abi)


def verify_trie(root: bytes, key: bytes, nodes: list[bytes]) -> bytes:
    """A Merkle proof checked from scratch (Yellow Paper, appendix D): the value, empty when the proof shows absence."""
    import rlp  # noqa: PLC0415 - an oracle of another make

    nibbles = [half for byte in keccak256(key) for half in (byte >> 4, byte & 15)]
    expected: Any = root
    for encoded in nodes:
        assert expected in {encoded, keccak256(encoded)} if isinstance(expected, bytes) else False
        node = rlp.decode(encoded)
        if len(node) == 17:
            expected = node[nibbles.pop(0)]
        else:
            path = [half for byte in node[0] for half in (byte >> 4, byte & 15)]
            path = path[1:] if path[0] & 1 else path[2:]
            if nibbles[: len(path)] != path:
                return b""
            nibbles = nibbles[len(path) :]
            expected = node[1]
        if not nibbles:
            return bytes(expected)
        if expected == b"":
            return b""
        if isinstance(expected, list):  # a node shorter than a hash stands in its parent
            expected = rlp.encode(expected)
    message = "the proof ends before the value"
    raise AssertionError(message)
