"""Validators that change while heights are decided: new keys, who joins, who leaves, and what of it is on disk."""

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import lmdb
import pytest

from chain import light
from chain.consensus import types as core
from chain.engines import errors
from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator, statements
from chain.light import BlockIdFlag, Height
from chain.light.errors import InvalidValidatorSetError, LightError
from tests.chain.engines.network import KEYS, Counter, Crash, Network, network, run

ADDRESSES = [light.validator_address(key.public_key) for key in KEYS]


async def heights(net: Network, *raws: bytes) -> None:
    """Make a height for each transaction; an empty one stands for none."""
    for raw in raws:
        if raw:
            assert net.engine.submit(raw).accepted
        await net.engine.advance()


def idle(number: int) -> list[bytes]:
    return [b""] * number


def who(net: Network, height: int) -> set[int]:
    """Return whose keys decide a height, by the header that the stores hold, the commit, and the engine."""
    validators = net.engine.validators(Height(height))
    header, commit = net.engine.header(Height(height)), net.engine.commit(Height(height))
    assert header.validators_hash == light.validators_hash(validators)
    assert header.next_validators_hash == light.validators_hash(net.engine.validators(Height(height + 1)))
    assert len(commit.signatures) == len(validators)
    return {ADDRESSES.index(address) for address in validators.addresses}


def signers(net: Network, height: int) -> set[int]:
    commit = net.engine.commit(Height(height))
    return {ADDRESSES.index(s.validator_address) for s in commit.signatures if s.flag == BlockIdFlag.COMMIT}


def play(path: Path, main: Callable[[Network], Awaitable[None]], powers: tuple[int, ...] = (1, 1, 1, 1)) -> None:
    """Let `main` play with a network; whatever it does, everybody can verify all of it afterwards."""

    async def whole(net: Network) -> None:
        await net.engine.start()
        await main(net)
        await net.engine.stop()
        assert not any(node.accusations for node in net.engine.nodes)

    with network(path, powers, manual=True) as net:
        run(whole(net))
        for store in net.stores:
            assert net.verify(store) == store.height
        assert all(len(net.hashes(height)) == 1 for height in range(1, max(net.heights) + 1))


def joining(net: Network, number: int) -> Validator:
    directory = net.path / f"node{number}"
    net.stores.append(EngineStore(directory / "engine", net.genesis.digest()))
    net.applications.append(Counter(directory / "counter.json"))
    return Validator(KEYS[number], net.applications[-1], net.stores[-1])


