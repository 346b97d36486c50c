"""What happens in a block before its transactions: new contracts are installed, misbehavior is punished."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chain.crypto.addresses import Address
from chain.errors import ContractUpgradeError, VersionError
from chain.execution.blocks import Misbehavior
from chain.execution.governance import punish
from chain.execution.quotas import install_quotas
from chain.execution.versions import CONTRACT_VERSIONS, QUOTAS_FROM
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN, VESTING
from contracts.artifacts import VERSIONS, WORD_BYTES, load
from contracts.upgrades import UpgradeKind

if TYPE_CHECKING:
    from chain.execution.evm import MeritState

PREDEPLOYS: Final = {"Registry": REGISTRY, "Token": TOKEN, "Ledger": LEDGER, "Council": COUNCIL, "Vesting": VESTING}
"""Where each contract stands, on every ledger."""

IMMUTABLES: Final = {"Vesting": (REGISTRY, TOKEN, LEDGER)}
"""What the constructor of a contract that a later version founds is given."""


def begin_block(state: "MeritState", misbehavior: Sequence[Misbehavior]) -> tuple[bytes, ...]:
    """Bring a block's state to the versions that hold in it; return the validators that misbehavior expelled.

    `VersionError` when the block needs contracts that this program does not have.
    """
    number = state.block_number
    before, now = (state.schedule.version(UpgradeKind.CONTRACTS, at) for at in (number - 1, number))
    if now not in CONTRACT_VERSIONS:
        raise VersionError("contracts", now, CONTRACT_VERSIONS, block=number)  # noqa: EM101 - a field
    if before != now:
        install_contracts(state, before, now)
    if state.schedule.version(UpgradeKind.EXECUTION, number) >= QUOTAS_FROM:
        install_quotas(state)
    return punish(state, misbehavior) if misbehavior else ()


def install_contracts(state: "MeritState", before: int, now: int) -> None:
    """Put the code of the contracts versions above `before`, up to `now`, in the place of what stands there.

    The addresses, the storage and the immutables (which lie behind the code) stay: that the new code reads them as the
    old one wrote them is the new version's duty. A contract that a version founds begins with an empty storage.
    """
    for version in range(before + 1, now + 1):
        for name in VERSIONS[version]:
            address = Address(PREDEPLOYS[name])
            found = state.get_code(address)
            replaced = [older for older, names in VERSIONS.items() if older < version and name in names]
            old = load(name, max(replaced)).deployed_bytecode if replaced else b""
            if not found.startswith(old) or bool(found) != bool(old):
                raise ContractUpgradeError(name, version)
            behind = found[len(old) :] if replaced else _immutables(name)
            state.set_code(address, load(name, version).deployed_bytecode + behind)
    state.lock_changes()


def _immutables(name: str) -> bytes:
    """Return what the constructor of a contract would leave behind its code, one word for each address."""
    return b"".join(address.rjust(WORD_BYTES, b"\0") for address in IMMUTABLES[name])
