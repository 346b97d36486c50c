"""The ledger under CometBFT, one CometBFT process beside each node; how it works: chain/engines/README.md.

- `server`: ABCI 2.0 over a Unix socket; `bridge`: what each request asks of the application
- `engine`: the node's view of it, with the node's own pool
- `rpc`: the few questions that a node asks its CometBFT
- `home`: a CometBFT home for a member of the ledger; `binary`: where the program is
"""
