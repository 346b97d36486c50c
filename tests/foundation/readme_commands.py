"""Every command of every README, how it is proven, and the shell in which a newcomer types it.

A command is a line of an ```sh block, or what follows `$ ` in a block without a language; lines that belong together
(a backslash at the end, a here-document, a loop) are one. `PROOFS` says of each how it is proven:

- `Runs`: a scenario executes it as it stands, but for what the scenario substitutes (ports, directories), and for
  `instead`, a shorter form of what would take hours or come from elsewhere;
- `Checked`: it is not executed, for the reason given; the real argument parser takes it, manifests are read whole.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.conftest import ROOT

BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMENT: Final = re.compile(r"\s+#\s.*$")
HERE: Final = re.compile(r"<<'(\w+)'")
LISTED: Final = subprocess.run(["git", "ls-files", "*README.md"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - as scripts do
READMES: Final = LISTED.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("README.md")]


@dataclass(frozen=True)
class Command:
    """A command of a README, as it is written there; `key` is its first line without continuation and comment."""

    readme: str
    text: str

    @property
    def key(self) -> str:
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        return COMMENT.sub("", joined.splitlines()[0]).strip()

    @property
    def typed(self) -> str:
        """What is typed: all of it, without the comment behind a single line."""
        return self.text if "\n" in self.text else self.key

    @property
    def lines(self) -> list[str]:
        """Its simple commands: for a loop, those within it."""
        joined = HERE.split(re.sub(r"\s*\\\n\s*", " ", self.text))[0]
        return [COMMENT.sub("", line).removesuffix("&").strip() for line in joined.splitlines()]


def commands() -> list[Command]:
    """Return every command of every README, in order."""
    found = []
    for readme in READMES:
        for language, body in BLOCK.findall((ROOT / readme).read_text(encoding="utf-8")):
            if language == "sh":
                found += [Command(readme, text) for text in _whole(body)]
            elif not language:
                found += [Command(readme, line[2:]) for line in body.splitlines() if line.startswith("$ ")]
    return found


def _whole(script: str) -> Iterator[str]:
    """Yield the commands of a script, each with all of its lines."""
    waiting: list[str] = []
    for line in script.splitlines():
        waiting.append(line)
        text = "\n".join(waiting)
        here = HERE.search(text)
        open_loop = text.startswith("for ") and not line.startswith("done")
        if line.endswith("\\") or open_loop or (here and line != here[1]):
            continue
        if text.strip():
            yield text
        waiting = []
    assert not waiting, f"a command without its end: {waiting}"


@dataclass(frozen=True)
class Runs:
    """Executed in a scenario; `instead` of the command where that takes too long, or needs what is not here."""

    scenario: str
    instead: str = ""


@dataclass(frozen=True)
class Checked:
    """Parsed by the real parser and not executed, for this reason."""

    why: str


HOURS: Final = "takes minutes to hours; the manifest is read whole, and tests/node/experiments run its kind"
MNIST: Final = "learns on MNIST for minutes to hours; the manifest is read whole"
ELSEWHERE: Final = "an example of output; the same command runs with what is there"
NETWORK: Final = "downloads; scripts/install-cometbft does the same in .ci"

PROOFS: Final[dict[str, Runs | Checked]] = {
    # README.md
    "scripts/demo": Runs("run", "merit run --preset digits --rounds 3 --clients 6 --phi 3 --dir RUN"),
    "scripts/test": Checked("runs this suite"),
    "source .venv/bin/activate": Runs("run"),
    "merit audit RUN --genesis 0x...": Runs("run", "merit audit RUN --genesis $genesis"),
    "merit audit --rpc URL --rpc URL": Checked("runs with the testnet's URLs, below"),
    "merit export RUN --rounds 2:3 --out two.merit": Runs("run"),
    "merit rewards RUN --client 5 --csv": Runs("run"),
    "merit run --preset digits --phi all": Runs(
        "run", "merit run --preset digits --phi all --rounds 1 --clients 4 --dir all"
    ),
    "merit run --preset digits --allocation exact": Runs(
        "run", "merit run --preset digits --allocation exact --rounds 1 --clients 4 --phi 2 --dir exact"
    ),
    "merit run --help": Runs("quick"),
    "scripts/demo --data mnist --data-dir DIR": Checked("needs MNIST and minutes; `merit run` parses it"),
    "merit up --clients 2": Runs("up"),
    "cat > job.toml <<'END'": Runs("up"),
    "net=.merit/dev": Runs("up"),
    "merit job create job.toml --server http://127.0.0.1:8601 --budget 500 --key $net/keys/member-7.pem"
    " --password-file $net/keys/password": Runs("up"),
    "for n in 1 2; do": Runs("up"),
    "merit job show 1": Runs("up"),
    "merit rewards --rpc http://127.0.0.1:8545": Runs("up"),
    "merit job close 1 --key $net/keys/member-7.pem --password-file $net/keys/password": Runs("up"),
    "merit testnet install": Checked(NETWORK),
    "merit testnet init --validators 4 --clients 20": Runs("testnet"),
    "merit testnet start --detach": Runs("testnet"),
    "merit testnet status": Runs("testnet"),
    "merit testnet perturb node2 kill --for 10": Runs("testnet"),
    "merit testnet logs node2": Runs("testnet"),
    "merit testnet join": Runs("testnet"),
    "merit testnet leave node1": Runs("testnet"),
    "merit audit --rpc http://127.0.0.1:27012 --rpc http://127.0.0.1:27022": Runs("testnet"),
    "merit testnet stop": Runs("testnet"),
    "merit experiment list": Runs("quick"),
    "merit experiment run scripts/experiments/one-of-four-killed.toml": Checked(HOURS),
    "merit experiment run scripts/experiments/virtual-storm.toml": Checked(HOURS),
    "merit experiment run scripts/experiments/virtual-equivocation.toml": Checked(HOURS),
    "merit experiment run scripts/experiments/consensus-twins.toml --seeds 1000": Runs(
        "quick", "merit experiment run scripts/experiments/consensus-twins.toml --seeds 10"
    ),
    "merit experiment run scripts/experiments/mnist.toml --data-dir DIR": Checked(MNIST),
    "merit experiment run scripts/experiments/usefulness.toml --data-dir DIR": Checked(MNIST),
    "merit experiment run scripts/experiments/mel-figures.toml --data-dir DIR": Checked(MNIST),
    "merit simulate --seeds 0:100 --validators 4 --validators 7": Runs(
        "quick", "merit simulate --seeds 0:5 --validators 4 --validators 7"
    ),
    # chain
    "python -m pytest tests/chain": Checked("is a part of this suite"),
    "python -m chain.proto.build": Checked("writes into the repository"),
    "merit bench signatures --plot signatures.png": Checked("takes a minute; tests/foundation/test_benchmarks.py"),
    "merit simulate --seeds 0:1000 --validators 4 --validators 7 --log simulation.jsonl": Runs(
        "quick", "merit simulate --seeds 0:5 --validators 4 --validators 7 --log simulation.jsonl"
    ),
    "merit simulate --seeds 3": Runs("quick"),
    "merit simulate --seeds 0:25000 --validators 4 --validators 5 --validators 7"
    " --log scripts/experiments/simulation-4-5-7.jsonl": Checked("takes hours; a shorter one runs, above"),
    "merit simulate --seeds 0:25000 --validators 10 --log scripts/experiments/simulation-10.jsonl": Checked(
        "takes hours; a shorter one runs, above"
    ),
    # learner
    "cat > four.toml <<'END'": Runs("quick"),
    "merit allocate four.toml": Runs("quick"),
    # node
    "merit node compare .merit/testnet/nodes/node4": Checked(
        "needs a node that computes something else: tests/node/machine/test_divergence.py has one"
    ),
    "merit audit my-run --genesis 0x8a388ce072272ceafd043dcff45f5e6589ad92acd01895c29309370c41ab9aee": Checked(
        ELSEWHERE
    ),
    "merit audit --rpc http://127.0.0.1:36097 --rpc http://127.0.0.1:38225 --rpc http://127.0.0.1:8547"
    " --genesis 0xf363fac3...": Checked(ELSEWHERE),
    "merit export my-run --rounds 2:3 --out two.merit": Checked(ELSEWHERE),
    "merit audit two.merit --genesis 0xbdf00025... --explain 2:5": Runs(
        "run", "merit audit two.merit --genesis $genesis --explain 2"
    ),
    "merit client receipt my-run --client 5 --out own.receipt": Runs(
        "run", "merit client receipt RUN --client 5 --out own.receipt"
    ),
    "merit audit own.receipt --genesis 0xbdf00025...": Runs("run", "merit audit own.receipt --genesis $genesis"),
    "merit up": Checked("stays in the foreground; runs with --clients, above"),
    "merit run --dashboard": Checked("stays until Ctrl-C; tests/node/dashboard serve the pages of a run"),
    "merit testnet start": Checked("stays in the foreground; runs with --detach, above"),
    "grep lost .merit/experiments/virtual-equivocation/trace.txt": Checked("reads what the command above it left"),
    "merit experiment run scripts/experiments/mel-figures.toml --data-dir DIR --resume": Checked(MNIST),
    "merit experiment run scripts/experiments/usefulness.toml --data-dir DIR --resume": Checked(MNIST),
    "merit experiment run scripts/experiments/consensus-f-plus-1.toml": Runs("quick"),
    "merit node start HOME": Runs("machine"),
    "merit node status HOME": Runs("machine"),
    "merit backup HOME DEST": Runs("machine"),
    "merit restore SOURCE HOME": Runs("machine"),
    "merit testnet init --validators 4 --clients 20 --tls --dir consortium": Runs("founding"),
    "merit keys new HOME/keys/intake.pem --scheme ml-dsa-65 --password-file HOME/keys/password": Runs("machine"),
    "merit keys certificate HOME/keys/intake.pem HOME/keys/intake.crt --name edge1.example"
    " --password-file HOME/keys/password": Runs("machine"),
    "merit council propose admit.toml --key HOME/keys/edge.pem --password-file HOME/keys/password"
    " --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit council list --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit council vote 1 --approve --key HOME/keys/edge.pem --password-file HOME/keys/password"
    " --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit council execute 1 --key HOME/keys/edge.pem --password-file HOME/keys/password"
    " --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit council show --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit keys new edge.pem --scheme ml-dsa-44 --password-file password": Runs("founding"),
    "merit keys new validator.pem --scheme ml-dsa-65 --password-file password": Runs("founding"),
    "merit keys rotate HOME/keys/edge.pem new.pem --password-file HOME/keys/password"
    " --rpc http://127.0.0.1:27002": Runs("testnet"),
    "merit council propose new.pem.toml --key HOME/keys/edge.pem --password-file HOME/keys/password"
    " --rpc http://127.0.0.1:27002": Runs("testnet"),
    "cp HOME/keys/edge.pem old.pem && cp new.pem HOME/keys/edge.pem": Runs("testnet"),
    "merit keys rotate old.pem new.pem --end --password-file HOME/keys/password --rpc http://127.0.0.1:27002": Runs(
        "testnet"
    ),
    # scripts/examples
    "merit up --clients 2 --tls": Runs("examples"),
    "export PYTHONPATH=scripts/examples": Runs("examples"),
    "merit job create scripts/examples/own_model.toml --server https://127.0.0.1:8601 --trust $net/keys/intake.crt"
    " --budget 500 --key $net/keys/member-7.pem --password-file $net/keys/password": Runs("examples"),
    "for part in 0 1; do": Runs("examples"),
    "python scripts/examples/read_rewards.py http://127.0.0.1:8545": Runs("examples"),
    # tests/benchmarks
    "merit bench --list": Runs("quick"),
    "merit bench gram signatures": Checked("takes a minute; tests/foundation/test_benchmarks.py runs both"),
    "merit bench ledger --seconds 20": Checked("needs the machine for itself, for minutes"),
}


def words_of(line: str) -> list[str]:
    """Return the words of a simple command, with numbers and paths for what the shell would put in."""
    line = re.sub(r"\$\(\(.*?\)\)", "5", line)
    return shlex.split(re.sub(r"\$\{?\w+\}?", "1", line))
