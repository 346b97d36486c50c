"""ML-DSA by each backend of ours against RSA, Ed25519, secp256k1 and Falcon-512, side by side in one run.

Beside training itself, too: what share of its round a client spends on its one signature, with the smallest model that
Merit's presets train and with the paper's. An energy is time multiplied by `WATTS`, an assumption and no measurement.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
from coincurve import PrivateKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from matplotlib.figure import Figure

from chain.crypto.backend_cryptography import private_key_of
from chain.crypto.backend_liboqs import liboqs_library, load
from chain.crypto.contexts import record_context
from chain.crypto.schemes import Backend, Scheme, SigningKey, backends, verifying_backend
from contracts.addresses import LEDGER
from contracts.records import BODY_BYTES
from learner import models
from learner.data import Dataset
from learner.training import SGD, one_thread, train
from merit.chance import seed_of
from merit.clock import Clock
from node.run.config import preset
from tests.benchmarks._timing import CoreClock, each_us, took_us

ROUNDS = 41
MARKS = (("o", "#0072b2"), ("s", "#d55e00"), ("^", "#009e73"))  # Okabe and Ito's colours: anybody can tell them apart
KEYGEN_EVERY = 5  # rounds; one RSA-3072 key takes longer than everything else in a round
MESSAGES = [LEDGER + bytes((number,)) * BODY_BYTES for number in range(8)]  # as long as a record's signed message
CONTEXT = record_context(bytes(32))
WATTS = 5.0
"""What an edge device draws while it works, assumed: a single-board computer like a Raspberry Pi 4. Where its
core is slower than this machine's, energies grow with that; shares of a round are less concerned."""
TRAINED = 3  # times that each client's part of a round is trained
ROUNDS_OF_CLIENTS = {"softmax": "digits", "mlp": "mnist", "cnn": "paper"}
"""Models, and the presets of `merit run` that say how a client trains them for one round."""
SECURITY = {Scheme.ML_DSA_44: "NIST category 2", Scheme.ML_DSA_65: "NIST category 3"}


@dataclass(frozen=True)
class Contestant:
    """A scheme in one library; `verify` takes message and signature and must tell a wrong pair from a right one."""

    scheme: str
    library: str
    security: str  # of the best attack known: NIST's post-quantum category, or bits against a classical computer
    public_key_bytes: int
    keygen: Callable[[], object]
    sign: Callable[[bytes], bytes]
    verify: Callable[[bytes, bytes], bool]


def run(rounds: int = ROUNDS, plot: Path | None = None) -> list[dict[str, object]]:
    """Take turns in every round; medians in microseconds of processor time, and of the ratios within a round.

    Each ratio is to ML-DSA-44 by the backend that signs, or verifies, on this machine. A round signs and verifies eight
    messages and counts their mean, since ML-DSA tries until a signature is short enough. Our `cryptography` backend
    parses the public key each time, as the ledger does; the peers' keys are parsed before. `plot`: also draw them.
    """
    clock = CoreClock()
    contestants = list(_contestants())
    times: list[dict[str, list[float]]] = [{"keygen": [], "sign": [], "verify": []} for _ in contestants]
    signature_bytes = [_checked(contestant) for contestant in contestants]
    for round_ in range(rounds):
        for contestant, taken in zip(contestants, times, strict=True):
            if round_ % KEYGEN_EVERY == 0:
                taken["keygen"].append(took_us(clock, contestant.keygen))
            _sign_and_verify(clock, contestant, taken)
    training = {name: train_us(clock, name, preset_) for name, preset_ in ROUNDS_OF_CLIENTS.items()}
    signer, verifier = (
        times[_index(contestants, Scheme.ML_DSA_44, backend)] for backend in (backends()[0], verifying_backend())
    )
    rows: list[dict[str, object]] = [
        {
            "scheme": contestant.scheme,
            "library": contestant.library,
            "security": contestant.security,
            "public_key_bytes": contestant.public_key_bytes,
            "signature_bytes": size,
            "keygen_us": round(median(taken["keygen"]), 1),
            "sign_us": round(median(taken["sign"]), 1),
            "verify_us": round(median(taken["verify"]), 1),
            "sign_ratio": _ratio(taken["sign"], signer["sign"]),
            "verify_ratio": _ratio(taken["verify"], verifier["verify"]),
            "energy_mj": round((median(taken["sign"]) + median(taken["verify"])) * WATTS / 1000, 3),
            **{
                f"percent_of_{name}": round(100 * (sign := median(taken["sign"])) / (sign + training[name]), 4)
                for name in training
            },
        }
        for contestant, size, taken in zip(contestants, signature_bytes, times, strict=True)
    ]
    if _liboqs() is None:
        missing = dict.fromkeys(rows[0]) | {"library": "no liboqs: scripts/install-liboqs"}
        rows += [missing | {"scheme": scheme} for scheme in ("ML-DSA-44", "ML-DSA-65", "Falcon-512")]
    if plot is not None:
        draw(rows, plot)
    return rows


