"""A home that cannot be used is refused in one line that says what to do."""

import socket
import stat
from pathlib import Path

import msgspec
import pytest

from chain.errors import GenesisError, KeyFileOpenError, VersionError
from chain.genesis import load_genesis
from chain.rpc.access import Access
from node.errors import ConfigError, HomeError, RunDirectoryError
from node.machine.checks import require_complete, require_free_ports
from node.machine.home import NodeHome

SECRETS = ["comet/config/priv_validator_key.json", "comet/config/node_key.json", "keys/edge.pem", "keys/password"]


def test_a_new_home_is_complete(home: NodeHome) -> None:
    require_complete(home, home.read())
    require_free_ports(home, home.read())


def test_there_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such node home; make one with `merit testnet init`"):
        NodeHome(tmp_path / "nowhere").read()


def test_who_may_ask_from_elsewhere_is_read_from_the_file_and_nonsense_is_refused(home: NodeHome) -> None:
    assert home.read().access.access() == Access()
    whole = home.file.read_text()
    assert "[access]" in whole
    without = whole.replace("hosts = []", "").replace("origins = []", "")
    home.file.write_text(
        without.replace("[access]", '[access]\norigins = ["https://app.example.org"]\nhosts = ["gate"]')
    )
    assert home.read().access.access() == Access(frozenset({"gate"}), frozenset({"https://app.example.org"}))
    home.file.write_text(without.replace("[access]", '[access]\norigins = ["*"]'))
    with pytest.raises(ConfigError, match=r"node.toml: '\*' is no origin: give scheme and host.*access"):
        home.read()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("open_to", [stat.S_IRGRP, stat.S_IROTH, stat.S_IWGRP])
def test_a_key_that_others_can_use_is_refused_with_the_command_that_closes_it(
    home: NodeHome, secret: str, open_to: int
) -> None:
    path = home.path / secret
    path.chmod(0o600 | open_to)
    with pytest.raises(KeyFileOpenError, match=f"run `chmod 600 {path}`"):
        require_complete(home, home.read())


@pytest.mark.parametrize("part", ["comet/config/genesis.json", "comet/config/node_key.json", "keys/edge.pem"])
def test_a_missing_part_is_named(home: NodeHome, part: str) -> None:
    (home.path / part).unlink()
    with pytest.raises(HomeError, match=f"{home.path / part} is missing"):
        require_complete(home, home.read())


def test_a_missing_genesis_document_is_named(home: NodeHome) -> None:
    home.genesis.unlink()
    with pytest.raises(GenesisError, match="No such file or directory; name the genesis file"):
        require_complete(home, home.read())


def test_a_home_with_the_genesis_document_of_another_chain_is_refused(home: NodeHome) -> None:
    document = load_genesis(home.genesis)
    msgspec.structs.replace(document, chain_id=document.chain_id + 1).save(home.genesis)
    with pytest.raises(HomeError, match=r"is of another chain than .*genesis\.json: put the right one back"):
        require_complete(home, home.read())


def test_a_home_of_a_newer_program_asks_for_that_program(home: NodeHome) -> None:
    document = msgspec.json.decode(home.genesis.read_bytes())
    document["versions"]["execution"] = 9
    home.genesis.write_bytes(msgspec.json.encode(document))
    with pytest.raises(VersionError, match="install a newer merit-ledger"):
        require_complete(home, home.read())


@pytest.mark.parametrize("name", ["p2p", "comet", "rpc", "handover", "edge.port"])
def test_a_port_in_use_is_named_with_its_key(home: NodeHome, name: str) -> None:
    file = home.read()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what used it before may just have ended
        holder.bind(("127.0.0.1", file.ports[name]))
        holder.listen()
        with pytest.raises(HomeError, match=f"port {file.ports[name]} cannot be used .* change {name} in "):
            require_free_ports(home, file)
