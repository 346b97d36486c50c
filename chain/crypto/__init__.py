"""Signature schemes, addresses and keys at rest; light to import (no EVM, no network).

- `chain.crypto.schemes`: `Scheme`, `SigningKey`, `verify`
- `chain.crypto.addresses`: `Address`, `address_of`
- `chain.crypto.contexts`: what a signature is for
- `chain.crypto.keystore`: encrypted keys on disk
"""
