"""The contracts' ABI as code: selectors, topics, types, and what a reverted call says.

eth_abi is imported when first used.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_hash.auto import keccak

from contracts.artifacts import WORD_BYTES, load, newest

_SELECTOR_BYTES: Final = 4
_ERROR_SELECTOR: Final = keccak(b"Error(string)")[:_SELECTOR_BYTES]


def type_of(entry: Mapping[str, Any]) -> str:
    """Return the canonical type of an ABI entry: a tuple becomes its members in parentheses."""
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(type_of, entry["components"])) + ")" + kind.removeprefix("tuple")


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its selector and the types of what goes in and comes out."""

    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, *arguments: object) -> bytes:
        """Return call data."""
        from eth_abi.abi import encode  # noqa: PLC0415 - a second of imports that the codec does not need

        return self.selector + encode(self.inputs, arguments)

    def arguments(self, call: bytes) -> tuple[Any, ...] | None:
        """Return what call data passes, or None if it is no call of this function; addresses as hexadecimal text."""
        from eth_abi.abi import decode  # noqa: PLC0415 - see above
        from eth_abi.exceptions import DecodingError  # noqa: PLC0415 - see above

        if call[:_SELECTOR_BYTES] != self.selector:
            return None
        try:
            values: tuple[Any, ...] = decode(self.inputs, call[_SELECTOR_BYTES:])
        except DecodingError:
            return None
        return values

    def decode(self, output: bytes) -> tuple[Any, ...]:
        """Return what a call answered, addresses still as hexadecimal text."""
        from eth_abi.abi import decode  # noqa: PLC0415 - see above

        values: tuple[Any, ...] = decode(self.outputs, output)
        return values


@functools.cache
def functions(contract: str) -> dict[str, Function]:
    """Return the functions of a contract by name, those of its newest version; none is overloaded."""
    found = {}
    for entry in load(contract, newest(contract)).abi:
        if entry["type"] == "function":
            inputs = tuple(map(type_of, entry["inputs"]))
            selector = keccak(f"{entry['name']}({','.join(inputs)})".encode())[:_SELECTOR_BYTES]
            found[entry["name"]] = Function(selector, inputs, tuple(map(type_of, entry["outputs"])))
    return found


def address_of(text: str) -> bytes:
    """Return the 20 bytes of an address that eth_abi or web3 gives as hexadecimal text."""
    return bytes.fromhex(text[2:])


def topic_of(entry: Mapping[str, Any]) -> bytes:
    """Return topic 0 of an event from its ABI entry: keccak256 of its signature."""
    return keccak(f"{entry['name']}({','.join(map(type_of, entry['inputs']))})".encode())


def revert_reason(output: bytes) -> str | None:
    """Return the reason string of a reverted call's output (Error(string)), or None if it carries none."""
    if output[:_SELECTOR_BYTES] != _ERROR_SELECTOR:
        return None
    length = int.from_bytes(output[_SELECTOR_BYTES + WORD_BYTES : _SELECTOR_BYTES + 2 * WORD_BYTES], "big")
    start = _SELECTOR_BYTES + 2 * WORD_BYTES
    return output[start : start + length].decode("utf-8", errors="backslashreplace")
