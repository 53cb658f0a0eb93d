"""bench/plot.py: a picture of every file of results that is kept, the table of what is to be reached, and a clear
word about files that are none."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = sorted((ROOT / "bench/results").glob("*.json"))
LINE = {"name": "gemm, o, 4096 rows: ours against the best", "value": 712.0, "unit": "TFLOP/s", "of": "cuBLASLt",
        "ratio": 0.93, "first": 0.90, "aim": 1.0}


def plot(*args):
    return subprocess.run([sys.executable, ROOT / "bench/plot.py", *map(str, args)], capture_output=True, text=True)


class Plot(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, *lines, **more):
        path = self.folder / "results.json"
        path.write_text(json.dumps({"machine": "m", "commit": "c", "date": "d", "results": lines, **more}))
        return path

    def words(self, svg):
        return [t.text for t in xml.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]

    def test_every_kept_file_gives_a_picture_with_all_its_ratios(self):
        for path in KEPT:
            run = plot(path)
            self.assertEqual(run.returncode, 0, run.stderr)
            ratios = [line for line in json.loads(path.read_text())["results"]
                      if line.get("ratio") is not None and line.get("of") and line["ratio"] <= 2]
            said = [w for w in self.words(run.stdout) if " of " in w]
            for line in ratios:
                self.assertTrue(any(w.startswith(f"{line['ratio']:.2f} of {line['of']}") for w in said), line)

    def test_without_files_the_newest_of_each_kind_is_drawn(self):
        out = self.folder / "all.svg"
        self.assertEqual(plot("-o", out).returncode, 0)
        said = " ".join(self.words(out.read_text()))
        newest = json.loads(KEPT[-1].read_text())
        self.assertIn(newest["commit"], said)

    def test_a_device_is_named_and_its_goals_are_marked(self):
        run = plot(self.write(LINE, device="NVIDIA H200"))
        self.assertIn("NVIDIA H200", run.stdout)
        marks = [e for e in xml.fromstring(run.stdout).iter("{http://www.w3.org/2000/svg}line")]
        self.assertEqual(len(marks), 1 + 2)  # the grid's, first and aim

    def test_text_is_escaped(self):
        run = plot(self.write({**LINE, "name": "a <b> & \"c\"", "of": "<of>"}, machine="<m>"))
        self.assertIn('a <b> & "c"', self.words(run.stdout))

    def test_the_table_has_what_is_to_be_reached_alone(self):
        plain = {k: v for k, v in LINE.items() if k not in ("first", "aim")}
        run = plot("--table", self.write(LINE, {**plain, "name": "other"}))
        self.assertIn("| **0.930** | cuBLASLt | 0.90 | 1.00 |", run.stdout)
        self.assertNotIn("other", run.stdout)

    def test_what_was_not_measured_is_not_drawn(self):
        run = plot(self.write({**LINE, "value": None, "ratio": None}))
        self.assertEqual(run.returncode, 0)
        self.assertNotIn("cuBLASLt", run.stdout)

    def test_files_that_are_none_are_refused_by_name(self):
        for text in ("", "[]", "{}", '{"results": [{"ratio": 1, "of": "x"}]}', '{"results": 3}', '{"results": [{"ratio": "x", "of": "y", "name": "n"}]}'):
            path = self.folder / "bad.json"
            path.write_text(text)
            run = plot(path)
            self.assertEqual(run.returncode, 2, text)
            self.assertIn("bad.json: not a file of benchmark results", run.stderr)
        self.assertEqual(plot(self.folder / "absent.json").returncode, 2)


if __name__ == "__main__":
    unittest.main()
