"""Heights of the embedded engine on the real clock: four validators, a trivial application, one transaction.

Milliseconds from asking for a height to its being durable at all four, and the process's processor time for it: with
ML-DSA-65, and in the same run with Ed25519 standing in for it. A stand-in's signatures are padded to the length of
ML-DSA's, so that messages, journals and blocks are as long: what differs is the time to sign and to verify.
"""

import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median, quantiles
from unittest.mock import patch

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chain.crypto import schemes
from chain.crypto.schemes import SIGNATURE_BYTES, Scheme, SigningKey
from chain.engines.embedded import EmbeddedEngine, EngineStore, Validator
from merit.clock import SystemClock
from tests.chain.engines.network import Counter, key, make_genesis

HEIGHTS = 100
VALIDATORS = 4
WARM_UP = 10


class StandIn:
    """A backend (chain/crypto/schemes.py) that signs by Ed25519 under the names of ML-DSA's public keys."""

    name = "Ed25519"

    def __init__(self) -> None:
        """Know nobody yet."""
        self._keys: dict[bytes, Ed25519PublicKey] = {}

    def signer(self, scheme: Scheme, seed: bytes) -> "StandInSigner":
        """Make a key of the seed, and remember whose it is."""
        made = Ed25519PrivateKey.from_private_bytes(seed)
        self._keys[SigningKey.from_seed(scheme, seed).public_key] = made.public_key()
        return StandInSigner(made, SIGNATURE_BYTES[scheme])

    def verify(self, scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:  # noqa: ARG002 - as every backend
        """Tell whether the signature in front of the padding holds."""
        try:
            self._keys[public_key].verify(signature[:64], context + message)
        except InvalidSignature:
            return False
        return True


class StandInSigner:
    """A key of the stand-in."""

    def __init__(self, key: Ed25519PrivateKey, size: int) -> None:
        """Make signatures of `size` bytes."""
        self._key, self._size = key, size

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign, and pad."""
        return self._key.sign(context + message).ljust(self._size, b"\0")


def run(heights: int = HEIGHTS) -> list[dict[str, object]]:
    """Measure both schemes, without threads and with one for each validator."""
    rows = [{"scheme": "ML-DSA-65", **_measure(threads, heights)} for threads in (0, VALIDATORS)]
    backend = StandIn()
    with (
        patch.object(schemes, "backends", lambda: (backend,)),
        patch.object(schemes, "verifying_backend", lambda: backend),
    ):
        rows += [{"scheme": "Ed25519", **_measure(threads, heights)} for threads in (0, VALIDATORS)]
    return rows


def _measure(threads: int, heights: int) -> dict[str, object]:
    executor = ThreadPoolExecutor(threads) if threads else None
    with tempfile.TemporaryDirectory() as directory:
        times, processor_ms = asyncio.run(_heights(Path(directory), executor, heights))
    if executor is not None:
        executor.shutdown()
    return {
        "validators": VALIDATORS,
        "threads": threads,
        "heights": len(times),
        "height_ms": median(times),
        "height_ms_p90": quantiles(times, n=10)[-1],
        "processor_ms": processor_ms,
    }


async def _heights(path: Path, executor: ThreadPoolExecutor | None, heights: int) -> tuple[list[float], float]:
    genesis, clock = make_genesis((1,) * VALIDATORS), SystemClock()
    validators = [
        Validator(key(number), Counter(path / f"{number}.json"), EngineStore(path / f"{number}", genesis.digest()))
        for number in range(VALIDATORS)
    ]
    engine = EmbeddedEngine(validators, genesis, clock, manual=True, executor=executor)
    await engine.start()
    times, used = list[float](), 0.0
    for number in range(WARM_UP + heights):
        if number == WARM_UP:
            used = _processor_seconds()
        engine.submit(b"+1 %d" % number)
        begun = clock.monotonic()
        await engine.advance()
        times.append((clock.monotonic() - begun) * 1e3)
    processor_ms = (_processor_seconds() - used) / heights * 1e3
    await engine.stop()
    for validator in validators:
        validator.store.close()
    return times[WARM_UP:], processor_ms


def _processor_seconds() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for measured in run():
        sys.stdout.write(f"{measured}\n")
