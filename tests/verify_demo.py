"""Verifies the output of `quorate demo --json` with eth-account, an Ethereum library that has nothing to do with ours.

Usage: quorate demo --json | python3 tests/verify_demo.py
"""

import json
import sys

from eth_account import Account
from eth_utils import keccak


def main() -> None:
    demo = json.load(sys.stdin)
    created, refreshed = demo["accounts"]
    address = created["ethereum_address"]
    assert refreshed["ethereum_address"] == address, "the refresh changed the address"
    assert (created["epoch"], refreshed["epoch"]) == (1, 2), "the refresh is not one epoch later"

    for transaction in demo["transactions"]:
        raw, signature = transaction["raw_transaction"], transaction["signature"]
        assert raw.startswith("0x02"), "not an EIP-1559 transaction"
        assert Account.recover_transaction(raw) == address, "the sender is somebody else"
        digest = keccak(bytes.fromhex(transaction["message"]))
        assert digest.hex() == signature["digest"], "the digest is not that of the message"
        vrs = (27 + signature["recovery_id"], int(signature["r"], 16), int(signature["s"], 16))
        assert Account._recover_hash(digest, vrs=vrs) == address, "the signature is somebody else's"
        assert signature["r"] + signature["s"] == signature["signature"], "two forms of one signature differ"

    quorums = [transaction["signature"]["signers"] for transaction in demo["transactions"][:3]]
    assert quorums == [[1, 2], [1, 3], [2, 3]], "not every quorum has signed"
    first, last = (demo["transactions"][i]["signature"]["plugin_digest"] for i in (0, -1))
    assert [first, last] == [plugin["digest"] for plugin in demo["plugins"]], "the plugins were not used as told"
    assert first != last, "the plugin was not replaced"
    print(f"{len(demo['transactions'])} transactions, all sent by {address}; plugin replaced; verified by eth-account")


main()
