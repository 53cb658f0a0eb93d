#!/usr/bin/env bash
# Runs fuzz targets from their kept corpora (tests/fuzz/corpus), or keeps what they have found.
# What is found stays in build/fuzz; the first finding, or an input that takes more than 2 s of CPU
# time, ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/fuzz/bin

usage() {
    cat >&2 <<'TEXT'
usage: ./dev fuzz SECONDS [TARGET...]   each target (default: every one) for that long
       ./dev fuzz keep [TARGET...]      put what was found into the kept corpora, minimised
TEXT
    printf 'targets:' >&2
    for path in "$bin"/*_fuzz; do printf ' %s' "$(basename "$path" _fuzz)" >&2; done
    echo >&2
    exit 2
}

# Whether the input $2 takes target $1 more than 2 s of CPU time: on a busy machine any may be slow.
is_slow() {
    local seconds TIMEFORMAT=%U
    seconds=$({ time "$bin/$1_fuzz" -timeout=600 "$2" >/dev/null 2>&1; } 2>&1)
    [[ ${seconds%.*} -ge 2 ]]
}

# Fuzzes $1 for $2 seconds.
fuzz_one() {
    local name=$1 out=build/fuzz/$1 found options=()
    mkdir -p "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
    rm -f "$out"-slow-unit-*
    [[ -e tests/fuzz/$name.dict ]] && options+=("-dict=tests/fuzz/$name.dict")
    printf '%-20s ' "$name"
    if ! "$bin/${name}_fuzz" -max_total_time="$2" -timeout=60 -report_slow_units=2 \
        -rss_limit_mb=4096 -artifact_prefix="$out-" "${options[@]}" \
        "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"$out.log" 2>&1; then
        printf 'FOUND: see %s.log\n' "$out"
        tail -n 20 "$out.log"
        return 1
    fi
    grep -oE 'Done [0-9]+ runs' "$out.log" | tail -n 1
    for found in "$out"-slow-unit-*; do
        [[ -e $found ]] || continue
        if is_slow "$name" "$found"; then
            echo "SLOW: $found"
            return 1
        fi
        rm "$found"
    done
}

# The smallest set of files that reaches every edge which the kept and the found ones reach.
keep_one() {
    local name=$1 kept=tests/fuzz/corpus/$1 fresh
    fresh=$(mktemp -d)
    mkdir -p "build/fuzz/corpus/$name" "$kept"
    "$bin/${name}_fuzz" -set_cover_merge=1 -use_counters=0 -max_len=3000 -timeout=60 \
        "$fresh" "$kept" "build/fuzz/corpus/$name" >"build/fuzz/$name-keep.log" 2>&1 || {
        tail -n 20 "build/fuzz/$name-keep.log"
        return 1
    }
    rm -rf "$kept"
    mkdir "$kept"
    for path in "$fresh"/*; do cp "$path" "$kept/$(basename "$path" | cut -c 1-12)"; done
    rm -rf "$fresh"
    printf '%-20s %4d files, %6d bytes\n' "$name" "$(find "$kept" -type f | wc -l)" \
        "$(cat "$kept"/* | wc -c)"
}

[[ $# -ge 1 && ($1 == keep || $1 =~ ^[1-9][0-9]{0,5}$) ]] || usage
for name in "${@:2}"; do [[ $name =~ ^[a-z0-9_]+$ && -x $bin/${name}_fuzz ]] || usage; done
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    for path in "$bin"/*_fuzz; do targets+=("$(basename "$path" _fuzz)"); done
fi
for name in "${targets[@]}"; do
    if [[ $1 == keep ]]; then keep_one "$name"; else fuzz_one "$name" "$1"; fi
done
