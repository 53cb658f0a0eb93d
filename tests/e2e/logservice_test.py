"""blindllama-log as people use it: a host's log served, witnessed by two witnesses, proven, exported,
and every byte of it verified again by an implementation from the specifications alone (below)."""

import base64
import hashlib
import http.client
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

import harness
from harness import Server, Tpm, folder, leaf_hash, tree_hash
from logservice import LOG, Program

DASH = "\u2014 "


def run(*words, **more):
    done = subprocess.run([str(LOG), *[str(w) for w in words]], capture_output=True, text=True,
                          timeout=60, **more)
    return done.returncode, done.stdout, done.stderr


class Key:
    """A vkey, taken apart as C2SP's signed-note says."""

    def __init__(self, vkey):
        self.name, key_id, coded = vkey.split("+", 2)
        raw = base64.b64decode(coded)
        self.type, self.public = raw[0], raw[1:]
        digest = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()
        assert digest[:4].hex() == key_id, "the key's id"
        self.id = digest[:4]

    def signs(self, path, message, signature):
        """Ed25519, by the openssl program."""
        der = bytes.fromhex("302a300506032b6570032100") + self.public
        (path / "key.der").write_bytes(der)
        (path / "message").write_bytes(message)
        (path / "signature").write_bytes(signature)
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey",
                               path / "key.der", "-rawin", "-in", path / "message", "-sigfile",
                               path / "signature"], capture_output=True).returncode == 0


def check_note(path, note, log, witnesses):
    """The checkpoint of a signed note; each of the witnesses must have cosigned it."""
    text, lines = note.rsplit("\n\n", 1)
    text = (text + "\n").encode()
    signatures = {}
    for line in lines.splitlines():
        name, coded = line.removeprefix(DASH).split(" ")
        raw = base64.b64decode(coded)
        signatures[(name, raw[:4])] = raw[4:]
    assert log.type == 1 and log.signs(path, text, signatures[(log.name, log.id)]), "the log"
    for w in witnesses:
        raw = signatures[(w.name, w.id)]
        assert w.type == 4 and len(raw) == 72
        seconds = int.from_bytes(raw[:8], "big")
        assert abs(seconds - time.time()) < 600
        message = f"cosignature/v1\ntime {seconds}\n".encode() + text
        assert w.signs(path, message, raw[8:]), w.name
    origin, size, root = text.decode().splitlines()
    assert origin == log.name
    return int(size), base64.b64decode(root)


def inclusion_root(leaf, index, size, proof):
    """RFC 9162, 2.1.3.2, by recursion over the tree's halves."""
    if size == 1:
        assert not proof
        return leaf
    k = 1 << ((size - 1).bit_length() - 1)
    if index < k:
        left = inclusion_root(leaf, index, k, proof[:-1])
        return hashlib.sha256(b"\1" + left + proof[-1]).digest()
    right = inclusion_root(leaf, index - k, size - k, proof[:-1])
    return hashlib.sha256(b"\1" + proof[-1] + right).digest()


def bundle_of(entries):
    return b"".join(len(e).to_bytes(2, "big") + e for e in entries)


def check_proof(path, text, entry, log, witnesses):
    """A tlog-proof@v1; returns the index."""
    head, note = text.split("\n\n", 1)
    first, index, *hashes = head.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    size, root = check_note(path, note, log, witnesses)
    index = int(index.removeprefix("index "))
    assert inclusion_root(leaf_hash(entry), index, size,
                          [base64.b64decode(h) for h in hashes]) == root
    return index


