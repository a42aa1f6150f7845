"""Attaching to functions: kprobes, uprobes, USDT, and many functions at once.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (attach_kprobe, attach_uprobe, attach_kprobe_multi, attach_ksyscall), usdt.c.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import os
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bombus.btf.types import Enum, Kind
from bombus.elf.image import Image, find_file, function_offset
from bombus.elf.usdt import INDEXED, arguments_of, packed_spec, points
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.handles.attach.perf import PerfLink, link_event
from bombus.kernel.handles.attachment import Attachment, Group
from bombus.kernel.handles.features import features
from bombus.kernel.handles.links import Link
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.handles.attach.targets import Path
    from bombus.kernel.handles.programs import Program

_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN
_GLOB = re.compile(r"[*?\[]")
_WRAPPERS = since("4.17")
_SYSCALL_PREFIX = {"x86_64": "x64", "i386": "ia32", "i686": "ia32", "s390x": "s390x", "aarch64": "arm64",
                   "riscv64": "riscv", "ppc64le": "", "ppc64": "", "loongarch64": "loongarch"}  # fmt: skip
_SPECS, _PLACES = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"
MULTI_MAX = 1 << 20  # kernel/trace/bpf_trace.c: MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT


def _is_ret(program: Program, ret: bool | None) -> bool:
    """Whether a probe is at the return: given, or as the section says ("kretprobe/...")."""
    return ret if ret is not None else "ret" in program.origin.section.split("/")[0]


def attach_kprobe(
    program: Program, function: str, *, offset: int = 0, ret: bool | None = None, cookie: int = 0,
    legacy: bool | None = None,
) -> PerfLink | Attachment:  # fmt: skip
    """A program to a kernel function. ret: at its return (None: as the section says). cookie: bpf_get_attach_cookie.

    legacy: by a named tracefs probe, which other processes see, and which stays when this one is killed.
    """
    back = _is_ret(program, ret)
    if back and offset:
        raise UsageError("a return probe has no offset")
    probe = program.kernel.sites.kprobe(function, offset, ret=back, legacy=legacy)
    return link_event(program, probe, cookie, type="kprobe", where={"function": function, "offset": offset})


def attach_ksyscall(program: Program, name: str, *, ret: bool | None = None, cookie: int = 0) -> PerfLink | Attachment:
    """A program to the kernel's function behind a system call ("openat")."""
    kernel = program.kernel
    prefix = _SYSCALL_PREFIX.get(os.uname().machine)
    if prefix and kernel.version >= _WRAPPERS:
        return attach_kprobe(program, f"__{prefix}_sys_{name}", ret=ret, cookie=cookie)
    return attach_kprobe(program, f"__se_sys_{name}", ret=ret, cookie=cookie)


def _texts(names: Sequence[str]) -> tuple[Any, list[bytes]]:
    """An array of C strings, and what keeps them alive."""
    kept = [name.encode() + b"\0" for name in names]
    array = (ctypes.c_char_p * len(kept))(*kept)
    return array, kept


def _u64s(values: Sequence[int]) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)


def _cookies(cookies: Sequence[int] | None, count: int) -> bytes | None:
    if cookies is None:
        return None
    if len(cookies) != count:
        raise UsageError(f"{len(cookies)} cookies for {count} places")
    return _u64s(cookies)


def attach_kprobe_multi(
    program: Program, pattern: str | Sequence[str] = "", *, addresses: Sequence[int] | None = None,
    cookies: Sequence[int] | None = None, ret: bool | None = None,
) -> Link:  # fmt: skip
    """A program to many kernel functions by one link (Linux 5.18).

    pattern: names, or a glob over what the kernel can trace ("tcp_*"); addresses: instead of names. cookies: one for
    each. KernelError(ESRCH) when one name is not there.
    """
    kernel = program.kernel
    session = program.origin.attach_type == "BPF_TRACE_KPROBE_SESSION"
    flags = _RETURN if not session and _is_ret(program, ret) else 0
    fields: dict[str, Any] = {}
    keep: Any = None
    if addresses is not None:
        if pattern:
            raise UsageError("give names or addresses, not both")
        count = len(addresses)
        fields["kprobe_multi_addrs"] = _u64s(addresses)
    else:
        names = [pattern] if isinstance(pattern, str) else list(pattern)
        if len(names) == 1 and _GLOB.search(names[0]):
            names = sorted(set(fnmatch.filter(kernel.sites.functions(), names[0])))
            if not names:
                raise UsageError(f"no traceable kernel function matches {pattern!r}")
        count = len(names)
        keep = _texts(names)
        fields["kprobe_multi_syms"] = ctypes.addressof(keep[0])
    _check_count(count)
    packed = _cookies(cookies, count)
    if packed is not None:
        fields["kprobe_multi_cookies"] = packed
    kind = "BPF_TRACE_KPROBE_SESSION" if session else "BPF_TRACE_KPROBE_MULTI"
    link = Link.create(kernel, program, kind, kprobe_multi_flags=flags, kprobe_multi_cnt=count, **fields)
    del keep
    return link


