"""How blocks, transactions, receipts and logs look in JSON: Ethereum's execution-apis, with type 0x50 beside them.

A transaction of type 0x50 has the fields of EIP-1559 and, in place of `v`, `r` and `s`: `scheme` (44 or 65),
`signature`, and `signerKey`, the whole public key or the 20-byte address of a key that the ledger keeps. (The name
`publicKey` is taken: web3.py refuses one that is not 64 bytes long.)
"""

from typing import TYPE_CHECKING, Final, TypeAlias

from chain.execution.reader import FoundLog, Place
from chain.execution.reverts import revert_text
from chain.transaction import TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chain.execution.blocks import Block, Header
    from chain.execution.reader import FoundReceipt, FoundTransaction, Proof
    from chain.execution.simulated import SimulatedBlock, SimulatedCall
    from chain.execution.transactions import Description

Json: TypeAlias = dict[str, object]


def number(value: int) -> str:
    """Write a quantity."""
    return hex(value)


def data(value: bytes) -> str:
    """Write bytes."""
    return f"0x{value.hex()}"


def block(content: "Block", transactions: "Sequence[object]") -> Json:
    """Write a block; `transactions` are hashes or whole transactions, as the client asked."""
    shape = {
        **header(content.header, content.hash),
        "size": number(len(content.encode())),
        "uncles": [],
        "transactions": list(transactions),
    }
    return shape if content.header.withdrawals_root is None else shape | {"withdrawals": []}


def header(fields: "Header", block_hash: bytes) -> Json:
    """Write the part of a block that its header holds."""
    shape: Json = {
        "number": number(fields.number),
        "hash": data(block_hash),
        "parentHash": data(fields.parent_hash),
        "sha3Uncles": data(fields.uncles_hash),
        "miner": data(fields.coinbase),
        "stateRoot": data(fields.state_root),
        "transactionsRoot": data(fields.transactions_root),
        "receiptsRoot": data(fields.receipts_root),
        "logsBloom": data(fields.bloom),
        "difficulty": number(fields.difficulty),
        "gasLimit": number(fields.gas_limit),
        "gasUsed": number(fields.gas_used),
        "timestamp": number(fields.timestamp),
        "extraData": data(fields.extra_data),
        "mixHash": data(fields.mix_hash),
        "nonce": data(fields.nonce),
    }
    return shape | {name: _written(value) for name, value in _since_london(fields) if value is not None}


def _since_london(fields: "Header") -> "Sequence[tuple[str, int | bytes | None]]":
    """Give what Ethereum's forks have added; the headers of other ledgers may come from before."""
    return (
        ("baseFeePerGas", fields.base_fee_per_gas),
        ("withdrawalsRoot", fields.withdrawals_root),
        ("blobGasUsed", fields.blob_gas_used),
        ("excessBlobGas", fields.excess_blob_gas),
        ("parentBeaconBlockRoot", fields.parent_beacon_block_root),
        ("requestsHash", fields.requests_hash),
    )


def _written(value: int | bytes) -> str:
    return number(value) if isinstance(value, int) else data(value)


def transaction(found: "FoundTransaction", within: "Header") -> Json:
    """Write a transaction of a block with the header `within`."""
    fields = found.description
    price = min(fields.max_fee_per_gas, fields.max_priority_fee_per_gas + (within.base_fee_per_gas or 0))
    return _described(fields, price) | {
        "blockHash": data(found.place.block_hash),
        "blockNumber": number(found.place.number),
        "blockTimestamp": number(within.timestamp),
        "transactionIndex": number(found.place.index),
    }


def waiting_transaction(fields: "Description") -> Json:
    """Write a transaction that no block holds yet; its price is the greatest that it may pay."""
    nowhere = ("blockHash", "blockNumber", "blockTimestamp", "transactionIndex")
    return _described(fields, fields.max_fee_per_gas) | dict.fromkeys(nowhere)


