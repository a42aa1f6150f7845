"""The control flow graph of a loaded program as `bpftool prog dump xlated ... visual` draws it, for Graphviz.

Source: Linux 6.1 tools/bpf/bpftool/cfg.c, behaviour. Other than there, an exit in the middle of a function leads to
EXIT, not to the block below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bombus.isa import opcodes as op

if TYPE_CHECKING:
    from bombus.asm import Line
    from bombus.isa.insn import Insn
    from bombus.kernel.handles import Program

_JMP, _JMP32 = 5, 6  # BPF_JMP, BPF_JMP32
_JA, _EXIT, _CALL = 0x00, 0x90, 0x80  # BPF_OP of an instruction
_PSEUDO_CALL = 1
_ENTRY, _LAST = 0, 1
_FIRST = 2  # number of the first real block


@dataclass(slots=True)
class _Block:
    """start, end: slots; `to` are blocks, in the order in which bpftool draws them."""

    start: int
    end: int = 0
    number: int = 0
    to: list[int] = field(default_factory=list)


def graph(program: Program) -> Iterator[str]:
    """Lines of a DOT file."""
    from bombus.cli.xlated import graph_lines

    insns = program.instructions()
    lines = {line.index: line for line in graph_lines(program, insns)}
    far = program.kernel.name == "linux"  # there, calls keep their distance in `off` and an address in `imm`
    yield 'digraph "DOT graph for eBPF program" {'
    starts = sorted({0} | {at + 1 + (i.off if far else i.imm) for at, i in enumerate(insns) if _local_call(i)})
    starts = [at for at in starts if 0 <= at < len(insns)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(insns)], strict=True)):
        yield f'subgraph "cluster_{number}" {{'
        yield '\tstyle="dashed";'
        yield '\tcolor="black";'
        yield f'\tlabel="func_{number} ()";'
        yield from _function(number, _blocks(insns, start, end), lines, start)
        yield "}"
    yield "}"


def _local_call(insn: Insn) -> bool:
    return insn.opcode == op.CALL and insn.src == _PSEUDO_CALL


def _jump(insn: Insn) -> bool:
    return insn.opcode & 7 in (_JMP, _JMP32) and insn.opcode & 0xF0 not in (_EXIT, _CALL)


def _target(at: int, insn: Insn) -> int:
    far = insn.opcode & 0xF7 == _JMP32  # gotol
    return at + 1 + (insn.imm if far else insn.off)


def _blocks(insns: list[Insn], start: int, end: int) -> list[_Block]:
    heads = {start}
    for at in range(start, end):
        insn = insns[at]
        if _jump(insn):
            heads.add(_target(at, insn))
            if insn.opcode & 0xF0 != _JA:
                heads.add(at + 1)
    blocks = [_Block(at) for at in sorted(heads) if start <= at < end]
    for number, block in enumerate(blocks):
        block.number = number + _FIRST
        block.end = blocks[number + 1].start if number + 1 < len(blocks) else end
    by_start = {block.start: block.number for block in blocks}
    for number, block in enumerate(blocks):
        below = blocks[number + 1].number if number + 1 < len(blocks) else _LAST
        last = insns[block.end - 1]
        kind = last.opcode & 0xF0
        if not _jump(last):
            ends = last.opcode & 7 in (_JMP, _JMP32) and kind == _EXIT
            block.to.append(_LAST if ends else below)
            continue
        if kind != _JA:
            block.to.append(below)
        block.to.append(by_start.get(_target(block.end - 1, last), _LAST))
    return blocks


def _function(number: int, blocks: list[_Block], lines: dict[int, Line], start: int) -> Iterator[str]:
    yield from _node(number, _ENTRY, "Mdiamond", "ENTRY")
    for block in blocks:
        texts = [f"{at - start:4}: {_escaped(lines[at].text)}\\l\\\n" for at in range(block.start, block.end)
                 if at in lines]  # fmt: skip
        yield from _node(number, block.number, "record", "{" + " | ".join(texts) + "}")
    yield from _node(number, _LAST, "Mdiamond", "EXIT")
    yield _edge(number, _ENTRY, _FIRST)
    for block in blocks:
        for to in block.to:
            yield _edge(number, block.number, to)
    yield f'\tfn_{number}_bb_{_ENTRY}:s -> fn_{number}_bb_{_LAST}:n [style="invis", constraint=true];'


def _node(number: int, block: int, shape: str, label: str) -> Iterator[str]:
    yield f'\tfn_{number}_bb_{block} [shape={shape},style=filled,label="{label}"];'
    yield ""


def _edge(number: int, source: int, to: int) -> str:
    return (
        f'\tfn_{number}_bb_{source}:s -> fn_{number}_bb_{to}:n [style="solid,bold", color=black, weight=10, '
        "constraint=true];"
    )


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "<>|&" else char for char in text)
