// Creates an account, signs a message with it, and verifies the signature with noble-curves.

import { randomUUID } from "node:crypto";

import { secp256k1 } from "@noble/curves/secp256k1.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

const url = process.env.QUORATE_URL ?? "http://127.0.0.1:4000";
const apiKey = process.env.QUORATE_API_KEY;
if (!apiKey) throw new Error("set QUORATE_API_KEY to the API key of the server");

interface Account {
  id: string;
  ethereum_address: string;
  public_key: string;
}

interface Signature {
  digest: string;
  signature: string;
  signers: number[];
}

// Made again with the same idempotency key, a request has the same answer.
async function call<T>(path: string, body: object): Promise<T> {
  const response = await fetch(`${url}/api/v1${path}`, {
    method: "POST",
    headers: { "X-API-Key": apiKey!, "Content-Type": "application/json", "Idempotency-Key": randomUUID() },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(90_000),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  return answer as T;
}

const account = await call<Account>("/accounts", { user_id: "example" });
console.log(`account  ${account.id}`);
console.log(`Ethereum ${account.ethereum_address}`);

const message = utf8ToBytes("hello from TypeScript");
const signed = await call<Signature>(`/accounts/${account.id}/sign`, { message: bytesToHex(message), hash: "sha256" });
console.log(`signers  ${signed.signers}`);

const digest = sha256(message);
if (signed.digest !== bytesToHex(digest)) throw new Error("another digest was signed");
const isValid = secp256k1.verify(hexToBytes(signed.signature), digest, hexToBytes(account.public_key), { prehash: false });
if (!isValid) throw new Error("the signature does not verify");
console.log("verified by noble-curves");
