"""The client against hosts that lie, stall, babble or drop, and against a real one through a thief.

The scripted hosts record every byte of every request, so that a test can say that no byte of a prompt
arrived. Python's standard library and the openssl command only; what needs the server and a software
TPM is skipped without them.
"""

import contextlib
import pathlib
import select
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import harness

CLIENT = harness.PROGRAMS / "blindllama"
PROMPT = "a prompt that nobody may see"
HAVE_HOST = harness.SERVER.exists() and all(shutil.which(p) for p in ("swtpm", "swtpm_setup"))

POLICY = """blindllama-policy/v1
log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k
quorum none
release none
tpm-root {zeros}
model demo {zeros}
code standard {zeros}
{pcrs}
max-interval 60
max-age 120
""".format(zeros="00" * 32, pcrs="\n".join(f"boot-pcr {i} {'00' * 32}" for i in range(13)))

FALSE_EVIDENCE = b"""{"format":"blindllama-evidence/v1","checkpoint":"x","statements":[],"heads":[],
"blobs":[],"quote":"x","nonce":{"index":0,"proof":[]}}"""


def run(*arguments, stdin=None, timeout=60):
    command = [a if isinstance(a, bytes) else str(a) for a in (CLIENT, *arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True,
                          text=True, errors="replace", timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def http(body, status="200 OK", headers="", length=None):
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


class Host:
    """A TLS server whose `script` gets each connection; it keeps all that it was sent."""

    def __init__(self, folder, script, version=None, plain=False):
        self.script = script
        self.received = b""
        self.connections = 0
        self.troubles = []
        self.context = None
        if not plain:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
            if version:
                self.context.maximum_version = version
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.closed.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.script(self, connection)
        except (OSError, ValueError) as trouble:
            self.troubles.append(trouble)
        with contextlib.suppress(OSError):
            connection.close()

    def request(self, connection):
        """The next request's head and body, also kept in `received`."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            self.received += piece
            data += piece
            if not piece:
                raise ValueError("the client left")
        head, body = data.split(b"\r\n\r\n", 1)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    piece = connection.recv(65536)
                    self.received += piece
                    body += piece
        return head, body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.socket.close()


def answers(*replies):
    """A script that gives these replies, one a request, and then waits for the client to leave."""
    def script(host, connection):
        for reply in replies:
            host.request(connection)
            connection.sendall(reply)
        while piece := connection.recv(65536):
            host.received += piece
    return script


class ScriptedHosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="bl-client-"))
        cls.policy = cls.folder / "policy"
        cls.policy.write_text(POLICY)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", cls.folder / "key.pem",
                        "-out", cls.folder / "cert.pem", "-subj", "/CN=host", "-days", "2"],
                       check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def host(self, script, **options):
        return Host(self.folder, script, **options)

    def both(self, host, code, reason, *options):
        """verify and chat end with this code and reason, and no byte of the prompt arrives."""
        with host:
            for arguments in (("verify", host.url), ("chat", host.url, PROMPT)):
                with self.subTest(command=arguments[0]):
                    got, out, err = run(*arguments, "--policy", self.policy, "--timeout", 2,
                                        *options)
                    self.assertEqual(got, code, out + err)
                    self.assertIn(reason, out + err, host.troubles)
                    if arguments[0] == "chat":
                        self.assertIn("nothing was sent", err)
                        self.assertEqual(out, "")
            self.assertNotIn(PROMPT.encode(), host.received)
            self.assertNotIn(b"/v1/", host.received)

    def test_a_host_that_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        code, _, err = run("verify", f"https://127.0.0.1:{port}", "--policy", self.policy)
        self.assertEqual(code, 2)
        self.assertIn("cannot connect: Connection refused", err)
        code, _, err = run("verify", "https://no-such-name.invalid", "--policy", self.policy)
        self.assertEqual(code, 2)
        self.assertIn("does not resolve", err)

    def test_tls_1_2_is_refused(self):
        self.both(self.host(answers(http(b"{}")), version=ssl.TLSVersion.TLSv1_2), 2,
                  "no TLS 1.3 connection")

    def test_a_host_without_tls_is_refused(self):
        self.both(self.host(answers(http(b"{}")), plain=True), 2, "no TLS")

    def test_a_host_that_never_speaks_tls(self):
        self.both(self.host(lambda host, c: time.sleep(20), plain=True), 2, "no TLS within 2 s")

    def test_garbage_in_place_of_evidence_is_false(self):
        for garbage in (b"", b"no JSON", b"{}", b"[]", b"\xff" * 100, FALSE_EVIDENCE,
                        b'{"format":"blindllama-evidence/v1"}' * 2, b"[" * 100000):
            with self.subTest(garbage=garbage[:20]):
                self.both(self.host(answers(http(garbage))), 1, "PARSE")

    def test_what_is_not_http(self):
        for reply in (b"garbage\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\0" * 200 + b"\r\n\r\n",
                      b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100000 + b"\r\n\r\n"):
            with self.subTest(reply=reply[:20]):
                self.both(self.host(answers(reply)), 2, "127.0.0.1")

    def test_an_endless_body_is_cut(self):
        def endless(host, connection):
            host.request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        self.both(self.host(endless), 2, "longer than", "--timeout", "20")

        def announced(host, connection):
            host.request(connection)
            connection.sendall(http(b"x", length=1 << 40))
            connection.recv(1)
        self.both(self.host(announced), 2, "longer than")

    def test_a_slow_host_is_given_up(self):
        def drip(host, connection):
            host.request(connection)
            connection.sendall(http(b"", length=1000))
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.2)
        start = time.monotonic()
        self.both(self.host(drip), 2, "no whole answer within 2 s")
        self.assertLess(time.monotonic() - start, 10)

    def test_a_body_that_breaks_off(self):
        def half(host, connection):
            host.request(connection)
            connection.sendall(http(b"{", length=1000))
        self.both(self.host(half), 2, "broke off")

    def test_redirects_are_not_followed(self):
        with self.host(answers(http(b"{}"))) as elsewhere:
            location = f"Location: {elsewhere.url}/attestation\r\n"
            for status in ("301 Moved", "302 Found", "307 Elsewhere", "308 For good"):
                with self.subTest(status=status):
                    self.both(self.host(answers(http(b"", status, location))), 2, "not followed")
            self.assertEqual(elsewhere.connections, 0)

    def test_a_hosts_error_is_shown_and_cannot_drive_the_terminal(self):
        body = b'{"error":{"message":"no \\u001b[31mred\\u009b2J\\u202e here","type":"x"}}'
        for status in ("500 Broken", "400 Bad", "429 Wait"):
            with self.subTest(status=status):
                self.both(self.host(answers(http(body, status))), 2, "no \ufffd[31mred\ufffd2J\ufffd here")

    def test_usage_errors_are_2(self):
        for arguments in ((), ("bogus",), ("verify",), ("verify", "https://x"), ("chat",),
                          ("chat", "https://x", "--policy", self.policy),
                          ("verify", "http://127.0.0.1", "--policy", self.policy),
                          ("verify", "https://u@127.0.0.1", "--policy", self.policy),
                          ("verify", "https://127.0.0.1/path", "--policy", self.policy),
                          ("verify", "https://127.0.0.1:0", "--policy", self.policy),
                          ("verify", "https://127.0.0.1", "--policy", "/nonexistent"),
                          ("verify", "https://127.0.0.1", "--policy", "/dev/null"),
                          ("chat", "https://127.0.0.1", "x", "-p", self.policy, "--seed", "x"),
                          ("chat", "https://127.0.0.1", "", "-p", self.policy),
                          ("chat", "https://127.0.0.1", "x", "-p", self.policy, "--temperature", "hot"),
                          ("activate", "https://127.0.0.1", "--policy", self.policy),
                          ("key", "file"), ("verify", "https://x", "-p", self.policy, "--timeout", "0")):
            with self.subTest(arguments=arguments):
                code, out, err = run(*arguments)
                self.assertEqual(code, 2, err)
                self.assertTrue(err)
        for option, value in (("--max-tokens", "0"), ("--system", b"\xff")):
            code, _, err = run("chat", "https://127.0.0.1", "x", "-p", self.policy, option, value)
            self.assertEqual(code, 2, err)
            self.assertIn(option, err)
        for command in ("verify", "chat", "checkpoint", "key", "activate"):
            code, out, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("Example", out)

    def test_a_checkpoint_of_another_log_is_false(self):
        for body, code in ((b"no note", 1), (b"example.com/foo\n1\nAAAA\n\n", 1)):
            with self.host(answers(http(body))) as host:
                self.assertEqual(run("checkpoint", host.url, "-p", self.policy)[0], code)

    def test_a_key_is_made_once(self):
        path = self.folder / "activator.key"
        code, vkey, _ = run("key", path, "--name", "test/activator")
        self.assertEqual(code, 0)
        self.assertRegex(vkey, r"^test/activator\+[0-9a-f]{8}\+A[A-Za-z0-9+/]{43}\n$")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(run("key", path, "--name", "test/activator"), (0, vkey, ""))
        self.assertEqual(run("key", path, "--name", "test/other")[0], 2)
        path.chmod(0o644)
        self.assertEqual(run("key", path, "--name", "test/activator")[0], 2)


class Thief:
    """Sits before a real host: with TLS of its own, or passing bytes on until `limit` of one burst."""

    def __init__(self, port, context=None, limit=None):
        self.target, self.context, self.limit = port, context, limit
        self.seen = b""
        self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, client):
        with contextlib.suppress(OSError, ValueError):
            host = socket.create_connection(("127.0.0.1", self.target))
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
                host = harness.tls_context().wrap_socket(host)
            burst = 0
            while True:
                for ready in select.select([client, host], [], [], 30)[0]:
                    data = ready.recv(65536)
                    while self.context and ready.pending():
                        data += ready.recv(65536)
                    if not data:
                        raise ValueError
                    burst = burst + len(data) if ready is client else 0
                    if ready is client:
                        self.seen += data
                    if self.limit and burst > self.limit:
                        raise ValueError
                    (host if ready is client else client).sendall(data)
        with contextlib.suppress(OSError, UnboundLocalError):
            client.close()
            host.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@unittest.skipUnless(HAVE_HOST, "needs blindllama-server and swtpm")
class RealHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.folder = cls.stack.enter_context(harness.folder())
        tpm = cls.stack.enter_context(harness.Tpm(cls.folder / "tpm"))
        cls.key = cls.folder / "activator.key"
        vkey = run("key", cls.key, "--name", "e2e.test/activator")[1].strip()
        options = ["--activator", vkey, "--quote-interval", "2"]
        arguments = ["--model", harness.MODEL, "--state", cls.folder / "host/state", "--origin",
                     harness.ORIGIN, *tpm.options(), *options]
        (cls.folder / "host").mkdir()
        code, text, err = harness.run_server(*arguments, "--print-policy", "test")
        if code != 0:
            raise RuntimeError(err)
        cls.policy = cls.folder / "policy"
        cls.policy.write_text(text)
        cls.server = cls.stack.enter_context(harness.Server(cls.folder / "host", tpm, *options))
        cls.url = f"https://127.0.0.1:{cls.server.port}"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", cls.folder / "key.pem",
                        "-out", cls.folder / "cert.pem", "-subj", "/CN=thief", "-days", "2"],
                       check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def test_is_verified_and_answers(self):
        code, out, err = run("verify", self.url, "--policy", self.policy)
        self.assertEqual(code, 0, out + err)
        self.assertIn("Verdict: true (TEST)", out)
        code, out, err = run("chat", self.url, "--policy", self.policy, "--temperature", 0,
                             "--max-tokens", 20, PROMPT)
        self.assertEqual(code, 0, err)
        self.assertTrue(out.strip())
        self.assertIn("verified (TEST)", err)
        again = run("chat", self.url, "--policy", self.policy, "--temperature", 0, "--max-tokens",
                    20, "--quiet", "-", stdin=PROMPT)
        self.assertEqual(again, (0, out, ""))

    def test_an_activator_vouches_and_the_log_grows(self):
        def size():
            code, out, err = run("checkpoint", self.url, "--policy", self.policy)
            self.assertEqual(code, 0, err)
            return int(out.splitlines()[1].removeprefix("size "))
        time.sleep(1.1)  # the same note of the same second would be logged once
        before = size()
        code, out, err = run("activate", self.url, "--policy", self.policy, "--key", self.key)
        self.assertEqual(code, 0, err)
        index = int(out.splitlines()[1].removeprefix("logged at index "))
        self.assertLessEqual(before, index)
        self.assertLess(index, size())

    def test_a_policy_that_asks_for_witnesses_is_not_met_without(self):
        witnessed = self.folder / "witnessed-policy"
        key = "example.org/witness+cacf2e50+BGbguFjkYqYJ5m/nE3DIFtiEb/ED1UmaIqf+w3/bxCSn"
        witnessed.write_text(self.policy.read_text().replace(
            "quorum none\n", f"witness w {key}\nquorum w\n"))
        for words in (("checkpoint",), ("verify",)):
            code, out, err = run(*words, self.url, "--policy", witnessed)
            self.assertEqual(code, 1, err)
            self.assertIn("lacks the quorum 'w'", out + err)
        code, out, _ = run("chat", self.url, "--policy", witnessed, "-", stdin=PROMPT)
        self.assertEqual((code, out), (1, ""), "no prompt leaves")

    def test_another_model_gets_no_prompt(self):
        other = self.folder / "other-policy"
        text = self.policy.read_text()
        at = text.index("\nmodel demo ") + len("\nmodel demo ")
        other.write_text(text[:at] + "00000000" + text[at + 8:])
        code, out, err = run("chat", self.url, "--policy", other, PROMPT)
        self.assertEqual((code, out), (1, ""), err)
        self.assertIn("rule 7 LANES", err)
        self.assertIn("nothing was sent", err)

    def test_a_thief_between_gets_no_prompt(self):
        # Vouched for by an activator, the evidence alone is false only by its TLS key.
        code, _, err = run("activate", self.url, "--policy", self.policy, "--key", self.key)
        self.assertEqual(code, 0, err)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        with Thief(self.server.port, context) as thief:
            code, out, err = run("chat", thief.url, "--policy", self.policy, PROMPT)
            self.assertEqual((code, out), (1, ""), err)
            self.assertIn("nothing was sent", err)
            self.assertIn(b"GET /attestation?nonce=", thief.seen)
            self.assertNotIn(PROMPT.encode(), thief.seen)
            code, out, err = run("verify", thief.url, "--policy", self.policy)
            self.assertEqual(code, 1, err)
            self.assertRegex(out, r"\n 2  AK +false ")
            self.assertIn("Anything: rule 2 (AK) is false.", out)
            self.assertEqual(out.count("Anything: rule"), 1)

    def test_a_dropped_connection_is_not_opened_again(self):
        with Thief(self.server.port, limit=30000) as thief:
            code, out, err = run("chat", thief.url, "--policy", self.policy, "-",
                                 stdin=PROMPT + " x" * 40000)
            self.assertEqual((code, out), (2, ""), err)
            self.assertIn("verified", err)
            self.assertIn("broke off", err)
            self.assertEqual(thief.connections, 1)


if __name__ == "__main__":
    if not CLIENT.exists() or not shutil.which("openssl"):
        print("skipped, missing:", CLIENT, "or openssl")
        raise SystemExit(77)
    unittest.main(verbosity=2)
