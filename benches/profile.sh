#!/usr/bin/env bash
# Where the time of a workload goes, by kinds of work, sampled natively with perf.
#
#   benches/profile.sh [NAME [RUNS]]     default: ours-sign-2 4000
#
# Needs the binary that benches/instructions.sh builds. Samples of set-up (Ristretto, P-256) are left
# out, so NAME is to be a workload on secp256k1.
set -euo pipefail
cd "$(dirname "$0")/.."
binary="${CARGO_TARGET_DIR:-target}/callgrind/instructions"
data=$(mktemp)
trap 'rm -f "$data"' EXIT
perf record --quiet -e cpu-clock:u -F 5000 -o "$data" "$binary" "${1:-ours-sign-2}" "${2:-4000}"
echo "| kind of work | share of time |"
echo "|---|---|"
perf report -i "$data" --no-children --stdio --percent-limit 0 2>/dev/null | awk '
    !/%/ || /^#/ { next }
    /curve25519|p256::|primeorder::point_arithmetic|ot::base|ot::setup|ot::ggm/ { next }
    { share = $1 + 0 }
    /safegcd|to_affine|sqrt|[Dd]ecompress|to_sec1_point/ { sum["points to and from bytes: inversions, roots"] += share; next }
    /k256::arithmetic::(scalar|wide)/ { sum["scalars, one by one"] += share; next }
    /k256::|primeorder::|wnaf|fixed_base|ConditionallySelectable/ { sum["curve points: multiplication by scalars"] += share; next }
    /sign::multiply::Checked|sign::check::Product|vole::|tsm_simd::ifma|ot::rows|ot::limbs/ { sum["multiplication from OT: sums of products, reduction"] += share; next }
    /sha2::|blake3|tagged_hash/ { sum["hashing"] += share; next }
    /aes::|pads::|columns::Tree/ { sum["AES: pads and expansion of seeds"] += share; next }
    /ot::extension|ot::columns|ot::bits|gf128|clmul|transpose|array::<impl/ { sum["OT extension: transposition, check"] += share; next }
    /mem(move|set|cmp|cpy)|malloc|free|realloc|unlink_chunk|borsh|serde|postcard/ { sum["memory: copying, wiping, allocating, encoding"] += share; next }
    { sum["all else"] += share }
    END {
        for (kind in sum) total += sum[kind]
        for (kind in sum) printf "| %s | %.1f %% |\n", kind, 100 * sum[kind] / total
    }' | sort -t'|' -k3 -rn
