"""Protobuf stubs of the CometBFT messages in `comet.proto`; `python -m chain.proto.build` makes them."""
