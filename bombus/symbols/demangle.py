"""Names of C++ and Rust functions as people wrote them.

Rust's (both manglings) are done here; C++'s by the C++ library when the machine has it, else nested names without their
arguments. What cannot be read stays as it is.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import re
from typing import Any

from bombus.symbols.rustv0 import demangle_v0

_HASH = re.compile(r"::h[0-9a-f]{16}$")
_LEGACY = re.compile(r"(_ZN.*17h[0-9a-f]{16}E)(.*)$")
_DOLLARS = {
    "SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
}  # fmt: skip
_DOLLAR = re.compile(r"\$(u[0-9a-f]{1,6}|[A-Z]{1,2})\$")


@functools.lru_cache(maxsize=1 << 16)
def demangle(name: str) -> str:
    """The readable form of a symbol; the symbol itself when it has none."""
    base, at, version = name.partition("@")
    old = _LEGACY.match(base)  # has dots of its own
    if old is not None:
        base, clone = old[1], old[2]
    else:
        base, dot, clone = base.partition(".")
        clone = dot + clone
    text = _demangled(base)
    if text == base:
        return name
    return text + (f" [{clone}]" if clone else "") + (at + version if at else "")


def _demangled(name: str) -> str:
    if name.startswith("_R"):
        return demangle_v0(name) or name
    if not name.startswith("_Z"):
        return name
    nested = _nested(name)
    if nested and _HASH.search(nested):
        return _legacy_rust(nested)
    return _library(name) or nested or name


def _nested(name: str) -> str:
    """`_ZN3foo3barE...` as foo::bar, `_Z3fooi` as foo; "" when there is more to it (templates, operators)."""
    many = name.startswith("_ZN")
    at = 3 if many else 2
    if many:
        while at < len(name) and name[at] in "rVKRO":
            at += 1
    parts: list[str] = []
    while at < len(name) and name[at].isdigit():
        end = at
        while end < len(name) and name[end].isdigit():
            end += 1
        size = int(name[at : min(end, at + 6)])
        part = name[end : end + size]
        if len(part) < size or not size:
            return ""
        parts.append("(anonymous namespace)" if part.startswith("_GLOBAL__N") else part)
        at = end + size
        if not many:
            break
    if many and name[at : at + 1] != "E":
        return ""
    return "::".join(parts)


def _legacy_rust(path: str) -> str:
    """Rust's first mangling writes "<", "&" and the like as $LT$, $RF$, ..."""

    def letter(match: re.Match[str]) -> str:
        code = match[1]
        if code.startswith("u"):
            number = int(code[1:], 16)
            return chr(number) if 0x20 <= number < 0x110000 and not 0xD800 <= number < 0xE000 else match[0]
        return _DOLLARS.get(code, match[0])

    parts = _HASH.sub("", path).split("::")
    text = "::".join(part[1:] if part.startswith("_$") else part for part in parts)
    return _DOLLAR.sub(letter, text).replace("..", "::")


@functools.cache
def _cxa() -> Any:
    """__cxa_demangle of the C++ library, None without it."""
    for name in ("libstdc++.so.6", "libc++abi.so.1", ctypes.util.find_library("stdc++")):
        if name:
            try:
                function = ctypes.CDLL(name).__cxa_demangle
            except (OSError, AttributeError):
                continue
            function.restype = ctypes.c_void_p
            function.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
            return function
    return None


def _library(name: str) -> str:
    function = _cxa()
    if function is None or len(name) > 1 << 16:
        return ""
    status = ctypes.c_int(0)
    pointer = function(name.encode(), None, None, ctypes.byref(status))
    if not pointer:
        return ""
    try:
        return ctypes.string_at(pointer).decode(errors="replace")
    finally:
        free = ctypes.CDLL(None).free
        free.argtypes = (ctypes.c_void_p,)
        free(pointer)
