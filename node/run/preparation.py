"""What a run needs before its first record: the data, its shares, model 0 and the job file. Loads torch."""

from pathlib import Path

import numpy as np

from learner import models
from learner.data import digits, mnist, partition
from learner.data.dataset import Dataset, Indices, Split
from learner.fixedpoint import Model, Rejected
from learner.fixedpoint import encode_model as fix_model
from learner.terms import Terms
from merit.chance import seed_of, seeded
from node.errors import ConfigError
from node.jobs import JobFile, ModelSpec
from node.rounds.attestation import encode_model
from node.run.config import RunFile, allocation_of, references_of, vesting_of


def load_data(run: RunFile) -> Split:
    """Load the data set of a run, without the samples that its edge servers keep to themselves.

    Raises:
        ConfigError: they would leave nothing for the clients.

    """
    split = _whole(run)
    wanted = _root_total(run, split)
    return split if not wanted else Split(split.train.subset(np.sort(_order(run, split)[wanted:])), split.test)


def root_samples(run: RunFile) -> list[Dataset]:
    """Draw the private samples of each edge server, none under a rule that needs no references; errors as above."""
    split = _whole(run)
    wanted = _root_total(run, split)
    parts = np.split(_order(run, split)[:wanted], run.network.edge_servers) if wanted else []
    return [split.train.subset(np.sort(part)) for part in parts]


def _whole(run: RunFile) -> Split:
    return digits.load(run.seed) if run.data.name == "digits" else mnist.load(Path(run.data.directory))


def _root_total(run: RunFile, split: Split) -> int:
    asked = references_of(run)
    wanted = 0 if asked is None else run.network.edge_servers * asked.root_samples
    if wanted >= len(split.train):
        message = f"references.root_samples takes {wanted} of {len(split.train)} training samples: choose fewer"
        raise ConfigError(message)
    return wanted


def _order(run: RunFile, split: Split) -> Indices:
    """Shuffle the training samples: those of the edge servers come first."""
    order = list(range(len(split.train)))
    seeded(run.seed, "roots").shuffle(order)
    return np.array(order, dtype=np.int64)


def shares(run: RunFile, split: Split) -> list[Indices]:
    """Deal the training samples out to the run's clients, in the order of their member ids."""
    labels, clients = split.train.labels, run.clients.count
    match run.data.partition:
        case "iid":
            return partition.iid(labels, clients=clients, seed=run.seed)
        case "shards":
            return partition.label_shards(labels, clients=clients, shards=run.data.shards_per_client, seed=run.seed)
        case "dirichlet":
            return partition.dirichlet(labels, clients=clients, alpha=run.data.alpha, seed=run.seed)


def prepare(run: RunFile, split: Split, members: tuple[int, ...]) -> tuple[JobFile, bytes]:
    """Return the job file and model 0's blob; `members` are the clients' ids.

    Raises:
        ConfigError: model 0 does not fit the fixed point.
        learner.errors.LearnerError: the data, the partition or the model cannot be made.

    """
    sizes = [len(share) for share in shares(run, split)]
    features, classes = split.train.features, split.train.classes
    job_file = JobFile(
        title=run.title,
        model=ModelSpec(
            name=run.model,
            features=features,
            classes=classes,
            dimension=models.dimension(models.build(run.model, features=features, classes=classes)),
        ),
        numerics=run.numerics,
        round=run.round,
        rules=run.rules,
        training=run.training,
        samples={str(member): size for member, size in zip(members, sizes, strict=True)},
        allocation=allocation_of(run),
        references=references_of(run),
        vesting=vesting_of(run),
    )
    terms = job_file.learner_terms()
    return job_file, encode_model(model_0(job_file.model, terms, run.seed), terms.model_fraction_bits)


def model_0(spec: ModelSpec, terms: Terms, seed: int) -> Model:
    """Make the model that a job starts from, int32[d].

    Raises:
        ConfigError: it does not fit the fixed point, or has another dimension than the job says.

    """
    module = models.build(spec.name, features=spec.features, classes=spec.classes, seed=seed_of(seed, "model") >> 1)
    if models.dimension(module) != spec.dimension:
        message = f"model {spec.name} has {models.dimension(module)} parameters, the job file says {spec.dimension}"
        raise ConfigError(message)
    fixed = fix_model(models.flatten(module), terms.model_fraction_bits)
    if isinstance(fixed, Rejected):
        message = f"model 0: {fixed.detail}"
        raise ConfigError(message)
    return fixed


def leave(directory: Path, job_file: JobFile, model: bytes) -> None:
    """Leave the job file and model 0 for the process that proposes the job; a reader finds each of them whole."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (("job.toml", job_file.encode()), ("model-0.bin", model)):
        partial = directory / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(directory / name)
