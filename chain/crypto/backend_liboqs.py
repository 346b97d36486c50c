"""ML-DSA by liboqs, which signs six to eight times faster than `cryptography`, where its shared library is found.

liboqs-python calls it. Its module `oqs` is imported by `load` and nowhere else: left to itself it clones and builds a C
library when it finds none, and ends the process when it cannot (ADR-liboqs.md beside this file).
"""

import ctypes
import ctypes.util
import logging
import os
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Scheme, Signer

_NAMES = {Scheme.ML_DSA_44: "ML-DSA-44", Scheme.ML_DSA_65: "ML-DSA-65"}
_CHECKOUT = Path(__file__).resolve().parents[2]  # or site-packages, which has no .merit
_PREFIX = "OQS_INSTALL_PATH"
_SWITCH = "MERIT_LIBOQS"
_SUCCESS = 0  # OQS_STATUS


def liboqs_library() -> Path | None:
    """Find the library: $OQS_INSTALL_PATH, `oqs` in the Python environment, `.merit/oqs` in the checkout; else None.

    Never in the working directory, which may be anybody's. $MERIT_LIBOQS=off: none, to compare.
    """
    if os.environ.get(_SWITCH) == "off":
        return None
    given = os.environ.get(_PREFIX)
    prefixes = ([Path(given)] if given else []) + [Path(sys.prefix) / "oqs", _CHECKOUT / ".merit" / "oqs"]
    name = "liboqs.dylib" if sys.platform == "darwin" else "liboqs.so"
    for prefix in prefixes:
        for folder in ("lib", "lib64"):
            library = prefix / folder / name
            if library.is_file():
                return library.absolute()
    return None


def load(library: Path) -> ModuleType:
    """Import `oqs` on this very file, `PREFIX/lib/liboqs.so` or `PREFIX/lib64/liboqs.so`.

    `OSError` for a file that is no library, `AttributeError` for a liboqs without a function that liboqs-python wants.
    """
    ctypes.CDLL(str(library))  # fails here, before liboqs-python would answer the failure with `git clone`
    logging.getLogger("oqs.oqs").disabled = True  # greets on standard output, where a `--json` answer stands
    find, given = ctypes.util.find_library, os.environ.get(_PREFIX)
    ctypes.util.find_library = _find_nothing  # it would prefer a system's library to the one named
    os.environ[_PREFIX] = str(library.parents[1])
    try:
        with warnings.catch_warnings():
            # that its version differs from the library's; known answers judge the library, not its number
            warnings.simplefilter("ignore", UserWarning)
            import oqs  # noqa: PLC0415 - see the module's docstring

            module: ModuleType = oqs
    finally:
        ctypes.util.find_library = find
        if given is None:
            del os.environ[_PREFIX]
        else:
            os.environ[_PREFIX] = given
    return module


def _find_nothing(name: str) -> str | None:  # noqa: ARG001 - the signature of what it stands for
    return None


def _verifiers(library: Path) -> dict[Scheme, Callable[..., int]]:
    """Return liboqs' functions that verify, called with the interpreter's lock held and without copies.

    liboqs-python copies all four arguments and gives the lock away for each call. A verification is much shorter than
    the lock takes to come back where two threads want it.
    """
    functions = ctypes.PyDLL(str(library))
    found: dict[Scheme, Callable[..., int]] = {}
    for scheme in _NAMES:
        function = functions[f"OQS_SIG_ml_dsa_{scheme.value}_verify_with_ctx_str"]
        text, size = ctypes.c_char_p, ctypes.c_size_t
        function.argtypes = [text, size, text, size, text, size, text]
        function.restype = ctypes.c_int  # OQS_STATUS
        found[scheme] = function
    return found


class LiboqsBackend:
    """See `chain.crypto.schemes.Backend`."""

    name = "liboqs"

    def __init__(self, library: Path) -> None:
        """Open the library; see `load` for what can go wrong."""
        oqs = load(library)
        self._signature = oqs.Signature
        if not set(_NAMES.values()) <= set(oqs.get_enabled_sig_mechanisms()):
            message = f"{library} was built without ML-DSA"
            raise OSError(message)
        for scheme, name in _NAMES.items():
            known = oqs.Signature(name)
            sizes = (known.length_public_key, known.length_signature)
            if sizes != (PUBLIC_KEY_BYTES[scheme], SIGNATURE_BYTES[scheme]):
                message = f"{library}: {name} has sizes {sizes}, not FIPS 204's"
                raise OSError(message)
        self._verifiers = _verifiers(library)

    def verify(self, scheme: Scheme, public_key: bytes, signature: bytes, message: bytes, context: bytes) -> bool:
        """Tell whether the signature holds; what is verified has the lengths of its scheme."""
        verifier = self._verifiers[scheme]
        return verifier(message, len(message), signature, len(signature), context, len(context), public_key) == _SUCCESS

    def signer(self, scheme: Scheme, seed: bytes) -> Signer:
        """Expand the seed in Python: liboqs takes no seeds."""
        from chain.crypto.backend_python import expanded_key  # noqa: PLC0415 - only who signs needs it

        return _LiboqsSigner(self._signature(_NAMES[scheme], expanded_key(scheme, seed)))


class _LiboqsSigner:
    """See `chain.crypto.schemes.Signer`."""

    def __init__(self, signature: Any) -> None:  # noqa: ANN401 - liboqs-python has no types
        self._signature = signature
        weakref.finalize(self, signature.free)  # overwrites the private key

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign with fresh randomness."""
        signed: bytes = self._signature.sign_with_ctx_str(message, context)
        return signed
