"""What the process of the clients must know: written by whoever starts it, read by `node.run.host`. Needs no torch."""

from pathlib import Path

import msgspec

from node.run.config import RunFile


class ClientSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One client: its member id, its key file, the seconds in which its samples come, and the server it starts with.

    `share`: which part of the data it has, from 0.
    `away`: from and until when it is gone, in seconds after the process was ready. `moves`: when it goes on with
    another server, and with which (its place in the list). `flips_labels`: it attacks, see `learner.attacks.LabelFlip`.
    """

    member: int
    share: int
    key: str
    interval: float
    first_server: int
    away: tuple[tuple[float, float], ...] = ()
    moves: tuple[tuple[float, int], ...] = ()
    flips_labels: bool = False


class HostSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the process of the clients must know."""

    run: RunFile
    urls: list[str]
    genesis_hash: str
    ledger: str
    job: int
    preparation: str
    """Directory in which the job file and model 0 are left before the first line is printed."""
    password_file: str
    password: bytes = b""
    members: list[int]
    """Every client of the job, in the order of the shares; `clients` are those of this process."""
    clients: list[ClientSpec]
    observes: bool = True
    """Whether this process measures the accuracy of every version."""


def read(path: Path) -> HostSpec:
    """Read the host file and the password of the clients' keys."""
    spec = msgspec.json.decode(path.read_bytes(), type=HostSpec)
    return msgspec.structs.replace(spec, password=read_password(spec))


def read_password(spec: HostSpec) -> bytes:
    """Read the password of the clients' keys."""
    return Path(spec.password_file).read_bytes()
