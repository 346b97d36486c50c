"""Post-quantum transport: TLS 1.3 with the key exchange X25519MLKEM768 and ML-DSA certificates, on both sides.

Python's own `ssl` cannot do it, so pyOpenSSL does the cryptography on memory buffers (`channel`); a front before the
intake (`front`) and a transport for httpx (`transport`) move the bytes. See ADR-front.md.
"""
