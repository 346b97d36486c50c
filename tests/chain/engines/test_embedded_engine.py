"""The embedded engine: heights, their certificates, their time, and who takes part."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chain import light
from chain.application import Code
from chain.consensus import types as core
from chain.consensus.driver import VoteReceived
from chain.consensus.journal import recover
from chain.engines import errors
from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator
from chain.light import Height
from tests.chain.engines.network import GENESIS_SECONDS, KEYS, Counter, Network, make_genesis, network, run

if TYPE_CHECKING:
    from chain.engines.base import Engine


async def heights_made(net: Network, count: int) -> None:
    for number in range(count):
        assert net.engine.submit(b"+1 %d-%d" % (net.engine.height, number)).accepted
        await net.engine.advance()


class TestTransactions:
    def test_an_accepted_transaction_reaches_every_validator(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            assert net.engine.submit(b"+5").accepted
            await net.clock.run(1)
            assert (net.totals, net.heights, net.engine.height) == ([5] * 4, [1] * 4, 1)
            assert net.engine.transactions(Height(1)) == (b"+5",)
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))

    def test_the_reason_of_a_refusal_reaches_the_caller(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            verdict = net.engine.submit(b"junk")
            assert (verdict.code, verdict.reason) == (Code.MALFORMED, "b'junk' is not a number to add")
            assert await net.engine.advance(empty=False) is None

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_sending_a_waiting_transaction_again_is_harmless(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            assert net.engine.submit(b"+5") == net.engine.member(3).submit(b"+5")
            await net.engine.advance()
            assert net.totals == [5] * 4

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_stopped_engine_or_validator_takes_no_transaction(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            with pytest.raises(errors.NotRunningError):
                net.engine.submit(b"+1")
            await net.engine.start()
            await net.engine.member(1).stop()
            with pytest.raises(errors.NotRunningError) as caught:
                net.engine.member(1).submit(b"+1")
            assert caught.value.validator == net.engine.member(1).address
            assert net.engine.submit(b"+1").accepted
            await net.engine.stop()
            with pytest.raises(errors.NotRunningError):
                net.engine.submit(b"+2")

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_full_pool_says_so(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in range(20_000):
                net.engine.submit(b"+%d" % number)
            with pytest.raises(errors.PoolFullError):
                net.engine.submit(b"+one too many")
            assert net.engine.submit(b"+7").accepted  # waits already

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_reverted_transaction_is_in_the_block_and_in_the_results_hash(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.engine.submit(b"!")
            await net.engine.advance()
            await net.engine.advance()
            expected = light.results_hash([light.TxResult(code=1, gas_used=1)])
            assert net.engine.header(Height(2)).last_results_hash == expected

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_what_still_waits_is_checked_again_after_each_height(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.engine.member(2).submit(b"+later")
            net.engine.submit(b"+1")
            await net.engine.advance()
            assert "recheck +later" in net.applications[2].calls
            assert "recheck +later" not in net.applications[0].calls
            await net.engine.stop_validator(2)
            await net.engine.advance()
            assert "recheck +later" in net.applications[0].calls  # its own validator is gone: another judges

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_what_does_not_fit_into_a_block_comes_with_the_next(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in range(5):
                net.engine.submit(b"+1 " + bytes([48 + number]) * 1_500_000)
            await net.clock.run(0.1)
            assert net.engine.height == 3
            assert [len(net.engine.transactions(Height(h))) for h in (1, 2, 3)] == [2, 2, 1]
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))


class TestCertificates:
    def test_every_store_verifies_from_the_genesis_document_on(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 3)
            await net.engine.advance()
            assert [net.verify(store) for store in net.stores] == [4] * 4
            assert all(len(net.hashes(height)) == 1 for height in range(1, 5))

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_header_carries_the_result_of_the_height_before(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 2)
            hashes = [net.engine.header(Height(height)).app_hash for height in (1, 2)]
            assert hashes == [Counter.hash_of(0), Counter.hash_of(1)]

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_proposers_take_turns(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 8)
            proposers = [net.engine.header(Height(height)).proposer_address for height in range(1, 9)]
            assert proposers == [*net.engine.validator_set.addresses] * 2
            assert {net.engine.commit(Height(height)).round for height in range(1, 9)} == {0}

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_height_that_is_not_decided_is_an_error(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.advance()
            for height in (Height(0), Height(2)):
                with pytest.raises(errors.UnknownHeightError):
                    net.engine.header(height)
                with pytest.raises(errors.UnknownHeightError):
                    net.engine.member(1).commit(height)

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_threads_change_nothing_but_speed(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 3)
            await net.engine.stop_validator(2)
            await heights_made(net, 3)
            await net.engine.start_validator(2)
            assert [net.verify(store) for store in net.stores] == [6] * 4
            assert net.totals == [6] * 4

        with ThreadPoolExecutor(4) as executor, network(tmp_path, manual=True, executor=executor) as net:
            run(main(net))

    def test_a_fault_in_a_thread_stops_the_engine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            message = "no space left"
            raise OSError(message)

        async def main(net: Network) -> None:
            await net.engine.start()
            monkeypatch.setattr(EngineStore, "save", fail)
            with pytest.raises(OSError, match="no space left"):
                await net.engine.advance()
            with pytest.raises(errors.NotRunningError, match="no space left"):
                net.engine.submit(b"+1")
            monkeypatch.undo()
            with pytest.raises(OSError, match="no space left"):
                await net.engine.stop()
            signed = {store.last_signature() for store in net.stores}
            await net.engine.start()  # a restart heals: the votes on disk decide the block, and nobody signs again
            assert await net.engine.advance() == 1
            assert {store.last_signature() for store in net.stores} == signed

        with ThreadPoolExecutor(4) as executor, network(tmp_path, manual=True, executor=executor) as net:
            run(main(net))


class TestTime:
    def test_the_first_block_has_the_time_of_genesis(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.clock.run(50)
            await net.engine.advance()
            assert net.engine.header(Height(1)).time == light.Timestamp(GENESIS_SECONDS)
            assert "finalize 1 at 1700000000" in net.applications[0].calls

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_block_time_is_the_median_of_the_votes_before(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.clock.run(50)
            await net.engine.advance()
            await net.clock.run(50)
            await net.engine.advance()
            assert net.engine.header(Height(2)).time == light.Timestamp(GENESIS_SECONDS + 50)
            votes = {slot.timestamp for slot in net.engine.commit(Height(2)).signatures}
            assert votes == {light.Timestamp(GENESIS_SECONDS + 100)}

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_block_time_rises_while_the_clock_stands_still(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 3)
            times = [net.engine.header(Height(height)).time.to_ns() for height in (1, 2, 3)]
            assert times == [GENESIS_SECONDS * 10**9 + step * 1_000_000 for step in range(3)]

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_an_idle_chain_stands_still_for_ever_when_told_so(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.clock.run(100_000)
            assert net.engine.height == 0
            net.engine.submit(b"+1")
            await net.clock.run(100_000)
            assert net.engine.height == 2  # one to date the transaction, and none just to show the app hash
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))

    def test_an_idle_chain_makes_one_height_per_empty_interval(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.clock.run(29)
            assert net.engine.height == 2
            net.engine.submit(b"+1")
            await net.clock.run(9)  # the interval counts from the last height, whatever was in it
            assert net.engine.height == 3
            await net.clock.run(2)
            assert net.engine.height == 4
            assert [len(net.engine.transactions(Height(height))) for height in range(1, 5)] == [0, 0, 1, 0]
            await net.engine.stop()

        with network(tmp_path, empty_interval=10) as net:
            run(main(net))

    def test_the_first_transaction_after_a_pause_is_dated_after_the_pause(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for transaction in (b"+1", b"+2"):
                await net.clock.run(3_600)
                asked = net.clock.now()
                net.engine.submit(transaction)
                await net.clock.run(1)
                newest = net.engine.height
                assert net.engine.transactions(newest) == (transaction,)
                assert 0 <= net.engine.header(newest).time.to_ns() / 10**9 - asked < 1
            assert net.engine.height == 4
            net.engine.submit(b"+3")
            await net.clock.run(1)
            assert net.engine.height == 5  # no pause, no empty height
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))

    def test_transactions_of_one_moment_share_a_height(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.engine.submit(b"+1")
            await net.clock.run(0.01)
            net.engine.submit(b"+2")
            await net.clock.run(0.02)
            assert net.engine.transactions(Height(1)) == (b"+1", b"+2")
            await net.engine.stop()

        with network(tmp_path, batching=0.02, empty_interval=0) as net:
            run(main(net))

    def test_heights_keep_their_distance(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in range(30):
                net.engine.submit(b"+%d" % number)
                await net.clock.run(0.1)
            assert net.engine.height == 3
            await net.engine.stop()

        with network(tmp_path, block_interval=1.0, empty_interval=0) as net:
            run(main(net))

    def test_what_can_never_enter_a_block_makes_no_heights(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.engine.submit(b"+later")
            await net.clock.run(100)
            assert net.engine.height == 0
            net.engine.submit(b"+1")
            await net.clock.run(100)
            assert net.engine.height == 2
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))

    def test_a_transaction_that_comes_during_an_empty_height_gets_the_next(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            empty = asyncio.ensure_future(net.engine.advance())
            while "finalize 1 at 1700000000" not in net.applications[0].calls:
                await net.clock.sleep(0)
            assert net.engine.height == 0
            net.engine.submit(b"+1")
            await empty
            await net.clock.run(0.1)
            assert (net.engine.height, net.totals) == (2, [1] * 4)
            await net.engine.stop()

        with network(tmp_path, empty_interval=0) as net:
            run(main(net))


class TestMembers:
    def test_the_engine_and_each_member_are_engines_to_the_rest(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 2)
            seen: list[Engine] = [net.engine, *(net.engine.member(number) for number in range(4))]
            for engine in seen:
                assert (engine.chain_id, engine.height) == ("merit-test", 2)
                header, commit = engine.header(Height(2)), engine.commit(Height(2))
                assert light.verify_commit(header, commit, engine.validators(Height(2)), engine.chain_id) == 4
                assert light.data_hash(engine.transactions(Height(2))) == header.data_hash

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_three_of_four_go_on(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.stop_validator(1)
            await heights_made(net, 4)
            assert net.heights == [4, 0, 4, 4]
            dead = net.engine.validator_set.addresses.index(net.engine.member(1).address)
            commits = [net.engine.commit(Height(height)) for height in range(1, 5)]
            assert {commit.signatures[dead] for commit in commits} == {light.ABSENT}
            assert [commit.round for commit in commits].count(1) == 1  # the dead one's turn passed to the next

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_two_of_four_halt_and_resume_when_one_comes_back(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.stop_validator(1)
            await net.engine.stop_validator(2)
            net.engine.submit(b"+1")
            await net.clock.run(1_000)
            assert net.engine.height == 0
            await net.engine.start_validator(2)
            await net.clock.run(1)
            assert net.engine.height == 2
            await net.engine.stop()

        with network(tmp_path) as net:
            run(main(net))

    def test_without_a_quorum_a_height_asked_for_is_an_error_and_the_engine_lives(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in (1, 2):
                await net.engine.stop_validator(number)
            with pytest.raises(errors.NoQuorumError) as caught:
                await net.engine.advance()
            assert (caught.value.running, caught.value.total) == (2, 4)
            await net.engine.start_validator(1)
            assert await net.engine.advance() == 1

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_exactly_two_thirds_are_not_final(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.stop_validator(2)
            with pytest.raises(errors.NoQuorumError):
                await net.engine.advance()

        with network(tmp_path, (1, 1, 1), manual=True) as net:
            run(main(net))

    def test_power_decides_not_the_number_of_validators(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in (1, 2):
                await net.engine.stop_validator(number)
            await heights_made(net, 3)
            assert net.verify(net.stores[0]) == 3
            await net.engine.stop_validator(0)
            for number in (1, 2):
                await net.engine.start_validator(number)
            with pytest.raises(errors.NoQuorumError):
                await net.engine.advance()

        with network(tmp_path, (5, 1, 1), manual=True) as net:
            run(main(net))

    def test_one_validator_alone_is_a_chain(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 3)
            assert net.verify(net.stores[0]) == 3

        with network(tmp_path, (1,), manual=True) as net:
            run(main(net))

    def test_a_validator_that_comes_back_verifies_and_executes_what_it_missed(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await heights_made(net, 1)
            await net.engine.stop_validator(3)
            await heights_made(net, 3)
            assert net.totals == [4, 4, 4, 1]
            await net.engine.start_validator(3)
            assert (net.totals, net.heights) == ([4] * 4, [4] * 4)
            assert net.verify(net.stores[3]) == 4
            await heights_made(net, 1)
            assert net.heights == [5] * 4

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_the_one_that_was_last_to_stop_brings_the_others_on(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in (1, 2):
                await net.engine.stop_validator(number)
            await heights_made(net, 2)
            await net.engine.stop_validator(0)
            await net.engine.start_validator(1)
            assert net.engine.member(1).height == 0
            await net.engine.start_validator(0)
            assert net.heights == [2, 2, 0]

        with network(tmp_path, (5, 1, 1), manual=True) as net:
            run(main(net))

    def test_a_validator_that_refuses_a_proposal_does_not_sign_it(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.applications[2].refuse_proposals = True
            await heights_made(net, 4)
            slot = net.engine.validator_set.addresses.index(net.engine.member(2).address)
            assert {net.engine.commit(Height(h)).signatures[slot] for h in range(1, 5)} == {light.ABSENT}
            assert net.totals == [4] * 4

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_proposal_that_too_many_refuse_stops_the_engine_and_nobody_precommits_it(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            for number in (1, 2):
                net.applications[number].refuse_proposals = True
            with pytest.raises(errors.ProposalRefusedError) as caught:
                await net.engine.advance()
            assert caught.value.accepted == 2
            for number, store in enumerate(net.stores):
                said = recover(store.journal(), core.Height(1), core.Address(net.engine.member(number).address)).inputs
                votes = [input_.vote for input_ in said if isinstance(input_, VoteReceived)]
                assert {vote.value_id for vote in votes if vote.kind is core.VoteKind.PRECOMMIT} == {None}

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_no_key_is_used_by_two(self, tmp_path: Path) -> None:
        with network(tmp_path, manual=True) as net:
            known = Validator(KEYS[0], net.applications[0], net.stores[0])
            later = Validator(KEYS[7], net.applications[0], net.stores[0], later=(KEYS[0],))
            for other in (known, later):
                with pytest.raises(errors.UnknownValidatorError):
                    EmbeddedEngine([known, other], make_genesis(), net.clock)


class TestDivergence:
    def test_different_app_hashes_stop_the_engine_before_anything_is_committed(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            heights = net.engine.subscribe()
            net.applications[2].bias = 1
            net.engine.submit(b"+5")
            await net.clock.run(1)
            with pytest.raises(errors.DivergenceError) as caught:
                await anext(heights)
            error = caught.value
            assert (error.height, error.what) == (1, "app hash")
            assert error.results[net.engine.member(2).address] == Counter.hash_of(6)
            assert error.results[net.engine.member(0).address] == Counter.hash_of(5)
            assert Counter.hash_of(5).hex() in str(error)
            assert (net.heights, net.totals) == ([0] * 4, [0] * 4)
            with pytest.raises(errors.NotRunningError) as refused:
                net.engine.submit(b"+1")
            assert refused.value.cause is error
            with pytest.raises(errors.DivergenceError):
                await net.engine.stop()

        with network(tmp_path) as net:
            run(main(net))

    def test_a_validator_that_computes_otherwise_cannot_come_back(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.stop_validator(3)
            await heights_made(net, 2)
            net.applications[3].bias = 1
            with pytest.raises(light.errors.WrongAppHashError) as caught:
                await net.engine.start_validator(3)
            assert caught.value.height == 2
            assert not net.engine.member(3).running
            await heights_made(net, 1)

        with network(tmp_path, manual=True) as net:
            run(main(net))


class TestSubscribers:
    def test_a_subscriber_sees_each_height_once_and_the_end(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.advance()
            late, whole = net.engine.subscribe(), net.engine.subscribe(after=Height(0))
            for _ in range(3):
                await net.engine.advance()
            await net.engine.stop()
            assert [height async for height in late] == [2, 3, 4]
            assert [height async for height in whole] == [1, 2, 3, 4]

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_a_subscriber_waits_for_what_is_to_come(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            heights = net.engine.member(1).subscribe()
            await net.engine.start()
            waiting = asyncio.ensure_future(anext(heights))
            await net.clock.run(1)
            assert not waiting.done()
            await net.clock.run(4)
            assert await waiting == 1
            await net.engine.stop()

        with network(tmp_path) as net:
            run(main(net))

    def test_a_stopped_validators_heights_stand_still(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            await net.engine.stop_validator(3)
            heights = net.engine.member(3).subscribe()
            await heights_made(net, 2)
            waiting = asyncio.ensure_future(anext(heights))
            await net.clock.run(1)
            assert not waiting.done()
            await net.engine.start_validator(3)
            assert await waiting == 1
            assert await anext(heights) == 2

        with network(tmp_path, manual=True) as net:
            run(main(net))
