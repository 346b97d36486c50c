"""What a computation does on its way: calls within calls, or one instruction after the other.

A tracer is told of every message that begins and ends and of every instruction before and after it runs. `traced`
makes a class that tells it out of any computation class of py-evm, ours among them. It runs all instructions in
py-evm's own loop, some five times slower than ours (`chain.execution.interpreter`), so only what is asked for is
traced. Frames and steps follow geth's tracers (go-ethereum, eth/tracers), which every tool reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from eth.abc import ComputationAPI, MessageAPI, StateAPI, TransactionContextAPI
from eth.exceptions import Halt, InsufficientFunds, InvalidInstruction, OutOfGas, Revert, StackDepthLimit, VMError
from eth.vm import opcode_values
from eth.vm.logic.invalid import InvalidOpcode

from chain.crypto.addresses import ADDRESS_BYTES, Address
from chain.crypto.hashing import keccak256
from chain.errors import TraceLimitError
from chain.execution.blocks import Log
from chain.execution.reverts import revert_text

TRACE_STEPS: Final = 200_000  # instructions in one answer: some 40 MB of JSON
TRACE_COUNT: Final = 3_000_000  # instructions that are only looked at: some 10 s
TRACE_WORDS: Final = 8_000_000  # words of stack, memory and storage in one answer

_WORD: Final = 32
_CALLS: Final = {
    0xF0: "CREATE",
    0xF1: "CALL",
    0xF2: "CALLCODE",
    0xF4: "DELEGATECALL",
    0xF5: "CREATE2",
    0xFA: "STATICCALL",
}
_CREATIONS: Final = frozenset({0xF0, 0xF5})
_SLOAD, _SSTORE, _SELFDESTRUCT = 0x54, 0x55, 0xFF
_LOGS: Final = range(0xA0, 0xA5)
_ADDRESS_ON_TOP: Final = frozenset({0x31, 0x3B, 0x3C, 0x3F, _SELFDESTRUCT})  # BALANCE, EXTCODE*
_ADDRESS_SECOND: Final = frozenset({0xF1, 0xF2, 0xF4, 0xFA})

NAMES: Final = {
    **{value: name for name, value in vars(opcode_values).items() if name.isupper() and isinstance(value, int)},
    0x20: "KECCAK256",
    0x44: "DIFFICULTY",  # also where it is PREVRANDAO
    0xFE: "INVALID",
}
"""Opcode -> its name as geth's tracers write it."""


