"""A machine that boots OVMF with a software TPM, and the event log that its firmware leaves.

QEMU wants to own its TPM: it hands swtpm a data socket through the control socket, and nobody else is
heard until it ends. So QEMU is given a relay instead. Once the machine is killed, the TPM is as the
boot left it, for others to quote.
"""

import array
import contextlib
import json
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

CODE = pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
QEMU = "qemu-system-x86_64"
MEMORY_MIB = 128
BOOT_S = 180  # software emulation on a busy machine

# swtpm's control commands (tpm_ioctl.h): u32 big-endian, then the command's own bytes.
CMD_SHUTDOWN, CMD_SET_DATAFD = 3, 16


def missing():
    """What this machine lacks, as words."""
    lacks = [str(p) for p in (CODE, VARIABLES) if not p.exists()]
    return lacks + [p for p in (QEMU,) if not shutil.which(p)]


class Relay(threading.Thread):
    """Between QEMU and the sockets of swtpm."""

    def __init__(self, path, tpm):
        super().__init__(daemon=True)
        self.path = str(path)
        self.control_to = str(tpm.path / "swtpm.sock.ctrl")
        self.data_to = str(tpm.path / "swtpm.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.start()

    def run(self):
        qemu, _ = self.listener.accept()
        with qemu, connect(self.control_to) as control:
            while True:
                message, fds = receive_with_fds(qemu)
                if not message:
                    return
                command = struct.unpack(">I", message[:4])[0]
                if command == CMD_SET_DATAFD:
                    threading.Thread(target=self.carry, args=(fds[0],), daemon=True).start()
                if command in (CMD_SET_DATAFD, CMD_SHUTDOWN):  # the TPM outlives the machine
                    qemu.sendall(struct.pack(">I", 0))
                    continue
                control.sendall(message)
                qemu.sendall(control.recv(4096))

    def carry(self, fd):
        """TPM commands and answers, until the machine ends."""
        with socket.socket(fileno=fd) as machine, connect(self.data_to) as tpm:
            other = {machine: tpm, tpm: machine}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    data = ready.recv(8192)
                    if not data:
                        return
                    other[ready].sendall(data)


def connect(path):
    to = socket.socket(socket.AF_UNIX)
    to.connect(path)
    return to


def receive_with_fds(sock):
    try:
        message, ancillary, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(4))
    except ConnectionError:
        return b"", []
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data)
    return message, list(fds)


def command_line(folder):
    variables = folder / "variables.fd"
    shutil.copy(VARIABLES, variables)
    return [QEMU, "-machine", "q35", "-accel", "tcg", "-m", str(MEMORY_MIB), "-display", "none",
            "-nodefaults", "-serial", f"file:{folder}/serial",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={CODE}",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}",
            "-chardev", f"socket,id=tpm,path={folder}/relay",
            "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm",
            "-qmp", f"unix:{folder}/qmp,server=on,wait=off"]


def wait_for_shell(folder, process):
    """With no disk to boot from, the firmware ends in its shell."""
    serial = folder / "serial"
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the machine ended: {(folder / 'qemu.txt').read_text()}")
        if serial.exists() and b"Shell>" in serial.read_bytes():
            return
        time.sleep(0.2)
    raise RuntimeError(f"no shell within {BOOT_S} s: {serial.read_bytes()[-300:]!r}")


def save_memory(folder):
    """The machine's memory, through QEMU's monitor."""
    path = folder / "memory"
    with connect(str(folder / "qmp")) as monitor, monitor.makefile("rw") as stream:
        stream.readline()
        for command in ({"execute": "qmp_capabilities"},
                        {"execute": "pmemsave", "arguments": {
                            "val": 0, "size": MEMORY_MIB << 20, "filename": str(path)}}):
            stream.write(json.dumps(command) + "\n")
            stream.flush()
            while True:
                answer = json.loads(stream.readline())
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                if "return" in answer:
                    break
    return path.read_bytes()


HEADER = struct.pack("<II20x", 0, 3)  # PCR 0, EV_NO_ACTION, no digest
SIGNATURE = b"Spec ID Event03\0"


def events_of(memory, at):
    """The log that begins at that header, without the empty space behind it; b"" if none does."""
    size, = struct.unpack_from("<I", memory, at + 28)
    n, = struct.unpack_from("<I", memory, at + 32 + 24)
    if not 33 <= size <= 256 or not 1 <= n <= 5:
        return b""
    lengths = dict(struct.unpack_from("<HH", memory, at + 32 + 28 + 4 * i) for i in range(n))
    end = at + 32 + size
    while True:
        record = end
        _, _, digests = struct.unpack_from("<III", memory, record)
        record += 12
        for _ in range(digests if digests == n else 0):
            record += 2 + lengths.get(struct.unpack_from("<H", memory, record)[0], 0)
        if digests != n:
            return memory[at:end]
        end = record + 4 + struct.unpack_from("<I", memory, record)[0]


def find_log(memory):
    """OVMF keeps its log in memory of its own, for EFI_TCG2_PROTOCOL.GetEventLog; that is the longest
    of what looks like one."""
    found, at = b"", memory.find(SIGNATURE)
    while at >= 0:
        start = at - len(HEADER) - 4
        if start >= 0 and memory[start:start + len(HEADER)] == HEADER:
            found = max(found, events_of(memory, start), key=len)
        at = memory.find(SIGNATURE, at + 1)
    if not found:
        raise RuntimeError("no event log in the machine's memory")
    return found


def boot(tpm, folder):
    """Boots a machine on that TPM to the firmware's shell and kills it; its event log."""
    folder.mkdir()
    relay = Relay(folder / "relay", tpm)
    with open(folder / "qemu.txt", "wb") as output:
        process = subprocess.Popen(command_line(folder), stdout=output, stderr=output)
    with contextlib.ExitStack() as stack:
        stack.callback(relay.listener.close)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_for_shell(folder, process)
        memory = save_memory(folder)
    return find_log(memory)
