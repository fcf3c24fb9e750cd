#!/usr/bin/env bash
# Constant time, checked by memcheck: secrets are "undefined", and a jump or an address that depends
# on one is an error.
#
#   benches/taint.sh     pair set-up, signing and presigning on two curves; then two leaks that are made
#                        on purpose, which must be found
#
# Secret is what is read from /dev/urandom: all that the protocols draw, and the key shares. Public is
# what is sent. What else is public without being read from a message (a player's own points, the
# verdict of a check) is listed in benches/taint/public.txt, each with its reason; any other finding is
# a failure. The code is the release profile's, so that what the optimiser made of it is what is tested.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
    as_root apt-get update -qq
    as_root apt-get install -y -qq valgrind gcc libc6-dev
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# As in benches/instructions.sh: the release profile with symbols.
cargo build --quiet --locked -p tsm-benches --bin taint --bin taint_findings \
    --config 'profile.callgrind.inherits="release"' \
    --config 'profile.callgrind.debug="line-tables-only"' \
    --config 'profile.callgrind.strip="none"' \
    --profile callgrind
logs="$target/callgrind/taint-logs"
shim="$target/callgrind/taint.so"
mkdir -p "$logs"
cc -shared -fPIC -O1 -Wall -Werror -o "$shim" benches/taint/shim.c

run() { # what to run: leaves its log
    LD_PRELOAD="$shim" valgrind --quiet --error-limit=no --num-callers=40 --fullpath-after= \
        --log-file="$logs/$1" "$target/callgrind/taint" "$1" 2>/dev/null
}

run leak-by-branch
grep -q 'Conditional jump' "$logs/leak-by-branch" || { echo "a leak by branch is not found"; exit 1; }
run leak-by-index
grep -q 'Use of uninitialised' "$logs/leak-by-index" || { echo "a leak by index is not found"; exit 1; }
echo "the leaks that are made on purpose are found"

run secp256k1
run P-256
"$target/callgrind/taint_findings" "$logs/secp256k1" "$logs/P-256"
