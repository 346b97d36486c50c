"""ML-DSA by `dilithium_py`: plain Python, slow, and the only one here that signs deterministically.

It also expands a seed to the 2,560 or 4,032 bytes that liboqs wants as a private key (FIPS 204, algorithm 24).
"""

from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65

from chain.crypto.schemes import Scheme

_PARAMETERS = {Scheme.ML_DSA_44: ML_DSA_44, Scheme.ML_DSA_65: ML_DSA_65}


def expanded_key(scheme: Scheme, seed: bytes) -> bytes:
    """Expand a seed of 32 bytes to the encoded private key; about 30 ms."""
    key: bytes = _PARAMETERS[scheme].key_derive(seed)[1]
    return key


def sign_deterministic(scheme: Scheme, seed: bytes, message: bytes, context: bytes) -> bytes:
    """Sign with rnd = 0 (FIPS 204, algorithm 2, line 5): equal input gives equal bytes; tens of milliseconds."""
    signature: bytes = _PARAMETERS[scheme].sign(expanded_key(scheme, seed), message, ctx=context, deterministic=True)
    return signature
