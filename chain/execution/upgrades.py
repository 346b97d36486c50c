"""What happens in a block before its transactions: new contracts are installed, misbehavior is punished."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chain.crypto.addresses import Address
from chain.errors import ContractUpgradeError, VersionError
from chain.execution.blocks import Misbehavior
from chain.execution.governance import punish
from chain.execution.quotas import install_quotas
from chain.execution.versions import CONTRACT_VERSIONS, QUOTAS_FROM
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN
from contracts.artifacts import VERSIONS, load
from contracts.upgrades import UpgradeKind

if TYPE_CHECKING:
    from chain.execution.evm import MeritState

PREDEPLOYS: Final = {"Registry": REGISTRY, "Token": TOKEN, "Ledger": LEDGER, "Council": COUNCIL}
"""Where each contract stands, on every ledger."""


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
    old one wrote them is the new version's duty.
    """
    for version in range(before + 1, now + 1):
        for name in VERSIONS[version]:
            address = Address(PREDEPLOYS[name])
            replaced = max(older for older, names in VERSIONS.items() if older < version and name in names)
            old, found = load(name, replaced).deployed_bytecode, state.get_code(address)
            if not found.startswith(old):
                raise ContractUpgradeError(name, version)
            state.set_code(address, load(name, version).deployed_bytecode + found[len(old) :])
    state.lock_changes()
