"""What this project writes, judged by others: checkpoints and proofs by a verifier written here
from the specifications alone (RFC 6962, C2SP signed-note, tlog-checkpoint, tlog-proof) on Python's
`cryptography`, and by Go's golang.org/x/mod/sumdb; quotes by tpm2-tools' tpm2_checkquote.

Each part is skipped where its judge is absent: python3-cryptography, golang-go with
golang-golang-x-mod-dev, tpm2-tools with swtpm.
"""

import base64
import hashlib
import os
import pathlib
import re
import shutil
import sqlite3
import struct
import subprocess
import unittest

import harness

WRITER = pathlib.Path(os.environ.get("BL_STORE_WRITER", "build/release/bin/store_writer"))
HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
N = 11

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    Ed25519PublicKey = None


class Untrue(Exception):
    pass


def require(condition, reason):
    if not condition:
        raise Untrue(reason)


def verify_note(note, vkey):
    """signed-note: the text, if the key has signed it. Lines of unknown keys are passed over."""
    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    require(key[0] == 1 and len(key) == 33, "key type")
    digest = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    require(digest.hex() == key_id, "key id")
    at = note.rindex(b"\n\n")
    text, lines = note[:at + 1], note[at + 2:]
    good = False
    for line in lines.splitlines():
        match = re.fullmatch("— (\\S+) (\\S+)".encode(), line)
        require(match, "signature line")
        blob = base64.b64decode(match[2], validate=True)
        if match[1] != name.encode() or blob[:4] != digest:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(blob[4:], text)
        except InvalidSignature as e:
            raise Untrue("signature") from e
        good = True
    require(good, "no signature by the key")
    return text


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def path_root(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    require(index < size, "index")
    for p in path:
        require(sn != 0, "proof too long")
        if fn & 1 or fn == sn:
            r = node(p, r)
            while fn & 1 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "proof too short")
    return r


def verify_proof(proof, entry, origin, vkey):
    """tlog-proof@v1, steps 1, 2 and 4."""
    head, checkpoint = proof.split(b"\n\n", 1)
    lines = head.decode().split("\n")
    require(lines[0] == "c2sp.org/tlog-proof@v1", "first line")
    index = int(re.fullmatch(r"index (0|[1-9]\d*)", lines[1])[1])
    path = [base64.b64decode(line, validate=True) for line in lines[2:]]
    require(all(len(p) == 32 for p in path), "hash")
    text = verify_note(checkpoint, vkey).decode().split("\n")
    require(text[0] == origin, "origin")
    leaf = hashlib.sha256(b"\x00" + entry).digest()
    root = path_root(leaf, index, int(text[1]), path)
    require(root == base64.b64decode(text[2], validate=True), "root")
    return index


class Proofs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not WRITER.exists():
            raise unittest.SkipTest(f"{WRITER} is not built")
        cls.stack = harness.folder()
        cls.folder = cls.stack.__enter__()
        cls.write("make")
        cls.write("append", "entry", str(N))
        cls.vkey = cls.write("vkey").decode().strip()
        cls.proofs = [cls.write("proof", str(i)) for i in range(N)]

    @classmethod
    def tearDownClass(cls):
        cls.stack.__exit__(None, None, None)

    @classmethod
    def write(cls, command, *arguments):
        return subprocess.run([str(WRITER), command, str(cls.folder), *arguments], check=True,
                              env=ENVIRONMENT, capture_output=True, timeout=60).stdout

    def forgeries(self):
        proof = self.proofs[5]
        yield proof.replace(b"index 5", b"index 4"), b"entry 5"
        yield proof, b"entry 4"
        yield self.proofs[4], b"entry 5"
        at = proof.index(b"\n", 30) + 3
        yield proof[:at] + (b"A" if proof[at:at + 1] != b"A" else b"B") + proof[at + 1:], b"entry 5"
        yield proof.replace(b"\n\nfaults", b"\n\nothers"), b"entry 5"
        yield proof[:-12] + (b"A" if proof[-12:-11] != b"A" else b"B") + proof[-11:], b"entry 5"

    @unittest.skipIf(Ed25519PublicKey is None, "Python's cryptography is not installed")
    def test_a_verifier_from_the_specifications_agrees(self):
        for i, proof in enumerate(self.proofs):
            text = f"entry {i}".encode()
            self.assertEqual(verify_proof(proof, text, "faults.example/log", self.vkey), i)
        verify_note(self.write("checkpoint"), self.vkey)
        for proof, text in self.forgeries():
            with self.assertRaises((Untrue, ValueError)):
                verify_proof(proof, text, "faults.example/log", self.vkey)

    def test_gos_sumdb_agrees(self):
        if not shutil.which("go") or not pathlib.Path("/usr/share/gocode/src/golang.org/x/mod").exists():
            self.skipTest("golang-go or golang-golang-x-mod-dev is not installed")
        program = self.folder / "check_proof"
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                       "GOCACHE": str(self.folder / "cache"), "GOFLAGS": "", "CGO_ENABLED": "0"}
        subprocess.run(["go", "build", "-o", str(program), str(HERE / "check_proof.go")], check=True,
                       env=environment, timeout=280)
        cases = [(p, f"entry {i}".encode(), True) for i, p in enumerate(self.proofs)]
        cases += [(proof, text, False) for proof, text in self.forgeries()]
        for proof, text, good in cases:
            (self.folder / "entry").write_bytes(text)
            answer = subprocess.run([str(program), self.vkey, str(self.folder / "entry")],
                                    input=proof, capture_output=True, timeout=60)
            self.assertEqual(answer.returncode == 0, good, (proof, answer.stderr))


