"""What `decomposed` costs as rounds and models grow: processor time of a round and memory beyond its inputs.

`gram_ms` every rule pays; `products_ms` and `score_ms` are what the rule adds, with whole references of four edge
servers and a full window; the first size is measured under `calibrated` as well. All are measured at the two numbers of
columns that `columns` names and drawn on as a line, since each is a sum over columns and a part that has none;
`extrapolated` says that `parameters` is no measured number. `memory_mb` is the most that is allocated while the
products are taken, measured at the fewer columns: vectors are read a chunk of columns at a time, so that beyond a
chunk's length it grows only by the references of all servers as one table (2 bytes a parameter and row, 20 rows) and
by the row that is being added up (8 bytes a parameter). Times are those of one thread: set OMP_NUM_THREADS=1.
"""

import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learner.context import Context, view
from learner.contribution import REST, RULES, Label, Needs, Round, Rule
from learner.fixedpoint import Update
from learner.gram import gram
from learner.references import References
from merit.chance import seed_of
from merit.clock import thread_seconds

RULE = "decomposed"
BESIDE = "calibrated"
COLUMNS = {15: (100_000, 1_000_000), 100: (25_000, 100_000), 1_000: (2_500, 10_000)}
"""Records of a round: columns that are measured. The products of 1,000 records alone are a thousand times a Gram's."""
PARAMETERS = (100_000, 1_000_000, 10_000_000, 100_000_000)
SERVERS = 4
CLASSES = 10
NUMBER = 20
DISTINCT = 100
"""So many vectors are drawn, or phi; the window's records repeat them: their number costs, not what they are."""
LABELS: tuple[Label, ...] = tuple((of, k) for k in range(CLASSES) for of in (k, REST))
MB = 1e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round took, in milliseconds of processor time."""

    gram: float
    products: float
    score: float


def run() -> list[dict[str, object]]:
    """Measure each number of records at its two numbers of columns; a row for each number of parameters."""
    _cost(RULES[RULE, 1], *_bed(4, 5_000))  # so that nothing is measured cold
    phi, columns = next(iter(COLUMNS.items()))
    beside = _rows(BESIDE, phi, columns, columns)
    return beside + [row for phi, columns in COLUMNS.items() for row in _rows(RULE, phi, columns)]


def _rows(
    name: str, phi: int, columns: tuple[int, int], parameters_of: Sequence[int] = PARAMETERS
) -> list[dict[str, object]]:
    rule = RULES[name, 1]
    fewer, more = columns
    bed = _bed(phi, fewer)
    low, memory = _cost(rule, *bed), _memory(rule, *bed)
    high = _cost(rule, *_bed(phi, more))
    grows = 2 * len(LABELS) + 8 if rule.needs.pooled else 0
    return [
        {
            "rule": name,
            "phi": phi,
            "parameters": parameters,
            "gram_ms": _on_line(columns, (low.gram, high.gram), parameters),
            "products_ms": _on_line(columns, (low.products, high.products), parameters),
            "score_ms": round(high.score),
            "memory_mb": round((memory + grows * (parameters - fewer)) / MB),
            "columns": list(columns),
            "extrapolated": parameters not in columns,
        }
        for parameters in parameters_of
    ]


def _on_line(columns: tuple[int, int], measured: tuple[float, float], parameters: int) -> int:
    """Follow the line through two measured times; milliseconds."""
    slope = (measured[1] - measured[0]) / (columns[1] - columns[0])
    return round(measured[0] + slope * (parameters - columns[0]))


def _bed(phi: int, dimension: int) -> tuple[Sequence[Update], Context]:
    rng = np.random.default_rng(seed_of(1, "benchmark", "scaling"))
    drawn = list(rng.integers(-300, 300, (max(phi, DISTINCT), dimension), dtype=np.int16))
    tables = rng.integers(-(2**12), 2**12, (SERVERS, len(LABELS), dimension), dtype=np.int16)
    context = Context(
        references={NUMBER - 1: [References(LABELS, table) for table in tables]},
        records={past: [drawn[at % len(drawn)] for at in range(phi)] for past in range(NUMBER - 8, NUMBER)},
        steps={past: drawn[past] for past in range(NUMBER - 6, NUMBER)},
    )
    for server in context.references[NUMBER - 1]:
        _ = server.squared, server.contrasts  # once for a version, not for a round
    return drawn[:phi], context


def _cost(rule: Rule, updates: Sequence[Update], context: Context) -> Cost:
    start = thread_seconds()
    products = gram(updates)
    summed = thread_seconds()
    seen = _seen(rule.needs, updates, context, products)
    viewed = thread_seconds()
    rule.score(seen)
    scored = thread_seconds()
    return Cost(*(1000 * took for took in (summed - start, viewed - summed, scored - viewed)))


def _memory(rule: Rule, updates: Sequence[Update], context: Context) -> int:
    products = gram(updates)
    tracemalloc.start()
    _seen(rule.needs, updates, context, products)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def _seen(needs: Needs, updates: Sequence[Update], context: Context, products: np.ndarray) -> Round:
    return view(
        needs,
        context,
        number=NUMBER,
        updates=updates,
        versions=[NUMBER - 1] * len(updates),
        clients=range(len(updates)),
        samples=[1] * len(updates),
        products=products,
        sums={},
    )


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