class Usage(unittest.TestCase):
    def setUp(self):
        self.path = self.enterContext(folder())

    def test_every_command_explains_itself(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        for command in ("init", "serve", "checkpoint", "prove", "fsck", "export", "snapshot", "witness"):
            self.assertIn(f"  {command} ", out)
            code, text, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("Usage:", text)
        self.assertEqual(run()[0], 2)
        self.assertEqual(run("wibble")[0], 2)
        self.assertEqual(run("prove")[0], 2)
        self.assertEqual(run("fsck", "too", "many")[0], 2)

    def test_a_new_log_is_made_once_and_is_whole(self):
        db, key = self.path / "log.db", self.path / "log.key"
        code, vkey, err = run("init", "e2e.test/new", "--db", db, "--key", key)
        self.assertEqual(code, 0, err)
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        log = Key(vkey.strip())
        self.assertEqual(run("fsck", "--db", db, "--key", vkey.strip())[0], 0)
        code, note, _ = run("checkpoint", "--db", db)
        self.assertEqual(check_note(self.path, note, log, [])[0], 0)
        code, _, err = run("init", "e2e.test/new", "--db", db, "--key", key)
        self.assertEqual(code, 2)
        self.assertIn("is there already", err)
        code, _, err = run("prove", "0", "--db", db)
        self.assertEqual(code, 2)
        self.assertEqual(run("fsck", "--db", self.path / "none.db")[0], 2)

    def test_a_witness_begins_only_when_asked_to(self):
        db, key = self.path / "log.db", self.path / "log.key"
        vkey = run("init", "e2e.test/w", "--db", db, "--key", key)[1].strip()
        logs = self.path / "logs.policy"
        logs.write_text(f"log {vkey}\nquorum none\n")
        words = ("witness", "--db", self.path / "w.db", "--key", self.path / "w.key", "--name",
                 "e2e.test/witness", "--logs", logs, "--listen", ":0")
        code, _, err = run(*words)
        self.assertEqual(code, 2)
        with Program(self.path, *words, "--init") as w:
            self.assertIn("key e2e.test/witness+", w.out.read_text())
            self.assertEqual(w.get("/monitor/" + "0" * 64 + "/checkpoint")[0], 404)
            code, _, err = run(*words)  # a second process on one state
            self.assertEqual(code, 2)
            self.assertIn("another process holds", err)
            self.assertEqual(w.stop(), 0)
        with Program(self.path, *words) as w:
            self.assertEqual(w.stop(), 0)
        lost = self.path / "w.lost"
        (self.path / "w.db").rename(lost)
        for more in ([], ["--init"]):  # its key has cosigned what a new state would not know
            code, _, err = run(*words, *more)
            self.assertEqual(code, 2)
            self.assertFalse((self.path / "w.db").exists())
        self.assertIn("Put the state back", err)
        lost.rename(self.path / "w.db")
        self.assertEqual(run("witness", "--name", "x")[0], 2)
        logs.write_text("quorum none\n")
        self.assertIn("names no log", run(*words)[2])


class Service(unittest.TestCase):
    """One host's log at two sizes: `small` is the past of `large`."""

    @classmethod
    def setUpClass(cls):
        cls.base = cls.enterClassContext(folder())
        tpm = cls.enterClassContext(Tpm(cls.base / "tpm"))
        for name in ("small", "large"):
            with Server(cls.base / "host", tpm, "--quote-interval", "1") as server:
                time.sleep(2.5)
                assert server.terminate() == 0, server.log()
            shutil.copy(cls.base / "host/state/log.db", cls.base / f"{name}.db")
        cls.key = cls.base / "host/state/log.key"
        with sqlite3.connect(cls.base / "large.db") as db:
            cls.entries = [row[0] for row in db.execute("SELECT bytes FROM entry ORDER BY idx")]

    def setUp(self):
        self.path = self.enterContext(folder())
        self.db = self.path / "log.db"
        shutil.copy(self.base / "small.db", self.db)
        self.vkey = self.read_vkey()
        self.witnesses = []

    def read_vkey(self):
        with sqlite3.connect(self.db) as db:
            return db.execute("SELECT vkey FROM meta").fetchone()[0]

    def start_witness(self, number, listen=":0", init=True):
        logs = self.path / "logs.policy"
        logs.write_text(f"log {self.vkey}\nquorum none\n")
        words = ["witness", "--db", self.path / f"w{number}.db", "--key", self.path / f"w{number}.key",
                 "--name", f"e2e.test/witness-{number}", "--logs", logs, "--listen", listen]
        return self.enterContext(Program(self.path, *words, *(["--init"] if init else [])))

    def write_policy(self, programs, quorum="all"):
        text = f"log {self.vkey}\n"
        self.witnesses = []
        for i, w in enumerate(programs):
            vkey = w.out.read_text().split("key ")[1].split("\n")[0]
            self.witnesses.append(Key(vkey))
            text += f"witness w{i} {vkey} {w.url}\n"
        names = " ".join(f"w{i}" for i in range(len(programs)))
        self.policy = self.path / "witnesses.policy"
        self.policy.write_text(text + f"group q {quorum} {names}\nquorum q\n")

    def serve(self, *more):
        return Program(self.path, "serve", "--db", self.db, "--key", self.key, "--witnesses",
                       self.policy, "--listen", ":0", *more)

    def test_a_log_is_witnessed_proven_and_exported(self):
        log = Key(self.vkey)
        w = [self.start_witness(0), self.start_witness(1)]
        self.write_policy(w)
        code, _, err = run("checkpoint", "--db", self.db, "--witnesses", self.policy)
        self.assertEqual(code, 2, "nobody has cosigned yet")
        self.assertIn("quorum", err)
        site = self.path / "site"
        sizes = []
        for name in ("small", "large"):
            if name == "large":  # the log goes on from the cosigned copy's past
                self.db = self.path / "large.db"
                shutil.copy(self.base / "large.db", self.db)
            with self.serve() as s:
                status, note = s.get("/checkpoint")
                self.assertEqual(status, 200)
                size, root = check_note(self.path, note.decode(), log, self.witnesses)
                sizes.append(size)
                leaves = [leaf_hash(e) for e in self.entries[:size]]
                self.assertEqual(tree_hash(leaves), root)
                self.assertEqual(s.get(f"/tile/0/000.p/{size}"), (200, b"".join(leaves)))
                for _ in range(2):  # read from the log, then from memory
                    self.assertEqual(s.get(f"/tile/entries/000.p/{size}"), (200, bundle_of(self.entries[:size])))
                self.assertEqual(s.get("/tile/0/001")[0], 404)
                for i in range(size):
                    status, text = s.get(f"/proof/{i}")
                    self.assertEqual(status, 200)
                    self.assertEqual(check_proof(self.path, text.decode(), self.entries[i], log,
                                                 self.witnesses), i)
                for wrong in (str(size), "-1", "01", "", "x", "0/", str(2**64)):
                    self.assertEqual(s.get("/proof/" + wrong)[0], 404, wrong)
                self.assertEqual(s.stop(), 0, s.err.read_text())
            for i in range(size):
                code, text, err = run("prove", i, "--db", self.db, "--witnesses", self.policy)
                self.assertEqual(code, 0, err)
                self.assertEqual(check_proof(self.path, text, self.entries[i], log, self.witnesses), i)
            code, out, err = run("export", site, "--db", self.db, "--witnesses", self.policy)
            self.assertEqual(code, 0, err)
            self.assertEqual((site / "checkpoint").read_bytes(), note)
            self.assertEqual((site / f"tile/0/000.p/{size}").read_bytes(), b"".join(leaves))
            self.assertEqual((site / f"tile/entries/000.p/{size}").read_bytes(),
                             bundle_of(self.entries[:size]))
            for blob in (site / "blob").iterdir():
                self.assertEqual(hashlib.sha256(blob.read_bytes()).hexdigest(), blob.name)
            self.assertIn("written 0", run("export", site, "--db", self.db, "--witnesses", self.policy)[1])
            self.assertEqual(run("fsck", "--db", self.db, "--key", self.vkey)[0], 0)
        self.assertLess(sizes[0], sizes[1])
        code, _, err = run("export", site, "--db", self.path / "log.db", "--witnesses", self.policy)
        self.assertEqual(code, 1, "an older copy does not go over a newer export")
        digest = hashlib.sha256(log.name.encode()).hexdigest()
        for program in w:
            status, note = program.get(f"/monitor/{digest}/checkpoint")
            self.assertEqual(status, 200)
            self.assertEqual(check_note(self.path, note.decode(), log, [])[0], sizes[1])

    def test_a_log_that_was_put_back_is_not_served(self):
        w = [self.start_witness(0)]
        self.write_policy(w)
        small = self.db
        self.db = self.path / "large.db"
        shutil.copy(self.base / "large.db", self.db)
        with self.serve() as s:
            self.assertEqual(s.stop(), 0)
        self.db = small
        code, _, err = run("serve", "--db", self.db, "--key", self.key, "--witnesses", self.policy,
                           "--listen", ":0")
        self.assertEqual(code, 1, err)
        self.assertIn("an older copy was put in its place", err)

    def test_a_quorum_is_met_without_the_witness_that_is_down(self):
        w = [self.start_witness(0), self.start_witness(1)]
        self.write_policy(w, quorum="1")
        w[1].stop(signal.SIGKILL)
        with self.serve() as s:
            self.assertEqual(s.get("/checkpoint")[0], 200)
            self.assertIn("witness 'w1'", s.err.read_text())
        self.write_policy(w, quorum="all")
        with self.serve() as s:
            self.assertEqual(s.get("/checkpoint")[0], 404)
            port = w[1].port
            self.start_witness(1, listen=f":{port}", init=False)
            end = time.monotonic() + 90
            while s.get("/checkpoint")[0] != 200:
                self.assertLess(time.monotonic(), end, s.err.read_text())
                time.sleep(0.1)

    def test_a_snapshot_is_the_log_and_damage_is_found(self):
        copy = self.path / "copy.db"
        self.assertEqual(run("snapshot", copy, "--db", self.db)[0], 0)
        self.assertEqual(run("fsck", "--db", copy)[1], run("fsck", "--db", self.db)[1])
        self.assertEqual(run("snapshot", copy, "--db", self.db)[0], 2)
        data = bytearray(copy.read_bytes())
        at = data.find(self.entries[0])
        data[at + 30] ^= 1
        copy.write_bytes(data)
        code, _, err = run("fsck", "--db", copy)
        self.assertEqual(code, 1, err)
        other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        self.assertEqual(run("fsck", "--db", self.db, "--key", other)[0], 1)

    def test_a_log_is_served_by_one_process_and_without_a_policy_only_read(self):
        self.write_policy([self.start_witness(0)])
        with self.serve() as s:
            code, _, err = run("serve", "--db", self.db, "--key", self.key, "--listen", ":0")
            self.assertEqual(code, 2)
            self.assertIn("another process holds the log", err)
            self.assertEqual(s.get("/nothing")[0], 404)
            c = http.client.HTTPSConnection("127.0.0.1", s.port, context=harness.tls_context(),
                                            timeout=30)
            for path in ("/submit", "/submit/challenge", "/submit/answer"):
                c.request("POST", path, body=b"{}")
                answer = c.getresponse()
                answer.read()
                self.assertEqual(answer.status, 403)
            c.close()


if __name__ == "__main__":
    if not LOG.exists() or not shutil.which("openssl"):
        print("skipped, missing:", LOG, "or openssl")
        sys.exit(77)
    harness.main()
