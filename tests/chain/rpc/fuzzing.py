"""Requests made from the schema of execution-apis, right ones and wrong ones, thrown at a node.

    python -m tests.chain.rpc.fuzzing OPENRPC.json --seed 1 --count 100000

prints how many were answered with a result or with an error of which code, and how long the slowest took. It ends with
1 when an answer is no JSON-RPC answer or an internal error (-32603), or took longer than `LONGEST_S`.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from chain.rpc.dispatcher import Dispatcher
from contracts import addresses
from merit.chance import seeded
from merit.clock import SystemClock
from tests.chain.rpc.harness import Background

if TYPE_CHECKING:
    import random  # noqa: TID251 - the type of what `seeded` returns

LONGEST_S = 30.0
WRONG = 0.15  # how often a value is none that its schema allows
LENGTHS = (0, 1, 2, 7, 8, 16, 32, 40, 63, 64, 65, 96, 130, 192, 512)
TAGS = ("latest", "earliest", "pending", "safe", "finalized")
DEEPEST = 9  # blocks, calls and access lists of eth_simulateV1 go down to there


@dataclass(slots=True)
class Report:
    """What became of the requests: `result`, or the error's code -> how many; what must not be, and the slowest."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


class Maker:
    """Makes requests; the same seed makes the same ones.

    Args:
        document: the OpenRPC document.
        methods: what the node answers; those without a schema get parameters of any kind.
        known: texts that mean something to the node: addresses, hashes.
        random: where chance comes from.

    """

    def __init__(
        self, document: Mapping[str, Any], methods: Sequence[str], known: Sequence[str], random: "random.Random"
    ) -> None:
        self._schemas = document["components"]["schemas"]
        self._params = {
            method["name"]: [part["schema"] for part in method["params"]]
            for method in document["methods"]
            if all("schema" in part for part in method["params"])
        }
        self._methods, self._known, self._random = list(methods), list(known), random

    def request(self) -> dict[str, Any]:
        """Make one request."""
        chance, method = self._random.random, self._random.choice(self._methods)
        schemas = self._params.get(method)
        if schemas is None:
            params = [self._anything(0) for _ in range(self._random.randrange(4))]
        else:
            params = [self._value(schema, 0) for schema in schemas]
            if chance() < WRONG:
                params = params[: self._random.randrange(len(params) + 1)]
            if chance() < WRONG / 3:
                params.append(self._anything(0))
        return {"jsonrpc": "2.0", "id": self._random.randrange(1 << 30), "method": method, "params": params}

    def _value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > DEEPEST or self._random.random() < WRONG / (depth + 1) ** 2:
            return self._anything(depth)
        if "$ref" in schema:
            return self._value(self._schemas[schema["$ref"].rsplit("/", 1)[1]], depth)
        for key in ("oneOf", "anyOf"):
            if key in schema:
                return self._value(self._random.choice(schema[key]), depth)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        if "allOf" in schema:
            parts = [self._value(part, depth + 1) for part in schema["allOf"]]
            return {key: item for part in parts if isinstance(part, dict) for key, item in part.items()}
        match schema.get("type"):
            case "string":
                return self._text(schema.get("pattern"))
            case "boolean":
                return self._random.random() < 1 / 2
            case "integer" | "number":
                return self._random.choice([0, 1, 2, 50, 99.5, 100, 1_024])
            case "array":
                items = schema.get("items")
                if items is None and "properties" in schema:  # as the document describes eth_simulateV1's blocks
                    items = {"properties": schema["properties"]}
                return [self._value(items, depth + 1) for _ in range(self._random.randrange(4))]
            case "null":
                return None
            case _:
                return self._object(schema, depth)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        needed = set(schema.get("required", ()))
        made = {
            name: self._value(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in needed or self._random.random() < 1 / 3
        }
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict):
            made |= {self._random.choice(self._known): self._value(inner, depth + 1) for _ in range(2)}
        for pattern, inner in schema.get("patternProperties", {}).items():
            made |= {self._text(pattern): self._value(inner, depth + 1) for _ in range(self._random.randrange(3))}
        return made

    def _text(self, pattern: str | None) -> str:
        texts = [*self._known, *TAGS, *map(self._hexadecimal, LENGTHS), *map(hex, (0, 1, 5, 1 << 20, 1 << 64))]
        fitting = [text for text in texts if pattern is None or re.fullmatch(pattern, text)]
        return self._random.choice(fitting or texts)

    def _hexadecimal(self, digits: int) -> str:
        return "0x" + "".join(self._random.choices("0123456789abcdef", k=digits))

    def _anything(self, depth: int) -> Any:
        kind = self._random.randrange(10 if depth < DEEPEST else 7)
        match kind:
            case 0:
                return None
            case 1:
                return self._random.choice([True, False, 0, -1, 1.5, 2**63, 10**40])
            case 2:
                return self._random.choice(["", "0x", "0X0", "0xzz", "\0", "0x 0", "ü", "9" * 300, "latest "])
            case 3 | 4 | 5 | 6:
                return self._text(None)
            case 7:
                return [self._anything(depth + 1) for _ in range(self._random.randrange(4))]
            case _:
                names = ("to", "from", "data", "gas", "topics", "blockHash", "tracer", "state", "0x0", *self._known[:2])
                return {self._random.choice(names): self._anything(depth + 1) for _ in range(self._random.randrange(4))}


def known_to(running: Background) -> list[str]:
    """Addresses and hashes that a network knows."""
    found = [f"0x{address.hex()}" for address in (addresses.TOKEN, addresses.LEDGER, addresses.REGISTRY)]
    found += [account.address.lower() for account in running.network.accounts()]
    reader = running.network.application().reader()
    for number in range(reader.latest() + 1):
        block = reader.block(number)
        found.append(f"0x{block.hash.hex()}")
        found += [f"0x{receipt.hash.hex()}" for receipt in reader.receipts(number)]
    return found


def fuzz(dispatcher: Dispatcher, maker: Maker, count: int) -> Report:
    """Throw `count` requests at a dispatcher."""
    report, clock = Report(), SystemClock()
    for _ in range(count):
        request = json.dumps(maker.request())
        began = clock.monotonic()
        try:
            answer = json.loads(dispatcher.handle_body(request.encode()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            report.failures.append(f"{request}: {error!r}")
            continue
        report.slowest_s = max(report.slowest_s, clock.monotonic() - began)
        code = str(answer["error"]["code"]) if "error" in answer else "result"
        report.answers[code] += 1
        if code == "-32603" or set(answer) - {"jsonrpc", "id", "result", "error"}:
            report.failures.append(f"{request}: {answer}")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("openrpc", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        running = Background(Path(folder), validators=1, classical=True, accounts=2)
        try:
            dispatcher = running.network.dispatcher()
            document = json.loads(chosen.openrpc.read_text())
            maker = Maker(document, dispatcher.methods, known_to(running), seeded(chosen.seed, "fuzzing"))
            report = fuzz(dispatcher, maker, chosen.count)
        finally:
            running.stop()
    print(json.dumps({"seed": chosen.seed, "answers": report.answers, "slowest_s": round(report.slowest_s, 3)}))  # noqa: T201 - a program
    for failure in report.failures:
        print(failure, file=sys.stderr)  # noqa: T201 - as above
    return int(bool(report.failures) or report.slowest_s > LONGEST_S)


if __name__ == "__main__":
    sys.exit(main())