class Tracer:
    """Is told what happens; this one only counts: `TraceLimitError` beyond `TRACE_COUNT` instructions."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._count = 0

    def begin(self, state: StateAPI) -> None:
        """Hear that a transaction of the ledger is to run in `state`."""

    def end(self, state: StateAPI) -> None:
        """Hear that it has run."""

    def enter(self, message: MessageAPI) -> None:
        """Hear that a message begins."""

    def leave(self, computation: ComputationAPI | None, error: VMError | None) -> None:
        """Hear that the newest open message has ended; `computation` is None when it never ran."""

    def before(self, computation: ComputationAPI, opcode: int) -> None:
        """Hear that an instruction is to run."""
        del computation, opcode
        self._count += 1
        if self._count > TRACE_COUNT:
            raise TraceLimitError(TRACE_COUNT, "instructions")

    def after(self, computation: ComputationAPI, opcode: int, error: Exception | None) -> None:
        """Hear that an instruction has run; `error` is what it raised, `Halt` for a regular end."""


@dataclass(slots=True)
class Frame:
    """One message (geth: call frame). Gas and value as integers; `to` None while a creation has made nothing.

    `error` says in geth's words why it failed, `reason` is the contract's own. `logs` stand with the number of calls
    that came before each, and with its index among all logs of the transaction.
    """

    kind: str
    sender: Address
    to: Address | None
    value: int | None
    gas: int
    input: bytes
    gas_used: int = 0
    output: bytes = b""
    error: str = ""
    reason: str = ""
    calls: "list[Frame]" = field(default_factory=list)
    logs: list[tuple[Log, int, int]] = field(default_factory=list)


class CallTracer(Tracer):
    """Keeps the tree of messages; `root` is the transaction's own, None when none began."""

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.root: Frame | None = None
        self._open: list[Frame] = []
        self._opcode = 0
        self._frames = self._logs = 0

    def enter(self, message: MessageAPI) -> None:
        """Open a frame below the one that is open."""
        self._frames += 1
        if self._frames > TRACE_STEPS:
            raise TraceLimitError(TRACE_STEPS, "calls")
        frame = _frame(message, _CALLS.get(self._opcode) if self._open else None)
        if self._open:
            self._open[-1].calls.append(frame)
        else:
            self.root = frame
        self._open.append(frame)

    def leave(self, computation: ComputationAPI | None, error: VMError | None) -> None:
        """Close the frame that is open."""
        frame = self._open.pop()
        if computation is not None:
            frame.gas_used = computation.get_gas_used()
            frame.output = bytes(computation.output)
        if error is not None:
            frame.error = failure(error)
            frame.reason = revert_text(frame.output) if isinstance(error, Revert) else ""
            if frame.kind.startswith("CREATE"):
                frame.to = None
            if computation is None:
                frame.gas_used = 0 if isinstance(error, StackDepthLimit | InsufficientFunds) else frame.gas
            _forget_logs(frame)

    def before(self, computation: ComputationAPI, opcode: int) -> None:
        """Note what may open the next frame; a SELFDESTRUCT is a frame by itself."""
        super().before(computation, opcode)
        self._opcode = opcode
        if opcode == _SELFDESTRUCT and _depth_of_stack(computation):
            here = Address(computation.msg.storage_address)
            heir = _address(_stack(computation)[-1])
            balance = computation.state.get_balance(here)
            self._open[-1].calls.append(Frame("SELFDESTRUCT", here, heir, balance, 0, b""))

    def after(self, computation: ComputationAPI, opcode: int, error: Exception | None) -> None:
        """Keep the log that a LOG instruction wrote."""
        if opcode in _LOGS and error is None:
            _, address, topics, data = computation._log_entries[-1]  # noqa: SLF001 - py-evm sorts them only at the end
            log = Log(Address(address), tuple(topic.to_bytes(_WORD, "big") for topic in topics), data)
            frame = self._open[-1]
            frame.logs.append((log, len(frame.calls), self._logs))
            self._logs += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What a step says besides its instruction: geth's options and their defaults."""

    stack: bool = True
    storage: bool = True
    memory: bool = False
    return_data: bool = False
    limit: int = 0  # steps after which no more are kept; 0 for none


@dataclass(slots=True)
class Step:
    """One instruction (geth: struct log), before it ran; `cost` is its gas, for calls with what it handed on."""

    pc: int
    opcode: int
    gas: int
    depth: int
    cost: int = 0
    error: str = ""
    stack: tuple[int, ...] | None = None
    memory: bytes | None = None
    storage: dict[int, int] | None = None
    return_data: bytes | None = None


