"""Whoever takes Merit takes its runtime dependencies: each states a licence that Apache-2.0 software can live with."""

import re
from email.message import Message
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0"),
    *("MIT-CMU", "OLDAP-2.8", "PSF-2.0", "Unlicense", "Zlib", "LLVM-exception"),
    "MPL-2.0",  # copyleft by file: asks nothing of the programs that import it
}

# what packages without a licence expression say, in their classifiers or their licence line
SPOKEN = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "Unlicense",
    "Python Software Foundation License": "PSF-2.0",
}

# torch's wheel on PyPI is linked against them; nobody needs them but by the extra `train`, and Merit ships none of them
PROPRIETARY = re.compile(r"nvidia-.*|cuda-toolkit")


def locked() -> list[str]:
    return sorted(set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)))


def licences(stated: metadata.PackageMetadata | Message) -> set[str]:
    """The licences that a package states: its expression, else its classifiers, else the first line of its text."""
    expression = stated["License-Expression"]
    classifiers = [c.split(" :: ")[-1] for c in stated.get_all("Classifier", []) if c.startswith("License :: ")]
    if expression:
        return set(re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression)) - {""}
    spoken = classifiers or (stated["License"] or "").strip().splitlines()[:1]
    return {SPOKEN.get(name, name) for name in spoken}


def refused(stated: metadata.PackageMetadata | Message) -> set[str]:
    return (licences(stated) or {"no licence stated"}) - ALLOWED


def needed(name: str) -> set[str]:
    """The packages that `name` brings along without any extra."""
    found: set[str] = set()
    waiting = {canonicalize_name(name)}
    while waiting:
        package = waiting.pop()
        found.add(package)
        for line in metadata.requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting |= {canonicalize_name(requirement.name)} - found
    return found


@pytest.mark.parametrize("package", [name for name in locked() if not PROPRIETARY.fullmatch(name)])
def test_locked_package_states_a_licence_that_is_allowed(package: str) -> None:
    assert not refused(metadata.metadata(package))


def test_nothing_proprietary_comes_without_the_extra_train() -> None:
    assert not [name for name in needed("merit-ledger") if PROPRIETARY.fullmatch(name) or name == "torch"]


def test_every_package_that_is_needed_without_extras_is_in_the_lock() -> None:
    assert needed("merit-ledger") - {"merit-ledger"} <= set(locked())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("License-Expression", "MIT AND AGPL-3.0-only"),
        ("Classifier", "License :: OSI Approved :: GNU Affero General Public License v3"),
        ("License", "GPL v2 or later"),
        ("License", ""),
    ],
)
def test_package_under_another_licence_or_none_is_refused(field: str, value: str) -> None:
    stated = Message()
    stated[field] = value
    assert refused(stated)
