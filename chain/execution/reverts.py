"""Why a call failed, as one line."""

from typing import Final

from eth.abc import ComputationAPI
from eth.exceptions import Revert

_ERROR: Final = bytes.fromhex("08c379a0")  # Error(string), Solidity's and Vyper's reason
_PANIC: Final = bytes.fromhex("4e487b71")  # Panic(uint256)
_PANICS: Final = {  # Solidity's codes in geth's words (accounts/abi), which tools look for
    0x00: "generic panic",
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x21: "enum overflow",
    0x22: "invalid encoded storage byte array accessed",
    0x31: "out-of-bounds array access; popping on an empty array",
    0x32: "out-of-bounds access of an array or bytesN",
    0x41: "out of memory",
    0x51: "uninitialized function",
}
_WORD: Final = 32
_LONGEST: Final = 1_000


def revert_text(output: bytes) -> str:
    """Read the reason out of a call's revert data; empty when there is none that can be read."""
    if output[:4] == _ERROR and len(output) >= 4 + 2 * _WORD:
        length = int.from_bytes(output[4 + _WORD : 4 + 2 * _WORD], "big")
        text = output[4 + 2 * _WORD :][: min(length, _LONGEST)]
        return text.decode(errors="replace")
    if output[:4] == _PANIC and len(output) == 4 + _WORD:
        code = int.from_bytes(output[4:], "big")
        return _PANICS.get(code, f"unknown panic code: {code:#x}")
    return ""


def revert_reason(computation: ComputationAPI) -> str:
    """Say why a computation failed: the contract's own reason, or what the EVM ran into."""
    error = computation.error
    if isinstance(error, Revert):
        return revert_text(computation.output) or "reverted without a reason"
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name
