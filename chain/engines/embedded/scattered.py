"""The same validators, each at its own pace, over links that delay and break: the embedded engine for simulations.

`EmbeddedEngine` makes one height at a time for all. Here nobody waits for everybody: a validator begins a height when
there is work, or when another one is there already; executes what is decided; repeats itself while nothing moves; and
asks the others, once a second and when it comes back, for what it missed. Timeouts elapse by the clock. So links may be
slow, cut or clogged, a validator may stop in the middle of a round, stand still or lie, and time may be virtual.

A transaction waits in one pool, and whoever is connected to the validator that took it may propose it: nodes hand on
what they take as long as a connection stands.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from chain.consensus.driver import Reason
from chain.consensus.types import Round
from chain.engines.embedded.engine import BATCHING_S, EMPTY_INTERVAL_S
from chain.engines.embedded.liars import Liar
from chain.engines.embedded.losses import why_lost
from chain.engines.embedded.node import Node
from chain.engines.embedded.roster import Roster
from chain.engines.embedded.signer import Signer
from chain.engines.embedded.verdicts import Verdicts
from chain.engines.embedded.world import Links, SkewedClock, Timetable
from merit.chance import seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chain import light
    from chain.application import CheckResult
    from chain.consensus.types import Address
    from chain.crypto.schemes import SigningKey
    from chain.engines.embedded.liars import Lie
    from chain.engines.embedded.replica import Replica, Validator
    from chain.engines.embedded.world import World
    from chain.genesis import Genesis
    from chain.simulation.network import Link
    from merit.clock import Clock

GATHERING_MS: Final = 20
"""After its decision a validator waits so long for the precommits of the others, which the commit then holds."""
REPEAT_MS: Final = 1_000
SYNC_MS: Final = 300
"""Who comes back takes part once nobody has told it anything new for so long."""
HELD_MOST: Final = 4_096
"""Messages kept for a validator that stands still; later ones are lost."""
_DUE_S: Final = 1e-6
_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Lost:
    """A round without a decision, by the address of who had to propose in it."""

    round: int
    proposer: Address
    why: str


@dataclass(slots=True, kw_only=True)
class _Course:
    """Where a validator stands between two events."""

    number: int
    node: Node
    liar: Liar
    last_at: float
    work_since: float | None = None
    time_asked: bool = False
    paused: bool = False
    syncing: bool = True
    gathering: bool = False
    lives: int = 0
    alarm: float = math.inf
    seen: tuple[int, int] = (0, 0)  # height, and the round before which all losses are noted
    ticked: tuple[int, int] = (0, 0)  # height and round at the last tick
    lost: list[Lost] = field(default_factory=list)
    asked: bool = False
    held: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def awake(self) -> bool:
        return self.node.running and not self.paused

    def forget(self) -> None:
        """Lose what is only in memory."""
        self.lives += 1
        self.work_since, self.time_asked, self.paused, self.gathering, self.asked = None, False, False, False, False
        self.syncing, self.alarm, self.seen = True, math.inf, (0, 0)
        self.lost.clear()
        self.held.clear()


class ScatteredEngine(Roster):
    """Validators that each go at their own pace; `cut`, `clog`, `pause` and `lie` break things."""

    def __init__(
        self,
        validators: Sequence[Validator],
        genesis: Genesis,
        clock: Clock,
        world: World,
        *,
        block_interval: float = 0.0,
        empty_interval: float = EMPTY_INTERVAL_S,
        batching: float = BATCHING_S,
    ) -> None:
        """Prepare as `EmbeddedEngine`, in a world whose seed says what its links do."""
        super().__init__(validators, genesis, clock, block_interval=block_interval, empty_interval=empty_interval)
        self._batching = batching
        self.counts: Counter[str] = Counter()
        """What went wrong on the links, by kind."""
        self.lost: dict[int, tuple[Lost, ...]] = {}
        """By height: why each of its earlier rounds was lost, as the first who kept it saw it, liars aside."""
        self._timetable = Timetable(clock)
        self._links = Links(world, self._timetable, seeded(world.seed, "links"), self._deliver, self.counts)
        self._cut: Counter[Link] = Counter()
        self._world, self._verdicts = world, Verdicts()
        self._courses: list[_Course] = []
        self._numbers: dict[bytes, int] = {}
        self.nodes = ()
        for replica, validator in zip(self._replicas, validators, strict=True):
            self._set_off(replica, validator)
        self._task: asyncio.Task[None] | None = None

    def _set_off(self, replica: Replica, validator: Validator) -> _Course:
        number, keys = len(self.nodes), (validator.key, *validator.later)
        signers = [self._signer(key, number) for key in keys]
        node = Node(replica, signers, self, self._verdicts, self._clock, timeouts=self._world.timeouts)
        liar = Liar(node, keys, seeded(self._world.seed, "liar", number), self.counts)
        course = _Course(number=number, node=node, liar=liar, last_at=self._clock.monotonic())
        self.nodes = (*self.nodes, node)
        self._courses.append(course)
        self._numbers[node.address] = number
        return course

    def _signer(self, key: SigningKey, number: int) -> Signer:
        ahead_s = self._world.ahead_s.get(number, 0.0)
        return Signer(key, self.chain_id, SkewedClock(self._clock, ahead_s) if ahead_s else self._clock)

    # Coming and going

    async def start(self) -> None:
        """Recover every validator, then make heights; raises RecoveryError, EngineStoreError or LightError."""
        if self._started:
            return
        self._failure, self.ended = None, False
        self._stopping.clear()
        try:
            for course in self._courses:
                self._begin(course)
        except BaseException:
            for course in self._courses:
                course.node.replica.running = False
            raise
        self._started = True
        self._timetable.after(REPEAT_MS, self._tick)
        self._task = asyncio.create_task(self._run(), name=f"engine {self.chain_id}")

    async def stop(self) -> None:
        """End at once; raises what had stopped the engine before, if anything had."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        self._started, self.ended = False, True
        for course in self._courses:
            course.node.replica.running = False
            course.forget()
        self._tell()
        if self._failure is not None:
            raise self._failure

    async def stop_validator(self, number: int) -> None:
        """Let one validator end where it stands: what it has not written is lost."""
        self._replicas[number].running = False
        self._courses[number].forget()
        self._tell()

    async def start_validator(self, number: int) -> None:
        """Let a stopped validator recover, ask for what it missed, and take part again; raises as `start`."""
        self._require_started()
        if not self._replicas[number].running:
            self._begin(self._courses[number])
            self._wake.set()
            self._tell()

    async def add_validator(self, validator: Validator) -> int:
        """Take one more validator into the simulation, which asks for what it missed; raises as `Roster`'s."""
        self._require_started()
        course = self._set_off(self._enrol(validator), validator)
        await self.start_validator(course.number)
        return course.number

    async def add_key(self, number: int, key: SigningKey) -> None:
        """Give one validator one more key."""
        self._require_new(key)
        self.nodes[number].take_key(self._signer(key, number))
        self._courses[number].liar.take_key(key)

    def _begin(self, course: _Course) -> None:
        course.forget()
        course.node.recover()
        course.node.replica.running = True
        course.last_at = self._clock.monotonic()
        course.node.ask()
        self._later(course, SYNC_MS, partial(self._join, course, course.node.height))

    def _join(self, course: _Course, height: int) -> None:
        """Let a validator take part, unless it has learnt something since: nobody signs while it catches up."""
        if course.node.height > height:
            self._later(course, SYNC_MS, partial(self._join, course, course.node.height))
            return
        course.syncing = False
        course.work_since = self._clock.monotonic() if len(self._pool) else None
        course.node.join()
        self._go_on(course)

    # Breaking

    def cut(self, links: Iterable[Link]) -> None:
        """Cut links, until they are mended as often; what was sent before still arrives."""
        kept = list(links)
        self._cut.update(kept)
        self._links.cut(kept)

    def mend(self, links: Iterable[Link]) -> None:
        """Undo one `cut`."""
        kept = list(links)
        self._cut.subtract(kept)
        self._links.mend(kept)
        self._ask_for_height()

    def clog(self, links: Iterable[Link]) -> None:
        """Hold what is sent over these links, until they are unclogged as often."""
        self._links.clog(links)

    def unclog(self, links: Iterable[Link]) -> None:
        """Undo one `clog`, and deliver what was held."""
        self._links.unclog(links)
        self._wake.set()

    def reaches(self, sender: int, receiver: int) -> bool:
        """Tell whether anything can come from one validator's machine to another's."""
        return self._cut[sender, receiver] <= 0

    def pause(self, number: int) -> None:
        """Let a validator stand still; what comes for it waits. Harmless when it does not run."""
        course = self._courses[number]
        course.paused = course.node.running

    def resume(self, number: int) -> None:
        """Let it go on as if nothing had been."""
        course = self._courses[number]
        if not course.paused:
            return
        course.paused, course.gathering, course.alarm = False, False, math.inf
        held, course.held = course.held, []
        for sender, raw in held:
            self._timetable.after(0, partial(self._deliver, sender, number, raw))
        if course.syncing:
            self._later(course, SYNC_MS, partial(self._join, course, course.node.height))
        self._timetable.after(0, partial(self._attend, course))
        self._wake.set()

    def lie(self, number: int, lie: Lie | None) -> None:
        """Let a validator lie from now on; None: let it say what is so."""
        self._courses[number].liar.lie = lie

    # What a node asks of the world

    def send(self, sender: Address, receiver: Address | None, raw: bytes) -> None:
        """Hand a message to the links."""
        course = self._courses[self._numbers[sender]]
        others = [number for number in range(len(self.nodes)) if number != course.number]
        for number, said in course.liar.says(raw, others if receiver is None else [self._numbers[receiver]]):
            self._links.send(course.number, number, said)

    def choose(self, replica: Replica) -> light.Block:
        """Return the block that this replica proposes."""
        return self._drafted(replica, self._waiting(self._numbers[replica.name]))[0]

    def _waiting(self, number: int) -> list[bytes]:
        """Return the transactions that a validator knows of."""
        return [raw for raw, entry in self._pool.entries() if self.reaches(self._numbers[entry], number)]

    def _ask_for_height(self) -> None:
        now = self._clock.monotonic()
        for course in self._courses:
            if course.work_since is None:
                course.work_since = now
            self._set_alarm(course)
        self._wake.set()

    def _show_time(self) -> None:
        for course in self._courses:
            course.time_asked = True
            self._set_alarm(course)
        self._wake.set()

    # What happens

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._timetable.catch_up()
            except Exception as error:  # noqa: BLE001 - kept for `stop`, `submit` and the subscribers
                self._fail(error)
                return
            due = self._timetable.due_ms
            delay = None if due is None else due / _MS - self._clock.monotonic()
            if delay is None or delay > _DUE_S:
                await self._rest(delay)
            else:
                await self._clock.sleep(0)

    def _later(self, course: _Course, delay_ms: int, action: Callable[[], None]) -> None:
        """Have something done for a validator, unless it has ended by then or stands still."""
        lives = course.lives

        def act() -> None:
            if course.lives == lives and course.awake:
                action()

        self._timetable.after(delay_ms, act)

    def _deliver(self, sender: int, receiver: int, raw: bytes) -> None:
        course = self._courses[receiver]
        if course.paused:
            if len(course.held) < HELD_MOST:
                course.held.append((sender, raw))
            return
        if not course.node.running:
            return
        refused = course.node.receive(self.nodes[sender].address, raw)
        if refused is Reason.FUTURE_HEIGHT and not course.asked:
            course.asked = True
            course.node.ask()
        self._go_on(course)

    def _tick(self) -> None:
        """Let everybody repeat what others may lack, and ask for what it lacks itself."""
        for course in self._courses:
            if course.awake:
                driver = course.node.driver
                now = (course.node.height, driver.state.round) if driver is not None else (0, 0)
                if driver is not None and now == course.ticked:
                    course.node.repeat()
                course.ticked = now
                course.node.ask()
                course.asked = False
        self._timetable.after(REPEAT_MS, self._tick)

    def _attend(self, course: _Course) -> None:
        """Do what is due by now."""
        course.alarm = math.inf
        if course.awake:
            course.node.elapse(self._clock.monotonic() + _DUE_S)
            self._go_on(course)

    def _go_on(self, course: _Course) -> None:
        """Let a validator do all that it can without hearing or waiting more."""
        node = course.node
        while True:
            if node.must_sign:
                node.sign()
                node.release()
                continue
            self._note_rounds(course)
            if node.agreed is not None:
                if not self._gathers(course):
                    self._finish(course)
                    continue
            elif node.driver is None and self._is_due(course):
                node.begin()
                continue
            break
        self._set_alarm(course)

    def _gathers(self, course: _Course) -> bool:
        """Tell whether a validator that has decided still waits for more precommits; begin to, if it should."""
        driver = course.node.driver
        if driver is None or driver.state.decision is None:
            return False  # it has learnt the decision from another one
        if not course.gathering:
            course.gathering = True
            height = course.node.height
            self._later(course, GATHERING_MS, partial(self._gathered, course, height))
        return True

    def _gathered(self, course: _Course, height: int) -> None:
        if course.node.height == height and course.gathering:
            self._finish(course)
            self._go_on(course)

    def _finish(self, course: _Course) -> None:
        """Execute and keep what is agreed."""
        node, agreed = course.node, course.node.agreed
        if agreed is None:
            return
        learnt = not course.gathering
        height = int(node.height)
        if course.liar.lie is None:
            self.lost.setdefault(height, tuple(course.lost))
        node.finish()
        course.gathering, course.last_at = False, self._clock.monotonic()
        course.lost.clear()
        for raw in agreed.block.txs:
            self._pool.remove(raw)
        self._recheck(course)
        course.work_since = course.last_at if len(self._pool) else None
        if learnt:
            node.ask()  # there may be more
        self._tell()

    def _recheck(self, course: _Course) -> None:
        """Judge again what this validator has taken, and what was taken by one that does not run."""
        replica = course.node.replica
        others = {other.name for other in self._running()} - {replica.name}

        def judge(raw: bytes, entry: bytes) -> CheckResult:
            known = self._pool.known(raw) if entry in others else None
            return known or replica.application.check_tx(raw, recheck=True)

        self._pool.recheck(judge)

    def _note_rounds(self, course: _Course) -> None:
        """Note why rounds were lost, as a validator leaves them."""
        driver = course.node.driver
        if driver is None:
            return
        height, round_ = course.seen
        if height != driver.height:
            round_ = 0
        for lost in range(round_, driver.state.round):
            last = lost == driver.state.round - 1
            why = why_lost(driver, Round(lost), course.node.accepted) if last else "others were in a later one"
            course.lost.append(Lost(lost, driver.proposer(Round(lost)), why))
        course.seen = (driver.height, max(driver.state.round, 0))

    # When

    def _is_due(self, course: _Course) -> bool:
        """Tell whether a validator begins the next height now."""
        if course.syncing:
            return False
        if course.node.is_called:
            return self._begins(course)
        if self._clock.monotonic() < self._due(course) - _DUE_S:
            return False
        empty = self._empty_interval > 0 and self._clock.monotonic() >= course.last_at + self._empty_interval - _DUE_S
        if empty or course.time_asked or self._drafted(course.node.replica, self._waiting(course.number))[1]:
            return self._begins(course)
        course.work_since = None  # until more comes, nothing can go into a block
        return False

    @staticmethod
    def _begins(course: _Course) -> bool:
        course.time_asked, course.work_since = False, None
        return True

    def _due(self, course: _Course) -> float:
        """Return when a validator begins the next height by itself, in monotonic seconds; infinity for never."""
        reasons = [math.inf]
        if course.time_asked:
            reasons.append(course.last_at)
        if course.work_since is not None:
            reasons.append(course.work_since + self._batching)
        if self._empty_interval > 0:
            reasons.append(course.last_at + self._empty_interval)
        return max(min(reasons), course.last_at + self._block_interval)

    def _set_alarm(self, course: _Course) -> None:
        """See to it that a validator is attended to when something is due."""
        due = min((timer.due for timer in course.node.timers), default=math.inf)
        if course.node.driver is None and not course.syncing:
            due = min(due, self._due(course))
        if course.awake and due < course.alarm:
            course.alarm = due
            delay_ms = math.ceil((due - self._clock.monotonic()) * _MS - _DUE_S)
            self._later(course, max(delay_ms, 0), partial(self._attend, course))
