"""Compile the contracts: `python -m contracts.build` writes `artifacts/*.json`, `--check` only compares.

The one module of this room that imports Vyper, which is a development dependency. The output depends on the sources and
the compiler alone: paths are given relative to this directory, so two checkouts write the same bytes.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from contracts.artifacts import DIRECTORY, NAMES

SOURCES: Final = Path(__file__).parent


def build(name: str) -> str:
    """Compile one contract and return its artifact as canonical JSON (sorted keys, trailing newline)."""
    import vyper  # noqa: PLC0415 - a development dependency that nothing else may need
    from vyper.compiler import compile_from_file_input  # noqa: PLC0415
    from vyper.compiler.input_bundle import FileInput  # noqa: PLC0415

    path = Path(f"{name}.vy")
    source = (SOURCES / path).read_text(encoding="utf-8")
    compiled: dict[str, Any] = compile_from_file_input(
        FileInput(contents=source, source_id=0, path=path, resolved_path=path),
        output_formats=["abi", "ast_dict", "bytecode", "bytecode_runtime", "layout"],
    )
    # the layout names a struct's type only; its members lie in consecutive slots in the order of their declaration
    structs = {
        node["name"]: [{"name": member["target"]["id"], "type": member["annotation"]["id"]} for member in node["body"]]
        for node in compiled["ast_dict"]["ast"]["body"]
        if node["ast_type"] == "StructDef"
    }
    artifact = {
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
        "compiler": f"vyper {vyper.__version__}",
        "deployed_bytecode": compiled["bytecode_runtime"],
        "layout": compiled["layout"]["storage_layout"],
        "name": name,
        "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
        "structs": structs,
    }
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Write all artifacts, or with `--check` return 1 and name those that differ from their sources."""
    stale = []
    for name in NAMES:
        path = DIRECTORY / f"{name}.json"
        text = build(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        sys.stderr.write(f"stale artifacts: {', '.join(stale)}; run python -m contracts.build\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
