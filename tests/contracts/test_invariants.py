"""Whatever anybody does in whatever order: the money adds up, nobody is paid twice, only a quorum decides."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

from eth_hash.auto import keccak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.bindings import JobStatus, Ledger, Registry
from contracts.digests import Attestation, Settlement, settlement
from contracts.events import (
    Attested,
    Credited,
    Recorded,
    Refunded,
    Released,
    RoundAgreed,
    RoundSettled,
    RoundUnpaid,
    RoundVoid,
)
from contracts.layout import members
from tests.contracts.conftest import Cast, build
from tests.contracts.world import BASE_REWARD, TERMS, Actor, Outcome, Reverted, World, account, attestation, post_thetas

MAX_JOBS = 3
EDGES = 4
JOBS = st.sampled_from([1, 1, 2, 2, 3])  # 1 is open from the start; 2 and 3 may not exist yet
SETS = {1: (0, 1, 2, 3), 2: (1, 2, 3)}
EDGE = st.integers(0, EDGES - 1)
CLIENT = st.integers(0, 4)
VOTERS = st.sampled_from([[0, 1], [0, 1, 2], [1, 2, 3], [3, 1, 2], [3, 2, 1, 0]])
THETAS = st.lists(st.sampled_from([0, 0, 1, 3, 10**9]), min_size=6, max_size=6)


@cache
def stage() -> tuple[World, Cast]:
    """Build the world once; every run of the machine forks it."""
    return build()


class LedgerMachine(RuleBasedStateMachine):
    """Random calls of everybody; the model keeps what the events said and nothing of the contract's own arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = ExitStack()
        first, self.cast = stage()
        self.world = self.undo.enter_context(first.fork())
        self.jobs = 1
        self.sets: dict[int, int] = {}
        self.scores: dict[bytes, Settlement] = {}
        self.agreed: dict[tuple[int, int], RoundAgreed] = {}
        self.decided: dict[int, int] = defaultdict(int)
        self.support: dict[tuple[int, int], dict[int, bytes]] = defaultdict(dict)
        self.credited: dict[int, int] = defaultdict(int)
        self.credits: dict[tuple[int, int], list[Credited]] = defaultdict(list)
        self.released: dict[int, int] = defaultdict(int)
        self.refunded: dict[int, int] = defaultdict(int)
        self.recorded: dict[int, int] = defaultdict(int)

    def teardown(self) -> None:
        """Undo everything."""
        self.undo.close()

    # what a rule does: it may be refused, but never without a reason (an overflow or a bare revert has none)

    def attempt(self, act: Callable[[], Outcome]) -> None:
        """Make a call and keep its events."""
        self.sets = {job: self.ledger("_jobs", job, "edge_set") for job in range(1, self.jobs + 1)}
        try:
            outcome = act()
        except Reverted as refused:
            if refused.reason is None:
                raise
            return
        for event in outcome.events:
            self.note(event)

    def note(self, event: object) -> None:
        """Keep what an event says, and check what must hold at this moment."""
        match event:
            case Recorded():
                assert event.sequence == self.recorded[event.job]
                self.recorded[event.job] += 1
            case Attested():
                self.support[event.job, event.round][event.edge] = event.digest
                ballots = self.support[event.job, event.round]
                assert event.support == sum(digest == event.digest for digest in ballots.values())
            case RoundAgreed():
                ballots = self.support[event.job, event.round]
                size = len(SETS[self.sets[event.job]])
                assert 3 * sum(digest == event.digest for digest in ballots.values()) > 2 * size
                self.decide(event.job, event.round)
                self.agreed[event.job, event.round] = event
                assert event.k >= 1
            case RoundVoid():
                self.decide(event.job, event.round)
            case RoundUnpaid():
                del self.agreed[event.job, event.round]
            case Credited():
                assert (event.job, event.round) in self.agreed
                self.credits[event.job, event.round].append(event)
                self.credited[event.client] += event.reward
            case RoundSettled():
                agreed = self.agreed.pop((event.job, event.round))
                credits_ = self.credits[event.job, event.round]
                assert sum(credit.reward for credit in credits_) == agreed.reward == event.paid
                assert len(credits_) == agreed.k
                total = sum(credit.theta for credit in credits_)
                for credit in credits_:
                    assert abs(credit.reward * total - agreed.reward * credit.theta) < total
            case Released():
                self.released[event.member] += event.amount
            case Refunded():
                self.refunded[event.job] += event.amount

    def decide(self, job: int, round_: int) -> None:
        """Note that a round was decided: in order, each once."""
        assert round_ == self.decided[job] + 1
        self.decided[job] = round_

    # rules

    @initialize()
    def two_edge_sets(self) -> None:
        """Define a second set, so that jobs can move."""
        self.world.govern(Registry.encode_set_edge_set([self.cast.edges[at].member for at in SETS[2]]))

    @precondition(lambda self: self.jobs < MAX_JOBS)
    @rule(phi=st.sampled_from([0, 1, 2, 5]), rounds=st.integers(1, 3), extra=st.integers(0, 5), ready=st.integers(2, 4))
    def propose(self, phi: int, rounds: int, extra: int, ready: int) -> None:
        """Create a job with a small budget; it opens if enough edge servers are ready."""
        self.jobs += 1
        self.world.propose(self.cast.sponsor, phi=phi, budget=BASE_REWARD * rounds + extra, records_per_base=10)
        for edge in self.cast.edges[:ready]:
            self.attempt(lambda: self.call(edge, Ledger.encode_acknowledge_job(self.jobs)))  # noqa: B023 - called at once

    @rule(job=JOBS, edge=EDGE)
    def acknowledge_job(self, job: int, edge: int) -> None:
        """Acknowledge a job late, or again."""
        self.attempt(lambda: self.call(self.cast.edges[edge], Ledger.encode_acknowledge_job(job)))

    @rule(job=JOBS, client=CLIENT, counter=st.integers(0, 20))
    def record(self, job: int, client: int, counter: int) -> None:
        """Record an update whose counter may not rise."""
        self.attempt(lambda: self.world.record(job, self.cast.clients[client], counter=counter))

    @rule(job=JOBS, clients=st.lists(CLIENT, min_size=1, max_size=6))
    def record_several(self, job: int, clients: list[int]) -> None:
        """Record updates until the budget says no."""
        for client in clients:
            counter = 100 + self.recorded[job]
            self.attempt(lambda: self.world.record(job, self.cast.clients[client], counter=counter))  # noqa: B023 - called at once

    @rule(job=JOBS, edge=EDGE, thetas=THETAS, k_less=st.integers(0, 3), more_spent=st.integers(0, 3))
    def attest(self, job: int, edge: int, thetas: list[int], k_less: int, more_spent: int) -> None:
        """Attest alone, honestly or not."""
        ballot = self.ballot(job, thetas, k_less)
        ballot = replace(ballot, spent=ballot.spent + more_spent)
        self.attempt(lambda: self.world.attest(self.cast.edges[edge], ballot))

    @rule(job=JOBS, thetas=THETAS, voters=VOTERS, k_less=st.sampled_from([0, 0, 1, 2]))
    def attest_together(self, job: int, thetas: list[int], voters: list[int], k_less: int) -> None:
        """Attest the same, two of four to all."""
        ballot = self.ballot(job, thetas, k_less)
        for edge in voters:
            self.attempt(lambda: self.world.attest(self.cast.edges[edge], ballot))  # noqa: B023 - called at once

    @rule(job=JOBS, clients=st.lists(CLIENT, min_size=1, max_size=6), thetas=THETAS)
    def play_a_round(self, job: int, clients: list[int], thetas: list[int]) -> None:
        """Do what honest members do, from the records to the settlement."""
        self.record_several(job, clients)
        self.attest_together(job, thetas, [1, 2, 3], 0)
        self.post(job, -1)
        self.settle(job, -1, again=False)

    @rule(job=JOBS, voters=VOTERS)
    def attest_the_end(self, job: int, voters: list[int]) -> None:
        """Attest that nothing live is left."""
        ballot = replace(self.ballot(job, [1] * 6, 0), k=0, spent=self.ledger("_jobs", job, "next_sequence"))
        for edge in voters:
            self.attempt(lambda: self.world.attest(self.cast.edges[edge], ballot))  # noqa: B023 - called at once

    @rule(job=JOBS, patience=st.sampled_from([0, 400]))
    def void(self, job: int, patience: int) -> None:
        """Give a round up, in time or too early."""
        self.world.wait(patience)
        round_ = self.ledger("_jobs", job, "version") + 1
        self.attempt(lambda: self.call(account("x"), Ledger.encode_void_round(job, round_)))

    @rule(seconds=st.sampled_from([10, 100, 400]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.wait(seconds)

    @rule(job=JOBS, which=st.integers(0, 9))
    def post(self, job: int, which: int) -> None:
        """Post the thetas of an agreed round, open or not."""
        for agreed in self.pick(job, which):
            data = post_thetas(job, agreed.round, self.scores[agreed.thetas])
            self.attempt(lambda: self.call(account("x"), data))  # noqa: B023 - called at once

    @rule(job=JOBS, which=st.integers(0, 9), again=st.booleans())
    def settle(self, job: int, which: int, *, again: bool) -> None:
        """Settle the next chunk of an agreed round, now and then twice."""
        for agreed in self.pick(job, which):
            scores = self.scores[agreed.thetas]
            data = Ledger.encode_settle_chunk(job, agreed.round, 0, *scores.chunks[0])
            for _ in range(1 + again):
                self.attempt(lambda: self.call(account("x"), data))  # noqa: B023 - called at once

    @rule(client=CLIENT)
    def release(self, client: int) -> None:
        """Pay a client."""
        self.attempt(lambda: self.call(account("x"), Ledger.encode_release(self.cast.clients[client].member)))

    @rule(job=JOBS, amount=st.integers(0, 2 * BASE_REWARD))
    def top_up(self, job: int, amount: int) -> None:
        """Add to a budget."""
        self.attempt(lambda: self.call(self.cast.sponsor, Ledger.encode_top_up(job, amount)))

    @precondition(lambda self: sum(self.decided.values()) >= 2)  # else most runs would end before they began
    @rule(job=JOBS)
    def close(self, job: int) -> None:
        """Take no more records."""
        self.attempt(lambda: self.call(self.cast.sponsor, Ledger.encode_close_job(job)))

    @rule(job=JOBS, number=st.integers(1, 2))
    def move(self, job: int, number: int) -> None:
        """Name another edge set."""
        self.attempt(lambda: self.call(self.world.governor, Ledger.encode_use_edge_set(job, number)))

    @rule(job=JOBS)
    def apply(self, job: int) -> None:
        """Put it in force early."""
        self.attempt(lambda: self.call(account("x"), Ledger.encode_apply_edge_set(job)))

    @rule(job=JOBS, version=st.integers(0, 3))
    def change_rules(self, job: int, version: int) -> None:
        """Name other rules: nothing about money may follow from it."""
        names = (TERMS.scoring, TERMS.aggregation, TERMS.staleness)
        self.attempt(lambda: self.call(self.world.governor, Ledger.encode_use_rules(job, version, *names)))

    @rule(client=CLIENT)
    def suspend_or_reinstate(self, client: int) -> None:
        """Change how many clients are active: phi = all follows at the next boundary."""
        member = self.cast.clients[client].member
        suspended = self.world.peek("Registry", "_members", member, "suspended")
        self.world.govern((Registry.encode_reinstate if suspended else Registry.encode_suspend)(member))

    # what rules need

    def ledger(self, variable: str, *path: int | str) -> int:
        """Read the Ledger's storage."""
        return self.world.peek("Ledger", variable, *path)

    def call(self, sender: Actor | bytes, data: bytes) -> Outcome:
        """Call the Ledger."""
        return self.world.to_ledger(sender, data)

    def ballot(self, job: int, thetas: list[int], k_less: int) -> Attestation:
        """Return an attestation of what is live, or of less."""
        agreed, version = self.ledger("_jobs", job, "spent_agreed"), self.ledger("_jobs", job, "version")
        live = self.ledger("_jobs", job, "next_sequence") - agreed
        k = max(0, min(self.ledger("_jobs", job, "phi_now"), live, 6) - k_less)
        everybody = [client.member for client in self.cast.clients]
        scores = settlement([everybody[at % 5] for at in range(k)], thetas[:k])
        self.scores[scores.digest] = scores
        model = keccak(b"model %d %d" % (job, version + 1))
        return attestation(job, version + 1, self.world.height, scores, agreed + k, model)

    def pick(self, job: int, which: int) -> list[RoundAgreed]:
        """Return one agreed round of a job, if there is one."""
        rounds = [agreed for (at, _), agreed in self.agreed.items() if at == job]
        return [rounds[which % len(rounds)]] if rounds else []

    # invariants

    @invariant()
    def escrow_pending_and_released_are_what_was_funded_and_not_refunded(self) -> None:
        names = members("Ledger", "Accounts")
        rows = [{name: self.ledger("_accounts", job, name) for name in names} for job in range(self.jobs + 1)]
        for row in rows:
            escrow = row["free"] + row["reserved"]
            assert escrow + row["pending"] + row["released"] == row["funded"] - row["refunded"]
        for name in names:
            assert rows[0][name] == sum(row[name] for row in rows[1:])
        owned = self.world.peek("Token", "balanceOf", self.world.ledger_at)
        assert owned == rows[0]["free"] + rows[0]["reserved"] + rows[0]["pending"]
        assert rows[0]["pending"] == sum(self.credited.values()) - sum(self.released.values())
        assert rows[0]["refunded"] == sum(self.refunded.values())

    @invariant()
    def reserves_are_what_agreed_rounds_still_claim(self) -> None:
        for job in range(1, self.jobs + 1):
            reserved = self.ledger("_accounts", job, "reserved")
            claims = [agreed for (at, _), agreed in self.agreed.items() if at == job]
            paid = sum(credit.reward for agreed in claims for credit in self.credits[job, agreed.round])
            assert reserved == sum(agreed.reward for agreed in claims) - paid

    @invariant()
    def members_own_exactly_what_events_credited_and_released(self) -> None:
        for client in self.cast.clients:
            member = client.member
            payout = self.world.peek("Registry", "_members", member, "payout").to_bytes(20, "big")
            assert self.ledger("_credited", member) == self.credited[member]
            assert self.ledger("_withdrawn", member) == self.released[member]
            assert self.world.peek("Token", "balanceOf", payout) == self.released[member]

    @invariant()
    def spent_lies_between_what_a_quorum_agreed_on_and_what_is_recorded(self) -> None:
        for job in range(1, self.jobs + 1):
            spent, agreed = self.ledger("_jobs", job, "spent"), self.ledger("_jobs", job, "spent_agreed")
            assert agreed <= spent <= self.ledger("_jobs", job, "next_sequence") == self.recorded[job]
            assert self.ledger("_jobs", job, "version") == self.decided[job]
            if self.ledger("_jobs", job, "status") == JobStatus.CLOSED:
                assert self.ledger("_accounts", job, "free") == 0

    @invariant()
    def active_clients_are_those_not_suspended(self) -> None:
        suspended = sum(
            self.world.peek("Registry", "_members", client.member, "suspended") for client in self.cast.clients
        )
        assert self.world.peek("Registry", "_active_clients") == len(self.cast.clients) - suspended


LedgerMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=50, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase


def test_terms_of_the_stage_pay_a_reward_that_does_not_divide() -> None:
    assert TERMS.base_reward % 2 == 1
    assert TERMS.base_reward % TERMS.phi != 0
