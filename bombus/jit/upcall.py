"""Python functions that native code calls, without pages that are writable and executable.

ctypes makes callbacks with libffi, whose closures lie in such pages. Here a callback is a few instructions in our own
code pages: they put the address of a `box` where `text` finds it. That calls the box's function through Python's C API,
with the GIL: the run and up to five numbers in, one number out. What it raises goes into a dict of the box, without any
more Python: near the limit of recursion, or of memory, there may be none.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from bombus.jit import abi
from bombus.jit import cache as objects
from bombus.jit.compile import COMPILER
from bombus.jit.link import Linked, link
from bombus.jit.model import Lowered, Options
from bombus.jit.pages import PAGES
from bombus.jit.target import host


class Kind(NamedTuple):
    """What is called after the run. bits: of each number. run: does the function want the run's address, too?
    forgets: may memory go away in it? failed: what is returned after an error."""

    bits: tuple[int, ...]
    run: bool = True
    forgets: bool = True
    failed: int = 0


KINDS: Final = {
    "helper": Kind((64,) * 5, run=False),
    "tracked": Kind((64,) * 5),
    "service": Kind((64,) * 3),
    "find": Kind((64, 64, 32), forgets=False, failed=abi.NOT_FOUND),
}
_BOX: Final = 3  # words: the function, the dict of errors, where the count of memory's changes lies
_API: Final = (
    "PyGILState_Ensure", "PyGILState_Release", "PyLong_FromUnsignedLongLong", "PyObject_Vectorcall", "Py_DecRef",
    "PyLong_AsUnsignedLongLongMask", "PyErr_Occurred", "PyErr_WriteUnraisable", "PyErr_Fetch",
    "PyErr_NormalizeException", "PyException_SetTraceback", "PyObject_SetItem", "_Py_NoneStruct",
)  # fmt: skip
_OFFSET: Final = 1 << 63  # PY_VECTORCALL_ARGUMENTS_OFFSET: the slot before the arguments may be written (for a `self`)


def _entry(name: str, kind: Kind) -> str:
    """`nest` is a register that C functions do not use for arguments: r10."""
    params = "".join(f", i{size} %a{n}" for n, size in enumerate(kind.bits))
    numbers = ["%run"] if kind.run else []
    lines = []
    for n, size in enumerate(kind.bits):
        if size < 64:
            lines.append(f"  %w{n} = zext i{size} %a{n} to i64")
        numbers.append(f"%a{n}" if size == 64 else f"%w{n}")
    count = len(numbers)
    for n, number in enumerate(numbers):
        lines += [
            f"  %o{n} = call ptr @PyLong_FromUnsignedLongLong(i64 {number})",
            f"  %p{n} = getelementptr ptr, ptr %args, i64 {n + 1}", f"  store ptr %o{n}, ptr %p{n}, align 8",
            f"  %z{n} = icmp eq ptr %o{n}, null",
            f"  %s{n} = or i1 {f'%s{n - 1}' if n else 'false'}, %z{n}",
        ]  # fmt: skip
    drops = "\n".join(f"  call void @Py_DecRef(ptr %o{n})" for n in range(count))
    body = "\n".join(lines)
    return f"""
define i64 @{name}(ptr nest %box, i64 %run{params}) nounwind uwtable {{
  %args = alloca [{count + 1} x ptr], align 8
  %first = getelementptr ptr, ptr %args, i64 1
  %function = load ptr, ptr %box, align 8
  %gil = call i32 @PyGILState_Ensure()
{body}
  br i1 %s{count - 1}, label %dropped, label %called, !prof !0
called:
  %result = call ptr @PyObject_Vectorcall(ptr %function, ptr %first, i64 {count | _OFFSET}, ptr null)
  br label %dropped
dropped:
  %r = phi ptr [ null, %0 ], [ %result, %called ]
{drops}
  %none = icmp eq ptr %r, null
  br i1 %none, label %failed, label %read, !prof !0
read:
  %nothing = icmp eq ptr %r, @_Py_NoneStruct
  br i1 %nothing, label %drop, label %convert
convert:
  %number = call i64 @PyLong_AsUnsignedLongLongMask(ptr %r)
  %odd = icmp eq i64 %number, -1
  br i1 %odd, label %look, label %drop
look:
  %error = call ptr @PyErr_Occurred()
  %wrong = icmp ne ptr %error, null
  br i1 %wrong, label %bad, label %drop
bad:
  call void @Py_DecRef(ptr %r)
  br label %failed
drop:
  %v = phi i64 [ 0, %read ], [ %number, %convert ], [ -1, %look ]
  call void @Py_DecRef(ptr %r)
  br label %done
failed:
  call void @failed(ptr %box, i64 %run)
  br label %done
done:
  %back = phi i64 [ %v, %drop ], [ {kind.failed}, %failed ]
{_FORGET if kind.forgets else ""}
  call void @PyGILState_Release(i32 %gil)
  ret i64 %back
}}
"""


# Memory that went away may be in the run's table of regions.
_FORGET: Final = f"""
  %place = getelementptr ptr, ptr %box, i64 2
  %epochs = load ptr, ptr %place, align 8
  %epoch = load i64, ptr %epochs, align 8
  %state = inttoptr i64 %run to ptr
  %known = getelementptr i8, ptr %state, i64 {abi.RUN["epoch"][0]}
  %mine = load i64, ptr %known, align 8
  %same = icmp eq i64 %epoch, %mine
  br i1 %same, label %leave, label %forget
