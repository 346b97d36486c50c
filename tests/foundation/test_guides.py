"""What the guides link to is there, headings included."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - as scripts do
GUIDES = LISTED.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.md")]


def anchors(path: Path) -> set[str]:
    """Return what a link may name behind `#`: headings in lower case, without punctuation, with hyphens for spaces."""
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[tuple[Path, str]]:
    found = LINK.findall(path.read_text(encoding="utf-8"))
    return [(path.parent / target if target else path, anchor) for target, anchor in found if "://" not in target]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_relative_link_leads_somewhere(guide: str) -> None:
    assert [str(target) for target, _ in links(ROOT / guide) if not target.exists()] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_to_a_heading_finds_it(guide: str) -> None:
    named = [(target, anchor) for target, anchor in links(ROOT / guide) if anchor and target.suffix == ".md"]
    assert [f"{target}#{anchor}" for target, anchor in named if anchor not in anchors(target)] == []
