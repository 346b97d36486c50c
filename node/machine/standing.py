"""Where a node stands, asked from outside: its JSON-RPC and the CometBFT beside it."""

from typing import Any

import httpx
import msgspec

from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import CometUnreachableError
from node.machine.home import NodeFile

TIMEOUT_S = 5.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a node and its CometBFT say; None for what one of them does not say.

    `problems`: one line each for what keeps the node from being ready; a node that answers and has none is ready.
    """

    name: str
    height: int | None = None
    block: int | None = None
    block_hash: str = ""
    version: str = ""
    comet_height: int | None = None
    catching_up: bool | None = None
    peers: int | None = None
    problems: tuple[str, ...] = ()


async def ask(file: NodeFile) -> Standing:
    """Ask a node that may not run; never raises for what does not answer."""
    problems: list[str] = []
    said: dict[str, Any] = {}
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        try:
            request = {"jsonrpc": "2.0", "id": 1, "method": "merit_status"}
            said = (await http.post(file.rpc_url, json=request)).json()["result"]
            problems += (await http.get(f"{file.rpc_url}/readyz")).json()["problems"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            problems.append(f"the node does not answer at {file.rpc_url} ({type(error).__name__})")
    comet = CometRpc(file.comet_url)
    try:
        status = await comet.status()
    except CometUnreachableError as error:
        status = None
        if not said:  # else the node has said so itself
            problems.append(str(error))
    finally:
        await comet.close()
    return Standing(
        name=file.name,
        height=int(said["height"], 16) if said else None,
        block=int(said["blockNumber"], 16) if said else None,
        block_hash=said.get("blockHash", ""),
        version=said.get("version", ""),
        comet_height=status.height if status else None,
        catching_up=status.catching_up if status else None,
        peers=status.peers if status else None,
        problems=tuple(problems),
    )
