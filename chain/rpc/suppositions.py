"""Reads what a call may suppose and how it is to be traced: geth's override objects and tracer options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain.crypto.addresses import Address
from chain.execution.overrides import AccountOverride, AccountOverrides, BlockOverride
from chain.execution.simulated import MOST_BLOCKS, too_many_blocks
from chain.execution.tracing import StepOptions
from chain.rpc.errors import InvalidParamsError, SimulationRefusedError
from chain.rpc.limits import OVERRIDDEN_ACCOUNTS, OVERRIDDEN_SLOTS
from chain.rpc.parameters import (
    CallRequest,
    address,
    call,
    count,
    data,
    flag,
    hash32,
    items,
    mapping,
    quantity,
    shown,
    storage_key,
    word,
)

CALLS: Final = "callTracer"
STATES: Final = "prestateTracer"
_STEPS: Final = (None, "", "structLogger")


def account_overrides(value: object, name: str) -> AccountOverrides:
    """Read the accounts that a call supposes (the third parameter of eth_call in geth)."""
    given = mapping(value, name)
    if len(given) > OVERRIDDEN_ACCOUNTS:
        message = f"{name}: {len(given)} accounts, at most {OVERRIDDEN_ACCOUNTS} are allowed"
        raise InvalidParamsError(message)
    return {address(key, name): _account(wish, f"{name}.{shown(key)}") for key, wish in given.items()}


def _account(value: object, name: str) -> AccountOverride:
    fields = _known(value, name, {"nonce", "balance", "code", "state", "stateDiff", "movePrecompileToAddress"})
    target = fields.get("movePrecompileToAddress")
    if "state" in fields and "stateDiff" in fields:
        message = f"{name}: state and stateDiff exclude each other"
        raise InvalidParamsError(message)
    return AccountOverride(
        nonce=quantity(fields["nonce"], f"{name}.nonce", 64) if "nonce" in fields else None,
        balance=quantity(fields["balance"], f"{name}.balance") if "balance" in fields else None,
        code=data(fields["code"], f"{name}.code") if "code" in fields else None,
        state=_slots(fields["state"], f"{name}.state") if "state" in fields else None,
        state_diff=_slots(fields["stateDiff"], f"{name}.stateDiff") if "stateDiff" in fields else None,
        move_precompile_to=None if target is None else address(target, f"{name}.movePrecompileToAddress"),
    )


def _slots(value: object, name: str) -> Mapping[int, int]:
    given = mapping(value, name)
    if len(given) > OVERRIDDEN_SLOTS:
        message = f"{name}: {len(given)} slots, at most {OVERRIDDEN_SLOTS} are allowed"
        raise InvalidParamsError(message)
    return {storage_key(key, name): int.from_bytes(hash32(word, name), "big") for key, word in given.items()}


def block_override(value: object, name: str) -> BlockOverride:
    """Read what a call supposes of its block (the fourth parameter of eth_call in geth)."""
    numbers = {"number", "time", "gasLimit", "baseFeePerGas", "blobBaseFee"}
    fields = _known(value, name, numbers | {"feeRecipient", "prevRandao", "withdrawals"})
    if fields.get("withdrawals"):
        message = f"{name}.withdrawals: there are no withdrawals on this ledger"
        raise InvalidParamsError(message)

    def number(key: str, bits: int = 64) -> int | None:
        return quantity(fields[key], f"{name}.{key}", bits) if key in fields else None

    recipient = fields.get("feeRecipient")
    randao = fields.get("prevRandao")
    return BlockOverride(
        number=number("number"),
        timestamp=number("time"),
        gas_limit=number("gasLimit"),
        coinbase=None if recipient is None else Address(address(recipient, f"{name}.feeRecipient")),
        mix_hash=None if randao is None else word(randao, f"{name}.prevRandao"),
        base_fee_per_gas=number("baseFeePerGas", 256),
        blob_base_fee=number("blobBaseFee", 256),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest:
    """A block that eth_simulateV1 is to make: what it supposes, and its calls."""

    block: BlockOverride
    accounts: AccountOverrides
    calls: tuple[CallRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """What eth_simulateV1 is to make and to answer."""

    blocks: tuple[BlockRequest, ...]
    transfers: bool
    validation: bool
    full: bool


def simulation(value: object, name: str) -> SimulationRequest:
    """Read the first parameter of eth_simulateV1."""
    fields = _known(value, name, {"blockStateCalls", "traceTransfers", "validation", "returnFullTransactions"})
    blocks = items(fields.get("blockStateCalls"), f"{name}.blockStateCalls")
    if not blocks:
        message = "empty input"  # geth's words
        raise InvalidParamsError(message)
    if len(blocks) > MOST_BLOCKS:
        refusal = too_many_blocks()
        raise SimulationRefusedError(refusal.fault, str(refusal))

    def chosen(key: str) -> bool:
        return flag(fields.get(key, False), f"{name}.{key}")

    return SimulationRequest(
        blocks=tuple(_block(block, f"{name}.blockStateCalls[{at}]") for at, block in enumerate(blocks)),
        transfers=chosen("traceTransfers"),
        validation=chosen("validation"),
        full=chosen("returnFullTransactions"),
    )


def _block(value: object, name: str) -> BlockRequest:
    fields = _known(value, name, {"blockOverrides", "stateOverrides", "calls"})
    calls = items(fields.get("calls", []), f"{name}.calls")
    return BlockRequest(
        block=block_override(fields.get("blockOverrides", {}), f"{name}.blockOverrides"),
        accounts=account_overrides(fields.get("stateOverrides", {}), f"{name}.stateOverrides"),
        calls=tuple(call(one, f"{name}.calls[{at}]") for at, one in enumerate(calls)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """What prestateTracer tells of accounts: geth's options. With `changes` only those, and what comes after."""

    changes: bool = False
    code: bool = True
    storage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """How to trace: the tree of calls, or (`steps`) every instruction, or (`states`) accounts before and after.

    The last two are of debug_traceCall only.
    """

    steps: StepOptions | None
    states: StateOptions | None = None
    only_top_call: bool = False
    with_logs: bool = False
    accounts: AccountOverrides
    block: BlockOverride | None


