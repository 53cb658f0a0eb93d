"""What the end-to-end tests of the server share: a software TPM, a server, an HTTPS client.

Everything lives in one temporary folder and ends with it, whatever a test does. Programs are taken
from $BL_PROGRAMS; what is missing on this machine skips the test (exit code 77).
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = pathlib.Path(os.environ.get("BL_PROGRAMS", ROOT / "build/release/bin"))
SERVER = PROGRAMS / "blindllama-server"
MODEL = ROOT / "models/demo"
ORIGIN = "e2e.test/log"
START_S = 60


def need_programs():
    """Skips the whole file where something is missing."""
    missing = [str(p) for p in (SERVER, MODEL / "config.json") if not p.exists()]
    missing += [p for p in ("swtpm", "swtpm_setup", "tpm2_pcrextend") if not shutil.which(p)]
    if missing:
        print("skipped, missing:", ", ".join(missing))
        sys.exit(77)


def main():
    need_programs()
    unittest.main(verbosity=2)


@contextlib.contextmanager
def folder():
    """A short path: UNIX sockets lie in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="bl-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Tpm:
    """A software TPM in a folder of its own."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.tcti = self._script("start").strip()

    def _script(self, command):
        done = subprocess.run([ROOT / "tests/software_tpm.sh", command, self.path],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"software_tpm.sh {command}: {done.stderr}")
        return done.stdout

    def options(self):
        options = ["--tcti", self.tcti]
        for i in range(8):
            path = self.path / f"ek-chain-{i}.pem"
            if path.exists():
                options += ["--ek-chain", str(path)]
        return options

    def extend(self, pcr, digest="11" * 32):
        subprocess.run(["tpm2_pcrextend", "-T", self.tcti, f"{pcr}:sha256={digest}"], check=True,
                       capture_output=True)

    def reboot(self):
        self._script("reboot")

    @contextlib.contextmanager
    def hung(self):
        """Answers nothing meanwhile, and everything afterwards."""
        pid = int((self.path / "swtpm.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def pull(self):
        """It is gone, as a device whose driver died: no shutdown, no answer, no socket."""
        os.kill(int((self.path / "swtpm.pid").read_text()), signal.SIGKILL)

    def plug(self):
        """It is there again, with what it keeps: reset, and not shut down before."""
        (self.path / "swtpm.pid").unlink()  # the old process may have nobody who reaps it
        self._script("start")

    def stop(self):
        self._script("stop")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Wire:
    """Between a server and a TPM: the connection can be cut while the TPM goes on."""

    def __init__(self, path, tpm):
        self.path = pathlib.Path(path)
        self.path.mkdir()
        self.own = self.path / "wire.sock"
        self.to = tpm.tcti.split("path=")[1]
        self.tcti = f"swtpm:path={self.own}"
        self.chain = tpm.options()[2:]
        self.joined, self.listening = [], []
        self.join()

    def options(self):
        return ["--tcti", self.tcti, *self.chain]

    def join(self):
        for suffix in ("", ".ctrl"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.own) + suffix)
            listener.listen()
            self.listening.append(listener)
            threading.Thread(target=self._accept, args=(listener, suffix), daemon=True).start()

    def _accept(self, listener, suffix):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.to + suffix)
            except OSError:
                return
            self.joined += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    @staticmethod
    def _copy(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for listener in self.listening:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for suffix in ("", ".ctrl"):
            pathlib.Path(str(self.own) + suffix).unlink()
        for s in self.joined:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        self.joined, self.listening = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()


class Server:
    """A running server. Output goes to files, so that it can never block the server."""

    def __init__(self, path, tpm, *options, model=MODEL, listen=":0", wait=True, origin=ORIGIN):
        self.path = pathlib.Path(path)
        self.path.mkdir(exist_ok=True)
        self.state = self.path / "state"
        self.out = self.path / "out.txt"
        self.err = self.path / "err.txt"
        command = [SERVER, "--model", model, "--listen", listen, "--state", self.state,
                   *(["--origin", origin] if origin else []), *tpm.options(), *options]
        with open(self.out, "wb") as out, open(self.err, "ab") as err:
            self.process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        self.port = None
        if wait:
            self.wait_until_listening()

    def wait_until_listening(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            text = self.out.read_text()
            if text.startswith("listening on https://") and text.endswith("\n"):
                self.port = int(text.rsplit(":", 1)[1])
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.process.returncode}\n{self.log()}")
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server did not listen in {START_S} s\n{self.log()}")

    def log(self):
        return self.err.read_text(errors="replace")

    def client(self, timeout=60):
        return Client(self.port, timeout)

    def terminate(self, timeout=40):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """SIGKILL to the supervisor alone; waits until its children are gone too."""
        children = self.children()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        end = time.monotonic() + 10
        while any(is_alive(pid) for pid in children):
            if time.monotonic() > end:
                raise RuntimeError("children outlived the supervisor")
            time.sleep(0.01)

    def children(self):
        try:
            pid = self.process.pid
            text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [int(word) for word in text.split()]
        except OSError:
            return []

    def child(self, name):
        for pid in self.children():
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return pid
        raise RuntimeError(f"no child {name}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def is_sanitized():
    """Built with AddressSanitizer: no sandbox, and memory that tells nothing."""
    return b"__asan_init" in SERVER.read_bytes()


def is_alive(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def run_server(*options, timeout=60):
    """To its end; for starts that must fail. Returns exit code, stdout, stderr."""
    done = subprocess.run([str(SERVER), *[str(o) for o in options]], capture_output=True, text=True,
                          timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tls_socket(port, timeout=60, receive_buffer=None):
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.settimeout(timeout)
    raw.connect(("127.0.0.1", port))
    return tls_context().wrap_socket(raw)


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Client:
    """One connection, kept alive between requests."""

    def __init__(self, port, timeout, source=None):
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout,
                                                      context=tls_context(),
                                                      source_address=source and (source, 0))

    def request(self, method, path, body=None, headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers = {"Content-Type": "application/json", **(headers or {})}
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return Answer(response, response.read())

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        return self.request("POST", path, body)

    def chat(self, text, **fields):
        return self.post("/v1/chat/completions", chat_body(text, **fields))

    def stream(self, text, **fields):
        """The events of a streamed answer, decoded, without the final [DONE]."""
        body = json.dumps(chat_body(text, stream=True, **fields))
        self.connection.request("POST", "/v1/chat/completions", body)
        response = self.connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = response.read().decode().split("\n\n")
        assert events[-1] == "" and events[-2] == "data: [DONE]", events[-2:]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]

    def spki_sha256(self):
        if self.connection.sock is None:
            self.connection.connect()
        return hashlib.sha256(spki_of(self.connection.sock.getpeercert(True))).hexdigest()

    def close(self):
        self.connection.close()


def chat_body(text, **fields):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}


def streamed_text(events, index=0):
    return "".join(choice["delta"].get("content") or "" for event in events
                   for choice in event["choices"] if choice["index"] == index)


def der_items(data):
    """(tag, whole element, contents) of each element in a run of DER."""
    at = 0
    while at < len(data):
        start, tag, length = at, data[at], data[at + 1]
        at += 2
        if length & 0x80:
            n = length & 0x7F
            length = int.from_bytes(data[at:at + n], "big")
            at += n
        yield tag, data[start:at + length], data[at:at + length]
        at += length


def spki_of(certificate):
    """The SubjectPublicKeyInfo of an X.509 certificate: the sixth item after the version."""
    (_, _, body), = der_items(certificate)
    _, _, tbs = next(der_items(body))
    items = [whole for tag, whole, _ in der_items(tbs) if tag != 0xA0]
    return items[5]


# The log, recomputed from what the server publishes (RFC 6962, C2SP tlog-tiles).

def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def tree_hash(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def checkpoint(client):
    """Origin, size and root of the newest checkpoint."""
    note = client.get("/log/checkpoint").body.decode()
    origin, size, root = note.split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def tile_path(kind, index, width):
    assert index < 1000
    return f"/log/tile/{kind}/{index:03d}" + (f".p/{width}" if width < 256 else "")


def entries(client, size):
    """All entries below `size`, from the entry bundles."""
    found = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        body = client.get(tile_path("entries", index, width)).body
        while body:
            length = int.from_bytes(body[:2], "big")
            found.append(body[2:2 + length])
            body = body[2 + length:]
    return found


def check_log(test, client):
    """Recomputes the root from entries and from the hash tiles; returns the entries."""
    origin, size, root = checkpoint(client)
    test.assertEqual(origin, ORIGIN)
    found = entries(client, size)
    test.assertEqual(len(found), size)
    leaves = [leaf_hash(entry) for entry in found]
    test.assertEqual(tree_hash(leaves), root)
    width = min(256, size)
    tile = client.get(tile_path(0, 0, width)).body
    test.assertEqual(tile, b"".join(leaves[:width]))
    return found


def kinds(found):
    return [entry.split(b"\n", 1)[0].decode().split("/")[0].removeprefix("blindllama-")
            for entry in found]
