"""What each scoring rule costs: processor time of a round and bytes of references, beside the Gram matrix alone.

`gram_ms` every rule pays; `products_ms` is what it asks for beyond that (references, window, sums), `score_ms` the rule
itself. `reference_mb` is what one edge server publishes for one version; four do, and all entries have the same base.
References are whole int16 vectors up to 10^5 parameters and count-sketches of 8,192 buckets beyond. `window_mb` is what
is kept of earlier rounds, `sums_mb` the clients' sums, `peak_mb` the most that this process had so far.

The last rows are the presets of `merit run`, each with its own rule, records and edge servers: beside what scoring
costs each edge server, `training_ms` is one client's training for a round, on made-up samples, `teaching_ms` what an
edge server takes for its own references of a version. Times are those of one thread: set OMP_NUM_THREADS=1.
"""

import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from learner.context import Context, add_to_sums, view
from learner.contribution import REST, ROOT, RULES, Label, Rule, names
from learner.data import Dataset
from learner.gram import gram
from learner.models import build, dimension, flatten
from learner.references import References
from learner.roots import contrast_references
from learner.sketch import Sketch
from learner.training import SGD, one_thread, train
from merit.chance import seed_of
from merit.clock import thread_seconds
from node.run.config import PRESETS, RunFile

SIZES = ((15, 100_000), (100, 100_000), (15, 1_000_000), (100, 1_000_000))
"""(records of a round, parameters of the model)."""
SERVERS = 4
CLASSES = 10
SKETCHED_ABOVE = 100_000
BUCKETS = 8_192
NUMBER = 20
DISTINCT = 100
"""So many vectors are drawn; the window's records repeat them, since their number and not their content costs."""
EACH: tuple[Label, ...] = tuple((of, labelled) for of in range(CLASSES) for labelled in range(CLASSES))
OTHERS: tuple[Label, ...] = tuple((REST, labelled) for labelled in range(CLASSES))
LABELS: tuple[Label, ...] = (*EACH, *OTHERS, ROOT)
CONTRASTS: tuple[Label, ...] = tuple((of, k) for k in range(CLASSES) for of in (k, REST))
FEATURES = {"digits": 64, "mnist": 784}
REPETITIONS = 5
MB = 1e6


@dataclass(frozen=True, slots=True)
class Bed:
    """What all rules of a size are measured with."""

    updates: list[np.ndarray]
    products: np.ndarray
    gram_ms: float
    context: Context


def run() -> list[dict[str, object]]:
    """Measure every rule once at every size, after a warm-up at a small one; processor time of this thread."""
    small = _bed(4, 1_000)
    for name in names(1):
        _row(name, RULES[name, 1], small)
    rows = [_row(name, RULES[name, 1], bed) for phi, d in SIZES for bed in (_bed(phi, d),) for name in names(1)]
    with one_thread():
        return rows + [_preset(name, file) for name, file in PRESETS.items()]


def _preset(name: str, file: RunFile) -> dict[str, object]:
    """Measure a preset's own rule, and what a client and an edge server do for a round; medians."""
    rule, features = RULES[file.rules.scoring, 1], FEATURES[file.data.name]
    module = build(file.model, features=features, classes=CLASSES)
    bed = _bed(file.round.phi, dimension(module), file.network.edge_servers, CONTRASTS)
    rows = [_row(file.rules.scoring, rule, bed) for _ in range(REPETITIONS)]
    timed = {key: median(float(str(row[key])) for row in rows) for key in ("products_ms", "score_ms")}
    start, spec = flatten(module), file.training
    sgd = SGD(epochs=spec.epochs, batch_size=spec.batch, learning_rate=spec.learning_rate)
    own, root = _samples(spec.samples, features), _samples(file.references.root_samples, features)
    return (
        rows[0]
        | timed
        | {
            "preset": name,
            "training_ms": _median_ms(lambda: train(module, start, own, sgd, seed=1)),
            "teaching_ms": _median_ms(lambda: contrast_references(module, start, root))
            if rule.needs.against_rest
            else 0.0,
        }
    )


