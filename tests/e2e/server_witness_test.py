"""A host that keeps its own log, which witnesses cosign: seen by clients, operators and auditors."""

import contextlib
import hashlib
import unittest

import harness
from harness import MODEL, ORIGIN, Server, Tpm, folder, run_server
from logservice import AUDIT, CLIENT, LOG, Program, run, until


class Witnessed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = cls.enterClassContext(folder())
        cls.tpm = cls.enterClassContext(Tpm(cls.path / "tpm"))
        cls.state = cls.path / "host/state"
        code, policy, err = run_server("--model", MODEL, "--state", cls.state, "--origin", ORIGIN,
                                       *cls.tpm.options(), "--print-policy", "test")
        assert code == 0, err
        cls.vkey = next(line.split()[1] for line in policy.splitlines() if line.startswith("log "))
        cls.logs = cls.path / "logs.policy"
        cls.logs.write_text(f"log {cls.vkey}\nquorum none\n")

    def start_witness(self, number, listen=":0", init=True):
        words = ["witness", "--db", self.path / f"w{number}.db", "--key", self.path / f"w{number}.key",
                 "--name", f"e2e.test/witness-{number}", "--logs", self.logs, "--listen", listen]
        return Program(self.path, *words, *(["--init"] if init else []))

    def write_witnesses(self, programs):
        text = ""
        for i, w in enumerate(programs):
            vkey = w.out.read_text().split("key ")[1].split("\n")[0]
            text += f"witness w{i} {vkey} {w.url}\n"
        names = " ".join(f"w{i}" for i in range(len(programs)))
        path = self.path / "witnesses.policy"
        path.write_text(text + f"group both all {names}\nquorum both\n")
        return path

    def metric(self, client, name):
        lines = client.get("/metrics").body.decode().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"blindllama_{name} ")))

    def test_a_host_is_believed_with_its_witnesses_and_not_without(self):
        with contextlib.ExitStack() as stack:
            w = [stack.enter_context(self.start_witness(i)) for i in range(2)]
            witnesses = self.write_witnesses(w)
            policy = self.path / "policy"
            _, activator = run(CLIENT, "key", self.path / "activator.key", "--name", "e2e.test/activator")
            options = ("--witnesses", witnesses, "--activator", activator.strip(), "--quote-interval", "1")
            code, text, err = run_server("--model", MODEL, "--state", self.state, "--origin", ORIGIN,
                                         *self.tpm.options(), *options, "--print-policy", "test")
            self.assertEqual(code, 0, err)
            self.assertIn("quorum both", text)
            policy.write_text(text)
            server = stack.enter_context(Server(self.path / "host", self.tpm, *options))
            client = server.client()
            stack.callback(client.close)
            url = f"https://127.0.0.1:{server.port}"

            def is_true():
                return run(CLIENT, "verify", url, "--policy", policy)

            self.assertTrue(until(lambda: is_true()[0] == 0), is_true()[1])
            self.assertIn("2 of 2 witnesses", is_true()[1])
            self.assertEqual(client.get("/health").status, 200)
            self.assertEqual(self.metric(client, "log_alarms_total"), 0)
            code, text = run(CLIENT, "activate", url, "--policy", policy, "--key",
                             self.path / "activator.key")
            self.assertEqual(code, 0, text)
            self.look_at_its_processes(server)

            w[1].stop()  # one of two: the quorum is gone, and what it had seen still stands
            self.assertTrue(until(lambda: self.metric(client, "log_entries_waiting") > 3))
            self.assertTrue(until(lambda: "witness 'w1'" in server.log()))
            stale = self.path / "fresh.policy"  # a policy that does not take what is older
            stale.write_text(policy.read_text().replace("max-age 63", "max-age 2"))
            self.assertTrue(until(lambda: run(CLIENT, "verify", url, "--policy", stale)[0] == 1),
                            run(CLIENT, "verify", url, "--policy", stale)[1])

            w[1] = stack.enter_context(self.start_witness(1, f":{w[1].port}", init=False))
            self.assertTrue(until(lambda: self.metric(client, "log_entries_waiting") < 2, 60))
            self.assertTrue(until(lambda: is_true()[0] == 0), is_true()[1])
            self.assertEqual(server.terminate(), 0, server.log())
            self.assertIn("stopped: the log says so\n", server.log())

            code, text = run(AUDIT, "replay", self.state / "log.db", "--policy", policy)
            self.assertEqual(code, 0, text)
            self.assertIn("2 of 2 witnesses", text)  # also over the stop, its last entry
            digest = hashlib.sha256(ORIGIN.encode()).hexdigest()
            seen = w[0].get(f"/monitor/{digest}/checkpoint")[1].decode().split("\n")[1]
            self.assertEqual(run(LOG, "checkpoint", "--db", self.state / "log.db", "--witnesses",
                                 witnesses)[1].split("\n")[1], seen)

    def test_without_a_tpm_it_serves_on_and_stays_ready(self):
        with contextlib.ExitStack() as stack:
            tpm = stack.enter_context(Tpm(self.path / "other-tpm"))
            witnesses = self.path / "silent.policy"
            key = "example.org/witness+cacf2e50+BGbguFjkYqYJ5m/nE3DIFtiEb/ED1UmaIqf+w3/bxCSn"
            witnesses.write_text(f"witness w {key} https://127.0.0.1:1\nquorum w\n")
            server = stack.enter_context(Server(self.path / "other", tpm, "--quote-interval", "1",
                                                "--witnesses", witnesses, "--on-tpm-failure", "serve"))
            client = server.client()
            stack.callback(client.close)
            self.assertTrue(until(lambda: "no_quorum" in client.get("/health").body.decode(), 60))
            tpm.pull()
            self.assertTrue(until(lambda: "no_tpm" in client.get("/health").body.decode()))
            self.look_at_its_processes(server)
            self.assertEqual(server.terminate(), 1)

    def look_at_its_processes(self, server):
        self.assertEqual(len(server.children()), 3)
        server.child("bl-publisher")


class Usage(unittest.TestCase):
    def test_a_policy_that_names_nobody_to_ask_is_refused(self):
        with folder() as path:
            witnesses = path / "witnesses"
            for text, reason in (("quorum none\n", "quorum is none"),
                                 ("wibble\n", "no keyword"),
                                 ("witness w example.com/w+6f1d1a3c+BA==\nquorum w\n", "line 1")):
                witnesses.write_text(text)
                code, _, err = run_server("--model", MODEL, "--state", path / "state", "--ek-chain",
                                          witnesses, "--witnesses", witnesses)
                self.assertEqual(code, 2)
                self.assertIn(reason, err)
                self.assertIn("--witnesses", err)
            self.assertFalse((path / "state").exists())


if __name__ == "__main__":
    harness.main()
