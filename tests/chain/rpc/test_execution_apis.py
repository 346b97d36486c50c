"""The request and response files of execution-apis, answered by Merit's methods over the chain that comes with them.

Compared are whole answers, errors with their words. `DIFFERENT` is the ledger of those that differ, and why.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import ROOT

WORDS = "the same code, our words: they name the parameter"
ABSENT = "-32601: "
BUILDING = ABSENT + "blocks are made by consensus, not on request"

DIFFERENT = {
    "debug_getRawBlock/get-invalid-number": WORDS,
    "debug_getRawHeader/get-invalid-number": WORDS,
    "debug_getRawReceipts/get-invalid-number": WORDS,
    "debug_getRawTransaction/get-invalid-hash": WORDS,
    "debug_traceBlockByNumber/trace-block-invalid-number": WORDS,
    "eth_getLogs/filter-error-invalid-blockHash-and-range": WORDS,
    "eth_capabilities/get-capabilities": "this node never deletes logs, so it names no strategy for it",
    "eth_config/get-config": ABSENT + "forks by block and time (EIP-7910) are not how this ledger upgrades",
    "eth_estimateGas/estimate-with-eip7702": "the ledger never takes type 4, so no gas is counted for authorizations",
    "testing_buildBlockV1": BUILDING,
    "txpool_content/get-content": "the transaction with blobs is shown too, which geth keeps in a pool of its own",
}
"""File, or method for all of its files -> why the answer differs."""

FILES = 233
WITHOUT_SCHEMA = {
    "eth_simulateV1/ethSimulate-run-out-of-gas-in-block-38015",
    "eth_simulateV1/ethSimulate-use-as-many-features-as-possible",
}
"""Files whose own answers break the schema: the words of an error, "out of gas" for "vm execution error"."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "vectors" / "execution-apis"


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, list[Any]]:
    """Ask everything in a process of its own: py-evm's tables are shared by all that change them."""
    files = conversations(folder)
    asked = [request for talk in files.values() for request, _ in talk]
    command = [sys.executable, "-m", "tests.chain.rpc.mainnet", str(folder / "prague")]
    done = subprocess.run(  # noqa: S603 - our own program
        command, input="\n".join(asked), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    given = iter(map(json.loads, done.stdout.splitlines()))
    return {name: [next(given) for _ in talk] for name, talk in files.items()}


@pytest.fixture(scope="module")
def schemas(folder: Path) -> dict[str, Draft202012Validator]:
    document = json.loads((folder / "openrpc.json").read_text())
    return {
        method["name"]: Draft202012Validator(method["result"]["schema"] | {"components": document["components"]})
        for method in document["methods"]
    }


def conversations(folder: Path) -> dict[str, list[tuple[str, Any]]]:
    """Read the files: name -> requests as text and the answers expected, in turn."""
    found = {}
    for file in sorted((folder / "prague").glob("*/*.io")):
        lines = file.read_text().splitlines()
        asked = [line[3:] for line in lines if line.startswith(">> ")]
        answers = [json.loads(line[3:]) for line in lines if line.startswith("<< ")]
        found[f"{file.parent.name}/{file.stem}"] = list(zip(asked, answers, strict=True))
    return found


def reason(name: str) -> str | None:
    return DIFFERENT.get(name) or DIFFERENT.get(name.partition("/")[0])


def test_all_answers_are_exact_but_those_in_the_ledger(answers: dict[str, list[Any]], folder: Path) -> None:
    wrong, exact = {}, 0
    files = conversations(folder)
    for name, talk in files.items():
        given, expected = answers[name], [answer for _, answer in talk]
        exact += given == expected
        if given == expected and reason(name) is not None and name in DIFFERENT:
            wrong[name] = "is in the ledger and does not differ"
        if given != expected and reason(name) is None:
            wrong[name] = f"{given} instead of {expected}"
        if reason(name) == WORDS:
            assert given[0]["error"]["code"] == expected[0]["error"]["code"], name
        if (reason(name) or "").startswith(ABSENT):
            assert any(answer.get("error", {}).get("code") == -32601 for answer in given), name
    assert not wrong
    assert (exact, len(files)) == (EXACT, FILES)


EXACT = 219


def test_results_keep_the_schema(
    answers: dict[str, list[Any]], folder: Path, schemas: dict[str, Draft202012Validator]
) -> None:
    checked = 0
    for name, talk in conversations(folder).items():
        for (asked, _), answer in zip(talk, answers[name], strict=True):
            request = json.loads(asked)
            if "result" in answer and request["method"] in schemas and name not in WITHOUT_SCHEMA:
                problems = [error.message[:300] for error in schemas[request["method"]].iter_errors(answer["result"])]
                assert not problems, name
                checked += 1
    assert checked > 180
