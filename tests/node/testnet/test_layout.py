"""A testnet's directory: what `make` writes loads, nothing but a testnet is replaced, and half of one is none."""

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.crypto import keystore
from chain.crypto.schemes import Scheme, SigningKey
from chain.genesis import load_genesis
from chain.light import validator_address
from contracts.bindings import Role
from merit.clock import SystemClock
from node import cli
from node.errors import ConfigError, RunDirectoryError
from node.machine.checks import require_complete
from node.machine.home import SyncFile, TimingFile
from node.testnet import layout as layouts
from node.testnet.layout import (
    PORTS_PER_NODE,
    Layout,
    TestnetFile,
    add_node,
    free_port_base,
    make,
    replace_keys,
)
from node.tls import certificates
from node.tls.identity import context_of

TIME = 1_700_000_000
PORT = 45_000
SECRETS = (
    "keys/password",
    "keys/governor.pem",
    "keys/member-4.pem",
    "nodes/node1/keys/edge.pem",
    "nodes/node1/keys/password",
    "nodes/node1/comet/config/priv_validator_key.json",
    "nodes/node1/comet/config/node_key.json",
)


def a_file(**changes: object) -> TestnetFile:
    return TestnetFile(**{"validators": 3, "clients": 2, "port": PORT, **changes})  # type: ignore[arg-type] # as TOML has it


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    make(tmp_path / "net", a_file(), TIME)
    return Layout(tmp_path / "net")


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_says_how_it_was_made(tmp_path: Path) -> None:
    file = a_file(powers=(3, 1, 1), relays=False, council=False, chain_id=77, timing=TimingFile(empty=700))
    make(tmp_path / "net", file, TIME)
    assert Layout(tmp_path / "net").read() == file


def test_every_home_loads_and_is_complete(layout: Layout) -> None:
    assert [home.path.name for home in layout.homes()] == ["node1", "node2", "node3"]
    for home in layout.homes():
        require_complete(home, home.read())
        assert load_genesis(home.genesis) == load_genesis(layout.genesis)


@pytest.mark.parametrize("secret", SECRETS)
def test_what_is_secret_is_its_owners_alone(layout: Layout, secret: str) -> None:
    assert stat.S_IMODE((layout.directory / secret).stat().st_mode) == 0o600


@pytest.mark.parametrize("folder", ["keys", "nodes/node1/keys"])
def test_folders_of_keys_are_their_owners_alone(layout: Layout, folder: str) -> None:
    assert stat.S_IMODE((layout.directory / folder).stat().st_mode) == 0o700


def test_no_two_ports_are_the_same_and_each_node_has_its_ten(layout: Layout) -> None:
    for number, home in enumerate(layout.homes()):
        first = PORT + number * PORTS_PER_NODE
        ports = list(home.read().ports.values())
        assert len(set(ports)) == 6
        assert all(first <= port < first + PORTS_PER_NODE for port in ports)


def test_every_node_knows_all_others_by_their_own_addresses(layout: Layout) -> None:
    files = [home.read() for home in layout.homes()]
    validators = [bytes(entry.public_key) for entry in load_genesis(layout.genesis).validators]
    for file in files:
        others = [other for other in files if other.name != file.name]
        assert [peer.name for peer in file.peers] == [other.name for other in others]
        for peer, other in zip(file.peers, others, strict=True):
            assert other.edge is not None
            assert peer.member == other.edge.member
            assert peer.validator == validator_address(validators[peer.member - 1]).hex()
            assert peer.p2p.endswith(f"@127.0.0.1:{other.p2p}")
            assert peer.handover == f"127.0.0.1:{other.handover}"
            assert peer.intake == other.intake_url


