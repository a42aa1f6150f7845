"""Native code as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bombus.errors import NotSupported
from bombus.jit import abi
from bombus.jit.engine import NativeProgram


class Line(NamedTuple):
    """One machine instruction: its address, its bytes, its text."""

    address: int
    data: bytes
    text: str


def disassemble(data: bytes, address: int) -> Iterator[Line]:
    """The instructions of x86-64 code. NotSupported without capstone."""
    try:
        import capstone  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise NotSupported("disassembly of native code", "it needs capstone: pip install bombus[jited]") from None
    for insn in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(data, address):
        yield Line(insn.address, bytes(insn.bytes), f"{insn.mnemonic} {insn.op_str}".strip())


def functions(program: NativeProgram) -> dict[str, tuple[int, bytes]]:
    """Address and bytes of each function of a program: bpf_main, those that LLVM did not inline, and callbacks."""
    program.prepare()
    linked = program.linked
    if linked is None:
        raise NotSupported("native code of this program", "its functions share most of their code")
    code = linked.code.bytes()
    found = {}
    for name, (address, size) in sorted(linked.functions.items(), key=lambda item: (item[0] != abi.MAIN, item[1])):
        offset = address - linked.code.address
        found[name] = address, code[offset : offset + size]
    return found


def listing(program: NativeProgram, *, opcodes: bool = False) -> str:
    """The code of a program as bpftool shows it: offsets within each function, opcodes where asked for."""
    out = []
    for name, (address, data) in functions(program).items():
        out.append(f"{name}:")
        for line in disassemble(data, address):
            out.append(f"{line.address - address:4x}:\t{line.text}")
            if opcodes:
                out.append("\t" + line.data.hex(" "))
    return "\n".join(out) + "\n"
