"""Faults put into the CUDA kernels one at a time: the kernels' tests on the emulated GPU must fail for each.

What is dropped are the waits, fences and barriers whose absence a GPU would forgive on most days. Skipped (77)
where there is no g++.

    emu_mutants_test.py [--all | --races | --unfound] [TEST...]

Without --all some of each kernel, in minutes; with it all, in a quarter of an hour. --races: each barrier and wait of the
kernels dropped, one at a time, and the kernels watched for races. TEST: only those of this kernels' test.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARNINGS_OFF = ["-w"]
FLAGS = ["-O1", "-D_GNU_SOURCE", "-ffp-contract=off", "-fno-strict-aliasing", "-fsanitize=address",
         "-fno-omit-frame-pointer"]
KERNELS = ["-O0"]  # more is compiled than run

# Kernels that are watched for races (kernels/emu/races.h).
WATCHED = ["-fno-thread-jumps", "-freorder-blocks-algorithm=simple", "-fno-tree-loop-distribute-patterns",
           "-fno-sanitize=address", "-fsanitize=thread"]

LIMIT_S = 120  # of one test

# (test, file, text, what stands there instead)
MATMUL, ROWS, ATTENTION = "cuda_matmul_test", "cuda_rows_test", "cuda_attention_test"
STEP, SAMPLE, CHAIN = "cuda_step_test", "cuda_sample_test", "cuda_chain_test"
MATMUL_80, ATTENTION_80 = "cuda_matmul_sm80_test", "cuda_attention_sm80_test"
KERNEL_80, PAGES_80 = "kernels/cuda/matmul_sm80.cu", "kernels/cuda/attention_sm80.cu"
KERNEL, DEVICE = "kernels/cuda/matmul_sm90.cu", "kernels/cuda/device.cuh"
EPILOGUE, TURN = "kernels/cuda/matmul_epilogue.cuh", "kernels/cuda/matmul_turn_sm90.cuh"
PAGES, WEIGHTS = "kernels/cuda/attention_sm90.cu", "kernels/cuda/attention.cuh"
WORK, QUERIES = "kernels/cuda/attention_ring_sm90.cuh", "kernels/cuda/attention_queries.cuh"
QUICKLY = "kernels/cuda/attention_weights_sm90.cuh"
FEW, FEW_RINGS = "kernels/cuda/matmul_few_sm90.cu", "kernels/cuda/matmul_few_rings_sm90.cuh"
ROWS_CU, STEP_CU, SCAN = "kernels/cuda/rows.cu", "kernels/cuda/step.cu", "kernels/cuda/sample.cu"
COMMON, SELECT = "kernels/cuda/sample.cuh", "kernels/cuda/sample_select.cuh"
CHOOSE, FOLD = "kernels/cuda/sample_choose.cu", "kernels/cuda/attention_fold.cu"
# What has the kernels of a test: less to compile than all.
SOURCES = {MATMUL: [KERNEL, FEW], ROWS: [ROWS_CU], ATTENTION: [PAGES, FOLD, "kernels/cuda/exp2_check.cu"],
           MATMUL_80: [KERNEL_80], ATTENTION_80: [PAGES_80, FOLD], STEP: [STEP_CU], SAMPLE: [SCAN, CHOOSE, STEP_CU],
           CHAIN: [KERNEL, FEW, ROWS_CU, STEP_CU, PAGES, FOLD, SCAN, CHOOSE]}
# Every time: some of each kernel that are soon compiled and found.
SOME = [
    (MATMUL, KERNEL, "mbarrier_wait_parity(&r.full[r.stage], r.parity);", ""),
    (MATMUL, KERNEL, "wgmma_commit();", ""),
    (MATMUL, KERNEL, "        fence_mbarrier_init();\n", ""),
    (MATMUL, KERNEL, "CONSUMERS * GROUP / WARP", "GROUP / WARP"),
    (MATMUL, KERNEL, "    grid_wait(); /* what", "    /* what"),
    (MATMUL, TURN, "        barrier_sync(FIRST_BARRIER + group, GROUP);\n", ""),
    (MATMUL, FEW_RINGS, "    grid_wait(); /* what", "    /* what"),
    (MATMUL, FEW_RINGS, "mbarrier_wait_parity(&full[stage], parity);", ""),
    (ATTENTION, WORK, "mbarrier_wait_parity(r.empty(), r.parity ^ 1);", ""),
    (ATTENTION, PAGES, "        clear_unwritten<head_dim>(r.values.data(), w, p);\n", ""),
    (ATTENTION, WORK, "    fence_proxy_async();\n    join_group(p);\n}\n\n/* Slots", "    join_group(p);\n}\n\n/* Slots"),
    (ATTENTION, WEIGHTS, "det_exp2_integer(of[h].m - m)", "det_exp2_integer(m - of[h].m)"),
    (ATTENTION, QUICKLY, "if (__ballot_sync(ALL_LANES, is_too_near(of_all)) == 0)", ""),
    (MATMUL_80, KERNEL_80, "            copy_async_wait<shape<n>::stages - 2>();\n", ""),
    (MATMUL_80, KERNEL_80, "            __syncthreads();\n", ""),
    (MATMUL_80, KERNEL_80, "copy_async(to + place_of(row, piece)", "copy_async(to + row * ROW_LEN + piece * 16"),
    (ATTENTION_80, PAGES_80, "        copy_async_wait<stages - 2>();\n", ""),
    (ATTENTION_80, PAGES_80, "        copy_async_wait<stages - 2>();\n        __syncthreads();\n", "        copy_async_wait<stages - 2>();\n"),
    (ROWS, DEVICE, "    __syncthreads();\n    float sum = 0.0f;", "    float sum = 0.0f;"),
    (ROWS, ROWS_CU, "turned ? i : half + i;", "i;"),
    (ROWS, ROWS_CU, "args.head_dim / 2 - half)", "half)"),
    (ROWS, ROWS_CU, "args.rows != nullptr ? args.rows[blockIdx.x] : blockIdx.x", "blockIdx.x"),
    (STEP, STEP_CU, "i <= position / STEP_PAGE_TOKENS", "i < position / STEP_PAGE_TOKENS"),
    (STEP, STEP_CU, "filler ? args.spare_page : from[i]", "from[i]"),
    (STEP, STEP_CU, "newest ? args.newest_at[plan.slot] : plan.position", "plan.position"),
    (STEP, STEP_CU, "args.page_len / 8", "args.page_len / 16"),
    (STEP, STEP_CU, "copy.n_tokens * args.head_dim", "STEP_PAGE_TOKENS * args.head_dim"),
    (STEP, STEP_CU, "        if (args.tokens[i] >= args.n_vocab)\n            continue;\n", ""),
    (SAMPLE, SCAN, "    __syncthreads();\n}\n\n/* The chunk's z", "}\n\n/* The chunk's z"),
    (SAMPLE, COMMON, "    __syncthreads();\n    uint64_t before = 0, all = 0;", "    uint64_t before = 0, all = 0;"),
    (SAMPLE, SELECT, "need <= before + counted", "need < before + counted"),
    (SAMPLE, CHOOSE, "point - chunk.before", "point"),
    (SAMPLE, COMMON, "before + low < before ? 1 : 0", "0"),
    (CHAIN, FOLD, "        if (i == first)\n            grid_wait();\n", "", "a fold's grid_wait, watched for races"),
]
# With --all.
OTHERS = [
    (MATMUL, KERNEL, "mbarrier_wait_parity(&r.empty[r.stage], r.parity ^ 1);", ""),
    (MATMUL, KERNEL, "r.parity ^ 1)", "r.parity)"),
    (MATMUL, KERNEL, "wgmma_wait<1>();", ""),
    (MATMUL, KERNEL, "wgmma_wait<0>();", ""),
    (MATMUL, KERNEL, "wgmma_fence();", ""),
    (MATMUL, KERNEL, "    __syncthreads();\n", ""),
    (MATMUL, KERNEL, "CONSUMERS * GROUP / WARP", "CONSUMERS"),
    (MATMUL, KERNEL, "ring<n>::stage_len);\n    tensor", "ring<n>::stage_len - 16);\n    tensor"),
    (MATMUL, KERNEL, "w + operand_apart(2 * step)", "w + operand_apart(step)"),
    (MATMUL, KERNEL, "k == 0 && step == 0", "step == 0"),
    (MATMUL, KERNEL, "(top + left % n_down) * n}", "(top + left % n_down) * n + 1}"),
    (MATMUL, EPILOGUE, "    if (row >= args.n_rows)\n        return;\n", ""),
    (MATMUL, KERNEL, "bias_of(args, out + 8);\n    UNROLL\n    for (int i", "bias_of(args, out);\n    UNROLL\n    for (int i"),
    (MATMUL, KERNEL, "number != s.first || k >= n_loaded", "k >= n_loaded"),
    (MATMUL, TURN, "bias_of(args, out + 8);", "bias_of(args, out);"),
    (MATMUL, TURN, "number % 2) * MATMUL_TURNED_LEN", "0) * MATMUL_TURNED_LEN"),
    (MATMUL, TURN, "out < n_out && t.row + row < args.n_rows", "out < n_out"),
    (MATMUL, TURN, "out < n_out && t.row + row < args.n_rows", "t.row + row < args.n_rows"),
    (MATMUL, TURN, "left > MATMUL_TURNED_ROWS ? left - MATMUL_TURNED_ROWS : 0", "left"),
    (MATMUL, TURN, "        if (turn * p::at_once < s.left)\n            store", "        if (s.left > 0)\n            store"),
    (MATMUL, TURN, "before[(chunk + 1) % 2]", "before[chunk % 2]"),
    (MATMUL, TURN, "n_chunks % 2 * turn + chunk", "chunk", "buffers not in turn from tile to tile, watched for races"),
    (MATMUL, FEW_RINGS, "mbarrier_wait_parity(&empty[stage], parity ^ 1);", ""),
    (MATMUL, FEW, "    grid_wait(); /* before", "    /* before"),
    (MATMUL, FEW, "    __syncthreads();\n", ""),
    (MATMUL, FEW, "        fence_mbarrier_init();\n", ""),
    (MATMUL, FEW, "wgmma_wait<1>();", ""),
    (MATMUL, FEW, "wgmma_wait<1>();", "wgmma_wait<2>();"),
    (MATMUL, FEW, "wgmma_wait<0>();", ""),
    (MATMUL, FEW, "wgmma_commit();", ""),
    (MATMUL, FEW, "wgmma_fence();", ""),
    (MATMUL, FEW_RINGS, "mbarrier_init(&empty[i], n_consumers)", "mbarrier_init(&empty[i], 1)"),
    (MATMUL, FEW, "if (part == 0 && x_before", "if (x_before"),
    (MATMUL, FEW, "            if (part >= n_parts)\n                continue;\n", ""),
    (MATMUL, FEW_RINGS, "left < width ? left : width", "width"),
    (MATMUL, FEW_RINGS, "/ at_once * gridDim.x", "/ at_once"),
    (MATMUL, FEW, "t.row + n < args.n_rows ? t.row + n : args.n_rows", "args.n_rows"),
    (MATMUL, FEW_RINGS, "t.out + part * FEW_OUT)", "t.out)"),
    (MATMUL, FEW, "(piece ^ row % SIDE) * 16", "piece * 16"),
    (MATMUL, FEW, "fresh && box == 0 && step == 0", "fresh && step == 0"),
    (ATTENTION, WORK, "    fence_proxy_async();\n    join_group(p);\n}\n\n/* Slots", "    fence_proxy_async();\n}\n\n/* Slots",
     "join_group behind the writing of queries, watched for races"),
    (ATTENTION, PAGES, "        r.keys.wait();\n", ""),
    (ATTENTION, PAGES, "        if (!first)\n            r.values.wait();\n", ""),
    (ATTENTION, PAGES, "        r.values.wait();\n        clear", "        clear"),
    (ATTENTION, WORK, "tile / QUERIES * GROUP / WARP", "GROUP / WARP"),
    (ATTENTION, PAGES, "= 0x3f803f80;", "= 0x3f803f81;"),
    (ATTENTION, PAGES, "turn.give(p.group);", ""),
    (ATTENTION, PAGES, "wgmma_wait<1>();", ""),
    (ATTENTION, PAGES, "wgmma_wait<1>();", "wgmma_wait<2>();"),
    (ATTENTION, PAGES, "        wgmma_wait<0>();\n        if (first)", "        if (first)"),
    (ATTENTION, PAGES, "        wgmma_wait<0>();\n        r.values.leave();", "        r.values.leave();\n        wgmma_wait<0>();"),
    (ATTENTION, WORK, "last_position(w) % BLOCK + 1;", "last_position(w) % BLOCK + 2;"),
    (ATTENTION, QUERIES, "(ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0) || page <= w.first", "page <= w.first"),
    (ATTENTION, PAGES, "else if (moved && !begins)", "else if (false)"),
    (ATTENTION, QUERIES, "position < p.low || ", ""),
    (ATTENTION, QUERIES, "position + BLOCK - 1 > p.high", "position + BLOCK - 2 > p.high"),
    (ATTENTION, PAGES, "(values, r::chunk_len)", "(values, r::chunk_len / 2)"),
    (ATTENTION, WEIGHTS, "m > MINUS_INFINITY ? m : 0.0f", "m"),
    (ATTENTION, QUICKLY, "EXP2_APART = 2", "EXP2_APART = 1"),
    (ATTENTION, QUICKLY, "if (__ballot_sync(ALL_LANES, is_too_near(nearest[step])) != 0)", "if (step == 0)"),
    (ATTENTION, QUERIES, "w.item.partial_stride +", "0 +"),
    (MATMUL_80, KERNEL_80, "stages - 2>()", "stages - 1>()"),
    (MATMUL_80, KERNEL_80, "i + 1 < shape<n>::stages; i++)\n        l.load", "i < shape<n>::stages; i++)\n        l.load"),
    (MATMUL_80, KERNEL_80, "first + row < n_rows && col < n_cols", "col < n_cols"),
    (MATMUL_80, KERNEL_80, "first + row < n_rows && col < n_cols", "first + row < n_rows"),
    (MATMUL_80, KERNEL_80, "(top + left % n_down) * n}", "(top + left % n_down) * n + 1}"),
    (MATMUL_80, KERNEL_80, "            if (k == 0)\n                at = s.find(number);\n", "            at = s.find(blockIdx.x);\n"),
    (MATMUL_80, KERNEL_80, "step * 2 + matrix / 2", "step * 2 + matrix % 2"),
    (MATMUL_80, KERNEL_80, "warp % shape<n>::warps_down * shape<n>::rows}", "warp / shape<n>::warps_down * shape<n>::rows}"),
    (MATMUL_80, KERNEL_80, "bias8 = bias_of(args, out + 8)", "bias8 = bias_of(args, out)"),
    (MATMUL_80, KERNEL_80, "        sum.clear();\n", "        if (number == blockIdx.x)\n            sum.clear();\n"),
    (ATTENTION_80, PAGES_80, "stages - 2>()", "stages - 1>()"),
    (ATTENTION_80, PAGES_80, "            w = find_work(args, number_of(round));\n        __syncthreads();\n", "            w = find_work(args, number_of(round));\n"),
    (ATTENTION_80, PAGES_80, "at + round % 2 * SM80_ATTENTION_WORK_LEN, 1)", "at, 1)"),
    (ATTENTION_80, PAGES_80, "page() >= w.first && page() * KEYS + row + i <= last_position(w)", "true"),
    (ATTENTION_80, PAGES_80, "page() * KEYS + row + i <= last_position(w)", "page() * KEYS + row + i < last_position(w)"),
    (ATTENTION_80, PAGES_80, "row % SIDE : row / 2 % 4", "row % SIDE : row % SIDE"),
    (ATTENTION_80, PAGES_80, "            at++;\n            find_page();\n", "            at++;\n"),
    (ATTENTION_80, PAGES_80, "stage == 0 ? stages - 1 : stage - 1", "stage"),
    (ATTENTION_80, PAGES_80, "ldmatrix_x4_turned(b", "ldmatrix_x4(b"),
    (ATTENTION_80, PAGES_80, "        if (q.follow_block(s, page))\n            q.scale_own();", "        q.follow_block(s, page);"),
    (ATTENTION_80, PAGES_80, "            q.begin_split();\n", ""),
    (ATTENTION_80, PAGES_80, "next >= q.w.end || q.begins_split(next)", "next >= q.w.end"),
    (SAMPLE, SCAN, "    __syncthreads();\n    for (uint32_t i = threadIdx.x; i < p.n_biases", "    for (uint32_t i = threadIdx.x; i < p.n_biases"),
    (SAMPLE, SCAN, "        r.bins->own_count[i] = 0;\n", ""),
    (SAMPLE, SCAN, "bins == nullptr || w == 0", "bins == nullptr"),
    (SAMPLE, SCAN, "count & ~CUDA_IN_PROMPT", "count"),
    (SAMPLE, COMMON, "w < f.min_p", "w <= f.min_p"),
    (SAMPLE, COMMON, "z != z ? id : rank_key(z, id)", "rank_key(z, id)"),
    (SAMPLE, COMMON, "args.positions[row] + 1", "args.positions[row]"),
    (SAMPLE, SELECT, "    __syncthreads(); /* everybody has read what lies there */\n", ""),
    (SAMPLE, SELECT, "*weight_before += in.weight_before;", ""),
    (SAMPLE, SELECT, "prefix | in.at", "in.at"),
    (SAMPLE, SELECT, "before = 0, weight = weight_before;", "before = 0, weight = 0;"),
    (SAMPLE, CHOOSE, "need > 0 ? need : 1", "need"),
    (SAMPLE, CHOOSE, "<= k.last ? weigh(f, z) : (uint64_t)0", "<= k.last ? weigh(f, z) : weigh(f, z)"),
    (SAMPLE, CHOOSE, "r.position, r.params->choice", "r.params->choice, r.position"),
    (SAMPLE, CHOOSE, "    args.newest[r.slot] = 0;\n", ""),
    (SAMPLE, CHOOSE, "r.params->counts[id] += 1", "r.params->counts[id] += 0"),
]
# With --unfound, which fails: a fault that no test here sees yet, and that matters on a GPU.
UNFOUND = [
    (ATTENTION, WORK, "    join_group(p); /* all are done with the queries before */\n", ""),
]


# What orders threads, copies and products: each such statement is dropped with --races.
ORDERS = re.compile(r"\b(?:__syncthreads\(\)|__syncwarp\(\w*\)|barrier_sync\([^;]*\)|join_group\(p\)|join_cluster<n>\(\)|"
                    r"mbarrier_wait_parity\([^;]*\)|wgmma_wait<\d>\(\)|bulk_wait(?:_read)?<\d>\(\)|copy_async_wait<\d>\(\)|"
                    r"grid_wait\(\)|fence_proxy_async\(\));")
IN_TEST = {MATMUL: [KERNEL, TURN, FEW, FEW_RINGS], ROWS: [ROWS_CU, DEVICE], ATTENTION: [PAGES, WORK], STEP: [STEP_CU],
           SAMPLE: [SCAN, COMMON, SELECT, CHOOSE], CHAIN: [FOLD]}


def dropped_orders():
    mutants = []
    for test, files in IN_TEST.items():
        for file in files:
            source = (ROOT / file).read_text()
            for m in ORDERS.finditer(source):
                line = source.count("\n", 0, m.start()) + 1
                found_by = CHAIN if m.group().startswith("grid_wait") and test != MATMUL else test
                mutants.append((found_by, file, source, source[:m.start()] + ";" + source[m.end():],
                                f"{file}:{line} {m.group()}"))
    return mutants


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def must(command):
    result = run(command)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")


def flags_of(mutant):
    return WATCHED if len(mutant) > 4 else KERNELS


def compile_kernels(root, source, flags, out):
    return ["g++", "-x", "c++", "-std=c++17", *FLAGS, *flags, *WARNINGS_OFF, f"-I{root}", f"-I{ROOT}", "-c", root / source,
            "-o", out]


def files_of(source):
    """Those that a source is compiled from."""
    made_from = run(["g++", "-x", "c++", "-std=c++17", "-MM", f"-I{ROOT}", ROOT / source], check=True).stdout
    return {word.removeprefix(f"{ROOT}/") for word in made_from.split()}


def link(parts, kernels, test, out):
    must(["g++", *FLAGS, *parts["emulator"], parts[test], *kernels, "-lcmocka", "-lm", "-o", out])


def build_parts(folder, pool, mutants):
    """What no mutant changes; a source of kernels that some mutants do is there for the others."""
    emulator, commands = [], []
    for source in [*sorted((ROOT / "kernels/emu").glob("*.cc")), ROOT / "common/err.c",
                   ROOT / "kernels/cuda/attention_plan.c", ROOT / "kernels/cuda/kernel_set.c",
                   *sorted((ROOT / "engine").glob("sample*.c")), ROOT / "engine/token_counts.c"]:
        out = folder / f"{source.stem}.o"
        commands.append(["g++" if source.suffix == ".cc" else "gcc", *FLAGS, f"-I{ROOT}", "-c", source, "-o", out])
        emulator.append(out)
    parts = {"emulator": emulator}
    for test in {mutant[0] for mutant in mutants}:
        parts[test] = folder / f"{test}.o"
        commands.append(["gcc", *FLAGS, f"-I{ROOT}", "-c", ROOT / f"tests/unit/{test}.c", "-o", parts[test]])
    parts["files"] = {source: files_of(source) for source in {s for mutant in mutants for s in SOURCES[mutant[0]]}}
    for mutant in mutants:
        for source in SOURCES[mutant[0]]:
            key = source, *flags_of(mutant)
            if mutant[1] not in parts["files"][source] and key not in parts:
                parts[key] = folder / f"kernels{len(parts)}.o"
                commands.append(compile_kernels(ROOT, source, flags_of(mutant), parts[key]))
    list(pool.map(must, commands))
    return parts


def kernels_of(parts, own, mutant):
    objects = []
    for source in SOURCES[mutant[0]]:
        if mutant[1] in parts["files"][source]:
            objects.append(own / f"{pathlib.Path(source).stem}.o")
            must(compile_kernels(own, source, flags_of(mutant), objects[-1]))
        else:
            objects.append(parts[source, *flags_of(mutant)])
    return objects


def passes(test):
    """Until the first of its tests fails."""
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    with subprocess.Popen([test], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=environment) as process:
        watch = threading.Timer(LIMIT_S, process.kill)
        watch.start()
        failed = any("[  FAILED  ]" in line for line in process.stdout)
        if failed:
            process.kill()
        process.wait()
        in_time = watch.is_alive()
        watch.cancel()
    if not in_time:
        raise subprocess.TimeoutExpired(test, LIMIT_S)
    return not failed and process.returncode == 0


def verdict(parts, folder, number, mutant):
    """"" when the mutant is found, else what is wrong."""
    test, file, text, instead, *where = mutant
    change = where[0] if where else f"{text!r} -> {instead!r}"
    own = folder / str(number)
    shutil.copytree(ROOT / "kernels", own / "kernels")
    source = (own / file).read_text()
    if source.count(text) != 1:
        return f"mutant {number}: {file} has {source.count(text)} of {text!r}"
    (own / file).write_text(source.replace(text, instead))
    link(parts, kernels_of(parts, own, mutant), test, own / "test")
    try:
        passed = passes(own / "test")
    except subprocess.TimeoutExpired:
        return f"mutant {number}: without an end: {change}"
    return f"mutant {number} lives: {change}" if passed else ""


def main():
    if shutil.which("g++") is None:
        print("mutants: no g++ here, skipped")
        return 77
    if "--races" in sys.argv:
        mutants = dropped_orders()
    elif "--unfound" in sys.argv:
        mutants = UNFOUND
    else:
        mutants = SOME + [m for m in dropped_orders() if m[0] == ROWS] + (OTHERS if "--all" in sys.argv else [])
    tests = [name for name in sys.argv[1:] if name not in ("--all", "--races", "--unfound")]
    if not SOURCES.keys() >= set(tests):
        sys.exit(f"mutants: {' '.join(tests)}: the tests are {' '.join(SOURCES)}")
    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(2) as pool:
        folder = pathlib.Path(name)
        chosen = [i for i, mutant in enumerate(mutants) if mutant[0] in (tests or SOURCES)]
        parts = build_parts(folder, pool, [mutants[i] for i in chosen])
        wrong = [w for w in pool.map(lambda i: verdict(parts, folder, i, mutants[i]), chosen) if w]
    print("\n".join(wrong))
    print(f"mutants: {len(chosen)} faults, {len(chosen) - len(wrong)} found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