def train_us(clock: Clock, model: str, preset_: str) -> float:
    """Train what one client trains for one round, on made-up samples; the median in microseconds."""
    spec, shape = preset(preset_).training, (64, 10) if model == "softmax" else (784, 10)
    chance = np.random.default_rng(seed_of(1, "benchmark", "signatures"))
    images = chance.random((spec.samples, shape[0]), dtype=np.float32)
    data = Dataset(images, chance.integers(0, shape[1], spec.samples), shape[1])
    module = models.build(model, features=shape[0], classes=shape[1])
    start, sgd = models.flatten(module), SGD(epochs=spec.epochs, batch_size=spec.batch, learning_rate=0.01)
    with one_thread():
        return median(took_us(clock, partial(train, module, start, data, sgd, seed=at)) for at in range(TRAINED))


def draw(rows: list[dict[str, object]], file: Path) -> None:
    """Draw what was measured: times, bytes, and the share of signing in a client's round; PNG or SVG."""
    measured = [row for row in rows if row["sign_us"] is not None]
    names = [f"{row['scheme']} ({row['library']})" for row in measured]
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    times, sizes, shares = figure.subplots(1, 3, sharey=True)
    panels = [
        (times, "microseconds", [("sign_us", "sign"), ("verify_us", "verify"), ("keygen_us", "make a key")]),
        (sizes, "bytes", [("public_key_bytes", "public key"), ("signature_bytes", "signature")]),
        (shares, "signing, % of a client's round", [(f"percent_of_{model}", model) for model in ROUNDS_OF_CLIENTS]),
    ]
    for axes, unit, series in panels:
        for (key, label), (marker, colour) in zip(series, MARKS, strict=False):
            values = [float(str(row[key])) for row in measured]
            axes.plot(values, range(len(names)), marker, label=label, color=colour, markersize=7)
        axes.set_xscale("log")  # dots, for a bar would have no length on it
        axes.set_xlabel(unit)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series), frameon=False)
    times.set_yticks(range(len(names)), names)
    times.invert_yaxis()
    figure.savefig(file, dpi=120)


def _checked(contestant: Contestant) -> int:
    """Warm up, and refuse to time a verification that does not verify; return the longest signature's bytes."""
    signatures = [contestant.sign(message) for message in MESSAGES]
    right = all(map(contestant.verify, MESSAGES, signatures))
    if not right or contestant.verify(MESSAGES[0], signatures[1]):
        message = f"{contestant.scheme} by {contestant.library} does not tell right from wrong"
        raise RuntimeError(message)
    return max(map(len, signatures))


def _sign_and_verify(clock: Clock, contestant: Contestant, taken: dict[str, list[float]]) -> None:
    signatures: list[bytes] = []
    taken["sign"].append(
        each_us(clock, [partial(_append, signatures, contestant.sign, message) for message in MESSAGES])
    )
    pairs = zip(MESSAGES, signatures, strict=True)
    taken["verify"].append(each_us(clock, [partial(contestant.verify, *pair) for pair in pairs]))


