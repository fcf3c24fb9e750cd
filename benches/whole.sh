#!/usr/bin/env bash
# What whole nodes do: throughput, latency and processor time of three `tsm node` processes and one `tsm bench`, all on
# this machine.
#
#   benches/whole.sh [SECONDS]     for each row; default: 10
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/three-nodes.sh
seconds="${1:-10}"

row() { # title, clients, and what to tell `tsm bench`
    local title=$1 clients=$2 before after
    shift 2
    before=$(processor_time "${nodes[1]}" "${nodes[2]}")
    "$tsm" bench --key-id "$key_id" --clients "$clients" --duration "$seconds" "$@" > "$folder/report"
    after=$(processor_time "${nodes[1]}" "${nodes[2]}")
    awk -v title="$title" -v clients="$clients" -v before="$before" -v after="$after" '
        $1 == "done" { count = $2; rate = $4 }
        $1 == "latency" { p50 = $3; p90 = $6; p99 = $9 }
        $1 == "batch" { batch = $2; presignatures = $4 }
        $1 == "failed" { failed += $2 }
        END {
            if (batch) { rate = presignatures; count *= batch }
            printf "| %s | %d | %s | %.2f ms | %.2f ms | %.2f ms | %.2f ms | %d |\n", title, clients, rate, p50, p90, p99,
                1000 * (after - before) / 2 / count, failed
        }' "$folder/report"
}

echo "$(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg), $(git describe --always --dirty)"
echo
echo "| what | clients | per second | p50 | p90 | p99 | processor time of a node for each | failed |"
echo "|---|---|---|---|---|---|---|---|"
for clients in 1 8 64; do
    row "signature" $clients --operation sign
done
for clients in 1 8 64; do
    # What it makes beforehand is not in the latency, but in the processor time.
    row "signature from a presignature" $clients --operation sign-with-presignature --presignatures 4000
done
row "presignature, in batches of 64" 1 --operation presign --batch 64
row "presignature, in batches of 64" 4 --operation presign --batch 64
row "public key" 8 --operation public-key