def trace_request(value: object, name: str) -> TraceRequest:
    """Read geth's tracer options; `timeout` and `reexec` are taken and change nothing here."""
    steps = {"disableStack", "disableStorage", "enableMemory", "enableReturnData", "limit"}
    configs = {"onlyTopCall", "withLog", "diffMode", "disableCode"} | steps
    others = {"tracer", "tracerConfig", "timeout", "reexec", "stateOverrides", "blockOverrides"}
    fields = _known(value, name, steps | others)
    tracer = fields.get("tracer")
    if tracer not in (CALLS, STATES, *_STEPS):
        there = f"there are {CALLS} and {STATES}, and without a name the instructions"
        message = f"{name}.tracer: {shown(tracer)} is not known; {there}"
        raise InvalidParamsError(message)
    config = _known(fields.get("tracerConfig", {}), f"{name}.tracerConfig", configs)
    overrides = fields.get("blockOverrides")

    def chosen(key: str) -> bool:
        return flag(config.get(key, fields.get(key, False)), f"{name}.{key}")

    return TraceRequest(
        steps=None
        if tracer in {CALLS, STATES}
        else StepOptions(
            stack=not chosen("disableStack"),
            storage=not chosen("disableStorage"),
            memory=chosen("enableMemory"),
            return_data=chosen("enableReturnData"),
            limit=count(config.get("limit", fields.get("limit", 0)), f"{name}.limit"),
        ),
        states=StateOptions(
            changes=chosen("diffMode"), code=not chosen("disableCode"), storage=not chosen("disableStorage")
        )
        if tracer == STATES
        else None,
        only_top_call=chosen("onlyTopCall"),
        with_logs=chosen("withLog"),
        accounts=account_overrides(fields.get("stateOverrides", {}), f"{name}.stateOverrides"),
        block=None if overrides is None else block_override(overrides, f"{name}.blockOverrides"),
    )


def _known(value: object, name: str, keys: set[str]) -> Mapping[object, object]:
    fields = {key: item for key, item in mapping(value, name).items() if item is not None}
    unknown = set(fields) - keys
    if unknown:
        message = f"{name}: unknown field {shown(min(unknown, key=str))}"
        raise InvalidParamsError(message)
    return fields
