"""A machine boots real firmware (OVMF under software emulation) on a software TPM: its event log replays
to what that TPM quotes, and explains the boot PCRs of a host to a client.

About half a minute. What is missing (QEMU, OVMF, swtpm, tpm2-tools) skips it.
"""

import json
import subprocess
import sys
import unittest

import firmware
import harness

AUDIT = harness.PROGRAMS / "blindllama-audit"
CLIENT = harness.PROGRAMS / "blindllama"
NONCE = "0123456789abcdef" * 4
BOOT_PCRS = [str(i) for i in range(13)]


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


class Firmware(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = cls.enterClassContext(harness.folder())
        cls.tpm = cls.enterClassContext(harness.Tpm(cls.path / "tpm"))
        cls.log = cls.path / "log.bin"
        cls.log.write_bytes(firmware.boot(cls.tpm, cls.path / "machine"))

    def tool(self, *words):
        code, out, err = run(*words, "-T", self.tpm.tcti)
        self.assertEqual(code, 0, f"{words[0]}: {err}")
        return out

    def audit(self, *words, code=0):
        got, out, err = run(AUDIT, *words)
        self.assertEqual(got, code, out + err)
        return out

    def quote(self, ak):
        """By tpm2-tools; what blindllama-audit says of it."""
        at = self.path
        self.tool("tpm2_createek", "-c", at / "ek.ctx", "-G", "ecc", "-u", at / "ek.pub")
        self.tool("tpm2_createak", "-C", at / "ek.ctx", "-c", at / "ak.ctx", "-G", ak[0], "-g",
                  "sha256", "-s", ak[1], "-u", at / "ak.pub")
        self.tool("tpm2_flushcontext", "-t")
        self.tool("tpm2_quote", "-c", at / "ak.ctx", "-l", "sha256:" + ",".join(BOOT_PCRS), "-q",
                  NONCE, "-m", at / "attest", "-s", at / "signature", "-o", at / "pcrs", "-g",
                  "sha256", "--scheme", ak[1])
        self.tool("tpm2_flushcontext", "-t")
        return json.loads(self.audit(*self.quote_words(NONCE), "--json"))

    def quote_words(self, nonce):
        at = self.path
        return ["quote", "--ak", at / "ak.pub", "--attest", at / "attest", "--signature",
                at / "signature", "--pcrs", at / "pcrs", "--bank", "sha256", "--select",
                ",".join(BOOT_PCRS), "--nonce", nonce]

    def test_the_log_replays_to_what_the_tpm_quotes(self):
        replayed = json.loads(self.audit("eventlog", self.log, "--json"))
        self.assertGreater(replayed["events"], 15)
        values = replayed["pcrs"]["sha256"]
        self.assertEqual(sorted(values), [str(i) for i in range(8)])
        for ak in (("ecc", "ecdsa"), ("rsa", "rsassa"), ("rsa", "rsapss")):
            with self.subTest(ak=ak):
                quoted = self.quote(ak)
                self.assertEqual(quoted["outcome"], "true")
                self.assertEqual(quoted["scheme"], ak[1])
                self.assertEqual(quoted["pcrs"],
                                 {i: values.get(i, "00" * 32) for i in BOOT_PCRS})
                self.audit(*self.quote_words(NONCE[2:] + NONCE[:2]), code=1)

    def test_tpm2_tools_read_the_same(self):
        code, out, err = run("tpm2_eventlog", self.log)
        self.assertEqual(code, 0, err)
        values = json.loads(self.audit("eventlog", self.log, "--json"))["pcrs"]["sha256"]
        theirs = {}
        for line in out[out.index("\npcrs:"):].splitlines():
            words = line.split(":")
            if len(words) == 2 and words[1].strip().startswith("0x"):
                theirs[words[0].strip()] = words[1].strip()[2:]
        self.assertEqual(theirs, values)

    def test_the_log_explains_the_boot_to_a_client(self):
        options = ["--event-log", self.log]
        policy = self.path / "policy"
        code, out, err = harness.run_server(
            "--model", harness.MODEL, "--state", self.path / "host/state", "--origin",
            harness.ORIGIN, *self.tpm.options(), *options, "--print-policy", "test")
        self.assertEqual(code, 0, err)
        lines = out.splitlines()
        events = [line for line in lines if line.startswith("boot-event ")]
        golden = [line for line in lines if not line.startswith("boot-event ")]
        self.assertEqual({line.split()[1] for line in events}, set("0123456"))
        self.assertEqual([line.split()[1] for line in golden if line.startswith("boot-pcr ")],
                         ["7", "8", "9", "10", "11", "12"])
        audited = self.audit("eventlog", self.log, "--policy-lines").splitlines()
        self.assertEqual([line for line in audited if line.startswith("boot-event ")
                          and not line.startswith("boot-event 7 ")], events)
        with harness.Server(self.path / "host", self.tpm, *options) as server:
            url = f"https://127.0.0.1:{server.port}"
            policy.write_text("\n".join([*golden, *events]) + "\n")
            code, out, err = run(CLIENT, "verify", url, "--policy", policy)
            self.assertEqual(code, 0, out + err)
            self.assertIn("that allowed events explain: 0, 1, 2, 3, 4, 5, 6", " ".join(out.split()))
            # The last event of PCR 4 is the shell that was started.
            shell = [line for line in events if line.startswith("boot-event 4 ")][-1]
            events.remove(shell)
            policy.write_text("\n".join([*golden, *events]) + "\n")
            code, out, err = run(CLIENT, "verify", url, "--policy", policy)
            self.assertEqual(code, 1, out + err)
            self.assertIn(shell.split()[-1], "".join(out.split()))
            self.assertEqual(server.terminate(), 0, server.log())


if __name__ == "__main__":
    missing = firmware.missing() + [str(p) for p in (AUDIT, CLIENT) if not p.exists()]
    if missing:
        print("skipped, missing:", ", ".join(missing))
        sys.exit(77)
    harness.main()
