"""A slow second implementation of availability and selection, written from the rules.

It looks at the whole log anew for every question.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    height: int
    timestamp: int
    records: tuple[tuple[int, int, int, str], ...] = ()
    """(sequence, client, base, payload)"""
    acks: tuple[tuple[int, int, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = ()
    """(edge, first, up_to, missing, invalid, resolved)"""
    ended_round: int = 0
    """The round that this block decided, 0 for none."""
    closing: bool = False


@dataclass(frozen=True)
class Terms:
    servers: int
    phi: int
    max_wait: int
    deadline: int
    max_staleness: int
    per_base: int


def standing(log: list[Block], terms: Terms, edge: int, sequence: int, *, recorded_at: int, until: int) -> str:
    """What one server says of a record at the end of block number `until`: silent, missing, hold or invalid."""
    said = "silent"
    for block in log:
        if block.height > until:
            break
        late = block.timestamp > recorded_at + terms.deadline
        for who, first, up_to, missing, invalid, resolved in block.acks:
            if who != edge:
                continue
            if first <= sequence < up_to:
                said = "missing" if sequence in missing else "invalid" if sequence in invalid else "hold"
            elif said == "missing" and sequence in resolved and not late:
                said = "hold"
            elif said == "missing" and sequence in invalid:
                said = "invalid"
    return said


def fate(log: list[Block], terms: Terms, sequence: int) -> tuple[str, int]:
    """(available | void | open, height at whose end it was decided)."""
    recorded = next((b for b in log for r in b.records if r[0] == sequence), None)
    assert recorded is not None
    for block in log:
        if block.height < recorded.height:
            continue
        said = [
            standing(log, terms, edge, sequence, recorded_at=recorded.timestamp, until=block.height)
            for edge in range(1, terms.servers + 1)
        ]
        late = block.timestamp > recorded.timestamp + terms.deadline
        if not late and said.count("hold") > 2 * terms.servers / 3:
            return "available", block.height
        if late or terms.servers - said.count("invalid") <= 2 * terms.servers / 3:
            return "void", block.height
    return "open", 0


def replay(log: list[Block], terms: Terms, opened: tuple[int, int]) -> list[tuple[int, list[int], int]]:
    """Every round that the log gives so far: (H, sequences in order, spent).

    A round ends where the log says that it ended.
    """
    rounds: list[tuple[int, list[int], int]] = []
    spent: set[int] = set()
    seen_payloads: set[str] = set()
    used: dict[tuple[int, int], int] = {}
    start_height, start_time = opened
    number = 1
    records = {r[0]: r for b in log for r in b.records}
    fates = {sequence: fate(log, terms, sequence) for sequence in records}
    while True:
        found = None
        for block in log:
            if block.height < start_height:
                continue
            at_hand = sorted(
                (fates[s][1], s)
                for s in records
                if fates[s][0] == "available" and fates[s][1] <= block.height and s not in spent
            )
            taken: list[int] = []
            passed: list[int] = []
            payloads, here = set(seen_payloads), dict(used)
            for _, s in at_hand:
                if len(taken) == terms.phi:
                    break
                _, client, base, payload = records[s]
                fresh = payload not in payloads
                payloads.add(payload)
                if fresh and number - 1 - base <= terms.max_staleness and here.get((client, base), 0) < terms.per_base:
                    here[client, base] = here.get((client, base), 0) + 1
                    taken.append(s)
                else:
                    passed.append(s)
            waited = block.timestamp >= start_time + terms.max_wait
            if len(taken) == terms.phi or (taken and waited):
                voids = sum(kind == "void" and height <= block.height for kind, height in fates.values())
                found = (block.height, taken, len(spent) + len(taken) + len(passed) + voids)
                break
        if found is None:
            return rounds
        rounds.append(found)
        end = next((b for b in log if b.ended_round == number), None)
        if end is None:
            return rounds
        spent |= {*taken, *passed}
        seen_payloads, used = payloads, here
        start_height, start_time = end.height, end.timestamp
        number += 1
