"""Storage slots of the contracts, for code that reads or writes them without the EVM (the native verifier, audits).

Vyper's rule (0.4.3): a variable lies at the slot that the layout names. A HashMap's value lies at keccak256(slot ||
key), both as 32-byte words, where `slot` is the HashMap's own; a HashMap of HashMaps applies the rule once per key. A
struct's members take one slot each, in order (Vyper packs nothing). A DynArray keeps its length at its slot and its
elements from the next one on.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from eth_hash.auto import keccak

from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN, VESTING
from contracts.artifacts import Artifact, load, newest
from contracts.errors import UnknownVariableError

WORD: Final = 32

_HASHMAP: Final = re.compile(r"HashMap\[(\w+), (.+)\]")
_DYNARRAY: Final = re.compile(r"DynArray\[(\w+), (\d+)\]")
_BYTES: Final = re.compile(r"Bytes\[(\d+)\]")
_NUMBERS: Final = 1 << 64  # ids, counters and heights are smaller
_ADDRESSES: Final = 1 << 160
_PREDEPLOYED: Final = {int.from_bytes(address, "big") for address in (REGISTRY, TOKEN, LEDGER, COUNCIL, VESTING)}


def slot(contract: str, variable: str, *path: int | bytes | str) -> int:
    """Return the slot of a variable of `Registry`, `Token`, `Ledger`, `Council` or `Vesting`.

    `path` holds first one key for each HashMap on the way (an int, or up to 32 bytes: a bytes32, or an address, which
    stands for its number), then the name of a struct's member or an index into a DynArray. Without that last step it is
    the slot of the struct's first member or of the DynArray's length. Raise `UnknownVariableError` if the layout has no
    such place.
    """
    place, kind = _start(contract, variable)
    steps = list(path)
    while steps and (mapping := _HASHMAP.fullmatch(kind)):
        place = mapped(place, _number(contract, variable, steps.pop(0)))
        kind = mapping[2]
    if steps:
        place += _offset(contract, variable, kind, steps.pop(0))
    if steps:
        raise UnknownVariableError(contract, variable, steps[0])
    return place


def mapped(place: int, key: int) -> int:
    """Return the slot of `key`'s value in the HashMap at slot `place`: keccak256(place || key)."""
    return int.from_bytes(keccak(place.to_bytes(WORD, "big") + key.to_bytes(WORD, "big")), "big")


def members(contract: str, struct: str) -> tuple[str, ...]:
    """Return the names of a struct's members: the n-th lies n slots behind the first."""
    artifact = _newest(contract)
    if struct not in artifact.structs:
        raise UnknownVariableError(contract, struct, struct)
    return tuple(name for name, _ in artifact.structs[struct])


def places(contract: str, keys: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield slots of a contract with their names, such as `balanceOf[0x...]` or `_jobs[1].version`.

    The key of a HashMap cannot be told from the slot of its value, so `keys` are those to try, as numbers; each is
    tried where its size fits the type. With n keys there are n^3 places in a HashMap of three levels.
    """
    for variable, entry in _newest(contract).layout.items():
        yield from _places(contract, variable, str(entry["type"]), int(entry["slot"]), keys)


def _places(contract: str, name: str, kind: str, place: int, keys: Sequence[int]) -> Iterator[tuple[int, str]]:
    if mapping := _HASHMAP.fullmatch(kind):
        for key in keys:
            if (text := _key(mapping[1], key)) is not None:
                yield from _places(contract, f"{name}[{text}]", mapping[2], mapped(place, key), keys)
    elif kind in _newest(contract).structs:
        for at, member in enumerate(members(contract, kind)):
            yield place + at, f"{name}.{member}"
    elif array := _DYNARRAY.fullmatch(kind):
        yield place, f"length of {name}"
        yield from ((place + 1 + at, f"{name}[{at}]") for at in range(int(array[2])))
    elif content := _BYTES.fullmatch(kind):
        yield place, f"length of {name}"
        yield from ((place + 1 + at, f"word {at} of {name}") for at in range(-(-int(content[1]) // WORD)))
    else:
        yield place, name


def _key(kind: str, key: int) -> str | None:
    """Write a key as its type is written; None for one that the type cannot have or hardly has."""
    if kind == "address":
        return f"0x{key:040x}" if _NUMBERS <= key < _ADDRESSES or key in _PREDEPLOYED else None
    if kind == "bytes32":
        return f"0x{key:064x}" if key >= _ADDRESSES else None
    return str(key) if key < _NUMBERS else None


def _newest(contract: str) -> Artifact:
    """Return the last version of a contract: it keeps every slot of the ones before."""
    return load(contract, newest(contract))


@cache
def _start(contract: str, variable: str) -> tuple[int, str]:
    entry = _newest(contract).layout.get(variable)
    if entry is None:
        raise UnknownVariableError(contract, variable, variable)
    return int(entry["slot"]), str(entry["type"])


def _number(contract: str, variable: str, key: int | bytes | str) -> int:
    number = int.from_bytes(key, "big") if isinstance(key, bytes) and len(key) <= WORD else key
    if not isinstance(number, int) or not 0 <= number < 1 << (8 * WORD):
        raise UnknownVariableError(contract, variable, key)
    return number


def _offset(contract: str, variable: str, kind: str, step: int | bytes | str) -> int:
    """Slots from the start of a struct or DynArray to one of its members."""
    if isinstance(step, str):
        artifact: Artifact = _newest(contract)
        if kind not in artifact.structs or step not in (names := members(contract, kind)):
            raise UnknownVariableError(contract, variable, step)
        return names.index(step)
    array = _DYNARRAY.fullmatch(kind)
    if array is None or not isinstance(step, int) or not 0 <= step < int(array[2]):
        raise UnknownVariableError(contract, variable, step)
    return 1 + step
