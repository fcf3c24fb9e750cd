#!/usr/bin/env bash
# Constant time, checked by memcheck: secrets are "undefined", and a jump or an address that depends
# on one is an error.
#
#   benches/taint.sh             signing, pair set-up, extension, multiplication; then two leaks
#                                that are made on purpose, which must be found
#
# Secret is what is read from /dev/urandom: all that the protocols draw, and the key share. Public is
# what is sent. What else is public without being read from a message (a player's own broadcasts, the
# verdict of a check) is listed in benches/taint/public.supp, each with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
    as_root apt-get update -qq
    as_root apt-get install -y -qq valgrind gcc libc6-dev
fi
target="${CARGO_TARGET_DIR:-target}"
# The release profile's code with symbols, as in benches/instructions.sh.
cargo build --quiet --locked -p tsm-benches --bin taint \
    --config 'profile.callgrind.inherits="release"' \
    --config 'profile.callgrind.debug="line-tables-only"' \
    --config 'profile.callgrind.strip="none"' \
    --profile callgrind
shim="$PWD/$target/callgrind/taint.so"
[ "${target#/}" = "$target" ] || shim="$target/callgrind/taint.so"
cc -shared -fPIC -O1 -Wall -Werror -o "$shim" benches/taint/shim.c

run() { # what to run, further options of valgrind
    local what="$1"
    shift
    LD_PRELOAD="$shim" valgrind --quiet --error-exitcode=9 --num-callers=40 \
        --suppressions=benches/taint/public.supp "$@" "$target/callgrind/taint" "$what"
}

for curve in secp256k1 P-256; do
    echo "== $curve"
    run "$curve" "$@"
done
for leak in leak-by-branch leak-by-index; do
    if run "$leak" >/dev/null 2>&1; then
        echo "$leak was not found: the test sees nothing" >&2
        exit 1
    fi
    echo "== $leak: found, as it must be"
done
