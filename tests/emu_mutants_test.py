"""Faults put into the CUDA kernels one at a time: the kernels' tests on the emulated GPU must fail for each.

What is dropped are the waits, fences and barriers whose absence a GPU would forgive on most days. Skipped (77)
where there is no g++.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARNINGS_OFF = ["-w"]
FLAGS = ["-O1", "-g", "-D_GNU_SOURCE", "-ffp-contract=off", "-fno-strict-aliasing",
         "-fsanitize=address", "-fno-omit-frame-pointer"]

# (test, file, text, what stands there instead)
MATMUL, ROWS = "cuda_matmul_test", "cuda_rows_test"
KERNEL, DEVICE = "kernels/cuda/matmul.cu", "kernels/cuda/device.cuh"
ROWS_CU = "kernels/cuda/rows.cu"
MUTANTS = [
    (MATMUL, KERNEL, "mbarrier_wait_parity(&r.full[r.stage], r.parity);", ""),
    (MATMUL, KERNEL, "mbarrier_wait_parity(&r.empty[r.stage], r.parity ^ 1);", ""),
    (MATMUL, KERNEL, "r.parity ^ 1)", "r.parity)"),
    (MATMUL, KERNEL, "wgmma_wait<1>();", ""),
    (MATMUL, KERNEL, "wgmma_wait<0>();", ""),
    (MATMUL, KERNEL, "wgmma_fence();", ""),
    (MATMUL, KERNEL, "wgmma_commit();", ""),
    (MATMUL, KERNEL, "    __syncthreads();\n", ""),
    (MATMUL, KERNEL, "CONSUMERS * GROUP / WARP", "CONSUMERS"),
    (MATMUL, KERNEL, "ring<n>::stage_len);\n            tensor", "ring<n>::stage_len - 16);\n            tensor"),
    (MATMUL, KERNEL, "w + 2 * step", "w + step"),
    (MATMUL, KERNEL, "k == 0 && step == 0", "step == 0"),
    (MATMUL, KERNEL, "number / across * n}", "number / across * n + 1}"),
    (MATMUL, KERNEL, "    if (row >= args.n_rows)\n        return;\n", ""),
    (MATMUL, KERNEL, "bias_of(args, out + 8)", "bias_of(args, out)"),
    (ROWS, DEVICE, "    __syncthreads();\n    float sum = 0.0f;", "    float sum = 0.0f;"),
    (ROWS, ROWS_CU, "turned ? i : half + i;", "i;"),
    (ROWS, ROWS_CU, "args.head_dim / 2 - half)", "half)"),
    (ROWS, ROWS_CU, "args.rows != nullptr ? args.rows[blockIdx.x] : blockIdx.x", "blockIdx.x"),
]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def must(command):
    result = run(command)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")


def compile_kernels(folder, out):
    must(["g++", "-x", "c++", "-std=c++17", *FLAGS, *WARNINGS_OFF, f"-I{folder}", f"-I{ROOT}", "-c",
          folder / "kernels/cuda/kernels.cu", "-o", out])


def link(parts, kernels, test, out):
    must(["g++", *FLAGS, *parts["emulator"], parts[test], kernels, "-lcmocka", "-lm", "-o", out])


def build_parts(folder):
    """What no mutant changes."""
    emulator = []
    for source in [*sorted((ROOT / "kernels/emu").glob("*.cc")), ROOT / "common/err.c"]:
        out = folder / f"{source.stem}.o"
        must(["g++" if source.suffix == ".cc" else "gcc", *FLAGS, f"-I{ROOT}", "-c", source, "-o", out])
        emulator.append(out)
    parts = {"emulator": emulator}
    for test in (MATMUL, ROWS):
        parts[test] = folder / f"{test}.o"
        must(["gcc", *FLAGS, f"-I{ROOT}", "-c", ROOT / f"tests/unit/{test}.c", "-o", parts[test]])
    return parts


def verdict(parts, folder, number):
    """"" when the mutant is found, else what is wrong."""
    test, file, text, instead = MUTANTS[number]
    own = folder / str(number)
    shutil.copytree(ROOT / "kernels", own / "kernels")
    source = (own / file).read_text()
    if source.count(text) != 1:
        return f"mutant {number}: {file} has {source.count(text)} of {text!r}"
    (own / file).write_text(source.replace(text, instead))
    compile_kernels(own, own / "kernels.o")
    link(parts, own / "kernels.o", test, own / "test")
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    try:
        passed = run([own / "test"], timeout=120, env=environment).returncode == 0
    except subprocess.TimeoutExpired:
        return f"mutant {number}: without an end: {text!r} -> {instead!r}"
    return f"mutant {number} lives: {text!r} -> {instead!r}" if passed else ""


def main():
    if shutil.which("g++") is None:
        print("mutants: no g++ here, skipped")
        return 77
    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(2) as pool:
        folder = pathlib.Path(name)
        parts = build_parts(folder)
        wrong = [w for w in pool.map(lambda i: verdict(parts, folder, i), range(len(MUTANTS))) if w]
    print("\n".join(wrong))
    print(f"mutants: {len(MUTANTS)} faults, {len(MUTANTS) - len(wrong)} found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
