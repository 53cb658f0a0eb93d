#!/usr/bin/env bash
# Everything that wants a GPU, in one go of under nine minutes: are the kernels right on it, what do
# compute-sanitizer's tools find, how fast is it. One part that fails or takes too long stops no other.
# All results lie in one folder: summary.json, table.txt, one JSON file a benchmark, log.txt.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
    cat <<'TEXT'
usage: bench/gpu.sh [run] [--out DIR] [--budget SECONDS] [--programs DIR] [--emulated] [PART...]
       bench/gpu.sh pack

  run    runs the parts (default: all of them) and writes to DIR (default: build/gpu-results).
         Programs: --programs DIR/bin, else build/gpu/bin, else they are built (preset gpu).
         --emulated: on the emulated GPU, smallest inputs; shows that this script and the
         benchmarks run, and measures nothing (programs: build/asan/bin).
  pack   builds build/gpu and puts the shared libraries that its programs need into build/gpu/lib,
         for a machine with a GPU and without Debian's packages: copy the sources, build/gpu/bin
         and build/gpu/lib there.

parts: arithmetic gemm attention decode step tests engine sanitizer
TEXT
}

PROGRAMS=(bench cuda_arithmetic_test cuda_rows_test cuda_matmul_test cuda_attention_test cuda_step_test
    cuda_chain_test cuda_sample_test engine_device_test engine_device_sample_test engine_device_steps_test
    engine_device_failure_test engine_device_family_test)
ALL_PARTS=(arithmetic gemm attention decode step tests engine sanitizer)
out=build/gpu-results budget=530 programs='' emulated='' command=run
parts=()

while (($# > 0)); do
    case $1 in
    run | pack) command=$1 ;;
    --out) out=${2:?--out takes a folder} && shift ;;
    --budget) budget=${2:?--budget takes seconds} && shift ;;
    --programs) programs=${2:?--programs takes a folder} && shift ;;
    --emulated) emulated=1 ;;
    --help | -h) usage && exit 0 ;;
    *)
        [[ " ${ALL_PARTS[*]} " == *" $1 "* ]] || {
            usage >&2
            exit 2
        }
        parts+=("$1")
        ;;
    esac
    shift
done
((${#parts[@]} > 0)) || parts=("${ALL_PARTS[@]}")

gpu_of_tests=cuda is_emulated=false
[[ -n $emulated ]] && gpu_of_tests=emu is_emulated=true

say() { printf '%s\n' "$*" | tee -a "$out/log.txt"; }
left() { echo $((budget - SECONDS)); }

# --- programs ---

build() {
    cmake --preset gpu && cmake --build --preset gpu --target "${PROGRAMS[@]}"
}

# Not glibc: that is the machine's own.
pack() {
    build || exit 1
    rm -rf build/gpu/lib # or its copies would be found
    mkdir -p build/gpu/lib
    local program
    for program in "${PROGRAMS[@]}"; do
        strip "build/gpu/bin/$program"
        ldd "build/gpu/bin/$program"
    done | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(ld-linux[^/]*|libc|libm|libdl|librt|libpthread|libresolv)\.so[^/]*$' |
        xargs -r cp -Lt build/gpu/lib
    git describe --always --dirty >build/gpu/lib/commit
    du -sh build/gpu/bin build/gpu/lib
}

runs_here() { [[ -x $1/bench ]] && "$1/bench" --help >/dev/null 2>&1; }

find_programs() {
    local folder
    for folder in ${programs:+"$programs/bin"} ${emulated:+build/asan/bin} build/gpu/bin; do
        if runs_here "$folder"; then
            programs=$folder
            return 0
        fi
        [[ -e $folder/bench ]] && say "$folder/bench does not run here: $("$folder/bench" --help 2>&1 | head -n 1)"
    done
    { command -v cmake && command -v nvcc; } >/dev/null || {
        say "No programs that run here, and no cmake or nvcc to build them with. On a machine with Debian 12: bench/gpu.sh pack"
        return 1
    }
    say "No programs that run here: building the preset gpu"
    timeout "$(left)" bash -c "$(declare -p PROGRAMS); $(declare -f build); build" >>"$out/log.txt" 2>&1
    runs_here build/gpu/bin || {
        say "The build failed (log.txt has why; Debian's packages may be absent). On a machine with Debian 12: bench/gpu.sh pack"
        return 1
    }
    programs=build/gpu/bin
}

# NVIDIA's library to compare with, wherever it was installed.
find_cublaslt() {
    local found
    found=$(timeout 15 find /usr/local /opt /usr/lib -maxdepth 9 \( -name 'libcublasLt.so.13' -o -name 'libcublasLt.so.12' \) 2>/dev/null |
        sort -t. -k3,3 -r | head -n 1)
    [[ -n $found ]] && dirname "$found"
}

# --- parts ---

results=() # "name state seconds", of summary.json

# end_part NAME STATUS SECONDS: what it printed, in part-NAME.txt, goes to log.txt, how it ended to summary.json.
end_part() {
    local name=$1 state
    case $2 in
    0) state=passed ;;
    77) state=skipped ;;
    124 | 137) state=too-slow ;;
    *) state=failed ;;
    esac
    printf '\n== %s\n' "$name" >>"$out/log.txt"
    cat "$out/part-$name.txt" >>"$out/log.txt"
    results+=("$name $state $3")
    say "$name: $state, $3 s"
    [[ $state == failed || $state == too-slow ]] && tail -n 5 "$out/part-$name.txt"
    return 0
}

