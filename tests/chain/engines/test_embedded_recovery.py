"""Restarts: whatever moment a process ends at, it goes on from the last durable height and contradicts no vote."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import pytest

from chain import light
from chain.engines import errors
from chain.engines.embedded import EngineStore
from chain.engines.embedded.signer import Signer
from chain.engines.embedded.store import Vote
from chain.light import Height, VoteType
from tests.chain.engines.network import KEYS, Counter, Crash, Network, make_genesis, network, run

WRITES_PER_HEIGHT = 12  # of four validators: a vote, a decided height, a commit of the application


@dataclass
class Fuse:
    """Ends the process before or after its n-th durable write, and remembers what validators have signed."""

    blow_at: int | None = None
    after: bool = False
    writes: int = 0
    signed: dict[tuple[bytes, int, int], set[bytes]] = field(default_factory=dict)

    def around(self, write: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            self.writes += 1
            if self.writes == self.blow_at and not self.after:
                raise Crash
            write(*arguments)
            if self.writes == self.blow_at:
                raise Crash

        return guarded

    def remembering(self, sign: Callable[..., bytes]) -> Callable[..., bytes]:
        def remembered(signer: Signer, vote: light.CanonicalVote, block: light.Block) -> bytes:
            signature = sign(signer, vote, block)
            self.signed.setdefault((signer.address, vote.height, vote.round), set()).add(vote.block_id.hash)
            return signature

        return remembered


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    made = Fuse()
    monkeypatch.setattr(EngineStore, "_put", made.around(EngineStore.__dict__["_put"]))
    monkeypatch.setattr(Counter, "commit", made.around(Counter.commit))
    monkeypatch.setattr(Signer, "sign", made.remembering(Signer.sign))
    return made


async def make_heights(net: Network, until: int) -> None:
    await net.engine.start()
    while net.engine.height < until:
        assert net.engine.submit(b"+1 at %d" % net.engine.height).accepted
        await net.engine.advance()


def crash(net: Network, until: int) -> None:
    with pytest.raises(Crash):
        run(make_heights(net, until))


def go_on(net: Network, until: int, numbers: Sequence[int] | None = None) -> None:
    net.reopen(numbers)
    run(make_heights(net, until))


def check_one_history(net: Network, fuse: Fuse, decided: dict[int, bytes]) -> None:
    """No validator contradicted itself, every store tells one history, and it holds what was decided before."""
    assert all(len(blocks) == 1 for blocks in fuse.signed.values())
    for store in net.stores:
        assert net.verify(store) == store.height
    for height in range(1, max(net.heights) + 1):
        assert len(net.hashes(height)) == 1
    for height, header_hash in decided.items():
        assert net.hashes(height) == {header_hash}


def decided_so_far(net: Network) -> dict[int, bytes]:
    return {
        height: light.header_hash(store.header(Height(height)))
        for store in net.stores
        for height in range(1, store.height + 1)
    }


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 2 * WRITES_PER_HEIGHT + 1))
def test_a_crash_at_any_durable_write_is_survived(tmp_path: Path, fuse: Fuse, write: int, after: bool) -> None:  # noqa: FBT001 - a parameter
    fuse.blow_at, fuse.after = write, after
    with network(tmp_path, manual=True) as net:
        crash(net, 4)
        decided = decided_so_far(net)
        go_on(net, 4)
        check_one_history(net, fuse, decided)
        assert net.heights == [4] * 4
        assert net.totals == [4] * 4


@pytest.mark.parametrize("absent", range(4))
@pytest.mark.parametrize("write", range(1, WRITES_PER_HEIGHT + 1))
def test_after_a_crash_any_three_validators_agree_with_what_the_fourth_saw(
    tmp_path: Path, fuse: Fuse, write: int, absent: int
) -> None:
    fuse.blow_at, fuse.after = write, True
    with network(tmp_path, manual=True) as net:
        crash(net, 3)
        decided = decided_so_far(net)
        go_on(net, 2, [number for number in range(4) if number != absent])
        go_on(net, 3)
        check_one_history(net, fuse, decided)
        assert net.heights == [3] * 4


def test_votes_of_several_crashes_never_fork(tmp_path: Path, fuse: Fuse) -> None:
    """A minority signs one block, the others another; what more than two thirds signed is what stays."""
    with network(tmp_path, manual=True) as net:
        fuse.blow_at, fuse.after = 1, True  # validator 0 alone signs a first block
        crash(net, 1)
        net.reopen([1, 2, 3])
        fuse.writes, fuse.blow_at = 0, 4  # the three others sign a second one, and one of them decides it
        crash(net, 1)
        decided = decided_so_far(net)
        assert len(decided) == 1
        lonely = next(store.path.parent.name for store in net.stores if store.height == 1)
        fuse.blow_at = None
        rest = [number for number in range(4) if f"node{number}" != lonely]
        go_on(net, 2, rest)  # without the one that knows: the two that signed decide with the first
        go_on(net, 3)
        check_one_history(net, fuse, decided)


def test_a_block_that_was_voted_for_is_proposed_again_byte_for_byte(tmp_path: Path, fuse: Fuse) -> None:
    with network(tmp_path, manual=True) as net:
        fuse.blow_at, fuse.after = 4, True
        crash(net, 1)
        voted = net.stores[0].proposal()
        assert voted is not None
        net.clock.wait(100)
        net.reopen()

        async def main() -> None:
            await net.engine.start()
            net.engine.submit(b"+another")
            await net.engine.advance(empty=False)

        run(main())
        assert net.stores[0].block(Height(1)) == voted
        assert net.engine.commit(Height(1)).round == 1  # a later round, the same bytes


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        go_on(net, 5)
        assert (net.heights, net.totals) == ([5] * 4, [5] * 4)
        assert "init merit-test" not in net.applications[0].calls
        assert net.verify(net.stores[0]) == 5


def test_an_application_that_lost_its_data_is_replayed(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        (tmp_path / "node2" / "counter.json").unlink()
        net.reopen()
        run(make_heights(net, 3))
        calls = net.applications[2].calls
        assert [call.split(" at")[0] for call in calls] == ["init merit-test", "finalize 1", "finalize 2", "finalize 3"]
        assert net.totals == [3] * 4


def test_a_validator_that_lost_everything_learns_all_of_it_again(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        net.close()
        for path in sorted((tmp_path / "node2").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        go_on(net, 4)
        assert net.verify(net.stores[2]) == 4


def test_a_replay_that_gives_another_result_is_refused(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        (tmp_path / "node2" / "counter.json").unlink()
        net.reopen()
        net.applications[2].bias = 1
        with pytest.raises(errors.ReplayError) as caught:
            run(net.engine.start())
        assert (caught.value.height, caught.value.recorded) == (1, Counter.hash_of(1))


def test_an_application_with_another_state_is_refused(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        (tmp_path / "node2" / "counter.json").write_text("[3, 77]")
        net.reopen()
        with pytest.raises(errors.ReplayError) as caught:
            run(net.engine.start())
        assert (caught.value.height, caught.value.found) == (3, Counter.hash_of(77))


def test_an_application_ahead_of_its_engine_store_is_refused(tmp_path: Path) -> None:
    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 3))
        (tmp_path / "node2" / "counter.json").write_text("[4, 4]")
        net.reopen()
        with pytest.raises(errors.ApplicationAheadError) as caught:
            run(net.engine.start())
        assert (caught.value.application, caught.value.store) == (4, 3)


def test_double_sign_protection_survives_a_restart(tmp_path: Path) -> None:
    genesis = make_genesis()
    with network(tmp_path / "chain", manual=True) as net:
        run(make_heights(net, 1))
        block = net.stores[0].block(Height(1))

    def vote(height: int, round_: int, kind: VoteType = VoteType.PRECOMMIT, name: bytes = b"a") -> light.CanonicalVote:
        return light.CanonicalVote(
            kind,
            Height(height),
            round_,
            light.BlockId(name * 32, light.PartSetHeader(1, name * 32)),
            light.Timestamp(9),
        )

    store = EngineStore(tmp_path / "signer", genesis.digest())
    first = Signer(KEYS[0], store, genesis.name).sign(vote(5, 1), block)
    store.close()
    store = EngineStore(tmp_path / "signer", genesis.digest())
    signer = Signer(KEYS[0], store, genesis.name)
    assert signer.sign(vote(5, 1), block) == first  # the recorded one: signing anew would give other bytes
    for refused in (vote(5, 1, name=b"b"), vote(5, 0), vote(4, 7), vote(5, 1, VoteType.PREVOTE)):
        with pytest.raises(errors.DoubleSignError) as caught:
            signer.sign(refused, block)
        assert caught.value.signed == (5, 1, 2)
    for allowed in (vote(5, 2, VoteType.PREVOTE), vote(5, 2), vote(6, 0)):
        signer.sign(allowed, block)
    store.close()


def test_a_vote_is_on_disk_before_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Crash

    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 1))
        block = net.stores[0].block(Height(1))
        before = net.stores[0].vote()
        monkeypatch.setattr(EngineStore, "_put", fail)
        signer = Signer(KEYS[0], net.stores[0], net.genesis.name)
        with pytest.raises(Crash):
            signer.sign(
                light.CanonicalVote(VoteType.PRECOMMIT, Height(9), 0, light.block_id(block), light.Timestamp(9)), block
            )
        assert net.stores[0].vote() == before


class TestStore:
    def test_two_processes_cannot_run_one_validator(self, tmp_path: Path) -> None:
        store = EngineStore(tmp_path, b"\x01" * 32)
        with pytest.raises(errors.StoreInUseError):
            EngineStore(tmp_path, b"\x01" * 32)
        store.close()
        EngineStore(tmp_path, b"\x01" * 32).close()

    def test_a_store_of_another_genesis_document_is_refused(self, tmp_path: Path) -> None:
        EngineStore(tmp_path, b"\x01" * 32).close()
        with pytest.raises(errors.OtherGenesisError) as caught:
            EngineStore(tmp_path, b"\x02" * 32)
        assert (caught.value.expected, caught.value.found) == (b"\x02" * 32, b"\x01" * 32)
        EngineStore(tmp_path, b"\x01" * 32).close()  # the refusal left nothing locked

    def test_a_store_of_another_format_is_refused(self, tmp_path: Path) -> None:
        with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"something", b"else")
        with pytest.raises(errors.UnknownFormatError):
            EngineStore(tmp_path, b"\x01" * 32)

    def test_what_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
        with pytest.raises(errors.UnknownFormatError):
            EngineStore(tmp_path, b"\x01" * 32)

    def test_every_flipped_byte_of_the_last_vote_is_seen(self, tmp_path: Path) -> None:
        with network(tmp_path, manual=True) as net:
            run(make_heights(net, 1))
            block = net.stores[0].block(Height(1))
        store = EngineStore(tmp_path / "one", b"\x01" * 32)
        store.record_vote(Vote(Height(1), 0, VoteType.PRECOMMIT, b"signed", b"signature"), block)
        store.close()
        (raw,) = rewrite(tmp_path / "one", [b"v"], lambda raw: raw)
        for position in range(len(raw)):
            rewrite(tmp_path / "one", [b"v"], lambda _, at=position: flipped(raw, at))  # type: ignore[misc]
            store = EngineStore(tmp_path / "one", b"\x01" * 32)
            with pytest.raises(errors.CorruptRecordError):
                store.vote()
            store.close()

    @pytest.mark.parametrize("kind", ["h", "c", "t", "r"])
    def test_a_flipped_byte_of_a_decided_height_is_seen(self, tmp_path: Path, kind: str) -> None:
        with network(tmp_path, manual=True) as net:
            run(make_heights(net, 2))
            net.close()
            key = kind.encode() + (2).to_bytes(8, "big")
            path = tmp_path / "node1" / "engine"
            (raw,) = rewrite(path, [key], lambda raw: raw)
            for position in range(0, len(raw), max(1, len(raw) // 40)):
                rewrite(path, [key], lambda _, at=position: flipped(raw, at))  # type: ignore[misc]
                (tmp_path / "node1" / "counter.json").unlink(missing_ok=True)  # so that all of it is read
                net.reopen()
                with pytest.raises((errors.EnginesError, light.errors.LightError)):
                    run(net.engine.start())
                net.close()

    def test_a_missing_record_is_named(self, tmp_path: Path) -> None:
        with network(tmp_path, manual=True) as net:
            run(make_heights(net, 2))
            net.close()
            with lmdb.open(str(tmp_path / "node1" / "engine")) as environment, environment.begin(write=True) as writing:
                writing.delete(b"c" + (1).to_bytes(8, "big"))
            net.reopen()
            with pytest.raises(errors.CorruptRecordError) as caught:
                net.stores[1].commit(Height(1))
            assert caught.value.record == "record c of height 1"


def rewrite(path: Path, keys: list[bytes], change: Callable[[bytes], bytes]) -> list[bytes]:
    """Change records behind the store's back; return what they were."""
    found = []
    with lmdb.open(str(path), map_size=1 << 36) as environment, environment.begin(write=True) as transaction:
        for key in keys:
            raw = transaction.get(key)
            assert raw is not None
            found.append(raw)
            transaction.put(key, change(raw))
    return found


def flipped(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 0x55]) + raw[position + 1 :]
