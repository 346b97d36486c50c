"""One validator among messages: what it refuses and why, and what liars cannot do to those that are honest."""

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain import light
from chain.consensus import types as core
from chain.consensus.driver import Reason
from chain.crypto.schemes import SigningKey
from chain.engines.embedded import messages, statements
from chain.engines.embedded.network import Network as Links
from chain.engines.embedded.node import EARLY_KEPT, Fault, Node, Timer
from chain.light import Height
from tests.chain.engines.network import KEYS, Network, network, run

CHAIN = "merit-test"
OLD = light.Timestamp(1_700_000_001)
S = TypeVar("S", core.Vote, core.Proposal)

VALUE = core.ValueId(b"a" * 32 + b"\0\0\0\1" + b"b" * 32)


def address(key: SigningKey) -> core.Address:
    return core.Address(light.validator_address(key.public_key))


def signed(statement: S, key: SigningKey, chain_id: str = CHAIN) -> S:
    signature = key.sign(statements.sign_bytes(statement, OLD, chain_id), light.VOTE_CONTEXT)
    return replace(statement, proof=statements.encode_proof(OLD, signature))


def vote(
    key: SigningKey = KEYS[1],
    height: int = 1,
    round_: int = 0,
    kind: core.VoteKind = core.VoteKind.PREVOTE,
    value: core.ValueId | None = VALUE,
) -> core.Vote:
    return core.Vote(core.Height(height), core.Round(round_), kind, value, address(key))


class Among:
    """The first of four validators at height 1, and what the others could say to it."""

    def __init__(self, net: Network) -> None:
        self.net, self.node = net, net.engine.nodes[0]
        self.addresses = net.engine.validator_set.addresses
        for node in net.engine.nodes:
            node.recover()
            node.join()
            node.begin()
        self.keys = {address(key): key for key in KEYS[:4]}
        self.peer = next(one for one in self.keys if one != self.node.address)

    def says(self, said: core.Vote, index: int | None = None) -> bytes:
        place = self.addresses.index(said.validator) if index is None else index
        return messages.encode(messages.Voted(CHAIN, statements.encode_vote(said, place)))

    def vote(self, **what: int | core.ValueId | core.VoteKind | None) -> core.Vote:
        key = self.keys[self.peer]
        return signed(vote(key, **what), key)  # type: ignore[arg-type]

    def block(self) -> light.Block:
        return self.net.engine.nodes[1].replica.propose([b"+7"])

    def proposes(self, block: light.Block, round_: int = 0, key: SigningKey | None = None) -> bytes:
        assert self.node.driver is not None
        proposer = self.node.driver.proposer(core.Round(round_))
        raw = light.encode_block(block)
        name = messages.open_block(raw)[1]
        said = core.Proposal(core.Height(1), core.Round(round_), name, core.NO_ROUND, proposer)
        said = signed(said, key or self.keys[proposer])
        return messages.encode(messages.Proposed(CHAIN, statements.encode_proposal(said), raw))

    def state(self) -> object:
        assert self.node.driver is not None
        return self.node.driver.fingerprint(), self.node.replica.store.journal(), self.node.height, self.node.agreed


@pytest.fixture
def among(tmp_path: Path) -> Generator[Among]:
    with network(tmp_path, manual=True) as net:
        yield Among(net)


def of_another_chain(among: Among) -> bytes:
    return messages.encode(messages.Voted("merit-other", statements.encode_vote(among.vote(), 0)))


def signed_for_another_chain(among: Among) -> bytes:
    key = among.keys[among.peer]
    return among.says(signed(vote(key), key, "merit-other"))


def signed_by_another(among: Among) -> bytes:
    return among.says(signed(vote(among.keys[among.peer]), KEYS[7]))


def of_a_stranger(among: Among) -> bytes:
    return among.says(signed(vote(KEYS[7]), KEYS[7]), index=1)


