"""Rules that read references: edge servers commit before a version can be used, show when a round is fixed, and what
counts follows from the events alone."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts import bindings, digests, events
from contracts.digests import name32
from contracts.records import blob_digest
from learner.contribution import ROOT, Needs
from learner.fixedpoint import Model
from learner.objective import Objective
from learner.references import References
from node.blobs import BlobStore
from node.edge.follower import Follower, Web3Source
from node.edge.references import Roots
from node.edge.retention import PayloadBook, Retention
from node.edge.server import EdgeServer
from node.jobs import JobFile, ReferencesSpec
from node.rounds.attestation import decode_model, encode_model
from node.rounds.log import JobLog
from node.rounds.references import Commitment, ReferenceLog
from tests.node.edge.conftest import Worlds
from tests.node.edge.plain_chain import PlainChain
from tests.node.edge.test_allocation import first_word
from tests.node.edge.test_retention import PRUNER, updates_of
from tests.node.edge.test_rounds import falsified
from tests.node.edge.world import DIMENSION, FRACTION_BITS, SERVERS, SHIFT, Cast, World, cast_for, job_file

RIGHT = [1, 1, 1, 1, 1, 1]
DEADLINE_S = 80  # of the world's jobs: record_deadline


def root_vector(member: int, version: int) -> np.ndarray:
    """What server `member` teaches: the direction (1, ..., 1) and something of its own."""
    vector = np.full(DIMENSION, 100, dtype=np.int16)
    vector[member] += 10 + version
    return vector


@dataclass
class Teaching:
    """Counts how often a server is asked, and answers by the rule's needs."""

    member: int
    asked: int = 0

    def __call__(self, file: JobFile, needs: Needs, version: int, model: Model) -> References:
        assert len(model) == file.model.dimension
        self.asked += 1
        vector = root_vector(self.member, version)
        if not needs.labels:
            return References((ROOT,), vector[None])
        other = vector[::-1].copy()
        table = References(((0, 0), (0, 1), (1, 0), (1, 1)), np.stack([vector, -vector, -other, other]))
        return table if not needs.newest_root else table.joined(References((ROOT,), vector[None]))


def honest(member: int, sealed: Path) -> Roots:
    return Roots(Teaching(member), BlobStore(sealed))


@pytest.fixture(scope="session")
def stage3() -> tuple[PlainChain, Cast]:
    chain = PlainChain()
    return chain, cast_for(chain, ledger_version=3)


@pytest.fixture
def schools(stage3: tuple[PlainChain, Cast], tmp_path: Path) -> Generator[Worlds]:
    """Give a maker of worlds whose servers have root samples: `schools(kinds, roots)`."""
    chain, cast = stage3

    def make(kinds: dict[int, type[EdgeServer]] | None = None, roots: Callable[[int, Path], Roots] = honest) -> World:
        return World(chain, cast, tmp_path, kinds or {}, roots)

    with chain.fork():
        yield make


def opened(schools: Worlds, scoring: str = "fltrust", *args: Any, **terms: Any) -> World:
    world = schools(*args)
    world.open(scoring=scoring, references=ReferencesSpec(), **terms)
    return world


def restart_all(world: World) -> None:
    """Start every server again, over the stores as they lie on disk."""
    world.stores = {member: BlobStore(world.directory / str(member)) for member in world.servers}
    world.servers = {member: world.server(member) for member in world.servers}
    world.run()


def settle(world: World) -> None:
    """Run on, through pauses in which servers only wait to ask for a blob again."""
    for _ in range(3):
        world.run()


def derived(world: World) -> tuple[JobLog, ReferenceLog]:
    """Derive everything from the events alone, as an auditor does: nothing is opened before its round is decided."""
    reader = world.server(1, EdgeServer)
    source = Follower(Web3Source(world.chain.w3, (world.cast.ledger, world.cast.registry)))
    references = ReferenceLog(world.job)
    log: JobLog | None = None
    for block in source.poll():
        for event in block.events:
            if isinstance(event, events.JobCreated) and event.job == world.job:
                log = JobLog(event.job, event.terms, bindings.Registry(world.chain.w3, world.cast.registry).edge_set)
        if log is not None:
            log.observe(block, reader._payload_digest)  # noqa: SLF001 - the store of server 1
            references.observe(block, log)
    assert log is not None
    return log, references


