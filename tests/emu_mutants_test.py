"""Faults put into the CUDA kernels one at a time: the kernels' tests on the emulated GPU must fail for each.

What is dropped are the waits, fences and barriers whose absence a GPU would forgive on most days. Skipped (77)
where there is no g++.

    emu_mutants_test.py [--all | --races] [--only N,N,...] [-j N] [--seconds N] [TEST...]

Without --all some of each kernel, in minutes. --races: each barrier and wait of the kernels dropped, one at a time, and the
kernels watched for races. TEST: only those of this kernels' test. With --all and --races the tests are run without a fault,
too, and must pass: what fails anyhow finds nothing. After --seconds no fault is begun, and tests that run are killed; what
was not looked at is named as --only takes it. Then, and with faults that no test finds, the exit code is 1.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARNINGS_OFF = ["-w"]
FLAGS = ["-O1", "-D_GNU_SOURCE", "-DLANES_VARIANT=lanes_baseline", "-ffp-contract=off", "-fno-strict-aliasing",
         "-fno-thread-jumps",
         "-freorder-blocks-algorithm=simple", "-fsanitize=address", "-fno-omit-frame-pointer"]

KERNELS = [*FLAGS, "-O0"]  # more is compiled than run

# Kernels that are watched for races (kernels/emu/races.h).
WATCHED = [f for f in FLAGS if f != "-fsanitize=address"] + ["-fsanitize=thread", "-fno-tree-loop-distribute-patterns"]

LIMIT_S, LIMIT_WITHOUT_S = 120, 600  # of one test with a fault and without

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
           MATMUL_80: [KERNEL_80], ATTENTION_80: [PAGES_80, FOLD, "kernels/cuda/exp2_check.cu"], STEP: [STEP_CU], SAMPLE: [SCAN, CHOOSE, STEP_CU],
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
    (ATTENTION, PAGES, "        weigh_block(weights, s, q.scale, finite(q.of[0].m), finite(q.of[1].m));\n", ""),
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
    (MATMUL, KERNEL, "    __syncthreads();\n", "", "a barrier behind the making of mbarriers, watched for races"),
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
    (MATMUL, FEW, "wgmma_wait<0>();", ""),
    (MATMUL, FEW, "wgmma_wait<0>();", "wgmma_wait<1>();"),
    (MATMUL, FEW, "wgmma_commit();", ""),
    (MATMUL, FEW, "wgmma_fence();", ""),
    (MATMUL, FEW_RINGS, "mbarrier_init(&empty[i], n_consumers)", "mbarrier_init(&empty[i], 1)"),
    (MATMUL, FEW, "                    if (part + 1 == n_parts)\n", ""),
    (MATMUL, FEW, "warp / UNITS * n_own * ROW_LEN", "0"),
    (MATMUL, FEW, "            if (part >= n_parts)\n                continue;\n            r.w.wait", "            r.w.wait"),
    (MATMUL, FEW, "            if (part >= n_parts)\n                continue;\n            operands", "            operands"),
    (MATMUL, FEW_RINGS, "(int)(out + i / BOXES * FEW_OUT)", "(int)out"),
    (MATMUL, FEW_RINGS, "/ at_once * gridDim.x", "/ at_once"),
    (MATMUL, FEW_RINGS, "t.out + part * FEW_PART, k", "t.out, k"),
    (MATMUL, FEW, "(piece ^ row % SIDE) * 16", "piece * 16"),
    (MATMUL, FEW, "fresh && box == 0 && step == 0", "fresh && step == 0"),
    (ATTENTION, WORK, "    fence_proxy_async();\n    join_group(p);\n}\n\n/* Slots", "    fence_proxy_async();\n}\n\n/* Slots",
     "join_group behind the writing of queries, watched for races"),
    (ATTENTION, WORK, "    join_group(p); /* all are done with the queries before */\n", "",
     "join_group ahead of the writing of queries, watched for races"),
    (ATTENTION, PAGES, "        r.keys.wait();\n", ""),
    (ATTENTION, PAGES, "        if (!first)\n            r.values.wait();\n", ""),
    (ATTENTION, PAGES, "        r.values.wait();\n        clear", "        clear"),
    (ATTENTION, WORK, "tile / QUERIES * GROUP / WARP", "GROUP / WARP"),
    (ATTENTION, WORK, "piece{0x3f803f80, ", "piece{0x3f803f81, "),
    (ATTENTION, PAGES, "turn.give(p.group);", ""),
    (ATTENTION, PAGES, "wgmma_wait<1>();", ""),
    (ATTENTION, PAGES, "wgmma_wait<1>();", "wgmma_wait<2>();"),
    (ATTENTION, PAGES, "        wgmma_wait<0>();\n        if (first)", "        if (first)"),
    (ATTENTION, PAGES, "        wgmma_wait<0>();\n        r.values.leave();", "        r.values.leave();\n        wgmma_wait<0>();"),
    (ATTENTION, WORK, "last_position(w) % BLOCK + 1;", "last_position(w) % BLOCK + 2;"),
    (ATTENTION, QUERIES, "(ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0) || page <= w.first", "page <= w.first"),
    (ATTENTION, PAGES, "        if (follow(q.of, s, q.scale))\n            q.scale_own();", "        follow(q.of, s, q.scale);"),
    (ATTENTION, QUERIES, "position < p.low || ", ""),
    (ATTENTION, QUERIES, "position + BLOCK - 1 > p.high", "position + BLOCK - 2 > p.high"),
    (ATTENTION, PAGES, "values, first ? 0 : rows<head_dim, BLOCK>::chunk_len,", "values, 0,"),
    (ATTENTION, WEIGHTS, "m > MINUS_INFINITY ? m : 0.0f", "m"),
    (ATTENTION, WEIGHTS, "ATTENTION_GRID 12288.0f", "ATTENTION_GRID 1536.0f"),
    (ATTENTION, QUERIES, "threadIdx.x % WARP / 4 * 4", "threadIdx.x % WARP"),
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
    (ATTENTION_80, PAGES_80, "        if (follow(q.of, s, q.scale))\n            q.scale_own();", "        follow(q.of, s, q.scale);"),
    (ATTENTION_80, PAGES_80, "            q.begin_split(s, page);\n", ""),
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
    (SAMPLE, SELECT, "f.z[(uint32_t)best]) <= g.bin", "f.z[(uint32_t)best]) < g.bin"),
    (SAMPLE, SELECT, "by == OWN ? r.chunks[c].own_best : r.chunks[c].best", "r.chunks[c].own_best"),
    (SAMPLE, CHOOSE, "r.chunks[c].best <= last", "r.chunks[c].best < last"),
    (SAMPLE, CHOOSE, "return best <= last;", "return best < last;"),
    (SAMPLE, CHOOSE, "need > 0 ? need : 1", "need"),
    (SAMPLE, CHOOSE, "<= k.last ? weigh(f, z) : (uint64_t)0", "<= k.last ? weigh(f, z) : weigh(f, z)"),
    (SAMPLE, CHOOSE, "r.position, r.params->choice", "r.params->choice, r.position"),
    (SAMPLE, CHOOSE, "    args.newest[r.slot] = 0;\n", ""),
    (SAMPLE, CHOOSE, "r.params->counts[id] += 1", "r.params->counts[id] += 0"),
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


def must(command):
    subprocess.run(command, check=True, capture_output=True, text=True)


def compile_kernel(root, source, watched, out):
    must(["g++", "-x", "c++", "-std=c++17", *(WATCHED if watched else KERNELS), *WARNINGS_OFF, f"-I{root}", f"-I{ROOT}",
          "-MMD", "-c", root / source, "-o", out])


class Parts:
    """What no fault changes, compiled once."""

    def __init__(self, folder, kinds, pool):
        """kinds: of each test, whether its kernels are watched."""
        self.folder = folder
        sources = [*sorted((ROOT / "kernels/emu").glob("*.cc")), ROOT / "common/err.c",
                   ROOT / "kernels/cuda/attention_plan.c", ROOT / "kernels/cuda/kernel_set.c",
                   *sorted((ROOT / "engine").glob("sample*.c")), ROOT / "engine/token_counts.c",
                   *(ROOT / f"kernels/{name}.c" for name in ("backend", "pool", "ref/ref", "ref/lanes", "ref/attention"))]
        self.emulator = [folder / f"{source.stem}.o" for source in sources]
        jobs = [pool.submit(compile_kernel, ROOT, source, watched, self.kernel(source, watched))
                for source, watched in sorted({(s, watched) for test, watched in kinds for s in SOURCES[test]})]
        jobs += [pool.submit(self.compile_part, source, out) for source, out in zip(sources, self.emulator)]
        jobs += [pool.submit(self.compile_part, ROOT / f"tests/unit/{test}.c", self.test(test, watched),
                             *(["-DBL_WATCHED"] if watched else [])) for test, watched in sorted(kinds)]
        for job in jobs:
            job.result()

    @staticmethod
    def compile_part(source, out, *more):
        must(["g++" if source.suffix == ".cc" else "gcc", *FLAGS, *more, f"-I{ROOT}", "-c", source, "-o", out])

    def test(self, test, watched):
        return self.folder / f"{test}{'-watched' if watched else ''}.o"

    def kernel(self, source, watched):
        return self.folder / f"{pathlib.Path(source).name}{'-watched' if watched else ''}.o"

    def has(self, source, watched, file):
        """Whether the kernels of that source are made from that file."""
        return str(ROOT / file) in self.kernel(source, watched).with_suffix(".d").read_text().split()


def link(parts, kernels, test, watched, out):
    must(["g++", *FLAGS, *parts.emulator, parts.test(test, watched), *kernels, "-lcmocka", "-lm", "-o", out])


def passes(test, limit_s):
    """Until the first of its tests fails; None when it had no time to end."""
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    with subprocess.Popen([test], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=environment) as process:
        watch = threading.Timer(limit_s, process.kill)
        watch.start()
        failed = any("[  FAILED  ]" in line for line in process.stdout)
        if failed:
            process.kill()
        process.wait()
        in_time = watch.is_alive()
        watch.cancel()
    return not failed and process.returncode == 0 if failed or in_time else None


def build(parts, own, mutant):
    """The test with the fault in its kernels; of the kernels only what has the changed file is compiled anew."""
    test, file, text, instead, *where = mutant
    kernels, watched = [parts.kernel(source, bool(where)) for source in SOURCES[test]], bool(where)
    if file:
        shutil.copytree(ROOT / "kernels", own / "kernels")
        (own / file).write_text((own / file).read_text().replace(text, instead))
        for i, source in enumerate(SOURCES[test]):
            if parts.has(source, watched, file):
                kernels[i] = own / f"{i}.o"
                compile_kernel(own, source, watched, kernels[i])
    link(parts, kernels, test, watched, own / "test")


def verdict(parts, number, mutant, end):
    """"found", or what is wrong; "" when there was no time to see."""
    test, file, text, *_ = mutant
    own = parts.folder / str(number)
    if file and (ROOT / file).read_text().count(text) != 1:
        return f"stands {(ROOT / file).read_text().count(text)} times in {file}"
    if time.monotonic() >= end:
        return ""
    own.mkdir()
    try:
        build(parts, own, mutant)
    except subprocess.CalledProcessError as e:
        return f"cannot be built ({next((line for line in e.stderr.splitlines() if 'error' in line), e)})"
    passed = passes(own / "test", max(min(LIMIT_S if file else LIMIT_WITHOUT_S, end - time.monotonic()), 0))
    shutil.rmtree(own)
    if passed is None:
        return "" if time.monotonic() >= end else "without an end"
    if file:
        return "lives" if passed else "found"
    return "found" if passed else "fails without a fault"


def judge(parts, number, mutant, end):
    begun = time.monotonic()
    wrong = verdict(parts, number, mutant, end)
    test, file, text, instead, *where = mutant
    change = where[0] if where else f"{text!r} -> {instead!r}" if file else "no fault"
    if wrong:
        print(f"{number}: {wrong}, {test}, {time.monotonic() - begun:.0f} s: {change}", flush=True)
    return number, wrong


def options():
    p = argparse.ArgumentParser(usage=__doc__.split("\n\n")[2].strip())
    p.add_argument("--all", action="store_true")
    p.add_argument("--races", action="store_true")
    p.add_argument("--only", type=lambda text: {int(n) for n in text.split(",")})
    p.add_argument("-j", type=int, default=2)
    p.add_argument("--seconds", type=float, default=float("inf"))
    p.add_argument("tests", nargs="*", metavar="TEST")
    of = p.parse_args()
    if not SOURCES.keys() >= set(of.tests):
        p.error(f"the tests are {' '.join(SOURCES)}")
    return of


def faults(of):
    """By number."""
    if of.races:
        mutants = dropped_orders()
    else:
        mutants = SOME + [m for m in dropped_orders() if m[0] == ROWS] + (OTHERS if of.all else [])
    chosen = {i: m for i, m in enumerate(mutants) if m[0] in (of.tests or SOURCES) and (not of.only or i in of.only)}
    kinds = {(m[0], len(m) > 4) for m in chosen.values()}
    if of.all or of.races:
        without = [(test, None, "", "", *(["no fault, watched for races"] if watched else [])) for test, watched in sorted(kinds)]
        chosen = dict(enumerate(without, -len(without))) | chosen
    return chosen, kinds


def main():
    if shutil.which("g++") is None:
        print("mutants: no g++ here, skipped")
        return 77
    of = options()
    end = time.monotonic() + of.seconds
    chosen, kinds = faults(of)
    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(of.j) as pool:
        try:
            parts = Parts(pathlib.Path(name), kinds, pool)
        except subprocess.CalledProcessError as e:
            sys.exit(f"mutants: {' '.join(map(str, e.cmd))}\n{e.stderr}")
        verdicts = list(pool.map(lambda i: judge(parts, i, chosen[i], end), chosen))
    wrong = [i for i, verdict in verdicts if verdict not in ("found", "")]
    unseen = [i for i, verdict in verdicts if not verdict]
    print(f"mutants: {len(chosen)} looked for, {len(chosen) - len(wrong) - len(unseen)} found, {len(wrong)} not: {wrong}")
    if unseen:
        print(f"mutants: no time for --only {','.join(str(i) for i in unseen if i >= 0)}")
    return 1 if wrong or unseen else 0


if __name__ == "__main__":
    sys.exit(main())
