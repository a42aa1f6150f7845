"""Reads the recorded loads, verdicts and logs of real kernels as programs for the verifier."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.elf.read import read_elf
from bombus.errors import BtfError
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.opcodes import CALL
from bombus.spec.kfuncs import KFUNC
from bombus.spec.version import KernelVersion
from bombus.verifier import records
from bombus.verifier.program import NOBODY, ROOT, FuncInfo, LineInfo, MapInfo, Program

# Beside the repository, or where BOMBUS_ORACLE says.
ORACLE = Path(os.environ.get("BOMBUS_ORACLE") or Path(__file__).resolve().parents[2].parent / "shared" / "oracle")
VERSIONS = {"6.1": KernelVersion(6, 1), "6.12": KernelVersion(6, 12), "6.18": KernelVersion(6, 18)}
# The recorded kernels are built without CONFIG_BPF_KPROBE_OVERRIDE.
WITHOUT = {
    "6.1": frozenset(("override_return",)), "6.12": frozenset(("override_return",)),
    "6.18": frozenset(("override_return", "probe_write_user")),
}
VMLINUX = {"6.1": "6.1.0-56", "6.12": "6.12.117+deb12", "6.18": "6.18"}
ARENA = 33  # maps of this type were mapped by libbpf where they did not say where
CPUS = {"6.1": 1, "6.12": 1, "6.18": 2}
# Object and section: the bytes, without the zeros at their end.
CONSTANTS: dict[str, str] = json.loads((Path(__file__).parent / "data" / "constants.json").read_text())


def rows(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(ORACLE / f"{name}.jsonl.gz", "rt") as file:
        for line in file:
            yield json.loads(line)


@lru_cache(maxsize=2)
def blobs(version: str) -> dict[str, bytes]:
    return {row["sha1"]: base64.b64decode(row["data"]) for row in rows(f"btfs-{version}")}


@lru_cache(maxsize=256)
def _btf(data: bytes) -> Btf | None:
    try:
        return Btf.parse(data)
    except BtfError:
        return None


def _string(btf: Btf, offset: int) -> str | None:
    try:
        return btf.string(offset)
    except BtfError:
        return None


@dataclass(slots=True)
class Case:
    key: tuple[str, ...]
    program: Program


def _places(rows: list[dict[str, Any]], version: str) -> list[tuple[int, dict[str, Any]]]:
    """The descriptors by which instructions name the maps.

    libbpf opens a place holder for each map in order, an inner map's after its outer's, and creates maps onto them;
    what was recorded is the descriptor before. Feature probes (libbpf_*) have none. The recorder's first free
    descriptor was 8; on 6.18 it had 10 open.
    """
    real = [m for m in rows if not m.get("name", "").startswith("libbpf_")]
    free = (fd for fd in range(8, 10000) if version != "6.18" or fd != 10)
    found: list[tuple[int, dict[str, Any]]] = []
    i = 0
    while i < len(real):
        m = real[i]
        following = real[i + 1] if i + 1 < len(real) else None
        if following is not None and following["type"] in (12, 13) and following["inner_map_fd"] > 0 \
                and m["name"] == (following["name"] + ".inner")[:15]:
            outer = next(free)
            found.append((next(free), m))
            found.append((outer, following))
            i += 2
        else:
            found.append((next(free), m))
            i += 1
    return found


def _maps(row: dict[str, Any], by_fd: dict[int, Btf | None], version: str) -> dict[int, MapInfo]:
    recorded = row.get("maps", [])
    places = _places(recorded, version) if "obj" in row else [(m["fd"], m) for m in recorded]
    if len(places) == 1 and row.get("mode") == "unpriv":
        # Maps that this user may not create had place holders, too: the one that was created is the one in use.
        insns = decode(base64.b64decode(row["insns"]))
        used = {insn.imm for insn in insns if insn.opcode == 0x18 and insn.src in (1, 2)}
        if len(used) == 1 and min(used) >= 8:
            places = [(used.pop(), places[0][1])]
    maps: dict[int, MapInfo] = {}
    for number, (fd, m) in enumerate(places):
        btf = by_fd.get(m.get("btf_fd", 0)) if m.get("btf_fd") else None
        contents = base64.b64decode(m["value"]) if m.get("value") else None
        value_id = m.get("btf_value", 0)
        special = records.parse(btf, value_id, VERSIONS[version]) if btf is not None and value_id else ()
        frozen = bool(m.get("frozen"))
        if contents is None and "rodata" in m.get("name", "") and m.get("flags", 0) & 0x80:
            # Constants whose contents were not recorded: those of the compiled selftest; the others are all 0.
            name = f"{row.get('obj', '').removeprefix('selftests/').removesuffix('.bpf.o')}:{m['name']}"
            contents, frozen = bytes.fromhex(CONSTANTS.get(name, "")).ljust(m["value_size"], b"\0"), True
        inner = maps.get(m["inner_map_fd"]) if m.get("inner_map_fd", 0) > 0 else None
        if inner is not None:  # what the outer map keeps of its template has no name
            inner = replace(inner, name="")
        maps[fd] = MapInfo(
            m["type"], m["key_size"], m["value_size"], m["max_entries"], m.get("name", ""), m.get("flags", 0),
            number + 1, inner, frozen, contents, btf, m.get("btf_key", 0), value_id, special,
            m.get("map_extra", 0) or (1 << 44 if m["type"] == ARENA else 0), 0xFFFF_8000_0000_0000 + number * 0x10000,
            0xFFFF_9000_0000_0000 + number * 0x10000,
        )
    return maps


@lru_cache(maxsize=2)
def vmlinux(version: str) -> Btf:
    """The recorded BTF of a kernel."""
    with gzip.open(ORACLE / "btf" / f"vmlinux-{VMLINUX[version]}.btf.gz") as file:
        return Btf.parse(file.read())


# Kernel modules of the recorded 6.12 whose functions programs call, and where the guests' kernels are kept.
MODULES = ("net/netfilter/nf_conntrack", "net/netfilter/nf_nat", "net/ipv4/tcp_bbr", "net/ipv4/tcp_dctcp")
KERNELS = Path(os.environ.get("BOMBUS_GUEST_KERNELS", "/var/cache/bombus"))


@lru_cache(maxsize=1)
def modules() -> tuple[Btf, ...]:
    """The BTF of MODULES as Debian's package of that kernel has it; () without the package."""
    folder = KERNELS / "kernel-6.12" / "lib" / "modules" / f"{VMLINUX['6.12']}-cloud-amd64" / "kernel"
    found = []
    for name in MODULES:
        file = folder / f"{name}.ko.xz"
        if file.is_file():
            with lzma.open(file) as packed:
                elf = read_elf(packed.read())
            data = next((section.data for section in elf.sections if section.name == ".BTF"), None)
            if data is not None:
                found.append(Btf.parse(data, vmlinux("6.12")))
    return tuple(found)