def _check_count(count: int) -> None:
    if not 0 < count <= MULTI_MAX:
        raise UsageError(f"{count} functions at once; there must be 1 to {MULTI_MAX}")


def _file(program: Program, path: Path, pid: int) -> str:
    """The path that the kernel is to open: of another process's view when it has one."""
    text = os.fspath(path)
    if pid > 0 and text.startswith("/") and not text.startswith("/proc/"):
        there = f"/proc/{pid}/root{text}"
        if os.path.exists(there):
            return there
    return find_file(text)


def place_of(path: str, symbol: str, offset: int) -> int:
    """The file offset of "function", "function@VERSION", "function+0x10" or a number, plus `offset`."""
    name, plus, more = symbol.rpartition("+") if "+" in symbol else (symbol, "", "")
    try:
        offset += int(more, 0) if plus else 0
        return int(name, 0) + offset
    except ValueError:
        pass
    if plus and not re.fullmatch(r"\d+|0x[0-9a-fA-F]+", more):
        raise UsageError(f"{symbol!r}: {more!r} is no offset")
    return function_offset(path, name) + offset


def attach_uprobe(
    program: Program, path: Path, symbol: str = "", *, offset: int = 0, ret: bool | None = None, pid: int = -1,
    cookie: int = 0, ref_ctr: int = 0, legacy: bool | None = None,
) -> Link | Attachment:  # fmt: skip
    """A program to a place in a binary or library.

    path: the file, or a name to search for ("libc.so.6", "bash"). symbol: a function ("malloc", "memcpy@GLIBC_2.14");
    offset: bytes after it, or in the file when no symbol is given. pid: only that process; 0: this one; -1: all.
    ref_ctr: file offset of a semaphore that the kernel raises while the probe is there. UsageError for a symbol that is
    not there or ambiguous.
    """
    back = _is_ret(program, ret)
    pid = os.getpid() if pid == 0 else pid
    file = _file(program, path, pid)
    place = place_of(file, symbol, offset) if symbol else offset
    if program.origin.attach_type.startswith("BPF_TRACE_UPROBE"):
        return _uprobe_multi(program, file, [place], cookies=[cookie] if cookie else None, pid=pid, ret=back)
    probe = program.kernel.sites.uprobe(file, place, ret=back, pid=pid, ref_ctr=ref_ctr, legacy=legacy)
    return link_event(program, probe, cookie, type="uprobe", where={"path": file, "offset": place, "pid": pid})


def attach_uprobe_multi(
    program: Program, path: Path, pattern: str | Sequence[str] = "", *, offsets: Sequence[int] | None = None,
    cookies: Sequence[int] | None = None, ref_ctrs: Sequence[int] | None = None, pid: int = -1, ret: bool | None = None,
) -> Link:  # fmt: skip
    """A program to many functions of a file by one link (Linux 6.6). pattern: names, or a glob over its symbols."""
    pid = os.getpid() if pid == 0 else pid
    file = _file(program, path, pid)
    if offsets is None:
        names = [pattern] if isinstance(pattern, str) else list(pattern)
        if len(names) == 1 and _GLOB.search(names[0]):
            with Image(file) as image:
                offsets = sorted({f.offset for f in image.functions() if fnmatch.fnmatchcase(f.name, names[0])})
            if not offsets:
                raise UsageError(f"no function of {file} matches {names[0]!r}")
        else:
            offsets = [place_of(file, name, 0) for name in names]
    elif pattern:
        raise UsageError("give names or offsets, not both")
    return _uprobe_multi(program, file, offsets, cookies, ref_ctrs, pid=pid, ret=_is_ret(program, ret))


def _uprobe_multi(
    program: Program, file: str, offsets: Sequence[int], cookies: Sequence[int] | None = None,
    ref_ctrs: Sequence[int] | None = None, *, pid: int, ret: bool,
) -> Link:  # fmt: skip
    _check_count(len(offsets))
    session = program.origin.attach_type == "BPF_TRACE_UPROBE_SESSION"
    if ref_ctrs is not None and len(ref_ctrs) != len(offsets):
        raise UsageError(f"{len(ref_ctrs)} semaphores for {len(offsets)} places")
    fields: dict[str, Any] = {"uprobe_multi_pid": pid} if pid > 0 else {}
    return Link.create(
        program.kernel, program, "BPF_TRACE_UPROBE_SESSION" if session else "BPF_TRACE_UPROBE_MULTI",
        uprobe_multi_path=os.fsencode(file) + b"\0", uprobe_multi_offsets=_u64s(offsets),
        uprobe_multi_cookies=_cookies(cookies, len(offsets)),
        uprobe_multi_ref_ctr_offsets=_u64s(ref_ctrs) if ref_ctrs is not None else None,
        uprobe_multi_cnt=len(offsets), uprobe_multi_flags=_RETURN if ret and not session else 0, **fields,
    )  # fmt: skip