def used(references: ReferenceLog, version: int) -> list[int]:
    """Return whose references of a version are used."""
    settled = references.settled(version)
    assert settled is not None
    return [one.edge for one in settled]


def names(world: World) -> list[str]:
    return [digests.text_of(part.name) for part in world.outcomes[-1].parts]


def beside(world: World, sequence: int) -> int:
    log, references = derived(world)
    found = references.beside(log.records[sequence])
    assert all(server.jobs[world.job].references.beside(log.records[sequence]) == found for server in alive(world))
    return found


def alive(world: World) -> list[EdgeServer]:
    return [server for member, server in world.servers.items() if member not in world.dead]


def agree(world: World) -> ReferenceLog:
    """Demand that every living server and an auditor derive the same; return that."""
    _, references = derived(world)
    for server in alive(world):
        own = server.jobs[world.job].references
        assert own.opened() == references.opened()
        assert {v: own.settled(v) for v in own.opened()} == {v: references.settled(v) for v in references.opened()}
    return references


def test_every_server_commits_before_the_job_opens_and_before_each_version_is_decided(schools: Worlds) -> None:
    world = opened(schools)
    world.round(1, 2)
    for version, decided in ((0, world.events(events.JobOpened)), (1, world.events(events.RoundAgreed))):
        made = [one for one in world.events(events.ReferencesCommitted) if one.version == version]
        in_time = {one.edge for one in made if (one.block, one.log_index) < (decided[0].block, decided[0].log_index)}
        assert 3 * len(in_time) > 2 * SERVERS
        assert {one.model for one in made} == {world.log().model_at(version)}


def test_a_round_is_scored_beside_all_references_and_attests_which(schools: Worlds) -> None:
    world = opened(schools)
    outcome = world.round(1, 2)
    assert outcome.agreed
    assert names(world) == ["inputs", "references", "gram", "thetas", "aggregate", "model"]
    references = agree(world)
    assert used(references, 0) == [1, 2, 3, 4]
    scored = world.desk().scored
    assert scored is not None
    assert scored.names is not None
    assert scored.names.versions == (0, 0)
    paid = {event.client: event.theta for event in world.events(events.Credited)}
    assert paid.keys() == {5, 6}
    assert all(theta > 0 for theta in paid.values())


def test_nobody_can_read_references_before_the_round_that_uses_them_is_fixed(schools: Worlds) -> None:
    world = opened(schools)
    world.contribute(1)
    world.run()
    committed = {one.digest for one in world.events(events.ReferencesCommitted)}
    assert len(committed) == SERVERS
    assert not any(digest in store for digest in committed for store in world.stores.values())
    world.round(2)
    shown = {one.digest for one in world.events(events.ReferencesCommitted) if one.version == 0}
    assert all(digest in store for digest in shown for store in world.stores.values())


def test_what_goes_against_the_references_earns_nothing(schools: Worlds) -> None:
    world = opened(schools)
    good, bad = world.update(1, RIGHT), world.update(2, [-n for n in RIGHT])
    world.deliver(good, bad)
    world.run()
    assert [event.theta > 0 for event in world.events(events.Credited)] == [True, False]


def test_a_record_after_its_bases_references_were_opened_counts_against_newer_sealed_ones(schools: Worlds) -> None:
    world = opened(schools)
    world.round(1, 2)
    late = world.update(3, base=0)
    world.deliver(late, world.update(1, base=1))
    world.run()
    assert world.version == 2
    assert [beside(world, sequence) for sequence in range(4)] == [0, 0, 1, 1]
    agree(world)


