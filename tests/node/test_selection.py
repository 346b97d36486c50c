"""Availability and selection: the log's rules one by one, and against a slow oracle on random logs."""

import hashlib

import pytest

from contracts import events
from contracts.terms import JobTerms
from merit.chance import seeded
from node.errors import PayloadsNeededError, SelectionDivergesError
from node.rounds.log import BlockEvents, JobLog, JobStatus, RecordStatus
from tests.node import selection_oracle as oracle

JOB = 1
AT = (0, 0, b"")


def digest(sequence: int) -> bytes:
    return hashlib.sha256(b"blob %d" % sequence).digest()


class Story:
    """Writes an event log for the log under test and for the oracle at once."""

    def __init__(self, terms: oracle.Terms) -> None:
        self.terms = terms
        self.blocks: list[oracle.Block] = []
        self.payloads: dict[bytes, bytes] = {}
        self.up_to = dict.fromkeys(range(1, terms.servers + 1), 0)
        self.recorded = 0
        edges = tuple(range(1, terms.servers + 1))
        self.log = JobLog(job=JOB, terms=job_terms(terms), edge_set_of=lambda _: edges)
        self.block(100, opened=True)

    def block(
        self,
        timestamp: int,
        *,
        records: list[tuple[int, int, str]] | None = None,
        acks: dict[int, tuple[int, set[int], set[int], set[int]]] | None = None,
        ends: events.Event | None = None,
        opened: bool = False,
        closing: bool = False,
    ) -> None:
        """Add a block; `records` are (client, base, payload), `acks` edge -> (up_to, missing, invalid, resolved)."""
        height = len(self.blocks) + 1
        happened: list[events.Event] = [events.JobOpened(*AT, JOB, self.terms.phi)] if opened else []
        told = []
        for client, base, payload in records or []:
            sequence, self.recorded = self.recorded, self.recorded + 1
            told.append((sequence, client, base, payload))
            self.payloads[digest(sequence)] = payload.encode()
            happened.append(
                events.Recorded(
                    *AT, JOB, client, digest(sequence), sequence, base, sequence, 1, 1 << 40, b"s", b"e", verified=True
                )
            )
        said = []
        for edge, (up_to, missing, invalid, resolved) in (acks or {}).items():
            lists = [tuple(sorted(some)) for some in (missing, invalid, resolved)]
            said.append((edge, self.up_to[edge], up_to, *lists))
            happened.append(events.Acknowledged(*AT, JOB, edge, self.up_to[edge], up_to, *lists))
            self.up_to[edge] = up_to
        if closing:
            happened.append(events.JobClosing(*AT, JOB, self.recorded))
        if ends is not None:
            happened.append(ends)
        ended = getattr(ends, "round", 0)
        self.blocks.append(oracle.Block(height, timestamp, tuple(told), tuple(said), ended, closing))
        self.log.observe(BlockEvents(height, timestamp, tuple(happened)), self.payloads.get)

    def hold(self, timestamp: int) -> None:
        """Let every server hold everything."""
        self.block(timestamp, acks={edge: (self.recorded, set(), set(), set()) for edge in self.up_to})

    def agree(self, timestamp: int) -> None:
        """End the round by the selection of the log under test."""
        chosen = self.log.select(self.payloads.get)
        assert chosen is not None
        ends = events.RoundAgreed(
            *AT,
            JOB,
            chosen.round,
            b"d",
            chosen.height,
            len(chosen.records),
            chosen.spent,
            b"t",
            b"m",
            7,
            self.terms.phi,
        )
        self.log._parts[b"d"] = ()  # noqa: SLF001 - the attestation itself is not part of this story
        self.block(timestamp, ends=ends)

    def void(self, timestamp: int) -> None:
        """End the round without a quorum."""
        self.block(timestamp, ends=events.RoundVoid(*AT, JOB, self.log.next_round, 2, 0, self.terms.phi))

    def selected(self) -> list[int] | None:
        chosen = self.log.select(self.payloads.get)
        return None if chosen is None else [entry.sequence for entry in chosen.records]


def job_terms(terms: oracle.Terms) -> JobTerms:
    name = bytes(32)
    return JobTerms(
        dimension=4,
        fraction_bits=8,
        shift=4,
        norm_bound_squared=1,
        phi=terms.phi,
        max_wait=terms.max_wait,
        base_reward=100,
        rules_version=1,
        scoring=name,
        aggregation=name,
        staleness=name,
        max_staleness=terms.max_staleness,
        record_deadline=terms.deadline,
        attestation_timeout=30,
        records_per_base=terms.per_base,
        edge_set=1,
        job_file=name,
        model=name,
    )


def terms(**changes: int) -> oracle.Terms:
    usual = {"servers": 4, "phi": 2, "max_wait": 10, "deadline": 20, "max_staleness": 3, "per_base": 1}
    return oracle.Terms(**(usual | changes))


