"""`merit doctor`: say what is installed, what each missing part costs and what brings it.

Nothing heavy is imported: a package counts as found by its metadata, a program by what it says of its version.
"""

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import typer

from node.cli.checkout import checkout
from node.cli.console import Json, print_json, print_table

app = typer.Typer()

DISTRIBUTION = "merit-ledger"
NEED_DISK_GB = 10
NEED_MEMORY_GB = 4
NEED_CORES = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that Merit uses: what was found of it (None: missing), and what to know if it is missing."""

    name: str
    found: str | None
    cost: str
    bring: str
    required: bool = False


@app.command()
def doctor(*, json: Json = False) -> None:
    """Say what is installed, what each missing part costs and what brings it. Exit code 1 if a required one lacks."""
    found = parts()
    healthy = all(part.found is not None for part in found if part.required)
    if json:
        fields = ("name", "found", "required", "cost", "bring")
        print_json({"healthy": healthy, "parts": [{field: getattr(part, field) for field in fields} for part in found]})
    else:
        here = [(part.name, part.found) for part in found if part.found is not None]
        missing = [(part.name, part.cost, part.bring) for part in found if part.found is None]
        print_table("Found", ("part", "what"), here)
        if missing:
            print_table("Missing", ("part", "without it", "what brings it"), missing)
        typer.echo("Everything that is required is here." if healthy else "A required part is missing.")
    if not healthy:
        raise typer.Exit(1)


def parts() -> list[Part]:
    """Look for every part; no probe takes longer than a few seconds."""
    here = checkout()
    prefix = "" if here is not None else "in a checkout: "
    lacking = _lacking_packages()
    disk, memory = _disk_gb(Path.cwd()), _memory_gb()
    cores = len(os.sched_getaffinity(0))
    return [
        Part("Python", platform.python_version(), "", "", required=True),
        Part(
            "packages",
            None if lacking else f"all that {DISTRIBUTION} needs",
            f"nothing works; missing: {', '.join(lacking)}",
            f"{prefix}scripts/setup" if here is not None else f"pip install --force-reinstall {DISTRIBUTION}",
            required=True,
        ),
        Part("torch", _package("torch"), "no training: `merit run`, `merit client`", _train(here)),
        Part(
            "scikit-learn", _package("scikit-learn"), "no digits data set; MNIST from files still works", _train(here)
        ),
        Part("liboqs", _liboqs(), "signing is 6 to 8 times slower", f"{prefix}scripts/install-liboqs"),
        Part(
            "anvil",
            _program("anvil", here=here),
            "the node is not tested on a foreign Ethereum chain",
            f"{prefix}scripts/install-anvil",
        ),
        Part("node", _program("node"), "no npm, which brings anvil", "apt-get install nodejs npm"),
        Part(
            "cometbft",
            _cometbft(),
            "no `merit testnet`: validators run in one process, by the embedded engine",
            "merit testnet install",
        ),
        Part("go", _program("go", "version"), "CometBFT cannot be built", "install Go 1.25 or newer"),
        Part(
            "chromium",
            _program("chromium"),
            "pages and reports are not tested in a browser",
            "apt-get install chromium fonts-dejavu-core",
        ),
        _enough("disk", disk, NEED_DISK_GB, "GB free", cost="a set-up may run out of disk", bring="free some disk"),
        _enough("cores", cores, NEED_CORES, "cores", cost="runs take longer", bring="a machine with more cores"),
        _enough("memory", memory, NEED_MEMORY_GB, "GB", cost="a run may be killed", bring="a machine with more memory"),
    ]


def _enough(name: str, have: int, need: int, unit: str, *, cost: str, bring: str) -> Part:
    return Part(name, f"{have} {unit}" if have >= need else None, f"{cost} ({have} {unit}, want {need})", bring)


def _train(here: Path | None) -> str:
    return "scripts/setup" if here is not None else f"pip install '{DISTRIBUTION}[train]'"


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _lacking_packages() -> list[str]:
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return [DISTRIBUTION]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in wanted if "extra ==" not in line]
    return [name for name in names if _package(name) is None]


def _liboqs() -> str | None:
    from chain.crypto.backend_liboqs import liboqs_library, load  # noqa: PLC0415 - `merit doctor --help` needs neither

    library = liboqs_library()
    if library is None:
        return None
    try:
        return f"{load(library).oqs_version()} ({library})"
    except (OSError, AttributeError):
        return None  # found, but it cannot be used: as good as missing


def _cometbft() -> str | None:
    from chain.engines.cometbft import binary  # noqa: PLC0415 - keeps --help quick
    from chain.engines.errors import CometBinaryError  # noqa: PLC0415 - as above

    try:
        return binary.version_of(binary.find())
    except CometBinaryError:
        return None


def _program(name: str, ask: str = "--version", *, here: Path | None = None) -> str | None:
    own = here / ".merit" / "bin" / name if here is not None else None
    path = str(own) if own is not None and own.exists() else shutil.which(name)
    if path is None:
        return None
    try:
        answer = subprocess.run([path, ask], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None  # found, but it does not run here: as good as missing
    lines = (answer.stdout or answer.stderr).strip().splitlines()
    return f"{lines[0]} ({path})" if answer.returncode == 0 and lines else None


def _disk_gb(path: Path) -> int:
    return shutil.disk_usage(path).free // 2**30


def _memory_gb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
