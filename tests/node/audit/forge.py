"""Forges decided heights with the validators' own keys: what a quorum of them could do if it conspired."""

from dataclasses import replace
from pathlib import Path

from chain import light
from chain.application import Timestamp
from chain.crypto import keystore
from chain.crypto.schemes import SigningKey
from chain.genesis import load_genesis
from chain.validators import genesis_validators
from node.audit.replay import Inputs, Replay, Replays
from tests.node.audit import tamper


def keys_of(directory: Path) -> dict[bytes, SigningKey]:
    """Return a run's validator keys by the validators' addresses."""
    password = (directory / "keys" / "password").read_bytes()
    keys = [keystore.load(path, password) for path in sorted((directory / "keys").glob("validator-*.pem"))]
    return {light.validator_address(key.public_key): key for key in keys}


def validators_of(directory: Path) -> tuple[light.ValidatorSet, str]:
    """Return a run's validators and the name of its chain."""
    genesis = load_genesis(directory / "genesis.json")
    return genesis_validators(genesis), genesis.name


def commit(directory: Path, height: int) -> light.Commit:
    """Read a stored commit."""
    return light.decode_commit(tamper.read_all(tamper.engine(directory))[tamper.engine_key("c", height)])


def put_commit(directory: Path, changed: light.Commit) -> None:
    """Write a commit over the stored one."""
    tamper.put(tamper.engine(directory), tamper.engine_key("c", changed.height), light.encode_commit(changed))


def with_slots(found: light.Commit, changes: dict[int, light.CommitSig]) -> light.Commit:
    """Put other slots into a commit."""
    return replace(found, signatures=tuple(changes.get(i, slot) for i, slot in enumerate(found.signatures)))


def signed(found: light.Commit, keys: dict[bytes, SigningKey], chain_id: str) -> light.Commit:
    """Let every validator sign what a commit says."""
    return with_slots(
        found,
        {
            index: replace(
                slot,
                signature=keys[slot.validator_address].sign(
                    light.commit_sign_bytes(found, index, chain_id), light.VOTE_CONTEXT
                ),
            )
            for index, slot in enumerate(found.signatures)
        },
    )


def decide(
    directory: Path, validators: list[int], keys: dict[bytes, SigningKey], header: light.Header, txs: tuple[bytes, ...]
) -> None:
    """Write another decision of the newest height, with a certificate that all validators signed.

    The last vote goes: a forger leaves no vote that contradicts what he says was decided.
    """
    height = header.height
    block = light.Block(header, txs, commit(directory, height - 1))
    decided = replace(commit(directory, height), block_id=light.block_id(block))
    certificate = signed(decided, keys, header.chain_id)
    for validator in validators:
        path = tamper.engine(directory, validator)
        tamper.put(path, tamper.engine_key("h", height), light.encode_header(header))
        tamper.put(path, tamper.engine_key("t", height), light.encode_txs(txs))
        tamper.put(path, tamper.engine_key("c", height), light.encode_commit(certificate))
        tamper.drop_vote(path)


def newest(directory: Path) -> tuple[light.Header, tuple[bytes, ...]]:
    """Read the newest decided height."""
    table, height = tamper.read_all(tamper.engine(directory)), tamper.heights(directory)
    return (
        light.decode_header(table[tamper.engine_key("h", height)]),
        light.decode_txs(table[tamper.engine_key("t", height)]),
    )


def busy_height(directory: Path) -> int:
    """Return the newest height that has transactions."""
    table = tamper.read_all(tamper.engine(directory))
    decided = range(1, tamper.heights(directory) + 1)
    return max(height for height in decided if light.decode_txs(table[tamper.engine_key("t", height)]))


def executed(directory: Path) -> Replay:
    """Execute what an engine store of validator 2 says was decided, from the beginning and apart from any audit."""
    replay = Replays().new(load_genesis(directory / "genesis.json"))
    table = tamper.read_all(tamper.engine(directory))
    for height in range(1, tamper.heights(directory) + 1):
        header = light.decode_header(table[tamper.engine_key("h", height)])
        txs = light.decode_txs(table[tamper.engine_key("t", height)])
        replay.advance(Inputs(Timestamp(header.time.seconds, header.time.nanos), txs))
    return replay
