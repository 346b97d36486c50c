"""`merit council`: what a proposal file may say, and what its votes come to on a ledger that is governed so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.crypto.addresses import address_of
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from contracts.addresses import COUNCIL, LEDGER, REGISTRY, TOKEN
from contracts.bindings import Council, Ledger, Registry, Role, Token
from contracts.calls import Call
from contracts.digests import name32
from contracts.upgrades import UpgradeKind
from node.council import Asked, load, upgrades, validators
from node.errors import ConfigError
from node.founding import Membership
from tests.chain.rpc.harness import Background
from tests.node.testnet.running import Done, merit

SMALL = SigningKey.from_seed(Scheme.ML_DSA_44, keccak256(b"small")).public_key
LARGE = SigningKey.from_seed(Scheme.ML_DSA_65, keccak256(b"large")).public_key
ADDRESS = bytes(range(20))


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A ledger whose four edge servers govern by vote."""
    members = [Membership(Role.EDGE_SERVER) for _ in range(4)]
    network = Background(tmp_path_factory.mktemp("governed"), validators=4, members=members, council=True)
    yield network
    network.stop()


@pytest.fixture
def council(governed: Background) -> Council:
    return Council(governed.http(), COUNCIL)


def proposal(path: Path, *calls: str, head: str = 'text = "A test"\ndays = 1.0\n') -> Path:
    path.write_text(head + "".join(f"[[call]]\n{call}\n" for call in calls), encoding="utf-8")
    return path


def asked(path: Path, call: str) -> Asked:
    return load(proposal(path, call)).call[0]


ENCODED = {
    f'do = "admit"\nrole = "client"\nscheme = 44\nkey = "0x{SMALL.hex()}"': Call(
        REGISTRY, Registry.encode_admit(Role.CLIENT, 44, SMALL, address_of(Scheme.ML_DSA_44, SMALL))
    ),
    f'do = "admit"\nrole = "auditor"\nscheme = 65\nkey = "0x{LARGE.hex()}"\npayout = "0x{ADDRESS.hex()}"': Call(
        REGISTRY, Registry.encode_admit(Role.AUDITOR, 65, LARGE, ADDRESS)
    ),
    f'do = "add-key"\nmember = 2\nscheme = 44\nkey = "0x{SMALL.hex()}"': Call(
        REGISTRY, Registry.encode_add_key(2, 44, SMALL)
    ),
    f'do = "end-key"\naddress = "0x{ADDRESS.hex()}"': Call(REGISTRY, Registry.encode_end_key(ADDRESS)),
    'do = "suspend"\nmember = 3': Call(REGISTRY, Registry.encode_suspend(3)),
    'do = "reinstate"\nmember = 3': Call(REGISTRY, Registry.encode_reinstate(3)),
    'do = "define-edge-set"\nmembers = [1, 3]': Call(REGISTRY, Registry.encode_set_edge_set((1, 3))),
    'do = "use-edge-set"\njob = 1\nnumber = 2': Call(LEDGER, Ledger.encode_use_edge_set(1, 2)),
    'do = "use-rules"\njob = 1\nscoring = "cosine"\naggregation = "delta"\nstaleness = "constant"': Call(
        LEDGER, Ledger.encode_use_rules(1, 1, name32("cosine"), name32("delta"), name32("constant"))
    ),
    f'do = "mint"\nto = "0x{ADDRESS.hex()}"\ntokens = 7': Call(TOKEN, Token.encode_mint(ADDRESS, 7 * 10**18)),
    f'do = "add-validator"\nmember = 2\nkey = "0x{LARGE.hex()}"\npower = 3': Call(
        COUNCIL, Council.encode_add_validator(2, LARGE, 3)
    ),
    'do = "upgrade"\nkind = "execution"\nversion = 2\nheight = 900': Call(
        COUNCIL, Council.encode_schedule_upgrade(UpgradeKind.EXECUTION, 2, 900)
    ),
    'do = "cancel-upgrade"\nkind = "rules"': Call(COUNCIL, Council.encode_cancel_upgrade(UpgradeKind.RULES)),
}


