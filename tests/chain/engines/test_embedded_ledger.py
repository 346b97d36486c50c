"""The ledger itself under the embedded engine: four stores, one history, through restarts and kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from chain import light
from chain.application import Application, Code, Timestamp
from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator
from chain.genesis import Genesis, Hex, Quota, Quotas, ValidatorEntry
from chain.light import Height
from chain.storage import Store
from chain.transaction import Fields, sign_transaction
from chain.validators import genesis_time, genesis_validators
from contracts.addresses import COUNCIL
from contracts.bindings import Council
from merit.chance import seeded
from tests.chain import ledger
from tests.chain.engines.network import KEYS, VirtualClock, run

VALIDATORS = 4


def document(**changes: Any) -> Genesis:
    return ledger.genesis(
        **changes,
        validators=tuple(
            ValidatorEntry(name=f"node{number}", public_key=Hex(KEYS[number].public_key))
            for number in range(VALIDATORS)
        ),
    )


def transfer(genesis_hash: bytes, nonce: int) -> bytes:
    """A transaction of nothing to nobody; only its nonce matters."""
    fields = Fields(chain_id=document().chain_id, nonce=nonce, gas=1_000_000, to=bytes(20), data=b"")
    return sign_transaction(ledger.SPONSOR, fields, genesis_hash)


@contextmanager
def opened(path: Path, genesis: Genesis | None = None) -> Iterator[list[Validator]]:
    with ExitStack() as stack:
        validators = []
        for number in range(VALIDATORS):
            node = path / f"node{number}"
            engine_store = EngineStore(node / "engine", (genesis or document()).digest())
            stack.callback(engine_store.close)
            store = Store.open(node / "ledger")
            stack.callback(store.close)
            validators.append(Validator(KEYS[number], Application(store), engine_store))
        yield validators


def verify(validator: Validator) -> int:
    """Follow the engine store from genesis on and execute every block again in memory; return the height."""
    application = Application(Store.memory())
    app_hash = application.init_chain(document())
    trusted: light.Trusted | None = None
    following = genesis_validators(document())
    for height in map(Height, range(1, validator.store.height + 1)):
        block, commit = validator.store.block(height), validator.store.commit(height)
        light.verify_block(block, commit.block_id)
        if trusted is None:
            trusted = light.verify_first(
                block.header,
                commit,
                genesis_validators(document()),
                document().name,
                genesis_time=genesis_time(document()),
                app_hash=app_hash,
            )
        else:
            trusted = light.verify_next(trusted, block.header, commit, app_hash=app_hash, next_validators=following)
        time = block.header.time
        finalized = application.finalize_block(height, Timestamp(time.seconds, time.nanos), block.txs)
        app_hash, following = finalized.app_hash, following.updated(finalized.validator_updates)
        application.commit()
    assert app_hash == validator.store.outcome(validator.store.height).app_hash
    return validator.store.height


def test_four_ledgers_tell_one_history_and_survive_a_restart(tmp_path: Path) -> None:
    async def main(validators: list[Validator], nonces: range) -> list[int]:
        clock = VirtualClock()
        engine = EmbeddedEngine(validators, document(), clock, empty_interval=0)
        await engine.start()
        application = validators[0].application
        assert isinstance(application, Application)
        for nonce in nonces:
            verdict = engine.member(nonce % VALIDATORS).submit(transfer(application.genesis_hash, nonce))
            assert verdict.accepted, verdict.reason
            await clock.run(1)
        await engine.stop()
        return [validator.store.height for validator in validators]

    with opened(tmp_path) as validators:
        assert run(main(validators, range(3))) == [3] * VALIDATORS
    with opened(tmp_path) as validators:
        assert run(main(validators, range(3, 5))) == [5] * VALIDATORS
        assert len({validator.application.info() for validator in validators}) == 1
        assert [verify(validator) for validator in validators] == [5] * VALIDATORS


def test_whoever_waits_for_a_window_is_shown_the_time_though_the_chain_is_idle(tmp_path: Path) -> None:
    one = Quota(transactions=1, bytes=10**6, gas=10**9)
    bounded = document(quotas=Quotas(window_s=10, member=one))

    async def main(validators: list[Validator]) -> None:
        clock = VirtualClock()
        engine = EmbeddedEngine(validators, bounded, clock, empty_interval=0)
        await engine.start()
        application = validators[0].application
        assert isinstance(application, Application)
        await clock.run(100)
        codes: list[Code] = []
        for nonce in (0, 1):
            while True:
                verdict = engine.submit(transfer(application.genesis_hash, nonce))
                codes.append(verdict.code)
                await clock.run(1)
                if verdict.accepted:
                    break
                assert len(codes) < 30
        idle = engine.height
        await clock.run(100)
        assert engine.height == idle, "nobody waits any more"
        assert codes[0] is codes[-1] is Code.OK
        assert set(codes[1:-1]) == {Code.QUOTA}
        await engine.stop()

    with opened(tmp_path, bounded) as validators:
        run(main(validators))


def test_a_transaction_out_of_turn_is_refused_with_its_reason(tmp_path: Path) -> None:
    async def main(validators: list[Validator]) -> None:
        engine = EmbeddedEngine(validators, document(), VirtualClock(), manual=True)
        await engine.start()
        application = validators[0].application
        assert isinstance(application, Application)
        verdict = engine.submit(transfer(application.genesis_hash, 7))
        assert not verdict.accepted
        assert "nonce" in verdict.reason
        assert await engine.advance(empty=False) is None

    with opened(tmp_path) as validators:
        run(main(validators))


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_is_survived(tmp_path: Path, kills: int) -> None:
    moments = seeded(20, "kill", kills)
    reached = 0
    for _ in range(kills):
        process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            [sys.executable, "-m", "tests.chain.engines.run_until_killed", str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[3],
        )
        assert process.stdout is not None
        told = [int(process.stdout.readline())]  # it recovered and made a height
        told.extend(int(process.stdout.readline()) for _ in range(moments.randrange(12)))
        process.stdout.read(moments.randrange(2))  # sometimes into the next height
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
        assert told[0] > reached
        assert told == list(range(told[0], told[0] + len(told)))
        reached = told[-1]
    with opened(tmp_path) as validators:
        assert all(validator.store.height >= reached - 1 for validator in validators)
        run(_recover(validators))
        heights = [verify(validator) for validator in validators]
        assert heights[0] >= reached
        assert heights == heights[:1] * VALIDATORS


async def _recover(validators: list[Validator]) -> None:
    engine = EmbeddedEngine(validators, document(), VirtualClock(), manual=True)
    await engine.start()
    await engine.stop()


def test_validators_that_members_changed_decide_from_two_heights_later_on(tmp_path: Path) -> None:
    new = ledger.key("a new validator")

    async def main(validators: list[Validator]) -> Application:
        engine = EmbeddedEngine(validators, document(), VirtualClock(), manual=True)
        await engine.start()
        application = validators[0].application
        assert isinstance(application, Application)
        await engine.add_key(1, new)
        data = Council.encode_rotate_validator(light.validator_address(KEYS[1].public_key), new.public_key)
        fields = Fields(chain_id=document().chain_id, nonce=0, gas=50_000_000, to=COUNCIL, data=data)
        assert engine.submit(sign_transaction(ledger.GOVERNOR, fields, application.genesis_hash)).accepted
        for _ in range(4):
            await engine.advance()
        await engine.stop()
        return application

    with opened(tmp_path) as validators:
        application = run(main(validators))
        keys = {seat.public_key for seat in application.reader().validators()}
        assert keys == {KEYS[number].public_key for number in (0, 2, 3)} | {new.public_key}
        assert [verify(validator) for validator in validators] == [4] * VALIDATORS
        votes = [validators[0].store.commit(Height(height)).signatures for height in range(1, 5)]
        known = [light.validator_address(new.public_key) in {vote.validator_address for vote in one} for one in votes]
        assert known == [False, False, True, True]
