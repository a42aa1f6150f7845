"""What a loader hands to the running kernel, as programs for the verifier, and what that kernel says of each.

`Loads` stands between a loader and a kernel: it notes BTF, maps and their contents, and each BPF_PROG_LOAD.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bombus.btf.parse import Btf
from bombus.elf.read import find_embedded
from bombus.errors import BombusError, KernelError
from bombus.isa.insn import decode
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.btfcache import vmlinux_of
from bombus.loader.load import load
from bombus.object.model import Object
from bombus.object.read import open_object, read_object
from bombus.verifier import records
from bombus.verifier.program import FuncInfo, LineInfo, MapInfo, Program

_RDONLY_PROG = 1 << 7
_ARENA = 33
_MAPPED = 1 << 44  # loaders map arenas that do not say where
_ADDRESS = re.compile(r"\(18\) (r\d+) = 0x[0-9a-f]+(?: +;)?")
_TIME = re.compile(r"verification time \d+ usec")


def normal(log: str) -> str:
    """A log without what differs between runs: addresses and times."""
    return _ADDRESS.sub(r"(18) \1 = PTR;", _TIME.sub("verification time usec", log))


def last(log: str) -> str:
    """The verifier's last word before its statistics."""
    figures = ("processed ", "verification time ", "stack depth ")
    lines = [line for line in log.splitlines() if line and not line.startswith(figures)]
    return lines[-1] if lines else ""


