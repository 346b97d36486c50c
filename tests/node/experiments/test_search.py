"""A search plays seeds in order, keeps the smallest that fails, and says how to play it again."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from merit.errors import MeritError
from node.experiments.ledger import Manifest
from node.experiments.manifest import Assertion, Result
from node.experiments.search import SEEDS, search

MANIFEST = Manifest(kind="ledger", title="A test", seed=3, seeds=5)


def playing(bad: int | None = None, ending: int | None = None) -> tuple[list[int], Callable[..., object]]:
    """Return a play that fails at one seed, or cannot end it, and the seeds that it was asked for."""
    played: list[int] = []

    def leave(seed: int, out: Path) -> None:
        assert not list(out.iterdir())
        (out / "trace.txt").write_text(f"{seed}")

    async def play(manifest: Manifest, out: Path, _: Callable[[str], None]) -> Result:
        assert manifest.seeds == 1
        played.append(manifest.seed)
        leave(manifest.seed, out)
        if manifest.seed == ending:
            message = "job 1 did not close"
            raise MeritError(message)
        one = Assertion(name="rounds", holds=manifest.seed != bad, detail="")
        figures = {"digest": f"{manifest.seed:064x}"}
        return Result(
            kind="ledger", title="A test", seed=manifest.seed, holds=one.holds, seconds=1.0, assertions=(one,),
            figures=figures, files={},
        )  # fmt: skip

    return played, play


def found(tmp_path: Path, play: Callable[..., object]) -> tuple[Result, list[str]]:
    said: list[str] = []
    return asyncio.run(search(MANIFEST, tmp_path, play, said.append)), said  # type: ignore[arg-type] # a fake


def test_all_seeds_are_played_where_all_hold(tmp_path: Path) -> None:
    played, play = playing()
    result, _ = found(tmp_path, play)
    assert played == [3, 4, 5, 6, 7]
    assert result.holds
    assert result.assertions[0] == Assertion(name="every seed", holds=True, detail="5 of 5 played and held")
    assert "replay" not in result.figures
    assert [path.name for path in tmp_path.glob("seed-*")] == ["seed-7"]
    assert len((tmp_path / SEEDS).read_text().splitlines()) == 5


def test_the_smallest_seed_that_fails_ends_the_search_and_is_kept(tmp_path: Path) -> None:
    played, play = playing(bad=5)
    result, said = found(tmp_path, play)
    assert played == [3, 4, 5]
    assert not result.holds
    assert result.seed == 5
    assert result.figures["replay"] == f"merit experiment run {tmp_path / 'experiment.toml'} --seed 5"
    assert any("seed 5 is the smallest that fails" in line for line in said)
    assert (tmp_path / "seed-5" / "trace.txt").read_text() == "5"
    lines = [json.loads(line) for line in (tmp_path / SEEDS).read_text().splitlines()]
    assert [line["failed"] for line in lines] == [[], [], ["rounds"]]


def test_a_run_that_cannot_end_is_one_that_fails(tmp_path: Path) -> None:
    played, play = playing(ending=4)
    result, _ = found(tmp_path, play)
    assert played == [3, 4]
    assert [one.detail for one in result.assertions if not one.holds] == [
        "1 of 5 played and held",
        "job 1 did not close",
    ]
