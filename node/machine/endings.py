"""What a process of a node said when it ended: whether starting it again can help, and what to do if not.

The node process leaves with `CANNOT_GO_ON` when its home, its ledger or its program would fail again in the same way.
CometBFT has no such code; what it says last is known by its words, which are those of v0.40.
"""

import json
import re
from pathlib import Path
from typing import Final

from chain.engines.errors import AbciError
from chain.errors import (
    BlockError,
    ContractUpgradeError,
    EngineError,
    GenesisError,
    KeyFileError,
    StoreChainError,
    StoreCorruptError,
    StoreFormatError,
    VersionError,
)
from learner.errors import InvalidDataFile, MissingExtra
from node.errors import ConfigError, HomeError

CANNOT_GO_ON: Final = 3
"""The exit code of a node process that no restart helps."""
FINAL: Final = (
    AbciError,  # CometBFT was made from another genesis document, or asks what this program does not know
    BlockError,
    ConfigError,
    ContractUpgradeError,
    EngineError,
    GenesisError,
    HomeError,
    KeyFileError,
    StoreChainError,
    StoreCorruptError,
    StoreFormatError,
    InvalidDataFile,  # root-samples.npz
    MissingExtra,  # there are root samples, but torch is not installed
    VersionError,  # the members agreed on rules that this program does not have
)
"""Errors that come again however often the process starts. Not among them: a port or a disk that may come free."""
_LINE_CHARACTERS: Final = 300
_TAIL_BYTES: Final = 1 << 16

VOTES_LOST: Final = "never take it from a copy; chain/README.md, Backup and restore, says how the validator comes back"
_MOVE_LEDGER: Final = (
    "move HOME/ledger away, so that both learn the chain again from the other members, and let the validator vote only "
    "with the priv_validator_state.json that it had (chain/README.md, Backup and restore)"
)
_COMET: Final = (
    (
        re.compile(r"app block height \((\d+)\) is higher than core \((\d+)\)"),
        r"the ledger is at height \1, CometBFT's blocks end at \2: comet/data is an old copy; " + _MOVE_LEDGER,
    ),
    (
        re.compile(r"app block height \((\d+)\) is too far below block store base \((\d+)\)"),
        (
            r"the ledger is at height \1, CometBFT's blocks begin at \2 only: `merit restore` a newer backup, or empty "
            "comet/data but for priv_validator_state.json, and both learn the chain again from the other members"
        ),
    ),
    (
        re.compile(r"state\.AppHash does not match AppHash after replay"),
        "CometBFT's blocks and this ledger do not belong together: comet/data was lost or is another node's; "
        + _MOVE_LEDGER,
    ),
    (
        re.compile(r"genesis doc hash in db does not match|Genesis doc hash.*does not match"),
        "comet/data belongs to another chain than comet/config/genesis.json: name another home, or put the file back",
    ),
    (
        re.compile(r"Error reading PrivValidator state from"),
        f"comet/data/priv_validator_state.json is damaged, which remembers what the validator signed: {VOTES_LOST}",
    ),
    (
        re.compile(r"Error reading PrivValidator key from"),
        "comet/config/priv_validator_key.json cannot be read: bring it back from where you keep secrets",
    ),
)


def exit_code(error: Exception) -> int:
    """Return the code with which the node process leaves after an error of ours."""
    return CANNOT_GO_ON if isinstance(error, FINAL) else 1


def advice(line: str) -> str:
    """Return what to do about a line that CometBFT wrote before its end; empty when another start may help."""
    for pattern, template in _COMET:
        if found := pattern.search(line):
            return found.expand(template)
    return ""


def last_words(log: Path) -> str:
    """Return the message of a node log's last line, shortened; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    try:
        return str(json.loads(lines[-1])["message"])[:_LINE_CHARACTERS]
    except (ValueError, KeyError, TypeError):
        return lines[-1][:_LINE_CHARACTERS]  # not from our logger: a crash of the interpreter, for example
