"""Digests that the Ledger computes too: attestations, scores and their chunks, the running digest over records.

All are keccak256 over Solidity's ABI encoding, written out here by hand: these few shapes need no general encoder,
and an edge server, an auditor and the Ledger must agree on every byte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from contracts.artifacts import WORD_BYTES
from contracts.errors import LengthError
from contracts.records import HASH_BYTES, Record

CHUNK: Final = 64
"""Entries that `Ledger.settleChunk` takes in one call."""

MAX_PHI: Final = 1024
"""Records in one round at most; `Ledger.vy` says the same."""

MAX_PARTS: Final = 16
"""Named parts of one attestation at most; `Ledger.vy` says the same."""

WORD_BITS: Final = 8 * WORD_BYTES
MAX_FALLEN_WORDS: Final = 1024
"""Words of 256 clients each in one round's set of fallen clients at most; `Vesting.vy` says the same."""

MOST_SETTLED: Final = 128
"""Clients whose pay one call of `Vesting.settle` settles at most; `Vesting.vy` says the same."""

MAX_VESTING: Final = 1024
"""Rounds after which pay is settled at most; `Vesting.vy` says the same."""

MAX_EXCEPTIONS: Final = 128
"""Entries in each list of one acknowledgement at most; `Ledger.vy` says the same."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of what a round computed: `name` is ASCII, zero padded to 32 bytes (see `name32`)."""

    name: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Attestation:
    """What an edge server attests of a round: the event log up to block `height` made it take `k` records.

    `spent` counts the job's sequences that are no longer live, this round's included. Two attestations agree if their
    digests are equal; the parts show where they differ.
    """

    job: int
    round: int
    height: int
    k: int
    spent: int
    parts: tuple[Part, ...]

    def digest(self, rules_version: int) -> bytes:
        """Return keccak256(abi_encode(rules_version, job, round, height, k, spent, parts)), as `Ledger.attest` does."""
        numbers = (rules_version, self.job, self.round, self.height, self.k, self.spent)
        tail = b"".join(_bytes32(word) for part in self.parts for word in (part.name, part.digest))
        return keccak(_numbers(*numbers, (len(numbers) + 1) * WORD_BYTES, len(self.parts)) + tail)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The scores of one round, cut into what `settleChunk` takes.

    Each chunk is a pair (client ids, thetas in parts per billion); `total` is the sum of all thetas.
    """

    total: int
    chunks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @property
    def k(self) -> int:
        """Return the number of records that the round took."""
        return sum(len(clients) for clients, _ in self.chunks)

    @property
    def chunk_digests(self) -> tuple[bytes, ...]:
        """Return one digest per chunk: what `postThetas` takes."""
        return tuple(chunk_digest(clients, thetas) for clients, thetas in self.chunks)

    @property
    def digest(self) -> bytes:
        """Return the digest of the part "thetas" in an attestation."""
        return thetas_digest(self.total, self.k, self.chunk_digests)


def settlement(clients: Sequence[int], thetas: Sequence[int]) -> Settlement:
    """Cut a round's scores (in the order of selection, one per client id) into chunks of 64, the last one shorter."""
    if len(clients) != len(thetas):
        raise LengthError(part="list of thetas", length=len(thetas), expected=len(clients), unit="entries")
    cuts = range(0, len(clients), CHUNK)
    chunks = tuple((tuple(clients[at : at + CHUNK]), tuple(thetas[at : at + CHUNK])) for at in cuts)
    return Settlement(total=sum(thetas), chunks=chunks)


def name32(name: str) -> bytes:
    """Return an ASCII name of at most 32 characters as the contracts keep it, zero padded."""
    text = name.encode("ascii")
    if len(text) > WORD_BYTES:
        raise LengthError(part=f"name {name!r}", length=len(text), expected=WORD_BYTES)
    return text.ljust(WORD_BYTES, b"\0")


def text_of(name: bytes) -> str:
    """Return the text of a zero padded name; what is not ASCII is escaped, for anybody may have written it."""
    return name.rstrip(b"\0").decode("ascii", errors="backslashreplace")


def chunk_digest(clients: Sequence[int], thetas: Sequence[int]) -> bytes:
    """Return keccak256(abi_encode(clients, thetas)), as `Ledger.settleChunk` computes it."""
    second = (3 + len(clients)) * WORD_BYTES
    return keccak(_numbers(2 * WORD_BYTES, second, len(clients), *clients, len(thetas), *thetas))


def thetas_digest(total: int, k: int, chunk_digests: Sequence[bytes]) -> bytes:
    """Return keccak256(abi_encode(total, k, chunk_digests)), as `Ledger.postThetas` computes it."""
    return keccak(_numbers(total, k, 3 * WORD_BYTES, len(chunk_digests)) + b"".join(map(_bytes32, chunk_digests)))


def fallen_words(clients: Iterable[int]) -> tuple[int, ...]:
    """Return a set of member ids as `Vesting.judge` takes it: bit id % 256 of word id // 256; the last word is not 0.

    Raise `LengthError` for an id that does not fit into 1,024 words.
    """
    words: dict[int, int] = {}
    for client in clients:
        words[client // WORD_BITS] = words.get(client // WORD_BITS, 0) | 1 << client % WORD_BITS
    count = max(words, default=-1) + 1
    if count > MAX_FALLEN_WORDS:
        raise LengthError(part="set of fallen clients", length=count, expected=MAX_FALLEN_WORDS, unit="words")
    return tuple(words.get(index, 0) for index in range(count))


def fallen_digest(words: Sequence[int]) -> bytes:
    """Return keccak256(abi_encode(fallen)), as `Vesting.judge` computes it: the part "vesting" of an attestation."""
    return keccak(_numbers(WORD_BYTES, len(words), *words))


def next_head(head: bytes, record: Record, signer: bytes) -> bytes:
    """Return a job's running digest after one more record: keccak256(head || keccak256(body || signer))."""
    return keccak(head + keccak(record.encode() + signer))


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(WORD_BYTES, "big") for value in values)


def _bytes32(word: bytes) -> bytes:
    if len(word) != HASH_BYTES:
        raise LengthError(part="digest", length=len(word), expected=HASH_BYTES)
    return word
