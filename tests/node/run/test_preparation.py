"""What a run prepares under rules that read references: private samples of the edge servers, the job file, genesis."""

import numpy as np
import pytest

from learner.contribution import ROOT, rule
from learner.data import Dataset
from learner.errors import InvalidTerms, TrainingFailed
from merit.chance import seed_of
from node.edge.roots import RootSamples
from node.errors import ConfigError
from node.jobs import JobFile, ReferencesSpec, decode_job_file
from node.rounds.attestation import decode_model
from node.run.config import PRESETS, RunFile, override, references_of
from node.run.preparation import load_data, prepare, root_samples
from tests.node.edge.world import job_file

PLAIN = override(PRESETS["digits"], {"rules.scoring": "cosine"})
ANCHORED = override(PLAIN, {"rules.scoring": "anchored"})
MEMBERS = tuple(range(5, 25))


def rows(images: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in images}


def test_root_samples_are_held_out_of_what_clients_train_on() -> None:
    whole, rest, roots = load_data(PLAIN), load_data(ANCHORED), root_samples(ANCHORED)
    assert [len(samples) for samples in roots] == [100] * 4
    assert len(rest.train) + 400 == len(whole.train)
    parts = [rows(samples.images) for samples in roots] + [rows(rest.train.images)]
    assert sum(len(part) for part in parts) == len(set().union(*parts)) == len(rows(whole.train.images))
    assert np.array_equal(rest.test.images, whole.test.images)


def test_a_rule_that_reads_no_references_takes_nothing_from_the_clients() -> None:
    assert references_of(PLAIN) is None
    assert root_samples(PLAIN) == []


@pytest.mark.parametrize("number", [359, 360, 1000])
def test_root_samples_leave_something_for_the_clients(number: int) -> None:
    run = override(ANCHORED, {"references.root_samples": number})
    if number < 360:
        assert len(load_data(run).train) == 1438 - 4 * number
        return
    with pytest.raises(ConfigError, match=rf"takes {4 * number} of 1438 training samples: choose fewer"):
        load_data(run)


def test_root_samples_of_other_data_teach_nothing() -> None:
    file, model = prepare(ANCHORED, load_data(ANCHORED), MEMBERS)
    own = root_samples(ANCHORED)[0]
    strange = Dataset(own.images[:, 1:], own.labels, own.classes)
    with pytest.raises(
        TrainingFailed, match=r"root samples have \(features, classes\) \(63, 10\), the job's model \(64, 10\)"
    ):
        RootSamples(strange, 1)(file, rule("anchored", 1).needs, 0, decode_model(model)[1])


@pytest.mark.parametrize(
    ("scoring", "count"),
    [("fltrust", 1), ("gram-shapley", 1), ("anchored", 100), ("anchored-shapley", 101)],
)
def test_root_samples_teach_what_the_rule_needs_the_same_each_time(scoring: str, count: int) -> None:
    run = override(ANCHORED, {"rules.scoring": scoring})
    file, model = prepare(run, load_data(run), MEMBERS)
    needs = rule(scoring, 1).needs
    teach = RootSamples(root_samples(run)[0], seed_of(1, "a server"))
    found = [teach(file, needs, 3, decode_model(model)[1]) for _ in range(2)]
    assert len(found[0].labels) == count
    assert (ROOT in found[0].labels) == (scoring != "anchored")
    assert np.array_equal(found[0].vectors, found[1].vectors)
    assert found[0].vectors.shape[1] == file.model.dimension


def test_the_job_file_says_how_many_root_samples_and_others_have_no_such_table() -> None:
    file, _ = prepare(ANCHORED, load_data(ANCHORED), MEMBERS)
    assert file.references == ReferencesSpec(root_samples=100)
    assert decode_job_file(file.encode()) == file
    plain, _ = prepare(PLAIN, load_data(PLAIN), MEMBERS)
    assert b"references" not in plain.encode()


@pytest.mark.parametrize("scoring", ["fltrust", "gram-shapley", "anchored", "anchored-shapley"])
def test_a_job_without_the_table_takes_no_rule_that_reads_references(scoring: str) -> None:
    with pytest.raises(InvalidTerms, match=r"scoring = '.*': choose with a table \[references\]"):
        job_file(scoring=scoring).learner_terms()
    assert job_file(scoring=scoring, references=ReferencesSpec()).learner_terms().scoring == scoring


def test_no_job_takes_a_rule_that_needs_sums_of_updates() -> None:
    for spec in (None, ReferencesSpec()):
        with pytest.raises(InvalidTerms, match="a ledger keeps none"):
            job_file(scoring="foolsgold", references=spec).learner_terms()


def test_an_unknown_rule_is_the_jobs_own_error() -> None:
    run = override(RunFile(), {"rules.scoring": "none"})
    assert references_of(run) is None
    with pytest.raises(InvalidTerms, match="scoring = 'none'"):
        JobFile(title="", model=job_file().model, rules=run.rules).learner_terms()
