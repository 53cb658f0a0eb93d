"""Starts that must fail: exit code 2; a message names the thing, the reason and the remedy."""

import json
import shutil
import socket
import subprocess
import time
import unittest

import harness
from harness import MODEL, Server, Tpm, checkpoint, folder, run_server


class Start(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = cls.enterClassContext(folder())
        cls.tpm = cls.enterClassContext(Tpm(cls.path / "tpm"))

    def setUp(self):
        self.dir = self.enterContext(folder())
        self.tpm.reboot()  # a new state folder knows nothing of this TPM's past

    def options(self, model=MODEL, tpm=None, listen=":0", origin=harness.ORIGIN, state=None):
        return ["--model", model, "--listen", listen, "--state", state or self.dir / "state",
                "--origin", origin, *(tpm or self.tpm).options()]

    def fails(self, options, *words, code=2):
        got, out, err = run_server(*options)
        self.assertEqual(got, code, err)
        self.assertNotIn("listening on", out)
        for word in words:
            self.assertIn(word, err)
        self.assertNotIn("Sanitizer", err)
        self.assertNotIn("runtime error", err)
        return err

    # the command line

    def test_names_a_bad_option(self):
        for options, word in ((["--model"], "requires an argument"), ([], "--model"),
                              (["--nonsense"], "--nonsense"),
                              (["stray"], "stray")):
            with self.subTest(options=options):
                self.fails(options, word)

    def test_names_a_bad_value(self):
        for option, values in {
            "--quote-interval": ["0", "86401", "x", "-1", "1.5", ""],
            "--threads": ["0", "many"], "--max-requests": ["0", "100000"],
            "--cache-idle": ["0", "301", "never"],
            "--max-context": ["0"], "--origin": ["", "two words", "a+b"],
            "--activator": ["x", "name+00000000+AAAA"], "--backend": ["gpu"],
            "--profile": ["lenient"], "--print-policy": ["yes"], "--ek-chain": ["/nowhere.pem"],
            "--max-stop-duration": ["-1"], "--state": [""],
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.fails(["--model", MODEL, option, value], option)

    def test_names_a_bad_address(self):
        for address in ("", "x", "127.0.0.1", ":x", ":70000", "host:1", "1.2.3.4:5:6"):
            with self.subTest(address=address):
                self.fails(self.options(listen=address), "--listen")

    def test_help_teaches(self):
        code, out, _ = run_server("--help")
        self.assertEqual(code, 0)
        for word in ("--model", "--print-policy", "listening on", "blindllama verify"):
            self.assertIn(word, out)

    def test_version_is_told(self):
        code, out, _ = run_server("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^blindllama-server \d+\.\d+\.\d+\n$")

    def test_an_event_log_that_was_asked_for_must_be_one(self):
        self.fails([*self.options(), "--event-log", "/nowhere"], "--event-log", "/nowhere")
        path = self.dir / "events"
        path.write_bytes(b"not a log")
        self.fails([*self.options(), "--event-log", path], "--event-log", "event log: event 1")

    def test_a_host_without_an_event_log_says_so(self):
        with Server(self.dir, self.tpm) as server:
            self.assertIn("no firmware event log", server.log())
            self.assertEqual(server.terminate(), 0, server.log())

    # the machine

    def test_a_port_in_use_is_found_before_the_tpm_is_touched(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.fails(self.options(listen=f"127.0.0.1:{port}"), str(port), "in use")
        self.assertFalse((self.dir / "state").exists())

    def test_no_tpm(self):
        for tcti in (f"swtpm:path={self.dir}/none", "device:/dev/no-such-tpm", "nonsense:x"):
            with self.subTest(tcti=tcti):
                self.fails([*self.options(), "--tcti", tcti], "TPM", tcti)

    def test_a_state_folder_that_cannot_be_made(self):
        (self.dir / "file").write_text("")
        self.fails(self.options(state=self.dir / "file/state"), "file/state")

    # the model

    def model_copy(self):
        copy = self.dir / "demo"
        shutil.copytree(MODEL, copy)
        return copy

    def test_a_model_folder_that_is_none(self):
        self.fails(self.options(model=self.dir / "nowhere"), "nowhere", "--model")
        self.fails(self.options(model=MODEL / "config.json"), "config.json", "folder")

    def test_a_missing_file(self):
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            with self.subTest(name=name):
                copy = self.model_copy()
                (copy / name).unlink()
                self.fails(self.options(model=copy), name)
                shutil.rmtree(copy)

    def test_a_truncated_file(self):
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            with self.subTest(name=name):
                copy = self.model_copy()
                data = (copy / name).read_bytes()
                (copy / name).write_bytes(data[:len(data) // 2])
                self.fails(self.options(model=copy), name)
                shutil.rmtree(copy)

    def test_a_corrupt_file(self):
        copy = self.model_copy()
        for name, data in (("config.json", b"\0garbage"), ("tokenizer.json", b"[]"),
                           ("model.safetensors", b"\xff" * 4096)):
            with self.subTest(name=name):
                good = (copy / name).read_bytes()
                (copy / name).write_bytes(data)
                self.fails(self.options(model=copy), name)
                (copy / name).write_bytes(good)

    def test_an_unknown_architecture(self):
        copy = self.model_copy()
        config = json.loads((copy / "config.json").read_text())
        config["architectures"] = ["UnheardOfForCausalLM"]
        config["model_type"] = "unheard-of"
        (copy / "config.json").write_text(json.dumps(config))
        self.fails(self.options(model=copy), "config.json", "UnheardOfForCausalLM")

    # the log and the TPM's history

    def test_a_log_of_another_origin(self):
        with Server(self.dir, self.tpm) as server:
            client = server.client()
            _, size, _ = checkpoint(client)
            client.close()
            self.assertEqual(server.terminate(), 0, server.log())
        self.fails(self.options(origin="other.test/log"), harness.ORIGIN)
        with Server(self.dir, self.tpm) as server:
            client = server.client()
            self.assertGreater(checkpoint(client)[1], size)
            client.close()

    def test_pcrs_that_the_runtime_log_does_not_explain(self):
        with Tpm(self.dir / "tpm") as tpm:
            tpm.extend(14)
            self.fails(self.options(tpm=tpm), "14")

    def test_a_second_server_on_the_same_state(self):
        with Server(self.dir, self.tpm) as server:
            self.fails(self.options(), "log")
            client = server.client()
            self.assertEqual(client.get("/health").status, 200, "the first one goes on")
            client.close()

    def test_a_second_server_on_the_same_tpm_leaves_the_first_alone(self):
        with Server(self.dir, self.tpm, "--quote-interval", "1") as server:
            self.fails(self.options(state=self.dir / "other"), "the PCRs do not fit")
            client = server.client()
            size = checkpoint(client)[1]
            answer = client.get("/attestation?nonce=" + "00" * 32)
            self.assertEqual(answer.status, 200, "the first one goes on")
            end = time.monotonic() + 10
            while checkpoint(client)[1] < size + 2 and time.monotonic() < end:
                time.sleep(0.1)
            self.assertGreaterEqual(checkpoint(client)[1], size + 2, "and quotes")
            client.close()
            self.assertEqual(server.terminate(), 0, server.log())

    def test_keeps_cached_prompts_only_as_long_as_it_was_told(self):
        for options, n_cached, said in ((["--no-prefix-cache"], 0, "prefix cache off"),
                                        (["--cache-idle", "1"], 64, "after 1 idle seconds")):
            with self.subTest(options=options), Server(self.dir, self.tpm, *options) as server:
                client = server.client()

                def ask():
                    answer = client.chat("word " * 150, max_tokens=1, cache_salt="only this client's")
                    return answer.json["usage"]["prompt_tokens_details"]["cached_tokens"]

                self.assertEqual(ask(), 0)
                self.assertGreaterEqual(ask(), n_cached)
                time.sleep(2)
                self.assertEqual(ask(), 0)
                self.assertIn(said, server.log())
                client.close()
                self.assertEqual(server.terminate(), 0, server.log())

    def test_a_damaged_head_is_told_from_a_damaged_log(self):
        with Server(self.dir, self.tpm) as server:
            self.assertEqual(server.terminate(), 0, server.log())
        head = self.dir / "state/log.head"
        good = head.read_bytes()
        for bad in (b"", b"garbage\n", good[:-5]):
            with self.subTest(bad=bad):
                head.write_bytes(bad)
                err = self.fails(self.options(), "log.head is damaged", "put log.head back")
                self.assertNotIn("lacks entries", err)
        head.write_bytes(good)
        with Server(self.dir, self.tpm) as server:
            self.assertEqual(server.terminate(), 0, server.log())

    def test_more_context_than_the_model_has(self):
        self.fails([*self.options(), "--max-context", "999999"], "999999", "1024")

    def test_an_issuer_that_cannot_be_read_says_why(self):
        self.fails(["--model", MODEL, "--ek-chain", "/nowhere.pem"], "No such file or directory")

    # the draft of a policy

    def test_a_policy_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            command = [harness.SERVER, *self.options(), "--print-policy", "test"]
            done = subprocess.run([str(word) for word in command], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("cannot write the policy", done.stderr)
        self.assertIn("No space left on device", done.stderr)

    def test_drafts_a_policy_and_extends_nothing(self):
        code, out, err = run_server(*self.options(), "--print-policy", "test",
                                    "--quote-interval", "5")
        self.assertEqual(code, 0, err)
        lines = [line for line in out.splitlines() if line and not line.startswith("#")]
        self.assertEqual(lines[0], "blindllama-policy/v1")
        keys = [line.split(" ")[0] for line in lines[1:]]
        for key, n in {"log": 1, "quorum": 1, "release": 1, "test-tpm-root": 1, "model": 1,
                       "code": 1, "boot-pcr": 13, "max-interval": 1, "max-age": 1}.items():
            self.assertEqual(keys.count(key), n, key)
        self.assertIn("max-interval 5", lines)
        self.assertIn("max-age 75", lines)
        self.assertIn("model demo ", "\n".join(lines))
        self.assertIn("compare", out.lower())
        again = run_server(*self.options(), "--print-policy", "test", "--quote-interval", "5")
        self.assertEqual(again[1], out, "the same host drafts the same policy")


if __name__ == "__main__":
    harness.main()
