"""Rounds among four edge servers: dead ones, silent clients, too few of them, servers that disagree."""

import dataclasses

import pytest

from contracts import bindings, digests, events
from contracts.digests import Attestation
from node.rounds.log import RecordStatus
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import MODEL_0, SERVERS, TOKEN, World


def falsified(honest: Attestation, name: str) -> Attestation:
    """Return an attestation with another digest for one part."""
    wrong = bytes(31) + b"\1"
    parts = tuple(
        dataclasses.replace(part, digest=wrong) if digests.text_of(part.name) == name else part for part in honest.parts
    )
    return dataclasses.replace(honest, parts=parts)


def test_two_clients_make_a_round_that_is_paid_to_the_wei(world: World) -> None:
    outcome = world.round(1, 2)
    assert outcome.agreed
    assert outcome.selection is not None
    assert [entry.client for entry in outcome.selection.records] == [5, 6]
    paid = world.events(events.Credited)
    assert [event.client for event in paid] == [5, 6]
    assert sum(event.reward for event in paid) == 10 * TOKEN
    assert not world.events(events.Recorded)[0].verified, "this chain verifies no ML-DSA: the edge servers did"
    assert [server.refusals for server in world.servers.values()] == [{}] * SERVERS
    said = world.events(events.Acknowledged)
    assert not any(event.missing for event in said[:3]), "a blob that is on its way is waited for"


