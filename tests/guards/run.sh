#!/usr/bin/env bash
# Takes away, one after the other, the checks that hold the rules of the trust model, and expects the test that guards each
# check to fail. Works on a copy; the checkout stays as it is, but for the file DURATION: the seconds that the last run of all patches
# took. `run.sh NAME` tries one patch. `run.sh --part-if-long` tries all if that takes at most ten minutes; otherwise a third, chosen by
# the commit, and all that change a file which differs from the commit GUARDS_SINCE (origin/main, or the commit before this one).
#
# A patch begins with a sentence that says what happens without the check, and a line `test: -p CRATE [--test quorate] TEST`.
# All named tests run once without a patch; then each patch is built and its test run, crate after crate. Servers are started by
# tests/services.sh, which calls this script.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
if [ -z "${TEST_POSTGRES_URL:-}" ]; then exec "$top/tests/services.sh" "$0" "$@"; fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$top/target}"
export QUORATE_PLUGINS="${QUORATE_PLUGINS:-$top/target/plugins}"
export CARGO_TERM_COLOR=never
copy="$(mktemp -d)"
# The builds of this script are newer than the checkout, so that cargo would take them for the checkout's own. One of them lacks
# a check: none may stay.
clean_up() {
  rm -rf "$copy" "$copy.log" "$CARGO_TARGET_DIR"/debug/.fingerprint/quorate* "$CARGO_TARGET_DIR"/debug/quorate
}
trap clean_up EXIT
# What git knows, and what is new but not ignored.
(cd "$top" && git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- --create) |
  tar --directory="$copy" --extract
cd "$copy"

# Lines `crate patch arguments`, by crate: a crate is built again for each of its patches, and the others are not.
list() {
  local patch
  for patch in "$top"/tests/guards/${1:-*}.patch; do
    printf '%s %s %s\n' "$(sed -n 's/^test: -p \([^ ]*\).*/\1/p' "$patch")" "$patch" "$(sed -n 's/^test: //p' "$patch")"
  done | sort
}

longest=600

# How long a build and its test may take, in seconds. A test that waits for ever without its check shows nothing.
limit=400

# A third of the patches, and those for which something has changed.
part() {
  local head since changed number=0 crate patch arguments
  head="$(git -C "$top" rev-parse HEAD)"
  since="${GUARDS_SINCE:-$(git -C "$top" rev-parse --quiet --verify origin/main || true)}"
  if [ -z "$since" ] || [ "$(git -C "$top" rev-parse "$since")" = "$head" ]; then since=HEAD~1; fi
  changed="$(git -C "$top" diff --name-only --find-renames=100% --diff-filter=AM "$since" -- || true)"
  while read -r crate patch arguments; do
    number=$((number + 1))
    if (((number + 16#${head:0:6}) % 3 == 0)) ||
      grep -qxF -e "$(sed -n 's,^--- a/,,p' "$patch")" -e "tests/guards/$(basename "$patch")" <<< "$changed"; then
      printf '%s %s %s\n' "$crate" "$patch" "$arguments"
    fi
  done < <(list)
}

# The features of shared dependencies that the whole workspace has: no dependency is built twice.
features=(-p quorate-dev-features)

# Some tests run the program itself.
build_program() { cargo build --locked --quiet -p quorate "${features[@]}" --bin quorate; }

run_test() { # arguments: crate, target, test
  local test=${*: -1}
  set -- "${@:1:$#-1}"
  local with=("${features[@]}")
  if [ "$2" = quorate-tests ]; then build_program || return 2; with=(); fi
  timeout --kill-after=10 "$limit" cargo test --locked "$@" "${with[@]}" -- --exact "$test"
}

kind=all
if [ "${1:-}" = --part-if-long ]; then
  if [ "$(cat "$top/tests/guards/DURATION")" -gt "$longest" ]; then kind=part; fi
elif [ -n "${1:-}" ]; then
  kind=one
fi
case "$kind" in
  part) mapfile -t guards < <(part) ;;
  *) mapfile -t guards < <(list "$([ "$kind" = all ] || echo "$1")") ;;
esac
echo "$kind: ${#guards[@]} of $(list | wc -l) guards"
tests=()
for guard in "${guards[@]}"; do tests+=("${guard##* }"); done
build_program
cargo test --locked --workspace --no-fail-fast -- --exact "${tests[@]}" >"$copy.log" 2>&1 || true
missing=0
for test in "${tests[@]}"; do
  grep -qxF "test $test ... ok" "$copy.log" || { echo "$test does not pass without a patch"; missing=$((missing + 1)); }
done
if [ "$missing" != 0 ]; then tail -20 "$copy.log"; exit 1; fi
echo "without a patch all $(printf '%s\n' "${tests[@]}" | sort -u | wc -l) tests pass ($SECONDS s)"

unguarded=0
for guard in "${guards[@]}"; do
  read -r _ patch arguments <<< "$guard"
  name="$(basename "$patch" .patch)"
  began=$SECONDS
  if ! git apply "$patch" 2>"$copy.log"; then
    echo "guard $name: the patch does not apply any more"; cat "$copy.log"
    unguarded=$((unguarded + 1))
    continue
  fi
  status=0
  # shellcheck disable=SC2086 # several arguments on purpose
  run_test $arguments >"$copy.log" 2>&1 || status=$?
  if [ "$status" = 0 ]; then
    echo "guard $name: NO TEST FAILS: $(head -1 "$patch")"
    unguarded=$((unguarded + 1))
  elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
    echo "guard $name: ${arguments##* } did not end within $limit s"
    unguarded=$((unguarded + 1))
  elif grep -q "test ${arguments##* } ... FAILED" "$copy.log"; then
    echo "guard $name: ${arguments##* } fails, as it should ($((SECONDS - began)) s)"
  else
    echo "guard $name: the test did not run"; tail -20 "$copy.log"
    unguarded=$((unguarded + 1))
  fi
  git apply --reverse "$patch"
done
echo "$((${#guards[@]} - unguarded)) of ${#guards[@]} guards hold ($SECONDS s)"
test "$unguarded" = 0
if [ "$kind" = all ]; then echo "$SECONDS" > "$top/tests/guards/DURATION"; fi
