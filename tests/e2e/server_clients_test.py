"""Clients that behave badly, and what prompts leave behind: nothing."""

import json
import os
import pathlib
import re
import secrets
import socket
import ssl
import time
import unittest

import harness
from harness import Server, Tpm, chat_body, folder, tls_socket


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        path = cls.enterClassContext(folder())
        tpm = cls.enterClassContext(Tpm(path / "tpm"))
        cls.server = cls.enterClassContext(Server(path / "server", tpm))

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def metric(self, name):
        for line in self.client.get("/metrics").body.decode().splitlines():
            if line.startswith(f"blindllama_{name} "):
                return int(line.split()[1])
        raise KeyError(name)

    def wait_for(self, name, wanted, seconds=10):
        end = time.monotonic() + seconds
        while not wanted(self.metric(name)):
            self.assertLess(time.monotonic(), end, f"{name} is {self.metric(name)}")
            time.sleep(0.02)

    def send_chat(self, s, **fields):
        body = json.dumps(chat_body("Count to a thousand.", ignore_eos=True, **fields)).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def test_activations_are_shared_by_address(self):
        def source(host):
            return harness.Client(self.server.port, 60, host)

        body = json.dumps({"credential": "AAIxMQ==", "secret": "AAIxMQ=="})
        greedy, other = source("127.0.0.2"), source("127.0.0.3")
        answers = [greedy.request("POST", "/attestation/activate", body).status for _ in range(30)]
        self.assertEqual(set(answers), {400, 429})  # the TPM refuses it, as often as it is asked
        self.assertLessEqual(answers.count(400), 12)
        self.assertEqual(other.request("POST", "/attestation/activate", body).status, 400)
        for c in (greedy, other):
            c.close()

    def test_a_client_that_leaves_a_stream_frees_the_engine(self):
        self.leaves(stream=True)

    def test_a_client_that_leaves_while_it_waits_frees_the_engine(self):
        self.leaves(stream=False)

    def leaves(self, **fields):
        generated = self.metric("generation_tokens_total")
        with tls_socket(self.server.port) as s:
            self.send_chat(s, max_tokens=900, n=4, **fields)
            self.wait_for("num_requests_running", lambda n: n > 0)
        self.wait_for("num_requests_running", lambda n: n == 0, seconds=5)
        self.assertLess(self.metric("generation_tokens_total") - generated, 4 * 900,
                        "the engine went on to the end")
        self.assertEqual(self.metric("kv_pages_used"), 0)

    def test_a_client_that_does_not_read_is_dropped(self):
        stalled = self.metric("http_clients_stalled_total")
        with tls_socket(self.server.port, receive_buffer=4096) as s:
            self.send_chat(s, max_tokens=900, n=8, stream=True, logprobs=True, top_logprobs=20)
            self.wait_for("http_clients_stalled_total", lambda n: n > stalled, seconds=30)
            self.wait_for("num_requests_running", lambda n: n == 0, seconds=5)

    def test_slow_clients_are_ended_and_hurt_nobody(self):
        """One sends nothing, one half a header, one drips a body: all go after the deadline."""
        slow = [socket.create_connection(("127.0.0.1", self.server.port)),
                tls_socket(self.server.port), tls_socket(self.server.port)]
        slow[1].sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half:")
        slow[2].sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        start = time.monotonic()
        while time.monotonic() - start < 36:
            self.assertEqual(self.client.get("/health").status, 200)
            try:
                slow[2].sendall(b" ")
            except OSError:
                pass
            time.sleep(1)
        for s in slow:
            s.settimeout(1)
            try:
                self.assertEqual(s.recv(1), b"", "still open")
            except (ConnectionError, ssl.SSLError):
                pass
            s.close()
        self.assertGreaterEqual(self.metric("http_clients_timed_out_total"), 3)

    def test_idle_connections_of_one_address_keep_nobody_out(self):
        """Its oldest go for newer ones, and at most half of the places are its own."""
        before = self.metric("http_connections")
        many = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(300)]
        self.client.close()
        self.client = self.server.client()
        self.assertLessEqual(self.metric("http_connections"), 256)
        self.wait_for("http_connections", lambda n: n <= 128)
        self.assertGreaterEqual(self.metric("http_clients_evicted_total"), 300 - 128)
        other = socket.create_connection(("127.0.0.1", self.server.port),
                                         source_address=("127.0.0.2", 0))
        with harness.tls_context().wrap_socket(other) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(s.recv(12).endswith(b"200"))
        for s in many:
            s.close()
        self.wait_for("http_connections", lambda n: n <= before)
        client = self.server.client()
        self.assertEqual(client.get("/health").status, 200)
        client.close()

    def test_pipelined_requests_are_answered_in_order(self):
        with tls_socket(self.server.port) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                      b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                      b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            data = b""
            while chunk := s.recv(65536):
                data += chunk
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+) ", data), [b"200", b"404", b"200"])

    def test_data_behind_a_running_request_does_not_end_the_server(self):
        with tls_socket(self.server.port) as s:
            self.send_chat(s, max_tokens=50, stream=True)
            s.sendall(b"x" * 200000)
            s.settimeout(20)
            data = b""
            while b"[DONE]" not in data:
                chunk = s.recv(65536)
                if not chunk:
                    break
                data += chunk
            self.assertIn(b"data: ", data)
        self.assertEqual(self.client.get("/health").status, 200)

    def test_only_tls_1_3_and_http_1_1(self):
        context = harness.tls_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(OSError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", self.server.port)))
        context = harness.tls_context()
        context.set_alpn_protocols(["h2"])
        with self.assertRaises(OSError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", self.server.port)))
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(socket.create_connection(("127.0.0.1", self.server.port))) as s:
            self.assertEqual(s.selected_alpn_protocol(), "http/1.1")
            self.assertEqual(s.version(), "TLSv1.3")

    def test_no_session_can_be_resumed(self):
        with tls_socket(self.server.port) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            s.recv(1024)
            session = s.session
        self.assertTrue(session is None or not session.has_ticket)

    def test_plain_http_gets_nothing(self):
        with socket.create_connection(("127.0.0.1", self.server.port)) as s:
            s.settimeout(5)
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                self.assertNotIn(b"HTTP/1.1", s.recv(4096))
            except ConnectionError:
                pass


class Privacy(unittest.TestCase):
    def test_prompts_and_answers_reach_no_file(self):
        canary = "canary" + secrets.token_hex(8)
        path = self.enterContext(folder())
        tpm = self.enterContext(Tpm(path / "tpm"))
        server = self.enterContext(Server(path / "server", tpm, "--quote-interval", "1"))
        client = server.client()
        self.addCleanup(client.close)
        client.chat(canary, max_tokens=4)
        client.stream(f"say {canary}", max_tokens=4)
        client.chat("x", max_tokens=2, stop=[canary])
        client.chat("x", model=canary)
        client.chat("x", temperature=canary)
        client.get(f"/{canary}?{canary}={canary}")
        client.get(f"/v1/models/{canary}")
        client.get(f"/attestation?nonce={canary}")
        client.request("POST", "/v1/chat/completions", f"{{ {canary} }}")
        client.request("POST", "/attestation/activation", canary)
        client.post("/v1/chat/completions", {"messages": [{"role": canary, "content": "x"}]})
        client.request("GET", "/health", headers={"X-" + canary: canary})
        time.sleep(1.5)  # another quote into the log
        self.assertEqual(server.terminate(), 0)
        searched = 0
        for file in path.rglob("*"):
            if file.is_file() and not file.is_relative_to(path / "tpm"):
                searched += 1
                self.assertNotIn(canary.encode(), file.read_bytes(), file)
        self.assertGreaterEqual(searched, 5)
        self.assertIn("POST /v1/chat/completions 200", server.log())

    def test_children_are_confined(self):
        path = self.enterContext(folder())
        tpm = self.enterContext(Tpm(path / "tpm"))
        server = self.enterContext(Server(path / "server", tpm))
        for name in ("bl-front", "bl-attester"):
            pid = server.child(name)
            status = dict(line.split(":\t", 1) for line in
                          pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
            limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size +0 +0 ")
            if not harness.is_sanitized():
                self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), name)
                for task in os.listdir(f"/proc/{pid}/task"):
                    text = pathlib.Path(f"/proc/{pid}/task/{task}/status").read_text()
                    self.assertIn("Seccomp:\t2", text)


if __name__ == "__main__":
    harness.main()
