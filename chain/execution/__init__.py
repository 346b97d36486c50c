"""Execution: py-evm configured for Merit; the only package that imports py-evm.

- `chain.execution.blocks`: headers, receipts, logs, blocks (no EVM needed)
- `chain.execution.evm`: the fork's configuration; `chain.execution.executor`: one block from its transactions
- `chain.execution.accounts`, `update`, `lookup`, `interpreter`: what py-evm does too slowly (ADR-lean-execution.md)
- `chain.execution.records`, `chain.execution.keys`: the native contracts
- `chain.execution.reader`: everything that RPC and audit read
"""