def polka_of_two(among: Among) -> bytes:
    votes = [signed(vote(key), key) for one, key in among.keys.items() if one != among.node.address][:2]
    return messages.encode(
        messages.Polka(
            CHAIN, tuple(statements.encode_vote(said, among.addresses.index(said.validator)) for said in votes)
        )
    )


def polka_with_a_false_vote(among: Among) -> bytes:
    votes = [signed(vote(key), KEYS[7]) for one, key in among.keys.items() if one != among.node.address]
    return messages.encode(
        messages.Polka(
            CHAIN, tuple(statements.encode_vote(said, among.addresses.index(said.validator)) for said in votes)
        )
    )


def polka_of_nothing(_: Among) -> bytes:
    return messages.encode(messages.Polka(CHAIN, ()))


def block_that_it_does_not_name(among: Among) -> bytes:
    message = messages.decode(among.proposes(among.block()))
    assert isinstance(message, messages.Proposed)
    other = light.encode_block(among.net.engine.nodes[1].replica.propose([b"+8"]))
    return messages.encode(messages.Proposed(CHAIN, message.proposal, other))


def decision(among: Among, signer: Callable[[SigningKey], SigningKey], count: int) -> bytes:
    block = among.block()
    slots = []
    for place in among.addresses:
        key = among.keys[core.Address(place)]
        said = signed(
            vote(key, kind=core.VoteKind.PRECOMMIT, value=statements.value_id(light.block_id(block))), signer(key)
        )
        time, signature = statements.decode_proof(said.proof)
        slots.append(light.CommitSig(light.BlockIdFlag.COMMIT, place, time, signature))
    slots = [slot if number < count else light.ABSENT for number, slot in enumerate(slots)]
    commit = light.Commit(Height(1), 0, light.block_id(block), tuple(slots))
    return messages.encode(messages.Decision(CHAIN, light.encode_block(block), light.encode_commit(commit)))


