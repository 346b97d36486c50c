"""The committed protobuf stubs are what the locked tools make of comet.proto."""

from pathlib import Path

import pytest

from chain.proto import build

ROOT = Path(build.__file__).resolve().parents[2]


@pytest.mark.parametrize("stub", build.STUBS)
def test_stubs_are_generated_from_their_source(stub: str, tmp_path: Path) -> None:
    build.generate(tmp_path)
    assert (tmp_path / stub).read_text() == (ROOT / stub).read_text(), "run `python -m chain.proto.build`"
