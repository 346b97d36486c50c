"""The event log of a run: what happened, one JSON object a line, in the order in which it was seen.

The log serves the live table and the report; nothing that is agreed or paid is read from it. `kill -9` may leave a
torn last line: readers stop before it, the writer cuts it off before it appends.
"""

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from node.errors import RunDirectoryError

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
"""Wall-clock seconds since the first start of the run, whatever stopped it in between."""
Wei = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]*)\Z", max_length=78)]
"""An amount in wei (10^-18 Token) in decimal digits: JSON readers keep no integer beyond 2^53 exactly."""
Ppb = Annotated[int, Meta(ge=0, le=10**9)]


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="event"):
    """What every line has."""


class _Origin(_Line, frozen=True, kw_only=True, tag="origin"):
    """The moment from which the log's seconds count, in seconds since the Unix epoch."""

    unix_seconds: float


class RunStarted(_Line, frozen=True, kw_only=True, tag="run-started"):
    """The run started, or went on after a stop (`resumed`)."""

    seconds: Seconds
    title: str
    genesis_hash: str
    chain_id: Count
    edge_servers: Count
    clients: Count
    rounds: Count
    """How many rounds it is to decide."""
    seed: int
    preset_or_file: str
    model: str
    data: str
    rule: str
    """Name of the scoring rule."""
    aggregation: str
    phi: Count
    """Records a round; 0 stands for all clients."""
    vesting: Count = 0
    """Rounds after which a round's pay is settled; 0 pays at once."""
    label_flippers: tuple[Count, ...] = ()
    """Clients that were told to attack by flipping labels."""
    partition: str = ""
    """What part of the data each client has, in words."""
    slow: Count = 0
    """So many clients are `slow_factor` times slower than the others."""
    slow_factor: float = 1.0
    allocation: str = "none"
    """Name of the allocation rule; none: all clients do the same."""
    resumed: bool = False


class RecordPaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record that a round consumed, and what it earned (nothing in a void or an unpaid round)."""

    client: Count
    theta_ppb: Ppb
    reward_wei: Wei
    delay: Count
    """Versions between the record's base and the one that the round replaced."""
    counter: Count
    base: Count
    sequence: Count


class RoundDone(_Line, frozen=True, kw_only=True, tag="round-done"):
    """A round is decided: agreed, or void."""

    seconds: Seconds
    round: Count
    """Number of the round, which is the version that it made current."""
    height: Count
    """Block in which it was decided."""
    block_hash: str
    agreed: bool
    """False: void, the edge servers did not agree in time and nobody is paid."""
    paid: bool
    """False: void, or every theta was 0 and the base reward stayed in escrow."""
    phi: Count
    """Records that a full round takes."""
    reward_wei: Wei
    """What the round pays in sum: base * k // phi, 0 if it is not paid."""
    records: tuple[RecordPaid, ...]
    skipped: dict[str, Count]
    """Records that were passed over in the selection, by status (copy, stale, ...)."""
    voids: Count
    """Records that became void since the round before."""
    waited: bool = False
    """It was full and all its records were available before the round before was decided: they waited, not it."""


class PaySettled(_Line, frozen=True, kw_only=True, tag="pay-settled"):
    """A round's pay, which vested, is settled by the clients' records after round `judge`."""

    seconds: Seconds
    round: Count
    judge: Count
    vested_wei: dict[int, Wei]
    """By client whose record stood: now its own."""
    forfeited_wei: dict[int, Wei]
    """By client whose record had fallen: the sponsor's again."""


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the plan of a version gives one client; `cycle_us` is what that should take it, in microseconds."""

    client: Count
    samples: Count
    epochs: Count
    cycle_us: Count


class Allocated(_Line, frozen=True, kw_only=True, tag="allocated"):
    """A round made a plan, by which clients train on the version of the same number."""

    seconds: Seconds
    version: Count
    shares: tuple[Share, ...]


class Accuracy(_Line, frozen=True, kw_only=True, tag="accuracy"):
    """Accuracy (0 to 1) and mean loss of a version on the test set."""

    seconds: Seconds
    version: Count
    accuracy: Annotated[float, Meta(ge=0, le=1)]
    loss: float | None
    """None where the loss was not finite (JSON has no NaN or infinity)."""


class Refusals(_Line, frozen=True, kw_only=True, tag="refusals"):
    """What an edge server's intake refused since this start of the run, by kind; the newest event counts."""

    seconds: Seconds
    edge_server: Count
    counts: dict[str, Count]


class AuditVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit found; `lines` are its own words. `audit.json` may hold more fields."""

    ok: bool
    lines: tuple[str, ...]


class RunFinished(_Line, frozen=True, kw_only=True, tag="run-finished"):
    """The job is closed, paid and audited."""

    seconds: Seconds
    rounds: Count
    updates: Count
    blocks: Count
    version: Count | None = None
    """The version that the run was for; what rounds after it made settles what was recorded. None in older logs."""
    accuracy: float | None
    """Test accuracy of that version."""
    paid_wei: Wei
    audit: AuditVerdict | None
    disk_bytes: dict[str, Count]
    cpu_seconds: Seconds
    peak_memory_bytes: Count
    tau_avg: dict[int, float]
    """Average delay in versions, by client that has a record; see `learner.staleness.tau_avg`."""
    rewards_wei: dict[int, Wei]
    """Credited over the whole run, by client."""
    data_sizes: dict[int, Count]
    """Training samples, by client."""
    slow_clients: tuple[Count, ...]


Event = RunStarted | RoundDone | PaySettled | Allocated | Accuracy | Refusals | RunFinished

_DECODER: msgspec.json.Decoder[Event | _Origin] = msgspec.json.Decoder(Event | _Origin)


class EventLog:
    """One log file; it is made by the first write. One process writes, any number may read meanwhile.

    Args:
        path: the file, `events.jsonl` by custom.

    """

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path
        self._opened = False
        self._origin: float | None = None
        self._read_bytes = 0
        self._read_lines = 0

    def seconds(self, now: float) -> float:
        """Seconds from the origin to `now` (seconds since the Unix epoch); the first call ever makes `now` the origin.

        Never negative, so that a clock that was set back does not make the log unreadable.

        Raises:
            RunDirectoryError: as for `read`.

        """
        if self._origin is None:
            written = [line.unix_seconds for line in self._lines() if isinstance(line, _Origin)]
            if not written:
                self._append(_Origin(unix_seconds=now))
            self._origin = written[0] if written else now
        return max(0.0, now - self._origin)

    def write(self, event: Event) -> None:
        """Append the event; the operating system has it on return, so that `kill -9` cannot take it back."""
        self._append(event)

    def read(self) -> list[Event]:
        """Return all events so far; a torn last line is left out and a missing file is an empty log.

        Raises:
            RunDirectoryError: a line is no event of this version; names the file and the line.

        """
        return [line for line in self._lines() if not isinstance(line, _Origin)]

    def read_new(self) -> list[Event]:
        """Return the events since the last call, all of them at the first; errors as in `read`."""
        lines, self._read_bytes = self._decode(self._read_bytes, self._read_lines)
        self._read_lines += len(lines)
        return [line for line in lines if not isinstance(line, _Origin)]

    def _lines(self) -> list[Event | _Origin]:
        return self._decode(0, 0)[0]

    def _decode(self, offset: int, lines_before: int) -> tuple[list[Event | _Origin], int]:
        """Decode the whole lines from a byte offset on; also return the offset behind the last of them."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        lines = []
        for number, line in enumerate(whole.split(b"\n")[:-1], start=lines_before + 1):
            try:
                lines.append(_DECODER.decode(line))
            except msgspec.DecodeError as error:
                message = f"{self.path} line {number} is no event of a run ({error}): use the version that wrote it"
                raise RunDirectoryError(message) from error
        return lines, offset + len(whole)

    def _append(self, line: Event | _Origin) -> None:
        if not self._opened:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_torn_tail()
            self._opened = True
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def _cut_torn_tail(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
