"""Runs four validators on the real clock, a transaction per height, and prints each durable height: `DIR`."""

import asyncio
import sys
from pathlib import Path

from chain.application import Application
from chain.engines.embedded import EmbeddedEngine
from merit.clock import SystemClock
from tests.chain import ledger
from tests.chain.engines.test_embedded_ledger import document, opened, transfer


async def main(path: Path) -> None:
    with opened(path) as validators:
        engine = EmbeddedEngine(validators, document(), SystemClock(), batching=0.001)
        await engine.start()
        application = validators[0].application
        assert isinstance(application, Application)
        heights = engine.subscribe()
        submitted = -1
        while True:
            nonce = application.reader().nonce(ledger.SPONSOR.address)
            if nonce > submitted:  # the first waits for an empty height, as after every pause
                assert engine.submit(transfer(application.genesis_hash, nonce)).accepted
                submitted = nonce
            sys.stdout.write(f"{await anext(heights)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
