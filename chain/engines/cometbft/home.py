"""A CometBFT home: keys, genesis file and configuration, written without `cometbft testnet`, which knows no ML-DSA.

HOME/config/config.toml              what differs from CometBFT's defaults, each with its reason below
HOME/config/genesis.json             the chain; its app_state is the ledger's genesis document
HOME/config/priv_validator_key.json  the validator's ML-DSA-65 key in the clear, mode 0600: CometBFT reads no other
HOME/config/node_key.json            an Ed25519 key, which names the node to its peers
HOME/data/priv_validator_state.json  what the validator signed last; never restore it from a copy
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chain.crypto.backend_python import expanded_key
from chain.crypto.schemes import Scheme
from chain.light import validator_address
from chain.limits import TRANSACTION_BYTES
from chain.validators import CONSENSUS_PARAMS, EVIDENCE_AGE, genesis_validators

if TYPE_CHECKING:
    from pathlib import Path

    from chain.crypto.schemes import SigningKey
    from chain.genesis import Genesis

PUBLIC_KEY_TYPE: Final = "cometbft/PubKeyMlDsa65"
PRIVATE_KEY_TYPE: Final = "cometbft/PrivKeyMlDsa65"


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast heights follow each other; all in milliseconds.

    - `propose`: how long to wait for a proposer; a dead one costs this and `vote`. A block takes its time to execute,
      so on a slow machine a smaller value loses rounds.
    - `vote`: how long to wait for more votes once two thirds have come.
    - `commit`: rest between two heights.
    - `empty`: an idle chain makes a height this often; a block's time is at most this old, so it stays well below
      every deadline of a job.
    """

    propose: int = 1_000
    vote: int = 500
    commit: int = 20
    empty: int = 5_000


@dataclass(frozen=True, slots=True)
class Places:
    """Where one CometBFT listens and what it connects to.

    `application`: a Unix socket's path; relative, it is beside the home. `peers`: node ids with host and port,
    `ID@HOST:PORT`.
    """

    application: str
    p2p: str
    rpc: str
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StateSync:
    """How a new node takes over a snapshot: the light client starts from a trusted header of the chain."""

    servers: tuple[str, ...]
    height: int
    hash: bytes


class NodeKey:
    """The Ed25519 key of a node; `id` is its name among peers: the first 20 bytes of the public key's SHA-256."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 bytes of the key."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        public = private.public_key().public_bytes_raw()
        self.secret = seed + public
        self.id = hashlib.sha256(public).hexdigest()[:40]


def write_home(home: Path, genesis: Genesis, validator: SigningKey | None, node: NodeKey, moniker: str) -> None:
    """Write everything but the configuration; `validator` is None for a node that only follows."""
    (home / "config").mkdir(parents=True)
    (home / "data").mkdir()
    _write(home / "config" / "genesis.json", genesis_file(genesis), 0o644)
    _write(
        home / "config" / "node_key.json", _json({"priv_key": _key("tendermint/PrivKeyEd25519", node.secret)}), 0o600
    )
    if validator is not None:
        write_validator_key(home, validator)
    _write(home / "data" / "priv_validator_state.json", _json({"height": "0", "round": 0, "step": 0}), 0o600)
    (home / "config" / "moniker").write_text(moniker, encoding="utf-8")


def write_validator_key(home: Path, key: SigningKey) -> None:
    """Write the key that signs votes, in CometBFT's form: the expanded key of FIPS 204, 4,032 bytes."""
    content = {
        "address": validator_address(key.public_key).hex().upper(),
        "pub_key": _key(PUBLIC_KEY_TYPE, key.public_key),
        "priv_key": _key(PRIVATE_KEY_TYPE, expanded_key(Scheme.ML_DSA_65, key.seed)),
    }
    _write(home / "config" / "priv_validator_key.json", _json(content), 0o600)


