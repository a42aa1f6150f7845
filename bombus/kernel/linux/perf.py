"""perf_event_open(2) for attaching: software and hardware events, tracepoints, kprobes, uprobes.

Facts: include/uapi/linux/perf_event.h; Linux 6.12 tools/lib/bpf/libbpf.c (perf_event_open_probe).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import struct
from pathlib import Path

from bombus.errors import KernelError, NotSupported
from bombus.kernel.linux import tracefs
from bombus.kernel.linux.syscall import libc, numbers
from bombus.kernel.sites import PerfEvent, Probe

_TYPE_TRACEPOINT = 2
_CLOEXEC = 1 << 3
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
_ATTR_SIZE = 112  # PERF_ATTR_SIZE_VER5
_DISABLED, _INHERIT, _FREQ = 1 << 0, 1 << 1, 1 << 10
_ON_EXEC = 1 << 12
_TRACK = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24  # mmap, comm, task, sample_id_all, mmap2, comm_exec
_SAMPLE_TIME = 1 << 2
_EXCLUDE = {"user": 1 << 4, "kernel": 1 << 5, "hv": 1 << 6, "idle": 1 << 7}
_DEVICES = Path("/sys/bus/event_source/devices")


def open_event(event: PerfEvent, *, pid: int = -1, cpu: int = -1, call: str = "perf_event_open") -> int:
    flags = _DISABLED | (_INHERIT if event.inherit else 0) | (_FREQ if event.frequency else 0)
    for name in event.exclude:
        flags |= _EXCLUDE[name]
    sample_type = event.sample_type
    if event.on_exec:
        flags |= _ON_EXEC
    if event.track:
        flags |= _TRACK
        sample_type |= _SAMPLE_TIME
    attr = bytearray(_ATTR_SIZE)
    struct.pack_into(
        "=IIQQQQQII", attr, 0, event.type, len(attr), event.config, event.period, sample_type, 0, flags, 0, 0
    )
    struct.pack_into("=QQ", attr, 56, event.config1, event.config2)
    cells = (ctypes.c_char * len(attr)).from_buffer(attr)
    fd: int = libc().syscall(
        numbers().perf_event_open, ctypes.byref(cells), ctypes.c_long(pid), ctypes.c_long(cpu), ctypes.c_long(-1),
        ctypes.c_ulong(_CLOEXEC),
    )  # fmt: skip
    if fd < 0:
        number = ctypes.get_errno()
        raise KernelError(number, call, f"pid {pid}, CPU {cpu}", hint=_hint(number))
    return fd


def _hint(number: int) -> str:
    if number in (errno.EACCES, errno.EPERM):
        try:
            level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
        except OSError:
            level = "unknown"
        return f"CAP_PERFMON (or CAP_SYS_ADMIN) is needed; kernel.perf_event_paranoid is {level}"
    if number == errno.ENODEV:
        return "there is no such CPU, or it is off"
    return ""


def start(fd: int, prog_fd: int | None) -> None:
    try:
        if prog_fd is not None:
            fcntl.ioctl(fd, _IOC_SET_BPF, prog_fd)
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
    except OSError as error:
        call = "PERF_EVENT_IOC_SET_BPF" if prog_fd is not None else "PERF_EVENT_IOC_ENABLE"
        raise KernelError(error.errno or errno.EIO, call) from None


def tracepoint(category: str, name: str) -> Probe:
    number = tracefs.tracepoint_id(category, name)
    event = PerfEvent(_TYPE_TRACEPOINT, number)
    return Probe(open_event(event, cpu=_cpu(), call=f"perf_event_open (tracepoint {category}/{name})"))


def cpu_list(text: str) -> list[int]:
    """ "0-2,5" as numbers. ValueError for other texts."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def online_cpus() -> list[int]:
    try:
        return cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    except (OSError, ValueError):
        return list(range(os.cpu_count() or 1))


def _cpu() -> int:
    """A CPU that is online: probes fire on all of them, whichever is named here."""
    return online_cpus()[0]


def _pmu(kind: str) -> int | None:
    try:
        return int((_DEVICES / kind / "type").read_text())
    except (OSError, ValueError):
        return None


def _ret_bit(kind: str) -> int:
    try:
        match = re.fullmatch(r"config:(\d+)", (_DEVICES / kind / "format" / "retprobe").read_text().strip())
    except OSError:
        match = None
    if match is None:
        raise NotSupported(f"return probes of the {kind} PMU", "sysfs does not say their bit")
    return 1 << int(match[1])


def kprobe(
    function: str, offset: int, *, ret: bool, legacy: bool | None, watch: tracefs.Watching = tracefs.unwatched
) -> Probe:
    type_ = _pmu("kprobe")
    what = f"{function}+{offset:#x}" if offset else function
    call = f"perf_event_open ({'kretprobe' if ret else 'kprobe'} {what})"
    if legacy or (legacy is None and type_ is None):
        if type_ is None and not (tracefs.root() / "kprobe_events").exists():
            raise NotSupported("kprobes", "this kernel was built without them (CONFIG_KPROBES)")
        number, remove = tracefs.make_probe("kprobe", what, ret=ret, watch=watch)
        return _legacy(number, remove, -1, call)
    if type_ is None:
        raise NotSupported("the kprobe PMU", "Linux 4.17 has it, with CONFIG_KPROBES")
    name = ctypes.create_string_buffer(function.encode())
    config = _ret_bit("kprobe") if ret else 0
    event = PerfEvent(type_, config, ctypes.addressof(name), offset)
    try:
        return Probe(open_event(event, cpu=_cpu(), call=call))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EADDRNOTAVAIL):
            error.add_note(f"the kernel has no function {function!r} that may be probed")
        raise


def uprobe(
    path: str, offset: int, *, ret: bool, pid: int, ref_ctr: int, legacy: bool | None,
    watch: tracefs.Watching = tracefs.unwatched,
) -> Probe:  # fmt: skip
    type_ = _pmu("uprobe")
    call = f"perf_event_open ({'uretprobe' if ret else 'uprobe'} {path}+{offset:#x})"
    if legacy or (legacy is None and type_ is None):
        if type_ is None and not (tracefs.root() / "uprobe_events").exists():
            raise NotSupported("uprobes", "this kernel was built without them (CONFIG_UPROBES)")
        place = f"{path}:{offset:#x}" + (f"({ref_ctr:#x})" if ref_ctr else "")
        number, remove = tracefs.make_probe("uprobe", place, ret=ret, watch=watch)
        return _legacy(number, remove, pid, call)
    if type_ is None:
        raise NotSupported("the uprobe PMU", "Linux 4.17 has it, with CONFIG_UPROBES")
    name = ctypes.create_string_buffer(os.fsencode(path))
    config = (_ret_bit("uprobe") if ret else 0) | ref_ctr << 32
    event = PerfEvent(type_, config, ctypes.addressof(name), offset)
    return Probe(open_event(event, pid=pid, cpu=_cpu() if pid == -1 else -1, call=call))


def _legacy(number: int, remove: object, pid: int, call: str) -> Probe:
    assert callable(remove)
    try:
        fd = open_event(PerfEvent(_TYPE_TRACEPOINT, number), pid=pid, cpu=_cpu() if pid == -1 else -1, call=call)
    except KernelError:
        remove()
        raise
    return Probe(fd, remove)
