"""Both libraries judge hostile signatures alike: changed at random, in every part, or made by a careless signer.

Replicas that verify with different libraries must agree on whatever anybody can make up. That the one that is quicker
is asked at all, `verifying_backend` decides; these tests hold it to that.
"""

import copy
from collections.abc import Callable
from random import Random  # noqa: TID251 - the type only

import pytest
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65

from chain.crypto.backend_cryptography import CryptographyBackend
from chain.crypto.backend_python import expanded_key
from chain.crypto.schemes import Backend, Scheme, SigningKey, backends, gives_known_answers, verifying_backend
from merit.chance import seeded

SCHEMES = list(Scheme)
CONTEXT = b"context"
CHALLENGE_BYTES = {Scheme.ML_DSA_44: 32, Scheme.ML_DSA_65: 48}  # FIPS 204, table 1: lambda / 4
HINT_BYTES = {Scheme.ML_DSA_44: 80 + 4, Scheme.ML_DSA_65: 55 + 6}  # omega + k
PLAIN = {Scheme.ML_DSA_44: ML_DSA_44, Scheme.ML_DSA_65: ML_DSA_65}


@pytest.fixture(scope="module")
def quick() -> Backend:
    """The verifying backend, if it is not the one that it is compared with."""
    if verifying_backend().name == "cryptography":
        pytest.skip("cryptography verifies here: scripts/install-liboqs brings a library that may")
    return verifying_backend()


def anywhere(signature: bytearray, scheme: Scheme, chance: Random) -> None:  # noqa: ARG001 - one shape for all
    """Flip a bit of any part."""
    signature[chance.randrange(len(signature))] ^= 1 << chance.randrange(8)


def in_the_challenge(signature: bytearray, scheme: Scheme, chance: Random) -> None:
    signature[chance.randrange(CHALLENGE_BYTES[scheme])] = chance.randrange(256)


def in_the_hint(signature: bytearray, scheme: Scheme, chance: Random) -> None:
    """Change a position or a count of the hint."""
    at = len(signature) - 1 - chance.randrange(HINT_BYTES[scheme])
    signature[at] = chance.choice((0, 1, signature[at - 1], signature[at] ^ 1, 255, chance.randrange(256)))


def order_of_the_hint(signature: bytearray, scheme: Scheme, chance: Random) -> None:
    """Exchange two neighbours of the hint: the same positions in an order that FIPS 204 refuses."""
    at = len(signature) - HINT_BYTES[scheme] + chance.randrange(HINT_BYTES[scheme] - 1)
    signature[at], signature[at + 1] = signature[at + 1], signature[at]


def length_of_z(signature: bytearray, scheme: Scheme, chance: Random) -> None:
    """Make coefficients of z as long as their encoding allows."""
    at = CHALLENGE_BYTES[scheme] + chance.randrange(len(signature) - CHALLENGE_BYTES[scheme] - HINT_BYTES[scheme] - 8)
    signature[at : at + 8] = bytes(8) if chance.random() < 0.5 else b"\xff" * 8


def nothing(signature: bytearray, scheme: Scheme, chance: Random) -> None:
    """Leave it as it was: the libraries must agree on what is right as well."""


CHANGES: tuple[Callable[[bytearray, Scheme, Random], None], ...] = (
    anywhere,
    in_the_challenge,
    in_the_hint,
    order_of_the_hint,
    length_of_z,
    nothing,
)


def verdicts(quick: Backend, scheme: Scheme, rounds: int) -> dict[bool, int]:
    """Change signatures and compare; return how many were right and wrong."""
    chance = seeded(int(scheme), "agreement")
    keys = [SigningKey.from_seed(scheme, chance.randbytes(32)) for _ in range(8)]
    signed = [(key, message, key.sign(message, CONTEXT)) for key in keys for message in (b"", b"a", b"b" * 96)]
    reference = CryptographyBackend()
    found = {True: 0, False: 0}
    for number in range(rounds):
        key, message, signature = chance.choice(signed)
        changed = bytearray(signature)
        CHANGES[number % len(CHANGES)](changed, scheme, chance)
        public_key = bytearray(key.public_key)
        if chance.random() < 0.05:
            public_key[chance.randrange(len(public_key))] ^= 1 << chance.randrange(8)
        told = [
            backend.verify(scheme, bytes(public_key), bytes(changed), message, CONTEXT)
            for backend in (quick, reference)
        ]
        assert told[0] is told[1], (scheme, CHANGES[number % len(CHANGES)].__name__, changed.hex(), public_key.hex())
        found[told[1]] += 1
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_judge_changed_signatures_alike(quick: Backend, scheme: Scheme) -> None:
    found = verdicts(quick, scheme, 3_000)
    assert found[True] > 450
    assert found[False] > 2_000


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_judge_a_hundred_thousand_changed_signatures_alike(quick: Backend, scheme: Scheme) -> None:
    assert sum(verdicts(quick, scheme, 100_000).values()) == 100_000


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_refuse_what_a_signer_makes_who_does_not_check_the_length_of_z(quick: Backend, scheme: Scheme) -> None:
    seed = bytes(range(32))
    public_key, private_key = SigningKey.from_seed(scheme, seed).public_key, expanded_key(scheme, seed)
    careless = copy.copy(PLAIN[scheme])
    careless.beta = 0  # the bounds of z and of the low part are then gamma1 and gamma2: too wide by beta
    reference = CryptographyBackend()
    found = {True: 0, False: 0}
    for number in range(24):
        message = b"%d" % number
        signature = careless.sign(private_key, message, ctx=CONTEXT)
        told = [backend.verify(scheme, public_key, signature, message, CONTEXT) for backend in (quick, reference)]
        assert told[0] is told[1], (scheme, signature.hex())
        found[told[1]] += 1
    assert found[False] > 2
    assert found[True] > 2


def test_the_library_that_verifies_gives_the_known_answers(quick: Backend) -> None:
    assert quick in backends()
    assert gives_known_answers(quick)
