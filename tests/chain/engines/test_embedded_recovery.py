"""Restarts: whatever moment a process ends at, it goes on from the last durable height and contradicts no vote."""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import pytest

from chain import light
from chain.consensus import types as core
from chain.consensus.errors import ContradictionError, SignerRecordError
from chain.consensus.journal import Journal, Mark
from chain.consensus.signing import Position, encode_last_signature, position_of
from chain.engines import errors
from chain.engines.embedded import EmbeddedEngine, EngineStore, messages, statements
from chain.engines.embedded.node import Node
from chain.engines.embedded.signer import Signer
from chain.light import Height
from tests.chain.engines.network import KEYS, Counter, Crash, Network, VirtualClock, make_genesis, network, run

WRITES_PER_HEIGHT = 16  # of four validators: both votes, a decided height, a commit of the application


@dataclass
class Fuse:
    """Ends the process before or after its n-th durable write, and remembers what validators have signed."""

    blow_at: int | None = None
    after: bool = False
    writes: int = 0
    signed: dict[tuple[bytes, *Position], set[tuple[bytes | None, bytes]]] = field(default_factory=dict)

    def around(self, write: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any, **named: Any) -> None:
            self.writes += 1
            if self.writes == self.blow_at and not self.after:
                raise Crash
            write(*arguments, **named)
            if self.writes == self.blow_at:
                raise Crash

        return guarded

    def remembering(self, send: Callable[..., None]) -> Callable[..., None]:
        def remembered(engine: EmbeddedEngine, sender: core.Address, receiver: core.Address | None, raw: bytes) -> None:
            match messages.decode(raw):
                case messages.Voted(vote=encoded):
                    vote = statements.decode_vote(encoded, engine.validator_set.addresses)
                    slot = (vote.validator, *position_of(vote))
                    self.signed.setdefault(slot, set()).add((vote.value_id, vote.proof))
                case messages.Proposed(proposal=encoded):
                    said = statements.decode_proposal(encoded)
                    slot = (b"whose turn it is", said.height, said.round, 0)
                    self.signed.setdefault(slot, set()).add((statements.value_id(said.block_id), said.signature))
                case _:
                    pass
            send(engine, sender, receiver, raw)

        return remembered


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    made = Fuse()
    monkeypatch.setattr(EngineStore, "_put", made.around(EngineStore.__dict__["_put"]))
    monkeypatch.setattr(Counter, "commit", made.around(Counter.commit))
    monkeypatch.setattr(EmbeddedEngine, "send", made.remembering(EmbeddedEngine.send))
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
    """No validator said two things in one slot, not even in two ways; one history holds all that was decided before."""
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


@pytest.mark.parametrize("first", [1, 2, 4, 5, 7, 8])
@pytest.mark.parametrize("second", [1, 3, 5, 6])
def test_votes_of_several_crashes_never_fork(tmp_path: Path, fuse: Fuse, first: int, second: int) -> None:
    """One crash of all four, another of three, then three that need not be the same: nothing decided is lost."""
    with network(tmp_path, manual=True) as net:
        fuse.blow_at, fuse.after = first, True
        crash(net, 1)
        decided = decided_so_far(net)
        net.reopen([1, 2, 3])
        fuse.writes, fuse.blow_at = 0, second
        crash(net, 1)
        decided |= decided_so_far(net)
        fuse.blow_at = None
        go_on(net, 2, [0, 1, 2])
        go_on(net, 3)
        check_one_history(net, fuse, decided)


def test_a_block_that_was_precommitted_is_decided_byte_for_byte(tmp_path: Path, fuse: Fuse) -> None:
    with network(tmp_path, manual=True) as net:
        fuse.blow_at, fuse.after = 5, True  # four prevotes, one precommit: one validator is locked
        crash(net, 1)
        (raw,) = net.stores[0].proposed().values()
        net.clock.wait(100)
        net.reopen()

        async def main() -> None:
            await net.engine.start()
            net.engine.submit(b"+another")
            await net.engine.advance(empty=False)

        run(main())
        assert light.encode_block(net.stores[0].block(Height(1))) == raw


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


def vote(
    height: int, round_: int, kind: core.VoteKind = core.VoteKind.PRECOMMIT, name: bytes | None = b"a" * 68
) -> core.Vote:
    value = core.ValueId(name) if name is not None else None
    return core.Vote(core.Height(height), core.Round(round_), kind, value, core.Address(bytes(20)))


