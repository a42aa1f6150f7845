"""Machine code of loaded programs as `bpftool prog dump jited` prints it, disassembled by capstone.

Source: Linux 6.1 tools/bpf/bpftool/prog.c and jit_disasm.c, behaviour. The text of instructions is capstone's, where
bpftool's is that of the library it was built with.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bombus.btf.ext import LineInfo
from bombus.btf.signature import signature
from bombus.errors import BombusError, NotSupported, UsageError
from bombus.kernel.handles.info import read_info

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.kernel.handles import Program


@dataclass(frozen=True, slots=True)
class _Part:
    """One compiled function."""

    proto: str
    name: str
    address: int
    code: bytes
    sources: dict[int, LineInfo]  # by address


def _disassembler() -> Any:
    """capstone for this machine."""
    import importlib
    import os

    try:
        cs: Any = importlib.import_module("capstone")
    except ImportError:
        raise NotSupported(
            "disassembling machine code", "pip install bombus[jited] (capstone), or write the bytes with 'file FILE'"
        ) from None
    machine = os.uname().machine
    known = {
        "x86_64": (cs.CS_ARCH_X86, cs.CS_MODE_64), "i686": (cs.CS_ARCH_X86, cs.CS_MODE_32),
        "aarch64": (cs.CS_ARCH_ARM64, cs.CS_MODE_ARM), "armv7l": (cs.CS_ARCH_ARM, cs.CS_MODE_ARM),
        "ppc64le": (cs.CS_ARCH_PPC, cs.CS_MODE_64), "s390x": (cs.CS_ARCH_SYSZ, cs.CS_MODE_BIG_ENDIAN),
        "riscv64": (cs.CS_ARCH_RISCV, cs.CS_MODE_RISCV64), "mips64": (cs.CS_ARCH_MIPS, cs.CS_MODE_MIPS64),
    }  # fmt: skip
    if machine not in known:
        raise NotSupported(f"disassembling the code of {machine}")
    arch, mode = known[machine]
    engine = cs.Cs(arch, mode)
    if arch == cs.CS_ARCH_X86:
        engine.syntax = cs.CS_OPT_SYNTAX_ATT
    engine.skipdata = True
    return engine


def _parts(program: Program) -> tuple[list[_Part], Btf | None]:
    code = program.jited()
    if not code:
        raise UsageError("no instructions returned: the program is not compiled, or kernel.kptr_restrict hides them")
    info = program.info()
    btf: Btf | None = None
    functions: list[int] = []
    if info["btf_id"]:
        try:
            from bombus.kernel.handles import Btf as Handle

            with Handle.from_id(program.kernel, info["btf_id"]) as handle:
                btf = handle.parsed()
            size = info["func_info_rec_size"]
            data = program.func_info()
            functions = [struct.unpack_from("=II", data, at)[1] for at in range(0, len(data), size or 1)]
        except BombusError:
            btf = None
    count = info["nr_jited_func_lens"]
    buffer = bytearray(4 * count)
    if count:
        read_info(program.kernel, program.fd, "bpf_prog_info", inputs={"nr_jited_func_lens": count},
                  buffers={"jited_func_lens": buffer})  # fmt: skip
    lengths = [int.from_bytes(buffer[i : i + 4], sys.byteorder) for i in range(0, len(buffer), 4)] or [len(code)]
    addresses = program.jited_ksyms()
    from bombus.kernel.linux.symbols import names_of

    names = names_of(set(addresses)) if addresses and program.kernel.name != "user" else {}
    if program.kernel.name == "user":
        names = _own_names(program)
        functions = functions[:1]  # the others are those that LLVM left, in its order
    sources = _sources(program, btf)
    parts, at = [], 0
    for index, length in enumerate(lengths):
        address = addresses[index] if index < len(addresses) else 0
        name = names.get(address, f"0x{address:016x}") if address else "unknown"
        proto = signature(btf, functions[index]) if btf is not None and index < len(functions) else ""
        parts.append(_Part(proto, name, address, code[at : at + length], sources))
        at += length
    return parts, btf


def _own_names(program: Program) -> dict[int, str]:
    """Names of a user kernel's code by address, as its perf map has them."""
    from bombus.jit.perfmap import names
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.proginfo import native_code

    kernel = program.kernel
    assert isinstance(kernel, UserKernel)
    prog = kernel.object("BPF_OBJ_GET_INFO_BY_FD", program.fd, "prog")
    assert isinstance(prog, Prog)
    native = native_code(prog)
    if native is None or native.linked is None:
        return {}
    return {address: name for name, address, _ in names(native.label, native.linked)}


def _sources(program: Program, btf: Btf | None) -> dict[int, LineInfo]:
    """Source lines by the address where their code begins."""
    info = program.info()
    count, size = info["nr_jited_line_info"], info["jited_line_info_rec_size"]
    if btf is None or not count or not size:
        return {}
    buffer = bytearray(count * size)
    read_info(program.kernel, program.fd, "bpf_prog_info",
              inputs={"nr_jited_line_info": count, "jited_line_info_rec_size": size},
              buffers={"jited_line_info": buffer})  # fmt: skip
    record = info["line_info_rec_size"]
    data = program.line_info()
    found: dict[int, LineInfo] = {}
    for index in range(min(count, len(data) // record if record else 0)):
        address = int.from_bytes(buffer[index * size : index * size + 8], sys.byteorder)
        if address:
            found.setdefault(address, LineInfo(*struct.unpack_from("=4I", data, index * record)))
    return found


def as_text(program: Program, flags: Collection[str]) -> Iterator[str]:
    """Lines; flags: "opcodes", "linum"."""
    from bombus.cli.xlated import place, source_text

    engine = _disassembler()
    parts, btf = _parts(program)
    for part in parts:
        if part.proto:
            yield f"{part.proto}:"
        yield f"{part.name}:"
        for insn in engine.disasm(part.code, 0):
            source = part.sources.get(part.address + insn.address)
            if source is not None and btf is not None:
                yield f"; {source_text(btf, source)}" + (place(btf, source) if "linum" in flags else "")
            yield f"{insn.address:4x}:\t{insn.mnemonic}\t{insn.op_str}".rstrip()
            if "opcodes" in flags:
                yield "\t" + "".join(f"{byte:02x} " for byte in insn.bytes)
        yield ""


def as_rows(program: Program, flags: Collection[str]) -> list[dict[str, Any]]:
    """The same for JSON, with bpftool's member names."""
    from bombus.cli.xlated import source_members

    engine = _disassembler()
    parts, btf = _parts(program)
    rows = []
    for part in parts:
        insns = []
        for insn in engine.disasm(part.code, 0):
            row: dict[str, Any] = {}
            source = part.sources.get(part.address + insn.address)
            if source is not None and btf is not None:
                row |= source_members(btf, source, "linum" in flags)
            row["pc"] = f"0x{insn.address:x}"
            row["operation"] = insn.mnemonic
            row["operands"] = [text.strip() for text in insn.op_str.split(",")] if insn.op_str else [None]
            if "opcodes" in flags:
                row["opcodes"] = [f"0x{byte:02x}" for byte in insn.bytes]
            insns.append(row)
        proto = {"proto": part.proto} if part.proto else {}
        rows.append(proto | {"name": part.name, "insns": insns})
    return rows
