"""The seam between everything that uses a kernel and the two kernels.

A caller builds an `Attr` (one `union bpf_attr`, laid out by the rows of `spec.commands`) and hands it to
`Kernel.bpf`. Both kernels take the same bytes, so malformed attrs meet the same rules on both.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bombus.errors import KernelError, UsageError
from bombus.spec.commands import COMMAND, Command
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from bombus.kernel.printk import PrintkRow
    from bombus.kernel.sites import Sites

Buffer = bytes | bytearray | memoryview


def address_of(buffer: Buffer) -> int:
    """The address of a buffer's first byte. The caller keeps the buffer alive. 0 for an empty one."""
    if len(buffer) == 0:
        return 0
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Attr:
    """One `union bpf_attr` for one command.

    Fields are set by name: numbers as int, pointers as a buffer (kept alive here; `bytes` may only be read
    by the kernel) or as a raw address, names as str. `Attr.raw` is what the kernel gets.
    Raises UsageError for a field the command does not have, or a number that does not fit.
    """

    __slots__ = ("_export", "address", "buffers", "command", "raw")

    def __init__(self, command: str | Command, **fields: int | str | Buffer | None) -> None:
        self.command = COMMAND[command] if isinstance(command, str) else command
        self.raw = bytearray(self.command.size)
        self.buffers: dict[str, Buffer] = {}
        self.address = 0  # of `raw`, once `pin` fixed it
        self._export: object = None
        for name, value in fields.items():
            self.set(name, value)

    def set(self, name: str, value: int | str | Buffer | None) -> None:
        field = self.command.by_name.get(name)
        if field is None:
            raise UsageError(f"{self.command.name} has no field {name!r}")
        if value is None:
            return
        if isinstance(value, str):
            data = value.encode()
            if len(data) >= field.size:
                raise UsageError(f"{self.command.name}.{name}: {value!r} is longer than {field.size - 1} bytes")
            self.raw[field.offset : field.offset + field.size] = data.ljust(field.size, b"\0")
            return
        if not isinstance(value, int):
            self.buffers[name] = value
            value = address_of(value)
        try:
            data = value.to_bytes(field.size, "little", signed=value < 0)
        except OverflowError:
            raise UsageError(f"{self.command.name}.{name}: {value} does not fit {field.size} bytes") from None
        self.raw[field.offset : field.offset + field.size] = data

    def pin(self) -> Attr:
        """Fix the address of `raw`, for attrs that are used many times: `raw` cannot be resized any more."""
        export = ctypes.c_char.from_buffer(self.raw)
        self._export, self.address = export, ctypes.addressof(export)
        return self

    def get(self, name: str) -> int:
        """The number now in the field (also after the kernel wrote it). Unsigned."""
        field = self.command.by_name[name]
        return int.from_bytes(self.raw[field.offset : field.offset + field.size], "little")

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address of this process, as copy_from_user: KernelError(EFAULT) when unreadable."""
        buffer = self._buffer_at(address, size)
        if buffer is not None:
            data, offset = buffer
            return bytes(data[offset : offset + size])
        return read_process(self.command.name, address, size)

    def write(self, address: int, data: bytes) -> None:
        """copy_to_user: KernelError(EFAULT) when the address cannot be written."""
        buffer = self._buffer_at(address, len(data))
        if buffer is not None and not isinstance(buffer[0], bytes):
            target, offset = buffer
            memoryview(target).cast("B")[offset : offset + len(data)] = data
            return
        write_process(self.command.name, address, data)

    def is_buffer(self, address: int, size: int, *, write: bool = False) -> bool:
        """Do these bytes lie in one of the buffers, so that they may be accessed as memory?"""
        found = self._buffer_at(address, size)
        return found is not None and not (write and memoryview(found[0]).readonly)

    def _buffer_at(self, address: int, size: int) -> tuple[Buffer, int] | None:
        for buffer in self.buffers.values():
            start = address_of(buffer)
            if start and start <= address and address + size <= start + len(buffer):
                return buffer, address - start
        return None


def long_way(*_: object) -> Any:
    """What a function of `MapCalls` is where only the command will do."""
    return NotImplemented


class MapCalls:
    """Commands on single elements of one map as plain functions, for as long as its descriptor allows them.

    lookup(key) and take(key) give bytes, or None for ENOENT; update(key, value, flags), delete(key) give 0 or a
    negative errno; next_key(key or None) gives bytes or None. get(key) and set(key, value) are lookup and update on
    ints, where keys and values have 1, 2, 4 or 8 bytes. All give NotImplemented where the command has to be asked.
    """

    __slots__ = ("delete", "get", "lookup", "next_key", "set", "take", "update")

    def __init__(self) -> None:
        self.revoke()

    def revoke(self) -> None:
        self.lookup = self.get = self.next_key = long_way
        self.revoke_writing()

    def revoke_writing(self) -> None:
        self.update = self.set = self.delete = self.take = long_way


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


@functools.cache
def _copier(name: str) -> Any:
    copy = getattr(ctypes.CDLL(None, use_errno=True), name)
    copy.restype = ctypes.c_ssize_t
    return copy


def _copy(call: str, name: str, local: int, remote: int, size: int) -> None:
    # process_vm_readv on ourselves reports a bad address instead of crashing the process.
    if size == 0:
        return
    a = _IoVec(local, size)
    b = _IoVec(remote, size)
    done = _copier(name)(os.getpid(), ctypes.byref(a), 1, ctypes.byref(b), 1, 0)
    if done != size:
        raise KernelError(errno.EFAULT, call, f"bad address {remote:#x} ({size} bytes)")


def read_process(call: str, address: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    _copy(call, "process_vm_readv", ctypes.addressof(buffer), address, size)
    return buffer.raw


def write_process(call: str, address: int, data: bytes) -> None:
    buffer = ctypes.create_string_buffer(data, len(data))
    _copy(call, "process_vm_writev", ctypes.addressof(buffer), address, len(data))


@runtime_checkable
class Kernel(Protocol):
    """What loader, handles and commands need of a kernel. Two implementations: `user` and `linux`."""

    name: str  # "user" or "linux"

    @property
    def version(self) -> KernelVersion: ...

    @property
    def possible_cpus(self) -> int:
        """How many slots a per-CPU value has."""

    @property
    def online_cpus(self) -> tuple[int, ...]:
        """Numbers of the CPUs that run now; they may have gaps."""

    def bpf(self, attr: Attr) -> int:
        """One bpf(2) call. Returns its (non-negative) result; raises KernelError with errno and log."""

    def close(self, fd: int) -> None:
        """Give back a file descriptor that `bpf` returned."""

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = True) -> memoryview:
        """Map a map's memory (array with BPF_F_MMAPABLE, ring buffer, arena). KernelError as mmap(2)."""

    def perf_event(self, cpu: int, *, wakeup: int = 1) -> int:
        """A descriptor of a new, enabled software event (PERF_COUNT_SW_BPF_OUTPUT, PERF_SAMPLE_RAW) of one CPU.

        Stored in a perf event array it takes what bpf_perf_event_output writes on that CPU. `mmap` of 1 + 2**n pages
        gives its ring in the layout of struct perf_event_mmap_page; `wait` and `close` work on it. wakeup: samples
        that wake who waits.
        """

    def perf_lost(self, fd: int) -> int | None:
        """Samples that a `perf_event` lost for want of room so far; None where the kernel does not count them."""

    def read(self, fd: int, size: int) -> bytes:
        """At most so many bytes of what an iterator's descriptor (BPF_ITER_CREATE) gives; b"" at its end.
        KernelError(EAGAIN) where the program asks for another try."""

    def wait(self, fds: list[int], timeout: float | None, *, write: bool = False) -> list[int]:
        """The fds among `fds` with something to read (or room to write), as epoll; empty after `timeout` seconds."""

    def vmlinux_btf(self) -> bytes:
        """Raw BTF of this kernel. NotSupported when it has none."""

    def btf_key(self) -> str:
        """What names this kernel's BTF among others as long as it runs; "" when nothing does."""

    def module_btf(self) -> dict[str, bytes]:
        """Raw split BTF of loaded modules by name."""

    def kconfig(self) -> dict[str, str]:
        """CONFIG_ values of this kernel; empty when unknown."""

    def kallsyms(self, names: set[str]) -> dict[str, int]:
        """Addresses of kernel symbols among `names` that this kernel has."""

    def printk(self) -> list[str]:
        """Lines that bpf_printk wrote since the last call, without the newline (on Linux those of this process's
        threads, from programs that this Kernel object loaded). NotSupported when the kernel shows none."""

    @property
    def sites(self) -> Sites:
        """Where programs attach: targets by name, and hooks beside bpf(2)."""

    def printk_rows(self) -> list[PrintkRow]:
        """The same with task, CPU and time; on Linux the lines of all tasks, whoever's program printed them, since this
        Kernel object loaded a program that prints."""
