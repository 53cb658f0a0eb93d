"""The API of a running server: what it answers, and how it refuses."""

import secrets
import threading
import time
import unittest

import harness
from harness import Server, Tpm, check_log, folder, kinds, streamed_text

QUESTION = "What is BlindLlama?"


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        path = cls.enterClassContext(folder())
        tpm = cls.enterClassContext(Tpm(path / "tpm"))
        cls.server = cls.enterClassContext(Server(path / "server", tpm, "--quote-interval", "2"))

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    # what it answers

    def test_answers_a_chat_as_openai_does(self):
        answer = self.client.chat(QUESTION, max_tokens=20, model="demo")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        body = answer.json
        self.assertEqual(set(body), {"id", "object", "created", "model", "system_fingerprint",
                                     "choices", "usage"})
        self.assertRegex(body["id"], "^chatcmpl-[0-9a-f]{24}$")
        self.assertEqual(body["object"], "chat.completion")
        self.assertEqual(body["model"], "demo")
        self.assertRegex(body["system_fingerprint"], "^fp_[0-9a-f]{12}$")
        choice, = body["choices"]
        self.assertEqual(choice["index"], 0)
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertTrue(choice["message"]["content"])
        self.assertIsNone(choice["logprobs"])
        self.assertIn(choice["finish_reason"], ("stop", "length"))
        usage = body["usage"]
        self.assertEqual(usage["total_tokens"],
                         usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertLessEqual(usage["completion_tokens"], 20)

    def test_streams_the_same_text_as_the_plain_answer(self):
        plain = self.client.chat(QUESTION, max_tokens=40).json
        events = self.client.stream(QUESTION, max_tokens=40)
        self.assertEqual(streamed_text(events), plain["choices"][0]["message"]["content"])
        self.assertEqual(events[0]["object"], "chat.completion.chunk")
        self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        last = events[-1]["choices"][0]
        self.assertEqual(last["delta"], {})
        self.assertEqual(last["finish_reason"], plain["choices"][0]["finish_reason"])
        self.assertEqual(len({event["id"] for event in events}), 1)
        self.assertNotIn("usage", events[0])

    def test_streams_usage_when_asked(self):
        plain = self.client.chat(QUESTION, max_tokens=8).json
        events = self.client.stream(QUESTION, max_tokens=8,
                                    stream_options={"include_usage": True})
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"], plain["usage"])
        self.assertTrue(all(event["usage"] is None for event in events[:-1]))

    def test_gives_several_choices(self):
        # as much chance as can be had: the demo model is sure of what it learned
        fields = {"max_tokens": 24, "n": 3, "temperature": 2, "top_k": -1, "top_p": 1,
                  "min_p": 0, "seed": 7, "ignore_eos": True}
        body = self.client.chat("zq", **fields).json
        self.assertEqual([choice["index"] for choice in body["choices"]], [0, 1, 2])
        texts = [choice["message"]["content"] for choice in body["choices"]]
        self.assertGreater(len(set(texts)), 1, "three choices from one seed are all equal")
        events = self.client.stream("zq", **fields)
        self.assertEqual([streamed_text(events, i) for i in range(3)], texts)
        finished = [choice["index"] for event in events for choice in event["choices"]
                    if choice["finish_reason"] is not None]
        self.assertEqual(sorted(finished), [0, 1, 2], "each choice finishes once")
        again = self.client.chat("zq", **fields).json
        self.assertEqual(again["choices"], body["choices"])

    def test_reports_logprobs(self):
        body = self.client.chat(QUESTION, max_tokens=5, logprobs=True, top_logprobs=3).json
        tokens = body["choices"][0]["logprobs"]["content"]
        self.assertEqual(len(tokens), body["usage"]["completion_tokens"])
        for token in tokens:
            self.assertLessEqual(token["logprob"], 0)
            self.assertEqual(len(token["top_logprobs"]), 3)
            # greedy: the token is the likeliest one
            self.assertEqual(token["top_logprobs"][0]["bytes"], token["bytes"])
        events = self.client.stream(QUESTION, max_tokens=5, logprobs=True, top_logprobs=3)
        streamed = [token for event in events for choice in event["choices"]
                    for token in (choice["logprobs"] or {}).get("content", [])]
        self.assertEqual(streamed, tokens)

    def test_stops_at_a_stop_text(self):
        whole = self.client.chat(QUESTION, max_tokens=40).json["choices"][0]["message"]["content"]
        word = whole.split()[2]
        body = self.client.chat(QUESTION, max_tokens=40, stop=[word]).json
        self.assertEqual(body["choices"][0]["finish_reason"], "stop")
        self.assertEqual(body["choices"][0]["message"]["content"], whole[:whole.index(word)])

    def test_a_biased_token_is_said_and_a_stop_token_ends(self):
        body = self.client.chat(QUESTION, max_tokens=3, logit_bias={"40": 100}).json
        said = body["choices"][0]["message"]["content"]
        self.assertEqual(len(set(said)), 1, "one token, over and over")
        self.assertEqual(body["usage"]["completion_tokens"], 3)
        fields = {"max_tokens": 9, "logit_bias": {"40": 100}, "stop_token_ids": [40]}
        body = self.client.chat(QUESTION, **fields).json
        self.assertEqual(body["usage"]["completion_tokens"], 1)
        self.assertEqual(body["choices"][0]["finish_reason"], "stop")
        self.assertEqual(body["choices"][0]["message"]["content"], "")
        body = self.client.chat(QUESTION, min_tokens=4, **fields).json
        self.assertEqual(body["usage"]["completion_tokens"], 5)
        self.assertEqual(body["choices"][0]["finish_reason"], "stop")

    def test_min_tokens_keeps_the_answer_from_its_end(self):
        whole = self.client.chat(QUESTION, max_tokens=100).json
        self.assertEqual(whole["choices"][0]["finish_reason"], "stop")
        least = whole["usage"]["completion_tokens"] + 5
        longer = self.client.chat(QUESTION, max_tokens=100, min_tokens=least).json
        self.assertGreater(longer["usage"]["completion_tokens"], least - 1)

    def test_takes_content_in_parts(self):
        parts = [{"type": "text", "text": QUESTION}]
        whole = self.client.chat(QUESTION, max_tokens=8).json
        answer = self.client.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": parts}], "temperature": 0, "max_tokens": 8})
        self.assertEqual(answer.json["choices"], whole["choices"])

    def test_passes_over_fields_it_does_not_know(self):
        answer = self.client.chat(QUESTION, max_tokens=2, user="me", something={"new": 1},
                                  tools=None, response_format={"type": "text"})
        self.assertEqual(answer.status, 200)

    def test_lists_its_model(self):
        listed = self.client.get("/v1/models").json
        self.assertEqual(listed["object"], "list")
        model, = listed["data"]
        self.assertEqual(model["id"], "demo")
        self.assertEqual(self.client.get("/v1/models/demo").json, model)

    def test_is_healthy_and_counts(self):
        self.assertEqual(self.client.get("/health").json, {"status": "ok"})
        self.client.chat(QUESTION, max_tokens=3)
        end = time.monotonic() + 10  # one that another test left may be on its way out
        while True:
            answer = self.client.get("/metrics")
            values = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines()
                          if not line.startswith("#"))
            if values["blindllama_num_requests_running"] == "0" or time.monotonic() > end:
                break
            time.sleep(0.05)
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        self.assertGreaterEqual(int(values["blindllama_generation_tokens_total"]), 3)
        self.assertEqual(int(values["blindllama_num_requests_running"]), 0)
        info, = (key for key in values if key.startswith("blindllama_info{"))
        self.assertIn('numerics="', info)

    def test_answers_head_without_a_body(self):
        answer = self.client.request("HEAD", "/health")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.client.get("/health").status, 200, "the connection is still good")

    def test_eight_at_once_get_what_each_gets_alone(self):
        questions = [f"Tell me about the number {i}." for i in range(8)]

        def ask(question):
            client = self.server.client()
            answer = client.chat(question, max_tokens=24).json
            client.close()
            return answer["choices"][0]["message"]["content"]

        alone = [ask(question) for question in questions]
        together = [None] * 8

        def work(i):
            together[i] = ask(questions[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)

    def test_survives_many_short_requests_at_once(self):
        """Answers of one to three tokens end while they are being handed over."""
        wrong = []

        def work(worker):
            client = self.server.client()
            for i in range(20):
                events = client.stream("Hello", max_tokens=1 + i % 3, n=1 + worker % 2,
                                       logprobs=True, ignore_eos=True)
                n_tokens = sum(len(choice["logprobs"]["content"]) for event in events
                               for choice in event["choices"] if choice["logprobs"])
                if n_tokens != (1 + i % 3) * (1 + worker % 2):
                    wrong.append(events)
            client.close()

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(self.client.get("/health").status, 200)

    # the log and the evidence

    def test_publishes_a_log_whose_root_can_be_recomputed(self):
        found = check_log(self, self.client)
        for kind in ("host", "boot", "identity", "quote"):
            self.assertIn(kind, kinds(found))
        answer = self.client.get("/log/checkpoint")
        self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")
        entry = next(e for e in found if e.startswith(b"blindllama-identity/v1\n"))
        fields = dict(line.split(" ", 1) for line in entry.decode().splitlines()[1:])
        self.assertEqual(fields["spki-sha256"], self.client.spki_sha256())
        size, digest = fields["runtime-log"].split(" ")
        blob = self.client.get(f"/log/blob/{digest}")
        self.assertEqual(len(blob.body), int(size))
        self.assertTrue(blob.body.startswith(b"blindllama-runtime-log/v1\n"))
        self.assertIn("immutable", blob.headers["Cache-Control"])

    def test_gives_evidence_over_a_nonce(self):
        nonce = secrets.token_hex(32)
        answer = self.client.get(f"/attestation?nonce={nonce}")
        self.assertEqual(answer.status, 200, answer.body)
        evidence = answer.json
        self.assertEqual(set(evidence), {"format", "checkpoint", "statements", "heads", "blobs",
                                         "quote", "nonce"})
        self.assertEqual(evidence["format"], "blindllama-evidence/v1")
        self.assertIn(f"spki-sha256 {self.client.spki_sha256()}\n", evidence["quote"])
        self.assertIn("kind demand\n", evidence["quote"])
        self.assertEqual(evidence["checkpoint"].split("\n")[0], harness.ORIGIN)

    def test_answers_many_nonces_at_once(self):
        answers = [None] * 12

        def work(i):
            client = self.server.client()
            answers[i] = client.get(f"/attestation?nonce={secrets.token_hex(32)}")
            client.close()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([answer.status for answer in answers], [200] * 12)

    # how it refuses

    def refused(self, answer, status, param=None, code=None):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(set(answer.json), {"error"})
        self.assertEqual(set(answer.error), {"message", "type", "param", "code"})
        self.assertTrue(answer.error["message"])
        if param is not None:
            self.assertEqual(answer.error["param"], param)
        if code is not None:
            self.assertEqual(answer.error["code"], code)

    def test_refuses_what_is_not_a_chat_request(self):
        for body in ("", "{", "[]", "null", '"text"', '{"messages": 1}', '{"messages": []}',
                     '{"messages": [], "messages": []}', "{}", '{"a": 1} x', "\ufffe" * 8,
                     '{"messages": [{"role": "user", "content": "\\ud800"}]}'):
            with self.subTest(body=body):
                answer = self.client.request("POST", "/v1/chat/completions", body.encode())
                self.refused(answer, 400)

    def test_says_what_is_wrong_with_a_body_that_others_call_json(self):
        message = '"messages": [{"role": "user", "content": "x"}]'
        for body, word in (('{"messages": [{"role": "user", "content": "\\u0000"}]}', "U+0000"),
                           (f'{{{message}, "max_tokens": {2**63}}}', "too large"),
                           (f'{{{message}, "seed": {2**64}}}', "too large"),
                           (f'{{{message}, "temperature": 1e400}}', "too large"),
                           (f'{{{message}, {message}}}', "same key twice"),
                           ("[" * 5000, "nested too deeply"), ("{", "is not JSON")):
            with self.subTest(body=body[:100]):
                answer = self.client.request("POST", "/v1/chat/completions", body.encode())
                self.refused(answer, 400)
                self.assertIn(word, answer.error["message"])

    def test_refuses_a_body_that_two_readers_would_end_differently(self):
        inner = b"GET /metrics HTTP/1.1\r\n\r\n"
        length = b"Content-Length: %d\r\n" % len(inner)
        post, get = b"POST /v1/chat/completions", b"GET /health"
        chunked, gzip = b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"
        for method in (post, get):
            for headers, statuses in (
                    (b"Content-Length: 0\r\n" + length, "400"),
                    (length + b"Content-Length: 0\r\n", "400"), (gzip, "501"),
                    (length + gzip, "400|501"), (gzip + chunked, "400|413|501"),
                    (chunked + gzip, "400|501"), (chunked + length, "400"),
                    (b"Transfer-Encoding: identity, chunked\r\n", "413|501")):
                with self.subTest(method=method, headers=headers):
                    body = b"0\r\n\r\n" if headers.startswith(chunked) else b""
                    head = method + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"
                    got = self.raw(head + body + inner)
                    self.assertRegex(got, f"^HTTP/1.1 ({statuses}) ".encode())
                    self.assertIn(b"Connection: close", got)
                    self.assertEqual(got.count(b"HTTP/1.1 "), 1, "what is behind it is not read")
        got = self.raw(post + b" HTTP/1.1\r\n" + chunked + b"\r\n2\r\n{}\r\n0\r\n\r\n", 1)
        self.assertIn(b"'messages'", got, "chunks alone are taken")
        for headers, body in ((length, inner), (length * 2, inner), (b"", b"")):
            got = self.raw(get + b" HTTP/1.1\r\n" + headers + b"\r\n" + body +
                           b"GET /v1/models/gpt-5 HTTP/1.1\r\n\r\n", 2)
            self.assertTrue(got.startswith(b"HTTP/1.1 200 "), got)
            self.assertIn(b"model_not_found", got, "the body is no request, what follows is one")

    def raw(self, data, n_answers=None):
        """What comes back until the server closes, or until there are so many answers in JSON."""
        s = harness.tls_socket(self.server.port, timeout=10)
        s.sendall(data)
        got = b""
        try:
            while part := s.recv(65536):
                got += part
                if got.count(b"HTTP/1.1 ") == n_answers and got.endswith(b"}"):
                    break
        except ConnectionError:
            pass
        s.close()
        return got

    def metric(self, name):
        lines = self.client.get("/metrics").body.decode().splitlines()
        return int(next(line.split()[1] for line in lines
                        if line.startswith(f"blindllama_{name} ")))

    def computed(self, **fields):
        """The answer, and how many of its prompt's tokens were computed for it and found."""
        names = "prompt_tokens_total", "prefix_cache_hits_total"
        before = [self.metric(name) for name in names]
        n_finished = self.metric("requests_finished_total") + fields.get("n", 1)
        answer = self.client.chat("word " * 150, max_tokens=4, temperature=0, **fields).json
        while self.metric("requests_finished_total") < n_finished:
            time.sleep(0.01)  # numbers follow at the end of the step
        return answer, *(self.metric(name) - was for name, was in zip(names, before))

    @staticmethod
    def cached(answer):
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_finds_a_prompt_again_by_its_cache_salt_only(self):
        salts = {"cache_salt": "a salt for one test"}, {"cache_salt": "another for a test"}, {}
        cold, n_cold, n_found = self.computed(**salts[0])
        self.assertEqual((n_cold, n_found), (cold["usage"]["prompt_tokens"], 0))
        for other in salts[1:]:
            answer, n_computed, n_found = self.computed(**other)
            self.assertEqual((answer["choices"], n_computed, n_found), (cold["choices"], n_cold, 0))
            self.assertEqual(self.cached(answer), 0)
        warm, n_computed, n_found = self.computed(**salts[0])
        self.assertEqual(warm["choices"], cold["choices"])
        self.assertEqual(n_found, n_cold - 1 if n_cold % 64 == 0 else n_cold // 64 * 64)
        self.assertEqual(n_computed, n_cold - n_found)
        self.assertEqual((self.cached(cold), self.cached(warm)), (0, n_found))
        self.assertNotIn("service_tier", warm)
        self.assertGreater(self.metric("kv_pages_cached"), 0)

    def test_computes_the_prompt_of_several_choices_once(self):
        answer, n_computed, _ = self.computed(n=4, service_tier="flex")
        self.assertEqual(len(answer["choices"]), 4)
        self.assertEqual(n_computed, answer["usage"]["prompt_tokens"] + 3)
        self.assertEqual((answer["service_tier"], self.cached(answer)), ("flex", 0))
        answer, *_ = self.computed(n=4, cache_salt="a salt for four choices", service_tier="auto")
        self.assertEqual((answer["service_tier"], self.cached(answer)), ("default", 0))

    def test_refuses_messages_that_are_none(self):
        for message in ({}, {"role": "user"}, {"role": 1, "content": "x"},
                        {"role": "user", "content": 1}, "text", None,
                        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}):
            with self.subTest(message=message):
                answer = self.client.post("/v1/chat/completions", {"messages": [message]})
                self.refused(answer, 400, param="messages")

    def test_names_the_field_of_a_wrong_type_or_range(self):
        wrong = {
            "temperature": ["hot", -1, 3, True], "top_p": [0, 1.5, "x"], "top_k": [-2, 0.5],
            "min_p": [2, []], "max_tokens": [0, -1, "many", 1.5], "n": [0, 17, "two"],
            "max_completion_tokens": [0, {}], "seed": ["x", 1.5], "stream": ["yes", 1],
            "stop": [1, [1], ["x" * 300], ["a"] * 17, ""], "presence_penalty": [3, "x"],
            "frequency_penalty": [-3], "repetition_penalty": [0, -1, "x"], "logprobs": [1],
            "top_logprobs": [21, -1, 5], "stream_options": [1, {"include_usage": True}],
            "model": [1], "tools": [[{"type": "function"}]],
            "service_tier": ["priority", 1], "cache_salt": ["short", "x" * 257, 1],
            "response_format": [{"type": "json_object"}, 1], "logit_bias": [{"1": 101}, {"x": 1}, {"4000000": 1}, 1],
            "stop_token_ids": [[4000000], ["x"], 5], "min_tokens": [-1, 2],
        }
        for param, values in wrong.items():
            for value in values:
                with self.subTest(param=param, value=value):
                    self.refused(self.client.chat("x", **{"max_tokens": 1, param: value}), 400,
                                 param=param)

    def test_refuses_a_model_it_does_not_have(self):
        self.refused(self.client.chat("x", model="gpt-5"), 404, code="model_not_found")
        self.refused(self.client.get("/v1/models/gpt-5"), 404, code="model_not_found")

    def test_refuses_more_than_the_context_holds(self):
        answer = self.client.chat("word " * 20000)
        self.refused(answer, 400, param="messages", code="context_length_exceeded")

    def test_refuses_paths_and_methods_it_does_not_have(self):
        for path in ("/", "/v1", "/v1/completions", "/v1/models/../models", "/log/tile/x",
                     "/log/tile/0/000.p/0", "/log/tile/0/999", "/log/blob/zz",
                     "/log/blob/" + "00" * 32, "/%00", "/health/"):
            with self.subTest(path=path):
                self.refused(self.client.get(path), 404)
        for method, path, allow in (("GET", "/v1/chat/completions", "POST"),
                                    ("DELETE", "/v1/models", "GET, HEAD"),
                                    ("PUT", "/attestation/activate", "POST"),
                                    ("POST", "/health", "GET, HEAD")):
            with self.subTest(method=method, path=path):
                answer = self.client.request(method, path, b"")
                self.refused(answer, 405)
                self.assertEqual(answer.headers["Allow"], allow)

    def test_refuses_nonces_that_are_none(self):
        for query in ("", "?", "?nonce", "?nonce=", "?nonce=00", "?nonce=" + "AB" * 32,
                      "?nonce=" + "zz" * 32, "?nonce=" + "00" * 33, "?other=" + "00" * 32):
            with self.subTest(query=query):
                self.refused(self.client.get("/attestation" + query), 400, param="nonce")

    def test_refuses_challenges_and_notes_that_are_none(self):
        for body in ("", "{}", '{"credential": "", "secret": ""}', "[1]",
                     '{"credential": "AAFh", "secret": "!"}',
                     '{"credential": "AAJh", "secret": "AAFh"}'):
            with self.subTest(body=body):
                self.refused(self.client.request("POST", "/attestation/activate", body), 400)
        # well-formed, and not made for this TPM
        answer = self.client.request("POST", "/attestation/activate",
                                     '{"credential": "AAFh", "secret": "AAFh"}')
        self.refused(answer, 400)
        for body in ("", "no note", "x" * 70000):
            with self.subTest(body=body[:8]):
                self.refused(self.client.request("POST", "/attestation/activation", body), 400)

    def test_a_body_of_many_small_values_takes_no_memory(self):
        """What a JSON parser would take a hundred times its bytes of memory for."""
        before = memory_kib(self.server.child("bl-front"), "VmHWM")
        many = b"[" + b"[]," * 1300000 + b"[]]"
        for path, field in (("/attestation/activate", b"credential"),
                            ("/v1/chat/completions", b"messages")):
            with self.subTest(path=path):
                client = self.server.client()
                answer = client.request("POST", path, b'{"' + field + b'": ' + many + b"}")
                client.close()
                self.refused(answer, 400)
                self.assertIn("values", answer.error["message"])
        if not harness.is_sanitized():
            self.assertLess(memory_kib(self.server.child("bl-front"), "VmHWM") - before, 16 * 1024)

    def test_refuses_a_body_over_the_limit(self):
        before = memory_kib(self.server.child("bl-front"))
        for size in (10 * 1000 * 1000, 4 * 1024 * 1024 + 1):
            client = self.server.client()
            answer = client.request("POST", "/v1/chat/completions", b"x" * size)
            client.close()
            self.refused(answer, 413)
        if not harness.is_sanitized():
            self.assertLess(memory_kib(self.server.child("bl-front")) - before, 9 * 1024)
        self.assertEqual(self.client.get("/health").status, 200)

    def test_refuses_headers_over_the_limit(self):
        client = self.server.client()
        try:
            answer = client.request("GET", "/health", headers={"X-Long": "x" * 100000})
            self.refused(answer, 400)
        except OSError:
            pass  # refused, and closed, before all of it was read
        client.close()
        self.assertEqual(self.client.get("/health").status, 200)

    def test_refuses_what_is_not_http(self):
        for garbage in (b"\0" * 64, b"GET\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n",
                        b"GET /health HTTP/9.9\r\n\r\n"):
            with self.subTest(garbage=garbage):
                s = harness.tls_socket(self.server.port, timeout=10)
                s.sendall(garbage + b"\r\n\r\n")
                s.settimeout(5)
                try:
                    head = s.recv(4096)
                    self.assertNotIn(b"<HTML>", head)
                    self.assertNotIn(b" 200 ", head.split(b"\r\n")[0])
                except (ConnectionError, TimeoutError):
                    pass
                s.close()
        self.assertEqual(self.client.get("/health").status, 200)


def memory_kib(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what + ":"))


if __name__ == "__main__":
    harness.main()
