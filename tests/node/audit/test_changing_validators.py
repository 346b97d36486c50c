"""An engine that changes its validators, decides in later rounds and with nil and absent votes, audited over RPC."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from chain import light
from chain.application import Application
from chain.application import Timestamp as ApplicationTime
from chain.crypto.schemes import Scheme, SigningKey
from chain.engines.base import StoredHistory, last_results_hash
from chain.genesis import Genesis, Hex, ValidatorEntry
from chain.rpc.dispatcher import Dispatcher
from chain.storage import Store
from chain.validators import CONSENSUS_PARAMS, genesis_time
from merit.clock import SystemClock
from node.audit import Part, audit_network
from tests.node.audit.serving import Loop, proxy

KEYS = [SigningKey.generate(Scheme.ML_DSA_65) for _ in range(5)]
BY_ADDRESS = {light.validator_address(key.public_key): key for key in KEYS}
TIME = 1_700_000_000


def members(numbers: Sequence[int]) -> light.ValidatorSet:
    return light.ValidatorSet.of(light.Validator(KEYS[number].public_key, 1) for number in numbers)


SETS = {1: members([0, 1, 2, 3]), 2: members([0, 1, 2, 3]), 3: members([1, 2, 3, 4]), 4: members([1, 2, 3, 4])}
SETS |= {5: members([2, 3, 4]), 6: members([2, 3, 4])}
TOP = 5
FLAGS = {2: light.BlockIdFlag.NIL, 3: light.BlockIdFlag.ABSENT}
"""How the last validator of a height votes, where it is not for the block."""


class Changing:
    """An engine that has decided some empty heights, each by the validators that the one before announced."""

    height = light.Height(TOP)
    headers: ClassVar[dict[int, light.Header]] = {}
    commits: ClassVar[dict[int, light.Commit]] = {}

    def __init__(self, genesis: Genesis, application: Application) -> None:
        last, results, app_hash = light.EMPTY_COMMIT, last_results_hash(()), application.init_chain(genesis)
        time = genesis_time(genesis)
        for height in map(light.Height, range(1, TOP + 1)):
            header = light.Header(
                app_version=1,
                chain_id=genesis.name,
                height=height,
                time=time,
                last_block_id=last.block_id,
                last_commit_hash=light.commit_hash(last),
                data_hash=light.data_hash(()),
                validators_hash=light.validators_hash(SETS[height]),
                next_validators_hash=light.validators_hash(SETS[height + 1]),
                consensus_hash=light.consensus_hash(CONSENSUS_PARAMS),
                app_hash=app_hash,
                last_results_hash=results,
                evidence_hash=light.evidence_hash(()),
                proposer_address=SETS[height].validators[0].address,
            )
            last = self._decided(header, last, genesis.name)
            self.headers[height], self.commits[height] = header, last
            finalized = application.finalize_block(height, ApplicationTime(time.seconds, time.nanos), ())
            application.commit()
            app_hash, results = finalized.app_hash, last_results_hash(finalized.results)
            time = light.median_time(last, SETS[height])

    @staticmethod
    def _decided(header: light.Header, last: light.Commit, name: str) -> light.Commit:
        height = header.height
        slots = [
            light.CommitSig(light.BlockIdFlag.COMMIT, one.address, light.Timestamp(TIME + 60 * height, 7), b"")
            for one in SETS[height]
        ]
        flag = FLAGS.get(height)
        if flag is light.BlockIdFlag.ABSENT:
            slots[-1] = light.ABSENT
        elif flag is not None:
            slots[-1] = replace(slots[-1], flag=flag)
        unsigned = light.Commit(height, height % 3, light.block_id(light.Block(header, (), last)), tuple(slots))
        signed = [
            slot
            if slot == light.ABSENT
            else replace(
                slot,
                signature=BY_ADDRESS[slot.validator_address].sign(
                    light.commit_sign_bytes(unsigned, index, name), light.VOTE_CONTEXT
                ),
            )
            for index, slot in enumerate(slots)
        ]
        return replace(unsigned, signatures=tuple(signed))

    @property
    def history(self) -> StoredHistory:
        return StoredHistory(self)

    def validators(self, height: int) -> light.ValidatorSet:
        return SETS[height]

    def header(self, height: int) -> light.Header:
        return self.headers[height]

    def commit(self, height: int) -> light.Commit:
        return self.commits[height]

    @staticmethod
    def transactions(_: int) -> tuple[bytes, ...]:
        return ()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    running = Loop()
    yield running
    running.end()


@pytest.fixture(scope="module")
def dispatcher(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    directory = tmp_path_factory.mktemp("changing")
    entries = [ValidatorEntry(name=f"validator-{n}", public_key=Hex(KEYS[n].public_key)) for n in range(4)]
    genesis = Genesis(time=TIME, governor=Hex(b"governor" + bytes(12)), validators=tuple(entries))
    store: list[Store] = []

    async def start() -> Dispatcher:
        store.append(Store.open(directory / "ledger", sync=False))
        application = Application(store[0])
        engine: Any = Changing(genesis, application)
        return Dispatcher(application, engine, SystemClock())

    async def stop() -> None:
        store[0].close()

    yield loop.run(start())
    loop.run(stop())


def test_validators_that_headers_announce_are_followed(loop: Loop, dispatcher: Dispatcher) -> None:
    server = loop.serve(proxy(dispatcher, {}))
    report = audit_network([server.url])
    loop.run(server.stop())
    assert report.ok, report.lines
    assert report.height == TOP
    counts = next(tally for tally in report.tallies if tally.name == "heights").counts
    absent = 1
    assert counts["different commit signatures"] == sum(len(SETS[height]) for height in range(1, TOP + 1)) - absent


def test_validators_that_no_header_announces_are_named(loop: Loop, dispatcher: Dispatcher) -> None:
    def others(_: Any) -> Any:
        return [
            {"address": "0x", "publicKey": f"0x{one.public_key.hex()}", "power": "0x1"} for one in members([0, 1, 2])
        ]

    server = loop.serve(proxy(dispatcher, {"merit_validators": others}))
    report = audit_network([server.url])
    loop.run(server.stop())
    assert report.first is not None
    assert (report.first.part, report.first.height, report.height) == (Part.VALIDATORS, 2, 1)


def test_a_validator_that_left_cannot_decide_any_more(loop: Loop, dispatcher: Dispatcher) -> None:
    """The votes of the set of height 1 for height 5, as if nobody had announced another."""
    found = Changing.commits[5]
    slots = tuple(
        light.CommitSig(light.BlockIdFlag.COMMIT, one.address, found.signatures[0].timestamp, b"x" * 3309)
        for one in SETS[1]
    )

    def old(page: Any) -> Any:
        page["heights"][4]["commit"] = f"0x{light.encode_commit(replace(found, signatures=slots)).hex()}"
        return page

    server = loop.serve(proxy(dispatcher, {"merit_heights": old}))
    report = audit_network([server.url])
    loop.run(server.stop())
    assert report.first is not None
    assert (report.first.part, report.first.height) == (Part.COMMIT, 5)
