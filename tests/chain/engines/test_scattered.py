"""Validators at their own pace: what cut, slow and clogged links, stops, wrong clocks and liars do to them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from chain import light
from chain.consensus import types as core
from chain.consensus.timeouts import Timeouts
from chain.engines.embedded import EngineStore, ScatteredEngine, Validator
from chain.engines.embedded.liars import Habit, Lie
from chain.engines.embedded.world import World
from chain.light import Height
from chain.simulation.network import Weather
from merit.virtual import VirtualClock, run_virtually
from tests.chain.engines.network import GENESIS_SECONDS, KEYS, Counter, make_genesis

FAST = Timeouts(
    propose_ms=300, prevote_ms=200, precommit_ms=200, propose_delta_ms=50, prevote_delta_ms=50, precommit_delta_ms=50
)


@dataclass
class Net:
    """Four validators with ledgers of one number."""

    engine: ScatteredEngine
    applications: list[Counter]
    stores: list[EngineStore]
    clock: VirtualClock

    @property
    def totals(self) -> list[int]:
        return [application.total for application in self.applications]

    @property
    def heights(self) -> list[int]:
        return [store.height for store in self.stores]

    def links(self, *side: int) -> list[tuple[int, int]]:
        return [(a, b) for a in side for b in range(4) if b not in side]

    def both(self, *side: int) -> list[tuple[int, int]]:
        return [link for a, b in self.links(*side) for link in ((a, b), (b, a))]


def play(path: Path, main: Callable[[Net], Awaitable[None]], world: World | None = None) -> None:
    async def whole(clock: VirtualClock) -> None:
        genesis = make_genesis()
        stores = [EngineStore(path / f"{number}", genesis.digest()) for number in range(4)]
        applications = [Counter(path / f"{number}.json") for number in range(4)]
        validators = [Validator(KEYS[n], applications[n], stores[n]) for n in range(4)]
        engine = ScatteredEngine(
            validators, genesis, clock, World(timeouts=FAST) if world is None else world, empty_interval=0
        )
        await engine.start()
        await clock.sleep(1)
        await main(Net(engine, applications, stores, clock))
        await engine.stop()
        hashes = [
            {light.header_hash(s.header(Height(height))) for s in stores if s.height >= height}
            for height in range(1, max(store.height for store in stores) + 1)
        ]
        assert all(len(one) == 1 for one in hashes)
        for store in stores:
            store.close()

    run_virtually(whole, epoch=GENESIS_SECONDS)


def test_a_transaction_reaches_everybody_over_slow_links(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(2)
        assert net.totals == [5] * 4
        assert len(set(net.heights)) == 1

    play(tmp_path, main, World(timeouts=FAST, weather=Weather(least_ms=20, spread_ms=30)))


def test_lost_and_repeated_messages_delay_but_do_not_stop(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        for number in range(3):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(15)
        assert net.totals == [3] * 4
        assert net.engine.counts["messages lost"] > 0

    play(tmp_path, main, World(seed=3, timeouts=FAST, weather=Weather(loss=0.15, repetition=0.1)))


def test_halves_stand_still_and_go_on_when_mended(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.cut(net.both(0, 1))
        assert not net.engine.reaches(0, 2)
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(10)
        assert net.totals == [0] * 4
        net.engine.mend(net.both(0, 1))
        await net.clock.sleep(20)
        assert net.totals == [5] * 4
        assert any(net.engine.lost.values())

    play(tmp_path, main)


def test_who_is_cut_off_misses_heights_and_learns_them_later(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.cut(net.both(3))
        assert net.engine.submit(b"+5").accepted
        assert net.engine.member(3).submit(b"+100").accepted
        await net.clock.sleep(10)
        assert net.totals == [5, 5, 5, 0]
        net.engine.mend(net.both(3))
        await net.clock.sleep(10)
        assert net.totals == [105] * 4

    play(tmp_path, main)


def test_who_only_hears_follows(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.cut(net.links(3))
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(10)
        assert net.totals == [5] * 4

    play(tmp_path, main)


def test_a_clogged_link_delivers_later(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.clog(net.links(0) + net.links(1))
        assert net.engine.member(2).submit(b"+5").accepted
        await net.clock.sleep(5)
        assert net.totals == [0] * 4
        net.engine.unclog(net.links(0) + net.links(1))
        await net.clock.sleep(10)
        assert net.totals == [5] * 4
        assert net.engine.counts["messages held by a clogged link"] > 0

    play(tmp_path, main)


def test_who_stood_still_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.pause(3)
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(10)
        assert net.totals == [5, 5, 5, 0]
        net.engine.resume(3)
        await net.clock.sleep(10)
        assert net.totals == [5] * 4

    play(tmp_path, main)


def test_who_stops_in_the_middle_of_a_height_comes_back(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(0.03)  # the proposal is under way
        await net.engine.stop_validator(0)
        await net.engine.stop_validator(1)
        await net.clock.sleep(5)
        assert net.totals == [0] * 4
        await net.engine.start_validator(0)
        await net.engine.start_validator(1)
        await net.clock.sleep(20)
        assert net.totals == [5] * 4
        assert all(not node.accusations for node in net.engine.nodes)

    play(tmp_path, main)


def test_one_wrong_clock_moves_no_block_s_time(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        for number in range(3):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(3)
        newest = net.engine.header(net.engine.height).time.to_ns() / 1e9
        assert newest <= net.clock.now()

    play(tmp_path, main, World(timeouts=FAST, ahead_s={0: 3600.0}))


def test_a_silent_proposer_costs_a_round_and_the_trace_says_why(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.lie(1, Lie(Habit.SILENT))
        for number in range(4):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(5)
        assert net.totals == [4] * 4
        lost = [one for losses in net.engine.lost.values() for one in losses]
        assert lost
        assert {one.proposer for one in lost} == {net.engine.nodes[1].address}
        assert {one.why for one in lost} == {"no proposal came; prevotes nil 3/4; precommits nil 3/4"}

    play(tmp_path, main)


def test_an_invalid_block_is_lost_and_said_to_be(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        net.engine.lie(1, Lie(Habit.UNSOUND))
        for number in range(4):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(5)
        assert net.totals == [4] * 4
        assert any("the block is not valid" in one.why for lost in net.engine.lost.values() for one in lost)

    play(tmp_path, main)


def test_who_says_two_things_is_accused_and_nobody_else(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        liar = core.Address(net.engine.nodes[2].address)
        net.engine.lie(2, Lie(Habit.EQUIVOCATING))
        for number in range(6):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(5)
        assert net.totals == [6] * 4
        accused = {one.first.validator for node in net.engine.nodes for one in node.accusations}
        assert accused == {liar}
        reported = [[one.validator for one in application.reported] for application in net.applications]
        assert reported == [[liar]] * 4
        heights = range(1, net.engine.height + 1)
        assert sum(len(net.engine.evidence(Height(height))) for height in heights) == 1

    play(tmp_path, main)


def newcomer(path: Path, net: Net, number: int) -> Validator:
    net.stores.append(EngineStore(path / f"{number}", make_genesis().digest()))
    net.applications.append(Counter(path / f"{number}.json"))
    return Validator(KEYS[number], net.applications[-1], net.stores[-1])


def signers(net: Net, height: int) -> set[int]:
    addresses = [light.validator_address(key.public_key) for key in KEYS]
    commit = net.engine.commit(Height(height))
    return {addresses.index(slot.validator_address) for slot in commit.signatures if slot != light.ABSENT}


SLOW = World(timeouts=FAST, weather=Weather(least_ms=10, spread_ms=20))


def test_a_key_changes_over_slow_links_without_a_lost_round(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        await net.engine.add_key(0, KEYS[4])
        first = net.heights[0] + 1
        for raw in (b"+1 validators 0=0 4=1", b"+2", b"+3", b"+4", b"+5"):
            assert net.engine.submit(raw).accepted
            await net.clock.sleep(2)
        assert net.totals == [15] * 4
        assert {frozenset(signers(net, height)) for height in range(1, first + 2)} == {frozenset({0, 1, 2, 3})}
        assert signers(net, max(net.heights)) == {1, 2, 3, 4}
        assert net.engine.member(0).address == light.validator_address(KEYS[4].public_key)
        assert not any(net.engine.lost.values())

    play(tmp_path, main, SLOW)


def test_a_validator_that_starts_from_nothing_votes_for_nothing_until_it_has_learnt_all(tmp_path: Path) -> None:
    """The ledger made it a validator long before it runs: then its vote counts from the moment at which it is level."""

    async def main(net: Net) -> None:
        for number, raw in enumerate((b"+1 validators 5=1", b"+2", b"+3", b"+4")):
            assert net.engine.submit_at(net.engine.nodes[number].replica, raw).accepted
            await net.clock.sleep(2)
        top = net.heights[0]
        assert 5 not in signers(net, top)
        number = await net.engine.add_validator(newcomer(tmp_path, net, 5))
        seen = set()
        for _ in range(200):
            await net.clock.sleep(0.01)
            seen.add(net.heights[number])
            if net.heights[number] < top:
                assert net.stores[number].last_signature() is None
        assert {0, 1, top} <= seen
        assert net.engine.submit(b"+5").accepted
        await net.clock.sleep(3)
        assert net.totals == [15] * 5
        assert 5 in signers(net, max(net.heights))

    play(tmp_path, main, SLOW)


def test_a_liar_whose_key_has_changed_is_convicted_by_the_new_one(tmp_path: Path) -> None:
    async def main(net: Net) -> None:
        await net.engine.add_key(3, KEYS[6])
        for raw in (b"+1 validators 3=0 6=1", b"+2", b"+3"):
            assert net.engine.submit(raw).accepted
            await net.clock.sleep(2)
        net.engine.lie(3, Lie(Habit.EQUIVOCATING))
        for number in range(6):
            assert net.engine.submit(b"+1 %d" % number).accepted
            await net.clock.sleep(4)
        reported = {(one.validator, one.power) for one in net.applications[0].reported}
        assert reported == {(light.validator_address(KEYS[6].public_key), 1)}

    play(tmp_path, main)
