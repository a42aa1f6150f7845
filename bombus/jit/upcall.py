"""Python functions that native code calls, without pages that are writable and executable.

ctypes makes callbacks with libffi, whose closures lie in such pages. Here a callback is a few instructions in our own
code pages: they put the function's address where `text` finds it. That calls the function through Python's C API: five
or six numbers in, one number out, with the GIL.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from typing import Final

from bombus.jit import cache as objects
from bombus.jit.compile import COMPILER
from bombus.jit.link import Linked, link
from bombus.jit.model import Lowered, Options
from bombus.jit.pages import PAGES
from bombus.jit.target import host

# What is called -> bits of each argument.
KINDS: Final = {"helper": (64,) * 6, "service": (64,) * 4, "find": (64, 64, 64, 32)}
_API: Final = (
    "PyGILState_Ensure", "PyGILState_Release", "PyLong_FromUnsignedLongLong", "PyObject_Vectorcall", "Py_DecRef",
    "PyLong_AsUnsignedLongLongMask", "PyErr_Occurred", "PyErr_WriteUnraisable",
)  # fmt: skip


def _entry(name: str, bits: tuple[int, ...]) -> str:
    """`nest` is a register that C functions do not use for arguments: r10."""
    count = len(bits)
    params = "".join(f", i{size} %a{n}" for n, size in enumerate(bits))
    lines = []
    for n, size in enumerate(bits):
        value = f"%a{n}"
        if size < 64:
            lines.append(f"  %w{n} = zext i{size} %a{n} to i64")
            value = f"%w{n}"
        lines += [
            f"  %o{n} = call ptr @PyLong_FromUnsignedLongLong(i64 {value})",
            f"  %p{n} = getelementptr ptr, ptr %args, i64 {n}", f"  store ptr %o{n}, ptr %p{n}, align 8",
            f"  %z{n} = icmp eq ptr %o{n}, null",
            f"  %s{n} = or i1 {f'%s{n - 1}' if n else 'false'}, %z{n}",
        ]  # fmt: skip
    drops = "\n".join(f"  call void @Py_DecRef(ptr %o{n})" for n in range(count))
    body = "\n".join(lines)
    return f"""
define i64 @{name}(ptr nest %function{params}) nounwind uwtable {{
  %args = alloca [{count} x ptr], align 8
  %gil = call i32 @PyGILState_Ensure()
{body}
  br i1 %s{count - 1}, label %dropped, label %called
called:
  %result = call ptr @PyObject_Vectorcall(ptr %function, ptr %args, i64 {count}, ptr null)
  br label %dropped
dropped:
  %r = phi ptr [ null, %0 ], [ %result, %called ]
{drops}
  %none = icmp eq ptr %r, null
  br i1 %none, label %failed, label %read
read:
  %number = call i64 @PyLong_AsUnsignedLongLongMask(ptr %r)
  call void @Py_DecRef(ptr %r)
  %odd = icmp eq i64 %number, -1
  br i1 %odd, label %look, label %done
look:
  %error = call ptr @PyErr_Occurred()
  %wrong = icmp ne ptr %error, null
  br i1 %wrong, label %failed, label %done
failed:
  call void @PyErr_WriteUnraisable(ptr %function)
  br label %done
done:
  %v = phi i64 [ %number, %read ], [ %number, %look ], [ 0, %failed ]
  call void @PyGILState_Release(i32 %gil)
  ret i64 %v
}}
"""


TEXT: Final = (
    "".join(_entry(name, bits) for name, bits in KINDS.items())
    + """
declare i32 @PyGILState_Ensure() nonlazybind
declare void @PyGILState_Release(i32) nonlazybind
declare ptr @PyLong_FromUnsignedLongLong(i64) nonlazybind
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr) nonlazybind
declare void @Py_DecRef(ptr) nonlazybind
declare i64 @PyLong_AsUnsignedLongLongMask(ptr) nonlazybind
declare ptr @PyErr_Occurred() nonlazybind
declare void @PyErr_WriteUnraisable(ptr) nonlazybind
"""
)

_lock = threading.Lock()
_placed: list[Linked] = []


def _linked() -> Linked:
    with _lock:
        if not _placed:
            options = Options()
            key = objects.text_key(TEXT, host())
            found = objects.load(key, (), host(), options)
            if found is None:
                found = Lowered(host(), options), COMPILER.compile(TEXT, host(), level=2)
                objects.store(key, *found)
            symbols = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in _API}
            linked = link(found[1], symbols.__getitem__)
            _placed.append(linked)
            if os.environ.get("BOMBUS_GDB"):
                from bombus.jit import gdb

                gdb.note("bombus_upcall", linked)
        return _placed[0]


class Upcall:
    """A function of ints that native code may call at `address` for as long as this lives. kind: one of KINDS.

    What it returns is cut to 64 bits. It must not raise: an exception is reported as unraisable, and 0 returned.
    """

    __slots__ = ("_code", "_function", "address")

    def __init__(self, function: Callable[..., int], kind: str) -> None:
        self._function = function
        # mov r10, function; mov rax, entry; jmp rax
        code = struct.pack("<2sQ2sQ2s", b"\x49\xba", id(function), b"\x48\xb8", _linked().symbols[kind], b"\xff\xe0")
        self._code = PAGES.allocate(len(code))
        self._code.fill(code)
        self.address = self._code.address
