"""The programs as shipped give the golden greedy answers, token for token, on one thread and on two."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATE = pathlib.Path(os.environ["BL_PROGRAMS"]) / "blindllama-generate"
GOLDEN = json.loads((ROOT / "models/demo/golden.json").read_text())


def answer_ids(case, threads):
    command = [GENERATE, "--model", ROOT / "models/demo", "--temperature", "0", "--json",
               "--threads", str(threads), "--max-tokens", str(len(case["answer_ids"])),
               "--prompt-ids", ",".join(map(str, case["prompt_ids"]))]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(out)["ids"]


class Golden(unittest.TestCase):
    def test_answers_are_the_golden_ones(self):
        cases = [case for case in GOLDEN["answers"] if case["min_lead"] >= 1.0]
        self.assertGreaterEqual(len(cases), 24)
        for number, case in enumerate(cases[::4]):
            with self.subTest(prompt=case["messages"][-1]["content"]):
                self.assertEqual(answer_ids(case, 1 + number % 2), case["answer_ids"])


if __name__ == "__main__":
    sys.exit(unittest.main())
