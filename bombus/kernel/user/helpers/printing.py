"""bpf_trace_printk, bpf_trace_vprintk, bpf_snprintf. Linux 6.12 kernel/trace/bpf_trace.c, kernel/bpf/helpers.c."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

from bombus.errors import VmFault
from bombus.kernel.user.helpers.bprintf import parse, render
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

MAX_ARGS: Final = 12  # MAX_BPRINTF_VARARGS
_LINE: Final = 1024  # MAX_BPRINTF_BUF


def reader(env: ProgEnv) -> object:
    """Nofault reads of a program's memory."""
    memory = env.memory

    def read(address: int, size: int) -> bytes | None:
        try:
            return memory.read(address, size)
        except VmFault:
            return None

    return read


def symbol(address: int) -> str:
    return f"0x{address:x}"  # no kernel symbols here; %ps of an unknown address prints the number


def format_text(env: ProgEnv, form: bytes, args: Sequence[int], room: int = _LINE) -> bytes | int:
    """The text of a format that may hold its zero byte anywhere (none: -EINVAL); `room`: bytes where it shall go."""
    text, zero, _ = form.partition(b"\0")
    if not zero:
        return -errno.EINVAL
    parts = parse(text, len(args))
    if isinstance(parts, int):
        return parts
    return render(parts, args, reader(env), symbol, room)  # type: ignore[arg-type]


def _print(env: ProgEnv, form: bytes, args: Sequence[int]) -> int:
    text = format_text(env, form, args)
    if isinstance(text, int):
        return text
    text = text[: _LINE - 1]
    line = text.partition(b"\0")[0]  # %c of 0 ends the line, not the count
    env.kernel.add_printk(line.decode(errors="replace").removesuffix("\n"))
    return len(text)


@helper("trace_printk")
def trace_printk(env: ProgEnv, form: int, size: int, a: int, b: int, c: int) -> int:
    return _print(env, env.memory.read(form, size & 0xFFFF_FFFF), (a, b, c))


@helper("trace_vprintk")
def trace_vprintk(env: ProgEnv, form: int, size: int, args: int, length: int) -> int:
    numbers = arguments(env, args, length)
    return numbers if isinstance(numbers, int) else _print(env, env.memory.read(form, size & 0xFFFF_FFFF), numbers)


def arguments(env: ProgEnv, address: int, length: int) -> Sequence[int] | int:
    """The u64 array of a vprintk-like helper, or -EINVAL."""
    length &= 0xFFFF_FFFF
    if length % 8 or length > MAX_ARGS * 8 or (length and not address):
        return -errno.EINVAL
    return struct.unpack(f"<{length // 8}Q", env.memory.read(address, length)) if length else ()


@helper("snprintf")
def snprintf(env: ProgEnv, out: int, size: int, form: int, args: int, length: int) -> int:
    numbers = arguments(env, args, length)
    if isinstance(numbers, int):
        return numbers
    # The verifier makes sure that the format is a constant string of a read-only map.
    size &= 0xFFFF_FFFF
    text = format_text(env, _c_string(env, form), numbers, size)
    if isinstance(text, int):
        return text
    if size:
        env.memory.write(out, text[: size - 1] + b"\0")
    return len(text) + 1


def _c_string(env: ProgEnv, address: int) -> bytes:
    out = bytearray()
    while True:
        byte = env.memory.read(address + len(out), 1)
        out += byte
        if byte == b"\0":
            return bytes(out)