class TestRotation:
    def test_a_new_key_votes_two_heights_after_the_one_that_says_so(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.add_key(0, KEYS[4])
            await heights(net, b"+1", b"+2 validators 0=0 4=1", *idle(4))
            assert [who(net, h) for h in range(1, 7)] == [{0, 1, 2, 3}] * 3 + [{1, 2, 3, 4}] * 3
            assert [signers(net, h) for h in range(1, 7)] == [{0, 1, 2, 3}] * 3 + [{1, 2, 3, 4}] * 3
            assert net.engine.member(0).address == ADDRESSES[4]
            proposers = {net.engine.header(Height(h)).proposer_address for h in range(3, 7)}
            await heights(net, *idle(4))
            proposers |= {net.engine.header(Height(h)).proposer_address for h in range(7, 11)}
            assert ADDRESSES[4] in proposers

        play(tmp_path, main)

    def test_a_key_that_comes_late_votes_from_then_on(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await heights(net, b"+2 validators 0=0 4=1", *idle(3))
            assert signers(net, 4) == {1, 2, 3}
            await net.engine.add_key(0, KEYS[4])
            await heights(net, *idle(1))
            assert signers(net, 5) == {1, 2, 3, 4}

        play(tmp_path, main)

    def test_a_sole_validator_changes_its_key_without_a_break(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.add_key(0, KEYS[1])
            await heights(net, b"+1 validators 0=0 1=1", *idle(3))
            assert [signers(net, h) for h in range(1, 5)] == [{0}, {0}, {1}, {1}]

        play(tmp_path, main, (1,))

    def test_a_key_that_was_taken_back_votes_again(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.add_key(0, KEYS[4])
            await heights(net, b"+1 validators 0=0 4=1", b"", b"+2 validators 4=0 0=1", *idle(3))
            assert [signers(net, h) & {0, 4} for h in range(1, 7)] == [{0}, {0}, {4}, {4}, {0}, {0}]

        play(tmp_path, main)

    @pytest.mark.parametrize("at", [1, 2, 3, 4])
    def test_a_restart_at_any_height_goes_on_as_if_nothing_had_been(self, tmp_path: Path, at: int) -> None:
        script = [b"+1 validators 0=0 4=1", *idle(5)]

        def proposers(net: Network) -> list[bytes]:
            return [net.engine.header(Height(h)).proposer_address for h in range(1, 7)]

        async def unbroken(net: Network) -> None:
            await net.engine.add_key(0, KEYS[4])
            await heights(net, *script)
            expected.extend(proposers(net))

        async def broken(net: Network) -> None:
            await net.engine.add_key(0, KEYS[4])
            await heights(net, *script[:at])
            await net.engine.stop()
            engine = net.reopen()
            await engine.add_key(0, KEYS[4])
            await engine.start()
            await heights(net, *script[at:])
            assert proposers(net) == expected
            assert signers(net, 6) == {1, 2, 3, 4}

        expected: list[bytes] = []
        play(tmp_path / "unbroken", unbroken)
        play(tmp_path / "broken", broken)

    def test_keys_that_are_in_use_are_refused(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            for key in KEYS[:2]:
                with pytest.raises(errors.UnknownValidatorError):
                    await net.engine.add_key(0, key)

        play(tmp_path, main)

    def test_proofs_against_a_former_key_are_judged_by_who_decided_then(self, tmp_path: Path) -> None:
        """Validator 0 has voted twice at height 2, with a key and a power that it has no more when it is found."""

        async def main(net: Network) -> None:
            await net.engine.add_key(0, KEYS[4])
            await heights(net, b"+1 validators 0=0 4=3", *idle(3))
            place = net.engine.validators(Height(2)).addresses.index(ADDRESSES[0])
            votes = [
                statements.whole_vote(twice(core.ValueId(letter * 32 + b"\0\0\0\1" + b"c" * 32)), place)
                for letter in (b"a", b"b")
            ]
            for node in net.engine.nodes:
                node.replica.evidence.accuse(votes[0], votes[1])
            await heights(net, *idle(2))
            assert len(net.engine.evidence(Height(5))) == 1
            [found] = net.applications[1].reported
            assert (found.validator, found.power, found.height, found.total_power) == (ADDRESSES[0], 1, 2, 4)

        def twice(name: core.ValueId) -> core.Vote:
            time = light.Timestamp(1_700_000_001)
            vote = core.Vote(core.Height(2), core.Round(0), core.VoteKind.PREVOTE, name, core.Address(ADDRESSES[0]))
            signature = KEYS[0].sign(statements.sign_bytes(vote, time, "merit-test"), light.VOTE_CONTEXT)
            return core.Vote(
                vote.height, vote.round, vote.kind, name, vote.validator, statements.encode_proof(time, signature)
            )

        play(tmp_path, main)

    def test_whoever_is_a_validator_again_can_be_convicted_again(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            pool = net.engine.nodes[1].replica.evidence
            await heights(net, b"+1", b"+2 validators 3=0", *idle(2))
            pool.decided(Height(4), await proof(net, 1))
            await heights(net, b"+3 validators 3=1", *idle(4))
            accused = net.engine.validators(Height(8)).addresses.index(ADDRESSES[3])
            old, new = vote(1, 3), vote(8, accused)
            pool.accuse(old, old)
            assert pool.due() == ()
            pool.accuse(new, vote(8, accused, b"b"))
            assert len(pool.due()) == 1

        def vote(height: int, place: int, letter: bytes = b"a") -> light.Vote:
            name, time = core.ValueId(letter * 32 + b"\0\0\0\1" + b"c" * 32), light.Timestamp(1_700_000_001)
            said = core.Vote(
                core.Height(height), core.Round(0), core.VoteKind.PREVOTE, name, core.Address(ADDRESSES[3]),
                statements.encode_proof(time, b""),
            )  # fmt: skip
            return statements.whole_vote(said, place)

        async def proof(net: Network, height: int) -> tuple[bytes, ...]:
            place = net.engine.validators(Height(height)).addresses.index(ADDRESSES[3])
            time = net.engine.header(Height(height)).time
            found = light.DuplicateVote(vote(height, place), vote(height, place, b"b"), 4, 1, time)
            return (light.encode_evidence(found),)

        play(tmp_path, main)


class TestJoiningAndLeaving:
    def test_a_newcomer_learns_all_heights_and_votes_once_it_is_a_validator(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await heights(net, b"+1", b"+2", b"+3")
            number = await net.engine.add_validator(joining(net, 4))
            assert (number, net.engine.member(4).height, net.totals) == (4, 3, [6] * 5)
            await heights(net, b"+4", b"+5 validators 4=1", *idle(3))
            assert [signers(net, h) for h in range(4, 9)] == [{0, 1, 2, 3}] * 3 + [{0, 1, 2, 3, 4}] * 2
            assert net.totals == [15] * 5
            await net.engine.member(4).stop()
            await heights(net, *idle(2))
            assert signers(net, 10) == {0, 1, 2, 3}
            await net.engine.member(4).start()
            await heights(net, *idle(1))
            assert signers(net, 11) == {0, 1, 2, 3, 4}

        play(tmp_path, main)

    def test_a_newcomer_follows_heights_that_others_than_geneses_decided(self, tmp_path: Path) -> None:
        """It starts when the set has changed twice, and verifies each height by the validators that decided it."""

        async def main(net: Network) -> None:
            await net.engine.add_key(0, KEYS[5])
            await heights(net, b"+1 validators 0=0 5=1", *idle(2), b"+2 validators 1=3", *idle(3))
            await net.engine.add_validator(joining(net, 4))
            assert net.engine.member(4).height == 7
            assert [net.verify(store) for store in net.stores] == [7] * 5

        play(tmp_path, main)

    def test_who_leaves_follows_and_is_missed_by_nobody(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await heights(net, b"+1 validators 3=0", *idle(4))
            assert [signers(net, h) for h in range(1, 6)] == [{0, 1, 2, 3}] * 2 + [{0, 1, 2}] * 3
            assert net.engine.member(3).height == 5
            await net.engine.member(3).stop()
            await heights(net, *idle(2))
            assert net.heights == [7, 7, 7, 5]

        play(tmp_path, main)

    def test_a_set_whose_power_is_elsewhere_waits_for_it(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await heights(net, b"+1 validators 6=4", *idle(1))
            with pytest.raises(errors.NoQuorumError, match="power 4 of 8"):
                await net.engine.advance()
            directory = net.path / "node6"
            net.stores.append(EngineStore(directory / "engine", net.genesis.digest()))
            net.applications.append(Counter(directory / "counter.json"))
            await net.engine.add_validator(Validator(KEYS[6], net.applications[-1], net.stores[-1]))
            await heights(net, *idle(1))
            assert signers(net, 3) == {0, 1, 2, 3, 6}

        play(tmp_path, main)

    def test_a_change_that_no_set_can_take_stops_the_engine_before_anything_is_kept(self, tmp_path: Path) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            net.engine.submit(b"+1 validators 7=0")
            with pytest.raises(InvalidValidatorSetError):
                await net.engine.advance()
            assert (net.heights, net.totals) == ([0] * 4, [0] * 4)

        with network(tmp_path, manual=True) as net:
            run(main(net))

    def test_replicas_that_disagree_on_validators_stop_before_anything_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def main(net: Network) -> None:
            await net.engine.start()
            other = net.applications[2]
            finalize = other.finalize_block

            def deviating(*arguments: Any) -> Any:
                found = finalize(*arguments)
                return type(found)(found.height, found.app_hash, found.results, None, ())

            monkeypatch.setattr(other, "finalize_block", deviating)
            net.engine.submit(b"+1 validators 3=0")
            with pytest.raises(errors.DivergenceError, match="validators"):
                await net.engine.advance()
            assert net.heights == [0] * 4

        with network(tmp_path, manual=True) as net:
            run(main(net))


class TestOnDisk:
    @staticmethod
    def changed(path: Path, *, crash: bool = False) -> Network:
        """Decide a change, and one height after it; or end in the middle of the first, when it is only in the store."""

        async def main(net: Network) -> None:
            await net.engine.start()
            if crash:
                net.applications[0].before_commit = die
            await heights(net, b"+1 validators 0=0 4=1", *idle(1))
            await net.engine.stop()

        def die() -> None:
            raise Crash

        net = Network(path, manual=True)
        ending: Coroutine[Any, Any, None] = main(net)
        if crash:
            with pytest.raises(Crash):
                run(ending)
        else:
            run(ending)
        return net

    def test_a_change_that_the_application_has_lost_is_made_again(self, tmp_path: Path) -> None:
        async def main() -> None:
            engine = net.reopen()
            await engine.add_key(0, KEYS[4])
            await engine.start()
            await heights(net, *idle(3))
            assert signers(net, 4) == {1, 2, 3, 4}
            await engine.stop()

        net = self.changed(tmp_path, crash=True)
        assert net.applications[0].total == 0
        run(main())
        assert [net.verify(store) for store in net.stores] == [4] * 4
        net.close()

    @pytest.mark.parametrize(
        ("spoil", "error"),
        [
            (lambda raw: raw[:-1], "the result of height 1 .*it has"),
            (lambda raw: raw[:40], "the result of height 1 .*it has"),
            (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "validators"),
            (lambda raw: raw[:64], "validators"),
            (lambda raw: raw[:71] + b"\2" + raw[72:], "validators"),
        ],
        ids=["short", "nearly nothing", "another key", "no changes", "another power"],
    )
    def test_a_damaged_change_is_found_out_at_the_start(self, tmp_path: Path, spoil: Any, error: str) -> None:
        net = self.changed(tmp_path)
        net.close()
        key, directory = b"r" + (1).to_bytes(8, "big"), str(tmp_path / "node0" / "engine")
        with lmdb.open(directory, map_size=1 << 36) as environment, environment.begin(write=True) as writing:
            writing.put(key, spoil(bytes(writing.get(key))))
        engine: EmbeddedEngine = net.reopen([0])
        try:
            with pytest.raises((errors.CorruptRecordError, LightError), match=error):
                engine.nodes[0].recover()
        finally:
            net.close()
