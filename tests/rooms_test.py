"""Order of the rooms: a lower room never includes an upper one, and programs link only what they may.

Usage: rooms_test.py [folder of built programs]
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What each room may include, besides itself.
MAY_INCLUDE = {
    "common": set(),
    "transparency": {"common"},
    "attest": {"common", "transparency"},
    "http": {"common"},
    "publish": {"common", "transparency", "http"},
    "kernels": {"common"},
    "engine": {"common", "kernels"},
    "server": {"common", "transparency", "attest", "http", "publish", "kernels", "engine"},
    "client": {"common", "transparency", "attest", "http"},
    "logservice": {"common", "transparency", "attest", "http", "publish"},
    "auditor": {"common", "transparency", "attest"},
}

# Files that may include <tss2/...>.
TSS_FILES = re.compile(r"^attest/tpm_?[a-z]*\.c$|^attest/tpm_internal\.h$")

# Shared libraries that a program must not load.
MUST_NOT_LINK = {
    "blindllama-audit": ("libtss2", "libcuda", "libevent"),
    "blindllama": ("libtss2", "libcuda", "libsqlite3"),
    "blindllama-log": ("libtss2", "libcuda"),
    "blindllama-server": ("libcuda", "libcudart", "libcublas"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def sources(room):
    return sorted(p for p in (ROOT / room).rglob("*") if p.suffix in (".c", ".h", ".cc", ".cu", ".cuh"))


def wrong_includes():
    for room, allowed in MAY_INCLUDE.items():
        for path in sources(room):
            name = path.relative_to(ROOT).as_posix()
            for quote, target in INCLUDE.findall(path.read_text()):
                if target.startswith("tss2/") and not TSS_FILES.match(name):
                    yield f"{name} includes <{target}>: only attest/tpm*.c may"
                if quote != '"':
                    continue
                other = target.split("/")[0]
                if "/" not in target or not (ROOT / target).exists():
                    yield f'{name} includes "{target}", which is not rooted at the top folder'
                elif other != room and other not in allowed:
                    yield f'{name} includes "{target}": {room} may not include {other}'


def wrong_links(folder):
    for program, banned in MUST_NOT_LINK.items():
        path = pathlib.Path(folder) / program
        if not path.exists():
            yield f"{path} is missing"
            continue
        libraries = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in banned:
            if library in libraries:
                yield f"{program} links {library}"


def main():
    n_files = sum(len(sources(room)) for room in MAY_INCLUDE)
    wrong = list(wrong_includes())
    if len(sys.argv) > 1:
        wrong += wrong_links(sys.argv[1])
    for line in wrong:
        print(line)
    print(f"rooms: {n_files} files, {len(wrong)} wrong")
    return 1 if wrong or n_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
