"""One client in a process of its own, as `merit client run` starts it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from chain.crypto.schemes import SigningKey
from merit.chance import seed_of
from merit.clock import Clock
from node import sdk
from node.errors import ConfigError
from node.run.config import RunFile
from node.run.host import StreamTrainer
from node.run.preparation import load_data, shares


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the data is the client's: the `number`-th `of` so many, from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "I/N".

        Raises:
            ConfigError: it is not that, or I is not one of 1 to N.

        """
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            message = f"--share {text}: write I/N with I from 1 to N, as in 3/20"
            raise ConfigError(message)
        return cls(int(found[1]), int(found[2]))


async def contribute(
    urls: list[str],
    key: SigningKey,
    job: int,
    run: RunFile,
    share: Share,
    *,
    interval: float,
    directory: Path,
    clock: Clock,
    trust: Path | None = None,
) -> sdk.Learned:
    """Run one client on its share of a run's data until the job closes; errors as in `sdk.contribute`."""
    torch.set_num_threads(1)
    split = load_data(run)
    samples = shares(run, split)[share.number - 1]
    return await sdk.contribute(
        lambda member: StreamTrainer(split.train, samples, seed_of(run.seed, "client", member)),
        servers=urls,
        key=key,
        directory=directory,
        job=job,
        interval=interval,
        clock=clock,
        trust=trust,
    )
