"""Homes and the program: what is written for CometBFT, and which program is taken."""

import base64
import hashlib
import stat
import tomllib
from pathlib import Path

import msgspec
import pytest

from chain.engines.cometbft import binary
from chain.engines.cometbft.home import NodeKey, Places, StateSync, Timing, write_configuration, write_home
from chain.engines.errors import CometBinaryError
from chain.light import validator_address
from chain.limits import BLOCK_BYTES
from tests.chain.engines.cometbft.test_bridge import VALIDATORS, document

PLACES = Places("abci.sock", "127.0.0.1:1", "127.0.0.1:2", ("id@127.0.0.1:3",))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_home(tmp_path / "comet", document(), VALIDATORS[0], NodeKey(bytes(32)), "one")
    return tmp_path / "comet"


def test_the_validators_key_is_the_expanded_key_of_its_seed_and_nobody_elses_to_read(home: Path) -> None:
    path = home / "config" / "priv_validator_key.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = msgspec.json.decode(path.read_bytes())
    public = VALIDATORS[0].public_key
    assert base64.b64decode(content["pub_key"]["value"]) == public
    assert content["address"] == validator_address(public).hex().upper()
    secret = base64.b64decode(content["priv_key"]["value"])
    assert len(secret) == 4032
    assert secret[:32] == public[:32]  # FIPS 204, algorithm 24: both begin with rho


def test_the_node_id_is_the_hash_of_its_public_key(home: Path) -> None:
    path = home / "config" / "node_key.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = base64.b64decode(msgspec.json.decode(path.read_bytes())["priv_key"]["value"])[32:]
    assert NodeKey(bytes(32)).id == hashlib.sha256(public).hexdigest()[:40]


def test_the_genesis_file_names_ml_dsa_65_and_the_ledgers_own_bounds(home: Path) -> None:
    genesis = msgspec.json.decode((home / "config" / "genesis.json").read_bytes())
    assert genesis["consensus_params"]["validator"]["pub_key_types"] == ["ml_dsa_65"]
    assert genesis["consensus_params"]["block"]["max_bytes"] == str(BLOCK_BYTES)
    assert {entry["pub_key"]["type"] for entry in genesis["validators"]} == {"cometbft/PubKeyMlDsa65"}
    assert genesis["genesis_time"] == "2023-11-14T22:13:20Z"


def test_the_configuration_listens_on_the_loopback_interface_only(home: Path) -> None:
    write_configuration(home, PLACES, Timing(empty=7_000))
    content = tomllib.loads((home / "config" / "config.toml").read_text(encoding="utf-8"))
    assert content["rpc"]["laddr"] == "tcp://127.0.0.1:2"
    assert content["p2p"]["laddr"] == "tcp://127.0.0.1:1"
    assert content["p2p"]["persistent_peers"] == "id@127.0.0.1:3"
    assert content["consensus"]["create_empty_blocks_interval"] == "7000ms"
    assert "statesync" not in content


def test_a_new_nodes_configuration_says_where_it_starts_from(home: Path) -> None:
    write_configuration(home, PLACES, Timing(), StateSync(("127.0.0.1:9", "127.0.0.1:8"), 77, b"\xab" * 32))
    sync = tomllib.loads((home / "config" / "config.toml").read_text(encoding="utf-8"))["statesync"]
    assert (sync["enable"], sync["trust_height"], sync["trust_hash"]) == (True, 77, "ab" * 32)
    assert sync["rpc_servers"] == "127.0.0.1:9,127.0.0.1:8"


def program(path: Path, version: str | None) -> Path:
    line = f"mod\tgithub.com/cometbft/cometbft\t{version}\th1:x=\n" if version else "nothing of the kind"
    path.write_bytes(b"\x7fELF" + bytes(1000) + line.encode() + bytes(1000))
    path.chmod(0o755)
    return path


def test_the_version_is_the_one_that_go_wrote_into_the_program(tmp_path: Path) -> None:
    assert binary.version_of(program(tmp_path / "cometbft", "v0.40.0")) == "v0.40.0"


@pytest.mark.parametrize(
    ("version", "line"),
    [("v0.38.17", "is CometBFT v0.38.17, this ledger needs v0.40.0"), (None, "does not say which CometBFT it is")],
)
def test_another_program_is_refused_with_what_to_do(tmp_path: Path, version: str | None, line: str) -> None:
    with pytest.raises(CometBinaryError, match=f"{line}.*merit testnet install"):
        binary.checked(program(tmp_path / "cometbft", version))


def test_without_the_program_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(binary, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(CometBinaryError, match=r"neither under \.merit/bin nor on PATH: run `merit testnet install`"):
        binary.find()
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "cometbft", "v0.40.1")
    assert binary.find() == tmp_path / "bin" / "cometbft"


def test_without_go_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CometBinaryError, match="Go is not installed, which builds CometBFT: install Go"):
        binary.install(tmp_path)


def test_a_go_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(CometBinaryError, match="go install left with status 3"):
        binary.install(tmp_path / "bin")