def _samples(count: int, features: int) -> Dataset:
    rng = np.random.default_rng(seed_of(1, "benchmark", "samples"))
    return Dataset(rng.random((count, features), dtype=np.float32), np.arange(count) % CLASSES, CLASSES)


def _median_ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPETITIONS):
        start = thread_seconds()
        work()
        taken.append(1000 * (thread_seconds() - start))
    return round(median(taken), 1)


def _bed(phi: int, dimension: int, servers: int = SERVERS, labels: Sequence[Label] = LABELS) -> Bed:
    rng = np.random.default_rng(seed_of(1, "benchmark", "scoring"))
    drawn = list(rng.integers(-300, 300, (max(phi, DISTINCT), dimension), dtype=np.int16))
    updates = drawn[:phi]
    sketch = Sketch(b"a later block", BUCKETS) if dimension > SKETCHED_ABOVE and labels is LABELS else None
    context = Context(
        references={NUMBER - 1: [_references(rng, dimension, sketch, labels) for _ in range(servers)]},
        records={past: [drawn[at % len(drawn)] for at in range(phi)] for past in range(NUMBER - 8, NUMBER)},
        steps={past: drawn[past] for past in range(NUMBER - 6, NUMBER)},
    )
    before = thread_seconds()
    products = gram(updates)
    return Bed(updates, products, (thread_seconds() - before) * 1000, context)


def _references(rng: np.random.Generator, dimension: int, sketch: Sketch | None, labels: Sequence[Label]) -> References:
    """Draw what a server publishes, row by row: a whole table of a long model would not fit memory."""
    if sketch is None:
        return References(tuple(labels), rng.integers(-(2**12), 2**12, (len(labels), dimension), dtype=np.int16))
    rows = [
        sketch.of([rng.integers(-(2**12), 2**12, dimension, dtype=np.int16)])[0]
        for _ in range(CLASSES)  # the others repeat them
    ]
    return References(tuple(labels), np.stack([rows[at % CLASSES] for at in range(len(labels))]), sketch)


def _row(name: str, rule: Rule, bed: Bed) -> dict[str, object]:
    needs, updates = rule.needs, bed.updates
    clients = list(range(len(updates)))
    for server in bed.context.references[NUMBER - 1]:
        _ = server.squared, server.contrasts  # once for a version, not for a round
    start = thread_seconds()
    sums = add_to_sums({}, clients, updates) if needs.sums else {}
    seen = view(
        needs,
        bed.context,
        number=NUMBER,
        updates=updates,
        versions=[NUMBER - 1] * len(updates),
        clients=clients,
        samples=[1] * len(updates),
        products=bed.products,
        sums=sums,
    )
    viewed = thread_seconds()
    rule.score(seen)
    scored = thread_seconds()
    server = bed.context.references[NUMBER - 1][0]
    width = BUCKETS * 4 if server.sketch else 2 * len(updates[0])  # a bucket travels in 4 bytes
    rows = len(EACH) * needs.labels + 2 * CLASSES * needs.against_rest + (needs.root or needs.newest_root)
    past = len(updates) * needs.window.rounds + needs.window.steps if needs.window else 0
    return {
        "preset": "",
        "rule": name,
        "phi": len(updates),
        "parameters": len(updates[0]),
        "gram_ms": round(bed.gram_ms, 1),
        "products_ms": round((viewed - start) * 1000, 1),
        "score_ms": round((scored - viewed) * 1000, 1),
        "reference_mb": round(rows * width / MB, 2),
        "window_mb": round(past * 2 * len(updates[0]) / MB, 1),
        "sums_mb": round(sum(vector.nbytes for vector in sums.values()) / MB, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "training_ms": None,
        "teaching_ms": None,
    }


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
