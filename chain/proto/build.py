"""Regenerates the committed protobuf stubs: `python -m chain.proto.build`; needs the development dependencies."""

import contextlib
import sys
from importlib import resources
from pathlib import Path

SOURCES = ("chain/proto/comet.proto", "chain/proto/abci.proto")
STUBS = tuple(source.removesuffix(".proto") + ending for source in SOURCES for ending in ("_pb2.py", "_pb2.pyi"))


def generate(destination: Path) -> None:
    """Write the stubs below `destination`, which stands for the root of the repository.

    Raises RuntimeError when protoc fails; it has printed why.
    """
    from grpc_tools import protoc  # noqa: PLC0415 - a development dependency: importing this module must not need it

    root = Path(__file__).resolve().parents[2]
    arguments = [
        "protoc",
        f"--proto_path={root}",
        f"--plugin=protoc-gen-mypy={Path(sys.executable).with_name('protoc-gen-mypy')}",
        f"--python_out={destination}",
        f"--mypy_out=quiet:{destination}",
        *SOURCES,
    ]
    with contextlib.ExitStack() as stack:
        well_known = stack.enter_context(resources.as_file(resources.files("grpc_tools") / "_proto"))
        status = protoc.main([*arguments[:2], f"--proto_path={well_known}", *arguments[2:]])
    if status != 0:
        msg = f"protoc left with status {status}: see its output above"
        raise RuntimeError(msg)


if __name__ == "__main__":
    generate(Path(__file__).resolve().parents[2])
