// Creates an account for Ed25519, signs a Solana transfer with it, and has Solana's own library verify the transaction.

import { bytesToHex } from "@noble/hashes/utils.js";
import { PublicKey, SystemProgram, Transaction } from "@solana/web3.js";

import { type Account, type Signature, post } from "./quorate.ts";

const account = await post<Account>("/accounts", { user_id: "example", scheme: "ed25519" });
console.log(`account  ${account.id}`);
console.log(`Solana   ${account.solana_address}`);

const payer = new PublicKey(account.solana_address!);
// Ask a node for a recent block; this one is made up, so that nothing can be sent.
const recentBlockhash = PublicKey.default.toBase58();
const transaction = new Transaction({ feePayer: payer, recentBlockhash });
transaction.add(SystemProgram.transfer({ fromPubkey: payer, toPubkey: PublicKey.default, lamports: 1 }));

const message = transaction.serializeMessage();
const signed = await post<Signature>(`/accounts/${account.id}/sign`, { message: bytesToHex(message) });
console.log(`signers  ${signed.signers}`);
transaction.addSignature(payer, Buffer.from(signed.signature, "hex"));
if (!transaction.verifySignatures()) throw new Error("the transaction does not verify");
console.log(`verified by @solana/web3.js: ${transaction.serialize().length} bytes to send`);
