"""What ptxas says of each kernel: no spills, no stack, no more registers than its threads may have.

Skipped (77) where there is no nvcc. The report comes from a compile of its own: its options are stored in the
result, which must not be measured.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = [f for f in (ROOT / "kernels/cuda/nvcc_flags.txt").read_text().split()
         if not f.startswith(("-gencode", "--fatbin", "--no-compress"))]
CHIPS = {"sm_80": 42, "sm_90a": 50}  # how many kernels each has
# Registers at entry of a thread: 65,536 of a multiprocessor over its block's threads, in eights; 255 at most. How much
# shared memory the sm80 kernels take is checked where they are launched (kernels/cuda/kernel_set.c).
LIMITS = {"sm80_matmul": 255, "sm80_attention": 255, "matmul_few": 240, "matmul": 168, "attention_fold": 96, "attention_": 240,
          "embed_rows": 64, "rmsnorm_rows": 80, "rope_write": 64, "prepare_rows": 64, "zero_pages": 64, "copy_pages": 64, "count_tokens": 64,
          "sample_scan": 64, "sample_weigh": 64, "sample_choose": 112, "exp2_check": 64}

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes stack frame, "
                   r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.S)


def report(chip):
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            ["nvcc", *FLAGS, "--cubin", f"-gencode=arch=compute_{chip[3:]},code={chip}", "-Xptxas", "-v", "-I.",
             "kernels/cuda/kernels.cu", "-o", f"{folder}/out"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [(name, *map(int, rest)) for name, _, *rest in ENTRY.findall(result.stderr)]


def main():
    if shutil.which("nvcc") is None:
        print("kernels: no nvcc here, skipped")
        return 77
    wrong = []
    for chip, n_kernels in CHIPS.items():
        kernels = report(chip)
        if len(kernels) != n_kernels:
            wrong.append(f"{chip}: {len(kernels)} kernels; {n_kernels} were meant")
        for name, stack, stores, loads, registers in kernels:
            limit = next(n for prefix, n in LIMITS.items() if name.startswith(prefix))
            print(f"{chip} {name}: {registers} registers, {stack} bytes of stack, {stores + loads} spilled")
            if stack or stores or loads or registers > limit:
                wrong.append(f"{chip} {name}: over its limits (no stack, no spills, {limit} registers)")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