REFUSED: dict[str, tuple[Callable[[Among], bytes], Fault | Reason, int]] = {
    "oversized": (lambda among: bytes(messages.bytes_max(len(among.addresses)) + 1), Fault.OVERSIZED, 0),
    "not MessagePack": (lambda _: b"\xff\xff", Fault.MALFORMED, 0),
    "an unknown kind": (
        lambda _: messages.encode(messages.Voted(CHAIN, b"")).replace(b"vote", b"note"),
        Fault.MALFORMED,
        0,
    ),
    "no vote": (lambda _: messages.encode(messages.Voted(CHAIN, b"\x08\x01")), Fault.MALFORMED, 0),
    "of another chain": (of_another_chain, Fault.WRONG_CHAIN, 0),
    "signed for another chain": (signed_for_another_chain, Fault.WRONG_SIGNATURE, 1),
    "signed by another": (signed_by_another, Fault.WRONG_SIGNATURE, 1),
    "of a stranger": (of_a_stranger, Fault.MALFORMED, 0),
    "of a decided height": (lambda among: among.says(among.vote(height=0)), Reason.OLD_HEIGHT, 0),
    "of a far height": (lambda among: among.says(among.vote(height=9)), Reason.FUTURE_HEIGHT, 0),
    "of a negative round": (lambda among: among.says(among.vote(round_=-1)), Reason.MALFORMED, 0),
    "proposed far ahead": (lambda among: among.proposes(among.block(), 9), Reason.FUTURE_ROUND, 0),
    "proposed by another": (lambda among: among.proposes(among.block(), key=KEYS[7]), Fault.WRONG_SIGNATURE, 1),
    "another block": (block_that_it_does_not_name, Fault.WRONG_BLOCK, 1),
    "two prevotes": (polka_of_two, Reason.NO_CERTIFICATE, 0),
    "no prevotes": (polka_of_nothing, Reason.NO_CERTIFICATE, 0),
    "false prevotes": (polka_with_a_false_vote, Fault.WRONG_SIGNATURE, 1),
    "a decision of two": (lambda among: decision(among, lambda key: key, 2), Fault.WRONG_COMMIT, 0),
    "a forged decision": (lambda among: decision(among, lambda _: KEYS[7], 4), Fault.WRONG_COMMIT, 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_message_is_refused_with_its_reason_counted_and_not_kept(among: Among, name: str) -> None:
    make, reason, verified = REFUSED[name]
    raw, before = make(among), among.state()
    judged = among.node._verdicts.verified  # noqa: SLF001 - what a message may cost
    assert among.node.receive(among.peer, raw) is reason
    assert among.node._verdicts.verified - judged == verified  # noqa: SLF001 - as above
    assert among.state() == before
    assert among.node.refusals == {among.peer: Counter({reason: 1})}


def test_a_good_vote_is_taken_once_and_verified_once(among: Among) -> None:
    raw = among.says(among.vote())
    assert among.node.receive(among.peer, raw) is None
    assert among.node.receive(among.peer, raw) is Reason.DUPLICATE
    assert among.node._verdicts.verified == 1  # noqa: SLF001 - what a message may cost


def test_validators_of_one_process_verify_a_signature_once(among: Among) -> None:
    raw = among.says(among.vote())
    for node in among.net.engine.nodes:
        if node.address != among.peer:
            assert node.receive(among.peer, raw) is None
    assert among.node._verdicts.verified == 1  # noqa: SLF001 - shared by all


def test_messages_of_the_next_height_wait_but_only_a_few_of_each_sender(among: Among) -> None:
    raws = [among.says(among.vote(height=2, round_=round_)) for round_ in range(EARLY_KEPT + 1)]
    told = [among.node.receive(among.peer, raw) for raw in raws]
    assert told == [None] * EARLY_KEPT + [Fault.SURPLUS]
    other = next(one for one in among.keys if one not in {among.peer, among.node.address})
    assert among.node.receive(other, raws[0]) is None


def test_a_decision_that_holds_is_learnt_without_signing(among: Among) -> None:
    assert among.node.receive(among.peer, decision(among, lambda key: key, 3)) is None
    assert not among.node.must_sign
    among.node.finish()
    assert (among.node.height, among.net.totals[0]) == (2, 7)


def test_a_decision_of_another_state_stops_the_validator_that_holds_it(among: Among) -> None:
    among.node.replica.outcome = replace(among.node.replica.outcome, app_hash=bytes(32))
    with pytest.raises(light.errors.WrongAppHashError):
        among.node.receive(among.peer, decision(among, lambda key: key, 4))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.data())
def test_no_bytes_make_a_validator_fall(among: Among, noise: bytes, data: st.DataObject) -> None:
    before = among.state()
    good = among.says(among.vote())
    at = data.draw(st.integers(0, len(good) - 1))
    for raw in (noise, good[:at], good[:at] + noise + good[at + len(noise) :]):
        if raw != good:
            among.node.receive(among.peer, raw)
    assert among.state() == before


# -- liars ------------------------------------------------------------------------------------------------------------


class Liar:
    """A fourth validator that has its own idea of the rules; it hears everything and says what `lies` makes of it."""

    running, must_sign = True, False

    def __init__(self, net: Network, number: int, lies: Callable[["Liar", messages.Message], None]) -> None:
        self.net, self.key, self.address = net, KEYS[number], address(KEYS[number])
        self.timers: list[Timer] = []
        self._lies = lies
        self.heard: set[tuple[int, int]] = set()

    def sign(self) -> None:
        raise AssertionError

    def release(self) -> None:
        raise AssertionError

    def elapse(self, now: float) -> bool:  # noqa: ARG002 - it waits for nothing
        return False

    def receive(self, sender: core.Address, raw: bytes) -> None:  # noqa: ARG002 - it does not care who
        message = messages.decode(raw)
        assert message is not None
        self._lies(self, message)

    def vote(self, to: Node, said: core.Vote) -> None:
        place = self.net.engine.validator_set.addresses.index(self.address)
        raw = messages.encode(messages.Voted(CHAIN, statements.encode_vote(signed(said, self.key), place)))
        self.net.engine.send(self.address, to.address, raw)

    def propose(self, to: Node, round_: int, transaction: bytes) -> None:
        block = light.encode_block(to.replica.propose([transaction]))
        name = messages.open_block(block)[1]
        said = core.Proposal(to.height, core.Round(round_), name, core.NO_ROUND, self.address)
        raw = messages.Proposed(CHAIN, statements.encode_proposal(signed(said, self.key)), block)
        self.net.engine.send(self.address, to.address, messages.encode(raw))

    def first_time(self, message: messages.Message) -> core.Vote | None:
        """Return a vote that opens a height and round for this liar."""
        if not isinstance(message, messages.Voted):
            return None
        heard = statements.decode_vote(message.vote, self.net.engine.validator_set.addresses)
        slot = (heard.height, heard.round)
        if slot in self.heard:
            return None
        self.heard.add(slot)
        return heard


def votes_for_everything(liar: Liar, message: messages.Message) -> None:
    """Tell one validator yes, another one no, and contradict both to the third."""
    heard = liar.first_time(message)
    if heard is None:
        return
    for number, node in enumerate(liar.net.engine.nodes):
        for kind in core.VoteKind:
            for value in ((heard.value_id,), (None,), (heard.value_id, None))[number % 3]:
                liar.vote(node, core.Vote(heard.height, heard.round, kind, value, liar.address))


def proposes_two_blocks(liar: Liar, message: messages.Message) -> None:
    """When it is its turn in the round that comes next, propose different blocks to different validators."""
    heard = liar.first_time(message)
    if heard is None:
        return
    for number, node in enumerate(liar.net.engine.nodes):
        for round_ in (heard.round, heard.round + 1):
            if node.driver is not None and node.driver.proposer(core.Round(round_)) == liar.address:
                liar.propose(node, round_, b"+1000" if number % 2 else b"+2000")


def echoes(liar: Liar, message: messages.Message) -> None:
    """Send everything back to everybody, whole and damaged, but not for ever."""
    if len(liar.heard) < 2_000:
        liar.heard.add((0, len(liar.heard)))
        raw = messages.encode(message)
        for copy in (raw, raw[:-1], raw[:40] + b"\x00" + raw[41:]):
            liar.net.engine.send(liar.address, None, copy)


def proposes_what_is_invalid(liar: Liar, message: messages.Message) -> None:
    """When it is its turn, propose what no application accepts."""
    heard = liar.first_time(message)
    for node in liar.net.engine.nodes if heard is not None else ():
        for round_ in range(3):
            if node.driver is not None and node.driver.proposer(core.Round(round_)) == liar.address:
                liar.propose(node, round_, b"no number")


def says_nothing(_: Liar, __: messages.Message) -> None:
    """Be there, and silent."""


@pytest.mark.parametrize(
    "lies", [votes_for_everything, proposes_two_blocks, echoes, proposes_what_is_invalid, says_nothing]
)
@pytest.mark.parametrize("number", [0, 2])
def test_one_liar_of_four_neither_forks_nor_stops_the_others(
    tmp_path: Path, lies: Callable[[Liar, messages.Message], None], number: int
) -> None:
    async def main(net: Network) -> None:
        net.reopen([one for one in range(4) if one != number])
        liar = Liar(net, number, lies)
        engine = net.engine
        engine._network = Links([*engine.nodes, liar], net.clock)  # noqa: SLF001 - engines have honest members only
        await engine.start()
        for height in range(1, 6):
            assert engine.submit(b"+1 at %d" % height).accepted
            assert await engine.advance() == height
        assert all(len(net.hashes(height)) == 1 for height in range(1, 6))
        assert [net.verify(store) for store in net.stores] == [5] * 3
        assert len(set(net.totals)) == 1
        accused = {evidence.first.validator for node in engine.nodes for evidence in node.accusations}
        assert accused == ({liar.address} if lies is votes_for_everything else accused & {liar.address})
        await engine.stop()

    with network(tmp_path, manual=True) as net:
        run(main(net))
