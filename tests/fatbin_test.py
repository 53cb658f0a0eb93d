"""The kernels' fatbin: the same bytes from any folder at any time, machine code only, for the chips we name.

Skipped (77) where there is no nvcc. The format is read as far as it goes: a header (magic, version, header
length, length), then entries, each a header with kind (1: PTX, 2: machine code), chip and flags.
"""

import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = (ROOT / "kernels/cuda/nvcc_flags.txt").read_text().split()
CHIPS = {80, 90}
MAGIC, MACHINE_CODE, COMPRESSED = 0xBA55ED50, 2, 0x2000 | 0x8000


def build(folder):
    """A copy of the sources in `folder`, built there."""
    for room in ("kernels", "common"):
        shutil.copytree(ROOT / room, folder / room)
    out = folder / "kernels.fatbin"
    subprocess.run(["nvcc", *FLAGS, "-I.", "kernels/cuda/kernels.cu", "-o", str(out)], cwd=folder, check=True)
    return out.read_bytes()


def entries(image):
    magic, _, header_len, length = struct.unpack_from("<IHHQ", image)
    assert magic == MAGIC, f"magic is {magic:#x}"
    assert header_len + length == len(image), "the length does not cover the file"
    at = header_len
    while at < len(image):
        kind, _, entry_len, size = struct.unpack_from("<HHIQ", image, at)
        chip, = struct.unpack_from("<I", image, at + 28)
        flags, = struct.unpack_from("<Q", image, at + 40)
        yield kind, chip, flags, image[at + entry_len:at + entry_len + size]
        at += entry_len + size
    assert at == len(image), "the last entry goes beyond the file"


def main():
    if shutil.which("nvcc") is None:
        print("fatbin: no nvcc here, skipped")
        return 77
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory(prefix="another") as second:
        one = build(pathlib.Path(first) / "src")
        two = build(pathlib.Path(second) / "deeper" / "src")
    assert one == two, "two folders, two results"
    chips = set()
    for kind, chip, flags, code in entries(one):
        assert kind == MACHINE_CODE, f"an entry of kind {kind} for chip {chip}: only machine code is measured"
        assert not flags & COMPRESSED, f"the entry for chip {chip} is compressed"
        assert code[:4] == b"\x7fELF", "machine code is an ELF file"
        assert chip not in chips, f"chip {chip} twice"
        chips.add(chip)
    assert chips == CHIPS, f"chips {sorted(chips)}; wanted {sorted(CHIPS)}"
    print(f"fatbin: {len(one)} bytes, chips {sorted(chips)}, the same from two folders")
    return 0


if __name__ == "__main__":
    sys.exit(main())