forget:
  %regions = getelementptr i8, ptr %state, i64 {abi.RUN["count"][0]}
  store i32 0, ptr %regions, align 4
  br label %leave
leave:
"""

# The exception that is set goes into the box's dict, by the run's address. The run ends in any case.
_FAILED: Final = f"""
define internal void @failed(ptr %box, i64 %run) nounwind uwtable noinline cold {{
  %type = alloca ptr, align 8
  %value = alloca ptr, align 8
  %trace = alloca ptr, align 8
  %state = inttoptr i64 %run to ptr
  store i32 {abi.ERROR}, ptr %state, align 8
  call void @PyErr_Fetch(ptr %type, ptr %value, ptr %trace)
  call void @PyErr_NormalizeException(ptr %type, ptr %value, ptr %trace)
  %v = load ptr, ptr %value, align 8
  %t = load ptr, ptr %trace, align 8
  %traced = icmp ne ptr %t, null
  br i1 %traced, label %set, label %tell
set:
  %ignored = call i32 @PyException_SetTraceback(ptr %v, ptr %t)
  call void @Py_DecRef(ptr %t)
  br label %tell
tell:
  %place = getelementptr ptr, ptr %box, i64 1
  %errors = load ptr, ptr %place, align 8
  %number = call ptr @PyLong_FromUnsignedLongLong(i64 %run)
  %lost = call i32 @PyObject_SetItem(ptr %errors, ptr %number, ptr %v)
  call void @Py_DecRef(ptr %number)
  call void @Py_DecRef(ptr %v)
  %y = load ptr, ptr %type, align 8
  call void @Py_DecRef(ptr %y)
  %kept = icmp eq i32 %lost, 0
  br i1 %kept, label %done, label %wrong
wrong:
  call void @PyErr_WriteUnraisable(ptr %errors)
  br label %done
done:
  ret void
}}
"""

TEXT: Final = (
    "".join(_entry(name, kind) for name, kind in KINDS.items())
    + _FAILED
    + """
@_Py_NoneStruct = external global i8
declare i32 @PyGILState_Ensure() nonlazybind
declare void @PyGILState_Release(i32) nonlazybind
declare ptr @PyLong_FromUnsignedLongLong(i64) nonlazybind
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr) nonlazybind
declare void @Py_DecRef(ptr) nonlazybind
declare i64 @PyLong_AsUnsignedLongLongMask(ptr) nonlazybind
declare ptr @PyErr_Occurred() nonlazybind
declare void @PyErr_WriteUnraisable(ptr) nonlazybind
declare void @PyErr_Fetch(ptr, ptr, ptr) nonlazybind
declare void @PyErr_NormalizeException(ptr, ptr, ptr) nonlazybind
declare i32 @PyException_SetTraceback(ptr, ptr) nonlazybind
declare i32 @PyObject_SetItem(ptr, ptr, ptr) nonlazybind
!0 = !{!"branch_weights", i32 1, i32 1000}
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
    """A function that native code may call at `address` for as long as this lives.

    kind: one of KINDS. errors: gets what the function raised, by the run's address; the run's status says so. epochs:
    address of the u64 that counts changes of memory (`Memory.epochs`).

    What the function returns is cut to 64 bits; None is 0.
    """

    __slots__ = ("_box", "_code", "_keep", "address")

    def __init__(
        self, function: Callable[..., int | None], kind: str, errors: dict[int, BaseException], epochs: int = 0
    ) -> None:
        self._keep = function, errors
        self._box = (ctypes.c_uint64 * _BOX)(id(function), id(errors), epochs)
        # mov r10, box; mov rax, entry; jmp rax
        code = struct.pack(
            "<2sQ2sQ2s", b"\x49\xba", ctypes.addressof(self._box), b"\x48\xb8", _linked().symbols[kind], b"\xff\xe0"
        )
        self._code = PAGES.allocate(len(code))
        self._code.fill(code)
        self.address = self._code.address
