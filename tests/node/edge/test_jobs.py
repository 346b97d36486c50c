"""Jobs that edge servers must not open: refused with a reason, and the servers go on with the others."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from contracts import bindings, events
from contracts.records import blob_digest
from node.rounds.attestation import encode_model
from tests.node.edge.conftest import Worlds
from tests.node.edge.world import DIMENSION, FRACTION_BITS, MODEL_0, SERVERS, SHIFT, World, job_file


def refuses(world: World, words: str) -> None:
    """Nobody opens the newest job; then an honest one opens and pays."""
    world.run()
    assert world.ledger.job(world.job).status is bindings.JobStatus.PROPOSED
    assert [words in world.desk(member).refusal for member in world.servers] == [True] * SERVERS
    assert world.servers[2].job_status(world.desk(2))["refusal"] == world.desk(2).refusal
    assert world.offer(world.update(1)).kind == "job"
    world.open()
    assert world.round(1, 2).agreed


@pytest.mark.parametrize(
    "changes",
    [{"phi": 1}, {"base_reward": 1}, {"max_wait": 51}, {"norm_bound_squared": 2**62}, {"scoring": b"\xff" * 32}],
)
def test_a_job_whose_terms_differ_from_its_file_is_refused(worlds: Worlds, changes: dict[str, Any]) -> None:
    world = worlds()
    world.propose(job_file(), **changes)
    refuses(world, "its terms on the ledger differ from its file")


@pytest.mark.parametrize(
    "model",
    [
        encode_model(np.zeros(DIMENSION + 1, dtype=np.int32), FRACTION_BITS + SHIFT),
        encode_model(np.zeros(DIMENSION, dtype=np.int32), FRACTION_BITS),
    ],
)
def test_a_model_that_does_not_fit_the_terms_is_refused(worlds: Worlds, model: bytes) -> None:
    world = worlds()
    world.propose(job_file(), model=model)
    refuses(world, "model 0 has another dimension or other fraction bits than the terms")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"", "model header"),
        (MODEL_0[:-1], "model of dimension"),
        (bytes(len(MODEL_0)), "magic of the blob's header"),
        (b"[" * 100_000, "magic of the blob's header"),
    ],
)
def test_a_model_that_is_none_is_refused(worlds: Worlds, model: bytes, words: str) -> None:
    world = worlds()
    world.propose(job_file(), model=model)
    refuses(world, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "missing required field title"),
        (b"\xff", "'utf-8' codec can't decode"),
        (b"title = ", "Invalid value"),
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"a." * 100_000 + b"b = 1", "dots in line 1"),
    ],
)
def test_a_job_file_that_makes_no_sense_is_refused(worlds: Worlds, text: bytes, words: str) -> None:
    world = worlds()
    world.propose(job_file(), job_file=blob_digest(text))
    world.stores[1].put(text)
    refuses(world, words)


def test_a_job_with_an_unknown_key_is_refused_with_the_nearest_valid_one(worlds: Worlds) -> None:
    world = worlds()
    text = job_file().encode().replace(b"max_wait", b"maxwait")
    world.propose(job_file(), job_file=blob_digest(text))
    world.stores[1].put(text)
    refuses(world, "unknown key round.maxwait; the nearest valid one is round.max_wait")


@pytest.mark.parametrize("terms", [{"rules_version": 2}, {"scoring": "generous"}])
def test_a_job_by_rules_that_the_servers_lack_is_refused_by_name(worlds: Worlds, terms: dict[str, Any]) -> None:
    world = worlds()
    file = job_file(**terms)
    known = job_file().ledger_terms(model=blob_digest(MODEL_0), edge_set=1)
    world.propose(job_file(), job_file=file.digest(), rules_version=terms.get("rules_version", known.rules_version))
    world.stores[1].put(file.encode())
    refuses(world, next(iter(terms)))


def test_an_attestation_by_another_rules_version_than_the_jobs_has_other_support(world: World) -> None:
    """The Ledger digests the version of the job's terms: what another version gives counts for another variant."""
    honest = world.first_attestation(1, 2)
    wrong = dataclasses.replace(
        honest, parts=tuple(dataclasses.replace(part, digest=part.digest[::-1]) for part in honest.parts)
    )
    world.to_ledger(world.cast.edges[3], bindings.Ledger.encode_attest(wrong))
    mine, other = world.events(events.Attested)
    assert (mine.digest, mine.support) == (honest.digest(world.log().terms.rules_version), 1)
    assert (other.digest, other.support) == (wrong.digest(world.log().terms.rules_version), 1)
    assert honest.digest(2) != mine.digest


def test_a_job_without_files_waits_and_opens_when_they_come(worlds: Worlds) -> None:
    world = worlds()
    world.propose(job_file())
    file = job_file().encode()
    world.stores[1].remove(blob_digest(file))
    world.run()
    assert world.ledger.job(world.job).status is bindings.JobStatus.PROPOSED
    assert world.servers[3].offer_blob(blob_digest(file), file).status == "stored"
    world.clock.time += 1
    world.run()
    assert world.ledger.job(world.job).status is bindings.JobStatus.OPEN


def test_a_budget_below_one_reward_makes_no_job(worlds: Worlds) -> None:
    world = worlds()
    terms = job_file().ledger_terms(model=blob_digest(MODEL_0), edge_set=1)
    words = world.refusal(world.cast.sponsor, bindings.Ledger.encode_create_job(terms, terms.base_reward - 1))
    assert "budget is below one base reward" in words