def test_a_record_between_a_rounds_end_and_its_decision_counts_against_the_version_that_comes(schools: Worlds) -> None:
    world = opened(schools)
    world.contribute(1, 2)
    while world.log().select(world.servers[1]._payload_digest) is None:  # noqa: SLF001 - as the server itself asks
        world.step(1, 2, 3)
    assert world.version == 0
    world.record(world.update(3, base=0))
    world.run()
    assert world.version == 1
    assert beside(world, 2) == 1
    made = world.update(4, base=1)
    world.put(world.update(3, base=0))
    world.deliver(made)
    world.run()
    assert world.version == 2
    assert used(agree(world), 1) == [1, 2, 3, 4]


def test_a_server_that_commits_after_the_first_record_is_left_out(schools: Worlds) -> None:
    world = schools()
    world.dead = {4}
    world.open(scoring="fltrust", references=ReferencesSpec())
    world.record(world.update(1), member=3)
    world.dead = set()
    data = bindings.Ledger.encode_commit_references(world.job, 0, world.log().model_at(0), bytes(31) + b"\1")
    world.to_ledger(world.cast.edges[3], data)
    world.put(world.update(1))
    world.round(2)
    references = agree(world)
    assert [one.edge for one in references.late] == [4]
    assert used(references, 0) == [1, 2, 3]


def test_an_honest_server_that_is_late_does_not_commit_in_vain(schools: Worlds) -> None:
    world = schools()
    world.dead = {4}
    world.open(scoring="fltrust", references=ReferencesSpec())
    world.record(world.update(1), member=3)
    world.dead = set()
    world.run()
    assert {one.edge for one in world.events(events.ReferencesCommitted) if one.version == 0} == {1, 2, 3}


class KeepsToItself(Roots):
    """Commits, and shows nothing."""

    def show(self, digest: bytes, blobs: BlobStore) -> None:
        del digest, blobs


class ShowsOthers(Roots):
    """Commits to one table and shows another."""

    def show(self, digest: bytes, blobs: BlobStore) -> None:
        raw = bytearray(self.sealed.get(digest))
        raw[-1] ^= 1
        blobs.put(bytes(raw))


class Malformed(Teaching):
    """Teaches rows of another width."""

    def __call__(self, file: JobFile, needs: Needs, version: int, model: Model) -> References:
        found = super().__call__(file, needs, version, model)
        return References(found.labels, found.vectors[:, :-1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sealed: KeepsToItself(Teaching(4), sealed),
        lambda sealed: ShowsOthers(Teaching(4), sealed),
        lambda sealed: Roots(Malformed(4), sealed),
    ],
    ids=["keeps them", "shows others", "malformed"],
)
def test_a_round_waits_for_a_servers_references_until_the_deadline_and_goes_on_without(
    schools: Worlds, wrong: Callable[[BlobStore], Roots]
) -> None:
    world = opened(
        schools, "fltrust", None, lambda member, path: wrong(BlobStore(path)) if member == 4 else honest(member, path)
    )
    world.contribute(1, 2)
    world.run()
    assert world.version == 0
    world.wait(DEADLINE_S + 2)
    world.run()
    assert world.version == 1
    assert used(agree(world), 0) == [1, 2, 3]
    assert world.outcomes[-1].agreed


OF_THREE = ReferencesSpec(objective=Objective(edge_servers=(1, 2, 3)))


def test_a_server_whose_samples_do_not_count_commits_to_no_row(schools: Worlds) -> None:
    asked: dict[int, Teaching] = {}

    def roots(member: int, path: Path) -> Roots:
        return Roots(asked.setdefault(member, Teaching(member)), BlobStore(path))

    world = schools(None, roots)
    world.open(scoring="fltrust", references=OF_THREE)
    assert world.round(1, 2).agreed
    assert used(agree(world), 0) == [1, 2, 3, 4]
    assert [bool(asked[member].asked) for member in (1, 2, 3, 4)] == [True, True, True, False]


class Headstrong(Roots):
    """Publishes what its samples teach, though they do not count."""

    def _taught(self, file: JobFile, edge: int, needs: Needs, version: int, model_blob: bytes) -> References:
        del edge
        return self.teach(file, needs, version, decode_model(model_blob)[1])