def signed_by(store: EngineStore, signer: Signer, said: core.Vote) -> core.Vote:
    signed, last = signer.sign(said, Journal().mark, store.last_signature(), not_before_ns=0)
    store.record(0, [], last, {})
    assert isinstance(signed, core.Vote)
    return signed


def test_double_sign_protection_survives_a_restart_and_repeats_the_recorded_signature(tmp_path: Path) -> None:
    genesis, clock = make_genesis(), VirtualClock()
    store = EngineStore(tmp_path, genesis.digest())
    first = signed_by(store, Signer(KEYS[0], genesis.name, clock), vote(5, 1))
    store.close()
    store = EngineStore(tmp_path, genesis.digest())
    clock.wait(100)
    signer = Signer(KEYS[0], genesis.name, clock)
    assert signed_by(store, signer, vote(5, 1)).proof == first.proof  # signing anew would give another time
    for refused in (
        vote(5, 1, name=b"b" * 68),
        vote(5, 1, name=None),
        vote(5, 0),
        vote(4, 7),
        vote(5, 1, core.VoteKind.PREVOTE),
    ):
        with pytest.raises(ContradictionError) as caught:
            signed_by(store, signer, refused)
        assert caught.value.last == (5, 1, 2)
    for allowed in (vote(5, 2, core.VoteKind.PREVOTE), vote(5, 2), vote(6, 0)):
        assert signed_by(store, signer, allowed).proof != first.proof
    store.close()


def test_a_signature_is_on_disk_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    def fail(*_: object, **__: object) -> None:
        raise Crash

    with network(tmp_path, manual=True) as net:
        run(make_heights(net, 1))
        before = [store.last_signature() for store in net.stores]
        monkeypatch.setattr(EngineStore, "_put", fail)
        monkeypatch.setattr(net.engine, "send", lambda *message: sent.append(message[-1]))
        with pytest.raises(Crash):
            run(net.engine.advance())
        assert sent == []
        assert [store.last_signature() for store in net.stores] == before


