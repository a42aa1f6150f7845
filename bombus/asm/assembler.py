"""Assembler: text to sections, symbols, relocations and instructions.

Three syntaxes are read, also mixed line by line: clang's and llvm-objdump's (`r1 = *(u32 *)(r2 + 4)`), the
kernel log's and bpftool's (`5: (61) r1 = *(u32 *)(r2 +4)`), and ubpf's (`ldxw %r1, [%r2+4]`).
"""

from __future__ import annotations

import re
from typing import Literal

from bombus.asm import csyntax, directives, usyntax
from bombus.asm.builder import Builder
from bombus.asm.code import as_register
from bombus.asm.model import R_BPF_64_32, SLOT, Assembled
from bombus.asm.resolve import Resolver
from bombus.asm.tokens import Statement, statements
from bombus.bits import s32
from bombus.errors import AsmError, UsageError
from bombus.isa import build as b
from bombus.isa.insn import ByteOrder, Insn, decode

InputStyle = Literal["auto", "llvm", "kernel", "ubpf"]

# `0000000000000010 <name>:`, how objdump begins a function.
_OBJDUMP_LABEL = re.compile(r"\s*[0-9a-f]{8,16} <(.+)>:\s*$")

_GCC = re.compile(r"^\s*\.ident\s+\"GCC:", re.M)


def assemble(text: str, style: InputStyle = "auto", byteorder: ByteOrder = "little") -> Assembled:
    """Assemble `text`. AsmError with line, column and the line's text at the first mistake.

    style "auto" tells per statement whether it is ubpf's syntax or the other ones'. "llvm" and "kernel" take
    the C-like syntax only, "ubpf" its own only. In "kernel" a number before a colon is an instruction's index
    and `;` begins a comment; in the others it is a local label (`1:`, `goto 1b`), and `;` separates statements,
    except after a log's `(bf)` opcode and at the start of a line.

    `.align` counts bytes as with clang; powers of two as with gas when the text is gcc's (`.ident "GCC: ..."`).
    `call NAME` of a function that is not in the text is a helper call when a helper has that name
    (`bpf_map_lookup_elem`) and no directive declares it; otherwise a relocation.
    """
    if style not in ("auto", "llvm", "kernel", "ubpf"):
        raise UsageError(f"assembly style {style!r}; use 'auto', 'llvm', 'kernel' or 'ubpf'")
    if byteorder not in ("little", "big"):
        raise UsageError(f"byte order {byteorder!r}; use 'little' or 'big'")
    builder = Builder(byteorder, _GCC.search(text) is not None)
    for statement in statements(text, style == "kernel"):
        _statement(builder, statement, style)
    resolver = Resolver(builder)
    resolver.run()
    sections = resolver.freeze_sections()
    symbols = resolver.freeze_symbols()
    main = next((s.name for s in builder.sections.values() if s.has_code), ".text")
    return Assembled(
        sections,
        symbols,
        *_main_view(builder, main),
        main,
        byteorder,
        tuple(builder.maps),
    )


def _statement(builder: Builder, s: Statement, style: InputStyle) -> None:
    header = _OBJDUMP_LABEL.match(s.source)
    if header is not None:
        if style in ("auto", "llvm"):
            builder.define(header[1], s, header.start(1) + 1)
            return
        s.fail("this looks like llvm-objdump's output; use the style llvm")
    while s.is_op(":", 1):
        token = s.next()
        if token.kind == "number" and token.text.isdigit():
            if style != "kernel":
                builder.define_numeric(str(int(token.text)), s)
        elif token.kind in ("name", "string"):
            builder.define(token.text.strip('"'), s, token.column)
        else:
            s.fail(f"{token.text!r} is no name for a label", token)
        s.expect(":")
    token = s.peek()
    if token.kind == "end":
        return
    if directives.is_directive(token):
        directives.run(builder, s)
    elif s.is_op("=", 1) and token.kind == "name" and as_register(token) is None:
        s.at += 2
        directives.assign(builder, s, token.text, token)
        s.done()
    elif style == "ubpf" or (style == "auto" and _is_ubpf(s)):
        builder.emit_code(usyntax.parse(s, builder.scope), s)
    else:
        builder.emit_code(csyntax.parse(s, builder.scope), s)


def _is_ubpf(s: Statement) -> bool:
    """Whether the statement is in ubpf's syntax; `exit` and `call 1` are the same in both."""
    token = s.peek()
    if token.kind != "name" or token.text not in usyntax.MNEMONICS:
        return False
    if token.text == "lock":
        return not s.is_op("*", 1)
    if token.text == "may_goto":
        return False
    if token.text == "call":
        return s.peek(1).text in ("local", "runtime", "helper", "%") and s.peek(2).kind != "end"
    return True


def _main_view(builder: Builder, main: str) -> tuple[tuple[Insn, ...], dict[str, int], tuple[int, ...]]:
    """Instructions, labels by slot and lines by slot of the main code section."""
    section = builder.sections[main]
    if len(section.data) % SLOT:
        if not section.has_code:
            return (), {}, ()
        line = section.lines[max(section.lines)]
        message = f"section {main} has {len(section.data)} bytes, which is no whole number of {SLOT}-byte instructions"
        raise AsmError(message, line=line)
    insns = decode(section.data, builder.byteorder)
    for relocation in section.relocations:
        label = builder.labels.get(relocation.symbol)
        if relocation.type == R_BPF_64_32 and label is not None and label.section is section:
            slot = relocation.offset // SLOT
            insns[slot] = b.call_local(s32((label.offset - relocation.offset) // SLOT - 1))
    labels = {
        name: label.offset // SLOT
        for name, label in builder.labels.items()
        if label.section is section and "\x01" not in name
    }
    lines = tuple(section.lines.get(index * SLOT, 0) for index in range(len(insns)))
    return tuple(insns), labels, lines
