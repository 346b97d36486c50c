"""Deploys, calls, sends and reads with titanoboa, whose import changes py-evm: a process of its own.

The URL, a private key and the contract come as JSON on standard input; what it saw leaves as JSON on standard output.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import boa
from eth_account import Account


def failure(call: Callable[[], object]) -> str:
    try:
        call()
    except boa.BoaError as error:
        return str(error)
    return ""


def main() -> None:
    given = json.load(sys.stdin)
    factory = boa.loads_partial((Path(__file__).parent / "Probe.vy").read_text())
    with contextlib.redirect_stdout(sys.stderr), boa.set_network_env(given["url"]):
        boa.env.add_account(Account.from_key(given["key"]), force_eoa=True)
        probe = factory.deploy(3)
        started = probe.kept()
        probe.change(41)
        [log] = probe.get_logs()
        named = boa.loads_abi(json.dumps(given["abi"]), name="Probe").at(probe.address)
        seen = {
            "address": probe.address,
            "started": started,
            "kept": probe.kept(),
            "named": named.kept(),
            "log": log.amount,
            "survived": probe.survive(probe.address),
            **{name: failure(getattr(probe, name)) for name in ("refuse", "refuse_with_error", "panic")},
        }
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
