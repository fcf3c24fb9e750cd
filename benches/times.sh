#!/usr/bin/env bash
# CPU time of one party, ours and the rival's in turns, from the binary of benches/instructions.sh: a
# quick look, for machines too busy for criterion.
#
#   benches/times.sh [SAMPLES [EARLIER]]     default 9; median, lower quartile and minimum of each workload,
#                                            in microseconds
#
# EARLIER is the same binary of another version: the two take turns.
# A sample is the process's CPU time of many runs, without set-up and without the first run, divided by
# runs and parties.
set -euo pipefail
cd "$(dirname "$0")/.."
samples="${1:-9}"
earlier="${2:-}"
binary="${CARGO_TARGET_DIR:-target}/callgrind/instructions"

# name, parties, runs of a sample
workloads='
ours-sign-2       2 301
rival-sign-2      2  51
ours-sign-3       3 101
rival-sign-3      3  31
ours-sign-2-p256  2 151
rival-sign-2-p256 2  31
ours-presign-2  128   6
ours-presign-3  192   3
ours-presign-2-p256 128 3
ours-online       1 641
ours-join         1 2001
ours-key          3 101
ours-pair         2 11
k256-sign         1 2001
secp256k1-sign    1 2001
'

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for _ in $(seq "$samples"); do
    while read -r name parties runs; do
        [ -n "$name" ] || continue
        [ -z "$earlier" ] || echo "$name,earlier $parties $("$earlier" "$name" "$runs")" >> "$results"
        echo "$name $parties $("$binary" "$name" "$runs")" >> "$results"
    done <<< "$workloads"
done
echo "| workload | median | quartile | minimum |"
echo "|---|---|---|---|"
awk '{ print $1, $3 / 1e3 / $2 }' "$results" | sort -k1,1 -k2,2g | awk '
    function row() {
        if (n) printf "| %s | %.1f µs | %.1f µs | %.1f µs |\n", name, time[int((n + 1) / 2)], time[int((n + 3) / 4)], time[1]
    }
    $1 != name { row(); name = $1; n = 0 }
    { time[++n] = $2 }
    END { row() }'
