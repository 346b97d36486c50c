"""What a run prepares under rules that read references: private samples of the edge servers, the job file, genesis."""

import numpy as np
import pytest

from learner.contribution import REST, ROOT, rule
from learner.data import Dataset
from learner.errors import InvalidTerms, TrainingFailed
from learner.objective import Objective
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


OBJECTIVE = {"loss": "brier", "weights": {"3": 5}, "classes": [3, 8], "edge_servers": [1, 2]}


def test_the_objective_of_a_run_file_is_the_jobs_and_part_of_what_its_digest_names() -> None:
    run = override(ANCHORED, {"references.objective": OBJECTIVE})
    file, _ = prepare(run, load_data(run), MEMBERS)
    assert file.objective == Objective(loss="brier", weights={"3": 5}, classes=(3, 8), edge_servers=(1, 2))
    assert file.class_weights == (200_000_000,) * 3 + (10**9,) + (200_000_000,) * 6
    assert decode_job_file(file.encode()) == file
    plain, _ = prepare(ANCHORED, load_data(ANCHORED), MEMBERS)
    assert plain.objective == Objective()
    assert plain.class_weights == ()
    assert b"objective" not in plain.encode()
    assert plain.digest() != file.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": [10]}, r"job term references.objective.classes = \[10\]: choose classes from 0 to 9, each once"),
        ({"weights": {"3": 0}}, "Expected int >= 1"),
        ({"weights": {"three": 5}}, "Expected str matching"),
        ({"loss": "hinge"}, "Invalid enum value 'hinge'"),
        ({"edge_servers": [5]}, "references.objective.edge_servers: choose from 1 to 4"),
        ({"weight": {"3": 5}}, "unknown key references.objective.weight; .* references.objective.weights"),
    ],
)
def test_an_objective_that_means_nothing_is_refused_before_anything_runs(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        override(ANCHORED, {"references.objective": changes})


def test_an_objective_is_refused_under_a_rule_that_reads_no_references() -> None:
    with pytest.raises(ConfigError, match=r"rules.scoring = 'cosine' reads none"):
        override(PLAIN, {"references.objective": OBJECTIVE})
    spec = ReferencesSpec(objective=Objective(loss="brier"))
    with pytest.raises(InvalidTerms, match="scoring = 'cosine': choose a rule that reads references"):
        job_file(scoring="cosine", references=spec).learner_terms()
    with pytest.raises(InvalidTerms, match=r"objective.classes = \[2\]: choose classes from 0 to 1"):
        job_file(scoring="anchored", references=ReferencesSpec(objective=Objective(classes=(2,)))).learner_terms()


def test_root_samples_teach_the_objective() -> None:
    run = override(ANCHORED, {"rules.scoring": "calibrated-shapley", "references.objective": OBJECTIVE})
    file, model = prepare(run, load_data(run), MEMBERS)
    found = RootSamples(root_samples(run)[0], 1)(file, rule("calibrated-shapley", 1).needs, 0, decode_model(model)[1])
    assert found.labels == ((3, 3), (REST, 3), (8, 8), (REST, 8), ROOT)


def test_no_job_takes_a_rule_that_needs_sums_of_updates() -> None:
    for spec in (None, ReferencesSpec()):
        with pytest.raises(InvalidTerms, match="a ledger keeps none"):
            job_file(scoring="foolsgold", references=spec).learner_terms()


def test_an_unknown_rule_is_the_jobs_own_error() -> None:
    run = override(RunFile(), {"rules.scoring": "none"})
    assert references_of(run) is None
    with pytest.raises(InvalidTerms, match="scoring = 'none'"):
        JobFile(title="", model=job_file().model, rules=run.rules).learner_terms()
