"""What must be right before a node starts, so that an operator reads one line instead of two programs' logs."""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chain.crypto.keystore import require_private
from chain.genesis import decode_genesis, load_genesis
from node.errors import HomeError
from node.machine.endings import VOTES_LOST
from node.machine.home import NodeFile, NodeHome


def require_complete(home: NodeHome, file: NodeFile) -> None:
    """Check that a home has all its parts, that they are of one chain, and that nobody else can read its keys.

    Raises:
        HomeError: something is missing, of another chain, or no file.
        KeyFileOpenError: a key is open to other users, with the `chmod` that closes it.
        GenesisError: genesis.json is no genesis document.

    """
    genesis = load_genesis(home.genesis)
    config = home.comet / "config"
    for needed in (config / "genesis.json", config / "node_key.json", config / "moniker"):
        if not needed.is_file():
            message = f"{needed} is missing: {home.path} is no whole node home"
            raise HomeError(message)
    if not (votes := home.comet / "data" / "priv_validator_state.json").is_file():
        message = f"{votes} is missing, which remembers what the validator signed: {VOTES_LOST}"
        raise HomeError(message)
    try:
        state = msgspec.json.decode((config / "genesis.json").read_bytes(), type=_CometGenesis).app_state
        comet = decode_genesis(bytes(state)).digest()
    except msgspec.MsgspecError as error:
        message = f"{config / 'genesis.json'}: no genesis file of CometBFT's ({error})"
        raise HomeError(message) from None
    if comet != genesis.digest():
        message = f"{config / 'genesis.json'} is of another chain than {home.genesis}: put the right one back"
        raise HomeError(message)
    for key in _keys(home, file):
        require_private(key)


def require_free_ports(home: NodeHome, file: NodeFile) -> None:
    """Check that nobody holds a port that the node opens; HomeError in one line."""
    for name, port in file.ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                message = (
                    f"port {port} cannot be used ({error.strerror}): end what holds it, or change {name} in {home.file}"
                )
                raise HomeError(message) from None


def _keys(home: NodeHome, file: NodeFile) -> Iterator[Path]:
    """Yield the files with secrets that are there; CometBFT itself reads them whoever else can."""
    for name in ("priv_validator_key.json", "node_key.json"):
        if (path := home.comet / "config" / name).exists():
            yield path
    if file.edge is not None:
        tls = (home.tls_key, home.tls_certificate) if file.edge.tls else ()
        for path in (home.key, home.password, *tls):
            if not path.is_file():
                message = f"{path} is missing, which the edge server needs ([edge] in {home.file})"
                raise HomeError(message)
            if path != home.tls_certificate:
                yield path


class _CometGenesis(msgspec.Struct):
    app_state: msgspec.Raw
