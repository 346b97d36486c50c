"""Compile the contracts: `python -m contracts.build` writes `artifacts/*.json`, `--check` only compares.

The one module of this room that imports Vyper, which is a development dependency. The output depends on the sources and
the compiler alone: paths are given relative to this directory, so two checkouts write the same bytes.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from contracts.artifacts import DIRECTORY, VERSIONS, place

SOURCES: Final = Path(__file__).parent


def build(name: str, version: int = 1) -> str:
    """Compile one contract of a version and return its artifact as canonical JSON (sorted keys, trailing newline)."""
    import vyper  # noqa: PLC0415 - a development dependency that nothing else may need
    from vyper.compiler import compile_from_file_input  # noqa: PLC0415
    from vyper.compiler.input_bundle import FileInput  # noqa: PLC0415

    path = Path(f"{place(name, version)}.vy")
    source = (SOURCES / path).read_text(encoding="utf-8")
    compiled: dict[str, Any] = compile_from_file_input(
        FileInput(contents=source, source_id=0, path=path, resolved_path=path),
        output_formats=["abi", "ast_dict", "bytecode", "bytecode_runtime", "layout"],
    )
    # the layout names a struct's type only; its members lie in consecutive slots in the order of their declaration
    structs = {
        node["name"]: [{"name": member["target"]["id"], "type": _type(member["annotation"])} for member in node["body"]]
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


def _type(annotation: dict[str, Any]) -> str:
    """Return a member's type as the source writes it; one with a bound is a subscript in Vyper's syntax tree."""
    if annotation["ast_type"] == "Subscript":
        bound = annotation["slice"]
        return f"{annotation['value']['id']}[{bound.get('id', bound.get('value'))}]"
    return str(annotation["id"])


def main(arguments: list[str]) -> int:
    """Write all artifacts, or with `--check` return 1 and name those that differ from their sources."""
    stale = []
    for version, names in VERSIONS.items():
        for name in names:
            path = DIRECTORY / f"{place(name, version)}.json"
            text = build(name, version)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(place(name, version))
                if "--check" not in arguments:
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        sys.stderr.write(f"stale artifacts: {', '.join(stale)}; run python -m contracts.build\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