def test_a_record_is_available_only_with_holds_from_more_than_two_thirds() -> None:
    story = Story(terms(servers=3))
    story.block(101, records=[(1, 0, "a"), (2, 0, "b")])
    story.block(102, acks={1: (2, set(), set(), set()), 2: (2, set(), set(), set())})
    assert story.selected() is None, "2 of 3 is not more than 2/3"
    story.block(103, acks={3: (2, set(), set(), set())})
    assert story.selected() == [0, 1]


def test_records_are_taken_in_the_order_in_which_they_became_available() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "a"), (2, 0, "b"), (3, 0, "c")])
    story.block(102, acks={edge: (3, {0}, set(), set()) for edge in (1, 2, 3)})
    story.block(103, acks={edge: (3, set(), set(), {0}) for edge in (1, 2, 3)})
    assert story.selected() == [1, 2], "a withheld blob delays nobody"


def test_the_earliest_of_two_equal_payloads_keeps_it() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "same"), (2, 0, "same"), (3, 0, "c")])
    story.hold(102)
    assert story.selected() == [0, 2]
    story.agree(103)
    assert story.log.records[1].status is RecordStatus.COPY
    story.block(104, records=[(4, 1, "same"), (5, 1, "d"), (6, 1, "e")])
    story.hold(105)
    assert story.selected() == [4, 5], "a copy of an older round is a copy as well"


def test_a_client_has_one_record_per_base_unless_the_job_allows_more() -> None:
    for per_base, expected in ((1, [0, 2]), (2, [0, 1])):
        story = Story(terms(per_base=per_base))
        story.block(101, records=[(1, 0, "a"), (1, 0, "b"), (2, 0, "c")])
        story.hold(102)
        assert story.selected() == expected


def test_a_record_that_grew_too_old_while_it_waited_is_spent_without_pay() -> None:
    story = Story(terms(phi=1, max_staleness=0))
    story.block(101, records=[(1, 0, "a"), (2, 0, "b"), (3, 0, "c")])
    story.hold(102)
    story.agree(103)
    assert story.selected() is None
    story.block(104, records=[(4, 1, "d")])
    story.hold(105)
    assert story.selected() == [3]
    story.agree(106)
    assert [entry.status for entry in story.log.records[1:3]] == [RecordStatus.STALE, RecordStatus.STALE]


def test_max_wait_closes_a_round_with_fewer_but_never_an_empty_one() -> None:
    story = Story(terms())
    story.block(150)
    assert story.selected() is None
    story.block(151, records=[(1, 0, "a")])
    story.hold(152)
    chosen = story.log.select(story.payloads.get)
    assert chosen is not None
    assert (chosen.height, len(chosen.records)) == (4, 1)


def test_a_record_is_void_after_its_deadline_and_a_late_hold_changes_nothing() -> None:
    story = Story(terms(servers=4))
    story.block(101, records=[(1, 0, "a")])
    story.block(121, acks={1: (1, set(), set(), set()), 2: (1, set(), set(), set())})
    assert story.log.records[0].status is RecordStatus.PENDING
    story.block(122, acks={3: (1, set(), set(), set())})
    assert story.log.records[0].status is RecordStatus.VOID


def test_a_record_is_void_as_soon_as_holds_can_no_longer_suffice() -> None:
    story = Story(terms(servers=4))
    story.block(101, records=[(1, 0, "a")])
    story.block(102, acks={1: (1, set(), {0}, set())})
    assert story.log.records[0].status is RecordStatus.PENDING
    story.block(103, acks={2: (1, set(), {0}, set())})
    assert story.log.records[0].status is RecordStatus.VOID


def test_a_hold_never_becomes_invalid_again() -> None:
    story = Story(terms(servers=4))
    story.block(101, records=[(1, 0, "a")])
    story.block(102, acks={1: (1, set(), set(), set()), 2: (1, set(), set(), set())})
    story.block(103, acks={1: (1, set(), {0}, set()), 2: (1, set(), {0}, set())})
    story.block(104, acks={3: (1, set(), set(), set())})
    assert story.log.records[0].status is RecordStatus.AVAILABLE


def test_a_void_round_spends_its_records_and_raises_the_version() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "a"), (2, 0, "b")])
    story.hold(102)
    story.void(200)
    assert story.log.version == 1
    assert story.log.model == story.log.terms.model
    assert {entry.status for entry in story.log.records} == {RecordStatus.CONSUMED}


def test_a_quorum_for_another_selection_is_a_divergence() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "a"), (2, 0, "b")])
    story.hold(102)
    with pytest.raises(SelectionDivergesError, match=r"job 1 round 1: .* agreed on chain is \(3, 1, 1\)"):
        story.block(103, ends=events.RoundAgreed(*AT, JOB, 1, b"d", 3, 1, 1, b"t", b"m", 7, 2))


