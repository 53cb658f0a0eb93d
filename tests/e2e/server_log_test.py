"""Hosts whose log a service keeps: two in one log, verified by clients and replayed by an auditor, while
the service, its witness and the hosts come and go, and when another log is put in the service's place."""

import contextlib
import pathlib
import random
import signal
import sqlite3
import subprocess
import time
import unittest

import harness
from harness import MODEL, Server, Tpm, folder, run_server
from logservice import AUDIT, CLIENT, LOG, Program, run, until


def health(client):
    answer = client.get("/health")
    return answer.status, answer.json.get("error", {}).get("code", "ok")


class LogHost(Server):
    """A host without an origin of its own."""

    def __init__(self, path, tpm, *options, **more):
        super().__init__(path, tpm, *options, origin=None, **more)


class Hosts(unittest.TestCase):
    def setUp(self):
        self.path = self.enterContext(folder())
        self.tpm = [self.enterContext(Tpm(self.path / f"tpm{i}")) for i in range(2)]
        self.db, self.key = self.path / "log.db", self.path / "log.key"
        code, out, err = run_program(LOG, "init", "e2e.test/shared", "--db", self.db, "--key", self.key)
        assert code == 0, err
        self.vkey = out.strip()
        self.witnesses = self.path / "witnesses.policy"
        _, self.activator = run(CLIENT, "key", self.path / "activator.key", "--name", "e2e.test/activator")

    def start_witness(self):
        logs = self.path / "logs.policy"
        logs.write_text(f"log {self.vkey}\nquorum none\n")
        w = self.enterContext(Program(self.path, "witness", "--init", "--db", self.path / "w.db", "--key",
                                      self.path / "w.key", "--name", "e2e.test/witness", "--logs", logs,
                                      "--listen", ":0"))
        vkey = w.out.read_text().split("key ")[1].split("\n")[0]
        self.witnesses.write_text(f"log {self.vkey}\nwitness w {vkey} {w.url}\nquorum w\n")
        return w

    def without_witness(self):
        self.witnesses.write_text(f"log {self.vkey}\nquorum none\n")

    def options(self, url):
        return ("--log", url, "--witnesses", self.witnesses, "--quote-interval", "1", "--activator",
                self.activator.strip())

    def write_policy(self):
        """What both hosts say of themselves."""
        texts = []
        for i, tpm in enumerate(self.tpm):
            code, text, err = run_server("--model", MODEL, "--state", self.path / f"draft{i}",
                                         *tpm.options(), *self.options("https://127.0.0.1:1"),
                                         "--print-policy", "test")
            self.assertEqual(code, 0, err)
            texts.append(text)
        roots = [line for line in texts[1].splitlines() if line.startswith("test-tpm-root")]
        extra = [line for line in roots if line not in texts[0].splitlines()]
        self.policy = self.path / "policy"
        self.policy.write_text(texts[0] + "".join(f"{line}\n" for line in extra))

    def serve(self, listen=":0", *words, **more):
        return Program(self.path, "serve", "--db", more.get("db", self.db), "--key", self.key, "--policy",
                       self.policy, "--witnesses", self.witnesses, "--listen", listen, *words)

    def host(self, i, url, *words, **more):
        return LogHost(self.path / f"host{i}", self.tpm[i], *self.options(url), *words, **more)

    def verify(self, server):
        return run(CLIENT, "verify", f"https://127.0.0.1:{server.port}", "--policy", self.policy)

    def becomes_true(self, server):
        self.assertTrue(until(lambda: self.verify(server)[0] == 0),
                        f"{self.verify(server)[1]}\n{server.log()}")

    def metric(self, client, name):
        lines = client.get("/metrics").body.decode().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"blindllama_{name} ")))

    def quotes(self, server):
        """Statements of the log that this host knows to be there."""
        text = (server.state / "log.queue").read_text()
        return {line.split()[1] for line in text.splitlines() if line.startswith("logged ")}

    def test_two_hosts_in_one_log_that_is_witnessed(self):
        self.start_witness()
        self.write_policy()
        with contextlib.ExitStack() as stack:
            service = stack.enter_context(self.serve())
            hosts = [stack.enter_context(self.host(i, service.url)) for i in range(2)]
            clients = [stack.enter_context(contextlib.closing(h.client())) for h in hosts]
            for h, c in zip(hosts, clients):
                self.becomes_true(h)
                self.assertTrue(until(lambda: health(c) == (200, "ok")), health(c))
                self.assertEqual(c.get("/log/checkpoint").status, 404)
                self.activate(h)
                self.becomes_true(h)
            self.assertIn("1 of 1 witness", self.verify(hosts[0])[1])
            self.assertFalse(any((h.state / "log.db").exists() for h in hosts))

            service.process.send_signal(signal.SIGSTOP)  # hangs: nothing is believed, nothing is lost
            self.assertTrue(until(lambda: self.metric(clients[0], "log_entries_waiting") <= 1))
            service.process.send_signal(signal.SIGCONT)
            service.stop(signal.SIGKILL)
            before = [self.quotes(h) for h in hosts]
            time.sleep(3)
            port = service.port
            service = stack.enter_context(self.serve(f":{port}"))
            for h, b in zip(hosts, before):
                self.assertTrue(until(lambda: self.quotes(h) != b, 90), h.log())
                self.becomes_true(h)
            for h in hosts:
                self.assertEqual(h.terminate(), 0, h.log())
                self.assertIn("stopped: the log says so\n", h.log())
            self.assertEqual(service.stop(), 0, service.err.read_text())
        self.replays(2)

    def test_a_host_starts_before_its_log_service_and_is_killed_with_statements_that_wait(self):
        self.without_witness()
        self.write_policy()
        with self.serve() as service:
            port, url = service.port, service.url
            self.assertEqual(service.stop(), 0)
        with self.host(0, url) as h, contextlib.closing(h.client()) as c:
            self.assertTrue(until(lambda: "refused" in c.get("/health").body.decode()), c.get("/health").body)
            self.assertEqual(health(c), (503, "no_log"))
            self.assertEqual(self.metric(c, "log_entries_waiting"), 3)
            answer = c.get("/attestation?nonce=" + "0" * 64)
            self.assertEqual(answer.status, 429)
            self.assertIn("e2e.test/shared", answer.error["message"])
            h.kill()
        waiting = [line.split()[2] for line in self.queue(0) if line.startswith("waiting ")]
        self.assertEqual(len(waiting), 3)  # host, boot, identity: on the disk, submitted by nobody
        blobs = self.path / "host0/state/log.blobs"
        self.assertLessEqual(set(waiting), {b.name for b in blobs.iterdir()})
        with self.host(0, url) as h, contextlib.closing(h.client()) as c:
            self.assertEqual(self.metric(c, "log_entries_waiting"), 4)  # and this start's identity
            self.assertTrue(until(lambda: self.metric(c, "log_oldest_waiting_seconds") >= 3))
            with self.serve(f":{port}"):
                self.becomes_true(h)
                self.assertTrue(until(lambda: health(c) == (200, "ok")))
                self.assertLessEqual(self.metric(c, "log_entries_waiting"), 1)
                self.activate(h)
                self.assertTrue(until(lambda: self.metric(c, "log_entries_waiting") == 0))
            self.assertEqual(h.terminate(), 0, h.log())  # the service is gone again
            self.assertIn("stopped: the log does not know of it", h.log())
        self.assertIn("identity  ", self.replays(1))
        self.assertLess(len(list(blobs.iterdir())), 20)  # what nothing names is gone

    def test_a_model_that_the_log_refuses_is_quoted_once_its_policy_has_it(self):
        self.without_witness()
        self.write_policy()
        good = self.policy.read_text()
        model = next(line for line in good.splitlines() if line.startswith("model "))
        self.policy.write_text(good.replace(model, model[:-64] + "0" * 64))
        with self.serve() as service:
            port = service.port
            with self.host(0, service.url) as h, contextlib.closing(h.client()) as c:
                self.assertTrue(until(lambda: "is not in the policy" in c.get("/health").body.decode()),
                                c.get("/health").body)
                self.assertEqual(health(c), (503, "no_log"))
                self.assertIn("while the log refuses this host's identity", c.get("/health").error["message"])
                self.assertEqual(self.metric(c, "log_statements_refused"), 0)  # it is needed: it waits
                self.assertEqual(service.stop(), 0)
                self.policy.write_text(good)
                with self.serve(f":{port}"):
                    self.assertTrue(until(lambda: self.verify(h)[0] == 0, 100), h.log())
                    self.activate(h)
                    self.assertEqual(h.terminate(), 0, h.log())
        self.replays(1)

    def certificate(self, name, ca=None):
        """`name`.pem and `name`.key, by `ca` or by itself."""
        signed = ("-CA", self.path / f"{ca}.pem", "-CAkey", self.path / f"{ca}.key") if ca else ()
        subprocess.run([str(w) for w in ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                         "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-days",
                                         "2", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                                         self.path / f"{name}.key", "-out", self.path / f"{name}.pem", *signed)],
                       check=True, capture_output=True)

    def test_the_key_of_the_log_service_can_be_asked_for(self):
        self.without_witness()
        self.write_policy()
        for name, ca in (("ca", None), ("other", None), ("service", "ca")):
            self.certificate(name, ca)
        with self.serve(":0", "--tls-certificate", self.path / "service.pem", "--tls-key",
                        self.path / "service.key") as service:
            pin = service.err.read_text().split("SPKI sha256 ")[1][:64]
            ca = ("--log-ca", self.path / "ca.pem")
            for words, reason in ((("--log-ca", self.path / "other.pem"), "its certificate is not believed"),
                                  ((*ca, "--log-pin", "0" * 64), "is not the pinned one"),
                                  (("--log-ca", "system"), "its certificate is not believed")):
                if words[1] == "system" and not pathlib.Path("/etc/ssl/certs/ca-certificates.crt").exists():
                    continue
                with self.host(0, service.url, *words) as h, contextlib.closing(h.client()) as c:
                    self.assertTrue(until(lambda: reason in c.get("/health").body.decode()),
                                    c.get("/health").body)
                    self.assertEqual(health(c), (503, "no_log"))
                    self.assertGreaterEqual(self.metric(c, "log_entries_waiting"), 3)  # nothing is lost
                    h.kill()
            with self.host(0, service.url, *ca, "--log-pin", "0" * 64, "--log-pin", pin) as h:
                self.becomes_true(h)
                h.kill()

    def test_a_tpm_that_comes_back_is_measured_again(self):
        self.without_witness()
        self.write_policy()
        with self.serve() as service, self.host(0, service.url, "--on-tpm-failure", "serve") as h:
            with contextlib.closing(h.client()) as c:
                self.becomes_true(h)
                self.activate(h)
                for n in (1, 2):
                    self.tpm[0].pull()
                    self.assertTrue(until(lambda: health(c) == (503, "no_tpm")), c.get("/health").body)
                    self.assertEqual(c.get("/attestation?nonce=" + "0" * 64).status, 503)
                    self.assertEqual(c.chat("Hello", max_tokens=2).status, 200)
                    if n == 2:  # the service is started anew meanwhile, and has forgotten the session
                        port = service.port
                        self.assertEqual(service.stop(), 0)
                        service = self.enterContext(self.serve(f":{port}"))
                    self.tpm[0].plug()
                    self.assertTrue(until(lambda: health(c) == (200, "ok"), 90), h.log())
                    self.becomes_true(h)
                    self.assertEqual(self.metric(c, "tpm_recoveries_total"), n)
            self.assertEqual(h.terminate(), 0, h.log())
            self.assertIn("stopped: the log says so\n", h.log())
        text = self.replays(1)
        self.assertIn("REBOOT", text)
        self.assertIn("UNSAFE-CLOCK", text)

    def test_a_host_killed_at_any_moment_goes_on(self):
        self.without_witness()
        self.write_policy()
        lives = random.Random(20)
        with self.serve() as service:
            for _ in range(6):
                with self.host(0, service.url, wait=False) as h:
                    time.sleep(lives.uniform(0.6, 3))
                    h.kill()
            with self.host(0, service.url) as h:
                self.becomes_true(h)
                self.activate(h)
                self.becomes_true(h)
                self.assertEqual(h.terminate(), 0, h.log())
        self.replays(1)
        with sqlite3.connect(self.db) as db:
            entries = [row[0] for row in db.execute("SELECT bytes FROM entry ORDER BY idx")]
        self.assertEqual(len(entries), len(set(entries)), "a statement twice")

    def test_a_full_disk_ends_the_server_and_loses_nothing(self):
        state = self.path / "host0/state"
        state.mkdir(parents=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", state],
                          capture_output=True).returncode != 0:
            self.skipTest("this process may not mount a small disk")
        self.addCleanup(subprocess.run, ["umount", "-l", state])
        self.without_witness()
        self.write_policy()
        with self.serve() as service:
            with self.host(0, service.url) as h:
                self.becomes_true(h)
                with open(state / "filler", "wb", buffering=0) as filler, self.assertRaises(OSError):
                    while True:
                        filler.write(b"x" * 4096)
                self.assertTrue(until(lambda: h.process.poll() is not None), h.log())
                self.assertEqual(h.process.returncode, 1)
                self.assertIn(str(state), h.log())
                self.assertIn("No space left on device", h.log())
            (state / "filler").unlink()
            with self.host(0, service.url) as h:
                self.becomes_true(h)
                self.activate(h)
                self.assertEqual(h.terminate(), 0, h.log())
        self.replays(1)

    def test_a_service_with_another_past_is_not_quoted(self):
        self.without_witness()
        self.write_policy()
        old = self.path / "old.db"
        with self.serve() as service:
            port = service.port
            with self.host(0, service.url) as h, contextlib.closing(h.client()) as c:
                self.becomes_true(h)
                code, text = run(LOG, "snapshot", old, "--db", self.db)
                self.assertEqual(code, 0, text)
                newer = self.quotes(h)
                self.assertTrue(until(lambda: self.quotes(h) != newer))
                self.assertEqual(service.stop(), 0)
                good = (h.state / "log.head").read_bytes()
                self.meets_the_fork(h, c, old, port)
                with self.serve(f":{port}"):  # the true one again
                    self.becomes_true(h)
                    self.assertTrue(until(lambda: health(c) == (200, "ok")))
                    self.activate(h)
                    self.assertEqual(h.terminate(), 0, h.log())
                    self.assertNotEqual((h.state / "log.head").read_bytes(), good)
        self.replays(1)

    def meets_the_fork(self, h, c, old, port):
        with self.serve(f":{port}", db=old):  # rolled back
            self.assertTrue(until(lambda: health(c) == (503, "log_alarm")), c.get("/health").body)
            self.assertIn("does not continue", c.get("/health").error["message"])
            with self.host(1, f"https://127.0.0.1:{port}") as other:  # and grown past the other's
                self.becomes_true(other)
                size = len(self.quotes(other))
                head = int((h.state / "log.head").read_text().split("\n")[1])
                self.assertTrue(until(lambda: int((other.state / "log.head").read_text().split("\n")[1]) > head))
                forked = h.state / "log.forked"
                self.assertTrue(until(lambda: int(forked.read_text().split("\n")[1]) > head), size)
                self.assertEqual(health(c), (503, "log_alarm"))
                self.assertEqual(c.get("/attestation?nonce=" + "0" * 64).status, 429)
                self.assertEqual(self.verify(h)[0], 2)
                self.assertGreaterEqual(self.metric(c, "log_alarms_total"), 1)
                self.assertEqual(int((h.state / "log.head").read_text().split("\n")[1]), head)

    def activate(self, h):
        code, text = run(CLIENT, "activate", f"https://127.0.0.1:{h.port}", "--policy", self.policy, "--key",
                         self.path / "activator.key")
        self.assertEqual(code, 0, text)

    def queue(self, i):
        return (self.path / f"host{i}/state/log.queue").read_text().splitlines()

    def replays(self, n_hosts):
        code, text = run(AUDIT, "replay", self.db, "--policy", self.policy)
        self.assertEqual(code, 0, text)
        self.assertIn(f"hosts: {n_hosts},", text)
        self.assertEqual(run(LOG, "fsck", "--db", self.db)[0], 0)
        return text


