"""Format strings of bpf_snprintf, checked when a program is loaded (Linux 6.12 kernel/trace: bpf_bprintf_prepare)."""

from __future__ import annotations

from bombus.verifier.env import EINVAL


def check_format(text: bytes, arguments: int) -> int:
    """0, or the errno with which the kernel refuses a format for so many arguments."""
    count = 0
    i = 0
    while i < len(text):
        char = text[i : i + 1]
        if char[0] < 128 and not (32 <= char[0] < 127 or char.isspace()):
            return EINVAL
        if char != b"%":
            i += 1
            continue
        if text[i + 1 : i + 2] == b"%":
            i += 2
            continue
        if count >= arguments:
            return EINVAL
        i += 1
        while text[i : i + 1] and text[i : i + 1] in b"0+- ":
            i += 1
        while text[i : i + 1].isdigit():
            i += 1
        kind = text[i : i + 1]
        after = text[i + 1 : i + 2]
        if kind == b"p":
            ok = _pointer(text, i + 1)
            if ok < 0:
                return EINVAL
            i = ok
        elif kind == b"s":
            if after and not (after.isspace() or _is_punctuation(after)):
                return EINVAL
            i += 1
        elif kind == b"c":
            i += 1
        else:
            if text[i : i + 1] == b"l":
                i += 2 if text[i + 1 : i + 2] == b"l" else 1
            if text[i : i + 1] not in (b"i", b"d", b"u", b"x", b"X"):
                return EINVAL
            i += 1
        count += 1
    return 0


def _is_punctuation(char: bytes) -> bool:
    return 32 < char[0] < 127 and not char.isalnum()


def _pointer(text: bytes, i: int) -> int:
    """The end of what follows %p, or -1."""
    after, second = text[i : i + 1], text[i + 1 : i + 2]
    if not after or after.isspace() or _is_punctuation(after):
        return i
    if after in (b"k", b"u") and second == b"s":
        third = text[i + 2 : i + 3]
        return -1 if third and not (third.isspace() or _is_punctuation(third)) else i + 2
    if after in (b"K", b"x", b"s", b"S", b"B"):
        return i + 1
    return i + 2 if after in (b"i", b"I") and second in (b"4", b"6") else -1
