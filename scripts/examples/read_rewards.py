"""Read what every client was paid, from any node, with nothing but web3.py and the Ledger's ABI.

python scripts/examples/read_rewards.py http://127.0.0.1:8545
"""

import sys
from collections import Counter

from web3 import Web3

from contracts import addresses, artifacts


def main(url: str) -> None:
    """Print one line for each reward, then the sums."""
    w3 = Web3(Web3.HTTPProvider(url))
    ledger = w3.eth.contract(Web3.to_checksum_address(addresses.LEDGER), abi=artifacts.load("Ledger").abi)
    paid: Counter[int] = Counter()
    for event in ledger.events.Credited().get_logs(from_block=0):
        told = event["args"]
        paid[told["client"]] += told["reward"]
        share = Web3.from_wei(told["reward"], "ether")
        print(f"block {event['blockNumber']}  round {told['round']}  client {told['client']}  {share:.4f} tokens")
    for client, wei in sorted(paid.items()):
        print(f"client {client}: {Web3.from_wei(wei, 'ether'):.4f} tokens in all")


if __name__ == "__main__":
    main(sys.argv[1])
