"""The formats that bpf_trace_printk, bpf_snprintf and bpf_seq_printf know, and what they make of them.

Source of rules and errnos: Linux 6.12 kernel/bpf/helpers.c bpf_bprintf_prepare, lib/vsprintf.c bstr_printf.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bombus.bits import s32, s64

MAX_BIN_ARGS: Final = 512  # MAX_BPRINTF_BIN_ARGS
_SPACES: Final = frozenset(b" \t\n\v\f\r\xa0")  # the kernel's isspace is Latin-1
_PUNCT: Final = frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_FLAGS: Final = frozenset(b"0+- ")
_DIGITS: Final = frozenset(b"0123456789")

Reader = Callable[[int, int], bytes | None]
"""(address, size) -> bytes, None when they cannot be read."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One conversion. kind: "d", "u", "x", "X", "c", "s", "p", "pK", "px", "ps", "pS", "pB", "pi4", ..."""

    kind: str
    bits: int = 32
    zero: bool = False
    plus: bool = False
    left: bool = False
    space: bool = False
    width: int = 0


def parse(form: bytes, count: int) -> list[bytes | Spec] | int:
    """A format without its zero byte as literal bytes and conversions, or a negative errno.

    count: how many arguments there are; a conversion without one is -EINVAL.
    """
    out: list[bytes | Spec] = []
    literal = bytearray()
    used = at = 0
    end = len(form)
    text = form + b"\0\0\0"
    while at < end:
        byte = text[at]
        if byte < 0x80 and not 0x20 <= byte < 0x7F and byte not in _SPACES:
            return -errno.EINVAL
        if byte != 0x25:
            literal.append(byte)
            at += 1
            continue
        if text[at + 1] == 0x25:
            literal.append(0x25)
            at += 2
            continue
        if used >= count:
            return -errno.EINVAL
        found = _conversion(text, at + 1)
        if found is None:
            return -errno.EINVAL
        if literal:
            out.append(bytes(literal))
            literal.clear()
        spec, at = found
        out.append(spec)
        used += 1
    if literal:
        out.append(bytes(literal))
    return out


def _conversion(text: bytes, at: int) -> tuple[Spec, int] | None:
    flags = set()
    while text[at] in _FLAGS:
        flags.add(text[at])
        at += 1
    start = at
    if text[at] in _DIGITS and text[at] != 0x30:
        while text[at] in _DIGITS:
            at += 1
    width = min(int(text[start:at] or b"0"), 1 << 15)

    def spec(kind: str, bits: int = 32) -> Spec:
        return Spec(kind, bits, 0x30 in flags, 0x2B in flags, 0x2D in flags, 0x20 in flags, width)

    char = chr(text[at])
    if char == "p":
        return _pointer(text, at, spec)
    if char == "s":
        return (spec("s"), at + 1) if _ends(text[at + 1]) else None
    if char == "c":
        return spec("c"), at + 1
    bits = 32
    for _ in range(2):
        if text[at] == 0x6C:
            bits = 64
            at += 1
    kind = {"i": "d", "d": "d", "u": "u", "x": "x", "X": "X"}.get(chr(text[at]))
    return None if kind is None else (spec(kind, bits), at + 1)


def _ends(byte: int) -> bool:
    return byte == 0 or byte in _SPACES or byte in _PUNCT


def _pointer(text: bytes, at: int, spec: Callable[..., Spec]) -> tuple[Spec, int] | None:
    after = chr(text[at + 1])
    if _ends(text[at + 1]):
        return spec("p", 64), at + 1
    if after in "ku" and text[at + 2] == 0x73:
        return (spec("s"), at + 3) if _ends(text[at + 3]) else None
    if after in "KxsSB":
        return spec("p" + after, 64), at + 2
    if after in "iI" and chr(text[at + 2]) in "46":
        return spec(f"p{after}{chr(text[at + 2])}"), at + 3
    return None


def render(
    parts: Sequence[bytes | Spec], args: Sequence[int], read: Reader, symbol: Callable[[int], str],
    room: int = 1 << 30,
) -> bytes | int:
    """The text, or -ENOSPC when the arguments take more than 512 bytes in the kernel's buffer.

    room: bytes of the caller's buffer. What begins behind it still counts, except for addresses: Linux leaves these
    out there (lib/vsprintf.c bstr_printf), and takes the text of the first one left out for the arguments after it,
    which is not followed here.
    """
    out = bytearray()
    used = 0
    number = 0
    for part in parts:
        if isinstance(part, bytes):
            out += part
            continue
        value = args[number]
        number += 1
        if part.kind == "c":
            text, used = bytes((value & 0xFF,)), used + 1
            out += _pad(text, part)
        elif part.kind == "s":
            if used >= MAX_BIN_ARGS:
                return -errno.ENOSPC
            text = _string(read, value, MAX_BIN_ARGS - used)
            used += len(text) + 1
            out += _pad(text, part)
        elif part.kind.startswith(("pi", "pI")):
            six = part.kind.endswith("6")
            if MAX_BIN_ARGS - used < (16 if six else 4):
                return -errno.ENOSPC
            text = _address(read(value, 16 if six else 4) or bytes(16 if six else 4), part.kind)
            used += len(text) + 1
            out += _pad(text, part) if len(out) < room else b""
        elif part.kind == "pB":
            text = symbol(value).encode()
            used += len(text) + 1
            out += _pad(text, part) if len(out) < room else b""
        else:
            size = part.bits // 8
            used = (used + 3) & ~3
            if MAX_BIN_ARGS - used < size:
                return -errno.ENOSPC
            used += size
            out += _number(value, part, symbol)
    return bytes(out)


def _string(read: Reader, address: int, room: int) -> bytes:
    out = bytearray()
    while len(out) < room - 1:
        byte = read(address + len(out), 1)
        if byte is None:
            return b""  # a fault leaves an empty string
        if byte == b"\0":
            break
        out += byte
    return bytes(out)


def _address(data: bytes, kind: str) -> bytes:
    if kind == "pI4":
        return ".".join(map(str, data)).encode()
    if kind == "pi4":
        return ".".join(f"{byte:03d}" for byte in data).encode()
    if kind == "pI6":
        return ipaddress.IPv6Address(data).exploded.encode()
    return data.hex().encode()


def _pad(text: bytes, spec: Spec) -> bytes:
    return text.ljust(spec.width) if spec.left else text.rjust(spec.width)


def _number(value: int, spec: Spec, symbol: Callable[[int], str]) -> bytes:
    sign = ""
    if spec.kind in ("ps", "pS"):
        return _pad(symbol(value).encode(), spec)
    if spec.kind.startswith("p"):
        if spec.kind == "px":
            digits = f"{value:x}"
            return _pad(digits.encode().rjust(16, b"0") if not spec.width else digits.encode(), spec)
        # %p hashes addresses; here they are this process's own, so nothing is to hide
        return _pad(f"{value:016x}".encode(), spec)
    if spec.kind == "d":
        number = s64(value) if spec.bits == 64 else s32(value)
        sign = "-" if number < 0 else "+" if spec.plus else " " if spec.space else ""
        digits = str(abs(number))
    else:
        number = value if spec.bits == 64 else value & 0xFFFF_FFFF
        digits = str(number) if spec.kind == "u" else f"{number:x}" if spec.kind == "x" else f"{number:X}"
    if spec.left:
        return (sign + digits).ljust(spec.width).encode()
    if spec.zero:
        return (sign + digits.rjust(spec.width - len(sign), "0")).encode()
    return (sign + digits).rjust(spec.width).encode()
