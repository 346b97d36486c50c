"""Ethereum's JSON-RPC over a node of the ledger, in this process and over HTTP; README.md is the guide.

- `chain.rpc.dispatcher`: the methods and their table
- `chain.rpc.http`: a server on the loopback interface
- `chain.rpc.provider`: web3.py without a network
- `chain.rpc.middleware`: web3.py that signs with ML-DSA (needs no EVM)
"""
