"""ML-DSA by liboqs, which signs eight times faster than `cryptography`, where its shared library is found.

The library is opened with ctypes and not through `liboqs-python`: that package tries to download and build the C
library when it is missing and ends the process when it cannot, needs a symbol that liboqs 0.13 lacks, and builds an
object per call (see ADR-liboqs.md beside this file).
"""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from chain.crypto.schemes import SIGNATURE_BYTES, Scheme, Signer

_NAMES = {Scheme.ML_DSA_44: "ml_dsa_44", Scheme.ML_DSA_65: "ml_dsa_65"}
_SUCCESS = 0  # OQS_STATUS, oqs/common.h


def liboqs_library() -> Path | None:
    """Find the shared library: $OQS_INSTALL_PATH, `oqs` in the Python environment, `.merit/oqs` here; else None."""
    given = os.environ.get("OQS_INSTALL_PATH")
    prefixes = ([Path(given)] if given else []) + [Path(sys.prefix) / "oqs", Path(".merit/oqs")]
    name = "liboqs.dylib" if sys.platform == "darwin" else "liboqs.so"
    for prefix in prefixes:
        for folder in ("lib", "lib64"):
            library = prefix / folder / name
            if library.is_file():
                return library.resolve()
    return None


def load(library: Path) -> ctypes.CDLL:
    """Open the library and let it set itself up (CPU features, its source of randomness)."""
    handle = ctypes.CDLL(str(library))
    handle.OQS_init()
    return handle


class LiboqsBackend:
    """See `chain.crypto.schemes.Backend`."""

    name = "liboqs"

    def __init__(self, library: Path) -> None:
        """Open the library and declare the functions used (oqs/sig_ml_dsa.h)."""
        handle = load(library)
        octets, size = ctypes.c_char_p, ctypes.c_size_t
        self._verify: dict[Scheme, Callable[..., int]] = {}
        self._sign: dict[Scheme, Callable[..., int]] = {}
        for scheme, name in _NAMES.items():
            check = getattr(handle, f"OQS_SIG_{name}_verify_with_ctx_str")
            check.restype = ctypes.c_int
            check.argtypes = [octets, size, octets, size, octets, size, octets]
            sign = getattr(handle, f"OQS_SIG_{name}_sign_with_ctx_str")
            sign.restype = ctypes.c_int
            sign.argtypes = [octets, ctypes.POINTER(size), octets, size, octets, size, octets]
            self._verify[scheme], self._sign[scheme] = check, sign

    def verify(self, scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:
        """Tell whether the signature holds."""
        status = self._verify[scheme](
            message, len(message), signature, len(signature), context, len(context), public_key
        )
        return status == _SUCCESS

    def signer(self, scheme: Scheme, seed: bytes) -> Signer:
        """Expand the seed in Python: liboqs takes no seeds."""
        from chain.crypto.backend_python import expanded_key  # noqa: PLC0415 - only who signs needs it

        return _LiboqsSigner(self._sign[scheme], SIGNATURE_BYTES[scheme], expanded_key(scheme, seed))


class _LiboqsSigner:
    """See `chain.crypto.schemes.Signer`."""

    def __init__(self, sign: Callable[..., int], signature_bytes: int, private_key: bytes) -> None:
        self._function, self._bytes, self._private_key = sign, signature_bytes, private_key

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign with fresh randomness."""
        buffer = ctypes.create_string_buffer(self._bytes)
        length = ctypes.c_size_t(self._bytes)
        status = self._function(
            buffer, ctypes.byref(length), message, len(message), context, len(context), self._private_key
        )
        if status != _SUCCESS or length.value != self._bytes:
            failure = f"liboqs could not sign (status {status}, {length.value} bytes)"
            raise RuntimeError(failure)
        return buffer.raw
