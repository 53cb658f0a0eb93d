#!/usr/bin/env bash
# Runs every fuzz target of the build for the given number of seconds; the first finding ends it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
for target in build/fuzz/bin/*_fuzz; do
    name=$(basename "$target")
    corpus=build/fuzz/corpus/$name
    mkdir -p "$corpus"
    printf '%-28s ' "$name"
    if ! "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 \
        -artifact_prefix="build/fuzz/$name-" "$corpus" >"build/fuzz/$name.log" 2>&1; then
        printf 'FOUND: see build/fuzz/%s.log\n' "$name"
        tail -n 20 "build/fuzz/$name.log"
        exit 1
    fi
    grep -oE 'Done [0-9]+ runs' "build/fuzz/$name.log" | tail -n 1
done
