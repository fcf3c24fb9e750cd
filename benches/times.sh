#!/usr/bin/env bash
# CPU time of one party, ours and the rival's in turns, from the binary of benches/instructions.sh: a
# quick look, for machines too busy for criterion.
#
#   benches/times.sh [SAMPLES]     default 9; median and minimum of each workload, in microseconds
#
# A sample is the process's user time of many runs less that of one run, divided by runs and parties.
set -euo pipefail
cd "$(dirname "$0")/.."
samples="${1:-9}"
binary="${CARGO_TARGET_DIR:-target}/callgrind/instructions"

# name, parties, runs of a sample
workloads='
ours-sign-2       2 301
rival-sign-2      2  51
ours-sign-3       3 101
ours-sign-2-p256  2 151
rival-sign-2-p256 2  31
ours-join         1 2001
ours-key          3 101
ours-pair         2 11
'

user() { # name, runs -> seconds
    local TIMEFORMAT=%U
    { time "$binary" "$1" "$2" >/dev/null; } 2>&1
}

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for _ in $(seq "$samples"); do
    while read -r name parties runs; do
        [ -n "$name" ] || continue
        echo "$name $parties $runs $(user "$name" 1) $(user "$name" "$runs")" >> "$results"
    done <<< "$workloads"
done
echo "| workload | median | minimum |"
echo "|---|---|---|"
awk '{ print $1, ($5 - $4) * 1e6 / ($3 - 1) / $2 }' "$results" | sort -k1,1 -k2,2g | awk '
    function row() { if (n) printf "| %s | %.0f µs | %.0f µs |\n", name, time[int((n + 1) / 2)], time[1] }
    $1 != name { row(); name = $1; n = 0 }
    { time[++n] = $2 }
    END { row() }'
