"""What formats become. How long each text is, and which formats are refused, is compared with Linux elsewhere."""

from __future__ import annotations

import errno

import pytest

from bombus.kernel.user.helpers.bprintf import parse, render

MEMORY = {100: b"hello\0", 200: bytes((192, 0, 2, 7)), 300: bytes(range(16))}


def read(address: int, size: int) -> bytes | None:
    for start, data in MEMORY.items():
        if start <= address and address + size <= start + len(data):
            return data[address - start : address - start + size]
    return None


def text(form: bytes, *args: int) -> bytes | int:
    parts = parse(form, len(args))
    return parts if isinstance(parts, int) else render(parts, args, read, hex)


@pytest.mark.parametrize(
    ("form", "args", "expected"),
    [
        (b"%d %u", ((1 << 64) - 5, (1 << 64) - 1), b"-5 4294967295"),
        (b"%ld %lu", ((1 << 64) - 5, (1 << 64) - 1), b"-5 18446744073709551615"),
        (b"%5d|%-5d|%05d|%+d", (42, 42, (1 << 64) - 42, 42), b"   42|42   |-0042|+42"),
        (b"%x %X %08x", (0xAB, 0xAB, 0xAB), b"ab AB 000000ab"),
        (b"%c%c", (65, 66), b"AB"),
        (b"100%%", (), b"100%"),
        (b"%s|%7s|%-7s|", (100, 100, 100), b"hello|  hello|hello  |"),
        (b"%s|", (5,), b"|"),
        (b"%pks", (100,), b"hello"),
        (b"%pI4 %pi4", (200, 200), b"192.0.2.7 192.000.002.007"),
        (b"%pi6", (300,), b"000102030405060708090a0b0c0d0e0f"),
        (b"%pI4", (7,), b"0.0.0.0"),
        (b"%d", (), -errno.EINVAL),
        (b"%z", (1,), -errno.EINVAL),
        (b"%sx", (100,), -errno.EINVAL),
        (b"%pI5", (200,), -errno.EINVAL),
        (b"a\x01", (), -errno.EINVAL),
    ],
)
def test_render(form: bytes, args: tuple[int, ...], expected: bytes | int) -> None:
    assert text(form, *args) == expected


def test_too_many_bytes_for_the_kernels_buffer() -> None:
    MEMORY[1000] = b"x" * 600 + b"\0"
    assert text(b"%s %d", 1000, 1) == -errno.ENOSPC
