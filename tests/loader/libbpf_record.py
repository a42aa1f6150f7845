"""What C libbpf hands to bpf(2) for each program of an object, and what our loader does, in one form."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bombus.errors import BombusError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, decode
from bombus.kernel.api import Attr
from bombus.kernel.handles.features import PROBES, features
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.model import Object
from bombus.spec.maptypes import MAP_TYPE

SOURCE = Path(__file__).with_name("record.c")
_RINGBUF = MAP_TYPE["BPF_MAP_TYPE_RINGBUF"].id
_PERF = MAP_TYPE["BPF_MAP_TYPE_PERF_EVENT_ARRAY"].id
_MAP_SOURCES = (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE)


@dataclass
class Loading:
    """One program's way into the kernel. refused: why it did not come as far as BPF_PROG_LOAD."""

    program: dict[str, Any] | None = None
    insns: list[Insn] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    btf: bytes = b""
    refused: str = ""


def _insns(code: bytes, names: dict[int, str]) -> tuple[list[Insn], list[str]]:
    """Instructions with map descriptors blanked, and the names of the maps in their place."""
    insns = decode(code)
    used = []
    for at, insn in enumerate(insns):
        if insn.opcode == op.LD_IMM64 and insn.src in _MAP_SOURCES:
            used.append(names.get(insn.imm, f"fd {insn.imm}"))
            insns[at] = insn._replace(imm=0)
    return insns, used


def build_recorder(directory: Path) -> Path | None:
    """The recorder, compiled; None where there is no gcc or libbpf's headers are missing."""
    target = directory / "record"
    command = ["gcc", "-O1", "-o", str(target), str(SOURCE), "-lbpf", "-ldl"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return None
    return target if done.returncode == 0 else None


FUNCTION = "bpf_fentry_test1"  # in every kernel; for programs whose own functions this one does not have


def libbpf(recorder: Path, path: Path) -> dict[str, Loading] | str:
    """Each program as libbpf loads it; a text when it does not even open the object."""
    done = subprocess.run([recorder, path, FUNCTION], capture_output=True, check=True, timeout=120)
    found: dict[str, Loading] = {}
    now = Loading()
    names: dict[int, str] = {}
    blobs: dict[int, bytes] = {}
    for line in done.stdout.decode().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "refused":
            return f"refused {rest}: {done.stderr.decode()}"
        if kind == "begin":
            now, names, blobs = Loading(), {}, {}
            found[rest] = now
        elif kind == "end":
            if now.program is None:
                now.refused = f"error {rest}"
        else:
            row: dict[str, Any] = dict(pair.split("=", 1) for pair in rest.split(" "))
            for key, value in row.items():
                text = key in ("name", "license", "insns", "funcs", "lines", "data")
                row[key] = bytes.fromhex(value) if text else int(value)
            if kind == "btf":
                blobs[row["fd"]] = row["data"]
            elif kind == "map":
                name = row["name"].decode()
                if name.startswith("libbpf_"):  # a feature probe
                    continue
                names[row["fd"]] = name
                row["inner"] = names.get(row["inner"], "") if row["inner"] else ""
                now.btf = blobs.get(row.pop("btf"), b"") or now.btf
                row["name"] = name
                row.pop("fd")
                now.maps.append(row)
            else:
                now.insns, row["maps"] = _insns(row.pop("insns"), names)
                now.btf = blobs.get(row.pop("btf"), b"") or now.btf
                now.program = row
    return found


class _Recording(LinuxKernel):
    """The running kernel, but for the programs that are being watched: those load as a harmless one."""

    def __init__(self) -> None:
        super().__init__()
        code = bytes.fromhex("b7000000000000009500000000000000")
        self.harmless = Attr("BPF_PROG_LOAD", prog_type=1, insn_cnt=2, insns=code, license=b"GPL\0")
        self.names: dict[int, str] = {}
        self.blobs: dict[int, bytes] = {}
        self.loading = Loading()
        for name in PROBES:  # answered before anything counts
            features(self).has(name)
        self.loading = Loading()

    def bpf(self, attr: Attr) -> int:
        name = attr.command.name
        if name == "BPF_PROG_LOAD":
            self._program(attr)
            return super().bpf(self.harmless)
        result = super().bpf(attr)
        if name == "BPF_BTF_LOAD":
            self.blobs[result] = bytes(attr.buffers["btf"])
        elif name == "BPF_MAP_CREATE":
            self._map(attr, result)
        return result

    def _map(self, attr: Attr, fd: int) -> None:
        get = attr.get
        made = bytes(attr.raw[attr.command.by_name["map_name"].offset :][:16]).split(b"\0")[0].decode()
        self.names[fd] = made
        self.loading.btf = self.blobs.get(get("btf_fd"), b"") or self.loading.btf
        self.loading.maps.append(
            {
                "type": get("map_type"), "key": get("key_size"), "value": get("value_size"),
                "entries": get("max_entries"), "flags": get("map_flags"),
                "inner": self.names.get(get("inner_map_fd"), "") if get("inner_map_fd") else "",
                "extra": get("map_extra"), "ktype": get("btf_key_type_id"),
                "vtype": get("btf_value_type_id"), "name": made,
            }
        )  # fmt: skip

    def _program(self, attr: Attr) -> None:
        get = attr.get
        loading = self.loading
        loading.insns, used = _insns(bytes(attr.buffers["insns"]), self.names)
        loading.btf = self.blobs.get(get("prog_btf_fd"), b"") or loading.btf
        field = attr.command.by_name["prog_name"]
        loading.program = {
            "type": get("prog_type"), "attach": get("expected_attach_type"), "flags": get("prog_flags"),
            "target": get("attach_btf_id"), "version": get("kern_version"),
            "name": bytes(attr.raw[field.offset : field.offset + 16]).split(b"\0")[0],
            "license": bytes(attr.buffers["license"]).rstrip(b"\0"),
            "funcs": bytes(attr.buffers.get("func_info", b"")), "lines": bytes(attr.buffers.get("line_info", b"")),
            "maps": used,
        }  # fmt: skip


def ours(obj: Object) -> dict[str, Loading]:
    """Each program as our loader loads it."""
    found = {}
    for program in obj.programs:
        loading = _load(obj, program.name)
        if loading.program is None and program.attach_btf:
            other = tuple(replace(p, target=FUNCTION) if p is program else p for p in obj.programs)
            loading = _load(replace(obj, programs=other), program.name)
        found[program.name] = loading
    return found


def _load(obj: Object, name: str) -> Loading:
    kernel = _Recording()
    unsized = [spec for spec in obj.maps if not spec.max_entries and spec.type != _PERF]
    sizes = {spec.name: 4096 if spec.type == _RINGBUF else 1 for spec in unsized}
    try:
        with load(obj, kernel, programs=[name], pin_root="", max_entries=sizes):
            pass
    except BombusError as error:
        if kernel.loading.program is None:
            kernel.loading.refused = str(error)
    return kernel.loading
