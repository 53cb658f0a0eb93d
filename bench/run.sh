#!/usr/bin/env bash
# Runs every benchmark of the bench build. Absolute numbers are this machine's alone; compare ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/bench/bin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "== engine: SmolLM2-135M shapes, random weights, one thread and all"
"$bin/engine_bench" --threads 1
"$bin/engine_bench"
echo "== log: appends and replay, in $folder"
"$bin/tlog_bench" "$folder"
