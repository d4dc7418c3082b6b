#!/usr/bin/env bash
# Takes away, one after the other, the checks that hold the rules of the trust model, and expects the test that guards
# each to fail. Works on a copy; the checkout stays as it is. `run.sh NAME` tries one patch.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$top/target}"
export QUORATE_PLUGINS="${QUORATE_PLUGINS:-$top/target/plugins}"
export CARGO_TERM_COLOR=never
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
# What git knows, and what is new but not ignored.
(cd "$top" && git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create) |
  tar --directory="$copy" --extract
cd "$copy"

unguarded=0
total=0
for patch in "$top"/tests/guards/${1:-*}.patch; do
  name="$(basename "$patch" .patch)"
  arguments="$(sed -n 's/^test: //p' "$patch")"
  test="${arguments##* }"
  total=$((total + 1))
  # shellcheck disable=SC2086 # several arguments on purpose
  if ! cargo test --locked --quiet $arguments >"$copy.log" 2>&1 || ! grep -q "[1-9][0-9]* passed" "$copy.log"; then
    echo "guard $name: $test does not pass as it is"; tail -20 "$copy.log"
    unguarded=$((unguarded + 1))
    continue
  fi
  if ! git apply "$patch" 2>"$copy.log"; then
    echo "guard $name: the patch does not apply any more"; cat "$copy.log"
    unguarded=$((unguarded + 1))
    continue
  fi
  # shellcheck disable=SC2086 # several arguments on purpose
  if cargo test --locked --quiet $arguments >"$copy.log" 2>&1; then
    echo "guard $name: NOBODY NOTICES: $(head -1 "$patch")"
    unguarded=$((unguarded + 1))
  elif grep -q "test result: FAILED" "$copy.log"; then
    echo "guard $name: $test fails, as it should"
  else
    echo "guard $name: the tests did not run"; tail -20 "$copy.log"
    unguarded=$((unguarded + 1))
  fi
  git apply --reverse "$patch"
done
rm -f "$copy.log"
echo "$((total - unguarded)) of $total guards hold"
test "$unguarded" = 0
