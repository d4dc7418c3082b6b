#!/usr/bin/env bash
# Creates an account, signs a message with it, and verifies the signature with OpenSSL.
set -euo pipefail

url=${QUORATE_URL:-http://127.0.0.1:4000}
: "${QUORATE_API_KEY:?set it to the API key of the server}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# Posts a request, and repeats it under the same idempotency key: nothing is made or signed twice. The API key goes in by standard
# input: arguments can be seen by other users of the machine.
call() { # path, body
  local key status attempt
  key=$(openssl rand -hex 16)
  for attempt in 1 2 3; do
    status=$(printf 'header = "X-API-Key: %s"\n' "$QUORATE_API_KEY" |
      curl --silent --show-error --max-time 90 --config - --output "$folder/answer" --write-out '%{http_code}' \
        --header 'Content-Type: application/json' --header "Idempotency-Key: $key" --data "$2" "$url/api/v1$1") || status=000
    case $status in
      2??) cat "$folder/answer"; return ;;
      000 | 503 | 504) ;; # no answer, or one that asks for a repetition
      409) [ "$(field code <"$folder/answer")" = in_progress ] || break ;;
      *) break ;;
    esac
    [ "$attempt" = 3 ] || sleep 2
  done
  if [ "$status" = 000 ]; then
    echo "$url does not answer" >&2
  else
    echo "$(field code <"$folder/answer"): $(field detail <"$folder/answer")" >&2
  fi
  return 1
}

account=$(call /accounts '{"user_id":"example"}')
id=$(field id <<< "$account")
echo "account  $id"
echo "Ethereum $(field ethereum_address <<< "$account")"

printf 'hello from curl' > "$folder/message"
message=$(od -An -v -tx1 "$folder/message" | tr -d ' \n')
signature=$(call "/accounts/$id/sign" "{\"message\":\"$message\",\"hash\":\"sha256\"}")
field der <<< "$signature" | tr -d '\n' | sed 's/../\\x&/g' | xargs -0 printf '%b' > "$folder/signature"

# A SubjectPublicKeyInfo for secp256k1 is this prefix and the uncompressed key.
public=$(field public_key_uncompressed <<< "$account")
printf '%b' "$(printf '3056301006072a8648ce3d020106052b8104000a034200%s' "$public" | sed 's/../\\x&/g')" > "$folder/public"
openssl pkey -pubin -inform DER -in "$folder/public" -out "$folder/public.pem"
openssl dgst -sha256 -verify "$folder/public.pem" -signature "$folder/signature" "$folder/message"