class StepTracer(Tracer):
    """Keeps every instruction; `TraceLimitError` beyond `TRACE_STEPS` of them or `TRACE_WORDS` of data."""

    def __init__(self, options: StepOptions) -> None:
        """Start with nothing."""
        super().__init__()
        self.steps: list[Step] = []
        self._options = options
        self._words = 0
        self._open: list[Step | None] = []  # the step under way in each open message
        self._places: list[int] = []  # where py-evm stood in its code after the last instruction
        self._storage: dict[Address, dict[int, int]] = {}

    def enter(self, message: MessageAPI) -> None:
        """Price the call that begins: for a CALL with the gas it hands on, for a CREATE without (as geth)."""
        step = self._open[-1] if self._open else None
        if step is not None:
            step.cost = step.gas - self._left
            if step.opcode in _CREATIONS:
                step.cost -= message.gas
        self._open.append(None)
        self._places.append(0)

    def leave(self, computation: ComputationAPI | None, error: VMError | None) -> None:
        """Go back to the message around."""
        del computation, error
        self._open.pop()
        self._places.pop()

    def before(self, computation: ComputationAPI, opcode: int) -> None:
        """Keep the instruction with what it finds."""
        super().before(computation, opcode)
        if self._options.limit and len(self.steps) >= self._options.limit:
            self._open[-1] = None
            return
        if len(self.steps) >= TRACE_STEPS:
            raise TraceLimitError(TRACE_STEPS, "instructions")
        words = _stack(computation)
        place = computation.code.program_counter
        step = Step(
            pc=place if place == self._places[-1] else place - 1,  # py-evm does not move for the STOP behind the code
            opcode=opcode,
            gas=computation.get_gas_meter().gas_remaining,
            depth=computation.msg.depth + 1,
        )
        if self._options.stack:
            step.stack = tuple(map(_number, words))
            self._words += len(words)
        if self._options.memory:
            step.memory = bytes(computation._memory._bytes)  # type: ignore[attr-defined]  # noqa: SLF001 - reading all of it has no method
            self._words += len(step.memory) // _WORD
        if self._options.return_data:
            step.return_data = bytes(computation.return_data)
            self._words += len(step.return_data) // _WORD
        if self._options.storage and len(words) >= {_SLOAD: 1, _SSTORE: 2}.get(opcode, len(words) + 1):
            step.storage = self._touched(computation, opcode, words)
            self._words += 2 * len(step.storage)
        if self._words > TRACE_WORDS:
            raise TraceLimitError(TRACE_WORDS, "words of stack, memory and storage")
        self.steps.append(step)
        self._open[-1] = step
        self._parent = computation

    def _touched(self, computation: ComputationAPI, opcode: int, words: list[Any]) -> dict[int, int]:
        """Return what this contract has read and written so far, this instruction included."""
        here = Address(computation.msg.storage_address)
        known = self._storage.setdefault(here, {})
        slot = _number(words[-1])
        known[slot] = _number(words[-2]) if opcode == _SSTORE else computation.state.get_storage(here, slot)
        return dict(known)

    def after(self, computation: ComputationAPI, opcode: int, error: Exception | None) -> None:
        """Price the instruction that ran."""
        self._places[-1] = computation.code.program_counter
        step = self._open[-1]
        if step is None:
            return
        if opcode not in _CALLS or not step.cost:
            step.cost = step.gas - computation.get_gas_meter().gas_remaining
        if isinstance(error, VMError) and not isinstance(error, Revert):
            step.error = failure(error)

    @property
    def _left(self) -> int:
        return self._parent.get_gas_meter().gas_remaining


class AccessTracer(Tracer):
    """Keeps the accounts and storage slots that are read or written: what an access list (EIP-2930) may name."""

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.touched: dict[Address, set[int]] = {}

    def before(self, computation: ComputationAPI, opcode: int) -> None:
        """Note what the instruction reaches for."""
        super().before(computation, opcode)
        words = _stack(computation)
        if opcode in {_SLOAD, _SSTORE} and words:
            self.touched.setdefault(Address(computation.msg.storage_address), set()).add(_number(words[-1]))
        elif opcode in _ADDRESS_ON_TOP and words:
            self.touched.setdefault(_address(words[-1]), set())
        elif opcode in _ADDRESS_SECOND and len(words) > 1:
            self.touched.setdefault(_address(words[-2]), set())


def traced(base: type[ComputationAPI], tracer: Tracer) -> type[ComputationAPI]:
    """Return a computation class that does what `base` does and tells `tracer`."""
    table = {
        opcode: _watched(base.opcodes.get(opcode) or InvalidOpcode(opcode), opcode, tracer) for opcode in range(256)
    }

    class Traced(base):  # type: ignore[valid-type, misc] # a class made to order
        opcodes = table

        @classmethod
        def apply_message(
            cls,
            state: StateAPI,
            message: MessageAPI,
            transaction_context: TransactionContextAPI,
            parent_computation: ComputationAPI | None = None,
        ) -> ComputationAPI:
            run: Callable[..., ComputationAPI] = super().apply_message
            if message.is_create:  # part of `apply_create_message`
                return run(state, message, transaction_context, parent_computation=parent_computation)
            return _told(tracer, message, lambda: run(state, message, transaction_context, parent_computation))

        @classmethod
        def apply_create_message(
            cls,
            state: StateAPI,
            message: MessageAPI,
            transaction_context: TransactionContextAPI,
            parent_computation: ComputationAPI | None = None,
        ) -> ComputationAPI:
            run: Callable[..., ComputationAPI] = super().apply_create_message
            return _told(tracer, message, lambda: run(state, message, transaction_context, parent_computation))

        def run(self) -> None:
            """Take the place of our own loop (`MeritComputation.run`)."""
            for opcode in self.code:
                try:
                    table[opcode](computation=self)
                except Halt:
                    break

    return Traced


