"""`merit keys rotate` and `backup`: a member's new key on a ledger that is governed by vote."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.crypto import keystore
from chain.crypto.schemes import Scheme
from contracts.addresses import REGISTRY
from contracts.bindings import Registry, Role
from node.account import connect
from node.founding import Membership
from node.sponsor import recorded
from tests.chain.rpc.harness import Background
from tests.node.small_ledger import EXAMPLES, SmallLedger
from tests.node.testnet.running import Done, merit

CLIENT = 4


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """Three edge servers that govern by vote, and a client."""
    members = [*[Membership(Role.EDGE_SERVER)] * 3, Membership(Role.CLIENT, Scheme.ML_DSA_65)]
    network = Background(tmp_path_factory.mktemp("rotation"), validators=3, members=members, council=True)
    yield network
    network.stop()


class Member:
    """The operator of one member's keys."""

    def __init__(self, governed: Background, number: int) -> None:
        self.network, self.rpc = governed.network, governed.server.url
        self.key = self.network.member_key_path(number)

    def rotate(self, new: Path, *options: object) -> Done:
        password = ["--password-file", self.network.password_path]
        return merit("keys", "rotate", self.key, new, *password, "--rpc", self.rpc, "--json", *options)

    def council(self, *arguments: object) -> Done:
        secret = ["--key", self.key, "--password-file", self.network.password_path]
        return merit("council", *arguments, *secret, "--rpc", self.rpc, "--json")


def voted(governed: Background, file: str) -> None:
    """Let all edge servers carry out a proposal."""
    edges = [Member(governed, number) for number in (1, 2, 3)]
    number = json.loads(edges[0].council("propose", file).out)["proposal"]
    for edge in edges[1:]:
        assert edge.council("vote", number, "--approve").code == 0
    assert edges[0].council("execute", number).code == 0


def test_a_clients_key_is_asked_for_voted_in_and_ends_the_old_one(governed: Background, tmp_path: Path) -> None:
    client, new = Member(governed, CLIENT), tmp_path / "new.pem"
    asked = client.rotate(new)
    assert asked.code == 0, asked
    first = json.loads(asked.out)
    assert (first["member"], first["new_from"], first["old_until"]) == (CLIENT, None, None)
    made = new.read_bytes()
    early = client.rotate(new, "--end")
    assert (early.code, early.err.count("\n")) == (2, 1)
    assert "have the edge servers vote for it first" in early.err

    voted(governed, first["proposal"])
    both = json.loads(client.rotate(new).out)
    assert (both["proposal"], both["old_until"]) == (None, None)
    assert new.read_bytes() == made, "a second call makes no second key"
    ended = client.rotate(new, "--end")
    assert ended.code == 0, ended
    assert json.loads(client.rotate(new, "--end").out) == json.loads(ended.out), "once is enough"

    w3 = governed.http()
    old_key, new_key = Registry(w3, REGISTRY).keys(CLIENT)
    assert new_key.scheme == Scheme.ML_DSA_65, "the old one's scheme"
    assert (new_key.valid_from, old_key.valid_to) == (both["new_from"], json.loads(ended.out)["old_until"])
    assert old_key.valid_from < new_key.valid_from < old_key.valid_to, "no block without a key"
    address = keystore.load(new, governed.network.password_path.read_bytes()).address
    assert Registry(w3, REGISTRY).standing(address).member == CLIENT


def test_people_are_told_what_comes_next(governed: Background, tmp_path: Path) -> None:
    edge, new = Member(governed, 2), tmp_path / "new.pem"
    arguments = ["keys", "rotate", edge.key, new, "--password-file", governed.network.password_path, "--rpc", edge.rpc]
    assert "have " in (first := merit(*arguments).out)
    assert "voted for (merit council propose)" in first
    voted(governed, f"{new}.toml")
    assert "both keys count" in merit(*arguments).out
    assert "the old key ends before block" in merit(*arguments, "--end").out


@pytest.mark.parametrize("number", [0, 1])
def test_a_key_that_is_nobodys_or_anothers_is_refused(governed: Background, tmp_path: Path, number: int) -> None:
    password = governed.network.password_path
    stranger = tmp_path / "stranger.pem"
    assert merit("keys", "new", stranger, "--password-file", password).code == 0
    if number == 0:
        pair, reason = (stranger, tmp_path / "new.pem"), "no member has the address"
    else:
        pair, reason = (Member(governed, 1).key, Member(governed, 3).key), "is member 3's"
    done = merit("keys", "rotate", *pair, "--password-file", password, "--rpc", governed.server.url)
    assert done.code == 2
    assert reason in done.err
    assert not (tmp_path / "new.pem").exists()


def test_a_backup_opens_with_its_own_password_and_overwrites_nothing(tmp_path: Path) -> None:
    key, copy = tmp_path / "key.pem", tmp_path / "safe" / "copy.pem"
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_text("one")
    theirs.write_text("two")
    merit("keys", "new", key, "--password-file", mine)
    arguments = ["keys", "backup", key, copy, "--password-file", mine, "--new-password-file", theirs]
    done = merit(*arguments, "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["path"] == str(copy)
    assert keystore.load(copy, b"two").seed == keystore.load(key, b"one").seed
    again = merit(*arguments)
    assert again.code == 2
    assert "never overwritten" in again.err
    same = merit("keys", "backup", key, tmp_path / "same.pem", "--password-file", mine)
    assert same.code == 0
    assert keystore.load(tmp_path / "same.pem", b"one").seed == keystore.load(key, b"one").seed


@pytest.mark.slow
def test_the_audit_is_clean_across_the_rotation_of_a_client_and_an_edge_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job 1 is learned with the old keys, job 2 with the new ones, after the old ones have ended."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    edge, client, directory = 1, 5, tmp_path / "net"
    ledger = SmallLedger(directory)
    try:
        ledger.learn(EXAMPLES / "own_model.toml", tmp_path / "first", rounds=2)
        keys = [ledger.network.member_key_path(member) for member in (edge, client)]
        password = ["--password-file", ledger.network.password_path]
        for key in keys:
            news = ledger.asked("keys", "rotate", key, f"{key}.new", *password)
            number = ledger.asked("council", "propose", news["proposal"], *ledger.secret(2))["proposal"]
            for voter in (3, 4):
                ledger.asked("council", "vote", number, "--approve", *ledger.secret(voter))
            ledger.asked("council", "execute", number, *ledger.secret(2))
    finally:
        ledger.stop()
    for key in keys:
        key.rename(f"{key}.old")
        Path(f"{key}.new").rename(key)
    ledger = SmallLedger(directory)
    try:
        ends = [ledger.asked("keys", "rotate", f"{key}.old", key, "--end", *password)["old_until"] for key in keys]
        ledger.learn(EXAMPLES / "own_model.toml", tmp_path / "second", rounds=2)
        registry = Registry(connect(ledger.rpc), REGISTRY)
        assert [registry.keys(member)[0].valid_to for member in (edge, client)] == ends
        records = {job: recorded(ledger.rpc, job) for job in (1, 2)}
        assert {record.client for job in records for record in records[job]} == {5, 6}
        rewards = ledger.asked("rewards")["rewards"]
        assert {row["job"] for row in rewards if row["client"] == client} == {1, 2}
    finally:
        ledger.stop()
    report = merit("audit", directory)
    assert report.code == 0, report
    assert "checked by signature" not in report.out