class Loads:
    """A kernel that notes what a program's verification depends on, and hands each program to `loaded`."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self.kernel = kernel
        self.btfs: dict[int, Btf] = {}
        self.maps: dict[int, MapInfo] = {}
        self.types: Btf | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kernel, name)

    def bpf(self, attr: Attr) -> int:
        name = attr.command.name
        if name == "BPF_PROG_LOAD":
            self.loaded(attr)
        result = self.kernel.bpf(attr)
        if name == "BPF_BTF_LOAD":
            self.btfs[result] = Btf.parse(bytes(attr.buffers["btf"]))
        elif name == "BPF_MAP_CREATE":
            self.maps[result] = self._map(attr)
        elif name == "BPF_MAP_UPDATE_ELEM" and attr.get("map_fd") in self.maps:
            fd = attr.get("map_fd")
            if self.maps[fd].flags & _RDONLY_PROG:
                self.maps[fd] = replace(self.maps[fd], contents=bytes(attr.buffers["value"]))
        elif name == "BPF_MAP_FREEZE":
            fd = attr.get("map_fd")
            self.maps[fd] = replace(self.maps[fd], frozen=True)
        return result

    def loaded(self, attr: Attr) -> None:
        """BPF_PROG_LOAD is about to be called."""

    def _map(self, attr: Attr) -> MapInfo:
        btf = self.btfs.get(attr.get("btf_fd"))
        value_id = attr.get("btf_value_type_id")
        inner = self.maps.get(attr.get("inner_map_fd")) if attr.get("inner_map_fd") else None
        return MapInfo(
            attr.get("map_type"), attr.get("key_size"), attr.get("value_size"), attr.get("max_entries"),
            _name(attr, "map_name"), attr.get("map_flags"), len(self.maps) + 1,
            replace(inner, name="") if inner is not None else None, False, None, btf,
            attr.get("btf_key_type_id"), value_id, records.parse(btf, value_id) if btf is not None and value_id else (),
            attr.get("map_extra") or (_MAPPED if attr.get("map_type") == _ARENA else 0),
        )  # fmt: skip

    def again(self, attr: Attr, **fields: Any) -> int:
        """The same load with other fields, closed at once. errno, 0 when it was accepted."""
        again = Attr(attr.command)
        again.raw[:] = attr.raw
        again.buffers.update(attr.buffers)
        for name, value in fields.items():
            again.set(name, value if value is not None else 0)
        try:
            self.kernel.close(self.kernel.bpf(again))
        except KernelError as error:
            return error.errno
        return 0

    def program(self, attr: Attr, log_level: int = 0) -> Program:
        btf = self.btfs.get(attr.get("prog_btf_fd"))
        functions = [FuncInfo(*row) for row in _records(attr, "func_info", "<II")]
        lines = [
            LineInfo(insn, btf.string(file), btf.string(line), place >> 10, place & 0x3FF, file)
            for insn, file, line, place in _records(attr, "line_info", "<IIII")
            if btf is not None
        ]
        if self.types is None:
            self.types = vmlinux_of(self.kernel)
        license_ = attr.read(attr.get("license"), 128).split(b"\0")[0].decode()
        return Program(
            decode(bytes(attr.buffers["insns"])), attr.get("prog_type"), self.kernel.version,
            attr.get("expected_attach_type"), license_, _name(attr, "prog_name"), attr.get("prog_flags"),
            maps=dict(self.maps), btf=btf, func_info=functions, line_info=lines, log_level=log_level,
            cpus=self.kernel.possible_cpus, attach_btf_id=attr.get("attach_btf_id"),
            attach_prog=bool(attr.get("attach_prog_fd")), vmlinux=self.types,
            data_symbols=self.kernel.kconfig().get("CONFIG_KALLSYMS_ALL", "n") == "y",
        )  # fmt: skip


@dataclass(slots=True)
class Answer:
    """What the kernel said of one load at level 2|4 and at level 1. long: too long for the buffer, figures only."""

    name: str
    program: Program
    errno: int
    log: str
    brief: str
    long: bool = False

    @property
    def processed(self) -> int:
        """How many instructions the kernel verified."""
        found = re.search(r"processed (\d+) insns", self.log)
        return int(found[1]) if found else 0


class Answers(Loads):
    """Asks the kernel for its logs of every program that is loaded through it."""

    def __init__(self, kernel: LinuxKernel, size: int = 16 << 20) -> None:
        super().__init__(kernel)
        self.answers: list[Answer] = []
        self.name = ""
        self._log = bytearray(size)

    def _text(self) -> str:
        return bytes(self._log[: self._log.index(0)]).decode(errors="replace")

    def loaded(self, attr: Attr) -> None:
        log = self._log
        errno = self.again(attr, log_level=6, log_size=len(log), log_buf=log)
        long = errno == 28
        if long:
            errno = self.again(attr, log_level=4, log_size=len(log), log_buf=log)
        whole = self._text()
        log[:1] = b"\0"
        self.again(attr, log_level=1, log_size=len(log), log_buf=log)
        self.answers.append(Answer(self.name, self.program(attr), errno, whole, self._text(), long))


def package_objects() -> Iterator[Object]:
    """The objects of Debian's libxdp1, xdp-tools, xdp-tests and libbpf-tools (inside its tools)."""
    for file in sorted(Path("/usr/lib").glob("*/bpf/*.o")):
        yield open_object(file)
    for file in sorted(Path("/usr/libexec/xdp-tools").glob("*.o")):
        yield open_object(file)
    for tool in sorted(Path("/usr/sbin").glob("*")):
        if not tool.is_symlink() and tool.is_file() and 20_000 < tool.stat().st_size < 4_000_000:
            for _offset, elf in find_embedded(tool.read_bytes()):
                yield read_object(elf, name=tool.name)


def load_each(obj: Object, kernel: Loads) -> dict[str, BombusError | KernelError | None]:
    """Load an object's programs one by one, as a tool with tables of its own would, and close them at once."""
    results: dict[str, BombusError | KernelError | None] = {}
    # Sizes that a tool would set before loading.
    sizes = {item.name: 1024 for item in obj.maps if not item.max_entries and not item.section}
    for spec in obj.programs:
        try:
            load(obj, kernel, programs=[spec.name], pin_root="", max_entries=sizes).close()
            results[spec.name] = None
        except (BombusError, KernelError) as error:
            results[spec.name] = error
    return results


def _name(attr: Attr, field: str) -> str:
    place = attr.command.by_name[field]
    return bytes(attr.raw[place.offset : place.offset + place.size]).rstrip(b"\0").decode()


def _records(attr: Attr, name: str, layout: str) -> list[tuple[int, ...]]:
    size = attr.get(f"{name}_rec_size")
    data = attr.buffers.get(name, b"")
    return [struct.unpack_from(layout, data, i) for i in range(0, len(data), size)] if size else []
