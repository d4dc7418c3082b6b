// A caller of the API. It repeats a request that had no answer.

import { randomUUID } from "node:crypto";

const url = process.env.QUORATE_URL ?? "http://127.0.0.1:4000";
const apiKey = process.env.QUORATE_API_KEY;
if (!apiKey) throw new Error("set QUORATE_API_KEY to the API key of the server");

export interface Account {
  id: string;
  public_key: string;
  ethereum_address?: string;
  bitcoin_address?: string;
  solana_address?: string;
  taproot_output?: { public_key: string; bitcoin_address: string };
}

export interface Signature {
  digest?: string;
  signature: string;
  public_key: string;
  signers: number[];
}

const attempts = 3;
// Longer than the server's limits: 20 s for each party of a new account, 10 s to sign.
const timeoutMs = 90_000;

// Posts a request, and repeats it under the same idempotency key: nothing is made or signed twice.
export async function post<T>(path: string, body: object): Promise<T> {
  const headers = { "X-API-Key": apiKey!, "Content-Type": "application/json", "Idempotency-Key": randomUUID() };
  return call(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export async function get<T>(path: string): Promise<T> {
  return call(path, { headers: { "X-API-Key": apiKey! } });
}

async function call<T>(path: string, request: RequestInit): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === attempts;
    try {
      const response = await fetch(`${url}/api/v1${path}`, { ...request, signal: AbortSignal.timeout(timeoutMs) });
      // A proxy may answer with something other than JSON.
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
