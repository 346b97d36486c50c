"""`merit bench`: run the benchmarks of the repository and print what they measured.

A benchmark is a module `tests/benchmarks/NAME.py` of a checkout: the first line of its docstring is the title, and
`run()` returns rows with the same keys, one `dict` each. Ratios within one run are what holds on another machine.
"""

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from node.cli.checkout import checkout
from node.cli.console import Json, print_json, print_table
from node.errors import ConfigError

app = typer.Typer()


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones; without a name all.")
    ] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="Only list the benchmarks.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long each load lasts (ledger).")] = None,
    history: Annotated[int | None, typer.Option(min=4, help="Rounds of the history that is audited (audit).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw what was measured into this file (signatures).")] = None,
    json: Json = False,
) -> None:
    """Measure this machine: signatures, execution of records, exact numerics, a ledger under load."""
    files = benchmarks()
    chosen = {name: _file(files, name) for name in names} if names else files
    if listed:
        titles = [{"name": name, "title": _title(_load(name, file))} for name, file in chosen.items()]
        if json:
            print_json(titles)
        else:
            print_table("Benchmarks", ["name", "measures"], [(row["name"], row["title"]) for row in titles])
        return
    results = {}
    for name, file in chosen.items():
        module = _load(name, file)
        takes = signature(module.run).parameters
        wishes = {"seconds": seconds, "history": history, "plot": plot}
        given = {wish: value for wish, value in wishes.items() if wish in takes and value is not None}
        results[name] = _rows(name, module.run(**given))
        if not json:
            columns = list(results[name][0])
            print_table(_title(module), columns, [[_short(row[c]) for c in columns] for row in results[name]])
    if json:
        print_json(results)


def benchmarks() -> dict[str, Path]:
    """Find the benchmark files of the checkout by name, in alphabetical order."""
    root = checkout()
    if root is None:
        message = (
            "the benchmarks are not in the wheel: clone the repository, run scripts/setup and .venv/bin/merit bench"
        )
        raise ConfigError(message)
    files = sorted((root / "tests" / "benchmarks").glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}


def _file(files: Mapping[str, Path], name: str) -> Path:
    if name in files:
        return files[name]
    near = get_close_matches(name, files, n=1) or sorted(files)
    message = f"no benchmark is named {name}: did you mean {' or '.join(near)}?" if near else "there are no benchmarks"
    raise ConfigError(message)


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tests.benchmarks.{name}", file)
    if spec is None or spec.loader is None:
        message = f"{file} cannot be imported"
        raise ConfigError(message)
    root = str(file.parents[2])
    if root not in sys.path:  # benchmarks share code with one another and with tests
        sys.path.append(root)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _title(module: ModuleType) -> str:
    return (module.__doc__ or module.__name__).strip().splitlines()[0].rstrip(".")


def _rows(name: str, measured: Iterable[Mapping[str, object]]) -> Sequence[dict[str, object]]:
    rows = [dict(row) for row in measured]
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        message = f"the benchmark {name} must return at least one row, all with the same keys"
        raise TypeError(message)
    return rows


def _short(value: object) -> object:
    """Give a float three significant digits, or all digits before its point; a dash for what is not there."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return value
    return float(f"{value:.3g}") if abs(value) < 100 else round(value)  # noqa: PLR2004 - three digits
