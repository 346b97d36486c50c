"""Many seeds of one experiment, until one does not hold: the smallest, which is kept whole."""

import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from merit.errors import MeritError
from node.experiments.ledger import Manifest
from node.experiments.manifest import Assertion, Result

Play = Callable[[Manifest, Path, Callable[[str], None]], Coroutine[Any, Any, Result]]
"""Plays a manifest's seed in a directory that exists and is empty."""

SEEDS: Final = "seeds.jsonl"


async def search(manifest: Manifest, out: Path, play: Play, tell: Callable[[str], None]) -> Result:
    """Play the manifest's seeds in order, each in a directory of its own, up to the first that does not hold.

    The result is that of the last one played, whose directory stays; `seeds.jsonl` has a line for each.
    """
    last = manifest.seed + manifest.seeds - 1
    held = 0
    with (out / SEEDS).open("wb") as log:
        for seed in range(manifest.seed, last + 1):
            directory = out / f"seed-{seed}"
            directory.mkdir()
            result = await _played(msgspec.structs.replace(manifest, seed=seed, seeds=1), directory, play)
            held += result.holds
            failed = [one.name for one in result.assertions if not one.holds]
            line = {"seed": seed, "digest": result.figures.get("digest"), "failed": failed}
            log.write(msgspec.json.encode(line) + b"\n")
            log.flush()
            tell(f"seed {seed}: {'does not hold: ' + ', '.join(failed) if failed else 'holds'}")
            if failed or seed == last:
                break
            shutil.rmtree(directory)
    figures = result.figures | {"seeds": manifest.seeds, "seeds_held": held}
    if failed:
        figures["replay"] = f"merit experiment run {out / 'experiment.toml'} --seed {seed}"
        tell(f"seed {seed} is the smallest that fails; replay it with {figures['replay']}")
    every = Assertion(name="every seed", holds=not failed, detail=f"{held} of {manifest.seeds} played and held")
    return msgspec.structs.replace(
        result,
        holds=not failed,
        assertions=(every, *result.assertions),
        figures=figures,
        files=result.files | {"seeds": str(out / SEEDS)},
    )


async def _played(manifest: Manifest, directory: Path, play: Play) -> Result:
    """Play a seed; a run that could not come to its end is one that does not hold."""
    try:
        return await play(manifest, directory, lambda _: None)
    except MeritError as error:
        ended = Assertion(name="comes to an end", holds=False, detail=str(error))
        return Result(
            kind=manifest.kind,
            title=manifest.title,
            seed=manifest.seed,
            holds=False,
            seconds=0.0,
            assertions=(ended,),
            figures={},
            files={},
        )
