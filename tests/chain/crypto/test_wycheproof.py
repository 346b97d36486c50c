"""Wycheproof's ML-DSA vectors, with the backend that verifies on this machine (C2SP/wycheproof, Apache-2.0)."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from chain.crypto.backend_cryptography import CryptographyBackend
from chain.crypto.schemes import (
    CONTEXT_BYTES,
    PUBLIC_KEY_BYTES,
    SEED_BYTES,
    SIGNATURE_BYTES,
    Scheme,
    SigningKey,
    backends,
    gives_known_answers,
    verify,
)
from chain.errors import KeyLengthError

SCHEMES = {Scheme.ML_DSA_44: "44", Scheme.ML_DSA_65: "65"}


def groups(shared: Path, name: str) -> list[dict[str, Any]]:
    document = json.loads((shared / "vectors" / "wycheproof" / name).read_text(encoding="utf-8"))
    return document["testGroups"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_verification_agrees_with_every_vector(shared: Path, scheme: Scheme) -> None:
    counted = 0
    for group in groups(shared, f"mldsa_{SCHEMES[scheme]}_verify_test.json"):
        public_key = bytes.fromhex(group["publicKey"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            context = bytes.fromhex(case.get("ctx", ""))
            expected = case["result"] == "valid"
            assert verify(scheme, public_key, signature, message, context) is expected, case["comment"]
            counted += 1
    assert counted > 150


def test_known_answers_are_among_the_vectors_and_tell_a_library_that_does_not_check_z(shared: Path) -> None:
    class Careless(CryptographyBackend):
        """Accepts whatever is long enough, as a library does that leaves out a check."""

        def verify(self, *_: object) -> bool:
            return True

    assert gives_known_answers(CryptographyBackend())
    assert not gives_known_answers(Careless())
    published = {
        case["sig"]
        for name in SCHEMES.values()
        for group in groups(shared, f"mldsa_{name}_verify_test.json")
        for case in group["tests"]
    }
    ours = json.loads(files("chain.crypto").joinpath("known_answers.json").read_text(encoding="utf-8"))["answers"]
    assert {answer["signature"] for answer in ours} <= published


def test_only_a_backend_that_agrees_with_all_vectors_verifies(shared: Path) -> None:
    for backend in backends():
        wrong = 0
        for scheme, name in SCHEMES.items():
            for group in groups(shared, f"mldsa_{name}_verify_test.json"):
                public_key = bytes.fromhex(group["publicKey"])
                for case in group["tests"]:
                    message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
                    context = bytes.fromhex(case.get("ctx", ""))
                    whole = len(public_key) == PUBLIC_KEY_BYTES[scheme] and len(signature) == SIGNATURE_BYTES[scheme]
                    if whole and len(context) <= CONTEXT_BYTES:
                        found = backend.verify(scheme, public_key, signature, message, context)
                        wrong += found is not (case["result"] == "valid")
        assert gives_known_answers(backend) is (wrong == 0), (backend.name, wrong)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_deterministic_signatures_are_byte_for_byte_those_of_the_vectors(shared: Path, scheme: Scheme) -> None:
    counted = 0
    for group in groups(shared, f"mldsa_{SCHEMES[scheme]}_sign_seed_test.json"):
        seed = bytes.fromhex(group["privateSeed"])
        if len(seed) != SEED_BYTES:
            with pytest.raises(KeyLengthError):
                SigningKey.from_seed(scheme, seed)
            continue
        key = SigningKey.from_seed(scheme, seed)
        assert key.public_key.hex() == group["publicKey"]
        for case in group["tests"]:
            if "Internal" in case["flags"] or "Randomized" in case["flags"] or "msg" not in case:
                continue  # inputs below the interface: a given mu, given randomness
            if "ManySteps" in case["flags"] and counted > 20:
                continue  # slow in plain Python, and the shorter ones take the same steps
            message, context = bytes.fromhex(case["msg"]), bytes.fromhex(case.get("ctx", ""))
            if case["result"] == "invalid":
                with pytest.raises(KeyLengthError):
                    key.sign(message, context, deterministic=True)
                continue
            assert key.sign(message, context, deterministic=True).hex() == case["sig"], case["comment"]
            counted += 1
    assert counted > 20
