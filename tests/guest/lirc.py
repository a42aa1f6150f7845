"""In the guest: a program decodes what an infrared receiver gets, and is gone afterwards."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import time

from test_sections import made

from bombus.asm import assemble
from bombus.kernel.handles import Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.spec.helpers import HELPER

DEVICE = "/dev/lirc0"  # of rc-loopback, which receives what it sends
# include/uapi/linux/lirc.h
SET_REC_MODE, MODE_SCANCODE = 0x40046912, 8
PROTOCOL = 64
# Pulses are keys of a remote control of our own: each one's microseconds.
DECODER = f"""
    r7 = *(u32 *)(r1 + 0)
    r2 = r7
    r2 >>= 24
    if r2 != 1 goto out
    r2 = {PROTOCOL}
    r3 = r7
    r3 &= 0xffff
    r4 = 0
    call {HELPER["rc_keydown"].id}
out:
    r0 = 0
    exit
"""


def keys(sent: list[int]) -> list[int]:
    """Scancodes that the receiver reports for pulses."""
    reader = os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(DEVICE, os.O_WRONLY)
    try:
        fcntl.ioctl(reader, SET_REC_MODE, struct.pack("=I", MODE_SCANCODE))
        found = []
        for pulse in sent:
            os.write(writer, struct.pack("=I", pulse))
            if select.select([reader], [], [], 1.0)[0]:
                # struct lirc_scancode: time, flags, protocol, key code, scancode
                found += [row[4] for row in struct.iter_unpack("=QHHIQ", os.read(reader, 24 * 16)) if row[2]]
        return found
    finally:
        os.close(reader)
        os.close(writer)


def test_a_decoder() -> None:
    kernel = LinuxKernel()
    assert keys([0x1234]) == []
    with Program.load(kernel, "lirc_mode2", assemble(DECODER).insns, license="GPL", name="decoder") as program:
        with program.attach_lirc(DEVICE) as link:
            assert link.info()["device"] == DEVICE
            assert keys([0x1234, 0x777]) == [0x1234, 0x777]
        assert keys([0x1234]) == []
        # Several may be attached; each is undone by itself, also when its program is closed before.
        other = Program.load(kernel, "lirc_mode2", assemble(DECODER).insns, license="GPL", name="other")
        first, second = program.attach_lirc(DEVICE), other.attach_lirc(DEVICE)
        other.close()
        second.close()
        assert keys([0x55]) == [0x55]
        first.close()
        assert keys([0x55]) == []


def test_the_section() -> None:
    with load(made("lirc_mode2"), LinuxKernel()) as item, item.programs["it"].attach(DEVICE) as link:
        assert link.type == "lirc"


def test_a_decoder_of_a_killed_process() -> None:
    kernel = LinuxKernel()
    with Program.load(kernel, "lirc_mode2", assemble(DECODER).insns, license="GPL", name="decoder") as program:
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            held = program.attach_lirc(DEVICE)
            os.write(told, b"x")
            signal.pause()
            held.close()
        assert os.read(ready, 1) == b"x" and keys([0x55]) == [0x55]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        end = time.monotonic() + 60
        while keys([0x55]) and time.monotonic() < end:
            time.sleep(0.05)
        assert keys([0x55]) == []