# run_part NAME LIMIT COMMAND...
run_part() {
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    (($(left) < limit)) && limit=$(left)
    if ((limit < 5)); then
        results+=("$name no-time-left 0")
        say "$name: no time is left"
        return
    fi
    timeout -k 5 "$limit" "$@" >"$out/part-$name.txt" 2>&1
    end_part "$name" $? $((SECONDS - began))
}

# start_part NAME LIMIT COMMAND...: beside others, until join_parts.
started=()
start_part() {
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    (($(left) < limit)) && limit=$(left)
    started+=("$name")
    {
        timeout -k 5 "$limit" "$@" >"$out/part-$name.txt" 2>&1
        echo $? $((SECONDS - began)) >"$out/ended-$name"
    } &
}

join_parts() {
    local name
    wait
    for name in "${started[@]}"; do
        # shellcheck disable=SC2046 # two words
        end_part "$name" $(cat "$out/ended-$name")
        rm -f "$out/ended-$name"
        grep -qiE 'device not supported|not supported on this device|unable to (attach|initialize)' "$out/part-$name.txt" &&
            results[-1]="$name refused-by-the-device 0"
    done
    started=()
}

bench() {
    local name=$1 limit=$2
    shift 2
    local how=(--backend cuda --folder "$folder" --commit "$commit" --json "$out/$name.json")
    [[ -n $emulated ]] && how+=(--emulated --tiny --rounds 1)
    run_part "$name" "$limit" env LD_LIBRARY_PATH="$cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$programs/bench" "$name" "${how[@]}" "$@"
    [[ -s $out/$name.json ]] || rm -f "$out/$name.json"
}

unit_test() {
    if [[ ! -x $programs/$1_test ]]; then
        results+=("$1 not-built 0")
        say "$1: $programs/$1_test was not built"
        return
    fi
    start_part "$1" "$2" env BL_TEST_GPU="$gpu_of_tests" BL_SOURCE_DIR="$PWD" "$programs/$1_test"
}

unit_tests() {
    local name
    for name in cuda_rows cuda_step cuda_chain cuda_matmul cuda_attention cuda_sample engine_device \
        engine_device_sample engine_device_steps engine_device_failure engine_device_family; do
        unit_test "$name" 75
    done
    join_parts
}