def _called(insns: list[Insn]) -> set[tuple[int, int]]:
    """Functions of modules that instructions call: place of the module in fd_array, BTF id."""
    return {(insn.off, insn.imm) for insn in insns if insn.opcode == CALL and insn.src == 2 and insn.off}


@lru_cache(maxsize=1)
def _fd_arrays() -> dict[str, dict[int, Btf]]:
    """By object, the module at each place of fd_array, which was not recorded: libbpf has one for an object.

    It is the module in which all numbers that the object's programs call there are those of kernel functions.
    """
    called: dict[str, set[tuple[int, int]]] = {}
    for row in rows("loads-6.12"):
        called.setdefault(row["obj"], set()).update(_called(decode(base64.b64decode(row["insns"]))))
    found: dict[str, dict[int, Btf]] = {}
    for obj, pairs in called.items():
        for place in {place for place, _ in pairs}:
            numbers = [number for at, number in pairs if at == place]
            for btf in modules():
                if all(btf.first_id <= i < len(btf) and btf.type(i).name in KFUNC for i in numbers):
                    found.setdefault(obj, {})[place] = btf
    return found


def translate(load: dict[str, Any], version: str) -> None:
    """Give the functions of 6.12 that a load names the BTF ids that they have in another kernel, missing ones 0."""
    attr = load["attr"]
    if attr.get("attach_btf_id"):
        attr["attach_btf_id"] = _same_function(attr["attach_btf_id"], version)
    insns = decode(base64.b64decode(load["insns"]))
    for i, insn in enumerate(insns):
        if insn.opcode == CALL and insn.src == 2 and insn.imm:  # functions of modules are missing without modules
            insns[i] = insn._replace(off=0, imm=0 if insn.off else _same_function(insn.imm, version))
    load["insns"] = base64.b64encode(encode(insns)).decode()


