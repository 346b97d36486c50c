"""`merit experiment`: run a scripted experiment and say whether what it asserts holds."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from merit.clock import SystemClock
from node.cli.console import Json, print_json, print_table
from node.errors import ConfigError, RunDirectoryError

app = typer.Typer(no_args_is_help=True)

_OUT: Final = Path(".merit/experiments")
_SCRIPTS: Final = Path("scripts/experiments")
_MANIFEST: Final = "experiment.toml"


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The experiment's manifest (TOML).")],
    *,
    out: Annotated[Path | None, typer.Option(help="Where everything is kept, instead of what the file says.")] = None,
    data_dir: Annotated[str, typer.Option(help="Directory of the MNIST idx files, for those that learn on it.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="This seed, instead of what the file says.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="So many seeds; the smallest that fails is shown (virtual time).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run of the same file that was cut off.")
    ] = False,
    json: Json = False,
) -> None:
    """Run an experiment; exit code 1 if what it asserts does not hold.

    Without --resume, what an earlier run of an experiment left in the same place is removed.
    """
    import msgspec  # noqa: PLC0415 - keeps --help quick

    from node.experiments import manifest as manifests  # noqa: PLC0415 - as above

    if resume and (seed is not None or seeds is not None):
        message = "--resume goes on with the seeds of the file: leave out --seed and --seeds"
        raise ConfigError(message)
    manifest, runner = manifests.load(file, data_directory=data_dir, seed=seed, seeds=seeds)
    directory = (out or (Path(manifest.out) if manifest.out else _OUT / file.stem)).absolute()
    if resume:
        _check_same(file, directory, resumable=manifests.heading(file).kind in manifests.RESUMABLE)
    else:
        _make_room(directory)
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, directory / _MANIFEST)

    def tell(line: str) -> None:
        if not json:
            typer.echo(line, err=True)

    result = asyncio.run(runner(manifest, directory, SystemClock(), tell))
    path = directory / "result.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    if json:
        print_json(msgspec.to_builtins(result))
    else:
        print_table(
            f"{result.title}: {'all of it holds' if result.holds else 'NOT ALL OF IT HOLDS'}",
            ("assertion", "holds", "what was found"),
            [(one.name, "yes" if one.holds else "NO", one.detail) for one in result.assertions],
        )
        short = {name: value for name, value in result.figures.items() if not isinstance(value, list)}  # JSON has all
        typer.echo("  ".join(f"{name} {value}" for name, value in short.items()))
        typer.echo(f"{path}, {', '.join(result.files.values())}")
    if not result.holds:
        raise typer.Exit(1)


@app.command("list")
def list_experiments(
    directory: Annotated[Path, typer.Argument(help="Where manifests lie.")] = _SCRIPTS, *, json: Json = False
) -> None:
    """List the experiments of a directory and what each teaches."""
    from node.experiments import manifest as manifests  # noqa: PLC0415 - keeps --help quick

    if not directory.is_dir():
        message = f"{directory}: no such directory of experiments"
        raise ConfigError(message)
    found = [(path, manifests.heading(path)) for path in sorted(directory.glob("*.toml"))]
    if json:
        print_json([{"file": str(p), "kind": h.kind, "title": h.title, "teaches": h.teaches} for p, h in found])
        return
    print_table(str(directory), ("file", "kind", "what it teaches"), [(p.name, h.kind, h.teaches) for p, h in found])


def _make_room(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        if not (directory / _MANIFEST).exists():
            message = f"{directory} is not empty and holds no experiment: name another --out"
            raise RunDirectoryError(message)
        shutil.rmtree(directory)


def _check_same(file: Path, directory: Path, *, resumable: bool) -> None:
    """Refuse to go on with another experiment than the one that `directory` holds, if it holds any."""
    if not resumable:
        message = f"{file}: experiments of this kind begin anew: leave out --resume"
        raise ConfigError(message)
    earlier = directory / _MANIFEST
    if earlier.exists() and earlier.read_bytes() != file.read_bytes():
        message = f"{directory} holds a run of another file: name another --out, or leave out --resume"
        raise RunDirectoryError(message)
