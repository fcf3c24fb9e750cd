#!/usr/bin/env bash
# Where the processor time of a saturated node goes, and a flame chart of it.
#
#   benches/whole-profile.sh [OPERATION [CHART.svg]]     default: sign docs/node-sign.svg
#
# Samples one of two signing nodes while `tsm bench` keeps 16 operations under way. Needs perf, and root for what the
# kernel does. Builds with symbols (profile `profiling`, else the same as release).
set -euo pipefail
cd "$(dirname "$0")/.."
profile=profiling
. benches/three-nodes.sh
operation="${1:-sign}"
chart="${2:-docs/node-$operation.svg}"

"$tsm" bench --key-id "$key_id" --clients 16 --duration 16 --operation "$operation" --presignatures 4900 > "$folder/report" &
bench=$!
sleep 3
perf record --quiet -e cpu-clock -F 499 --call-graph dwarf,16384 -p "${nodes[1]}" -o "$folder/perf" -- sleep 8 2> /dev/null
wait $bench
perf script --no-inline -F comm,ip,sym,dso -i "$folder/perf" 2> /dev/null > "$folder/samples"
# One line for each sample's stack, outermost first.
awk '
    function name(line,    text) {
        text = line
        sub(/^ *[0-9a-f]+ /, "", text)
        kernel = text ~ /\(\[kernel|\[k\]/ ? "_[k]" : ""
        sub(/ \([^()]*\)$/, "", text)
        sub(/::h[0-9a-f]+$/, "", text)
        gsub(/;/, ":", text)
        return text kernel
    }
    /^[^ \t]/ { thread = $1; stack = ""; next }
    NF { stack = ";" name($0) stack; next }
    stack { count[thread stack]++; stack = "" }
    END { for (each in count) print each, count[each] }
' "$folder/samples" | sort > "$folder/stacks"

echo "| what the node does | share of its processor time |"
echo "|---|---|"
# A sample belongs to the first function from the innermost outwards that says what it is for: so copying counts for
# whoever copies.
awk '
    function kind(frame) {
        if (frame ~ /_\[k\]/) {
            if (frame ~ /tcp_|sock|inet_|ip_|skb|net_rx|loopback|__dev_|nf_|sendto|recvfrom|sendmsg|writev/) return "kernel: network"
            if (frame ~ /ext4|jbd2|vfs_|fsync|btrfs|xfs|overlay|blk_|iomap|pread|pwrite|filemap/) return "kernel: files"
            if (frame ~ /futex|epoll|schedule|nanosleep|sched_yield|eventfd|page_fault|madvise|mmap|munmap|brk/) return "kernel: scheduling, memory"
            return ""
        }
        if (frame ~ /rustls|aws_lc/) return "TLS"
        if (frame ~ /chacha20poly1305|sqlite|sqlx|tsm_storage/) return "database"
        if (frame ~ /tsm_crypto|tsm_protocols|k256|p256|primeorder|crypto_bigint|elliptic_curve|primefield|blake3|^aes|;aes::|curve25519|sha2::/) return "cryptography"
        if (frame ~ /hyper|axum|tower|serde|httparse|tsm_server|matchit/) return "HTTP and JSON"
        if (frame ~ /tsm_transport|tokio_rustls/) return "links: framing"
        if (frame ~ /tsm_node|tsm_types/) return "engine"
        if (frame ~ /tokio/) return "scheduling: tokio"
        return ""
    }
    {
        count = $NF
        sub(/ [0-9]+$/, "")
        n = split($0, frames, ";")
        found = ""
        for (i = n; i > 1 && !found; i--) found = kind(frames[i])
        sum[found ? found : "all else"] += count
        total += count
    }
    END { for (what in sum) printf "| %s | %.1f %% |\n", what, 100 * sum[what] / total }
' "$folder/stacks" | sort -t'|' -k3 -rn

awk -v title="One of two nodes at 16 operations at a time: $operation" -f benches/flame.awk "$folder/stacks" > "$chart"
echo
grep -E "done|latency" "$folder/report"
ls -l "$chart" | awk '{ print $NF ": " $5 " bytes" }'