def statement_lines(text):
    """The key lines of a statement up to its context, and the context."""
    head, context = text.split(b"\ncontext\n", 1)
    return dict(line.split(b" ", 1) for line in head.split(b"\n")[1:]), context


def pcr_file(values):
    """PCRs 0 to 15 of SHA-256 as tpm2_quote writes them: C structures in little-endian order,
    TPML_PCR_SELECTION of 16 banks, then lists of 8 digests each."""
    out = struct.pack("<IHB4sx", 1, 0x000B, 3, b"\xff\xff\0\0").ljust(4 + 16 * 8, b"\0")
    out += struct.pack("<I", 2)
    for half in (values[:256], values[256:]):
        out += struct.pack("<I", 8)
        for i in range(8):
            out += struct.pack("<H64s", 32, half[32 * i:32 * i + 32])
    return out


class Quotes(unittest.TestCase):
    """Debian's tpm2_checkquote serves on good data, never as the judge: it accepts forged magic."""

    def setUp(self):
        for program in ("swtpm", "swtpm_setup", "tpm2_checkquote"):
            if not shutil.which(program):
                self.skipTest(f"{program} is not installed")
        if not harness.SERVER.exists():
            self.skipTest(f"{harness.SERVER} is not built")

    def run_host(self, folder):
        with harness.Tpm(folder / "tpm") as tpm, harness.Server(folder / "host", tpm) as server:
            self.assertEqual(server.terminate(), 0, server.log())
            return server.state / "log.db"

    def check(self, folder, ak, fields, extra):
        (folder / "quote.msg").write_bytes(base64.b64decode(fields[b"attest"]))
        (folder / "quote.sig").write_bytes(base64.b64decode(fields[b"signature"]))
        (folder / "quote.pcrs").write_bytes(pcr_file(base64.b64decode(fields[b"pcrs"])))
        (folder / "ak.pub").write_bytes(struct.pack(">H", len(ak)) + ak)  # TPM2B_PUBLIC
        return subprocess.run(
            ["tpm2_checkquote", "-u", folder / "ak.pub", "-m", folder / "quote.msg", "-s",
             folder / "quote.sig", "-f", folder / "quote.pcrs", "-g", "sha256", "-q", extra.hex()],
            capture_output=True, timeout=60)

    def test_tpm2_checkquote_accepts_the_quotes_of_our_log(self):
        with harness.folder() as folder:
            log = sqlite3.connect(f"file:{self.run_host(folder)}?mode=ro", uri=True)
            entries = [row[0] for row in log.execute("SELECT bytes FROM entry ORDER BY idx")]
            host = next(e for e in entries if e.startswith(b"blindllama-host/v1\n"))
            reference = re.search(rb"^ak-public \d+ ([0-9a-f]{64})$", host, re.M)[1].decode()
            ak = log.execute("SELECT bytes FROM blob WHERE sha256 = ?",
                             (bytes.fromhex(reference),)).fetchone()[0]
            log.close()
            kinds = (b"blindllama-quote/v1\n", b"blindllama-stop/v1\n")
            quotes = [e for e in entries if e.startswith(kinds)]
            self.assertEqual(len(quotes), 2)
            for entry in quotes:
                fields, context = statement_lines(entry)
                extra = hashlib.sha256(context).digest()
                answer = self.check(folder, ak, fields, extra)
                self.assertEqual(answer.returncode, 0, answer.stderr)
                answer = self.check(folder, ak, fields, hashlib.sha256(context + b"x").digest())
                self.assertNotEqual(answer.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
