// Creates an account for BIP-340 and spends two Taproot outputs by their key: the account's own, and one that commits to a script.
// Both are built by btc-signer, and the signatures are verified by noble-curves.

import { schnorr } from "@noble/curves/secp256k1.js";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import * as btc from "@scure/btc-signer";

import { type Account, type Signature, get, post } from "./quorate.ts";

const account = await post<Account>("/accounts", { user_id: "example", scheme: "bip340" });
console.log(`account  ${account.id}`);
console.log(`Bitcoin  ${account.bitcoin_address}`);
const key = hexToBytes(account.public_key);

async function spend(outputKey: Uint8Array, address: string, merkleRoot?: Uint8Array): Promise<void> {
  const output = { type: "tr", pubkey: outputKey } as const;
  if (btc.Address().encode(output) !== address) throw new Error("the address is of another key");
  const script = btc.OutScript.encode(output);
  const amount = 100_000n;
  const transaction = new btc.Transaction();
  // The output to spend is made up, so that nothing can be sent.
  transaction.addInput({ txid: "07".repeat(32), index: 0, witnessUtxo: { script, amount } });
  transaction.addOutputAddress(address, amount - 1_000n);
  const digest = transaction.preimageWitnessV1(0, [script], btc.SigHash.DEFAULT, [amount]);
  const request = { message: bytesToHex(digest), merkle_root: merkleRoot && bytesToHex(merkleRoot) };
  const signed = await post<Signature>(`/accounts/${account.id}/sign`, request);
  const signature = hexToBytes(signed.signature);
  if (!schnorr.verify(signature, digest, outputKey)) throw new Error("the signature does not verify");
  transaction.updateInput(0, { tapKeySig: signature });
  transaction.finalize();
  console.log(`signers  ${signed.signers}: verified by noble-curves, ${transaction.extract().length} bytes to send`);
}

// The account's key is an output key already: nothing is added to it.
await spend(key, account.bitcoin_address!);

// Here the account's key is the internal key of an output that anybody can also spend, with the script OP_TRUE.
const tree = btc.p2tr(key, { script: new Uint8Array([0x51]) }, undefined, true);
const root = tree.tapMerkleRoot!;
const shown = await get<Account>(`/accounts/${account.id}?merkle_root=${bytesToHex(root)}`);
if (shown.taproot_output!.public_key !== bytesToHex(tree.tweakedPubkey)) throw new Error("the output key is another");
await spend(tree.tweakedPubkey, shown.taproot_output!.bitcoin_address, root);