def _append(signatures: list[bytes], sign: Callable[[bytes], bytes], message: bytes) -> None:
    signatures.append(sign(message))


def _ratio(times: list[float], reference: list[float]) -> float:
    return round(median(mine / its for mine, its in zip(times, reference, strict=True)), 2)


def _index(contestants: list[Contestant], scheme: Scheme, backend: Backend) -> int:
    names = [(contestant.scheme, contestant.library) for contestant in contestants]
    return names.index((_name(scheme), backend.name))


def _name(scheme: Scheme) -> str:
    return scheme.name.replace("_", "-")


def _contestants() -> Iterator[Contestant]:
    oqs = _liboqs()
    for backend in backends():
        yield from (_ours(backend, scheme, oqs) for scheme in Scheme)
    if oqs is not None:
        yield _falcon(oqs)
    yield _rsa(2048, "112 bits classical")  # NIST SP 800-57 part 1, table 2
    yield _rsa(3072, "128 bits classical")
    yield _ed25519()
    yield _secp256k1()


def _liboqs() -> ModuleType | None:
    library = liboqs_library()
    return None if library is None or len(backends()) == 1 else load(library)


def _ours(backend: Backend, scheme: Scheme, oqs: ModuleType | None) -> Contestant:
    key = SigningKey.generate(scheme)
    signer = backend.signer(scheme, key.seed)
    if backend.name == "liboqs" and oqs is not None:
        keygen: Callable[[], object] = oqs.Signature(_name(scheme)).generate_keypair
    else:
        keygen = partial(_derive, scheme)
    return Contestant(
        _name(scheme),
        backend.name,
        SECURITY[scheme],
        len(key.public_key),
        keygen,
        lambda message: signer.sign(message, CONTEXT),
        lambda message, signature: backend.verify(scheme, key.public_key, signature, message, CONTEXT),
    )


def _derive(scheme: Scheme) -> bytes:
    return private_key_of(scheme, SigningKey.generate(scheme).seed).public_key().public_bytes_raw()


def _falcon(oqs: ModuleType) -> Contestant:
    scheme: Any = oqs.Signature("Falcon-512")
    public_key: bytes = scheme.generate_keypair()
    return Contestant(
        "Falcon-512",
        "liboqs",
        "NIST category 1",
        len(public_key),
        oqs.Signature("Falcon-512").generate_keypair,
        scheme.sign,
        lambda message, signature: bool(scheme.verify(message, signature, public_key)),
    )


def _rsa(bits: int, security: str) -> Contestant:
    key = rsa.generate_private_key(65_537, bits)
    public = key.public_key()
    pss, digest = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH), SHA256()
    return Contestant(
        f"RSA-{bits} PSS",
        "cryptography",
        security,
        len(public.public_bytes(Encoding.DER, PublicFormat.PKCS1)),
        partial(rsa.generate_private_key, 65_537, bits),
        lambda message: key.sign(message, pss, digest),
        lambda message, signature: _holds(lambda: public.verify(signature, message, pss, digest)),
    )


def _ed25519() -> Contestant:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    return Contestant(
        "Ed25519",
        "cryptography",
        "128 bits classical",
        len(public.public_bytes_raw()),
        Ed25519PrivateKey.generate,
        key.sign,
        lambda message, signature: _holds(lambda: public.verify(signature, message)),
    )


def _secp256k1() -> Contestant:
    key = PrivateKey()
    return Contestant(
        "ECDSA secp256k1",
        "coincurve",
        "128 bits classical",
        len(key.public_key.format()),
        PrivateKey,
        key.sign,
        lambda message, signature: key.public_key.verify(signature, message),
    )


def _holds(verify: Callable[[], object]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
