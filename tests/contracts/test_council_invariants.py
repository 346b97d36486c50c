"""Whatever the governor does with validators and versions: sums, order, keys and the schedule hold."""

import hashlib
from contextlib import ExitStack
from functools import cache
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.bindings import Council, Registry
from contracts.events import UpgradeCancelled, UpgradeScheduled, ValidatorChanged
from contracts.upgrades import UpgradeKind
from tests.contracts.conftest import Cast, build
from tests.contracts.world import Outcome, Reverted, World, public_key

MEMBER = st.integers(1, 4)
LABEL = st.sampled_from("abcdef")
POWER = st.sampled_from([0, 1, 2, 5, 100])
KIND = st.sampled_from(list(UpgradeKind))


@cache
def stage() -> tuple[World, Cast]:
    """Build the world once; every run of the machine forks it."""
    return build()


def key(label: str) -> bytes:
    return public_key(label, 65)


def named(label: str) -> bytes:
    return hashlib.sha256(key(label)).digest()[:20]


class CouncilMachine(RuleBasedStateMachine):
    """Random calls of the governor; the model keeps what the events said, as an engine does."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = ExitStack()
        self.world = self.undo.enter_context(stage()[0].fork())
        self.powers: dict[bytes, int] = {}
        self.owners: dict[bytes, int] = {}
        self.schedule: dict[int, list[tuple[int, int]]] = {kind: [] for kind in UpgradeKind}

    def teardown(self) -> None:
        """Undo everything."""
        self.undo.close()

    def attempt(self, data: bytes, to: bytes | None = None) -> None:
        """Make a call of the governor, which may be refused but never without a reason, and hear its events."""
        try:
            outcome = self.world.govern(data, to=to or self.world.council_at)
        except Reverted as refused:
            if refused.reason is None:
                raise
            return
        self.hear(outcome)

    def hear(self, outcome: Outcome) -> None:
        """Apply events as an engine and an operator would."""
        for event in outcome.events:
            match event:
                case ValidatorChanged():
                    assert hashlib.sha256(event.key).digest()[:20] == event.validator
                    assert self.owners.setdefault(event.validator, event.member) == event.member
                    assert event.power != self.powers.get(event.validator, 0) or event.power > 0
                    self.powers[event.validator] = event.power
                case UpgradeScheduled():
                    self.schedule[event.kind].append((event.version, event.height))
                case UpgradeCancelled():
                    assert self.schedule[event.kind].pop() == (event.version, event.height)
                    assert event.height > self.world.height

    @rule(member=MEMBER, label=LABEL, power=POWER)
    def add(self, member: int, label: str, power: int) -> None:
        """Add a validator, perhaps one that took part before."""
        self.attempt(Council.encode_add_validator(member, key(label), power))

    @rule(label=LABEL)
    def remove(self, label: str) -> None:
        """Remove a validator, perhaps the last one."""
        self.attempt(Council.encode_remove_validator(named(label)))

    @rule(label=LABEL, to=LABEL)
    def rotate(self, label: str, to: str) -> None:
        """Give a validator another key, perhaps a used one or its own."""
        self.attempt(Council.encode_rotate_validator(named(label), key(to)))

    @rule(label=LABEL, power=POWER)
    def weigh(self, label: str, power: int) -> None:
        """Change a validator's power."""
        self.attempt(Council.encode_set_validator_power(named(label), power))

    @rule(label=LABEL)
    def expel(self, label: str) -> None:
        """Expel a validator."""
        total, agreed = (self.world.peek("Council", name) for name in ("_total_power", "_agreed_power"))
        self.attempt(Council.encode_expel_validator(named(label)))
        left = self.world.peek("Council", "_total_power")
        assert left == total or 3 * left > 2 * agreed

    @rule(member=MEMBER)
    def suspend_or_reinstate(self, member: int) -> None:
        """Change who may validate."""
        suspended = self.world.peek("Registry", "_members", member, "suspended")
        data = Registry.encode_reinstate(member) if suspended else Registry.encode_suspend(member)
        self.attempt(data, self.world.registry_at)

    @rule(kind=KIND, version=st.integers(0, 5), ahead=st.integers(0, 20))
    def upgrade(self, kind: UpgradeKind, version: int, ahead: int) -> None:
        """Schedule a version, perhaps too early or one that is past."""
        self.attempt(Council.encode_schedule_upgrade(kind, version, self.world.height + ahead))

    @rule(kind=KIND)
    def cancel(self, kind: UpgradeKind) -> None:
        """Take an upgrade back, perhaps too late."""
        self.attempt(Council.encode_cancel_upgrade(kind))

    @rule(count=st.integers(1, 8))
    def tick(self, count: int) -> None:
        """Let blocks pass."""
        self.world.tick_blocks(count)

    @invariant()
    def who_followed_the_events_has_the_validators_that_are_stored(self) -> None:
        count = self.world.peek("Council", "_active")
        active = [self.world.peek("Council", "_active", at).to_bytes(20, "big") for at in range(count)]
        assert len(set(active)) == count
        assert set(active) == {validator for validator, power in self.powers.items() if power}
        assert (count > 0) == bool(self.powers)
        for validator, power in self.powers.items():
            assert self.world.peek("Council", "_validators", validator, "power") == power
            assert self.world.peek("Council", "_validators", validator, "member") == self.owners[validator]

    @invariant()
    def power_is_the_sum_and_a_member_runs_one_validator(self) -> None:
        assert self.world.peek("Council", "_total_power") == sum(self.powers.values())
        running = {validator: self.owners[validator] for validator, power in self.powers.items() if power}
        assert len(set(running.values())) == len(running)
        for member in range(1, 5):
            held = [validator for validator, owner in running.items() if owner == member]
            stored = self.world.peek("Council", "_validator_of", member).to_bytes(20, "big")
            assert stored == (held[0] if held else bytes(20))

    @invariant()
    def versions_and_blocks_of_a_schedule_rise(self) -> None:
        for kind, upgrades in self.schedule.items():
            assert self.world.peek("Council", "_upgrade_count", kind) == len(upgrades)
            for before, after in pairwise(upgrades):
                assert before[0] < after[0]
                assert before[1] < after[1]

    @invariant()
    def active_edge_servers_are_those_not_suspended(self) -> None:
        suspended = sum(self.world.peek("Registry", "_members", member, "suspended") for member in range(1, 5))
        assert self.world.peek("Registry", "_active_edge_servers") == 4 - suspended


CouncilMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
TestCouncil = CouncilMachine.TestCase