def _same_function(number: int, version: str) -> int:
    name = vmlinux("6.12").type(number).name
    btf = vmlinux(version)
    return next((i for i in btf.find_all(name) if btf.kind(i) == Kind.FUNC), 0)


def program_of(
    row: dict[str, Any], version: str, log_level: int, btfs: dict[str, bytes], *, typed: bool = False
) -> Program:
    """A recorded load. typed: with the BTF of its kernel."""
    attr = row["attr"]
    by_fd: dict[int, Btf | None] = {}
    for entry in row.get("btfs", ()):
        data = base64.b64decode(entry["data"]) if "data" in entry else btfs.get(entry["sha1"])
        by_fd[entry["fd"]] = _btf(data) if data is not None else None
    maps = _maps(row, by_fd, version)
    btf = by_fd.get(attr.get("prog_btf_fd", 0)) if attr.get("prog_btf_fd") else None
    func_info = []
    if row.get("func_info"):
        raw = base64.b64decode(row["func_info"])
        size = attr["func_info_rec_size"] or 8
        func_info = [FuncInfo(*struct.unpack_from("<II", raw, i)) for i in range(0, len(raw), size)]
    lines = []
    if row.get("line_info") and btf is not None:
        raw = base64.b64decode(row["line_info"])
        size = attr["line_info_rec_size"] or 16
        for i in range(0, len(raw), size):
            insn, file, line, place = struct.unpack_from("<IIII", raw, i)
            name, text = _string(btf, file), _string(btf, line)
            bad = name is None or text is None
            lines.append(
                LineInfo(insn, name or "", text or "", place >> 10, place & 0x3FF, -1 if bad else file)
            )
    insns = decode(base64.b64decode(row["insns"]))
    places = [place for place, _ in _called(insns)]
    array = _fd_arrays().get(row.get("obj", ""), {}) if typed and version == "6.12" and places else {}
    return Program(
        insns, attr["prog_type"], VERSIONS[version],
        attr.get("expected_attach_type", 0), attr.get("license", ""), attr.get("name", ""),
        attr.get("prog_flags", 0), NOBODY if row.get("mode") == "unpriv" else ROOT, maps,
        range(max(places) + 1) if places else attr.get("fd_array", ()), btf, func_info, lines,
        attr.get("attach_btf_id", 0), bool(attr.get("attach_prog_fd")), vmlinux(version) if typed else None,
        log_level, CPUS[version],
        frozenset((0, 1, 2)), WITHOUT[version], data_symbols=version != "6.18", modules=array,
    )


_ADDRESS = re.compile(r"0xffff[0-9a-f]{12}|0xff[0-9a-f]{14}")
_TIME = re.compile(r"verification time \d+ usec")
_MAP_ADDRESS = re.compile(r"\((18)\) r(\d) = 0x[0-9a-f]+(?: +;)?")


def normal(log: str) -> str:
    """A log without what differs between runs: addresses and times."""
    log = _TIME.sub("verification time usec", log)
    return _MAP_ADDRESS.sub(r"(\1) r\2 = PTR;", log)