@pytest.mark.parametrize("text", ENCODED, ids=[text.splitlines()[0] for text in ENCODED])
def test_each_call_of_a_file_is_the_contracts_call(tmp_path: Path, council: Council, text: str) -> None:
    assert asked(tmp_path / "p.toml", text).call(council) == ENCODED[text]


@pytest.mark.parametrize("member", [1, 4])
def test_a_validator_is_named_by_its_member(tmp_path: Path, council: Council, member: int) -> None:
    address = council.validator_of(member)
    assert council.validator(address).member == member
    head = f"member = {member}\n"
    calls = {
        f'do = "remove-validator"\n{head}': Council.encode_remove_validator(address),
        f'do = "rotate-validator"\n{head}key = "0x{LARGE.hex()}"': Council.encode_rotate_validator(address, LARGE),
        f'do = "set-validator-power"\n{head}power = 5': Council.encode_set_validator_power(address, 5),
    }
    for text, data in calls.items():
        assert asked(tmp_path / "p.toml", text).call(council) == Call(COUNCIL, data)


def test_an_upgrade_may_count_from_todays_block(tmp_path: Path, council: Council, governed: Background) -> None:
    upgrade = asked(tmp_path / "p.toml", 'do = "upgrade"\nkind = "contracts"\nversion = 2\nblocks = 50')
    height = governed.http().eth.block_number + 50
    assert upgrade.call(council).data == Council.encode_schedule_upgrade(UpgradeKind.CONTRACTS, 2, height)


def test_a_member_without_a_validator_is_refused(tmp_path: Path, council: Council) -> None:
    with pytest.raises(ConfigError, match="member 9 runs no validator"):
        asked(tmp_path / "p.toml", 'do = "remove-validator"\nmember = 9').call(council)


