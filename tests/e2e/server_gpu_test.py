"""A server on two GPUs, emulated ones, with an NVML of a test: what computes, what is said of them, what
a policy can ask. The model is the demo model's first layer."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import threading
import unittest

import harness
from harness import MODEL, Server, Tpm, folder

UUIDS = [f"GPU-00000000-0000-0000-0000-{i:012d}" for i in range(2)]


def first_layer(to):
    """A model folder with one layer of the demo model, in one file."""
    shutil.copytree(MODEL, to, ignore=shutil.ignore_patterns("*.safetensors*", "config.json", "golden*"))
    config = json.loads((MODEL / "config.json").read_text())
    config["num_hidden_layers"] = 1
    (to / "config.json").write_text(json.dumps(config))
    tensors = {}
    for path in sorted(MODEL.glob("*.safetensors")):
        data = path.read_bytes()
        length, = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8:8 + length]).items():
            if name != "__metadata__" and (".layers." not in name or ".layers.0." in name):
                begin, end = entry["data_offsets"]
                tensors[name] = entry, data[8 + length + begin:8 + length + end]
    header, body = {}, b""
    for name, (entry, data) in tensors.items():
        header[name] = {**entry, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (to / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return to


class Gpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = cls.enterClassContext(folder())
        nvml = cls.path / "nvml"
        nvml.mkdir()
        shutil.copy(os.environ["BL_FAKE_NVML_LIBRARY"], nvml / "libnvidia-ml.so.1")
        for name, text in {"driver": "580.95.05", "vbios": "96.00.9F.00.01", "confidential": "000"}.items():
            (nvml / name).write_text(text)
        os.environ["LD_LIBRARY_PATH"] = str(nvml)
        model = first_layer(cls.path / "model")
        cls.tpm = cls.enterClassContext(Tpm(cls.path / "tpm"))
        cls.options = ["--gpus", "all", "--max-requests", "2", "--max-context", "128"]
        cls.server = cls.enterClassContext(
            Server(cls.path / "server", cls.tpm, *cls.options, model=model))
        draft = subprocess.run(
            [str(harness.SERVER), "--model", str(model), "--state", str(cls.server.state), "--origin",
             harness.ORIGIN, *cls.tpm.options(), *cls.options, "--print-policy", "test"],
            capture_output=True, text=True, timeout=120)
        assert draft.returncode == 0, draft.stderr
        cls.policy = draft.stdout

    def verify(self, policy):
        path = self.path / "policy"
        path.write_text(policy)
        done = subprocess.run([os.environ["BL_VERIFIER"], "verify", f"https://127.0.0.1:{self.server.port}",
                               "--policy", str(path)], capture_output=True, text=True, timeout=60)
        return done.returncode, " ".join(done.stdout.split())

    def metric(self, client, name):
        """By GPU."""
        found = {}
        for line in client.get("/metrics").body.decode().splitlines():
            if line.startswith(f"blindllama_gpu_{name}{{"):
                found[line.split('"')[1]] = int(line.rsplit(" ", 1)[1])
        return found

    def test_requests_are_spread_and_counted(self):
        answers = [None] * 4

        def ask(i):
            client = self.server.client(timeout=120)
            answers[i] = client.chat("Hi", max_tokens=6, ignore_eos=True)
            client.close()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        texts = {a.json["choices"][0]["message"]["content"] for a in answers}
        self.assertEqual(len(texts), 1, "the same request has one answer, whichever GPU computes it")
        client = self.server.client()
        tokens = self.metric(client, "generation_tokens_total")
        self.assertEqual(sorted(tokens), UUIDS)
        self.assertTrue(all(n >= 6 for n in tokens.values()), tokens)
        self.assertEqual(self.metric(client, "works"), {uuid: 1 for uuid in UUIDS})
        client.close()

    def test_the_boot_statement_names_them(self):
        client = self.server.client()
        boot = [e.decode() for e in harness.check_log(self, client) if e.startswith(b"blindllama-boot/")]
        client.close()
        self.assertEqual(len(boot), 1)
        self.assertTrue(boot[0].startswith("blindllama-boot/v3\n"), boot[0])
        self.assertIn("\ngpu-driver 580.95.05\n", boot[0])
        for i, uuid in enumerate(UUIDS):
            self.assertIn(f"\ngpu {uuid} 96.00.9F.00.01 open a GPU of a test, {i}\n", boot[0])

    def test_verifiers_say_that_gpu_memory_is_not_protected(self):
        self.assertIn("\ngpu-driver 580.95.05\ngpu-vbios 96.00.9F.00.01\n", self.policy)
        self.assertNotIn("gpu-root", self.policy)
        code, text = self.verify(self.policy)
        self.assertEqual(code, 0, text)
        self.assertIn("GPU memory not protected", text)
        self.assertIn("numerics sm90-1", text)

    def test_no_start_where_a_tool_is_to_be_loaded(self):
        announced = pathlib.Path("/dev/shm/cuda_injection_path_shm")
        if not announced.parent.is_dir():
            self.skipTest("there is no /dev/shm here")
        announced.touch(exist_ok=False)
        try:
            code, _, text = harness.run_server("--model", MODEL, "--state", self.path / "other", *self.tpm.options(),
                                               "--gpus", "0", "--listen", ":0")
        finally:
            announced.unlink()
        self.assertEqual(code, 2, text)
        self.assertIn(f"{announced} asks every program that uses the GPU to load a tool", text)

    def test_a_policy_can_ask_for_another_driver_or_for_protected_memory(self):
        code, text = self.verify(self.policy.replace("580.95.05", "580.95.06"))
        self.assertEqual(code, 1, text)
        self.assertIn("the driver is of version 580.95.05, which the policy does not allow", text)
        code, text = self.verify(self.policy + f"gpu-root {'ab' * 32}\n")
        self.assertEqual(code, 1, text)
        self.assertIn("GPU memory not protected: it is 'open'", text)


if __name__ == "__main__":
    harness.SERVER = pathlib.Path(os.environ.get("BL_EMULATED_SERVER", "/nowhere"))
    harness.main()
