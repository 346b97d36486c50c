"""What execution does in the governor's name, and what it tells the engine of the Council's validators.

Block 0 is set up by the governor's calls. Afterwards the ledger itself calls for one reason only: the engine has proved
that a validator signed two blocks of one height. See ADR-misbehavior.md beside this file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from eth.abc import ComputationAPI
from eth.vm.message import Message

from chain.crypto.addresses import ADDRESS_BYTES, Address
from chain.execution.blocks import Log, Misbehavior
from chain.execution.versions import GetStorage
from contracts.addresses import COUNCIL, REGISTRY
from contracts.bindings import Council, Registry
from contracts.events import event_topic
from contracts.layout import slot

if TYPE_CHECKING:
    from chain.execution.evm import MeritState

_COUNCIL: Final = Address(COUNCIL)
_REGISTRY: Final = Address(REGISTRY)
_GAS: Final = 10**15  # nobody pays for these calls; a bound all the same
_WORD: Final = 32

ValidatorUpdate = tuple[bytes, int]
"""A validator's ML-DSA-65 public key and its power from now on; 0 = it leaves (ABCI 2.0, ValidatorUpdate)."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A validator that takes part: its public key, its power, and its edge server's member id (0: none is named)."""

    public_key: bytes
    power: int
    member: int


def govern(state: "MeritState", governor: Address, to: bytes, data: bytes) -> ComputationAPI:
    """Call a contract in the governor's name; a call that fails changes nothing. No receipt is made."""
    target = Address(to)
    message = Message(gas=_GAS, to=target, sender=governor, value=0, data=data, code=state.get_code(target))
    context = state.get_transaction_context_class()(gas_price=0, origin=governor)
    computation = state.computation_class.apply_message(state, message, context)
    state.lock_changes()
    state.clear_transient_storage()
    return computation


def governor_of(storage: GetStorage) -> Address:
    """Return the one account that may call what is privileged, as the Registry knows it."""
    return Address(storage(_REGISTRY, _place("Registry", "_governor")).to_bytes(ADDRESS_BYTES, "big"))


def punish(state: "MeritState", misbehavior: Iterable[Misbehavior]) -> tuple[bytes, ...]:
    """Expel the validators that were reported and suspend their members; return those that left by their addresses.

    A key that was rotated or removed speaks for its member still: the validator that the member runs now leaves. Where
    the Council refuses, because no more than two thirds of the power that the members agreed on would remain, the
    member is not suspended either: such a case is for the members, and they need their votes. For the same reason the
    last edge server in good standing is never suspended.
    """
    governor = governor_of(state.get_storage)
    expelled: list[bytes] = []
    for report in misbehavior:
        member = _word(state, "_validators", report.validator, "member")
        running = _word(state, "_validator_of", member).to_bytes(ADDRESS_BYTES, "big") if member else report.validator
        if _word(state, "_validators", running, "power"):
            if govern(state, governor, COUNCIL, Council.encode_expel_validator(running)).is_error:
                continue
            expelled.append(running)
        if (
            member
            and not state.get_storage(_REGISTRY, slot("Registry", "_members", member, "suspended"))
            and state.get_storage(_REGISTRY, _place("Registry", "_active_edge_servers")) > 1
        ):
            govern(state, governor, REGISTRY, Registry.encode_suspend(member)).raise_if_error()
    return tuple(expelled)


def validators_named(logs: Iterable[Log]) -> tuple[bytes, ...]:
    """Return the validators of which the Council's events say something, in their order, each once."""
    topic = event_topic("ValidatorChanged")
    named = (log.topics[1][-ADDRESS_BYTES:] for log in logs if log.address == _COUNCIL and log.topics[0] == topic)
    return tuple(dict.fromkeys(named))


def validator_updates(
    before: "MeritState", after: "MeritState", validators: Sequence[bytes]
) -> tuple[ValidatorUpdate, ...]:
    """Return what changed for the engine between two states; one that came and left in the same block is no change.

    An engine may stop at the removal of a validator that it never had (CometBFT does), so powers are compared.
    """
    return tuple(
        (validator_key(after, validator), power)
        for validator in dict.fromkeys(validators)
        if (power := _word(after, "_validators", validator, "power"))
        != _word(before, "_validators", validator, "power")
    )


def seats(state: "MeritState") -> tuple[Seat, ...]:
    """Return the validators that take part by a state, in the order in which they came."""
    active = _place("Council", "_active")
    found: list[Seat] = []
    for index in range(state.get_storage(_COUNCIL, active)):
        validator = state.get_storage(_COUNCIL, active + 1 + index).to_bytes(ADDRESS_BYTES, "big")
        power, member = (_word(state, "_validators", validator, name) for name in ("power", "member"))
        found.append(Seat(validator_key(state, validator), power, member))
    return tuple(found)


def validator_key(state: "MeritState", validator: bytes) -> bytes:
    """Return the public key that a state keeps for a validator; empty if it knows none."""
    place = slot("Council", "_validator_keys", validator)
    length = state.get_storage(_COUNCIL, place)
    words = (state.get_storage(_COUNCIL, place + 1 + index) for index in range(-(-length // _WORD)))
    return b"".join(word.to_bytes(_WORD, "big") for word in words)[:length]


def _word(state: "MeritState", variable: str, *path: int | bytes | str) -> int:
    return state.get_storage(_COUNCIL, slot("Council", variable, *path))


@cache
def _place(contract: str, variable: str) -> int:
    return slot(contract, variable)
