"""Makes a small run in a directory: python -m tests.node.audit.make_run DIRECTORY [LIE]

Softmax on digits, four edge servers, five clients, five rounds or a few more. With LIE, edge servers lie on purpose:

    quorum    all of them attest, and post, other thetas than round 2 gives, and another model than round 3 gives
    minority  one alone attests other thetas: edge server 1 in odd rounds, 4 in even ones
    plan      work is allocated by the rule exact; all of them attest another plan than round 2 gives, 4 alone than 3
    fallen    pay vests; all of them attest that every client had fallen after round 2, and settle by that

Or, with one of these names, nobody lies:

    exact, equal   work is allocated by that rule
    anchored       updates are held beside references of the edge servers
    objective      the same by the rule decomposed: class 3 counts five times, the loss is the Brier score, and the
                   samples of edge server 4 do not count
    vesting        the same by the rule decomposed, and pay is settled two rounds later

With this one, two edge servers do not keep to what they owe of references:

    references  by the rule anchored; edge server 1 commits to those of version 1 too late, 4 shows others of version 0
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import torch

from contracts.bindings import Ledger
from contracts.digests import Part, fallen_digest, fallen_words, name32, settlement
from contracts.records import blob_digest
from learner.allocation.plan import Plan
from learner.objective import Objective
from merit.clock import SystemClock
from node.blobs import BlobStore
from node.edge.local import LocalEdgeServers
from node.edge.references import Roots
from node.edge.server import EdgeServer, JobDesk
from node.jobs import RoundSpec, Rules, TrainingSpec
from node.rounds.attestation import ScoredRound
from node.rounds.log import Selection
from node.run.config import Allocation, Clients, Data, Network, References, RunFile, Vesting
from node.run.session import Session

ROUNDS = 5
FIRST, LAST = 1, 4
LIED = 2
FALLEN = fallen_words(range(5, 10))

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


def other_plan(scored: ScoredRound) -> ScoredRound:
    plan = Plan.decode(scored.plan_blob)
    first, *others = plan.shares
    blob = replace(plan, shares=(replace(first, samples=first.samples + 1), *others)).encode()
    return replace(scored, plan_blob=blob, parts=replaced(scored.parts, "allocation", blob_digest(blob)))


def other_fallen(scored: ScoredRound) -> ScoredRound:
    return replace(scored, parts=replaced(scored.parts, "vesting", fallen_digest(FALLEN)))


def replaced(parts: tuple[Part, ...], name: str, digest: bytes) -> tuple[Part, ...]:
    return tuple(Part(part.name, digest) if part.name == name32(name) else part for part in parts)


Lie = Callable[[ScoredRound], ScoredRound]


def told_by_all(round_: int, member: int) -> Lie | None:
    del member
    return {2: other_thetas, 3: other_model}.get(round_)


def told_by_one(round_: int, member: int) -> Lie | None:
    return other_thetas if member == (FIRST if round_ % 2 else LAST) else None


def told_about_the_plan(round_: int, member: int) -> Lie | None:
    return other_plan if round_ == 2 or (round_, member) == (3, LAST) else None


def told_of_the_fallen(round_: int, member: int) -> Lie | None:
    del member
    return other_fallen if round_ == LIED else None


def nothing_told(round_: int, member: int) -> Lie | None:
    del round_, member


LIES = {
    "quorum": told_by_all,
    "minority": told_by_one,
    "plan": told_about_the_plan,
    "fallen": told_of_the_fallen,
    "exact": nothing_told,
    "equal": nothing_told,
    "anchored": nothing_told,
    "objective": nothing_told,
    "references": nothing_told,
    "vesting": nothing_told,
}
ALLOCATION: dict[str, Literal["exact", "equal"]] = {"plan": "exact", "exact": "exact", "equal": "equal"}


def lie(kind: str) -> None:
    honest = EdgeServer._score  # noqa: SLF001 - the method that a liar would change

    def lying(self: EdgeServer, desk: JobDesk, selection: Selection) -> ScoredRound | None:
        scored = honest(self, desk, selection)
        told = LIES[kind](selection.round, self.member)
        if scored is None or told is None or not selection.records:
            return scored
        changed = told(scored)
        for blob in filter(None, (changed.model_blob, changed.plan_blob)):
            self.blobs.put(blob)
        return changed

    EdgeServer._score = lying  # type: ignore[method-assign] # noqa: SLF001


class ShowsOthersFirst(Roots):
    """Shows another table than it committed to, the first time."""

    def show(self, digest: bytes, blobs: BlobStore) -> None:
        if digest == next(iter(self._made.values())):
            raw = bytearray(self.sealed.get(digest))
            raw[-1] ^= 1
            blobs.put(bytes(raw))
        else:
            super().show(digest, blobs)


def lie_about_references() -> None:
    commit, work = EdgeServer._commit, EdgeServer._work_references  # noqa: SLF001 - the methods that a liar would change
    roots = LocalEdgeServers._roots  # noqa: SLF001 - see above

    def never(self: EdgeServer, desk: JobDesk, version: int, model_blob: bytes) -> None:
        if (self.member, version) != (FIRST, 1):
            commit(self, desk, version, model_blob)

    def late(self: EdgeServer, desk: JobDesk) -> None:
        work(self, desk)
        due = desk.log.version == 1 and not desk.references.may_commit(1) and not desk.references.late
        if due and self.member == FIRST:
            data = Ledger.encode_commit_references(desk.log.job, 1, desk.log.model, bytes(range(32)))
            self._send("late", data, 1_000_000)

    def untrue(self: LocalEdgeServers, member: int) -> Roots | None:
        found = roots(self, member)
        return ShowsOthersFirst(found.teach, found.sealed) if found is not None and member == LAST else found

    EdgeServer._commit = never  # type: ignore[method-assign] # noqa: SLF001
    EdgeServer._work_references = late  # type: ignore[method-assign] # noqa: SLF001
    LocalEdgeServers._roots = untrue  # type: ignore[method-assign] # noqa: SLF001


def lie_about_the_fallen() -> None:
    honest = EdgeServer._fallen  # noqa: SLF001 - the method that a liar would change

    def lying(self: EdgeServer, desk: JobDesk, number: int) -> tuple[int, ...] | None:
        return FALLEN if number == LIED else honest(self, desk, number)

    EdgeServer._fallen = lying  # type: ignore[method-assign] # noqa: SLF001


async def main(directory: Path, kind: str) -> None:
    run = RUN
    if kind in ALLOCATION:
        run = msgspec.structs.replace(RUN, allocation=Allocation(rule=ALLOCATION[kind]))
    if kind in {"anchored", "references"}:
        run = msgspec.structs.replace(
            RUN,
            rules=Rules(scoring="anchored", aggregation="delta"),
            round=msgspec.structs.replace(RUN.round, record_deadline=8),
        )
    if kind == "objective":
        run = msgspec.structs.replace(
            RUN,
            rules=Rules(scoring="decomposed", aggregation="delta"),
            round=msgspec.structs.replace(RUN.round, record_deadline=8),
            references=References(objective=Objective(loss="brier", weights={"3": 5}, edge_servers=(1, 2, 3))),
        )
    if kind in {"vesting", "fallen"}:
        run = msgspec.structs.replace(
            RUN,
            rounds=7,
            rules=Rules(scoring="decomposed", aggregation="delta"),
            round=msgspec.structs.replace(RUN.round, record_deadline=8),
            vesting=Vesting(rounds=1 if kind == "fallen" else 2),
        )
    session = Session(directory, run, SystemClock(), lambda _: None, source="test")
    await session.run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    told = sys.argv[2] if len(sys.argv) > 2 else ""
    if told:
        lie(told)
    if told == "references":
        lie_about_references()
    if told == "fallen":
        lie_about_the_fallen()
    asyncio.run(main(Path(sys.argv[1]), told))
