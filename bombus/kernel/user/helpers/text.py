"""Numbers and strings: bpf_strtol, bpf_strtoul, bpf_strncmp. Linux 6.12 kernel/bpf/helpers.c __bpf_strtoull."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

_BASE_MASK: Final = 0x1F
_BASES: Final = (0, 8, 10, 16)
_SPACES: Final = b" \t\n\v\f\r\xa0"
_DIGITS: Final = {char: value for value, char in enumerate(b"0123456789abcdef")}


def _parse(text: bytes, flags: int) -> tuple[int, int, bool] | int:
    """(magnitude, characters taken, negative) or a negative errno."""
    if not text:
        return -errno.EINVAL
    base = flags & _BASE_MASK
    if base not in _BASES or flags & ~_BASE_MASK:
        return -errno.EINVAL
    at = len(text) - len(text.lstrip(_SPACES))
    negative = at < len(text) and text[at : at + 1] == b"-"
    at += negative
    rest = text[at:].partition(b"\0")[0].lower()[:63]
    if not rest:
        return -errno.EINVAL
    prefix = 0
    if base in (0, 16) and rest[:2] == b"0x" and (base == 16 or rest[2:3] in _HEX):
        base, prefix = 16, 2
    elif base == 0:
        base = 8 if rest[:1] == b"0" else 10
    value = count = 0
    overflow = False
    for char in rest[prefix:]:
        digit = _DIGITS.get(char, 99)
        if digit >= base:
            break
        value = value * base + digit
        overflow |= value > 0xFFFF_FFFF_FFFF_FFFF
        count += 1
    if overflow:
        return -errno.ERANGE
    if not count:
        return -errno.EINVAL
    return value, at + prefix + count, negative


_HEX: Final = tuple(bytes((char,)) for char in b"0123456789abcdef")


@helper("strtol")
def strtol(env: ProgEnv, buffer: int, size: int, flags: int, result: int) -> int:
    env.memory.store(result, 8, 0)
    parsed = _parse(env.memory.read(buffer, size), flags)
    if isinstance(parsed, int):
        return parsed
    value, taken, negative = parsed
    if value > (1 << 63) - (0 if negative else 1):
        return -errno.ERANGE
    env.memory.store(result, 8, (-value if negative else value) & 0xFFFF_FFFF_FFFF_FFFF)
    return taken


@helper("strtoul")
def strtoul(env: ProgEnv, buffer: int, size: int, flags: int, result: int) -> int:
    env.memory.store(result, 8, 0)
    parsed = _parse(env.memory.read(buffer, size), flags)
    if isinstance(parsed, int):
        return parsed
    value, taken, negative = parsed
    if negative:
        return -errno.EINVAL
    env.memory.store(result, 8, value)
    return taken


@helper("strncmp")
def strncmp(env: ProgEnv, first: int, size: int, second: int) -> int:
    """-1, 0 or 1 as the kernel's strncmp."""
    for at in range(size & 0xFFFF_FFFF):
        a, b = env.memory.load(first + at, 1), env.memory.load(second + at, 1)
        if a != b:
            return -1 if a < b else 1
        if not a:
            break
    return 0
