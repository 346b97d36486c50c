"""`merit up` as its users run it: a process of its own."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from node import cli


@contextmanager
def up(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "node.cli", "up", "--dir", str(directory), "--port", "0", *options]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def document(process: subprocess.Popen[str]) -> Any:
    """The one JSON document that --json prints when the network answers."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise AssertionError(process.communicate())


def lines_until(process: subprocess.Popen[str], what: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if what in line:
            return text
    message = f"{what!r} never came: {text} {process.communicate()}"
    raise AssertionError(message)


def pay(w3: Web3, private_key: str) -> Any:
    account = Account.from_key(private_key)
    signed = account.sign_transaction(
        {
            "chainId": w3.eth.chain_id,
            "nonce": w3.eth.get_transaction_count(account.address),
            "gas": 21_000,
            "gasPrice": 0,
            "to": account.address,
            "value": 1,
        }
    )
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction), 20, 0.02)


def test_a_killed_network_goes_on_at_the_height_that_it_had_decided(tmp_path: Path) -> None:
    with up(tmp_path, "--classical", "--validators", "4", "--chain-id", "99", "--json") as process:
        said = document(process)
        w3 = Web3(HTTPProvider(said["rpc"]))
        for _ in range(3):
            assert pay(w3, said["accounts"][0]["private_key"]).status == 1
        newest = w3.eth.get_block("latest")
        process.send_signal(signal.SIGKILL)
    with up(tmp_path, "--json") as process:
        again = document(process)
        assert again["genesis_hash"] == said["genesis_hash"]
        assert (again["chain_id"], again["validators"], again["block"]) == (99, 4, 3)
        assert again["height"] >= 3, "a pause of two seconds adds a height without a block"
        w3 = Web3(HTTPProvider(again["rpc"]))
        assert w3.eth.get_block("latest") == newest
        assert pay(w3, again["accounts"][1]["private_key"]).blockNumber == 4
        process.terminate()
        assert process.wait(20) == 0


def test_the_banner_names_everything_and_each_block_gets_a_line(tmp_path: Path) -> None:
    funded = "0x" + "Ab" * 20
    with up(
        tmp_path, "--empty-blocks", "--block-time", "0.1", "--validators", "1", "--fund", f"{funded}=1.5"
    ) as process:
        banner = lines_until(process, "Transactions are signed with ML-DSA")
        for word in (
            "http://127.0.0.1:",
            "19781 (0x4d45)",
            "Genesis hash  0x",
            "4d03",
            "keys/governor.pem",
            str(tmp_path),
        ):
            assert word in banner
        line = lines_until(process, "block 2").splitlines()[-1]
        assert line.startswith("height 2  block 2  0 tx  0 gas  0x")
        assert line.endswith(" UTC")
        url = next(word for word in banner.split() if word.startswith("http://"))
        assert Web3(HTTPProvider(url)).eth.get_balance(Web3.to_checksum_address(funded.lower())) == 15 * 10**17
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert "stopped" in process.stdout.read()


def test_the_operator_opens_accounts_and_names_who_may_ask(tmp_path: Path) -> None:
    page, json_type = "https://app.example.org", {"Content-Type": "application/json"}
    options = ["--classical", "--unlocked", "--validators", "1", "--allow-origin", page, "--allow-host", "node.example"]
    with up(tmp_path, *options, "--json") as process:
        said = document(process)
        headers = json_type | {"Origin": page, "Host": "node.example"}
        w3 = Web3(HTTPProvider(said["rpc"], request_kwargs={"headers": headers}))
        sender, other = w3.eth.accounts[:2]
        sent = w3.eth.send_transaction({"from": sender, "to": other, "value": Web3.to_wei(1, "ether")})
        assert w3.eth.wait_for_transaction_receipt(sent, 20, 0.02)["status"] == 1
        assert w3.eth.get_balance(other) == Web3.to_wei(10_001, "ether")
        headers = json_type | {"Origin": "https://other.example"}
        stranger = Web3(HTTPProvider(said["rpc"], request_kwargs={"headers": headers}))
        assert not stranger.is_connected()


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["up", "--dir", str(tmp_path), "--validators", "1", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"merit: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another port\n"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--fund", "0x12=1"], "merit: --fund 0x12=1: expected ADDRESS=AMOUNT"),
        (["--fund", "0x" + "ab" * 20], "expected ADDRESS=AMOUNT"),
        (["--fund", "0x" + "ab" * 20 + "=-1"], "expected ADDRESS=AMOUNT"),
        (["--validators", "0"], "merit: Invalid value for '--validators': "),
        (["--port", "65536"], "merit: Invalid value for '--port': "),
        (["--block-time", "nan"], "--block-time"),
        (["--dir", "/dev/null/net"], "/dev/null/net"),
        (["--validatros", "1"], "--validators"),
        (["--allow-origin", "*"], "merit: '*' is no origin"),
        (["--allow-host", "http://node"], "merit: 'http://node' is no host"),
        (["--unlocked", "--validators", "1"], "has no classical accounts; --classical makes some"),
    ],
)
def test_what_a_user_can_do_wrong_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    assert cli.main(["up", "--dir", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
