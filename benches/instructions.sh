#!/usr/bin/env bash
# Instructions of one party, counted by callgrind: ours and the rival's, as a Markdown table.
#
#   benches/instructions.sh             all workloads
#   benches/instructions.sh NAME ...    these only, and keeps their profiles for callgrind_annotate
#
# One run costs what several cost less what one costs, divided by their difference: set-up, tables
# made at first use and the start of the process cancel out. The code is the release profile's; it
# only keeps its symbols. Valgrind's processor has AES-NI, PCLMUL and AVX2 but no SHA-NI and no
# AVX-512: what uses those natively is counted in its portable form.
set -euo pipefail
cd "$(dirname "$0")/.."

# name, parties, runs above the first, what it is
workloads='
ours-sign-2        2 10 sign, secp256k1, 2 of 3: OpenTSM
rival-sign-2       2 10 sign, secp256k1, 2 of 3: dkls23-core
ours-sign-3        3 10 sign, secp256k1, 3 of 3: OpenTSM
rival-sign-3       3 10 sign, secp256k1, 3 of 3: dkls23-core
ours-sign-2-p256   2 10 sign, P-256, 2 of 3: OpenTSM
rival-sign-2-p256  2 10 sign, P-256, 2 of 3: dkls23-core
ours-presign-2   128  1 presignature in a batch of 64, secp256k1, 2 of 3: OpenTSM
ours-presign-3   192  1 presignature in a batch of 64, secp256k1, 3 of 3: OpenTSM
ours-presign-2-p256 128 1 presignature in a batch of 64, P-256, 2 of 3: OpenTSM
ours-online        1 10 partial signature from a presignature, secp256k1: OpenTSM
ours-join          1 10 join and verify, secp256k1: OpenTSM
k256-sign          1 10 single signer, secp256k1: k256
secp256k1-sign     1 10 single signer, secp256k1: libsecp256k1
ours-key           3  1 key generation, secp256k1, 2 of 3: OpenTSM
ours-pair          2  1 pair set-up: OpenTSM
rival-key          3  1 key generation with pairs, secp256k1, 2 of 3: dkls23-core
'

target="${CARGO_TARGET_DIR:-target}"
cargo build --quiet --locked -p tsm-benches --bin instructions \
    --config 'profile.callgrind.inherits="release"' \
    --config 'profile.callgrind.debug="line-tables-only"' \
    --config 'profile.callgrind.strip="none"' \
    --profile callgrind
profiles="$target/callgrind/profiles"
mkdir -p "$profiles"

count() { # name, runs -> instructions
    local profile="$profiles/$1.$2"
    valgrind --quiet --tool=callgrind --callgrind-out-file="$profile" \
        "$target/callgrind/instructions" "$1" "$2" >/dev/null
    sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$profile" | tail -n 1
}

echo "| workload | million instructions per party |"
echo "|---|---|"
while read -r name parties more what; do
    [ -n "$name" ] || continue
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    one=$(count "$name" 1)
    several=$(count "$name" $((more + 1)))
    awk -v what="$what" -v difference=$((several - one)) -v by=$((more * parties)) \
        'BEGIN { printf "| %s | %.2f |\n", what, difference / by / 1e6 }'
done <<< "$workloads"