def test_genesis_names_validators_with_their_powers_and_members_by_their_roles(tmp_path: Path) -> None:
    genesis = make(tmp_path / "net", a_file(powers=(5, 2, 1)), TIME)
    assert [entry.power for entry in genesis.validators] == [5, 2, 1]
    roles = [Role.EDGE_SERVER] * 3 + [Role.CLIENT] * 2 + [Role.SPONSOR]
    assert [entry.role for entry in genesis.members] == roles
    layout = Layout(tmp_path / "net")
    file = layout.read()
    assert (list(file.edges), list(file.client_members), file.sponsor) == ([1, 2, 3], [4, 5], 6)
    for member in (*file.client_members, file.sponsor):
        assert layout.member_key(member).public_key == bytes(genesis.members[member - 1].key)
    for home in layout.homes():
        edge = home.read().edge
        assert edge is not None
        key = keystore.load(home.key, home.password.read_bytes())
        assert key.public_key == bytes(genesis.members[edge.member - 1].key)


def test_nothing_is_overwritten_without_force(layout: Layout) -> None:
    before = everything(layout.directory)
    with pytest.raises(RunDirectoryError, match="holds a testnet already: --force removes it, or name another --dir"):
        make(layout.directory, a_file(), TIME)
    assert everything(layout.directory) == before


def test_force_makes_another_testnet_and_leaves_nothing_of_the_first(layout: Layout) -> None:
    (layout.directory / "supervisor.log").touch()
    before = layout.password.read_bytes()
    make(layout.directory, a_file(validators=1), TIME, force=True)
    assert [home.path.name for home in layout.homes()] == ["node1"]
    assert layout.password.read_bytes() != before
    assert not layout.log.exists()
    assert [path.name for path in layout.directory.parent.iterdir()] == ["net"]


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_that_holds_something_else_is_never_removed(tmp_path: Path, *, force: bool) -> None:
    (tmp_path / "thesis.tex").write_text("three years of work")
    with pytest.raises(RunDirectoryError, match="is not empty"):
        make(tmp_path, a_file(), TIME, force=force)
    assert everything(tmp_path) == {"thesis.tex": b"three years of work"}


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    make(tmp_path, a_file(), TIME)
    assert len(Layout(tmp_path).homes()) == 3


