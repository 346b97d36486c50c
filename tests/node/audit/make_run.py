"""Makes a small run in a directory: python -m tests.node.audit.make_run DIRECTORY [LIE]

Softmax on digits, four edge servers, five clients, three rounds or a few more. With LIE, edge servers lie on purpose:

    quorum    all of them attest, and post, other thetas than round 2 gives, and another model than round 3 gives
    minority  one alone attests other thetas: edge server 1 in odd rounds, 4 in even ones
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from contracts.digests import Part, name32, settlement
from contracts.records import blob_digest
from merit.clock import SystemClock
from node.edge.server import EdgeServer, JobDesk
from node.jobs import RoundSpec, Rules, TrainingSpec
from node.rounds.attestation import ScoredRound
from node.rounds.log import Selection
from node.run.config import Clients, Data, Network, RunFile
from node.run.session import Session

ROUNDS = 3
FIRST, LAST = 1, 4

RUN = RunFile(
    title="small",
    seed=7,
    rounds=ROUNDS,
    network=Network(edge_servers=4, chain_id=19781, block_interval=0.02),
    data=Data(name="digits", train_samples=200),
    clients=Clients(count=5, interval=0.15, spread=0.1),
    round=RoundSpec(phi=3, max_wait=5, base_reward=100, max_staleness=4),
    rules=Rules(aggregation="delta"),
    training=TrainingSpec(samples=20, epochs=1, batch=10, learning_rate=0.2),
)


def other_thetas(scored: ScoredRound) -> ScoredRound:
    clients = tuple(entry.client for entry in scored.selection.records)
    thetas = [theta for chunk in scored.thetas.chunks for theta in chunk[1]]
    thetas[0] = thetas[0] // 2 or 1
    table = settlement(clients, thetas)
    return replace(scored, thetas=table, parts=replaced(scored.parts, "thetas", table.digest))


def other_model(scored: ScoredRound) -> ScoredRound:
    blob = bytearray(scored.model_blob)
    blob[-4] ^= 1
    return replace(scored, model_blob=bytes(blob), parts=replaced(scored.parts, "model", blob_digest(bytes(blob))))


def replaced(parts: tuple[Part, ...], name: str, digest: bytes) -> tuple[Part, ...]:
    return tuple(Part(part.name, digest) if part.name == name32(name) else part for part in parts)


Lie = Callable[[ScoredRound], ScoredRound]


def told_by_all(round_: int, member: int) -> Lie | None:
    del member
    return {2: other_thetas, 3: other_model}.get(round_)


def told_by_one(round_: int, member: int) -> Lie | None:
    return other_thetas if member == (FIRST if round_ % 2 else LAST) else None


LIES = {"quorum": told_by_all, "minority": told_by_one}


def lie(kind: str) -> None:
    honest = EdgeServer._score  # noqa: SLF001 - the method that a liar would change

    def lying(self: EdgeServer, desk: JobDesk, selection: Selection) -> ScoredRound | None:
        scored = honest(self, desk, selection)
        told = LIES[kind](selection.round, self.member)
        if scored is None or told is None or not selection.records:
            return scored
        changed = told(scored)
        self.blobs.put(changed.model_blob)
        return changed

    EdgeServer._score = lying  # type: ignore[method-assign] # noqa: SLF001


async def main(directory: Path) -> None:
    session = Session(directory, RUN, SystemClock(), lambda _: None, source="test")
    await session.run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        lie(sys.argv[2])
    asyncio.run(main(Path(sys.argv[1])))