def _described(fields: "Description", price: int) -> Json:
    shape: Json = {
        "type": number(fields.type),
        "hash": data(fields.hash),
        "from": data(fields.sender),
        "to": data(fields.to) if fields.to else None,
        "nonce": number(fields.nonce),
        "gas": number(fields.gas),
        "gasPrice": number(price),
        "value": number(fields.value),
        "input": data(fields.data),
    }
    if fields.chain_id:  # other ledgers may hold legacy transactions that bind none
        shape["chainId"] = number(fields.chain_id)
    if fields.access_list is not None:
        shape["accessList"] = [
            {"address": data(account), "storageKeys": [data(slot) for slot in slots]}
            for account, slots in fields.access_list
        ]
    if fields.type in _WITH_FEES:
        shape["maxFeePerGas"] = number(fields.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = number(fields.max_priority_fee_per_gas)
    if fields.scheme is not None and fields.public_key is not None and fields.signature is not None:
        return shape | {
            "scheme": number(fields.scheme),
            "signerKey": data(fields.public_key),
            "signature": data(fields.signature),
        }
    v = number(fields.v or 0)
    return (
        shape
        | {"v": v, "r": number(fields.r or 0), "s": number(fields.s or 0)}
        | ({"yParity": v} if fields.type else {})
    )


_WITH_FEES: Final = (2, 3, 4, TYPE)  # EIP-1559's own type, the two of Ethereum that follow it, and ours


def receipt(found: "FoundReceipt", timestamp: int) -> Json:
    """Write a receipt; `timestamp` is the block's."""
    fields, place = found.description, found.place
    entries = [
        FoundLog(place, found.hash, found.first_log + at, entry, timestamp)
        for at, entry in enumerate(found.receipt.logs)
    ]
    return {
        "type": number(found.receipt.type),
        "status": number(int(found.receipt.succeeded)),
        "transactionHash": data(found.hash),
        "transactionIndex": number(place.index),
        "blockHash": data(place.block_hash),
        "blockNumber": number(place.number),
        "from": data(fields.sender),
        "to": data(fields.to) if fields.to else None,
        "contractAddress": data(found.created) if found.created else None,
        "gasUsed": number(found.gas_used),
        "cumulativeGasUsed": number(found.receipt.cumulative_gas),
        "effectiveGasPrice": number(found.price),
        "logsBloom": data(found.receipt.bloom),
        "logs": logs(entries),
    }


def log(found: "FoundLog") -> Json:
    """Write a log with its place."""
    return logs([found])[0]


def logs(found: "Iterable[FoundLog]") -> list[Json]:
    """Write logs in order; what those of one transaction have in common is written once."""
    written: list[Json] = []
    place, where = None, {}
    for each in found:
        if each.place is not place:
            place = each.place
            where = {
                "blockNumber": number(place.number),
                "blockHash": data(place.block_hash),
                "blockTimestamp": number(each.timestamp),
                "transactionHash": data(each.transaction_hash),
                "transactionIndex": number(place.index),
                "removed": False,
            }
        entry = each.log
        written.append(
            {
                "address": f"0x{entry.address.hex()}",  # as `data` and `number` do; there may be 100,000
                "topics": [f"0x{topic.hex()}" for topic in entry.topics],
                "data": f"0x{entry.data.hex()}",
                "logIndex": hex(each.log_index),
                **where,
            }
        )
    return written


def simulated_block(made: "SimulatedBlock", transactions: "Sequence[object]") -> Json:
    """Write a supposed block and what each of its calls did (execution-apis, eth_simulateV1)."""
    within = made.block
    calls: list[Json] = []
    for index, (fields, done) in enumerate(zip(made.transactions, made.calls, strict=True)):
        place = Place(within.number, within.hash, index)
        logs = [
            log(FoundLog(place, fields.hash, index_in_block, entry, within.header.timestamp))
            for index_in_block, entry in done.logs
        ]
        calls.append(
            {
                "returnData": data(done.output if done.succeeded else b""),
                "logs": logs,
                "gasUsed": number(done.gas_used),
                "maxUsedGas": number(done.most_gas),
                "status": number(int(done.succeeded)),
            }
            | ({} if done.succeeded else {"error": _call_error(done)})
        )
    return block(within, transactions) | {"calls": calls}


def _call_error(done: "SimulatedCall") -> Json:
    if not done.reverted:
        return {"message": done.failure, "code": _FAILED_CALL}
    text = revert_text(done.output)
    message = f"{done.failure}: {text}" if text else done.failure
    return {"message": message, "code": _REVERTED_CALL, "data": data(done.output)}


_REVERTED_CALL: Final = 3
_FAILED_CALL: Final = -32_015  # execution-apis: an error of the EVM


def proof(address: bytes, found: "Proof", keys: "Sequence[str]") -> Json:
    """Write an account with its proof and those of its storage slots; `keys` are the slots as the client wrote them."""
    account = found.account
    return {
        "address": data(address),
        "balance": number(account.balance),
        "nonce": number(account.nonce),
        "codeHash": data(account.code_hash),
        "storageHash": data(account.storage_root),
        "accountProof": [data(node) for node in found.nodes],
        "storageProof": [
            {"key": key, "value": number(slot.value), "proof": [data(node) for node in slot.nodes]}
            for key, slot in zip(keys, found.slots, strict=True)
        ],
    }
