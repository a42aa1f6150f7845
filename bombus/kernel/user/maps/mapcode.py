"""Code of map bodies: text for programs to take in, and functions of CPython for the map API.

The bodies (bombus.runtime.maps) ask for a map's numbers through functions. For programs these give constants, so that
LLVM unrolls hashes and comparisons and a map's code is made for its shape; for the API they read the control struct, so
that one object serves all maps of a type. Text and objects are kept on disk, as `jit.cache` keeps programs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from threading import Lock
from typing import Any, Final

from bombus import kept
from bombus.errors import NotSupported
from bombus.jit import cache as objects
from bombus.jit.compile import COMPILER, llvmlite_folder
from bombus.jit.link import Linked, link
from bombus.jit.model import Lowered, Options
from bombus.jit.target import host
from bombus.runtime.maps.kinds import HELPERS, KINDS, OF_PACKETS, ROOM
from bombus.runtime.maps.shape import CONSTANTS, CONTROL
from bombus.vm.env import MapCode

METH_FASTCALL: Final = 0x80  # CPython Include/methodobject.h
_MARK: Final = "bombus."  # of names, until a text gets its own
_lock = Lock()


@cache
def problem() -> str:
    """Why there is no native code of maps here; "" when there is."""
    if sys.implementation.name != "cpython":
        return f"Python is {sys.implementation.name}"
    try:
        host()
        llvmlite_folder()
    except NotSupported as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Text:
    """Bodies of a kind: definitions and what they call. Names begin with _MARK."""

    head: str
    definitions: str
    declarations: tuple[str, ...]

    def named(self, prefix: str) -> Text:
        def change(text: str) -> str:
            text = re.sub(r"@(shape_)", rf"@{prefix}\1", text)
            text = re.sub(r"@map_", f"@{prefix}", text)
            return text.replace(f"@{_MARK}", f"@{prefix}")

        outside = tuple(line for line in self.declarations if "@shape_" not in line and "@map_" not in line)
        return Text(change(self.head), change(self.definitions), outside)


_PARTS: Final = "\x1d"


def _kept(name: str, make: Callable[[], str]) -> str:
    """A text from the disk, else made."""
    key = objects.text_key(f"{name} {_sources()}", host())
    found = objects.load(key, (), host(), Options())
    if found is not None:
        return found[1].decode()
    text = make()
    objects.store(key, Lowered(host(), Options()), text.encode())
    return text


@cache
def _sources() -> str:
    """What the text of bodies depends on."""
    return kept.stamp("bpf", "compiler", "spec", "spec/helpers", "runtime", "runtime/maps", "kernel/user/maps").hex()


def write(module: str, names: tuple[str, ...], layout: str, triple: str, *, external: bool = False) -> Text:
    """The text of bodies for a machine."""
    from importlib import import_module

    from bombus.compiler.host import module_parts

    room, table = import_module(f"{ROOM}.{module}"), import_module(f"{ROOM}.table")
    wanted = {f"{_MARK}{name}": getattr(room if hasattr(room, name) else table, name) for name in names}
    linkage = "external" if external else "internal"
    parts = module_parts(wanted, linkage=linkage, prefix=f"{_MARK}{module}.", layout=layout, triple=triple)
    return Text(parts.head, parts.definitions, tuple(sorted(parts.declarations)))


def _write(module: str, names: tuple[str, ...], *, external: bool) -> str:
    text = write(module, names, "e", host().triple, external=external)
    return _PARTS.join((text.head, text.definitions, "\n".join(text.declarations)))


def _text(module: str, names: tuple[str, ...], *, external: bool = False) -> Text:
    found = _kept(f"map text {module} {names}", lambda: _write(module, names, external=external))
    head, definitions, declarations = found.split(_PARTS)
    return Text(head, definitions, tuple(declarations.split("\n")))


def _constants(prefix: str, numbers: Mapping[str, int] | None) -> str:
    """The functions that tell a map's numbers: constants, or what its control struct says."""
    lines = []
    for name in CONSTANTS:
        head = f"define internal i64 @{prefix}shape_{name}(i64 %base) alwaysinline nounwind {{"
        if numbers is not None:
            lines.append(f"{head}\n  ret i64 {numbers[name]}\n}}")
        else:
            lines.append(
                f"{head}\n  %p = inttoptr i64 %base to ptr\n"
                f"  %q = getelementptr i8, ptr %p, i64 {CONTROL[name][0]}\n"
                f"  %v = load i64, ptr %q, align 8, !invariant.load !{{}}\n  ret i64 %v\n}}"
            )
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ programs

