"""Creates an account, signs a message with it, and verifies the signature with libsecp256k1 (coincurve)."""

import hashlib
import json
import os
import time
import uuid
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from coincurve import PublicKey
from coincurve.ecdsa import cdata_to_der, deserialize_compact

URL = os.environ.get("QUORATE_URL", "http://127.0.0.1:4000")
API_KEY = os.environ["QUORATE_API_KEY"]


ATTEMPTS = 3
TIMEOUT_SECONDS = 90  # longer than the server's limits: 20 s for each party of a new account, 10 s to sign


def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Posts a request, and repeats it under the same idempotency key: nothing is made or signed twice."""
    headers = {
        "X-API-Key": API_KEY,
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    request = Request(f"{URL}/api/v1{path}", json.dumps(body).encode(), headers)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)
        except HTTPError as error:
            try:
                problem = json.load(error)
            except ValueError:  # of a proxy, perhaps
                problem = {"code": str(error.code), "detail": error.reason}
            may_repeat = error.code in (503, 504) or problem["code"] == "in_progress"
            if not may_repeat or attempt == ATTEMPTS:
                raise SystemExit(f"{problem['code']}: {problem['detail']}") from error
        except (URLError, TimeoutError) as error:
            if attempt == ATTEMPTS:
                raise SystemExit(f"{URL} does not answer: {error}") from error
        time.sleep(2)
    raise AssertionError("the last attempt returns or raises")


def main() -> None:
    account = call("/accounts", {"user_id": "example"})
    print(f"account  {account['id']}")
    print(f"Ethereum {account['ethereum_address']}")

    message = b"hello from Python"
    signed = call(f"/accounts/{account['id']}/sign", {"message": message.hex(), "hash": "sha256"})
    print(f"signers  {signed['signers']}")

    digest = hashlib.sha256(message).digest()
    assert signed["digest"] == digest.hex(), "another digest was signed"
    signature = cdata_to_der(deserialize_compact(bytes.fromhex(signed["signature"])))
    public_key = PublicKey(bytes.fromhex(account["public_key"]))
    assert public_key.verify(signature, digest, hasher=None), "the signature does not verify"
    print("verified by libsecp256k1")


main()
