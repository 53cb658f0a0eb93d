"""Many clients at once who all wait for evidence, over HTTPS."""

import contextlib
import os
import re
import resource
import subprocess
import unittest

import harness
from harness import MODEL, Server, Tpm, folder, run_server

CLIENTS = os.environ.get("BL_MANY_CLIENTS", "")
N = int(os.environ.get("BL_MANY_CLIENTS_N", "1000"))


class Many(unittest.TestCase):
    def test_a_thousand_clients_who_wait_share_a_few_quotes(self):
        with folder() as path, Tpm(path / "tpm") as tpm:
            room = str(N + N // 4 + 64)  # an eighth is kept for newcomers
            with Server(path / "server", tpm, "--max-connections", room) as server:
                done = subprocess.run([CLIENTS, str(server.port), str(N)], capture_output=True, text=True,
                                      timeout=280)
                print(done.stdout, end="", flush=True)
                self.assertEqual(done.returncode, 0, done.stdout + server.log()[-1500:])
                quotes = int(re.search(r"under (\d+) quotes", done.stdout)[1])
                self.assertLess(quotes, N // 10)
                with contextlib.closing(server.client()) as c:
                    self.assertEqual(c.get("/health").status, 200)
                self.assertEqual(server.terminate(), 0, server.log())

    def test_a_server_says_that_it_may_not_open_so_many_files(self):
        def few_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

        with folder() as path:
            done = subprocess.run([harness.SERVER, "--model", MODEL, "--state", path / "state",
                                   "--max-connections", "2000"], preexec_fn=few_files, capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertIn("--max-connections 2000 takes 2128 open files, and the limit is 1024", done.stderr)
            self.assertFalse((path / "state").exists())
            for n in ("15", "16385"):
                code, _, err = run_server("--model", MODEL, "--max-connections", n)
                self.assertEqual(code, 2)
                self.assertIn("not a number from 16 to 16384", err)


if __name__ == "__main__":
    harness.main()
