"""Executes a decided history again, in memory, and remembers every byte that a ledger store must then hold.

Execution is a pure function of the genesis document and of each height's time, transactions and misbehavior. So two
stores with the same history need one replay: `Replays` finds one by a digest over those inputs, and executes only what
is new.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chain.application import Application, Misbehavior, Timestamp, ValidatorUpdate
from chain.engines.base import last_results_hash
from chain.execution.blocks import Block
from chain.execution.executor import TxResult
from chain.execution.reader import Reader
from chain.genesis import Genesis
from chain.light import ValidatorSet
from chain.storage import FORMAT, Space, Store
from chain.validators import UPDATE_DELAY, genesis_validators

BEFORE_GENESIS: Final = -1
"""The height of a store that was made and never started."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A value as it must lie on disk, the engine height that wrote it first and, where it has one, its block."""

    value: bytes
    height: int
    block: int


class _Remembering:
    """Tables in memory that remember which height wrote what (see `chain.storage.Store`)."""

    def __init__(self) -> None:
        self.height = BEFORE_GENESIS
        self.block = 0
        self.tables: dict[Space, dict[bytes, Expected]] = {space: {} for space in Space}
        self.own: dict[int, dict[bytes, bytes]] = {}

    def read(self, space: Space, key: bytes) -> bytes | None:
        found = self.tables[space].get(key)
        return None if found is None else found.value

    def scan(self, space: Space, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        table = self.tables[space]
        yield from ((key, table[key].value) for key in sorted(table) if key >= first)

    def write(self, changes: dict[tuple[Space, bytes], bytes]) -> None:
        for (space, key), value in changes.items():
            known = self.tables[space].get(key)
            if known is None or known.value != value:
                self.tables[space][key] = Expected(value, self.height, self.block)
        self.own[self.height] = {key: entry.value for key, entry in self.tables[Space.META].items()}

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class Step:
    """What executing one height gave; `block` is None for a height that makes none.

    `updates`: what the engine heard of validators, as `Finalized.validator_updates`.
    """

    height: int
    time: Timestamp
    app_hash: bytes
    results_hash: bytes
    results: tuple[TxResult, ...]
    block: Block | None
    updates: tuple[ValidatorUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that executing a height depends on, beside the state before it."""

    time: Timestamp
    transactions: tuple[bytes, ...]
    misbehavior: tuple[Misbehavior, ...] = ()

    def following(self, before: bytes) -> bytes:
        """Extend the digest over a history's inputs by these; lengths first, so that no two histories share one."""
        digest = hashlib.sha256(before)
        reports = tuple(item.encode() for item in self.misbehavior)
        for number in (self.time.seconds, self.time.nanos, len(self.transactions), len(reports)):
            digest.update(number.to_bytes(16, "big", signed=True))
        for raw in (*self.transactions, *reports):
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.digest()


@dataclass(slots=True)
class Replay:
    """One history, executed as far as `steps` goes; `steps[0]` is the genesis block."""

    genesis: Genesis
    steps: list[Step] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    _sets: list[ValidatorSet] = field(default_factory=list)
    _backing: _Remembering = field(default_factory=_Remembering)
    _application: Application | None = None

    @property
    def application(self) -> Application:
        """The ledger at the newest step."""
        if self._application is None:
            store = Store(self._backing, Path("(replay)"), readonly=False)
            store.stage(Space.META, b"format", FORMAT.encode())
            store.commit()
            self._backing.height = 0
            self._application = Application(store)
            app_hash = self._application.init_chain(self.genesis)
            time, block = Timestamp(self.genesis.time), self._application.reader().block(0)
            self.steps.append(Step(0, time, app_hash, last_results_hash(()), (), block))
            self.inputs.append(self.genesis.digest())
        return self._application

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0."""
        return self.application.genesis_hash

    @property
    def reader(self) -> Reader:
        """Reads the state of every step."""
        return self.application.reader()

    def advance(self, inputs: Inputs) -> Step:
        """Execute the height after the newest step."""
        application, height = self.application, len(self.steps)
        finalized = application.finalize_block(height, inputs.time, inputs.transactions, inputs.misbehavior)
        self._backing.height = height
        if finalized.block is not None:
            self._backing.block = finalized.block.number
        application.commit()
        step = Step(
            height,
            inputs.time,
            finalized.app_hash,
            last_results_hash(finalized.results),
            finalized.results,
            finalized.block,
            finalized.validator_updates,
        )
        self.steps.append(step)
        self.inputs.append(inputs.following(self.inputs[-1]))
        return step

    def validators(self, height: int) -> ValidatorSet:
        """Return who decides a height: genesis's, and what heights up to two before it have changed.

        Raises InvalidValidatorSetError where an engine would have stopped.
        """
        if not self._sets:
            self._sets += [genesis_validators(self.genesis)] * (UPDATE_DELAY + 1)  # [h]: of height h, there is no 0
        while len(self._sets) <= height:
            updates = self.steps[len(self._sets) - UPDATE_DELAY].updates
            self._sets.append(self._sets[-1].updated(updates) if updates else self._sets[-1])
        return self._sets[height]

    def expected(self, space: Space) -> Mapping[bytes, Expected]:
        """Return what the table must hold at the newest step, with the height that wrote each entry."""
        return self._backing.tables[space]

    def own_entries(self, height: int) -> Mapping[bytes, bytes]:
        """Return what the store must say about itself at `height` (table `meta`)."""
        return self._backing.own[height]


class Replays:
    """Every replay of an audit; a history that another store had is not executed again."""

    def __init__(self) -> None:
        """Start with none."""
        self._replays: list[Replay] = []

    def begin(self, genesis: Genesis) -> "Cursor":
        """Follow a history from its genesis document. Raises what `Application.init_chain` raises."""
        for replay in self._replays:
            if replay.inputs[0] == genesis.digest():
                return Cursor(self, replay, 0)
        return Cursor(self, self.new(genesis), 0)

    def new(self, genesis: Genesis) -> Replay:
        """Start a replay that shares nothing."""
        replay = Replay(genesis)
        _ = replay.application
        self._replays.append(replay)
        return replay

    def with_inputs(self, height: int, digest: bytes) -> Replay | None:
        """Return a replay that has executed `height` with these inputs up to it."""
        return next((r for r in self._replays if len(r.inputs) > height and r.inputs[height] == digest), None)


class Cursor:
    """One store's way through a replay; it branches off when its history is another one."""

    def __init__(self, replays: Replays, replay: Replay, height: int) -> None:
        """Use `Replays.begin`."""
        self._replays = replays
        self._history: list[Inputs] = []
        self.replay = replay
        self.height = height

    @property
    def step(self) -> Step:
        """The step at which this store stands."""
        return self.replay.steps[self.height]

    def advance(self, inputs: Inputs) -> Step:
        """Go on by one height: look it up if it was executed with the same inputs, execute it otherwise."""
        digest = inputs.following(self.replay.inputs[self.height])
        self._history.append(inputs)
        self.height += 1
        if (known := self._replays.with_inputs(self.height, digest)) is not None:
            self.replay = known
        elif len(self.replay.steps) == self.height:
            self.replay.advance(inputs)
        else:  # two stores have decided different things for this height: the second history from the start
            self.replay = self._replays.new(self.replay.genesis)
            for past in self._history:
                self.replay.advance(past)
        return self.step
