"""What CometBFT's JSON-RPC says becomes the bytes that it hashed."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from chain.engines.cometbft.rpc import CometRpc
from chain.engines.errors import CometUnreachableError
from chain.light import Height
from tests.chain.light.test_comet_vectors import VECTORS

EVIDENCE: list[dict[str, Any]] = VECTORS["evidence"]["json"]


def told(evidence: Any) -> tuple[bytes, ...]:
    """Ask for the evidence of a block of which CometBFT says `evidence`."""

    async def work() -> tuple[bytes, ...]:
        body = {"jsonrpc": "2.0", "id": -1, "result": {"block": {"evidence": {"evidence": evidence}}}}
        transport = httpx.MockTransport(lambda _: httpx.Response(200, text=json.dumps(body)))
        rpc = CometRpc("http://comet", transport=transport)
        try:
            return await rpc.evidence(Height(7))
        finally:
            await rpc.close()

    return asyncio.run(work())


def test_evidence_has_the_bytes_that_comet_gives_it() -> None:
    assert [raw.hex() for raw in told(EVIDENCE)] == VECTORS["evidence"]["evidence"]


@pytest.mark.parametrize("nothing", [None, []])
def test_a_block_without_evidence_has_none(nothing: Any) -> None:
    assert told(nothing) == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "tendermint/Rumour"},
        {"value": {**EVIDENCE[0]["value"], "vote_a": {}}},
        {"value": {**EVIDENCE[0]["value"], "Timestamp": "yesterday"}},
    ],
)
def test_evidence_of_another_shape_is_no_answer(changed: dict[str, Any]) -> None:
    with pytest.raises(CometUnreachableError, match="unexpected answer"):
        told([{**EVIDENCE[0], **changed}])