def attach_usdt(
    program: Program, path: Path, provider: str, name: str, *, pid: int = -1, cookie: int = 0
) -> Group:
    """A program of SEC("usdt") to every place of a USDT; bpf_usdt_arg and bpf_usdt_cookie work in it.

    Semaphores are raised while it is attached. UsageError when the file has no such USDT; NotSupported for arguments
    that cannot be read.
    """
    kernel = program.kernel
    pid = os.getpid() if pid == 0 else pid
    file = _file(program, path, pid)
    with Image(file) as image:
        found = points(image, provider, name)
        if not found:
            raise UsageError(f"{file} has no USDT {provider}:{name}")
        arguments = [arguments_of(point.arguments, image.machine) for point in found]
    if any(one.kind == INDEXED for each in arguments for one in each) and not _reads_indexed(program):
        raise NotSupported(
            f"USDT {provider}:{name}", "an argument has an index register, which needs the usdt.bpf.h of libbpf 1.7"
        )
    specs = [packed_spec(each, cookie) for each in arguments]
    writer = _Specs(program)
    links: list[Any] = []
    try:
        numbers = [writer.number(spec) for spec in specs]
        if not features(kernel).has("bpf_cookie"):
            writer.places(file, found, numbers, pid)
        multi = program.origin.attach_type == "BPF_TRACE_UPROBE_MULTI"
        if multi:
            counters = [point.semaphore for point in found]
            links.append(
                _uprobe_multi(
                    program, file, [p.offset for p in found], numbers, counters if any(counters) else None, pid=pid,
                    ret=False,
                )
            )  # fmt: skip
        else:
            for point, number in zip(found, numbers, strict=True):
                probe = kernel.sites.uprobe(file, point.offset, ret=False, pid=pid, ref_ctr=point.semaphore)
                where = {"path": file, "offset": point.offset, "usdt": f"{provider}:{name}", "pid": pid}
                links.append(link_event(program, probe, number, type="usdt", where=where))
    except BaseException:
        Group(links).close()
        writer.give_back()
        raise
    return _Usdt(links, writer)


def _reads_indexed(program: Program) -> bool:
    """Was the program built with a usdt.bpf.h that knows operands with an index register?"""
    btf = program.origin.btf
    kinds = btf.find_all("__bpf_usdt_arg_type", Kind.ENUM) if btf is not None else []
    return any(
        isinstance(found, Enum) and any(value.name == "BPF_USDT_ARG_SIB" for value in found.values)
        for found in (btf.type(number) for number in kinds if btf is not None)
    )


class _Specs:
    """The map of argument descriptions that usdt.bpf.h reads. Equal ones share a place, as in libbpf."""

    def __init__(self, program: Program) -> None:
        maps = program.origin.maps
        if _SPECS not in maps:
            raise UsageError(f"{program.name or 'this program'} was not built with <bpf/usdt.bpf.h>: no map {_SPECS!r}")
        self.specs = maps[_SPECS]
        self.by_place = maps.get(_PLACES)
        taken: dict[str, Any] = program.origin.shared.setdefault("usdt", {"free": list(range(self.specs.max_entries))})
        self.taken = taken
        self.mine: dict[bytes, int] = {}
        self.keys: list[bytes] = []

    def number(self, spec: bytes) -> int:
        if spec in self.mine:
            return self.mine[spec]
        size = self.specs.value_size
        if size < len(spec):
            raise UsageError(f"{_SPECS} has values of {size} bytes, not {len(spec)}")
        if not self.taken["free"]:
            raise KernelError(
                errno.E2BIG, "attach_usdt", hint=f"{_SPECS} is full: build with a larger BPF_USDT_MAX_SPEC_CNT"
            )
        number: int = self.taken["free"].pop(0)
        self.mine[spec] = number
        self.specs.raw[number.to_bytes(4, "little")] = spec.ljust(size, b"\0")
        return number

    def places(self, file: str, found: Sequence[Any], numbers: Sequence[int], pid: int) -> None:
        """Kernels without cookies (before 5.15) tell places apart by their address."""
        if self.by_place is None:
            raise UsageError(f"no map {_PLACES!r}, which kernels before 5.15 need")
        bases = _bases(file, pid)
        for point, number in zip(found, numbers, strict=True):
            for base in bases:
                key = (base + point.offset).to_bytes(8, "little")
                self.by_place.raw[key] = number.to_bytes(4, "little")
                self.keys.append(key)

    def give_back(self) -> None:
        self.taken["free"] += self.mine.values()
        self.mine.clear()
        if self.by_place is not None and not self.by_place.closed:
            for key in self.keys:
                try:
                    del self.by_place.raw[key]
                except KeyError:
                    continue
        self.keys.clear()


def _bases(file: str, pid: int) -> list[int]:
    """Addresses of a file's first byte where processes have mapped it to be run."""
    if pid < 0:
        raise UsageError("kernels before 5.15 need the pid of the process for a USDT")
    found = []
    real = os.path.realpath(file)
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and "x" in parts[1] and os.path.realpath(parts[5].strip()) == real:
                found.append(int(parts[0].split("-")[0], 16) - int(parts[2], 16))
    return found


class _Usdt(Group):
    def __init__(self, links: list[Any], specs: _Specs) -> None:
        super().__init__(links, "usdt")
        self._specs = specs

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._specs.give_back()

    detach = close

