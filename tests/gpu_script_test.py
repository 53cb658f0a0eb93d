"""bench/gpu.sh on the emulated GPU: every benchmark and test runs, the results lie in one folder, a part that fails or
takes too long is said so and stops no other, and nothing that was emulated has a value.

Usage: gpu_script_test.py BUILD_FOLDER
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv.pop(1))


class GpuScript(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "results"

    def run_script(self, *args, programs=BUILD):
        run = subprocess.run([ROOT / "bench/gpu.sh", "run", "--out", self.out, "--programs", programs, *args],
                             capture_output=True, text=True, timeout=800)
        path = self.out / "summary.json"
        return run, json.loads(path.read_text()) if path.exists() else None

    def states(self, summary):
        return {part["name"]: part["state"] for part in summary["parts"]}

    def test_every_part_leaves_its_results_in_one_folder(self):
        run, summary = self.run_script("--emulated", "--budget", "700", "decode", "attention", "arithmetic")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(self.states(summary), {"decode": "passed", "attention": "passed", "cuda_arithmetic": "passed"})
        self.assertTrue(summary["emulated"])
        for name in ("decode", "attention"):
            results = json.loads((self.out / f"{name}.json").read_text())
            self.assertGreater(len(results["results"]), 3)
            self.assertTrue(all(line["value"] is None and line["ratio"] is None for line in results["results"]))
            self.assertIn("emulated", results["device"])
        self.assertIn("(first 0.70, aim 0.90)", (self.out / "table.txt").read_text())
        self.assertLessEqual(len(list(self.out.iterdir())), 8)

    def test_a_part_that_takes_too_long_is_said_so(self):
        run, summary = self.run_script("--emulated", "--budget", "6", "decode", "arithmetic", "engine")
        self.assertEqual(run.returncode, 1)
        states = self.states(summary)
        self.assertEqual(states["engine"], "no-time-left")
        self.assertEqual(len(states), 3)

    def test_a_part_that_fails_stops_no_other(self):
        programs = self.out.parent / "programs/bin"
        programs.mkdir(parents=True)
        for name, status in (("bench", '[ "$1" = --help ]'), ("cuda_arithmetic_test", "true")):
            (programs / name).write_text(f"#!/bin/sh\n{status}\n")
            (programs / name).chmod(0o755)
        run, summary = self.run_script("--emulated", "decode", "arithmetic", "tests", programs=programs.parent)
        self.assertEqual(run.returncode, 1)
        states = self.states(summary)
        self.assertEqual((states["decode"], states["cuda_arithmetic"]), ("failed", "passed"))
        self.assertEqual(states["cuda_rows"], "not-built")
        self.assertFalse((self.out / "decode.json").exists())

    def test_without_a_gpu_it_says_so(self):
        if subprocess.run("nvidia-smi", shell=True, capture_output=True).returncode == 0:
            self.skipTest("there is one")
        run, summary = self.run_script("decode")
        self.assertEqual(run.returncode, 2)
        self.assertIn("There is no GPU here", run.stdout)
        self.assertEqual(self.states(summary), {"gpu": "not-here"})


if __name__ == "__main__":
    unittest.main()