TRANSFERS: Final = Address(b"\xee" * ADDRESS_BYTES)
"""Who is said to emit the logs about transfers of ether (execution-apis, traceTransfers)."""

_TRANSFER: Final = int.from_bytes(keccak256(b"Transfer(address,address,uint256)"), "big")  # ERC-20


def tell_transfers(base: type[ComputationAPI], told: set[int]) -> type[ComputationAPI]:
    """Return a computation class that does what `base` does and logs every transfer of ether as ERC-20 does a token's.

    The logs stand among the contracts' own and go with them when a message fails. Those of the transaction that runs
    are told apart by their numbers in `told`.
    """

    def log(computation: ComputationAPI, sender: bytes, to: bytes, value: int) -> None:
        ends = (int.from_bytes(sender, "big"), int.from_bytes(to, "big"))
        computation.add_log_entry(TRANSFERS, (_TRANSFER, *ends), value.to_bytes(_WORD, "big"))
        told.add(computation._log_entries[-1][0])  # noqa: SLF001 - py-evm sorts them only at the end

    def selfdestruct(computation: ComputationAPI) -> None:
        here, words = computation.msg.storage_address, _stack(computation)
        balance = computation.state.get_balance(here)
        heir = _address(words[-1]) if words else here
        try:
            base.opcodes[_SELFDESTRUCT](computation=computation)
        except Halt:
            if balance:
                log(computation, here, heir, balance)
            raise

    class Telling(base):  # type: ignore[valid-type, misc] # a class made to order
        opcodes = {**base.opcodes, _SELFDESTRUCT: selfdestruct}  # noqa: RUF012 - py-evm's tables are classes' own

        def __init__(self, state: StateAPI, message: MessageAPI, transaction_context: TransactionContextAPI) -> None:
            super().__init__(state, message, transaction_context)
            if message.value and message.should_transfer_value:
                log(self, message.sender, message.storage_address, message.value)

    return Telling


def _told(tracer: Tracer, message: MessageAPI, run: Callable[[], ComputationAPI]) -> ComputationAPI:
    tracer.enter(message)
    try:
        computation = run()
    except VMError as error:
        tracer.leave(None, error)
        raise
    tracer.leave(computation, computation.error if computation.is_error else None)
    return computation


def _watched(run: Callable[..., None], opcode: int, tracer: Tracer) -> Callable[..., None]:
    def watch(computation: ComputationAPI) -> None:
        if not computation.msg.code:  # an account without code runs nothing
            return run(computation=computation)
        tracer.before(computation, opcode)
        try:
            run(computation=computation)
        except (Halt, VMError) as error:
            tracer.after(computation, opcode, error)
            raise
        tracer.after(computation, opcode, None)
        return None

    return watch


def _frame(message: MessageAPI, kind: str | None) -> Frame:
    if message.is_create:
        made = Address(message.storage_address)
        return Frame(kind or "CREATE", Address(message.sender), made, message.value, message.gas, bytes(message.code))
    kind = kind or "CALL"
    borrowed = kind in {"DELEGATECALL", "CALLCODE"}
    return Frame(
        kind,
        Address(message.storage_address if borrowed else message.sender),
        Address(message.code_address if borrowed else message.to),
        None if kind == "STATICCALL" else message.value,
        message.gas,
        bytes(message.data),
    )


def _forget_logs(frame: Frame) -> None:
    frame.logs.clear()
    for call in frame.calls:
        _forget_logs(call)


def failure(error: VMError) -> str:
    """Say what went wrong in geth's words where it has some."""
    match error:
        case Revert():
            return "execution reverted"
        case OutOfGas():
            return "out of gas"
        case InvalidInstruction():
            return f"invalid opcode: {error}"
        case StackDepthLimit():
            return "max call depth exceeded"
        case InsufficientFunds():
            return "insufficient balance for transfer"
        case _:
            return str(error) or type(error).__name__


def _stack(computation: ComputationAPI) -> list[Any]:
    return computation._stack.values  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001 - py-evm only lets pop


def _depth_of_stack(computation: ComputationAPI) -> int:
    return len(_stack(computation))


def _number(word: int | bytes) -> int:
    return word if isinstance(word, int) else int.from_bytes(word, "big")


def _address(word: int | bytes) -> Address:
    return Address(_number(word).to_bytes(_WORD, "big")[-ADDRESS_BYTES:])