class Usage(unittest.TestCase):
    def test_options_that_do_not_go_together_are_refused(self):
        key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        with folder() as path:
            witnesses = path / "witnesses"
            witnesses.write_text(f"log {key}\nquorum none\n")
            nameless = path / "nameless"
            nameless.write_text("quorum none\n")
            for words, reason in ((("--log", "https://127.0.0.1:1"), "--log without --witnesses"),
                                  (("--log", "https://127.0.0.1:1", "--witnesses", nameless), "names 0 logs"),
                                  (("--log", "http://127.0.0.1:1", "--witnesses", witnesses), "only https"),
                                  (("--log", "https://127.0.0.1:1", "--witnesses", witnesses, "--origin", "x"),
                                   "--log with --origin"),
                                  (("--log-pin", "0" * 64), "--log-ca or --log-pin without --log"),
                                  (("--log-pin", "0" * 63), "is no pin"),
                                  (("--log", "https://127.0.0.1:1", "--witnesses", witnesses, "--log-ca",
                                    witnesses), "holds no certificate")):
                code, _, err = run_server("--model", MODEL, "--state", path / "state", "--ek-chain", witnesses,
                                          *words)
                self.assertEqual(code, 2)
                self.assertIn(reason, err)
            self.assertFalse((path / "state").exists())

    def test_a_state_folder_has_one_kind_of_log(self):
        key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        with folder() as path, Tpm(path / "tpm") as tpm:
            witnesses = path / "witnesses"
            witnesses.write_text(f"log {key}\nquorum none\n")
            (path / "own").mkdir()
            (path / "own/log.db").write_text("")
            (path / "queue").mkdir()
            (path / "queue/log.queue").write_text("wibble\n")
            log = ("--log", "https://127.0.0.1:1", "--witnesses", witnesses)
            for state, words, reason in (("own", log, "a log of this host's own"),
                                         ("queue", (), "the queue of a log service"),
                                         ("queue", log, "log.queue: line 1: not 'blindllama-queue/v1'")):
                code, _, err = run_server("--model", MODEL, "--state", path / state, *tpm.options(), *words)
                self.assertEqual(code, 2)
                self.assertIn(reason, err)

    def test_the_key_of_another_log_is_said(self):
        key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        with folder() as path, Tpm(path / "tpm") as tpm:
            db, log_key = path / "log.db", path / "log.key"
            self.assertEqual(run_program(LOG, "init", "e2e.test/other", "--db", db, "--key", log_key)[0], 0)
            witnesses = path / "witnesses"
            witnesses.write_text(f"log {key}\nquorum none\n")
            with Program(path, "serve", "--db", db, "--key", log_key, "--listen", ":0") as service:
                with LogHost(path / "host", tpm, "--log", service.url, "--witnesses", witnesses) as h:
                    with contextlib.closing(h.client()) as c:
                        self.assertTrue(until(lambda: c.get("/health").status == 503))
                        self.assertTrue(until(lambda: "takes no statements" in c.get("/health").body.decode()),
                                        c.get("/health").body)


def run_program(program, *words):
    done = subprocess.run([str(program), *[str(w) for w in words]], capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


if __name__ == "__main__":
    harness.main()