REFUSED = {
    'do = "abolish"': "call[0].do",
    'do = "suspend"\nmembr = 1': "unknown key call[0].membr; the nearest valid one is call[0].member",
    'do = "suspend"': "member",
    'do = "suspend"\nmember = 0': "call[0].member",
    'do = "admit"\nrole = "king"\nscheme = 44\nkey = "0x00"': "call[0].role",
    'do = "admit"\nrole = "client"\nscheme = 87\nkey = "0x00"': "call[0].scheme",
    'do = "admit"\nrole = "client"\nscheme = 44\nkey = "00"': "call[0].key",
    'do = "admit"\nrole = "client"\nscheme = 44\nkey = "0x00"\npayout = "0x00"': "call[0].payout",
    'do = "end-key"\naddress = "0x00"': "call[0].address",
    'do = "mint"\nto = "0x00"\ntokens = 1': "call[0].to",
    'do = "mint"\nto = "0x' + "00" * 20 + '"\ntokens = 0': "call[0].tokens",
    'do = "use-rules"\njob = 1\nscoring = "kosinüs"\naggregation = "a"\nstaleness = "b"': "call[0].scoring",
    'do = "upgrade"\nkind = "execution"\nversion = 2': "either the block from which it holds",
    'do = "upgrade"\nkind = "execution"\nversion = 2\nheight = 1\nblocks = 1': "either the block from which it holds",
    'do = "upgrade"\nkind = "weather"\nversion = 2\nheight = 1': "call[0].kind",
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_a_file_that_asks_for_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(proposal(tmp_path / "p.toml", text))
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ('text = ""\n', "text"),
        (f'text = "{"x" * 257}"\n', "text"),
        ('text = "x"\ndays = 0.0\n', "days"),
        ('text = "x"\ndays = 31.0\n', "days"),
        ('txt = "x"\n', "the nearest valid one is text"),
    ],
)
def test_a_proposal_has_a_text_and_a_time(tmp_path: Path, head: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        load(proposal(tmp_path / "p.toml", 'do = "suspend"\nmember = 1', head=head))


@pytest.mark.parametrize("count", [0, 17])
def test_a_proposal_has_one_to_sixteen_calls(tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match="call"):
        load(proposal(tmp_path / "p.toml", *['do = "suspend"\nmember = 1'] * count))


class Operators:
    """The operators of a governed ledger at their terminals."""

    def __init__(self, governed: Background) -> None:
        self._network, self._rpc = governed.network, ["--rpc", governed.server.url]

    def ask(self, command: str) -> Any:
        done = merit("council", command, *self._rpc, "--json")
        assert done.code == 0, done
        return json.loads(done.out)

    def do(self, member: int, command: str, *arguments: object) -> Done:
        key = self._network.member_key_path(member)
        secret = ["--key", key, "--password-file", self._network.password_path]
        return merit("council", command, *arguments, *secret, *self._rpc, "--json")


def test_what_enough_edge_servers_approve_is_made(governed: Background, tmp_path: Path) -> None:
    operators, w3 = Operators(governed), governed.http()
    file = proposal(
        tmp_path / "p.toml",
        f'do = "mint"\nto = "0x{ADDRESS.hex()}"\ntokens = 7',
        'do = "set-validator-power"\nmember = 4\npower = 2',
        'do = "upgrade"\nkind = "execution"\nversion = 2\nblocks = 500',
    )
    done = operators.do(1, "propose", file)
    assert done.code == 0, done
    number = json.loads(done.out)["proposal"]
    standing = next(one for one in operators.ask("list") if one["number"] == number)
    assert (standing["approvals"], standing["electorate"], standing["executed"]) == (1, 4, False)
    assert (standing["proposer"], standing["text"], standing["calls"]) == (1, "A test", 3)
    early = operators.do(1, "execute", number)
    assert early.code == 2
    assert early.err.startswith("merit: ")
    assert operators.do(2, "vote", number, "--approve").code == 0
    assert operators.do(3, "vote", number, "--reject").code == 0
    assert operators.do(4, "execute", number).code == 2, "two of four are not more than two thirds"
    assert operators.do(4, "vote", number, "--approve").code == 0
    twice = operators.do(4, "vote", number, "--approve")
    assert twice.code == 2
    assert operators.do(2, "execute", number).code == 0
    assert next(one for one in operators.ask("list") if one["number"] == number)["executed"]
    assert Token(w3, TOKEN).balance_of(ADDRESS) == 7 * 10**18
    shown = operators.ask("show")
    assert {one["member"]: one["power"] for one in shown["validators"]} == {1: 1, 2: 1, 3: 1, 4: 2}
    assert any((one["kind"], one["version"]) == ("execution", 2) for one in shown["versions"])
    assert shown["validators"] == json.loads(
        json.dumps(validators(governed.server.url), default=lambda b: f"0x{b.hex()}")
    )
    assert shown["versions"] == upgrades(governed.server.url)
    assert operators.do(2, "execute", number).code == 2, "once"


def test_tables_say_the_same_to_people(governed: Background, tmp_path: Path) -> None:
    operators = Operators(governed)
    operators.do(2, "propose", proposal(tmp_path / "p.toml", 'do = "suspend"\nmember = 3'))
    listed = merit("council", "list", "--rpc", governed.server.url).out
    assert "1 of 4" in listed
    shown = merit("council", "show", "--rpc", governed.server.url).out
    assert "validators" in shown
    assert "versions" in shown


def test_a_proposal_that_there_is_not_is_refused_in_one_line(governed: Background) -> None:
    operators = Operators(governed)
    done = operators.do(1, "execute", 99)
    assert (done.code, done.err) == (2, "merit: there is no proposal 99\n")
    vote = operators.do(1, "vote", 99, "--approve")
    assert vote.code == 2
    assert vote.err.count("\n") == 1


def test_where_nothing_answers_the_user_is_told_what_to_start() -> None:
    done = merit("council", "list", "--rpc", "http://127.0.0.1:9")
    assert done.code == 2
    assert "no ledger answers at http://127.0.0.1:9" in done.err
