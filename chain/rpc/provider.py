"""web3.py without a network: a provider that calls the dispatcher of this process.

Threads: a `Web3` over this provider may be used from any thread. The dispatcher that it gets decides where the request
runs (`chain.rpc.dispatcher`); a call in the event loop's own thread runs there at once and holds the loop up for as
long, which is right for short reads and for sending, and wrong for a long `eth_call`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from web3 import Web3
from web3.middleware import AttributeDictMiddleware, BufferedGasEstimateMiddleware
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chain.rpc.errors import RpcError
from chain.rpc.limits import WAIT_S

if TYPE_CHECKING:
    from chain.rpc.dispatcher import Dispatcher


class InProcessProvider(JSONBaseProvider):
    """Hands requests over as Python values: nothing becomes JSON text on the way."""

    def __init__(self, dispatcher: "Dispatcher", *, wait_s: float = WAIT_S) -> None:
        """Send every request to `dispatcher`, and wait so many seconds for each answer."""
        super().__init__()
        self._dispatcher, self._wait_s = dispatcher, wait_s

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """Answer one request; errors come back as error objects, as from a server."""
        number = next(self.request_counter)
        try:
            parameters = [_plain(item) for item in params or ()]
            result = self._dispatcher.handle(str(method), parameters, wait_s=self._wait_s)
        except RpcError as error:
            return {"jsonrpc": "2.0", "id": number, "error": error.to_json()}  # type: ignore[typeddict-item]
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Answer requests one by one, in order."""
        return [self.make_request(method, params) for method, params in requests]

    def is_connected(self, show_traceback: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002 - web3's signature
        """Tell that the ledger is here: it lives in this process."""
        return True


def _plain(value: object) -> object:
    """Replace what web3 may leave in parameters (HexBytes, AttributeDict, tuples) by what JSON would hold."""
    match value:
        case bytes() | bytearray():
            return f"0x{value.hex()}"
        case str():
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence() | Iterator():
            return [_plain(item) for item in value]
        case _:
            return value


def connect(dispatcher: "Dispatcher", *, wait_s: float = WAIT_S) -> Web3:
    """Make a `Web3` over `dispatcher`, with the middleware that costs no further request.

    From another thread than the dispatcher's each request waits `wait_s` seconds for its answer, then it fails.

    Left out are web3's ENS names (there are none here) and its validation, which asks for the chain id before each
    call; the ledger refuses another chain's transactions itself.
    """
    return Web3(
        InProcessProvider(dispatcher, wait_s=wait_s),
        middleware=[(AttributeDictMiddleware, "attrdict"), (BufferedGasEstimateMiddleware, "gas_estimate")],
    )
