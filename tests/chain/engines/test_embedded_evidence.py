"""Proofs of two votes in one place: what of them a block may hold, and what becomes of whom they convict."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from chain import light
from chain.consensus import types as core
from chain.engines import errors
from chain.engines.embedded import statements
from chain.engines.embedded.evidence import EvidencePool
from chain.engines.embedded.sets import ValidatorSets
from chain.light import Height
from tests.chain.engines.network import KEYS, Network, network, run

CHAIN = "merit-test"
TIME = light.Timestamp(1_700_000_001)
FIRST, SECOND = (core.ValueId(letter * 32 + b"\0\0\0\1" + b"c" * 32) for letter in (b"a", b"b"))


class Heights:
    """A network that has decided two heights, and one validator's proofs there."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.addresses = net.engine.validator_set.addresses
        self.pool = net.engine.nodes[0].replica.evidence
        self.last = net.stores[0].header(Height(2))

    def vote(self, value: core.ValueId | None, *, by: int = 1, signer: int = 1, height: int = 1) -> light.Vote:
        address = core.Address(light.validator_address(KEYS[by].public_key))
        vote = core.Vote(core.Height(height), core.Round(0), core.VoteKind.PREVOTE, value, address)
        signature = KEYS[signer].sign(statements.sign_bytes(vote, TIME, CHAIN), light.VOTE_CONTEXT)
        signed = replace(vote, proof=statements.encode_proof(TIME, signature))
        return statements.whole_vote(signed, self.addresses.index(address))

    def proof(self, *values: core.ValueId | None, signer: int = 1) -> bytes:
        pool = EvidencePool(ValidatorSets(self.net.genesis), self.net.stores[0], CHAIN)
        first, second = (self.vote(value, signer=signer) for value in values)
        pool.accuse(first, second)
        [proof] = pool.due()
        return proof


@pytest.fixture
def heights(tmp_path: Path) -> Generator[Heights]:
    async def main(net: Network) -> None:
        await net.engine.start()
        for number in range(2):
            net.engine.submit(b"+1 %d" % number)
            await net.engine.advance()

    with network(tmp_path, manual=True) as net:
        run(main(net))
        yield Heights(net)


def test_two_votes_in_one_place_are_a_proof_in_either_order(heights: Heights) -> None:
    assert heights.pool.accepts([heights.proof(FIRST, SECOND)], heights.last)
    assert heights.pool.accepts([heights.proof(None, FIRST)], heights.last)
    assert heights.pool.accepts([heights.proof(SECOND, FIRST)], heights.last)


def twice(proof: bytes) -> list[bytes]:
    return [proof, proof]


def of_another_power(proof: bytes) -> list[bytes]:
    found = light.decode_evidence(proof)
    assert isinstance(found, light.DuplicateVote)
    return [light.encode_evidence(replace(found, validator_power=2))]


def of_another_time(proof: bytes) -> list[bytes]:
    found = light.decode_evidence(proof)
    assert isinstance(found, light.DuplicateVote)
    return [light.encode_evidence(replace(found, timestamp=light.Timestamp(5)))]


def of_one_vote(proof: bytes) -> list[bytes]:
    found = light.decode_evidence(proof)
    assert isinstance(found, light.DuplicateVote)
    return [light.encode_evidence(replace(found, vote_b=found.vote_a))]


def no_evidence(_: bytes) -> list[bytes]:
    return [b"\x0a\x01"]


@pytest.mark.parametrize("spoil", [twice, of_another_power, of_another_time, of_one_vote, no_evidence])
def test_what_proves_nothing_or_the_same_again_is_not_accepted(
    heights: Heights, spoil: Callable[[bytes], list[bytes]]
) -> None:
    assert not heights.pool.accepts(spoil(heights.proof(FIRST, SECOND)), heights.last)


def test_a_block_may_hold_a_proof_and_no_rubbish(heights: Heights) -> None:
    replica = heights.net.engine.nodes[0].replica
    heights.pool.accuse(heights.vote(FIRST), heights.vote(SECOND))
    block = replica.propose(())
    assert len(block.evidence) == 1
    assert replica.accepts(block)
    assert not replica.accepts(replace(block, evidence=()))
    assert not replica.accepts(replace(block, evidence=(b"\x0a\x01",)))


def test_a_forged_vote_proves_nothing(heights: Heights) -> None:
    assert not heights.pool.accepts([heights.proof(FIRST, SECOND, signer=2)], heights.last)


def test_the_first_block_holds_no_proof(heights: Heights) -> None:
    assert not heights.pool.accepts([heights.proof(FIRST, SECOND)], None)


def test_a_proof_waits_until_its_height_is_decided(heights: Heights) -> None:
    heights.pool.accuse(heights.vote(FIRST, height=3), heights.vote(SECOND, height=3))
    assert heights.pool.due() == ()


def test_a_proof_reaches_every_application_once_and_outlives_a_restart(heights: Heights) -> None:
    net = heights.net

    async def main() -> None:
        heights.pool.accuse(heights.vote(FIRST), heights.vote(SECOND))
        for number in range(6):
            net.engine.submit(b"+1 more %d" % number)
            await net.engine.advance()
        await net.engine.stop()

    run(main())
    accused = light.validator_address(KEYS[1].public_key)
    reported = [[(one.validator, one.height) for one in application.reported] for application in net.applications]
    assert reported == [[(accused, 1)]] * 4
    [height] = [height for height, _ in net.stores[0].all_evidence()]
    proof = heights.proof(FIRST, SECOND)
    assert not heights.pool.accepts([proof], net.stores[0].header(Height(8)))
    assert net.verify(net.stores[0]) == 8

    async def again() -> None:
        await net.reopen().start()

    run(again())
    assert len(run(history(net, height))) == 1
    replica = net.engine.nodes[0].replica
    replica.evidence.accuse(heights.vote(FIRST), heights.vote(SECOND))
    assert replica.evidence.due() == ()


async def history(net: Network, height: Height) -> tuple[bytes, ...]:
    return await net.engine.history.evidence(height)


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1], lambda _: b"", None], ids=["short", "empty", "missing"])
def test_damaged_evidence_is_named(heights: Heights, spoil: Callable[[bytes], bytes] | None) -> None:
    net = heights.net

    async def main() -> None:
        heights.pool.accuse(heights.vote(FIRST), heights.vote(SECOND))
        for number in range(4):
            net.engine.submit(b"+1 more %d" % number)
            await net.engine.advance()
        await net.engine.stop()

    run(main())
    [(height, _)] = net.stores[0].all_evidence()
    net.close()
    key = b"e" + height.to_bytes(8, "big")
    directory = str(net.path / "node0" / "engine")
    with lmdb.open(directory, map_size=1 << 36) as environment, environment.begin(write=True) as writing:
        if spoil is None:
            writing.delete(key)
        else:
            writing.put(key, spoil(bytes(writing.get(key))))
    net.reopen([0])
    with pytest.raises(errors.CorruptRecordError, match=f"the evidence of height {height}"):
        net.stores[0].block(height)
