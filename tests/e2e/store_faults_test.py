"""Durability of an append against a kernel that fails: strace injects EIO, ENOSPC or a kill into
each system call of one append on its own. After each, the log passes its check, every index that
was told is there with its entry, the next append works, and no size has a second root.

Skipped (77) where strace is absent or may not trace. SQLite's own faults are in store_crash_test.c.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

WRITER = pathlib.Path(os.environ.get("BL_STORE_WRITER", "build/release/bin/store_writer"))
# Leak detection cannot work under a tracer.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
TIME_S = float(os.environ.get("BL_FAULTS_SECONDS", "100"))

FAULTS = {
    "openat": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "pread64": ("error=EIO", "signal=KILL"),
    "pwrite64": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "fdatasync": ("error=EIO", "signal=KILL"),
    "fsync": ("error=EIO", "signal=KILL"),
    "ftruncate": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "fallocate": ("error=ENOSPC", "signal=KILL"),
    "unlink": ("error=EIO", "signal=KILL"),
    "write": ("error=EIO", "signal=KILL"),
}


def run(*arguments, strace=()):
    return subprocess.run([*strace, str(WRITER), *map(str, arguments)], env=ENVIRONMENT, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def need():
    if not WRITER.exists():
        print("skipped, missing:", WRITER)
        sys.exit(77)
    if not shutil.which("strace"):
        print("skipped: strace is not installed")
        sys.exit(77)
    tried = subprocess.run(["strace", "-f", "-e", "trace=fdatasync", "true"], capture_output=True)
    if tried.returncode != 0:
        print("skipped: this process may not trace others")
        sys.exit(77)


class Faults(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bl-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.told = {}   # index: text
        self.roots = {}  # size: root
        self.n = 0
        self.assertEqual(run("make", self.folder).returncode, 0)
        self.append(3)

    def take(self, text, answer):
        """What the writer told before it ended; a torn line was told to nobody."""
        for i, line in enumerate(re.findall(r"(\d+) (\d+) ([0-9a-f]{64})\n", answer.stdout)):
            index, size, root = int(line[0]), int(line[1]), line[2]
            self.told[index] = f"{text} {i}"
            self.assertEqual(self.roots.setdefault(size, root), root, f"a second root of {size}")

    def append(self, count=1, strace=()):
        self.n += 1
        text = f"attempt-{self.n}"
        answer = run("append", self.folder, text, count, strace=strace)
        self.take(text, answer)
        return answer

    def check(self, what):
        answer = run("check", self.folder)
        self.assertEqual(answer.returncode, 0, f"{what}: {answer.stderr}")
        entries = dict(re.findall(r"^entry (\d+) (.*)$", answer.stdout, re.M))
        for index, text in self.told.items():
            self.assertEqual(entries.get(str(index)), text, f"{what}: told, and not there")
        for size, root in re.findall(r"^checkpoint (\d+) ([0-9a-f]{64})$", answer.stdout, re.M):
            self.assertEqual(self.roots.setdefault(int(size), root), root,
                             f"{what}: a second root of size {size}")

    def calls(self, call):
        """Which of the process's calls of this kind touch the log's folder: from the first on."""
        trace = self.folder.parent / f"{self.folder.name}.trace"
        answer = self.append(strace=("strace", "-f", "-y", "-e", f"trace={call}", "-o", str(trace)))
        self.assertEqual(answer.returncode, 0, answer.stderr)
        lines = [line for line in trace.read_text().splitlines() if f"{call}(" in line]
        trace.unlink()
        mine = [i + 1 for i, line in enumerate(lines)
                if str(self.folder) in line or (call == "write" and "write(1" in line)]
        return mine

    def test_each_call_of_an_append_fails_or_dies(self):
        end = time.monotonic() + TIME_S
        done, left_out = 0, 0
        kinds = 0
        for call, faults in FAULTS.items():
            numbers = self.calls(call)
            kinds += bool(numbers)
            for fault in faults:
                for number in numbers:
                    if time.monotonic() > end:
                        left_out += 1
                        continue
                    what = f"{call} {number} {fault}"
                    inject = f"inject={call}:{fault}:when={number}"
                    answer = self.append(strace=("strace", "-f", "-qq", "-o", "/dev/null",
                                                 "-e", f"trace={call}", "-e", inject))
                    self.check(what)
                    if "KILL" in fault:
                        self.assertNotEqual(answer.returncode, 0, what)
                    self.assertEqual(self.append().returncode, 0, f"after {what}")
                    done += 1
        self.check("at the end")
        print(f"{done} faults in {kinds} kinds of call; {left_out} left out for want of time")
        self.assertGreater(done, 20)
        self.assertGreaterEqual(kinds, 4)


if __name__ == "__main__":
    need()
    unittest.main(verbosity=2)