def test_the_end_of_a_round_waits_for_blobs_and_changes_nothing_until_they_are_here() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "a"), (2, 0, "b")])
    story.hold(102)
    story.log._parts[b"d"] = ()  # noqa: SLF001 - as in Story.agree
    end = BlockEvents(4, 103, (events.RoundAgreed(*AT, JOB, 1, b"d", 3, 2, 2, b"t", b"m", 7, 2),))
    with pytest.raises(PayloadsNeededError):
        story.log.observe(end, lambda _: None)
    assert story.log.version == 0
    story.log.observe(end, story.payloads.get)
    assert story.log.version == 1


def test_closing_takes_what_is_left_and_then_says_that_nothing_is() -> None:
    story = Story(terms())
    story.block(101, records=[(1, 0, "a"), (2, 0, "b"), (3, 0, "c")])
    story.hold(102)
    story.block(103, closing=True)
    story.agree(104)
    assert story.log.status is JobStatus.CLOSING
    assert story.selected() is None, "one record is left, the round waits for max_wait"
    story.block(120)
    assert story.selected() == [2]
    story.agree(121)
    last = story.log.select(story.payloads.get)
    assert last is not None
    assert (last.records, last.spent) == ((), 3)


def test_what_is_available_promises_full_rounds_without_what_will_be_too_old_or_too_many() -> None:
    story = Story(terms(max_staleness=1))
    story.block(101, records=[(client, 0, f"{client}") for client in (1, 2, 3, 3, 4, 5, 6)])
    assert story.log.rounds_at_hand() == 0, "nothing is available yet"
    story.hold(102)
    assert story.log.rounds_at_hand() == 2, "a second record of client 3 does not count, and later all are too old"
    story.agree(103)
    assert story.log.rounds_at_hand() == 1


@pytest.mark.parametrize("part", range(4))
def test_the_promised_rounds_come_whatever_else_is_recorded(part: int) -> None:
    promised = 0
    for number in range(50):
        story = random_story(part * 1000 + number, copies=False)
        now, chance = story.blocks[-1].timestamp, seeded(number, "backlog")
        bases = [chance.randint(0, story.log.version) for _ in range(8)]
        story.block(now, records=[(chance.randint(1, 6), base, f"waits {base} {n}") for n, base in enumerate(bases)])
        story.hold(now)
        more, rounds = story.log.rounds_at_hand(), story.log.version
        story.block(now, records=[(9, story.log.version, "another")])
        for _ in range(more):
            assert story.selected(), f"seed {part * 1000 + number}"
            story.agree(now)
        assert story.log.version == rounds + more
        promised += more
    assert promised >= 50


def random_story(seed: int, *, copies: bool = True) -> Story:
    """Make a log: records, copies, holds in any order, late ones, invalid ones, agreed and void rounds."""
    chance = seeded(seed, "selection")
    story = Story(
        terms(
            servers=chance.choice([1, 2, 3, 4, 5, 7]),
            phi=chance.choice([1, 2, 3, 5]),
            max_wait=chance.choice([2, 6, 15]),
            deadline=chance.choice([2, 8, 30]),
            max_staleness=chance.choice([0, 1, 3]),
            per_base=chance.choice([1, 2]),
        )
    )
    now = 100
    for _ in range(chance.randint(10, 40)):
        now += chance.choice([0, 0, 1, 1, 2, 9])
        if story.selected() is not None and chance.random() < 0.5:
            (story.void if chance.random() < 0.15 else story.agree)(now)
            continue
        records = [
            (
                chance.randint(1, 4),
                chance.randint(0, story.log.version),
                chance.choice("abcdefghijklmnop") * chance.randint(1, 3) if copies else str(chance.random()),
            )
            for _ in range(chance.choice([0, 1, 1, 2, 4]))
        ]
        acks = {}
        for edge, first in story.up_to.items():
            if chance.random() < 0.6:
                up_to = chance.randint(first, story.recorded)
                fresh = range(first, up_to)
                missing = {s for s in fresh if chance.random() < 0.25}
                invalid = {s for s in fresh if s not in missing and chance.random() < 0.1}
                resolved = {s for s in range(first) if chance.random() < 0.3}
                acks[edge] = (up_to, missing, invalid, resolved)
        story.block(now, records=records, acks=acks)
    return story


@pytest.mark.parametrize("part", range(10))
def test_the_oracle_selects_the_same_rounds_on_random_logs(part: int) -> None:
    rounds = 0
    for number in range(50):
        story = random_story(part * 1000 + number)
        expected = oracle.replay(story.blocks, story.terms, opened=(1, 100))
        found = [
            (outcome.selection.height, [entry.sequence for entry in outcome.selection.records], outcome.selection.spent)
            for outcome in story.log.outcomes
            if outcome.selection is not None
        ]
        last = story.log.select(story.payloads.get)
        if last is not None:
            found.append((last.height, [entry.sequence for entry in last.records], last.spent))
        assert found == expected, f"seed {part * 1000 + number}"
        rounds += len(found)
    assert rounds >= 100  # a thousand in all parts
