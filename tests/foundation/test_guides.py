"""What the guides link to is there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - as scripts do
GUIDES = LISTED.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.md")]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_relative_link_leads_somewhere(guide: str) -> None:
    path = ROOT / guide
    targets = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (path.parent / Path(target)).exists()] == []
