"""The compiled contracts as package data: ABI, bytecode and storage layout, without a compiler and without web3."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from contracts.addresses import ADDRESS_BYTES
from contracts.errors import LengthError, UnknownContractError

DIRECTORY: Final = Path(__file__).parent / "artifacts"
FOUNDING: Final = ("Registry", "Token", "Ledger", "Council")
"""The contracts of version 1: every ledger has them from block 0 on."""

NAMES: Final = (*FOUNDING, "Vesting")

VERSIONS: Final = {1: FOUNDING, 2: ("Token",), 3: ("Ledger",), 4: ("Ledger", "Vesting")}
"""Contracts version -> which contracts it brings; the others stay as they were (see `chain.execution.upgrades`)."""

WORD_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract.

    `abi` is the standard JSON ABI; `bytecode` the initcode, to which ABI-encoded constructor arguments are appended;
    `deployed_bytecode` the code that it leaves, but for the immutables that it appends; `layout` maps a storage
    variable to its slot and Vyper type and `structs` a struct's name to its members in order (see
    `contracts.layout`); `source_sha256` is the digest of the `.vy` file, and `compiler` names what made all this.
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    layout: dict[str, Any]
    structs: dict[str, tuple[tuple[str, str], ...]]
    source_sha256: str
    compiler: str


def place(name: str, version: int) -> str:
    """Return where a contract's source and artifact lie, below their directories and without the suffix."""
    return name if version == 1 else f"v{version}/{name}"


def newest(name: str) -> int:
    """Return the last contracts version that brings this contract; it keeps whatever earlier ones offer."""
    return max((version for version, names in VERSIONS.items() if name in names), default=1)


@cache
def load(name: str, version: int = 1) -> Artifact:
    """Return the artifact of the contract of this name that a contracts version brings.

    Raise `UnknownContractError` if it brings none of this name.
    """
    if name not in VERSIONS.get(version, ()):
        raise UnknownContractError(name if version == 1 else place(name, version))
    fields = json.loads((DIRECTORY / f"{place(name, version)}.json").read_text(encoding="utf-8"))
    return Artifact(
        name=fields["name"],
        abi=tuple(fields["abi"]),
        bytecode=bytes.fromhex(fields["bytecode"][2:]),
        deployed_bytecode=bytes.fromhex(fields["deployed_bytecode"][2:]),
        layout=fields["layout"],
        structs={
            name: tuple((member["name"], member["type"]) for member in members)
            for name, members in fields["structs"].items()
        },
        source_sha256=fields["source_sha256"],
        compiler=fields["compiler"],
    )


def initcode(name: str, *arguments: bytes, version: int = 1) -> bytes:
    """Return what deploys a contract: its bytecode and its constructor's arguments, which are 20-byte addresses only.

    `Registry(governor, keys_precompile)`, `Token(registry)`, `Ledger(registry, token, verifier)`, `Council(registry)`,
    `Vesting(registry, token, ledger)`, of version 4 only.
    A Merit ledger creates those of version 1, whose places later ones take; on another EVM chain any may be deployed.
    Raise `LengthError` for another number of arguments or an argument that is no address.
    """
    artifact = load(name, version)
    expected = next(len(entry["inputs"]) for entry in artifact.abi if entry["type"] == "constructor")
    if len(arguments) != expected:
        raise LengthError(part=f"constructor of {name}", length=len(arguments), expected=expected, unit="arguments")
    for argument in arguments:
        if len(argument) != ADDRESS_BYTES:
            raise LengthError(part=f"address for {name}", length=len(argument), expected=ADDRESS_BYTES)
    return artifact.bytecode + b"".join(argument.rjust(WORD_BYTES, b"\0") for argument in arguments)