class TestDamage:
    """What a flipped byte does to a validator that comes back in the middle of a height, with three others."""

    @pytest.fixture
    def stopped(self, tmp_path: Path, fuse: Fuse) -> Iterator[Network]:
        """Four validators, all of whom have prevoted for height 2, and two precommitted."""
        net = Network(tmp_path, manual=True)
        fuse.blow_at, fuse.after = WRITES_PER_HEIGHT + 6, True
        crash(net, 2)
        net.close()
        fuse.blow_at = None
        yield net
        net.close()

    def come_back(self, net: Network, fuse: Fuse) -> Node:
        """Let all four go on for two heights, and see that nobody contradicted itself; return the damaged one."""
        net.reopen()
        node = net.engine.nodes[0]
        run(make_heights(net, 3))
        check_one_history(net, fuse, {})
        assert net.heights == [3] * 4
        return node

    @pytest.mark.parametrize("kind", [b"j", b"b", b"v"])
    def test_a_flipped_byte_silences_the_validator_which_follows_the_others(
        self, stopped: Network, fuse: Fuse, kind: bytes
    ) -> None:
        path = stopped.path / "node0" / "engine"
        keys = list(entries(path, kind))
        assert keys
        said = dict(fuse.signed)
        rewrite(path, keys[-1:], lambda raw: flipped(raw, len(raw) // 2))
        node = self.come_back(stopped, fuse)
        mine = {slot for slot in fuse.signed if slot[0] == node.address and slot not in said}
        if kind == b"v":
            assert {slot[1] for slot in mine} <= {2}  # what its journal holds is said again; nothing more is signed
        else:
            assert {slot[1] for slot in mine} == {3}  # height 2 without it, height 3 with it
        assert node.silent == (kind == b"v")

    @pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("kind", [b"j", b"b", b"v"])
    def test_every_flipped_byte_is_detected_or_changes_nothing(self, stopped: Network, kind: bytes, step: int) -> None:
        path = stopped.path / "node0" / "engine"
        stopped.reopen([0])
        node = stopped.engine.nodes[0]
        node.recover()
        assert not node.silent
        assert node.driver is not None
        whole = node.driver.fingerprint()
        stopped.close()
        for key, raw in entries(path, kind).items():
            for position in range(0, len(raw), step):
                rewrite(path, [key], lambda _, at=position, was=raw: flipped(was, at))  # type: ignore[misc]
                stopped.reopen([0])
                node = stopped.engine.nodes[0]
                node.recover()
                assert node.silent or (node.driver is not None and node.driver.fingerprint() == whole)
                stopped.close()
            rewrite(path, [key], lambda _, was=raw: was)  # type: ignore[misc]

    def test_a_journal_that_lost_what_a_signature_was_made_by_is_no_shorter_journal(self, stopped: Network) -> None:
        path = stopped.path / "node0" / "engine"
        keys = list(entries(path, b"j"))
        with lmdb.open(str(path), map_size=1 << 36) as environment, environment.begin(write=True) as writing:
            for key in keys[-2:]:
                writing.delete(key)
        stopped.reopen([0])
        stopped.engine.nodes[0].recover()
        assert stopped.engine.nodes[0].silent
        stopped.close()

    def test_a_torn_end_of_the_journal_is_cut_off(self, stopped: Network) -> None:
        """Zeros or a beginning of a record that no signature was made by."""
        path = stopped.path / "node0" / "engine"
        stopped.reopen([0])
        stopped.engine.nodes[0].recover()
        driver = stopped.engine.nodes[0].driver
        assert driver is not None
        stopped.close()
        number = len(entries(path, b"j"))
        for torn in (bytes(40), b"\0\0"):
            with lmdb.open(str(path), map_size=1 << 36) as environment, environment.begin(write=True) as writing:
                writing.put(b"j" + number.to_bytes(8, "big"), torn)
            stopped.reopen([0])
            node = stopped.engine.nodes[0]
            node.recover()
            assert not node.silent
            assert node.driver is not None
            assert node.driver.fingerprint() == driver.fingerprint()
            stopped.close()


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

    def test_a_store_of_the_former_format_is_taken_over_and_goes_on(self, tmp_path: Path) -> None:
        with network(tmp_path, manual=True) as net:
            run(make_heights(net, 2))
            net.close()
            for number in range(4):
                make_former(tmp_path / f"node{number}" / "engine", 2)
            go_on(net, 4)
            assert net.verify(net.stores[0]) == 4

    def test_a_store_of_the_former_format_in_the_middle_of_a_height_is_refused(self, tmp_path: Path) -> None:
        with network(tmp_path, manual=True) as net:
            run(make_heights(net, 2))
            net.close()
            make_former(tmp_path / "node1" / "engine", 3)
            with pytest.raises(errors.UnfinishedHeightError) as caught:
                net.reopen()
            assert caught.value.height == 3
            assert caught.value.path == tmp_path / "node1" / "engine"

    def test_what_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
        with pytest.raises(errors.UnknownFormatError):
            EngineStore(tmp_path, b"\x01" * 32)

    def test_every_flipped_byte_of_the_last_signature_is_seen(self, tmp_path: Path) -> None:
        store = EngineStore(tmp_path, b"\x01" * 32)
        signer = Signer(KEYS[0], "merit-test", VirtualClock())
        _, last = signer.sign(vote(1, 0), Mark(0, bytes(16)), None, not_before_ns=0)
        store.record(0, [], last, {})
        store.close()
        raw = encode_last_signature(last)
        for position in range(0, len(raw), 7):
            rewrite(tmp_path, [b"v"], lambda _, at=position: flipped(raw, at))  # type: ignore[misc]
            store = EngineStore(tmp_path, b"\x01" * 32)
            with pytest.raises(SignerRecordError):
                store.last_signature()
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


def make_former(path: Path, height: int) -> None:
    """Give a store the format of the engine without prevotes, whose last vote was a precommit of this height."""
    body = struct.pack(">QIBI", height, 0, 2, 4) + b"said" + b"signature"
    with lmdb.open(str(path), map_size=1 << 36) as environment, environment.begin(write=True) as writing:
        writing.put(b"v", body + hashlib.sha256(body).digest())
        writing.put(b"m/format", b"merit-engine-1")


def entries(path: Path, kind: bytes) -> dict[bytes, bytes]:
    """Return a store's records of one kind."""
    with lmdb.open(str(path), map_size=1 << 36) as environment, environment.begin() as reading:
        return {key: raw for key, raw in reading.cursor() if key.startswith(kind)}


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
