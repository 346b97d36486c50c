"""One client in a process of its own, as `merit client run` starts it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import torch

from chain.crypto.schemes import SigningKey
from merit.chance import seed_of
from merit.clock import Clock
from node.client import Client, Identity, Servers
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
) -> dict[str, int]:
    """Run one client until the job closes; return how often it trained and its member id.

    Raises:
        ConfigError: the edge servers do not know the key.
        ServersUnreachableError: no edge server answers.

    """
    torch.set_num_threads(1)
    split = load_data(run)
    samples = shares(run, split)[share.number - 1]
    async with httpx.AsyncClient() as http:
        servers = Servers([url.rstrip("/") for url in urls], first=0, clock=clock, http=http)
        status = (await servers.request("GET", "/v1/status")).json()
        answer = await servers.request("GET", f"/v1/members/{key.address.hex()}")
        if not answer.is_success:
            message = f"the edge servers know no member with the address 0x{key.address.hex()}: have it admitted first"
            raise ConfigError(message)
        identity = Identity(
            member=answer.json()["member"],
            key=key,
            genesis_hash=bytes.fromhex(status["genesis_hash"]),
            ledger=bytes.fromhex(status["ledger"]),
        )

        client = Client(
            identity=identity,
            job=job,
            servers=servers,
            trainer=StreamTrainer(split.train, samples, seed_of(run.seed, "client", identity.member)),
            interval_s=interval,
            directory=directory,
            clock=clock,
        )
        await client.run()
    return {"member": identity.member, "trained": client.steps}
