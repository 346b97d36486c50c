"""The job that a load's records belong to: a tiny model, terms under which minutes of records stay valid."""

from pathlib import Path

import numpy as np

from contracts.records import UPDATE_HEADER_BYTES, UPDATE_ITEM_BYTES
from node.jobs import JobFile, ModelSpec, RoundSpec
from node.rounds.attestation import encode_model
from node.sponsor import Sponsor
from node.testnet.layout import Layout

LIFETIME_S = 24 * 3600
"""How long a record is taken and a blob is waited for: no record of a load is decided while it runs."""

BUDGET = 10_000
"""Whole tokens. Each reserves phi records of one token each, so ten million records may wait at once."""

_PHI = 1_024
_FEATURES, _CLASSES = 1, 2
_DIMENSION = (_FEATURES + 1) * _CLASSES

RECORD_LENGTH = UPDATE_HEADER_BYTES + UPDATE_ITEM_BYTES * _DIMENSION
"""Bytes of the blob that each record announces, and that never comes."""


def job_file() -> JobFile:
    """Return the job file of a load."""
    return JobFile(
        title="load",
        model=ModelSpec(name="softmax", features=_FEATURES, classes=_CLASSES, dimension=_DIMENSION),
        round=RoundSpec(
            phi=_PHI,
            max_wait=LIFETIME_S,
            base_reward=1,
            max_staleness=1,
            record_deadline=LIFETIME_S,
            attestation_timeout=LIFETIME_S,
        ),
    )


def propose(layout: Layout, directory: Path) -> int:
    """Propose the job at a testnet's first node and return its number; errors as in `Sponsor.create`."""
    directory.mkdir(parents=True, exist_ok=True)
    path, model = directory / "job.toml", directory / "model-0.bin"
    content = job_file()
    path.write_bytes(content.encode())
    model.write_bytes(encode_model(np.zeros(_DIMENSION, np.int32), content.learner_terms().model_fraction_bits))
    home, file = layout.home(1).read(), layout.read()
    sponsor = Sponsor.connect(home.rpc_url, layout.member_key_path(file.sponsor), layout.password.read_bytes())
    return sponsor.create(path, home.intake_url, budget=BUDGET, edge_set=1, model=model, seed=1)
