"""Makes a small run whose edge servers govern by vote: python -m tests.node.audit.make_governed_run DIRECTORY

Like `make_run`, and after its first round the edge servers agree to rotate a validator's key, to score the job by other
rules, and to switch to version 2 of execution, contracts and rules in blocks that the run still makes.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
import torch

from chain.light import validator_address
from contracts.addresses import COUNCIL, LEDGER
from contracts.bindings import Council, Ledger
from contracts.calls import Call
from contracts.digests import name32
from contracts.upgrades import UpgradeKind
from merit.clock import SystemClock
from node.edge.server import EdgeServer
from node.run import session as sessions
from tests.node.audit.make_run import RUN

ROUNDS = 8
VERSION_2 = (25, 30)  # blocks after the proposal, execution first, contracts and rules then
GAS = 60_000_000


class GovernedSession(sessions.Session):
    """A run whose edge servers vote after its first round."""

    async def train(self) -> None:
        await self._step_until(lambda: self.log.version >= 1)
        await self._govern()
        await super().train()
        head = self.network.web3(0).eth
        await self._step_until(lambda: head.block_number > self.last_switch)

    async def _govern(self) -> None:
        servers, eth = self.servers.servers, self.network.web3(0).eth
        old = validator_address(self.network.genesis.validators[1].public_key)
        new = await self.network.add_validator_key(1)
        execution, self.last_switch = (eth.block_number + blocks for blocks in VERSION_2)
        calls = [
            Call(LEDGER, Ledger.encode_use_rules(1, 1, name32("uniform"), name32("delta"), name32("polynomial"))),
            Call(COUNCIL, Council.encode_rotate_validator(old, new.public_key)),
            Call(COUNCIL, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, execution)),
            Call(COUNCIL, Council.encode_schedule_upgrade(UpgradeKind.CONTRACTS, 2, self.last_switch)),
            Call(COUNCIL, Council.encode_schedule_upgrade(UpgradeKind.RULES, 2, self.last_switch)),
        ]
        expiry = int(eth.get_block("latest")["timestamp"]) + 10_000
        await self._made(servers[0], Council.encode_propose(expiry, "other rules, a new key, version 2", calls))
        for server in servers[:3]:
            await self._made(server, Council.encode_vote(1, approves=True))
        await self._made(servers[3], Council.encode_execute(1, calls))

    async def _made(self, server: EdgeServer, data: bytes) -> None:
        """Send a transaction to the Council in an edge server's name and wait for its block."""
        sender, purpose = server.sender, "govern"
        sender.send(purpose, to=COUNCIL, data=data, gas=GAS)
        await self._step_until(lambda: not sender.busy(purpose))


async def main(directory: Path) -> None:
    run = msgspec.structs.replace(RUN, rounds=ROUNDS)
    await GovernedSession(directory, run, SystemClock(), lambda _: None, source="test", council=True).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    asyncio.run(main(Path(sys.argv[1])))