def test_fewer_clients_than_phi_close_the_round_by_max_wait_and_share_base_times_k_over_phi(worlds: Worlds) -> None:
    world = worlds()
    world.open(phi=3, max_wait=50)
    world.contribute(1)
    world.run()
    assert world.outcomes == []
    world.wait(60)
    world.run()
    (outcome,) = world.outcomes
    assert outcome.agreed
    assert len(world.events(events.Ticked)) == 1, "one server is enough to show an idle chain the time"
    assert outcome.reward_wei == 10 * TOKEN * 1 // 3
    assert [(event.client, event.reward) for event in world.events(events.Credited)] == [(5, 10 * TOKEN // 3)]
    assert world.ledger.accounts(world.job).pending == 10 * TOKEN // 3


def test_one_dead_server_of_four_stops_nothing_and_catches_up_when_it_returns(world: World) -> None:
    world.dead.add(3)
    world.round(1, 2)
    world.round(3, 4)
    assert [outcome.agreed for outcome in world.outcomes] == [True, True]
    assert {event.edge for event in world.events(events.Attested)} <= {1, 2, 4}

    world.dead.clear()
    back = world.restart(3)
    world.run()
    assert back.jobs[world.job].log.version == 2
    assert [outcome.model for outcome in back.jobs[world.job].log.outcomes] == [o.model for o in world.outcomes]
    mine = world.events(events.Attested)
    world.round(5, 6)
    assert {event.edge for event in world.events(events.Attested)[len(mine) :]} & {3}, "it takes part again"


def test_what_a_returning_server_attests_of_a_decided_round_has_no_effect(world: World) -> None:
    world.dead.add(4)
    late = world.first_attestation(1, 2)
    world.run()
    before = world.ledger.round(world.job, 1)
    world.to_ledger(world.cast.edges[3], bindings.Ledger.encode_attest(late))
    (event,) = world.events(events.AttestedLate)
    assert (event.edge, event.round) == (4, 1)
    assert world.ledger.round(world.job, 1).digest == before.digest
    world.run()
    assert world.version == 1
    assert len(world.events(events.RoundSettled)) == 1


def test_a_blob_that_its_client_withholds_is_void_at_the_deadline_and_delays_nobody(worlds: Worlds) -> None:
    world = worlds()
    world.open(phi=2, record_deadline=80)
    withheld = world.update(1)
    world.offer(withheld)
    world.step()
    outcome = world.round(2, 3)
    assert outcome.selection is not None
    assert [entry.client for entry in outcome.selection.records] == [6, 7]
    world.wait(100)
    world.run()
    assert world.statuses()[0] == "void"
    answer = world.put(withheld)
    assert (answer.status, world.servers[1].record_status(world.job, 5, withheld.digest).status) == ("held", "void")
    world.run()
    assert world.statuses()[0] == "void", "final"
    outcome = world.round(1, 2)
    assert outcome.selection is not None
    assert outcome.selection.spent == 5, "the void record counts as spent"


def test_a_hundred_and_thirty_withheld_blobs_silence_no_server(worlds: Worlds) -> None:
    world = worlds()
    world.open(phi=1, records_per_base=200, budget=10_000)
    withheld = [world.update(1, counter=counter) for counter in range(130)]
    for part in (withheld[:60], withheld[60:]):
        world.record(*part)
    outcome = world.round(2)
    assert outcome.selection is not None
    assert [entry.client for entry in outcome.selection.records] == [6]


def test_a_blob_that_one_server_keeps_to_itself_is_available_through_the_others(world: World) -> None:
    world.silent.add(1)
    first, second = world.update(1), world.update(2)
    for update in (first, second):
        world.offer(update, 2)
    world.step(2)
    world.step()
    for update in (first, second):
        assert world.put(update, 2).status == "held"
    world.run()
    assert world.outcomes[0].agreed
    assert [entry.status for entry in world.log().records] == [RecordStatus.CONSUMED] * 2


def test_the_blob_that_only_a_withholding_server_has_becomes_void(world: World) -> None:
    world.silent.add(1)
    world.contribute(1, member=1)
    world.run()
    assert world.statuses(2) == ["pending"]
    world.wait(100)
    world.run()
    assert [world.statuses(member) for member in (1, 2, 3)] == [["void"]] * 3


def test_a_hold_in_a_block_after_the_deadline_comes_too_late(world: World) -> None:
    world.dead |= {3, 4}
    world.contribute(1)
    world.step(1, 2)
    assert len(world.events(events.Acknowledged)) == 2
    world.wait(100)
    world.to_ledger(world.cast.edges[2], bindings.Ledger.encode_acknowledge(world.job, 1, [], [], []))
    world.step(1, 2)
    assert [world.statuses(member) for member in (1, 2)] == [["void"], ["void"]]


def test_two_against_two_is_void_after_the_timeout_and_nobody_is_paid(world: World) -> None:
    wrong = falsified(world.first_attestation(1, 2), "model")
    world.dead |= {3, 4}
    for edge in world.cast.edges[2:]:
        world.to_ledger(edge, bindings.Ledger.encode_attest(wrong))
    world.run()
    assert world.version == 0
    assert world.ledger.round(world.job, 1).variants == 2
    world.wait(102)
    world.run()
    (void,) = world.events(events.RoundVoid)
    assert (void.round, void.variants) == (1, 2)
    assert world.ledger.job(world.job).model == world.log().terms.model
    assert world.statuses() == ["consumed", "consumed"], "its records are spent"
    assert world.ledger.accounts(world.job).pending == 0
    world.dead.clear()
    assert world.round(3, 4).agreed


@pytest.mark.parametrize("part", ["inputs", "gram", "thetas", "aggregate", "model"])
def test_the_part_that_a_diverging_server_computed_otherwise_stands_on_the_ledger(world: World, part: str) -> None:
    """The same is seen of a server with another version of the rules: its parts differ."""
    honest = world.first_attestation(1, 2)
    world.dead.add(4)
    world.to_ledger(world.cast.edges[3], bindings.Ledger.encode_attest(falsified(honest, part)))
    world.run()
    assert world.outcomes[0].agreed
    said = {event.edge: event.parts for event in world.events(events.Attested)}
    differing = [a.name for a, b in zip(said[4], said[1], strict=True) if a != b]
    assert [digests.text_of(name) for name in differing] == [part]


def test_attestations_of_strangers_and_of_rounds_to_come_are_reverted(world: World) -> None:
    encode = bindings.Ledger.encode_attest
    honest = world.first_attestation(1, 2)
    assert "caller's key is unknown" in world.refusal(world.cast.stranger, encode(honest))
    assert "another role" in world.refusal(world.cast.sponsor, encode(honest))
    future = dataclasses.replace(honest, round=2)
    assert "round is not next" in world.refusal(world.cast.edges[3], encode(future))
    high = dataclasses.replace(honest, height=10**6)
    assert "height is not in the past" in world.refusal(world.cast.edges[3], encode(high))
    assert honest.digest(1) != honest.digest(2), "a server cannot attest by another rules version than the job's"


def test_a_lone_early_attestation_neither_voids_a_round_nor_keeps_max_wait_from_closing_it(worlds: Worlds) -> None:
    world = worlds()
    world.open(phi=3, max_wait=200, attestation_timeout=20, record_deadline=300)
    world.contribute(1)
    world.run()
    world.dead.add(4)
    parts = (digests.Part(digests.name32("thetas"), b"\1" * 32), digests.Part(digests.name32("model"), b"\2" * 32))
    early = Attestation(world.job, 1, world.chain.w3.eth.block_number - 1, 1, 1, parts)
    world.to_ledger(world.cast.edges[3], bindings.Ledger.encode_attest(early))
    world.run()
    world.wait(60)
    world.run()
    assert world.outcomes == []
    assert world.events(events.RoundVoid) == []
    world.wait(200)
    world.run()
    assert [outcome.agreed for outcome in world.outcomes] == [True]


def test_thetas_that_do_not_hash_to_the_agreed_digest_pay_nobody(world: World) -> None:
    world.contribute(1, 2)
    while world.version == 0:
        world.step()
    scored = world.desk(next(m for m in world.servers if world.desk(m).scored)).scored
    assert scored is not None
    thetas, encode = scored.thetas, bindings.Ledger
    wrong = encode.encode_post_thetas(world.job, 1, thetas.total + 1, thetas.chunk_digests)
    anybody = world.cast.stranger
    assert world.ledger.round(world.job, 1).status is bindings.RoundStatus.AGREED
    assert "do not match the agreed digest" in world.refusal(anybody, wrong)
    world.to_ledger(anybody, encode.encode_post_thetas(world.job, 1, thetas.total, thetas.chunk_digests))
    clients, shares = thetas.chunks[0]
    swapped = encode.encode_settle_chunk(world.job, 1, 0, clients, shares[::-1])
    assert "chunk does not match its digest" in world.refusal(anybody, swapped)
    world.run()
    assert sum(event.reward for event in world.events(events.Credited)) == 10 * TOKEN


def test_a_round_agreed_with_other_thetas_than_the_log_gives_is_not_settled_by_an_honest_server(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = falsified(world.first_attestation(1, 2), "thetas")
    world.step(4)
    world.dead |= {1, 2, 3}
    for edge in world.cast.edges[:3]:
        world.to_ledger(edge, bindings.Ledger.encode_attest(wrong))
    agreed = world.chain.w3.eth.block_number
    world.run()
    world.wait(60)
    world.run()
    assert world.ledger.round(world.job, 1).status is bindings.RoundStatus.AGREED
    assert world.chain.w3.eth.block_number == agreed, "it sends nothing that the ledger must refuse"
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line == f"edge server 4: round 1 of job {world.job} was agreed with other thetas"


def test_a_server_that_cannot_follow_for_lack_of_blobs_sends_nothing_until_it_can(world: World) -> None:
    world.dead.add(4)
    assert world.round(1, 2).agreed
    world.dead |= {1, 2, 3}
    world.dead.discard(4)
    behind = world.chain.w3.eth.block_number
    for _ in range(10):
        world.step(4)
        world.clock.time += 0.3
    assert world.chain.w3.eth.block_number <= behind + 1, "what it knew before it fell behind it may say once"
    assert world.log(4).version == 0
    world.dead.clear()
    world.run()
    assert world.log(4).version == 1
    assert world.round(3, 4).agreed


def test_a_server_that_the_job_opened_without_keeps_its_file_all_the_same(world: World) -> None:
    world.run()
    digest = world.log().terms.job_file
    assert [digest in world.stores[member] for member in world.servers] == [True] * SERVERS


def test_a_round_of_zeros_is_unpaid_and_the_model_stays(world: World) -> None:
    world.deliver(world.update(1, [1, 0, 0, 0, 0, 0]), world.update(2, [-1, 0, 0, 0, 0, 0]))
    world.run()
    (outcome,) = world.outcomes
    assert outcome.agreed
    assert outcome.model == world.log().terms.model
    assert len(world.events(events.RoundUnpaid)) == 1
    assert world.ledger.accounts(world.job).pending == 0


def test_a_copy_of_anothers_payload_is_recorded_judged_a_copy_and_not_paid(world: World) -> None:
    original = world.update(1, [3, 1, 4, 1, 5, 9])
    copied = world.update(2, [3, 1, 4, 1, 5, 9])
    world.deliver(original, copied)
    world.run()
    world.wait(60)
    world.run()
    assert world.statuses() == ["consumed", "copy"]
    assert [event.client for event in world.events(events.Credited)] == [5]
    assert world.servers[1].record_status(world.job, 6, copied.digest).status == "copy"


def test_a_restarted_server_still_knows_the_data_sizes_that_the_job_declares(worlds: Worlds) -> None:
    world = worlds()
    world.open(scoring="data-size", samples={"5": 30, "6": 10})
    world.restart(2)
    world.restart(3)
    assert world.round(1, 2).agreed
    assert [event.theta for event in world.events(events.Credited)] == [10**9, 10**9 // 3]


def test_a_job_may_score_by_a_rule_with_a_step_of_its_own(worlds: Worlds) -> None:
    world = worlds()
    world.open(scoring="leave-one-out")
    assert world.round(1, 2).agreed
    paid = [event.theta for event in world.events(events.Credited)]
    assert len(paid) == 2
    assert 0 < paid[0] == paid[1] < 10**9  # two updates agree with each other alike


def test_a_closing_job_settles_what_is_recorded_and_refunds_the_rest(world: World) -> None:
    world.contribute(1, 2, 3)
    copied = world.update(4, [1, 1, 1, 1, 1, 1])
    world.offer(copied)
    world.step()
    world.run()
    world.to_ledger(world.cast.sponsor, bindings.Ledger.encode_close_job(world.job))
    world.step()
    answer = world.offer(world.update(5))
    assert (answer.status, answer.kind) == ("refused", "job")
    for _ in range(4):  # max_wait of the last round, then the deadline of the copy whose blob never came
        world.run()
        world.wait(90)
    world.run()
    accounts = world.ledger.accounts(world.job)
    assert world.ledger.job(world.job).status is bindings.JobStatus.CLOSED
    assert (accounts.escrow, accounts.pending) == (0, 10 * TOKEN + 10 * TOKEN // 2)
    assert accounts.refunded == accounts.funded - accounts.pending


def test_model_0_is_what_the_first_round_moves(world: World) -> None:
    world.round(1, 2)
    assert world.stores[2].get(world.log().terms.model) == MODEL_0
    assert world.log().model in world.stores[3]


# Rules that change


def use_rules(world: World, scoring: str, version: int = 1) -> None:
    """Have the governor name other rules for the job."""
    names = (digests.name32(name) for name in (scoring, "literal", "constant"))
    world.to_ledger(world.cast.governor, bindings.Ledger.encode_use_rules(world.job, version, *names))


def test_rules_that_the_governor_changed_score_the_next_round_and_not_the_one_under_way(world: World) -> None:
    world.contribute(1, 2)
    use_rules(world, "uniform")
    world.run()
    world.round(3, 4)
    first, second = (
        [event.theta for event in world.events(events.Credited) if event.round == number] for number in (1, 2)
    )
    assert 10**9 not in first
    assert second == [10**9] * 2
    assert [outcome.agreed for outcome in world.outcomes] == [True, True]
    log = world.log()
    assert [digests.text_of(log.terms_of(number).scoring) for number in (1, 2, 3)] == ["cosine", "uniform", "uniform"]


def test_a_server_that_was_away_scores_each_round_by_its_own_rules(world: World) -> None:
    world.dead.add(4)
    use_rules(world, "uniform")
    world.round(1, 2)
    world.round(3, 4)
    world.dead.clear()
    back = world.restart(4)
    world.run()
    assert [outcome.agreed for outcome in back.jobs[world.job].log.outcomes] == [True, True]
    scored = [back._score(back.jobs[world.job], outcome.selection) for outcome in world.outcomes if outcome.selection]  # noqa: SLF001 - what it would have attested
    assert [one.thetas.digest for one in scored if one] == [outcome.thetas for outcome in world.outcomes]


def test_a_server_without_the_rule_says_so_once_attests_nothing_and_goes_on_with_the_rest(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    use_rules(world, "uniform", version=9)
    world.round(1, 2)
    world.contribute(3, 4)
    world.run()
    world.run()
    assert world.version == 1
    assert {event.round for event in world.events(events.Attested)} == {1}
    lines = [record.getMessage() for record in caplog.records if "cannot compute round 2" in record.getMessage()]
    assert len(lines) == SERVERS
    assert all("install a newer merit-ledger" in line for line in lines)
    assert [entry.status for entry in world.log().records][2:] == [RecordStatus.AVAILABLE] * 2
