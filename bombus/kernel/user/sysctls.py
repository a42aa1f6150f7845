"""Sysctls as programs at cgroups see them: files below /proc/sys that a process of a cgroup reads and writes.

Facts: Linux 6.12 fs/proc/proc_sysctl.c (proc_sys_call_handler), kernel/sysctl.c (proc_dointvec, proc_dou8vec_minmax,
proc_dostring), kernel/bpf/cgroup.c (__cgroup_bpf_run_filter_sysctl).
"""

from __future__ import annotations

import errno
import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from bombus.bits import U32
from bombus.errors import KernelError
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import run_programs
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.sysctls import SYSCTL, Sysctl

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.world.cgroups import Cgroup

_PAGE: Final = 4096
_SPACE: Final = b" \t\n\v\f\r"
_NUMBER: Final = re.compile(rb"-?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_LONGEST: Final = 21  # digits of a number, TMPBUFLEN - 1

Values = dict[str, "list[int] | bytes"]
_VALUES: WeakKeyDictionary[UserKernel, Values] = WeakKeyDictionary()


class SysctlCall:
    """One read or write as a program sees it: what struct bpf_sysctl_kern has."""

    kind = "sysctl"

    def __init__(self, name: str, write: bool, current: bytes, new: bytes) -> None:
        self.name = name
        self.write = write
        self.current = current
        self.new = new  # what is about to be written
        self.updated = False


class SysctlFile:
    """A file below /proc/sys, opened by a process of a cgroup. `pos`: where it reads and writes next."""

    __slots__ = ("_cgroup", "_kernel", "pos", "row")

    def __init__(self, kernel: UserKernel, name: str, cgroup: Cgroup) -> None:
        """KernelError(ENOENT) for a sysctl that the user kernel has not (see bombus.spec.sysctls)."""
        found = SYSCTL.get(name) or SYSCTL.get(name.replace(".", "/"))
        if found is None:
            raise KernelError(errno.ENOENT, "open", f"the user kernel has no sysctl {name}")
        self.row = found
        self.pos = 0
        self._kernel = kernel
        self._cgroup = cgroup

    def read(self, size: int = _PAGE) -> bytes:
        """At most `size` bytes of the text; b"" behind its end. KernelError as programs say."""
        _data, said = self._programs(b"", write=False)
        if said:
            return bytes(min(said, size))  # the call's answer, with nothing copied
        data = _show(self._value, size, self.pos)
        self.pos += len(data)
        return data

    def write(self, data: bytes) -> int:
        """How many bytes were taken: of those that programs write instead, when they do. KernelError (EINVAL, and as
        programs say)."""
        data, said = self._programs(data, write=True)
        if said:
            return said
        taken = _store(self.row, self._value, data, self.pos)
        if taken.value is not None:
            self._values[self.row.name] = taken.value
        if taken.bad:
            raise KernelError(errno.EINVAL, "write", f"{self.row.name} is not {data[:40]!r}")
        self.pos += taken.moved
        return taken.size

    @property
    def _values(self) -> Values:
        return _VALUES.setdefault(self._kernel, {})

    @property
    def _value(self) -> list[int] | bytes:
        found = self._values.get(self.row.name)
        if found is not None:
            return found
        text = self.row.default
        return text.encode() if self.row.kind == "text" else [int(number) for number in text.split("\t")]

    def _programs(self, data: bytes, *, write: bool) -> tuple[bytes, int]:
        """(what is written after the programs of the cgroup have seen it, what the call answers instead if not 0)."""
        number = ATTACH_TYPE["BPF_CGROUP_SYSCTL"].id
        programs = self._cgroup.effective(number)
        if not programs:
            return data, 0
        memory, world = self._kernel.memory, world_of(self._kernel)
        call = SysctlCall(self.row.name, write, _show(self._value, _PAGE, 0), data[:_PAGE])
        ctx = memory.allocate(8, name="bpf_sysctl", kind="ctx")
        world.contexts[ctx.start] = call
        try:
            struct.pack_into("<II", ctx.view, 0, write, self.pos & U32)
            result = run_programs(self._kernel, programs, ctx.start)
            self.pos = self.pos & ~U32 | int.from_bytes(ctx.view[4:8], "little")
        finally:
            del world.contexts[ctx.start]
            memory.remove(ctx)
        if result < 0:
            raise KernelError(-result, "write" if write else "read", "a cgroup program forbids it")
        return (call.new if call.updated else data), result


class Taken(NamedTuple):
    """What write(2) answers, how far the position moves, the new value if there is one; bad: EINVAL after that."""

    size: int
    moved: int
    value: list[int] | bytes | None = None
    bad: bool = False


def _show(value: list[int] | bytes, room: int, pos: int) -> bytes:
    """What a read of `room` bytes at a position gets."""
    if isinstance(value, bytes):
        return (value[pos:] + b"\n")[:room] if pos <= len(value) else b""
    return ("\t".join(map(str, value)) + "\n").encode()[:room] if not pos else b""


def _store(row: Sysctl, value: list[int] | bytes, data: bytes, pos: int) -> Taken:
    """Take a write at a position (kernel.sysctl_writes_strict is 1)."""
    if not data:
        return Taken(0, 0)
    if isinstance(value, bytes):
        if pos > min(len(value), row.high - 1):
            return Taken(len(data), 0)
        text = re.split(rb"[\0\n]", data, maxsplit=1)[0]
        return Taken(len(data), len(data), (value[:pos] + text)[: row.high - 1])
    if pos:
        return Taken(len(data), len(data))
    page = data[: _PAGE - 1]
    numbers, left = _parse(row, page, len(value))
    if left < 0:
        return Taken(0, 0, numbers + value[len(numbers) :], bad=True)
    if row.kind == "u8":
        return Taken(len(data), 0, numbers)
    count = len(page) - left
    return Taken(count, count, numbers + value[len(numbers) :])


def _parse(row: Sysctl, data: bytes, room: int) -> tuple[list[int], int]:
    """(numbers, bytes left over); -1 of what is no number, or none that is allowed."""
    found: list[int] = []
    rest = data.lstrip(_SPACE)
    while rest and len(found) < room:
        match = _NUMBER.match(rest)
        if match is None or match.end() > _LONGEST or rest[match.end() : match.end() + 1].strip(b" \t\n"):
            return found, -1
        text = match.group()
        digits = text.lstrip(b"-")
        number = int(digits, 16 if digits[:2].lower() == b"0x" else 8 if digits[:1] == b"0" else 10)
        if text != digits:
            number = -number
        if not row.low <= number <= row.high or (row.kind == "u8" and text != digits):
            return found, -1
        found.append(number)
        rest = rest[match.end() :].lstrip(_SPACE)
    return found, len(rest) if found else -1
