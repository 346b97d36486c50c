"""`merit audit`: replay a network's history from stores, nodes or a bundle, or verify a client's receipt."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import Json, print_json

if TYPE_CHECKING:
    from node.audit import AuditReport
    from node.audit.receipt import ReceiptReport

app = typer.Typer()

_HASH_BYTES = 32


@app.command()
def audit(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET...",
            help="A run's directory, a bundle (merit export), a receipt (merit client receipt), or URLs of nodes.",
        ),
    ] = None,
    *,
    rpc: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A node, as by its bare URL; repeat it to compare several."),
    ] = None,
    edge: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Fetch blobs here; repeatable. [default: where the nodes say]"),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificates (PEM) of servers with https URLs.")
    ] = None,
    genesis: Annotated[
        str, typer.Option("--genesis", "--genesis-hash", metavar="HASH", help="The genesis hash that you trust.")
    ] = "",
    head: Annotated[str, typer.Option(metavar="HASH", help="A header or block that must be in every chain.")] = "",
    explain: Annotated[
        list[str] | None,
        typer.Option(metavar="ROUND[:CLIENT]", help="Show the arithmetic of a round's rewards, or of one; repeatable."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as a page, too.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that compute rounds.")] = 1,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep the rounds that were computed in this file, and begin with those in it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Replay a history and say what diverges: from stores, from nodes' answers, or offline from a bundle.

    Verifies every commit and signature, every block by executing it again, every record, blob, round, model and reward.
    Exit code 0: all of it follows from the genesis document; 1: it does not.
    """
    wanted = [_chosen(text) for text in explain or ()]
    trusted, newest = _hash(genesis, "--genesis"), _hash(head, "--head")
    urls, files = _sorted(targets or (), rpc or ())
    if (edge or trust) and not urls:
        message = "what is on disk brings its blobs; use it with nodes"
        raise typer.BadParameter(message, param_hint="--edge, --trust")
    if (jobs > 1 or resume) and urls:
        message = "rounds of a network that runs are computed as its blobs come; export them first (merit export)"
        raise typer.BadParameter(message, param_hint="--jobs, --resume")

    def progress(part: str) -> None:
        if not json:
            typer.echo(f"auditing {part} ...", err=True)

    from node.audit import audit_receipt  # noqa: PLC0415 - loads the EVM

    report: AuditReport | ReceiptReport
    if files and _is_receipt(files[0]):
        if wanted or head or html:
            message = "a receipt has no rounds, chain or page"
            raise typer.BadParameter(message, param_hint="--explain, --head, --html")
        report = audit_receipt(files[0], genesis_hash=trusted)
        document, lines = report.to_json(), report.lines
    else:
        audit_it = (
            partial(_audit_nodes, urls, edge or (), trust) if urls else partial(_audit_disk, files[0], jobs, resume)
        )
        report = audited = audit_it(genesis_hash=trusted, head=newest, progress=progress)
        document, lines = _explained(audited, wanted)
        if html is not None:
            from node.audit.page import page  # noqa: PLC0415 - loads the templates

            html.write_text(page(audited), encoding="utf-8")
    if json:
        print_json(document)
    else:
        for line in lines:
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(1)


def _is_receipt(target: Path) -> bool:
    from node.audit.container import holds  # noqa: PLC0415 - the room of the audit loads the EVM

    return target.is_file() and holds(target) == "receipt"


def _audit_nodes(
    urls: Sequence[str],
    edges: Sequence[str],
    trust: Path | None,
    **more: Any,  # noqa: ANN401 - passed on
) -> "AuditReport":
    from node.audit import audit_network  # noqa: PLC0415 - loads the EVM
    from node.tls.certificates import read  # noqa: PLC0415 - OpenSSL, which few audits need
    from node.tls.transport import async_transport  # noqa: PLC0415 - as above

    https = None if trust is None else async_transport(read(trust))
    return audit_network(urls, edges=edges, https=https, **more)


def _audit_disk(target: Path, jobs: int, keep: Path | None, **more: Any) -> "AuditReport":  # noqa: ANN401 - passed on
    from node.audit import audit_bundle, audit_directory  # noqa: PLC0415 - loads the EVM
    from node.audit.effort import Effort  # noqa: PLC0415 - as above

    effort = Effort(jobs, keep)
    if target.is_file():
        return audit_bundle(target, effort=effort, **more)
    return audit_directory(target, effort=effort, **more)


def _explained(
    report: "AuditReport", wanted: Sequence[tuple[int, int | None]]
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the document and the lines, with why the chosen records earned what they did."""

    def chosen(number: int, client: int) -> bool:
        return any(number == round_ and one in {None, client} for round_, one in wanted)

    records = [one for one in report.explained if chosen(one.round, one.client)]
    settled = [one for one in report.settled if chosen(one.round, one.client)]
    sums = [one for one in report.arithmetic if any(one.round == number for number, _ in wanted)]
    document = report.to_json()
    if wanted:
        document |= {
            "explained": [one.to_json() for one in records],
            "settled": [one.to_json() for one in settled],
            "arithmetic": [one.to_json() for one in sums],
        }
    worked = (line for one in sums for number, client in wanted if one.round == number for line in one.of(client))
    return document, (*(one.line() for one in records), *worked, *(one.line() for one in settled), *report.lines)


def _sorted(targets: Sequence[str], rpc: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Tell URLs from what is on disk: nodes, or one directory or file."""
    urls = [*rpc, *(one for one in targets if one.startswith(("http://", "https://")))]
    files = [Path(one) for one in targets if one not in urls]
    if not urls and not files:
        message = "name a directory, a bundle, a receipt, or nodes by their URLs"
        raise typer.BadParameter(message)
    if len(files) + bool(urls) > 1:
        message = "name one directory or file, or nodes: several can be compared only where they answer"
        raise typer.BadParameter(message)
    return urls, files


def _chosen(text: str) -> tuple[int, int | None]:
    """Read ROUND or ROUND:CLIENT."""
    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text)
    if found is None:
        message = f"{text} is not ROUND or ROUND:CLIENT, in numbers"
        raise typer.BadParameter(message, param_hint="--explain")
    return int(found[1]), None if found[2] is None else int(found[2])


def _hash(text: str, option: str) -> bytes | None:
    """Read a hash of 32 bytes in hexadecimal, None for an empty text."""
    if not text:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != _HASH_BYTES:
        message = f"{text} is not a hash of {_HASH_BYTES} bytes in hexadecimal"
        raise typer.BadParameter(message, param_hint=option)
    return value
