"""`merit client`: train on own data and send signed updates to edge servers; keep proofs of what came of them."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import Json, print_json

app = typer.Typer()


@app.callback()
def _client() -> None:
    """Train on own data and send signed updates to edge servers."""


@app.command()
def run(
    *,
    server: Annotated[list[str], typer.Option(help="URL of an edge server's intake; repeat it for more.")],
    key: Annotated[Path, typer.Option(help="The client's key file (merit keys new).")],
    password_file: Annotated[Path, typer.Option(help="File that holds the key's password.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where the client keeps what is not delivered yet.")],
    job: Annotated[int, typer.Option(help="Number of the job.")] = 1,
    data: Annotated[str, typer.Option(help="digits or mnist.")] = "digits",
    data_dir: Annotated[str, typer.Option(help="Directory of the MNIST idx files.")] = "",
    share: Annotated[str, typer.Option(help="I/N: train on the I-th of N parts of the data.")] = "1/1",
    partition: Annotated[str, typer.Option(help="How the data are cut: iid, shards or dirichlet.")] = "iid",
    interval: Annotated[float, typer.Option(help="Seconds in which the job's number of new samples comes.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the partition, the stream and the training.")] = 1,
    trust: Annotated[Path | None, typer.Option(help="Certificates (PEM) of the edge servers with https URLs.")] = None,
    json: Json = False,
) -> None:
    """Train whenever new samples have come, until the job closes."""
    from chain.crypto import keystore  # noqa: PLC0415 - heavy imports wait until the command runs
    from merit.clock import SystemClock  # noqa: PLC0415
    from node.run import config  # noqa: PLC0415
    from node.run.standalone import Share, contribute  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    part = Share.parse(share)
    changes: dict[str, object] = {
        "data.name": data, "data.directory": data_dir, "data.partition": partition, "clients.count": part.of,
        "round.phi": 1, "seed": seed,
    }  # fmt: skip
    chosen = config.override(config.RunFile(), changes)
    signing_key = keystore.load(key, password_file.read_bytes())
    work = contribute(
        server, signing_key, job, chosen, part, interval=interval, directory=directory, clock=SystemClock(), trust=trust
    )
    delivered = asyncio.run(work)
    if json:
        print_json({"member": delivered.member, "trained": delivered.trained})
    else:
        typer.echo(f"job {job} is closed; client {delivered.member} trained {delivered.trained} times")


@app.command()
def receipt(
    source: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="A run's directory, a stopped node's home, or a node's URL.")
    ],
    *,
    client: Annotated[int, typer.Option(min=1, help="The client's member id.")],
    job: Annotated[int, typer.Option(min=1, help="Number of the job.")] = 1,
    record: Annotated[
        int | None, typer.Option(min=0, help="Number of the record in its job. [default: the client's newest]")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the receipt goes.")] = Path("record.receipt"),
    json: Json = False,
) -> None:
    """Save what proves that a record is on the ledger and, once it is paid, its reward; run it again for that.

    `merit audit FILE --genesis HASH` verifies it offline, without executing anything.
    """
    from node.audit.origins import is_url  # noqa: PLC0415 - loads the EVM
    from node.audit.receipts import save_receipt  # noqa: PLC0415 - as above

    target = source if is_url(source) else Path(source)
    report = save_receipt(target, out, client, job=job, sequence=record)
    if json:
        print_json(report.to_json())
        return
    for line in report.lines[:-1]:
        typer.echo(line)
    typer.echo(f"next: merit audit {out} --genesis 0x{report.genesis_hash.hex()}")
