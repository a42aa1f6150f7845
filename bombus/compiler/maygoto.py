"""Instructions may_goto, which LLVM makes of inline assembly only: put where a marker stands.

`bpf.can_loop()` is compiled to two pairs of instructions, `rN ^= MARKER` on a register that holds nothing yet and a
jump that asks whether rN is 0, which says that the budget is used up. Nothing else moves: the jump of the first pair
becomes may_goto, the others a goto to the next instruction, which the kernel takes out. (Or, where a jump is the one to
the next round: may_goto over a goto.)
"""

from __future__ import annotations

from typing import Final

from bombus.elf import model
from bombus.elf.read import read_elf
from bombus.errors import CodegenError
from bombus.isa import opcodes as op
from bombus.isa.build import may_goto
from bombus.isa.insn import INSN_SIZE, ByteOrder, Insn, decode, encode

_MARK: Final = op.BPF_ALU64 | op.BPF_XOR | op.BPF_K
_ZERO: Final = op.BPF_JMP | op.BPF_JEQ | op.BPF_K
_OTHER: Final = op.BPF_JMP | op.BPF_JNE | op.BPF_K


def with_may_goto(data: bytes, marker: int) -> bytes:
    """The object `data` with may_goto instead of markers. CodegenError when one does not stand as it should."""
    out = bytearray(data)
    elf = read_elf(data)
    order: ByteOrder = "little" if elf.byteorder == "little" else "big"
    for section in elf.sections:
        if not section.flags & model.SHF_EXECINSTR or section.type != model.SHT_PROGBITS:
            continue
        slots = decode(section.data, order)
        sources = _sources(slots)
        for at, insn in enumerate(slots):
            if insn.opcode != _MARK or insn.imm not in (marker, marker + 1):
                continue
            made = _replacement(slots, at, sources, insn.imm == marker)
            if not made or _used(slots, made[1][0], insn.dst, (marker, marker + 1)):
                raise CodegenError(f"LLVM took can_loop() apart at instruction {at} of section {section.name}")
            for place, new in made:
                start = section.offset + place * INSN_SIZE
                out[start : start + INSN_SIZE] = encode([new], order)
    return bytes(out)


def _sources(slots: list[Insn]) -> dict[int, list[int]]:
    """Where jumps to an instruction stand."""
    found: dict[int, list[int]] = {}
    for at, insn in enumerate(slots):
        if insn.opcode & 7 in (op.BPF_JMP, op.BPF_JMP32):
            found.setdefault(at + 1 + insn.off, []).append(at)
    return found


def _replacement(slots: list[Insn], at: int, sources: dict[int, list[int]], asks: bool) -> list[tuple[int, Insn]]:
    """The instructions instead of the marker at `at` and its jump; [] when there is none as it should be. asks: whether
    the jump is taken when the budget is used up; otherwise never.

    Between them may be others, also jumps over a few of these (a choice between two values)."""
    register = slots[at].dst
    nothing = Insn(op.JA)
    place = at + 1
    landing = place  # where jumps in between lead, at the most
    while place < len(slots) and all(at < source < place for source in sources.get(place, ())):
        insn = slots[place]
        if insn.opcode & 7 in (op.BPF_JMP, op.BPF_JMP32):
            if insn.opcode in (op.CALL, op.EXIT, op.GOTOL):
                return []
            if insn.dst != register or insn.imm or insn.opcode not in (_ZERO, _OTHER):
                if insn.off < 0 or register in (insn.dst, insn.src):
                    return []
                landing = max(landing, place + 1 + insn.off)
                place += 1
                continue
            if landing > place:
                return []
            onwards = Insn(op.JA, off=insn.off)
            if not asks:
                return [(at, nothing), (place, nothing if insn.opcode == _ZERO else onwards)]
            if insn.opcode == _ZERO:  # to the end of the loop
                return [(at, nothing), (place, may_goto(insn.off))]
            return [(at, may_goto(1)), (place, onwards)] if place == at + 1 else []
        if register in (insn.dst, insn.src) and insn.opcode:
            return []
        place += 2 if insn.is_ld_imm64 else 1
    return []


def _used(slots: list[Insn], jump: int, register: int, markers: tuple[int, int]) -> bool:
    """Whether something behind a marker's jump reads its register, which holds nothing any more."""
    from bombus.jit.uses import reads_writes  # few programs need it

    todo, seen = [jump + 1, jump + 1 + slots[jump].off], set()
    while todo:
        at = todo.pop()
        if at in seen or not 0 <= at < len(slots):
            continue
        seen.add(at)
        insn = slots[at]
        kind = insn.opcode & 7
        if insn.opcode == op.CALL:
            if register < 6:
                continue
        elif insn.opcode == _MARK and insn.imm in markers:  # takes its register as it is, and gives it another value
            if insn.dst == register:
                continue
        else:
            read, written = reads_writes(insn)
            if read >> register & 1:
                return True
            if written >> register & 1:
                continue
        if insn.opcode == op.EXIT:
            continue
        if insn.opcode == op.GOTOL:
            todo.append(at + 1 + insn.imm)
            continue
        if kind in (op.BPF_JMP, op.BPF_JMP32) and insn.opcode != op.CALL:
            todo.append(at + 1 + insn.off)
        if insn.opcode != op.JA:
            todo.append(at + (2 if insn.is_ld_imm64 else 1))
    return False
