"""Running bytecode: py-evm's interpreter, with a loop of our own around the instructions that cannot fail.

py-evm calls five to ten functions for each instruction; most instructions of a contract only move words about. Here a
code is decoded once. Instructions that compute on words and memory make up *runs*: gas, stack height and room are
compared once, at a run's beginning, then the run goes through one short loop. Whatever fails, or asks for state, is
py-evm's: such an instruction, and all of a run that does not have the gas or the words. So its errors and its gas are
py-evm's too, and no opcode is described twice: costs are read from py-evm's table
(tests/chain/execution/test_interpreter.py, test_oracle.py).
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from eth.abc import OpcodeAPI
from eth.exceptions import Halt
from eth.vm.computation import BaseComputation, memory_gas_cost
from eth.vm.forks.prague.opcodes import PRAGUE_OPCODES
from eth.vm.logic.invalid import InvalidOpcode

from chain.crypto.hashing import keccak256

if TYPE_CHECKING:
    from eth.vm.memory import Memory
    from eth.vm.opcode import Opcode
    from eth.vm.stack import Stack

_WORD: Final = 32
_MOST: Final = 2**256 - 1
_SIGN: Final = 2**255
_BITS: Final = 256
_STACK_LIMIT: Final = 1024
_CODES: Final = 16  # decoded ones that are remembered, 0.5 MB each; a ledger has a handful of contracts

_PUSH0, _PUSH32 = 0x5F, 0x7F
_DUP1, _DUP16, _SWAP1, _SWAP16 = 0x80, 0x8F, 0x90, 0x9F
_STOP, _JUMP, _JUMPI, _JUMPDEST = 0x00, 0x56, 0x57, 0x5B

# Kinds of instructions in a run, the most frequent first
_PUSH, _DUP, _BINARY, _STORE, _LOAD, _GO_IF, _NOTHING, _POP, _SWAP, _GO = range(10)
_UNARY, _ASK, _INPUT, _HASH, _COPY, _MOVE = range(10, 16)
_STOCK: Final = 16  # py-evm's: in no run


def _signed(word: int) -> int:
    return word - 2 * _SIGN if word & _SIGN else word


# From words to a word; the first argument was on top of the stack
_FUNCTIONS: Final[dict[int, Callable[[int, int], int]]] = {
    0x01: lambda left, right: (left + right) & _MOST,
    0x02: lambda left, right: (left * right) & _MOST,
    0x03: lambda left, right: (left - right) & _MOST,
    0x04: lambda left, right: left // right if right else 0,
    0x06: lambda left, right: left % right if right else 0,
    0x10: lambda left, right: int(left < right),
    0x11: lambda left, right: int(left > right),
    0x12: lambda left, right: int(_signed(left) < _signed(right)),
    0x13: lambda left, right: int(_signed(left) > _signed(right)),
    0x14: lambda left, right: int(left == right),
    0x16: lambda left, right: left & right,
    0x17: lambda left, right: left | right,
    0x18: lambda left, right: left ^ right,
    0x1B: lambda shift, word: (word << shift) & _MOST if shift < _BITS else 0,
    0x1C: lambda shift, word: word >> shift if shift < _BITS else 0,
}
_OF_ONE_WORD: Final[dict[int, Callable[[int], int]]] = {
    0x15: lambda word: int(not word),
    0x19: lambda word: _MOST - word,
}

# What a message says of itself
_QUESTIONS: Final[dict[int, Callable[[BaseComputation], int]]] = {
    0x30: lambda computation: int.from_bytes(computation.msg.storage_address, "big"),  # ADDRESS
    0x33: lambda computation: int.from_bytes(computation.msg.sender, "big"),  # CALLER
    0x34: lambda computation: computation.msg.value,  # CALLVALUE
    0x36: lambda computation: len(computation.msg.data),  # CALLDATASIZE
    0x3D: lambda computation: len(computation.return_data),  # RETURNDATASIZE
}

# Where bytes are copied from; whatever lies beyond the end is 0
_SOURCES: Final[dict[int, Callable[[BaseComputation], bytes]]] = {
    0x37: lambda computation: computation.msg.data_as_bytes,  # CALLDATACOPY
    0x39: lambda computation: computation.msg.code,  # CODECOPY
}

# Opcode -> kind, words that it takes, words that it leaves
_OTHERS: Final = {
    0x20: (_HASH, 2, 1),
    0x35: (_INPUT, 1, 1),  # CALLDATALOAD
    0x37: (_COPY, 3, 0),
    0x39: (_COPY, 3, 0),
    0x50: (_POP, 1, 0),
    0x51: (_LOAD, 1, 1),
    0x52: (_STORE, 2, 0),
    _JUMP: (_GO, 1, 0),
    _JUMPI: (_GO_IF, 2, 0),
    _JUMPDEST: (_NOTHING, 0, 0),
    0x5E: (_MOVE, 3, 0),  # MCOPY
}
_HASHED_WORD_GAS: Final = 6  # Yellow Paper, G_keccak256word
_COPIED_WORD_GAS: Final = 3  # Yellow Paper, G_copy


def _described(opcode: int) -> tuple[int, int, int]:
    """Return kind, words taken and words left of an opcode."""
    if _PUSH0 <= opcode <= _PUSH32:
        return _PUSH, 0, 1
    if _DUP1 <= opcode <= _DUP16:
        return _DUP, opcode - _DUP1 + 1, opcode - _DUP1 + 2
    if _SWAP1 <= opcode <= _SWAP16:
        return _SWAP, opcode - _SWAP1 + 2, opcode - _SWAP1 + 2
    if opcode in _FUNCTIONS:
        return _BINARY, 2, 1
    if opcode in _OF_ONE_WORD:
        return _UNARY, 1, 1
    if opcode in _QUESTIONS:
        return _ASK, 0, 1
    return _OTHERS.get(opcode, (_STOCK, 0, 0))


# The same as tables: opcode -> kind, words taken, words left, gas; and bytes that follow the opcode
_DESCRIBED: Final = [_described(opcode) for opcode in range(256)]
_COSTS: Final = [
    0 if _DESCRIBED[opcode][0] == _STOCK else cast("Opcode", PRAGUE_OPCODES[opcode]).gas_cost for opcode in range(256)
]
_OPERANDS: Final = [opcode - _PUSH0 if _PUSH0 < opcode <= _PUSH32 else 0 for opcode in range(256)]


@dataclass(frozen=True, slots=True)
class _Program:
    """A decoded code, with an entry per instruction, and at the end a STOP that is not in the code.

    `gas`, `needed` and `room` hold for the rest of the run that begins with the instruction: what it costs, how many
    words have to be on the stack, and how many may be there (less than 0: none). The gas of no run is 0.
    """

    kinds: bytes
    opcodes: bytes
    numbers: list[int]  # what PUSH pushes; where from the stack's end DUP and SWAP find the other word
    places: "array[int]"  # in the code, in bytes
    gas: "array[int]"
    needed: "array[int]"
    room: "array[int]"
    targets: dict[int, int]  # place of a JUMPDEST -> its instruction


def _number(opcode: int, code: bytes, at: int) -> int:
    if _PUSH0 <= opcode <= _PUSH32:
        size = opcode - _PUSH0
        return int.from_bytes(code[at + 1 : at + 1 + size].ljust(size, b"\0"), "big")
    if _DUP1 <= opcode <= _DUP16:
        return _DUP1 - 1 - opcode
    if _SWAP1 <= opcode <= _SWAP16:
        return _SWAP1 - 2 - opcode
    return 0


@lru_cache(maxsize=_CODES)
def _decoded(code: bytes) -> _Program:
    opcodes, places, numbers = bytearray(), array("I"), list[int]()
    at = 0
    while at < len(code):
        opcode = code[at]
        opcodes.append(opcode)
        places.append(at)
        numbers.append(_number(opcode, code, at))
        at += 1 + _OPERANDS[opcode]
    opcodes.append(_STOP)
    places.append(at)
    end = len(opcodes) - 1
    gas, needed, room = (array("i", [value]) * (end + 1) for value in (0, 0, _STACK_LIMIT))
    cost, least, most = 0, 0, _STACK_LIMIT  # of the run that begins with the next instruction
    for index in range(end - 1, -1, -1):
        opcode = opcodes[index]
        kind, taken, left = _DESCRIBED[opcode]
        if kind in {_STOCK, _GO, _GO_IF}:
            cost, least, most = 0, 0, _STACK_LIMIT
        if kind != _STOCK:
            cost += _COSTS[opcode]
            least = max(taken, least - left + taken)
            most = min(_STACK_LIMIT - max(left - taken, 0), most - left + taken)
        gas[index], needed[index], room[index] = cost, least, most
    return _Program(
        kinds=bytes(_DESCRIBED[opcode][0] for opcode in opcodes),
        opcodes=bytes(opcodes),
        numbers=numbers,
        places=places,
        gas=gas,
        needed=needed,
        room=room,
        targets={place: index for index, place in enumerate(places) if opcodes[index] == _JUMPDEST},
    )


def _gas_after_growth(memory: "Memory", end: int, gas: int) -> int:
    """Grow memory to `end` bytes and return the gas that is left; if that is less than 0, nothing has grown."""
    left: int = gas - memory_gas_cost(end) + memory_gas_cost(len(memory))
    if left >= 0:
        memory.extend(0, end)
    return left


def interpret(computation: BaseComputation, table: Mapping[int, OpcodeAPI]) -> None:
    """Run a computation's code to its end with py-evm's opcodes `table`; raises what those raise."""
    if computation.msg.code[:1] in {b"", b"\0"}:  # STOP, as in accounts that keep keys
        return
    program = _decoded(computation.msg.code)
    kinds, opcodes, numbers, costs = program.kinds, program.opcodes, program.numbers, program.gas
    needed, room, places, targets = program.needed, program.room, program.places, program.targets
    stream, meter = computation.code, computation._gas_meter  # noqa: SLF001 - py-evm's interpreter is a method
    stack = cast("list[int]", cast("Stack", computation._stack).values)  # noqa: SLF001 - as above; the top is at its end
    words = cast("Memory", computation._memory)  # noqa: SLF001 - as above
    memory = words._bytes  # noqa: SLF001 - as above
    gas: int = meter.gas_remaining
    index = 0
    while True:
        if costs[index] and gas >= costs[index] and needed[index] <= len(stack) <= room[index]:
            gas -= costs[index]
            target: int | None = None
            while True:
                kind = kinds[index]
                if kind == _PUSH:
                    stack.append(numbers[index])
                elif kind == _DUP:
                    stack.append(stack[numbers[index]])
                elif kind == _BINARY:
                    word = stack.pop()
                    stack[-1] = _FUNCTIONS[opcodes[index]](word, stack[-1])
                elif kind == _STORE:
                    at = stack[-1]
                    if at + _WORD > len(memory):
                        if (left := _gas_after_growth(words, at + _WORD, gas)) < 0:
                            break
                        gas, memory = left, words._bytes  # noqa: SLF001 - growing can replace it
                    memory[at : at + _WORD] = stack[-2].to_bytes(_WORD, "big")
                    del stack[-2:]
                elif kind == _LOAD:
                    at = stack[-1]
                    if at + _WORD > len(memory):
                        if (left := _gas_after_growth(words, at + _WORD, gas)) < 0:
                            break
                        gas, memory = left, words._bytes  # noqa: SLF001 - growing can replace it
                    stack[-1] = int.from_bytes(memory[at : at + _WORD], "big")
                elif kind == _GO_IF:
                    if not stack[-2]:
                        target = index + 1
                        del stack[-2:]
                    elif (target := targets.get(stack[-1])) is not None:
                        del stack[-2:]
                    break
                elif kind == _NOTHING:
                    pass
                elif kind == _POP:
                    del stack[-1]
                elif kind == _SWAP:
                    other = numbers[index]
                    stack[-1], stack[other] = stack[other], stack[-1]
                elif kind == _GO:
                    if (target := targets.get(stack[-1])) is not None:
                        del stack[-1]
                    break
                elif kind == _UNARY:
                    stack[-1] = _OF_ONE_WORD[opcodes[index]](stack[-1])
                elif kind == _ASK:
                    stack.append(_QUESTIONS[opcodes[index]](computation))
                elif kind == _INPUT:
                    at = stack[-1]
                    stack[-1] = int.from_bytes(bytes(computation.msg.data[at : at + _WORD]).ljust(_WORD, b"\0"), "big")
                elif kind == _HASH:
                    at, size = stack[-1], stack[-2]
                    extra = _HASHED_WORD_GAS * (-(-size // _WORD))
                    if at + size > len(memory) or gas < extra:
                        break
                    gas -= extra
                    del stack[-1]
                    stack[-1] = int.from_bytes(keccak256(bytes(memory[at : at + size])), "big")
                elif kind in {_COPY, _MOVE}:
                    to, start, size = stack[-1], stack[-2], stack[-3]
                    extra = _COPIED_WORD_GAS * (-(-size // _WORD))
                    reach = to if kind == _COPY else max(to, start)
                    if reach + size > len(memory) or gas < extra:
                        break
                    gas -= extra
                    del stack[-3:]
                    source = memory if kind == _MOVE else _SOURCES[opcodes[index]](computation)
                    memory[to : to + size] = source[start : start + size].ljust(size, b"\0")
                else:
                    break
                index += 1
            if target is not None:
                index = target
                continue
            gas += costs[index]  # paid at the run's beginning, and not yet used
        meter.gas_remaining = gas
        stream.program_counter = places[index] + 1
        opcode = opcodes[index]
        try:
            (table[opcode] if opcode in table else InvalidOpcode(opcode))(computation=computation)
        except Halt:
            return
        gas = meter.gas_remaining
        memory = words._bytes  # noqa: SLF001 - as above
        if stack and isinstance(stack[-1], bytes):  # an instruction leaves one word at most
            stack[-1] = int.from_bytes(stack[-1], "big")
        place = stream.program_counter  # the next instruction's, or a JUMPDEST's
        index = index + 1 if places[index + 1] == place else targets[place]
