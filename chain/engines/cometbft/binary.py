"""Where the program `cometbft` is, whether it is the right version, and how to get it."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from chain.engines.errors import CometBinaryError

VERSION: Final = "v0.40.0"
"""The first release line with ML-DSA-65 validators; any v0.40 will do."""
PACKAGE: Final = "github.com/cometbft/cometbft/cmd/cometbft"
LOCAL: Final = Path(".merit/bin")
"""Beside the checkout or the working directory: what `merit testnet install` fills."""

_CHECKOUT: Final = Path(__file__).resolve().parents[3]  # or site-packages, which has no .merit
# `cometbft version` prints a constant that upstream forgot to raise; Go writes the module's version into the binary
_BUILD_INFO: Final = re.compile(rb"mod\tgithub\.com/cometbft/cometbft\t(v[0-9A-Za-z.+-]+)\t")
_INSTALL: Final = "run `merit testnet install`"


def find() -> Path:
    """Return the program: `.merit/bin` of the working directory or the checkout, else PATH; raises CometBinaryError."""
    for folder in (Path.cwd() / LOCAL, _CHECKOUT / LOCAL):
        local = folder / "cometbft"
        if local.is_file():
            return checked(local)
    found = shutil.which("cometbft")
    if found is None:
        msg = f"cometbft is neither under {LOCAL} nor on PATH: {_INSTALL}"
        raise CometBinaryError(msg)
    return checked(Path(found))


def checked(program: Path) -> Path:
    """Return the program if it is a version that this ledger runs on; raises CometBinaryError."""
    version = version_of(program)
    if version.rsplit(".", 1)[0] != VERSION.rsplit(".", 1)[0]:
        msg = f"{program} is CometBFT {version}, this ledger needs {VERSION}: {_INSTALL}"
        raise CometBinaryError(msg)
    return program


def version_of(program: Path) -> str:
    """Return the module version that Go wrote into the program; raises CometBinaryError."""
    try:
        with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _BUILD_INFO.search(content)
            version = found[1] if found else b""  # read while the file is mapped
    except (OSError, ValueError) as error:
        msg = f"{program} cannot be read ({error}): {_INSTALL}"
        raise CometBinaryError(msg) from None
    if not version:
        msg = f"{program} does not say which CometBFT it is: {_INSTALL}"
        raise CometBinaryError(msg)
    return version.decode()


def install(folder: Path) -> Path:
    """Build the pinned version into `folder` by `go install`, which takes about a minute; raises CometBinaryError."""
    go = shutil.which("go")
    if go is None:
        msg = (
            f"Go is not installed, which builds CometBFT: install Go 1.25 or newer and run this again, or put CometBFT "
            f"{VERSION} on PATH"
        )
        raise CometBinaryError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(folder.resolve()), "CGO_ENABLED": "0"}
    done = subprocess.run([go, "install", f"{PACKAGE}@{VERSION}"], env=environment, check=False)  # noqa: S603 - Go itself
    if done.returncode != 0:
        msg = f"go install left with status {done.returncode}: see its output above"
        raise CometBinaryError(msg)
    return checked(folder / "cometbft")
