"""blindllama-log as a running program, and the programs that ask about it, for the end-to-end tests that need a
service or a witness."""

import http.client
import signal
import subprocess
import time

import harness

LOG = harness.PROGRAMS / "blindllama-log"
CLIENT = harness.PROGRAMS / "blindllama"
AUDIT = harness.PROGRAMS / "blindllama-audit"


def run(program, *words):
    """Its exit code, and all that it printed."""
    done = subprocess.run([str(program), *[str(w) for w in words]], capture_output=True, text=True,
                          timeout=120)
    return done.returncode, done.stdout + done.stderr


def until(condition, seconds=60):
    """Whether it came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class Program:
    """A serving blindllama-log, until its end."""

    def __init__(self, path, *words):
        self.out = path / f"{words[0]}-{time.monotonic_ns()}.txt"
        self.err = self.out.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen([str(LOG), *[str(w) for w in words]], stdout=out,
                                            stderr=err)
        end = time.monotonic() + 40
        while "listening on " not in self.out.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"it does not listen: {self.process.poll()} {self.err.read_text()}")
            time.sleep(0.02)
        self.url = self.out.read_text().split("listening on ")[1].strip()
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(40)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)

    def get(self, path):
        c = http.client.HTTPSConnection("127.0.0.1", self.port, context=harness.tls_context(),
                                        timeout=30)
        c.request("GET", path)
        answer = c.getresponse()
        body = answer.read()
        c.close()
        return answer.status, body