_programs: dict[tuple[str, tuple[tuple[str, int], ...]], MapCode] = {}


def program_code(kind: str, numbers: Mapping[str, int], address: int, keep: object) -> MapCode:
    """A map's code for programs: `numbers` are the constants of its shape."""
    key = kind, tuple(sorted(numbers.items()))
    known = _programs.get(key)
    if known is None:
        known = _programs[key] = specialised(kind, _bodies(kind), numbers)
    return MapCode(
        address, known.calls, known.head, known.definitions, known.declarations, known.digest, keep
    )  # fmt: skip


@cache
def _any(kind: str) -> MapCode:
    return replace(specialised(kind, _bodies(kind), None), by_handle=True)


def any_code(kind: str, address: int, keep: object) -> MapCode:
    """Code for all maps of a kind, whose memory it finds in a table by their handles."""
    return replace(_any(kind), address=address, keep=keep)


def specialised(kind: str, text: Text, numbers: Mapping[str, int] | None) -> MapCode:
    """The bodies of a kind for a shape (None: for all of them), with no memory yet."""
    key = kind, tuple(sorted(numbers.items())) if numbers is not None else None, text
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    prefix = f"map.{digest}."
    named = text.named(prefix)
    calls = {number: (f"{prefix}{body}", params) for number, (body, params) in KINDS[kind].helpers.items()}
    return MapCode(
        0, calls, named.head, f"{named.definitions}\n{_constants(prefix, numbers)}", frozenset(named.declarations),
        digest, None,
    )  # fmt: skip


def helper_code(numbers: Mapping[str, int]) -> MapCode | None:
    """Helpers that take no map. numbers: see `runtime.maps.shape`."""
    if problem():
        return None
    state = _random_state()
    code = program_code(HELPERS, dict.fromkeys(CONSTANTS, 0) | dict(numbers), ctypes.addressof(state), state)
    if not numbers["words"]:
        code = replace(code, calls={number: call for number, call in code.calls.items() if number not in OF_PACKETS})
    return code


@cache
def _random_state() -> ctypes.c_uint64:
    """Of all native programs of the process."""
    return ctypes.c_uint64(int.from_bytes(os.urandom(8), "little"))


@cache
def _bodies(kind: str) -> Text:
    row = KINDS[kind]
    return _text(row.module, row.bodies)


# ------------------------------------------------------------------------------------------------ Python


class _Method(ctypes.Structure):
    """PyMethodDef"""

    _fields_ = (("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


class Api:
    """The functions of a kind, before they belong to a map."""

    def __init__(self, kind: str, linked: Linked) -> None:
        self._linked = linked
        self._methods: dict[str, _Method] = {}
        for name, function in KINDS[kind].python.items():
            address = linked.symbols[f"{_MARK}{function}"]
            self._methods[name] = _Method(name.encode(), address, METH_FASTCALL, None)

    def of(self, address: int, keep: object) -> dict[str, Callable[..., Any]]:
        """The functions of the map whose memory lies at an address. They keep `keep` alive."""
        return {name: _new(ctypes.addressof(method), address, keep) for name, method in self._methods.items()}


_apis: dict[str, Api] = {}


def api(kind: str) -> Api | None:
    """The functions of a kind, compiled now if need be. None where there is no native code."""
    found = _apis.get(kind)
    if found is not None:
        return found
    if problem():
        return None
    with _lock:
        found = _apis.get(kind)
        if found is None:
            found = _apis[kind] = Api(kind, _linked(kind))
    return found


def _linked(kind: str) -> Linked:
    row = KINDS[kind]
    key = objects.text_key(f"map api {kind} {_sources()}", host())
    found = objects.load(key, (), host(), Options())
    if found is None:
        python = _text("python", tuple(sorted(set(row.python.values()))), external=True)
        bodies = _bodies(kind)
        prefix = _MARK
        texts = [bodies.named(prefix), python.named(prefix)]
        lines = [part for text in texts for part in (text.head, text.definitions)]
        lines += [_constants(prefix, None), *sorted({line for text in texts for line in text.declarations})]
        lowered = Lowered(host(), Options())
        data = COMPILER.compile("\n".join(lines), host(), level=2)
        objects.store(key, lowered, data)
        found = lowered, data
    return link(found[1], _resolve)


def _resolve(name: str) -> int:
    """Functions of CPython and of the C library."""
    for library in (ctypes.pythonapi, _libc()):
        try:
            function = getattr(library, name)
        except AttributeError:
            continue
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        return address
    raise KeyError(name)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