# Small inputs: these tools make a kernel hundreds of times slower. Some machines refuse them the device.
sanitizer() {
    local tool bench
    if ! command -v compute-sanitizer >/dev/null; then
        results+=("sanitizer not-here 0")
        say "sanitizer: there is no compute-sanitizer here"
        return
    fi
    for tool in memcheck racecheck synccheck initcheck; do
        for bench in gemm attention decode step engine; do
            start_part "$tool-$bench" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$programs/bench" "$bench" --tiny --rounds 1 --backend cuda --folder "$folder"
        done
    done
    join_parts
}

# --- what it ran on ---

about() {
    date -u +'date: %FT%TZ'
    echo "commit: $commit"
    uname -srm
    nvidia-smi --query-gpu=name,driver_version,vbios_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current --format=csv 2>&1
    nvidia-smi 2>&1 | grep -oE 'CUDA Version: [0-9.]+'
    nvcc --version 2>&1 | tail -n 2
    compute-sanitizer --version 2>&1 | head -n 1
    grep -m1 'model name' /proc/cpuinfo
    grep MemTotal /proc/meminfo
}

# A line of text that JSON takes.
plain() { tr -cd 'A-Za-z0-9 ._,:/()+-' <<<"$1"; }

write_summary() {
    local entry name state seconds comma=''
    {
        printf '{\n  "commit": "%s",\n  "date": "%s",\n' "$(plain "$commit")" "$(date -u +%F)"
        printf '  "device": "%s",\n  "driver": "%s",\n  "cuda": "%s",\n' "$(plain "$device")" "$(plain "$driver")" "$(plain "$cuda")"
        printf '  "emulated": %s,\n  "seconds": %d,\n  "parts": [' "$is_emulated" "$SECONDS"
        for entry in "${results[@]}"; do
            read -r name state seconds <<<"$entry"
            printf '%s\n    {"name": "%s", "state": "%s", "seconds": %d}' "$comma" "$name" "$state" "$seconds"
            comma=,
        done
        printf '\n  ]\n}\n'
    } >"$out/summary.json"
}

field() { nvidia-smi --query-gpu="$1" --format=csv,noheader -i 0 2>/dev/null | head -n 1; }

run() {
    mkdir -p "$out"
    rm -f "$out"/*.json "$out"/*.txt
    commit=$(git describe --always --dirty 2>/dev/null || cat build/gpu/lib/commit 2>/dev/null || echo unknown)
    device=$(field name) driver=$(field driver_version)
    cuda=$(nvcc --version 2>/dev/null | grep -oE 'V[0-9.]+')
    folder=/tmp
    [[ -w /dev/shm ]] && (($(df --output=avail -BG /dev/shm | tail -n 1 | tr -dc 0-9) > 20)) && folder=/dev/shm
    about >>"$out/log.txt" 2>&1
    if [[ -z $emulated && -z $device ]]; then
        say "There is no GPU here (nvidia-smi names none); --emulated shows that everything runs."
        results+=("gpu not-here 0")
        write_summary
        exit 2
    fi
    find_programs || {
        results+=("programs not-here 0")
        write_summary
        exit 2
    }
    cublaslt=$([[ -n $emulated ]] || find_cublaslt) # it would want a real GPU
    say "device: ${device:-emulated}; programs: $programs; cuBLASLt: ${cublaslt:-none}"
    local part
    for part in "${parts[@]}"; do
        case $part in
        arithmetic) unit_test cuda_arithmetic 40 && join_parts ;;
        gemm) bench gemm 80 ;;
        attention) bench attention 60 ;;
        decode) bench decode 60 ;;
        step) bench step 40 --rounds 3 ;;
        engine) bench engine 200 --rounds 3 ;;
        tests) unit_tests ;;
        sanitizer) sanitizer ;;
        esac
    done
    rm -f "$out"/part-*.txt
    write_summary
    grep -E '\(first [0-9.]+, aim [0-9.]+\)|^(gemm|attention|decode|a decode step|engine on)' "$out/log.txt" >"$out/table.txt"
    say "$SECONDS s; results in $out"
    cat "$out/table.txt"
    ! printf '%s\n' "${results[@]}" | grep -qE ' (failed|too-slow|no-time-left|not-built) '
}

"$command"
