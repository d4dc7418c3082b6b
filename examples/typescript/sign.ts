// Creates an account, signs a message with it, and verifies the signature with noble-curves.

import { secp256k1 } from "@noble/curves/secp256k1.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

import { type Account, type Signature, post } from "./quorate.ts";

const account = await post<Account>("/accounts", { user_id: "example" });
console.log(`account  ${account.id}`);
console.log(`Ethereum ${account.ethereum_address}`);

const message = utf8ToBytes("hello from TypeScript");
const signed = await post<Signature>(`/accounts/${account.id}/sign`, { message: bytesToHex(message), hash: "sha256" });
console.log(`signers  ${signed.signers}`);

const digest = sha256(message);
if (signed.digest !== bytesToHex(digest)) throw new Error("another digest was signed");
const isValid = secp256k1.verify(hexToBytes(signed.signature), digest, hexToBytes(account.public_key), { prehash: false });
if (!isValid) throw new Error("the signature does not verify");
console.log("verified by noble-curves");
