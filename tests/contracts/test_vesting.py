"""Contracts version 4: pay that vests goes to Vesting at once, and is settled by the records of a later round."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from boa.environment import Env
from boa.util.abi import Address
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import contracts
from contracts import digests
from contracts.addresses import ZERO
from contracts.bindings import JobStatus, Ledger, Registry, Role, RoundStatus, Vesting
from contracts.digests import Attestation, Part, fallen_digest, fallen_words, name32, settlement
from contracts.errors import LengthError
from contracts.events import Forfeited, Judged, PayVests, Vested, Withdrawn
from tests.contracts.conftest import Cast
from tests.contracts.world import (
    ATTESTATION_TIMEOUT,
    BASE_REWARD,
    Actor,
    Outcome,
    Reverted,
    World,
    account,
    attestation,
)

SOURCES = Path(contracts.__file__).parent / "v4"
ROUNDS = 2
"""After so many rounds the pay of job 1 is settled."""
ANYBODY = account("anybody")
ANSWERS_FALSE = bytes.fromhex("60206000f3")
"""Code that returns a word of zeros to every call."""


def build() -> tuple[World, Cast]:
    """Deploy the contracts of version 4, admit everybody and propose job 1, which nobody has acknowledged."""
    bare = World(Env())
    registry = bare.deploy("Registry", bare.governor, ZERO)
    token = bare.deploy("Token", registry)
    ledger = bare.deploy("Ledger", registry, token, ZERO, version=4)
    council = bare.deploy("Council", registry)
    vesting = bare.deploy("Vesting", registry, token, ledger, version=4)
    world = World(bare.env, registry, token, ledger, council, vesting, height=bare.height, time=bare.time)
    edges = tuple(world.admit(Role.EDGE_SERVER) for _ in range(4))
    clients = tuple(world.admit(Role.CLIENT) for _ in range(3))
    sponsor, auditor = world.admit(Role.SPONSOR), world.admit(Role.AUDITOR)
    world.govern(Registry.encode_set_edge_set([edge.member for edge in edges]))
    world.fund(sponsor.account, 10_000 * BASE_REWARD)
    assert world.propose(sponsor) == 1
    return world, Cast(edges, clients, sponsor, auditor)


@pytest.fixture(scope="module")
def stage() -> tuple[World, Cast]:
    return build()


@pytest.fixture
def cast4(stage: tuple[World, Cast]) -> Cast:
    return stage[1]


@pytest.fixture
def proposed(stage: tuple[World, Cast]) -> Generator[World]:
    """Give a world whose job is proposed."""
    with stage[0].fork() as world:
        yield world


@pytest.fixture
def opened(proposed: World, cast4: Cast) -> World:
    """Give a world whose job is open, and whose pay vests."""
    vest(proposed, cast4)
    return proposed


def vest(world: World, cast: Cast) -> None:
    world.to_ledger(cast.sponsor, Ledger.encode_vest_pay(1, world.vesting_at, ROUNDS))
    for edge in cast.edges[:3]:
        world.to_ledger(edge, Ledger.encode_acknowledge_job(1))


class Play:
    """Plays rounds of job 1: who had fallen after each is agreed on with it."""

    def __init__(self, world: World, cast: Cast) -> None:
        self.world, self.cast = world, cast
        self.agreed: dict[int, tuple[Attestation, tuple[int, ...]]] = {}
        self.counter = 0

    @property
    def version(self) -> int:
        return self.world.peek("Ledger", "_jobs", 1, "version")

    def round(self, fallen: Sequence[int] = (), thetas: Sequence[int] = (1, 2, 3), *, named: bool = True) -> int:
        """Record, attest and pay a round of all three clients."""
        number, world = self.version + 1, self.world
        self._record()
        scores = settlement([client.member for client in self.cast.clients], [10**6 * theta for theta in thetas])
        spent = world.peek("Ledger", "_jobs", 1, "next_sequence")
        words = fallen_words(fallen)
        word = attestation(1, number, world.height, scores, spent)
        if named:
            word = replace(word, parts=(*word.parts, Part(name32("vesting"), fallen_digest(words))))
        for edge in self.cast.edges[:3]:
            world.attest(edge, word)
        self.agreed[number] = (word, words)
        world.settle(1, number, scores)
        return number

    def void(self) -> int:
        """Let a round end without a quorum."""
        number, world = self.version + 1, self.world
        self._record()
        spent = world.peek("Ledger", "_jobs", 1, "next_sequence")
        scores = settlement([client.member for client in self.cast.clients], [1, 1, 1])
        world.attest(self.cast.edges[0], attestation(1, number, world.height, scores, spent))
        world.wait(ATTESTATION_TIMEOUT + 1)
        world.to_ledger(ANYBODY, Ledger.encode_void_round(1, number))
        return number

    def _record(self) -> None:
        self.counter += 1
        for client in self.cast.clients:
            self.world.record(1, client, counter=self.counter)

    def close(self) -> None:
        """Close the job: the edge servers agree that nothing live is left."""
        world = self.world
        world.to_ledger(self.cast.sponsor, Ledger.encode_close_job(1))
        spent = world.peek("Ledger", "_jobs", 1, "next_sequence")
        if not spent:
            return
        word = attestation(1, self.version + 1, world.height, settlement([], []), spent)
        for edge in self.cast.edges[:3]:
            world.attest(edge, word)

    def judge(self, number: int) -> Outcome:
        word, words = self.agreed[number]
        return self.to_vesting(Vesting.encode_judge(word, 1, words))

    def settle(self, number: int, clients: Sequence[Actor] | None = None) -> Outcome:
        ids = [client.member for client in clients or self.cast.clients]
        return self.to_vesting(Vesting.encode_settle(1, number, ids))

    def to_vesting(self, data: bytes) -> Outcome:
        return self.world.send(ANYBODY, self.world.vesting_at, data)


@pytest.fixture
def play(opened: World, cast4: Cast) -> Play:
    return Play(opened, cast4)


def refused(call: Callable[[], object]) -> str | None:
    with pytest.raises(Reverted) as caught:
        call()
    return caught.value.reason


# What is credited, and when it is due


def test_what_a_round_credits_is_held_at_once_and_cannot_be_released(play: Play) -> None:
    world, clients = play.world, play.cast.clients
    play.round()
    held = [world.vesting.held(1, 1, client.member) for client in clients]
    assert sum(held) == BASE_REWARD == world.token.balance_of(world.vesting_at) == world.vesting.held_in(1, 1)
    assert held[0] < held[1] < held[2]
    assert [world.ledger.releasable(client.member) for client in clients] == [0, 0, 0]
    assert [world.vesting.releasable(client.member) for client in clients] == [0, 0, 0]
    money = world.ledger.accounts(1)
    assert (money.pending, money.released) == (0, BASE_REWARD)
    assert money.escrow + money.pending + money.released == money.funded - money.refunded


def test_pay_is_due_when_so_many_rounds_more_are_decided(play: Play) -> None:
    play.round()
    assert refused(lambda: play.settle(1)) == "Vesting: pay is not due"
    play.round()
    assert refused(lambda: play.settle(1)) == "Vesting: pay is not due"
    play.round()
    assert play.world.vesting.decider(1, 1) == 3
    assert refused(lambda: play.settle(1)) == "Vesting: deciding round is not judged"
    play.judge(3)
    assert len(play.settle(1).all(Vested)) == 3
    assert refused(lambda: play.settle(1)) == "Vesting: nothing is held for the round"


def test_who_has_fallen_by_then_forfeits_to_the_sponsor_and_all_others_are_paid(play: Play) -> None:
    world, (first, second, third) = play.world, play.cast.clients
    play.round()
    play.round(fallen=[first.member])  # stands again when it counts
    play.round(fallen=[second.member])
    assert play.judge(3).only(Judged).fallen == (1 << second.member,)
    held = {client.member: world.vesting.held(1, 1, client.member) for client in play.cast.clients}
    outcome = play.settle(1)
    lost = outcome.only(Forfeited)
    assert (lost.job, lost.round, lost.client, lost.judge, lost.amount) == (1, 1, second.member, 3, held[second.member])
    assert {one.client: one.amount for one in outcome.all(Vested)} == {m: held[m] for m in (first.member, third.member)}
    for actor, due in (
        (first, held[first.member]),
        (play.cast.sponsor, held[second.member]),
        (third, held[third.member]),
    ):
        assert play.to_vesting(Vesting.encode_release(actor.member)).only(Withdrawn).amount == due
        assert world.token.balance_of(world.payout(actor)) == due
    assert refused(lambda: play.to_vesting(Vesting.encode_release(second.member))) == "Vesting: nothing to release"
    assert world.token.balance_of(world.vesting_at) == world.vesting.held_in(1, 2) + world.vesting.held_in(1, 3)


def test_a_void_round_leaves_the_decision_to_the_agreed_one_before(play: Play) -> None:
    fallen = play.cast.clients[0].member
    play.round()
    play.round(fallen=[fallen])
    assert play.void() == 3
    assert play.world.vesting.decider(1, 1) == 2
    play.judge(2)
    assert play.settle(1).only(Forfeited).client == fallen


def test_void_rounds_only_leave_it_to_the_paid_round_itself(play: Play) -> None:
    play.round()
    play.void()
    play.void()
    assert play.world.vesting.decider(1, 1) == 1


def test_a_closed_job_settles_what_is_left_by_its_last_round(play: Play) -> None:
    fallen = play.cast.clients[2].member
    play.round()
    play.round(fallen=[fallen])
    play.close()
    assert play.world.ledger.job(1).status is JobStatus.CLOSED
    play.judge(2)
    assert [play.settle(number).only(Forfeited).client for number in (1, 2)] == [fallen, fallen]
    assert play.world.vesting.accounts(0).held == 0


def test_pay_is_settled_in_pieces_and_none_of_it_twice(play: Play) -> None:
    for _ in range(3):
        play.round()
    play.judge(3)
    first, *others = play.cast.clients
    assert len(play.settle(1, [first, first]).all(Vested)) == 1
    assert {one.client for one in play.settle(1).all(Vested)} == {client.member for client in others}


def test_a_round_in_which_nobody_earned_anything_judges_like_any_other(play: Play) -> None:
    play.round()
    play.round()
    play.round(thetas=(0, 0, 0), fallen=[play.cast.clients[1].member])
    assert play.world.ledger.round(1, 3).status is RoundStatus.UNPAID
    play.judge(3)
    assert play.settle(1).only(Forfeited).client == play.cast.clients[1].member


# What nobody can do


def test_only_the_sponsor_lets_pay_vest_and_only_before_anybody_has_agreed(proposed: World, cast4: Cast) -> None:
    late = "Ledger: pay cannot vest any more"
    data = Ledger.encode_vest_pay(1, proposed.vesting_at, ROUNDS)
    other = proposed.admit(Role.SPONSOR)
    assert refused(lambda: proposed.to_ledger(other, data)) == late
    assert refused(lambda: proposed.to_ledger(cast4.clients[0], data)) == "Ledger: caller has another role"
    event = proposed.to_ledger(cast4.sponsor, data).only(PayVests)
    assert (event.job, event.holder, event.rounds) == (1, proposed.vesting_at, ROUNDS)
    assert proposed.ledger.vesting(1) == (proposed.vesting_at, ROUNDS)
    proposed.to_ledger(cast4.edges[0], Ledger.encode_acknowledge_job(1))
    assert refused(lambda: proposed.to_ledger(cast4.sponsor, data)) == late


def test_a_job_whose_pay_does_not_vest_is_paid_as_before(proposed: World, cast4: Cast) -> None:
    for edge in cast4.edges[:3]:
        proposed.to_ledger(edge, Ledger.encode_acknowledge_job(1))
    play = Play(proposed, cast4)
    play.round()
    assert sum(proposed.ledger.releasable(client.member) for client in cast4.clients) == BASE_REWARD
    assert proposed.vesting.accounts(0).received == 0
    proposed.to_ledger(ANYBODY, Ledger.encode_release(cast4.clients[0].member))


def test_only_the_ledger_credits(play: Play) -> None:
    data = Vesting.encode_hold(1, 1, [play.cast.clients[0].member], [1])
    assert refused(lambda: play.to_vesting(data)) == "Vesting: caller is not the Ledger"


def test_nobody_says_otherwise_who_has_fallen_than_what_was_agreed(play: Play) -> None:
    play.round(fallen=[play.cast.clients[0].member])
    word, words = play.agreed[1]
    wrong = "Vesting: attestation is not what was agreed"
    for other in (replace(word, k=2), replace(word, spent=9), replace(word, parts=word.parts[:-1])):
        assert refused(lambda other=other: play.to_vesting(Vesting.encode_judge(other, 1, words))) == wrong
    assert refused(lambda: play.to_vesting(Vesting.encode_judge(word, 2, words))) == wrong
    empty = Vesting.encode_judge(word, 1, ())
    assert refused(lambda: play.to_vesting(empty)) == "Vesting: fallen clients are not what was agreed"
    later = Vesting.encode_judge(replace(word, round=2), 1, words)
    assert refused(lambda: play.to_vesting(later)) == "Vesting: no quorum agreed on the round"
    play.judge(1)
    assert play.world.vesting.fallen(1, 1, play.cast.clients[0].member)
    assert not play.world.vesting.fallen(1, 1, play.cast.clients[1].member)
    assert refused(lambda: play.judge(1)) == "Vesting: round is judged already"


def test_a_round_agreed_without_the_part_judges_nobody(play: Play) -> None:
    play.round(named=False)
    assert refused(lambda: play.judge(1)) == "Vesting: fallen clients are not what was agreed"


def test_a_token_that_makes_no_payment_stops_the_release(play: Play) -> None:
    for _ in range(3):
        play.round()
    play.judge(3)
    play.settle(1)
    play.world.env.set_code(Address("0x" + play.world.token_at.hex()), ANSWERS_FALSE)
    release = Vesting.encode_release(play.cast.clients[0].member)
    assert refused(lambda: play.to_vesting(release)) == "Vesting: token makes no payment"


def test_every_reason_of_the_new_contract_is_reached_here() -> None:
    reasons = set(re.findall(r'"(Vesting: [^"]+)"', (SOURCES / "Vesting.vy").read_text()))
    assert len(reasons) == 10
    assert {reason for reason in reasons if reason not in Path(__file__).read_text()} == set()


def test_limits_of_the_python_side_are_those_of_the_contract() -> None:
    found = dict(re.findall(r"^(\w+): constant\(uint256\) = (\d+)", (SOURCES / "Vesting.vy").read_text(), re.MULTILINE))
    assert int(found["MAX_WORDS"]) == digests.MAX_FALLEN_WORDS
    assert int(found["MAX_ROUNDS"]) == digests.MAX_VESTING
    assert (int(found["CHUNK"]), int(found["MAX_PARTS"])) == (digests.CHUNK, digests.MAX_PARTS)
    assert int(found["MAX_CLIENTS"]) == digests.MOST_SETTLED


@pytest.mark.parametrize(("clients", "words"), [((), ()), ((5,), (32,)), ((0, 255, 256), (1 | 1 << 255, 1))])
def test_a_set_of_clients_is_a_row_of_bits(clients: tuple[int, ...], words: tuple[int, ...]) -> None:
    assert fallen_words(clients) == words


def test_an_id_beyond_all_words_is_refused() -> None:
    assert len(fallen_words([256 * 1024 - 1])) == 1024
    with pytest.raises(LengthError, match="1025 words, not 1024"):
        fallen_words([256 * 1024])


# Whatever happens in whatever order


class VestingMachine(RuleBasedStateMachine):
    """Rounds, void rounds, closing, judging, settling and releasing; the model keeps what the events said."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = ExitStack()
        first, cast = stage_once()
        self.world = self.undo.enter_context(first.fork())
        vest(self.world, cast)
        self.play = Play(self.world, cast)
        self.drawn = 0
        self.lost: dict[int, set[int]] = {}

    @initialize()
    def first_round(self) -> None:
        self.lost[self.play.round()] = set()

    def is_open(self) -> bool:
        return self.world.ledger.job(1).status is JobStatus.OPEN

    @precondition(is_open)
    @rule(fallen=st.sets(st.integers(0, 2)), thetas=st.tuples(*[st.sampled_from([0, 1, 7])] * 3))
    def decide(self, fallen: set[int], thetas: tuple[int, int, int]) -> None:
        lost = {self.play.cast.clients[at].member for at in fallen}
        self.lost[self.play.round(sorted(lost), thetas)] = lost

    @precondition(is_open)
    @rule()
    def give_up(self) -> None:
        self.play.void()

    @precondition(is_open)
    @rule()
    def close(self) -> None:
        self.play.close()

    @rule(number=st.integers(1, 6))
    def judge(self, number: int) -> None:
        known = number in self.play.agreed and not self.world.vesting.judged(1, number)
        if known:
            self.play.judge(number)
        elif number in self.play.agreed:
            assert refused(lambda: self.play.judge(number)) == "Vesting: round is judged already"

    def why_not(self, number: int) -> str | None:
        """Say why a round's pay cannot be settled, by what was played."""
        if not self.world.vesting.held_in(1, number):
            return "Vesting: nothing is held for the round"
        last = number + ROUNDS
        if last > self.play.version:
            if self.is_open():
                return "Vesting: pay is not due"
            last = self.play.version
        decider = max(agreed for agreed in self.play.agreed if agreed <= last)
        return None if self.world.vesting.judged(1, decider) else "Vesting: deciding round is not judged"

    @rule(number=st.integers(1, 6), clients=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def settle(self, number: int, clients: list[int]) -> None:
        chosen = [self.play.cast.clients[at] for at in clients]
        held = {client.member: self.world.vesting.held(1, number, client.member) for client in chosen}
        if (reason := self.why_not(number)) is not None:
            assert refused(lambda: self.play.settle(number, chosen)) == reason
            return
        outcome = self.play.settle(number, chosen)
        settled = [*outcome.all(Vested), *outcome.all(Forfeited)]
        assert {one.client: one.amount for one in settled} == {m: amount for m, amount in held.items() if amount}
        for one in settled:
            assert one.judge <= number + ROUNDS
            assert isinstance(one, Forfeited) == (one.client in self.lost[one.judge])

    @rule(at=st.integers(0, 3))
    def release(self, at: int) -> None:
        member = (*self.play.cast.clients, self.play.cast.sponsor)[at].member
        due = self.world.vesting.releasable(member)
        if due:
            assert self.play.to_vesting(Vesting.encode_release(member)).only(Withdrawn).amount == due
            self.drawn += due

    @invariant()
    def every_wei_is_somewhere(self) -> None:
        vesting, world = self.world.vesting, self.world
        for row in (vesting.accounts(1), vesting.accounts(0)):
            assert row.received == row.held + row.vested + row.forfeited
        total = vesting.accounts(0)
        assert total.held == sum(vesting.held_in(1, number) for number in self.play.agreed)
        members = (*self.play.cast.clients, self.play.cast.sponsor)
        can_draw = sum(vesting.releasable(actor.member) for actor in members)
        assert total.vested + total.forfeited == can_draw + self.drawn
        assert world.token.balance_of(world.vesting_at) == total.held + can_draw
        assert world.ledger.accounts(1).released == total.received

    def teardown(self) -> None:
        self.undo.close()


_STAGE: list[tuple[World, Cast]] = []


def stage_once() -> tuple[World, Cast]:
    """Build the world once; every run of the machine forks it."""
    if not _STAGE:
        _STAGE.append(build())
    return _STAGE[0]


TestVestingInvariants = VestingMachine.TestCase
TestVestingInvariants.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
