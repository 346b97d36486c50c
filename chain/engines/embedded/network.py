"""The links between the validators of a process: bounded queues, and the order in which everybody gets a turn.

Messages are bytes, handed over as sent: whoever receives believes nothing of them. A message to a validator that is
stopped is lost. Links have no delay, so there is a moment at which all that was sent has arrived and nobody has
anything left to say. Whoever still waits for a message then waits in vain: `hurry` lets the next timeout elapse.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from chain.consensus.types import Address
    from chain.engines.embedded.node import Refused, Timer
    from merit.clock import Clock

_T = TypeVar("_T")

_WAITING_BASE: Final = 64
_WAITING_PER_VALIDATOR: Final = 32
"""Messages that may wait on one link: a validator that repeats itself says a dozen for each validator at most."""
_WAITING_BYTES: Final = 64 * 1024 * 1024
_SWEEP: Final = 256
"""Messages that a validator takes in one turn."""


class Peer(Protocol):
    """A validator as the network sees it; `node.Node` is an honest one."""

    address: Address
    timers: list[Timer]

    @property
    def running(self) -> bool:
        """Whether it takes part."""
        ...

    @property
    def must_sign(self) -> bool:
        """Whether `sign` has something to do."""
        ...

    def sign(self) -> None:
        """Do what takes long, in a thread of its own if there are any."""
        ...

    def release(self) -> None:
        """Send what has been signed."""
        ...

    def receive(self, sender: Address, raw: bytes) -> Refused | None:
        """Take a message."""
        ...

    def elapse(self, now: float) -> bool:
        """Take the timeouts that are due; tell whether there were any."""
        ...


class Network:
    """Links between all peers."""

    def __init__(self, peers: Sequence[Peer], clock: Clock, executor: Executor | None = None) -> None:
        """Connect `peers`; `executor` holds the threads in which they sign."""
        self.peers = tuple(peers)
        self.dropped: Counter[tuple[Address, Address]] = Counter()
        """Messages that found their link full, by sender and receiver."""
        self._clock, self._executor = clock, executor
        self._links: dict[Address, dict[Address, deque[bytes]]] = {
            peer.address: {other.address: deque() for other in peers if other is not peer} for peer in peers
        }
        self._waiting_most = _WAITING_BASE + _WAITING_PER_VALIDATOR * len(self.peers)

    def send(self, sender: Address, receiver: Address | None, raw: bytes) -> None:
        """Put a message on one link, or on all of the sender's; on a full link it is lost."""
        for address, links in self._links.items():
            link = links.get(sender)
            if link is None or receiver not in {None, address}:
                continue
            if len(link) >= self._waiting_most or len(raw) + sum(map(len, link)) > _WAITING_BYTES:
                self.dropped[sender, address] += 1
            else:
                link.append(raw)

    async def settle(self) -> None:
        """Give everybody turns until nothing is under way; timeouts elapse as the clock has it meanwhile."""
        while True:
            moved = False
            for peer in self.peers:
                moved |= self._deliver(peer)
                if peer.running:
                    moved |= peer.elapse(self._clock.monotonic())
            signing = [peer for peer in self.peers if peer.running and peer.must_sign]
            if not signing and not moved:
                return
            await each(self._executor, signing, lambda peer: peer.sign())
            for peer in signing:
                peer.release()
            await self._clock.sleep(0)

    def hurry(self) -> bool:
        """Let the timeouts elapse that are due next, whatever the clock says; tell whether there were any."""
        running = [peer for peer in self.peers if peer.running]
        due = min((timer.due for peer in running for timer in peer.timers), default=None)
        return due is not None and sum(peer.elapse(due) for peer in running) > 0

    def _deliver(self, peer: Peer) -> bool:
        """Hand a peer what has arrived, one message of each sender at a time; tell whether there was any."""
        links, taken = self._links[peer.address], 0
        if not peer.running:
            for link in links.values():
                link.clear()
            return False
        while taken < _SWEEP:
            before = taken
            for sender, link in links.items():
                if link:
                    peer.receive(sender, link.popleft())
                    taken += 1
            if taken == before:
                break
        return taken > 0


async def each(executor: Executor | None, items: Sequence[_T], work: Callable[[_T], None]) -> None:
    """Do the same work for several items, side by side if there are threads; raise the first exception."""
    if executor is None:
        for item in items:
            work(item)
        return
    loop = asyncio.get_running_loop()
    done = await asyncio.gather(*(loop.run_in_executor(executor, work, item) for item in items), return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
