#!/usr/bin/env bash
# Runs the examples against a server of its own: examples.sh PROGRAM COMPONENTS, a folder. An example whose packages can't be fetched
# does not run, and says so.
set -euo pipefail

program=$1 components=$2
top="$(cd "$(dirname "$0")/.." && pwd)"
folder=$(mktemp -d)
server=
clean_up() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT

# A port that nobody listens on.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export QUORATE_URL=http://127.0.0.1:$port QUORATE_API_KEY
QUORATE_API_KEY=$(openssl rand -hex 32)
env -i PATH="$PATH" HOME="$folder" MPC_API_KEY="$QUORATE_API_KEY" QUORATE_PLUGINS="$components" QUORATE_LISTEN="127.0.0.1:$port" \
  QUORATE_DATA="$folder/data" QUORATE_LOG=warn "$program" serve all --embedded >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 120); do
  ! curl -sf -m 2 "$QUORATE_URL/health" >/dev/null || break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.5
done
curl -sf -m 2 "$QUORATE_URL/health" >/dev/null || { cat "$folder/log" >&2; echo "the server did not start" >&2; exit 1; }

did_not_run() { echo "examples/$1 DID NOT RUN: $2"; }

echo "== examples/curl"
"$top/examples/curl/sign.sh"

echo "== examples/python"
if python3 -m venv "$folder/venv" && "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$top/examples/python/requirements.txt"; then
  "$folder/venv/bin/python" "$top/examples/python/sign.py"
else
  did_not_run python "its packages can't be installed"
fi

echo "== examples/typescript"
cp -r "$top/examples/typescript" "$folder/typescript"
if ! command -v npm >/dev/null; then
  did_not_run typescript "npm is missing"
elif npm ci --prefix "$folder/typescript" --no-audit --no-fund --loglevel=error; then
  npm run --silent check --prefix "$folder/typescript"
  npm start --silent --prefix "$folder/typescript"
  for example in solana taproot; do npm run --silent "$example" --prefix "$folder/typescript"; done
else
  did_not_run typescript "its packages can't be installed"
fi
