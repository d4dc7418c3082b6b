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

const attempts = 3;
// Longer than the server's limits: 20 s for each party of a new account, 10 s to sign.
const timeoutMs = 90_000;

// Posts a request, and repeats it under the same idempotency key: nothing is made or signed twice.
async function call<T>(path: string, body: object): Promise<T> {
  const headers = { "X-API-Key": apiKey!, "Content-Type": "application/json", "Idempotency-Key": randomUUID() };
  const request = { method: "POST", headers, body: JSON.stringify(body) };
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === attempts;
    try {
      const response = await fetch(`${url}/api/v1${path}`, { ...request, signal: AbortSignal.timeout(timeoutMs) });
      // What is no JSON is of a proxy, perhaps.
      const answer = await response.json().catch(() => ({ code: response.status, detail: response.statusText }));
      if (response.ok) return answer as T;
      const mayRepeat = [503, 504].includes(response.status) || answer.code === "in_progress";
      if (isLast || !mayRepeat) throw new Error(`${answer.code}: ${answer.detail}`);
    } catch (error) {
      // fetch throws a TypeError when there is no answer.
      const isUnanswered = error instanceof TypeError || (error as Error).name === "TimeoutError";
      if (isLast || !isUnanswered) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
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
