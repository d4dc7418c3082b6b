#!/usr/bin/env bash
# Creates an account, signs a message with it, and verifies the signature with OpenSSL.
set -euo pipefail

url=${QUORATE_URL:-http://127.0.0.1:4000}
: "${QUORATE_API_KEY:?set it to the API key of the server}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The key goes in by standard input: arguments can be seen by other users of the machine.
call() { # path, body, idempotency key
  printf 'header = "X-API-Key: %s"\n' "$QUORATE_API_KEY" |
    curl --silent --show-error --fail-with-body --max-time 90 --retry 2 --retry-delay 2 --config - \
      --header 'Content-Type: application/json' --header "Idempotency-Key: $3" --data "$2" "$url/api/v1$1"
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
# curl repeats a request that is answered with 503 or 504, or not in time, with the same key: nothing is created or signed twice.
request_id() { openssl rand -hex 16; }

account=$(call /accounts '{"user_id":"example"}' "$(request_id)")
id=$(field id <<< "$account")
echo "account  $id"
echo "Ethereum $(field ethereum_address <<< "$account")"

printf 'hello from curl' > "$folder/message"
message=$(od -An -v -tx1 "$folder/message" | tr -d ' \n')
signature=$(call "/accounts/$id/sign" "{\"message\":\"$message\",\"hash\":\"sha256\"}" "$(request_id)")
field der <<< "$signature" | tr -d '\n' | sed 's/../\\x&/g' | xargs -0 printf '%b' > "$folder/signature"

# A SubjectPublicKeyInfo for secp256k1 is this prefix and the uncompressed key.
public=$(field public_key_uncompressed <<< "$account")
printf '%b' "$(printf '3056301006072a8648ce3d020106052b8104000a034200%s' "$public" | sed 's/../\\x&/g')" > "$folder/public"
openssl pkey -pubin -inform DER -in "$folder/public" -out "$folder/public.pem"
openssl dgst -sha256 -verify "$folder/public.pem" -signature "$folder/signature" "$folder/message"