def test_references_that_the_objective_leaves_out_are_not_used(
    schools: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    def roots(member: int, path: Path) -> Roots:
        return Headstrong(Teaching(member), BlobStore(path))

    world = schools(None, roots)
    world.open(scoring="fltrust", references=OF_THREE)
    world.contribute(1, 2)
    world.run()
    world.wait(DEADLINE_S + 2)
    world.run()
    assert world.version == 1
    assert used(agree(world), 0) == [1, 2, 3]
    assert "the job's objective leaves the samples of edge server 4 out" in caplog.text


def test_rows_of_a_class_outside_the_group_are_not_used(schools: Worlds, caplog: pytest.LogCaptureFixture) -> None:
    world = schools()
    world.open(scoring="anchored", references=ReferencesSpec(objective=Objective(classes=(1,))))
    world.contribute(1, 2)
    world.run()
    world.wait(DEADLINE_S + 2)
    world.run()
    assert used(agree(world), 0) == [], "every server here teaches both classes"
    assert "the job's objective has no reference of (0, 0)" in caplog.text


def test_servers_refuse_a_job_whose_objective_names_a_stranger(schools: Worlds) -> None:
    world = schools()
    world.propose(job_file(scoring="fltrust", references=ReferencesSpec(objective=Objective(edge_servers=(1, 9)))))
    world.run()
    assert not world.events(events.JobOpened)
    assert "its objective names 9, who is no edge server of its edge set" in world.desk().refusal


def test_references_of_another_model_than_the_agreed_one_do_not_count(schools: Worlds) -> None:
    world = opened(schools)
    other = blob_digest(encode_model(np.ones(DIMENSION, dtype=np.int32), FRACTION_BITS + SHIFT))
    data = bindings.Ledger.encode_commit_references(world.job, 1, other, bytes(31) + b"\1")
    world.to_ledger(world.cast.edges[3], data)
    world.round(1, 2)
    world.round(1, 2)
    references = agree(world)
    assert [one.model == other for one in references.commitments[1] if one.edge == 4] == [True, False]
    assert used(references, 1) == [1, 2, 3, 4]


def test_only_a_servers_first_commitment_counts(schools: Worlds) -> None:
    world = opened(schools)
    data = bindings.Ledger.encode_commit_references(world.job, 0, world.log().model_at(0), bytes(31) + b"\1")
    world.to_ledger(world.cast.edges[3], data)
    world.round(1, 2)
    first = next(one for one in world.events(events.ReferencesCommitted) if (one.edge, one.version) == (4, 0))
    assert [one.digest for one in agree(world).settled(0) or () if one.edge == 4] == [first.digest]


def test_a_server_started_again_shows_what_it_committed_to_before(schools: Worlds) -> None:
    world = opened(schools)
    restart_all(world)
    world.contribute(1, 2)
    settle(world)
    assert used(agree(world), 0) == [1, 2, 3, 4]
    restart_all(world)
    world.contribute(3, 4)
    settle(world)
    assert used(agree(world), 1) == [1, 2, 3, 4]


def test_servers_without_root_samples_agree_on_rounds_that_pay_nobody(schools: Worlds) -> None:
    world = World(schools().chain, schools().cast, schools().directory, {})
    world.open(scoring="fltrust", references=ReferencesSpec())
    outcome = world.round(1, 2)
    assert outcome.agreed
    assert used(agree(world), 0) == []
    assert world.events(events.RoundUnpaid)


@pytest.mark.parametrize("scoring", ["anchored", "anchored-shapley", "gram-shapley", "cgsv"])
def test_a_rule_with_needs_runs_round_after_round_and_servers_started_again_agree(
    schools: Worlds, scoring: str
) -> None:
    world = opened(schools, scoring)
    assert world.round(1, 2).agreed
    world.contribute(3)
    world.deliver(world.update(4, [1, 2, 3, 4, 5, 6]))
    settle(world)
    restart_all(world)
    world.contribute(5, 6)
    settle(world)
    assert [outcome.agreed for outcome in world.outcomes] == [True] * 3
    agree(world)
    remembered = [world.log().history_at(version) for version in range(4)]
    assert bool(remembered[-1]) == (scoring != "gram-shapley")
    assert len(set(remembered)) == (4 if remembered[-1] else 1)


def test_history_is_carried_over_a_void_round(schools: Worlds) -> None:
    world = opened(schools, "cgsv")
    world.round(1, 2)
    world.contribute(3, 4)
    wrong = falsified(first_word(world, 2), "history")
    world.dead |= {3, 4}
    for edge in world.cast.edges[2:]:
        world.to_ledger(edge, bindings.Ledger.encode_attest(wrong))
    world.run()
    world.wait(120)
    world.run()
    world.dead.clear()
    world.run()
    log = world.log()
    assert [outcome.agreed for outcome in log.outcomes] == [True, False]
    assert log.history_at(2) == log.history_at(1) != b""
    assert world.round(1, 2).agreed


def test_history_begins_anew_when_the_rule_changes(schools: Worlds) -> None:
    world = opened(schools, "cgsv")
    rules = bindings.Ledger.encode_use_rules(world.job, 1, name32("anchored"), name32("literal"), name32("constant"))
    world.to_ledger(world.cast.governor, rules)
    world.round(1, 2)
    assert world.log().history_at(1) == b""
    assert world.outcomes[0].parts[-1].name == name32("history")


def test_a_rule_that_needs_sums_of_updates_is_computed_by_nobody_when_a_job_changes_to_it(schools: Worlds) -> None:
    world = opened(schools, "cgsv")
    rules = bindings.Ledger.encode_use_rules(world.job, 1, name32("foolsgold"), name32("literal"), name32("constant"))
    world.to_ledger(world.cast.governor, rules)
    world.round(1, 2)
    world.contribute(1, 2)
    settle(world)
    assert world.version == 1
    assert [server.jobs[world.job].unknown_rules for server in world.servers.values()] == [{2}] * SERVERS


@pytest.mark.parametrize("version", [1, 3])
def test_a_rule_that_remembers_and_reads_no_references_runs_on_any_ledger(
    worlds: Worlds, schools: Worlds, version: int
) -> None:
    world = worlds() if version == 1 else schools()
    world.open(scoring="cgsv")
    assert world.round(1, 2).agreed


def test_the_digest_of_part_references_names_records_versions_servers_and_blobs(schools: Worlds) -> None:
    world = opened(schools)
    world.round(1, 2)
    scored = world.desk().scored
    assert scored is not None
    assert scored.names is not None
    whole = scored.names.part(scored.selection)
    (one, *others) = scored.names.used[0]
    changed = Commitment(one.edge, one.version, one.model, bytes(32), one.height)
    for table in ((changed, *others), tuple(others)):
        assert type(scored.names)(scored.names.needs, (0, 0), {0: table}).part(scored.selection) != whole
    assert type(scored.names)(scored.names.needs, (0, 1), scored.names.used).part(scored.selection) != whole


def test_a_server_that_prunes_keeps_what_the_next_rounds_are_scored_beside(schools: Worlds, tmp_path: Path) -> None:
    world = schools()
    world.dead = {4}  # so that no round is decided without the server that prunes
    world.open(scoring="anchored", references=ReferencesSpec(), max_staleness=1)
    server = world.servers[PRUNER]
    server._retention = Retention(1, PayloadBook(tmp_path / "payloads"))  # noqa: SLF001 - as its constructor does
    for number in range(11):
        world.contribute(1 + number % 3, 4 + number % 3)
        settle(world)
    assert [outcome.agreed for outcome in world.outcomes] == [True] * 11
    scored = server.jobs[world.job].scored
    assert scored is not None
    assert scored.names is not None
    assert len(scored.names.records) == 8
    assert all(name in world.stores[PRUNER] for name in scored.names.digests)
    references = agree(world)
    assert not any(one.digest in world.stores[PRUNER] for one in references.settled(0) or ())
    assert not updates_of(world, 1) & set(world.stores[PRUNER])
    assert updates_of(world, 11) <= set(world.stores[PRUNER])
    assert world.log().history_at(1) not in world.stores[PRUNER]
