"""The simulated ledger takes, refuses, remembers and forgets records as the real one does."""

from collections.abc import Sequence

import numpy as np
import pytest

from learner.errors import InvalidTerms
from learner.fixedpoint import Model
from learner.references import References
from learner.simulation.ledger import Fate, Ledger, Publish, Record
from learner.terms import Terms

SIZE = 6


def nothing(version: int, model: Model) -> Sequence[References]:
    message = f"asked for version {version} of {len(model)}"
    raise AssertionError(message)


def ledger(
    scoring: str = "uniform", phi: int = 2, max_staleness: int = 1, publish: Publish = nothing, *, sealed: bool = True
) -> Ledger:
    terms = Terms(
        dimension=SIZE,
        fraction_bits=10,
        shift=4,
        norm_bound_squared=10_000,
        phi=phi,
        max_staleness=max_staleness,
        scoring=scoring,
        aggregation="delta",
    )
    return Ledger(terms, np.zeros(SIZE, dtype=np.int32), 1_000, publish, sealed=sealed)


def record(client: int, value: int, base: int = 0) -> Record:
    return Record(client, base, np.full(SIZE, value, dtype=np.int16), 10, client)


def decide(of: Ledger, *records: Record) -> None:
    for one in records:
        assert of.receive(one) is None
    of.close(0)


def test_a_round_takes_phi_records_in_the_order_in_which_they_came() -> None:
    job = ledger()
    for client in (3, 1, 2):
        assert job.receive(record(client, client)) is None
    assert job.full
    decided = job.close(7)
    assert [one.client for one in decided.records] == [3, 1]
    assert (decided.number, job.version, decided.at_us) == (1, 1, 7)
    assert decided.rewards_wei == (500, 500)
    assert [one.client for one in job.pending] == [2]
    assert not job.full


def test_a_round_of_fewer_pays_its_part() -> None:
    job = ledger(phi=4)
    job.receive(record(1, 1))
    assert job.close(0).rewards_wei == (250,)


def test_stale_surplus_invalid_and_copied_records_are_refused_and_counted() -> None:
    job = ledger()
    decide(job, record(1, 1), record(2, 2))
    decide(job, record(1, 3, base=1), record(2, 4, base=1))
    assert job.version == 2
    assert job.receive(record(3, 5, base=0)) is Fate.STALE
    assert job.receive(record(3, 1_000, base=2)) is Fate.INVALID
    assert job.receive(record(3, 6, base=2)) is None
    assert job.receive(record(3, 7, base=2)) is Fate.SURPLUS
    assert job.receive(record(4, 1, base=2)) is Fate.COPY  # of a record that the first round took
    assert dict(job.refused) == {Fate.STALE: 1, Fate.INVALID: 1, Fate.SURPLUS: 1, Fate.COPY: 1}


def test_only_versions_that_a_record_can_start_from_are_kept() -> None:
    job = ledger(max_staleness=2)
    for version in range(5):
        decide(job, record(1, 2 * version, base=version), record(2, 2 * version + 1, base=version))
    assert job.oldest == 3
    assert sorted(job.models) == [3, 4, 5]


def test_a_rule_with_a_window_is_given_it_and_no_more() -> None:
    job = ledger("anchored", max_staleness=2, publish=lambda _, __: ())
    for version in range(10):
        decide(job, record(1, 2 * version + 1, base=version), record(2, -2 * version - 1, base=version))
    context = job.context
    assert sorted(context.records) == list(range(3, 11))  # the rule's eight rounds
    assert [update[0] for update in context.records[10]] == [19, -19]
    assert sorted(context.steps) == list(range(5, 11))
    assert sorted(context.references) == [8, 9, 10]


def test_a_record_counts_against_references_that_were_sealed_when_it_came() -> None:
    job = ledger("fltrust", max_staleness=3, publish=lambda _, __: ())
    assert job.receive(record(1, 1)) is None
    assert job.receive(record(2, 2)) is None
    assert job.close(0).inputs.entries[0].beside == 0
    assert job.opened == {0}
    assert job.receive(record(3, 3, base=0)) is None  # the first round opened the references of its base
    assert job.receive(record(4, 4, base=1)) is None
    assert [entry.beside for entry in job.close(0).inputs.entries] == [1, 1]
    assert job.opened == {0, 1}


def test_references_that_no_round_used_stay_sealed() -> None:
    job = ledger("fltrust", max_staleness=4, publish=lambda _, __: ())
    decide(job, record(1, 1), record(2, 2))
    decide(job, record(1, 3, base=1), record(2, 4, base=1))
    job.opened.discard(1)
    decide(job, record(5, 5, base=1), record(6, 6, base=0))
    assert job.opened == {0, 1, 2}


def test_the_newest_root_updates_open_with_every_round() -> None:
    job = ledger("gram-shapley", publish=lambda _, __: ())
    decide(job, record(1, 1), record(2, 2))
    assert job.opened == {0}


def test_without_seals_a_record_counts_against_its_own_base() -> None:
    job = ledger("fltrust", max_staleness=3, publish=lambda _, __: (), sealed=False)
    decide(job, record(1, 1), record(2, 2))
    job.receive(record(3, 3, base=0))
    assert job.close(0).inputs.entries[0].beside == 0


@pytest.mark.parametrize(("scoring", "kept"), [("cgsv", "history"), ("foolsgold", "sums")])
def test_what_a_rule_remembers_of_clients_reaches_its_next_round(scoring: str, kept: str) -> None:
    job = ledger(scoring)
    decide(job, record(1, 1), record(2, 2))
    assert set(getattr(job.context, kept)) == {1, 2}
    decide(job, record(1, 3, base=1), record(5, 4, base=1))
    assert set(getattr(job.context, kept)) == {1, 2, 5}


def test_a_rule_without_needs_is_given_nothing_and_nothing_is_published_for_it() -> None:
    job = ledger("cosine")
    decide(job, record(1, 1), record(2, 2))
    context = job.context
    assert not any((context.records, context.steps, context.references, context.history))


def test_terms_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidTerms, match="scoring"):
        ledger("generous")
