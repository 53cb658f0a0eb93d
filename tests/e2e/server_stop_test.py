"""Ends, planned and not: SIGTERM, kills at random moments, one process of the three dying."""

import json
import os
import random
import signal
import subprocess
import threading
import time
import unittest

import harness
from harness import Server, Tpm, check_log, checkpoint, folder, kinds, leaf_hash


class Stop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = cls.enterClassContext(folder())
        cls.tpm = cls.enterClassContext(Tpm(cls.path / "tpm"))

    def setUp(self):
        self.dir = self.enterContext(folder())
        self.tpm.reboot()  # a new state folder knows nothing of this TPM's past

    def start(self, *options):
        return self.enterContext(Server(self.dir, self.tpm, "--quote-interval", "1", *options))

    def test_sigterm_is_a_clean_stop_that_the_log_knows(self):
        server = self.start("--max-stop-duration", "123")
        children = server.children()
        self.assertEqual(server.terminate(), 0, server.log())
        self.assertFalse(any(harness.is_alive(pid) for pid in children))
        again = self.start()
        client = again.client()
        found = check_log(self, client)
        client.close()
        self.assertIn("stop", kinds(found))
        stop = next(entry for entry in found if entry.startswith(b"blindllama-stop/v1\n"))
        self.assertEqual(stop.split(b"\n")[1], b"max-duration 123")
        self.assertEqual(kinds(found).count("boot"), 1, "the TPM was not reset")
        self.assertEqual(kinds(found).count("identity"), 2, "each start has its own key")

    def test_sigint_stops_too(self):
        server = self.start()
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(40), 0, server.log())

    def test_a_request_in_flight_is_finished(self):
        server = self.start()
        answers = []

        def work():
            client = server.client()
            answers.append(client.chat("Tell me a story.", max_tokens=60, ignore_eos=True))
            client.close()

        thread = threading.Thread(target=work)
        thread.start()
        self.wait_until_running(server)
        code = server.terminate()
        thread.join()
        self.assertEqual(answers[0].status, 200, answers[0].body)
        self.assertEqual(answers[0].json["usage"]["completion_tokens"], 60)
        self.assertEqual(code, 0, server.log())

    def wait_until_running(self, server):
        client = server.client()
        for _ in range(500):
            if b"blindllama_num_requests_running 0\n" not in client.get("/metrics").body:
                break
            time.sleep(0.01)
        client.close()

    def test_sigterm_while_starting_ends_it(self):
        server = self.enterContext(Server(self.dir, self.tpm, wait=False))
        time.sleep(0.3)
        # before there is a supervisor the signal itself ends the program
        self.assertIn(server.terminate(), (0, -signal.SIGTERM), server.log())

    def test_a_second_sigterm_is_at_once(self):
        server = self.start()
        client = server.client()
        client.connection.request("POST", "/v1/chat/completions",
                                  b'{"messages": [{"role": "user", "content": "x"}],'
                                  b' "max_tokens": 900, "ignore_eos": true, "n": 8}')
        self.wait_until_running(server)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(3), 1, server.log())
        client.close()

    def test_a_dying_child_ends_the_program_with_a_reason(self):
        for name in ("bl-front", "bl-attester"):
            with self.subTest(name=name):
                server = self.start()
                children = server.children()
                os.kill(server.child(name), signal.SIGKILL)
                self.assertEqual(server.process.wait(15), 1)
                self.assertIn(f"the {name.removeprefix('bl-')} was ended by signal 9",
                              server.log())
                self.assertFalse(any(harness.is_alive(pid) for pid in children))

    def test_the_attesters_death_never_crashes_the_front(self):
        """The supervisor's signal arrives while the front is cleaning up."""
        for number in range(8):
            with self.subTest(number=number):
                server = self.start()
                clients = [server.client() for _ in range(number)]
                for client in clients:
                    self.assertEqual(client.get("/health").status, 200)
                os.kill(server.child("bl-attester"), signal.SIGKILL)
                self.assertEqual(server.process.wait(15), 1)
                for client in clients:
                    client.close()
                self.assertIn("the attester was ended by signal 9", server.log())
                for word in ("the front was ended", "Sanitizer", "runtime error"):
                    self.assertNotIn(word, server.log())

    def test_after_a_clean_stop_the_one_file_is_the_log(self):
        server = self.start()
        client = server.client()
        check_log(self, client)  # the front has read all of it
        self.assertEqual(server.terminate(), 0, server.log())
        client.close()
        left = sorted(path.name for path in server.state.glob("log.db*"))
        self.assertEqual([name for name in left if name != "log.db.lock"], ["log.db"])

    def test_a_tpm_that_hangs_is_told_and_survived(self):
        server = self.start()
        client = server.client()
        self.assertLess(self.quote_age(client), 5)
        with self.tpm.hung():
            began = time.monotonic()
            answer = client.get("/attestation?nonce=" + "00" * 32)
            self.assertEqual((answer.status, answer.error["code"]), (503, "no_answer"))
            self.assertLess(time.monotonic() - began, 25)
            self.assertEqual(client.chat("Hello", max_tokens=2).status, 200)
            answer = client.get("/health")
            while answer.status == 200 and time.monotonic() - began < 45:
                time.sleep(1)
                answer = client.get("/health")
            self.assertEqual((answer.status, answer.error["code"]), (503, "no_quotes"))
            self.assertIn("the TPM does not answer", answer.error["message"])
            self.assertGreater(self.quote_age(client), 30)
        answer = client.get("/attestation?nonce=" + "01" * 32)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(client.get("/health").status, 200)
        self.assertLess(self.quote_age(client), 5)
        client.close()
        self.assertEqual(server.terminate(), 0, server.log())

    def test_a_tpm_that_is_gone_ends_the_program(self):
        with Tpm(self.dir / "tpm") as tpm:
            server = self.enterContext(Server(self.dir / "host", tpm, "--quote-interval", "1"))
            tpm.pull()
            self.assertEqual(server.process.wait(15), 1)
            self.assertRegex(server.log(), "attester: TPM swtpm:.*: TPM2_")
            self.assertNotIn("serving goes on", server.log())

    def test_a_tpm_that_is_gone_is_done_without_where_that_is_asked(self):
        with Tpm(self.dir / "tpm") as tpm:
            server = self.enterContext(Server(self.dir / "host", tpm, "--quote-interval", "1",
                                              "--on-tpm-failure", "serve"))
            client = server.client()
            self.assertIn(b"blindllama_tpm_works 1\n", client.get("/metrics").body)
            tpm.pull()
            end = time.monotonic() + 15
            while client.get("/health").status == 200 and time.monotonic() < end:
                time.sleep(0.1)
            for path in ("/health", "/attestation?nonce=" + "00" * 32):
                answer = client.get(path)
                self.assertEqual((answer.status, answer.error["code"]), (503, "no_tpm"), path)
            self.assertIn(b"blindllama_tpm_works 0\n", client.get("/metrics").body)
            self.assertIn("serving goes on WITHOUT a TPM", server.log())
            self.assertEqual(client.chat("Hello", max_tokens=2).status, 200)
            self.assertEqual(client.get("/log/checkpoint").status, 200)
            client.close()
            self.assertEqual(server.terminate(), 1)
            self.assertIn("the log does not know of it", server.log())

    def health_becomes(self, client, status, seconds=30):
        end = time.monotonic() + seconds
        while client.get("/health").status != status:
            self.assertLess(time.monotonic(), end, client.get("/health").body)
            time.sleep(0.1)

    def vouched(self, tpm, wire=None):
        """A running server whose key an activator vouched for, and a policy that believes it."""
        key = self.dir / "activator.key"
        vkey = self.run_client("key", key, "--name", "e2e.test/activator").strip()
        options = ["--quote-interval", "1", "--activator", vkey]
        state = self.dir / "host/state"
        state.parent.mkdir()
        code, text, err = harness.run_server("--model", harness.MODEL, *tpm.options(), "--state",
                                             state, "--origin", harness.ORIGIN, *options,
                                             "--print-policy", "test")
        self.assertEqual(code, 0, err)
        self.policy = self.dir / "policy"
        self.policy.write_text(text)
        server = self.enterContext(Server(state.parent, wire or tpm, *options,
                                          "--on-tpm-failure", "serve"))
        self.run_client("activate", f"https://127.0.0.1:{server.port}", "--policy", self.policy,
                        "--key", key)
        return server

    def run_client(self, *words):
        done = subprocess.run([harness.PROGRAMS / "blindllama", *words], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def audit(self, server):
        """The replay of the stopped server's log, which must be true."""
        done = subprocess.run([harness.PROGRAMS / "blindllama-audit", "replay",
                               server.state / "log.db", "--policy", self.policy, "--json"],
                              capture_output=True, text=True)
        found = json.loads(done.stdout)
        self.assertEqual((done.returncode, found["outcome"]), (0, "true"), found["reason"])
        return [(finding["code"], finding["severity"]) for finding in found["findings"]]

    def test_a_tpm_that_comes_back_is_measured_again(self):
        """Killed and restarted with its state: reset, so a boot of its own; the gap is in the log."""
        with Tpm(self.dir / "tpm") as tpm:
            server = self.vouched(tpm)
            client = server.client()
            spki = client.spki_sha256()
            for round_number in (1, 2):
                tpm.pull()
                self.health_becomes(client, 503)
                answer = client.get("/health")
                self.assertEqual(answer.error["code"], "no_tpm")
                self.assertIn("tried again", answer.error["message"])
                answer = client.get("/attestation?nonce=" + "00" * 32)
                self.assertEqual((answer.status, answer.error["code"]), (503, "no_tpm"))
                self.assertEqual(client.chat("Hello", max_tokens=2).status, 200)
                tpm.plug()
                self.health_becomes(client, 200)
                answer = client.get("/attestation?nonce=" + "01" * 32)
                self.assertEqual(answer.status, 200, answer.body)
                metrics = client.get("/metrics").body
                for line in (b"tpm_works 1", b"tpm_failures_total %d" % round_number,
                             b"tpm_recoveries_total %d" % round_number):
                    self.assertIn(b"blindllama_" + line + b"\n", metrics)
            found = check_log(self, client)
            self.assertEqual(kinds(found).count("boot"), 3)
            self.assertEqual(kinds(found).count("identity"), 3)
            for entry in found:
                if entry.startswith(b"blindllama-identity/"):
                    self.assertIn(spki.encode(), entry, "it is the same key")
            client.close()
            self.assertEqual(server.terminate(), 0, server.log())
            self.assertIn("the TPM is back", server.log())
            findings = self.audit(server)
            self.assertEqual(findings.count(("REBOOT", "note")), 2, findings)
            self.assertIn(("UNSAFE-CLOCK", "warning"), findings)

    def test_a_connection_that_comes_back_goes_on_in_the_same_boot(self):
        """The TPM was there all the time and its clock ran: a gap between two quotes."""
        with Tpm(self.dir / "tpm") as tpm, harness.Wire(self.dir / "w", tpm) as wire:
            server = self.vouched(tpm, wire)
            client = server.client()
            self.health_becomes(client, 200)
            wire.cut()
            self.health_becomes(client, 503)
            time.sleep(2.5)
            wire.join()
            self.health_becomes(client, 200)
            self.assertEqual(client.get("/attestation?nonce=" + "01" * 32).status, 200)
            time.sleep(1.5)
            found = check_log(self, client)
            self.assertEqual(kinds(found).count("boot"), 1)
            self.assertEqual(kinds(found).count("identity"), 1)
            client.close()
            self.assertEqual(server.terminate(), 0, server.log())
            self.assertEqual([found for found in self.audit(server) if found[0] == "GAP"],
                             [("GAP", "warning")])

    def test_a_dead_attester_is_no_dead_tpm(self):
        """Nor may it be: who can kill the attester could otherwise go on unattested."""
        with Tpm(self.dir / "tpm") as tpm:
            server = self.enterContext(Server(self.dir / "host", tpm, "--on-tpm-failure", "serve"))
            os.kill(server.child("bl-attester"), signal.SIGKILL)
            self.assertEqual(server.process.wait(15), 1)
            self.assertIn("the attester was ended by signal 9", server.log())

    def quote_age(self, client):
        lines = client.get("/metrics").body.decode().splitlines()
        return next(int(line.split()[1]) for line in lines
                    if line.startswith("blindllama_quote_age_seconds "))

    def test_kills_at_random_moments_lose_nothing_that_was_told(self):
        """Eight rounds: what a checkpoint covered before a kill is in the log after it."""
        seed = random.randrange(1 << 32)
        print(f"(seed {seed}) ", end="", flush=True)
        chance = random.Random(seed)
        told = []
        for number in range(8):
            wait = chance.random() < 0.75
            server = self.enterContext(Server(self.dir, self.tpm, "--quote-interval", "1",
                                              wait=wait))
            if wait:
                client = server.client()
                found = check_log(self, client)
                self.assertEqual([leaf_hash(entry) for entry in found[:len(told)]], told,
                                 f"round {number}")
                told = [leaf_hash(entry) for entry in found]
                client.close()
            time.sleep(chance.random() * 1.5)
            server.kill()
        server = self.start()
        client = server.client()
        found = check_log(self, client)
        self.assertEqual([leaf_hash(entry) for entry in found[:len(told)]], told)
        self.assertGreater(checkpoint(client)[1], len(told))
        client.close()

    def test_a_reboot_of_the_tpm_is_a_new_boot_in_the_same_log(self):
        with Tpm(self.dir / "tpm") as tpm:
            with Server(self.dir, tpm) as server:
                self.assertEqual(server.terminate(), 0, server.log())
            tpm.reboot()
            with Server(self.dir, tpm) as server:
                client = server.client()
                found = check_log(self, client)
                client.close()
            self.assertEqual(kinds(found).count("boot"), 2)


if __name__ == "__main__":
    harness.main()
