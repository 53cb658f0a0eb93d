#!/usr/bin/env bash
# Formatting, the order of rooms, shell scripts.
set -euo pipefail
cd "$(dirname "$0")/.."
files=$(git ls-files '*.c' '*.h' '*.cc' '*.cu' '*.cuh' | grep -v '^models/')
# shellcheck disable=SC2086
clang-format --dry-run --Werror $files
python3 tests/rooms_test.py
# shellcheck disable=SC2046
shellcheck dev .ci/run $(git ls-files '*.sh')
echo "lint: clean"
