"""The pages over an index, on a port of their own in a thread, without a ledger."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chain.rpc.http import LoopbackServer
from node.dashboard.app import application
from node.dashboard.gateway import Gateway
from node.dashboard.index import Index
from node.dashboard.insight import Insight
from node.dashboard.pages import Cost, Sources
from node.dashboard.signers import Signers


@contextmanager
def served(index: Index, costs: Sequence[Cost] = ()) -> Iterator[str]:
    """Serve the pages; give their URL."""
    sources = Sources(
        name="merit-test",
        index=index,
        gateway=Gateway(),
        signers=Signers(),
        insight=Insight(),
        costs=lambda: costs,
    )
    http = LoopbackServer(application(sources))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="pages")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(http.start(), loop).result(60)
        yield http.url
    finally:
        asyncio.run_coroutine_threadsafe(http.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
