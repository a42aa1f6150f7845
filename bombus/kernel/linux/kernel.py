"""The Linux kernel behind the Kernel protocol: bpf(2), perf_event_open(2), mmap, poll, and files of /proc and /sys."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import select
import struct
import sys
import time
import weakref
from _thread import allocate_lock
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.linux import process
from bombus.kernel.linux.syscall import MAP_SHARED, PROT_READ, PROT_WRITE, libc, numbers
from bombus.kernel.linux.token import COMMANDS as _TAKE_TOKENS
from bombus.kernel.linux.token import Tokens
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from bombus.kernel.linux.trace import Printk
    from bombus.kernel.printk import PrintkRow
    from bombus.kernel.sites import Sites

LOAD_RETRIES = 5  # Linux 6.12 tools/lib/bpf/bpf.c: PROG_LOAD_ATTEMPTS; EAGAIN means a signal interrupted the verifier
_PRINTK_CALLS = frozenset({6, 177})  # bpf_trace_printk, bpf_trace_vprintk
_FD_MAX = 0x7FFF_FFFF

# include/uapi/linux/perf_event.h
_PERF_TYPE_SOFTWARE = 1
_PERF_COUNT_SW_BPF_OUTPUT = 10
_PERF_SAMPLE_RAW = 1 << 10
_PERF_FORMAT_LOST = 1 << 4  # Linux 6.0
_PERF_FLAG_FD_CLOEXEC = 1 << 3
_PERF_EVENT_IOC_ENABLE = 0x2400
_PERF_ATTR = struct.Struct("=IIQQQQQII")  # type, size, config, sample_period, sample_type, read_format, flags, wakeup


class LinuxKernel:
    """The running kernel. Every descriptor it returns is close-on-exec and belongs to the caller.

    Needs CAP_BPF (and what the program type wants) for nearly everything; the errors say which is missing.
    `close_tracing` gives back what `printk` uses; it also happens when the object goes away. token: what delegates
    these rights to a user namespace (see `token.Tokens`). guard: whether what is attached without a link is undone when
    this process is killed (see `guard`).
    """

    name = "linux"

    def __init__(self, token: str | os.PathLike[str] | int | None = None, *, guard: bool = True) -> None:
        self._guarded = guard
        self._bpf_nr = numbers().bpf
        self._syscall = libc().syscall
        self._version = KernelVersion.parse(os.uname().release)
        self._printk: Printk | None = None
        self._printk_problem = ""
        self._lock = allocate_lock()
        self._tokens = Tokens(token)

    @property
    def version(self) -> KernelVersion:
        return self._version

    @property
    def possible_cpus(self) -> int:
        return _possible_cpus()

    @property
    def online_cpus(self) -> tuple[int, ...]:
        return cpu_list(_read("/sys/devices/system/cpu/online")) or tuple(range(os.cpu_count() or 1))

    def bpf(self, attr: Attr) -> int:
        if len(attr.raw) == 0:
            raise UsageError(f"{attr.command.name}: the attr is empty")
        if attr.command.id in _TAKE_TOKENS:
            self._tokens.add_to(attr, self.bpf)
        if attr.command.id == _PROG_LOAD:
            self._before_load(attr)
        elif attr.command.id == _TEST_RUN and self._printk is not None:
            self._printk.add_thread()
        result = self._call(attr)
        if result >= 0:
            return result
        number = -result
        if number == errno.EPERM and self._version < process.MEMCG_SINCE and process.lift_memlock():
            result = self._call(attr)
            if result >= 0:
                return result
            number = -result
        if number == errno.ENOENT and attr.command.id != _PROG_LOAD:
            raise KernelError(number, attr.command.name)  # the end of every walk over ids; nothing to explain
        from bombus.kernel.linux.errors import refusal

        raise refusal(attr, number, self._version, self.kconfig)

    def _call(self, attr: Attr) -> int:
        """The result, or minus errno. Interrupted calls start again, except test runs, which may have had effects."""
        number, size = attr.command.id, len(attr.raw)
        address = attr.address or ctypes.addressof(ctypes.c_char.from_buffer(attr.raw))
        attempts = LOAD_RETRIES
        while True:
            result: int = self._syscall(self._bpf_nr, number, ctypes.c_void_p(address), size)
            if result >= 0:
                return result
            code = ctypes.get_errno()
            if code == errno.EAGAIN and number == _PROG_LOAD and attempts > 1:
                attempts -= 1
            elif code != errno.EINTR or number == _TEST_RUN:
                return -code

    def _before_load(self, attr: Attr) -> None:
        if self._printk is not None or self._printk_problem:
            return
        insns = attr.buffers.get("insns")
        if insns is None or not _calls_printk(bytes(insns)):
            return
        with self._lock:
            if self._printk is None:
                from bombus.kernel.linux.trace import Printk

                try:
                    self._printk = Printk()
                except (KernelError, NotSupported) as error:
                    self._printk_problem = str(error)

    def close(self, fd: int) -> None:
        try:
            os.close(fd)
        except (OSError, OverflowError) as error:
            number = getattr(error, "errno", errno.EBADF) or errno.EBADF
            raise KernelError(number, "close", f"descriptor {fd}") from None

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = True) -> memoryview:
        if not 0 < length < 1 << 47 or not 0 <= offset < 1 << 62 or not -1 <= fd <= _FD_MAX:
            raise KernelError(errno.EINVAL, "mmap", f"descriptor {fd}, {length} bytes at {offset}")
        protection = PROT_READ | (PROT_WRITE if writable else 0)
        address = libc().mmap(None, length, protection, MAP_SHARED, fd, offset)
        if address is None or address == ctypes.c_void_p(-1).value:
            raise KernelError(ctypes.get_errno(), "mmap", f"{length} bytes at {offset}")
        # A subclass, because only Python-level classes can be watched. Its instance lives as long as any view of it.
        cells: ctypes.Array[ctypes.c_ubyte] = _mapped_type(length).from_address(address)
        weakref.finalize(cells, libc().munmap, address, length)
        view = memoryview(cells).cast("B")
        return view if writable else view.toreadonly()

    def perf_event(self, cpu: int, *, wakeup: int = 1) -> int:
        fd = -1
        # Kernels before 6.0 do not count lost samples.
        for read_format in (_PERF_FORMAT_LOST, 0):
            attr = bytearray(112)  # PERF_ATTR_SIZE_VER5
            _PERF_ATTR.pack_into(
                attr, 0, _PERF_TYPE_SOFTWARE, len(attr), _PERF_COUNT_SW_BPF_OUTPUT, 1, _PERF_SAMPLE_RAW, read_format, 0,
                wakeup, 0,
            )  # fmt: skip
            cells = (ctypes.c_char * len(attr)).from_buffer(attr)
            fd = self._syscall(
                numbers().perf_event_open, ctypes.byref(cells), ctypes.c_long(-1), ctypes.c_long(cpu),
                ctypes.c_long(-1), ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
            )  # fmt: skip
            if fd >= 0 or ctypes.get_errno() != errno.EINVAL:
                break
        if fd < 0:
            raise KernelError(ctypes.get_errno(), "perf_event_open", f"BPF output on CPU {cpu}")
        try:
            fcntl.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0)
        except OSError as error:
            os.close(fd)
            raise KernelError(error.errno or errno.EIO, "PERF_EVENT_IOC_ENABLE", f"CPU {cpu}") from None
        return fd

    def perf_lost(self, fd: int) -> int | None:
        try:
            data = os.read(fd, 16)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "read", f"perf event {fd}") from None
        return int.from_bytes(data[8:16], sys.byteorder) if len(data) == 16 else None  # value, then lost

    def read(self, fd: int, size: int) -> bytes:
        try:
            return os.read(fd, size)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "read", f"descriptor {fd}") from None

    def wait(self, fds: list[int], timeout: float | None, *, write: bool = False) -> list[int]:
        poll = select.poll()
        try:
            for fd in fds:
                poll.register(fd, select.POLLOUT if write else select.POLLIN)
            end = None if timeout is None else time.monotonic() + timeout
            found = poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999)))
            while not found and end is not None and time.monotonic() < end:
                found = poll.poll(max(1, int((end - time.monotonic()) * 1000)))
        except (OSError, OverflowError, ValueError) as error:
            raise KernelError(getattr(error, "errno", None) or errno.EBADF, "poll", str(error)) from None
        for fd, events in found:
            if events & select.POLLNVAL:
                raise KernelError(errno.EBADF, "poll", f"descriptor {fd} is not open")
        ready = {fd for fd, _ in found}
        return [fd for fd in fds if fd in ready]

    def vmlinux_btf(self) -> bytes:
        try:
            return _bytes("/sys/kernel/btf/vmlinux")
        except OSError as error:
            raise NotSupported("vmlinux BTF", f"/sys/kernel/btf/vmlinux: {error.strerror}") from None

    def btf_key(self) -> str:
        try:
            return _bytes("/proc/sys/kernel/random/boot_id").decode().strip()
        except OSError:
            return ""

    def module_btf(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir("/sys/kernel/btf")):
                if name != "vmlinux":
                    with contextlib.suppress(OSError):  # the module may go while we look
                        found[name] = _bytes(f"/sys/kernel/btf/{name}")
        return found

    def kconfig(self) -> dict[str, str]:
        return dict(_kconfig())

    def kallsyms(self, names: set[str]) -> dict[str, int]:
        wanted = {name.encode() for name in names}
        found: dict[str, int] = {}
        try:
            with open("/proc/kallsyms", "rb") as file:
                for line in file:
                    fields = line.split()
                    # Address 0 is what the kernel shows to those who may not know (kptr_restrict).
                    if len(fields) >= 3 and fields[2] in wanted and fields[0].strip(b"0"):
                        found.setdefault(fields[2].decode(), int(fields[0], 16))
                        if len(found) == len(wanted):
                            break
        except (OSError, ValueError) as error:
            raise NotSupported("kallsyms", str(error)) from None
        return found

    def printk(self) -> list[str]:
        if self._printk is not None:
            return self._printk.read()
        if self._printk_problem:
            raise NotSupported("bpf_printk output", self._printk_problem)
        return []

    @property
    def sites(self) -> Sites:
        return _sites(self._guarded)

    def printk_rows(self) -> list[PrintkRow]:
        if self._printk is not None:
            return self._printk.rows()
        if self._printk_problem:
            raise NotSupported("bpf_printk output", self._printk_problem)
        return []

    def close_tracing(self) -> None:
        """Remove the trace instance that `printk` reads, if there is one. The next load makes a new one."""
        with self._lock:
            if self._printk is not None:
                self._printk.close()
                self._printk = None


@functools.cache
def _sites(guarded: bool) -> Sites:
    from bombus.kernel.linux.sites import LinuxSites

    return LinuxSites(guarded=guarded)


_PROG_LOAD = 5
_TEST_RUN = 10


def _mapped_type(length: int) -> type[ctypes.Array[ctypes.c_ubyte]]:
    return type("_Mapped", (ctypes.c_ubyte * length,), {})


def _calls_printk(insns: bytes) -> bool:
    # 0x85: call; source register 0: a helper.
    at = insns.find(b"\x85\x00\x00\x00")
    while at >= 0:
        if at % 8 == 0 and int.from_bytes(insns[at + 4 : at + 8], "little") in _PRINTK_CALLS:
            return True
        at = insns.find(b"\x85\x00\x00\x00", at + 1)
    return False


@functools.cache
def _possible_cpus() -> int:
    """Length of /sys/devices/system/cpu/possible ("0-3,8-11"): per-CPU values have one slot for each."""
    return len(cpu_list(_read("/sys/devices/system/cpu/possible"))) or os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return _bytes(path).decode()
    except OSError:
        return ""


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers of a list as sysfs writes it, "0-3,8-11". Empty when it is none."""
    found: list[int] = []
    try:
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        return ()
    return tuple(found)


@functools.cache
def _kconfig() -> dict[str, str]:
    release = os.uname().release
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            data = _bytes(path)
            if path.endswith(".gz"):
                import gzip

                data = gzip.decompress(data)
            text = data.decode(errors="replace")
        except (OSError, EOFError):
            continue
        pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
        return {name: value for name, sign, value in pairs if sign}
    return {}
