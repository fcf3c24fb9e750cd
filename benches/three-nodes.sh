# To be sourced: three `tsm node` processes on this machine, each with its configuration, sqlite file and ports, and a
# key of threshold 1 that all three hold. Leaves $tsm, $nodes (their process IDs), $key_id, and TSM_NODES set to the
# two that sign, players 1 and 2. $profile says how to build: release, or profiling (with symbols).
# $TSM names a binary that is there already.
profile="${profile:-release}"
tsm="${TSM:-${CARGO_TARGET_DIR:-target}/$profile/tsm}"
[ -n "${TSM:-}" ] || cargo build --quiet --locked --profile "$profile" -p tsm
folder=$(mktemp -d)
nodes=()
stop() {
    if [ ${#nodes[@]} -gt 0 ]; then
        kill "${nodes[@]}" 2>/dev/null || true
        wait "${nodes[@]}" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT

"$tsm" dev --once --dir "$folder/nodes" > "$folder/dev"
key_id=$(awk '/key ID/ { print $3 }' "$folder/dev")
for index in 0 1 2; do
    "$tsm" node --config "$folder/nodes/node$index.toml" 2> "$folder/log$index" &
    nodes+=($!)
done
url() { # of a node, with its API key
    awk -v node="$1" '$1 == "node" && $2 == node { url = $3 } /API key/ && url { sub("//", "//" $3 "@", url); print url; exit }' "$folder/dev"
}
export TSM_NODES="$(url 1),$(url 2)"
until "$tsm" ecdsa public-key --key-id "$key_id" > /dev/null 2>&1; do sleep 0.1; done

# Seconds of processor time that these processes have taken.
processor_time() {
    local ticks=0 fields
    for process in "$@"; do
        fields=($(sed 's/.*) //' "/proc/$process/stat"))
        ticks=$((ticks + fields[11] + fields[12]))
    done
    awk -v ticks=$ticks -v each="$(getconf CLK_TCK)" 'BEGIN { print ticks / each }'
}
