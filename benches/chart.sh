#!/usr/bin/env bash
# CPU time of one party as a table and as a chart, docs/performance.svg: ours, the rival's, and one
# signer with the whole key.
#
#   benches/chart.sh [SAMPLES]           builds, takes the times of benches/times.sh, and draws them
#   benches/chart.sh --from TABLE        draws what benches/times.sh printed before
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --from ]; then
    table=$2
else
    table=$(mktemp)
    trap 'rm -f "$table"' EXIT
    cargo build --quiet --locked -p tsm-benches --bin instructions \
        --config 'profile.callgrind.inherits="release"' \
        --config 'profile.callgrind.debug="line-tables-only"' \
        --config 'profile.callgrind.strip="none"' \
        --profile callgrind
    benches/times.sh "$@" | tee "$table"
fi

# name in the table | bar | colour
awk -F'|' '
    BEGIN {
        ours = "#2563eb"; rival = "#9ca3af"; floor = "#d97706"
        row("rival-sign-2", "signature, 2 signers: dkls23-core", rival)
        row("ours-sign-2", "signature, 2 signers: OpenTSM", ours)
        row("rival-sign-3", "signature, 3 signers: dkls23-core", rival)
        row("ours-sign-3", "signature, 3 signers: OpenTSM", ours)
        row("rival-sign-2-p256", "signature on P-256: dkls23-core", rival)
        row("ours-sign-2-p256", "signature on P-256: OpenTSM", ours)
        row("ours-presign-2", "presignature, in a batch of 64: OpenTSM", ours)
        row("ours-online", "signature from a presignature: OpenTSM", ours)
        row("ours-join", "joining and verifying, once: OpenTSM", ours)
        row("k256-sign", "one signer with the whole key: k256", floor)
        row("secp256k1-sign", "one signer with the whole key: libsecp256k1", floor)
    }
    function row(name, text, colour) { names[++rows] = name; texts[name] = text; colours[name] = colour }
    { gsub(/ /, "", $2); sub(/ µs.*/, "", $3); time[$2] = $3 + 0 }
    END {
        left = 290; width = 400; step = 24; top = 44
        for (i = 1; i <= rows; i++) {
            if (!(names[i] in time)) { print "no time of " names[i] > "/dev/stderr"; exit 1 }
            if (time[names[i]] > most) most = time[names[i]]
        }
        height = top + step * rows + 12
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 780 %d\" font-family=\"sans-serif\" font-size=\"13\">\n", height
        printf "<rect width=\"780\" height=\"%d\" fill=\"white\"/>\n", height
        printf "<text x=\"12\" y=\"24\" font-size=\"15\">CPU time of one party, ECDSA, secp256k1 unless it says P-256 (medians)</text>\n"
        for (i = 1; i <= rows; i++) {
            name = names[i]; y = top + step * (i - 1); bar = width * time[name] / most
            printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left - 8, y + 14, texts[name]
            printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n", left, y + 2, bar < 1 ? 1 : bar, colours[name]
            printf "<text x=\"%.1f\" y=\"%d\">%s</text>\n", left + bar + 6, y + 14, time[name] < 1000 ? sprintf("%.0f µs", time[name]) : sprintf("%.2f ms", time[name] / 1000)
        }
        print "</svg>"
    }' "$table" > docs/performance.svg.new
mv docs/performance.svg.new docs/performance.svg