def genesis_file(genesis: Genesis) -> bytes:
    """Return CometBFT's genesis file for a ledger."""
    validators = genesis_validators(genesis)
    names = {bytes(entry.public_key): entry.name for entry in genesis.validators}
    return _json(
        {
            "genesis_time": datetime.fromtimestamp(genesis.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "chain_id": genesis.name,
            "initial_height": "1",
            "consensus_params": {
                "block": {
                    "max_bytes": str(CONSENSUS_PARAMS.block_max_bytes),
                    "max_gas": str(CONSENSUS_PARAMS.block_max_gas),
                },
                "evidence": {
                    "max_age_num_blocks": str(EVIDENCE_AGE.heights),
                    "max_age_duration": str(EVIDENCE_AGE.nanoseconds),
                    "max_bytes": str(CONSENSUS_PARAMS.block_max_bytes // 16),
                },
                "validator": {"pub_key_types": ["ml_dsa_65"]},
                "version": {"app": str(genesis.versions.execution)},
                "abci": {"vote_extensions_enable_height": "0"},
                "authority": {"authority": ""},
            },
            "validators": [
                {
                    "address": validator.address.hex().upper(),
                    "pub_key": _key(PUBLIC_KEY_TYPE, validator.public_key),
                    "power": str(validator.power),
                    "name": names[validator.public_key],
                }
                for validator in validators
            ],
            "app_hash": "",
            "app_state": msgspec.Raw(genesis.encode()),
        }
    )


def write_configuration(home: Path, places: Places, timing: Timing, sync: StateSync | None = None) -> None:
    """Write config.toml anew; it holds nothing that anybody edits by hand."""
    moniker = (home / "config" / "moniker").read_text(encoding="utf-8")
    content: dict[str, Any] = {
        "proxy_app": f"unix://{places.application}",
        "abci": "socket",  # gRPC has half the rate at many times the CPU
        "moniker": moniker,
        "log_level": "main:info,blocksync:info,statesync:info,*:error",
        "rpc": {
            "laddr": f"tcp://{places.rpc}",
            "max_body_bytes": 4 * TRANSACTION_BYTES,  # JSON and base64 of the longest transaction
        },
        "p2p": {
            "laddr": f"tcp://{places.p2p}",
            "persistent_peers": ",".join(places.peers),
            "addr_book_strict": False,  # loopback and private addresses are addresses
            "allow_duplicate_ip": True,
            "pex": False,  # members know each other; nobody else is to be found
            "send_rate": 512_000_000,
            "recv_rate": 512_000_000,
            "max_packet_msg_payload_size": 16_384,  # a block of megabytes in packets of 1 kB costs a core
        },
        "mempool": {
            # it holds wake-up calls, and transactions that somebody sends to CometBFT itself
            "recheck": True,  # what is answered leaves, or an idle chain would go on
            "max_tx_bytes": TRANSACTION_BYTES,
        },
        "consensus": {
            "timeout_propose": f"{timing.propose}ms",
            "timeout_propose_delta": f"{timing.propose // 2}ms",
            "timeout_prevote": f"{timing.vote}ms",
            "timeout_prevote_delta": f"{timing.vote // 2}ms",
            "timeout_precommit": f"{timing.vote}ms",
            "timeout_precommit_delta": f"{timing.vote // 2}ms",
            "timeout_commit": f"{timing.commit}ms",
            "create_empty_blocks": True,
            "create_empty_blocks_interval": f"{timing.empty}ms",
            "peer_gossip_sleep_duration": "10ms",  # the default, 100 ms, doubles the latency
        },
        "storage": {"discard_abci_responses": True},  # results are in the ledger's own blocks
        "tx_index": {"indexer": "null"},  # the ledger's JSON-RPC finds transactions
    }
    if sync is not None:
        content["statesync"] = {
            "enable": True,
            "rpc_servers": ",".join(sync.servers),
            "trust_height": sync.height,
            "trust_hash": sync.hash.hex(),
            "trust_period": "168h0m0s",
            "discovery_time": "5s",
        }
    draft = home / "config" / "config.toml.partial"
    draft.write_text(tomli_w.dumps(content), encoding="utf-8")
    draft.replace(home / "config" / "config.toml")


def _key(kind: str, value: bytes) -> dict[str, str]:
    return {"type": kind, "value": base64.b64encode(value).decode()}


def _json(content: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
