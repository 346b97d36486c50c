"""The precompile SIGNATURES (0x4d12), from execution version 2 on: an ML-DSA signature for any contract.

See ADR-signature-precompile.md beside this file.
"""

from typing import TYPE_CHECKING, Final, cast

from eth.abc import ComputationAPI
from eth.exceptions import VMError

from chain.crypto.contexts import contract_context
from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Scheme, verify
from chain.execution.transactions import SIGNATURE_GAS

if TYPE_CHECKING:
    from chain.execution.evm import MeritState

WORD_GAS: Final = 12  # per word of input, as for SHA-256 (Yellow Paper, appendix E): the message is hashed
_WORD: Final = 32


def signature_precompile(computation: ComputationAPI) -> ComputationAPI:
    """Tell whether a signature holds: scheme byte || public key || signature || message in, one word (1 or 0) out.

    Fails for an unknown scheme and for input that is cut short. The context is the contracts' own, so nothing that was
    signed as a transaction or as a record passes here, and the other way round.
    """
    data = computation.msg.data_as_bytes
    if not data or data[0] not in PUBLIC_KEY_BYTES:
        message = "not a signature scheme"
        raise VMError(message)
    scheme = Scheme(data[0])
    computation.consume_gas(SIGNATURE_GAS[scheme] + WORD_GAS * -(-len(data) // _WORD), reason="signature")
    key_end = 1 + PUBLIC_KEY_BYTES[scheme]
    end = key_end + SIGNATURE_BYTES[scheme]
    if len(data) < end:
        message = "not a public key and a signature of the scheme's length"
        raise VMError(message)
    context = contract_context(cast("MeritState", computation.state).environment.genesis_hash)
    holds = verify(scheme, data[1:key_end], data[key_end:end], data[end:], context)
    computation.output = int(holds).to_bytes(_WORD, "big")
    return computation