class CrashError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("number", [1, 3, 5, 7])
def test_a_crash_in_the_middle_leaves_nothing_that_is_taken_for_a_testnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    seen = 0
    save = keystore.save

    def dies(*arguments: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise CrashError
        save(*arguments)  # type: ignore[arg-type] # handed through

    with monkeypatch.context() as short_lived:
        short_lived.setattr(keystore, "save", dies)
        short_lived.setattr(layouts.shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
        with pytest.raises(CrashError):
            make(tmp_path / "net", a_file(), TIME)
    with pytest.raises(RunDirectoryError, match="holds no testnet: make one with `merit testnet init`"):
        Layout(tmp_path / "net").read()
    make(tmp_path / "net", a_file(), TIME)
    assert len(Layout(tmp_path / "net").homes()) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_crash_while_a_testnet_is_replaced_leaves_the_old_one_or_none(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one is moved away before anything of it is removed: half of it is never found in its place."""
    begun = False

    def dies(path: Path, **_: object) -> None:
        nonlocal begun
        if Path(path).exists():  # there was something to remove
            begun = True
            raise CrashError

    with monkeypatch.context() as short_lived:
        short_lived.setattr(layouts.shutil, "rmtree", dies)
        with pytest.raises(CrashError):
            make(layout.directory, a_file(validators=1), TIME, force=True)
    assert begun
    for home in layout.homes():
        require_complete(home, home.read())
    make(layout.directory, a_file(), TIME, force=True)
    assert [path.name for path in layout.directory.parent.iterdir()] == ["net"]


def test_the_working_directory_may_become_a_testnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path(), a_file(), TIME)
    assert len(Layout(tmp_path).homes()) == 3


@pytest.mark.parametrize("powers", [(1,), (1, 2), (1, 1, 1, 1)])
def test_powers_are_named_for_every_validator_or_for_none(tmp_path: Path, powers: tuple[int, ...]) -> None:
    with pytest.raises(RunDirectoryError, match=f"{len(powers)} powers for 3 validators: name one for each"):
        make(tmp_path / "net", a_file(powers=powers), TIME)
    assert list(tmp_path.iterdir()) == []


def test_ports_beyond_the_last_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="64 validators from port 65000 on need ports up to 65639"):
        make(tmp_path / "net", a_file(validators=64, port=65_000), TIME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("validatrs = 4", "unknown key validatrs; the nearest valid one is validators"),
        ("[timing]\nempy = 700", "unknown key timing.empy; the nearest valid one is timing.empty"),
        ("[snapshots]\neach = 5", "unknown key snapshots.each"),
        ("validators = 0", "at validators"),
        ("validators = 65", "at validators"),
        ("port = 80", "at port"),
        ('relays = "yes"', "at relays"),
        ("validators = ", "Invalid value (at end of document)"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_place(layout: Layout, line: str, told: str) -> None:
    layout.file.write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        layout.read()
    assert told in str(caught.value)
    assert str(layout.file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_the_first_port_is_one_from_which_all_are_free(taken: int) -> None:
    first = taken - 15
    base = free_port_base(2, first)
    assert base >= first
    assert (base - first) % 20 == 0
    assert not base <= taken < base + 20
    for port in range(base, base + 20):
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_without_enough_free_ports_nothing_is_chosen() -> None:
    with pytest.raises(RunDirectoryError, match="no 40 free ports in a row from 60000 on"):
        free_port_base(4, 60_000)


def test_one_more_node_knows_all_and_all_know_it(layout: Layout) -> None:
    edge, validator = SigningKey.generate(Scheme.ML_DSA_44), SigningKey.generate(Scheme.ML_DSA_65)
    before = [home.read() for home in layout.homes()]
    sync = SyncFile(servers=("127.0.0.1:1", "127.0.0.1:2"), height=5, hash="ab" * 32)
    home = add_node(layout, 9, sync, edge, validator, time=TIME)
    file = home.read()
    require_complete(home, file)
    assert [one.path.name for one in layout.homes()] == ["node1", "node2", "node3", "node4"]
    assert file.sync == sync
    assert file.edge is not None
    assert file.edge.member == 9
    assert keystore.load(home.key, home.password.read_bytes()).public_key == edge.public_key
    assert {peer.name: peer for peer in file.peers} == {peer.name: peer for old in before for peer in old.peers}, (
        "as the others know each other"
    )
    for old, new in zip(before, layout.homes(), strict=False):
        assert new.read().peers[:-1] == old.peers
        added = new.read().peers[-1]
        assert (added.name, added.member) == ("node4", 9)
        assert added.validator == validator_address(validator.public_key).hex()
        assert added.p2p.endswith(f"@127.0.0.1:{file.p2p}")
    assert not set(file.ports.values()) & {port for old in before for port in old.ports.values()}


@pytest.fixture
def secure(tmp_path: Path) -> Layout:
    assert cli.main(["testnet", "init", "--tls", "--validators", "2", "--clients", "1", "--dir", str(tmp_path)]) == 0
    return Layout(tmp_path)


def test_without_tls_there_are_no_certificates(layout: Layout) -> None:
    homes = layout.homes()
    assert not any(path.exists() for one in homes for path in (one.tls_key, one.tls_certificate, one.trusted))
    assert not layout.certificates.exists()


def test_with_tls_peers_and_clients_are_sent_to_https(secure: Layout) -> None:
    files = [home.read() for home in secure.homes()]
    assert all(file.clients_url.startswith("https://127.0.0.1:") for file in files)
    assert len({port for file in files for port in file.ports.values()}) == 2 * 7
    for file in files:
        others = [other.clients_url for other in files if other.name != file.name]
        assert [peer.intake for peer in file.peers] == others


def test_with_tls_every_home_proves_itself_to_all_others_and_to_clients(secure: Layout) -> None:
    for home in secure.homes():
        require_complete(home, home.read())
        context_of(home.tls_key, home.tls_certificate, home.password.read_bytes())
    own = [certificates.read(home.tls_certificate) for home in secure.homes()]
    assert all(certificates.speaks_for(one[0], "127.0.0.1") for one in own)
    for bundle in (secure.certificates, *(home.trusted for home in secure.homes())):
        assert certificates.read(bundle) == own[0] + own[1]


def test_who_joins_under_tls_is_believed_by_all(secure: Layout) -> None:
    edge, validator = SigningKey.generate(Scheme.ML_DSA_44), SigningKey.generate(Scheme.ML_DSA_65)
    home = add_node(secure, 9, None, edge, validator, time=SystemClock().now())
    require_complete(home, home.read())
    (new,) = certificates.read(home.tls_certificate)
    assert secure.home(1).read().peers[-1].intake == home.read().clients_url
    for bundle in (secure.certificates, *(one.trusted for one in secure.homes())):
        assert new in certificates.read(bundle)


def test_replaced_keys_lie_beside_the_old_ones_and_open_with_the_same_password(layout: Layout) -> None:
    home = layout.home(2)
    old = keystore.load(home.key, home.password.read_bytes())
    config = home.comet / "config"
    old_validator = json.loads((config / "priv_validator_key.json").read_bytes())
    edge, validator = SigningKey.generate(Scheme.ML_DSA_44), SigningKey.generate(Scheme.ML_DSA_65)
    replace_keys(home, edge, validator)
    assert keystore.load(home.key, home.password.read_bytes()).public_key == edge.public_key
    kept = home.key.with_name("edge.pem.old")
    assert keystore.load(kept, home.password.read_bytes()).public_key == old.public_key
    new_validator = json.loads((config / "priv_validator_key.json").read_bytes())
    assert new_validator["address"].lower() == validator_address(validator.public_key).hex()
    assert json.loads((config / "priv_validator_key.json.old").read_bytes()) == old_validator
    for path in (home.key, kept, config / "priv_validator_key.json", config / "priv_validator_key.json.old"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    require_complete(home, home.read())


# -- the commands ------------------------------------------------------------------------------------------------------


def test_init_says_where_the_testnet_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["testnet", "init", "--dir", str(tmp_path / "net"), "--validators", "2", "--clients", "0"]
    assert cli.main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["directory"], said["validators"]) == (str(tmp_path / "net"), 2)
    assert cli.main(arguments) == 2
    assert "--force removes it" in capsys.readouterr().err
    assert cli.main([*arguments, "--force"]) == 0
    assert "`merit testnet start` starts it" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["start"], ["status"], ["stop"], ["logs", "node1"], ["perturb", "node1", "kill"]])
def test_where_no_testnet_is_every_command_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main(["testnet", *command, "--dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"merit: {tmp_path} holds no testnet: make one with `merit testnet init`\n"


def test_before_the_first_start_there_are_no_logs(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["testnet", "logs", "node1", "--dir", str(layout.directory)]) == 2
    assert "nothing was written yet; start the testnet first" in capsys.readouterr().err


def test_without_cometbft_start_says_what_brings_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("chain.engines.cometbft.binary.LOCAL", Path("no/such/place"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for options in ([], ["--detach"]):
        assert cli.main(["testnet", "start", "--dir", str(layout.directory), *options]) == 2
        said = capsys.readouterr().err
        assert said == "merit: cometbft is neither under no/such/place nor on PATH: run `merit testnet install`\n"


def test_a_path_too_long_for_the_socket_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chain.engines.cometbft.binary.find", lambda: Path("cometbft"))
    directory = tmp_path / ("deep" * 25)
    make(directory, a_file(validators=1), TIME)
    assert cli.main(["testnet", "start", "--dir", str(directory)]) == 2
    assert "longer than the 107 bytes of a socket's name; use a shorter --dir" in capsys.readouterr().err
    assert not (directory / "nodes" / "node1" / "logs").exists()
