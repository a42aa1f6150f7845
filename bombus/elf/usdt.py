"""User statically-defined tracing points: the notes that <sys/sdt.h> leaves in a file, and where arguments are.

Facts: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation; Linux 6.12 tools/lib/bpf/usdt.c and
usdt.bpf.h (struct __bpf_usdt_spec).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from bombus.elf.image import Image
from bombus.errors import ElfError, NotSupported

_NOTE = ".note.stapsdt"
_BASE = ".stapsdt.base"
_OWNER = b"stapsdt"
_NT_STAPSDT = 3
MAX_ARGS = 12
_CONST, _REG, _REG_DEREF, INDEXED = range(4)
_EM_X86_64, _EM_AARCH64, _EM_RISCV = 62, 183, 243


@dataclass(frozen=True, slots=True)
class Point:
    """One place: file offset of its nop, of its semaphore (0: none), and the note's text of its arguments."""

    provider: str
    name: str
    offset: int
    semaphore: int
    arguments: str
    address: int


def points(image: Image, provider: str = "", name: str = "") -> list[Point]:
    """The places of a file; provider, name: only those. ElfError for damaged notes."""
    part = image.part(_NOTE)
    if part is None:
        return []
    data = image.content(part)
    base = image.part(_BASE)
    word = "Q" if image.bits == 64 else "I"
    size = 8 if image.bits == 64 else 4
    found = []
    at = 0
    while at + 12 <= len(data):
        owner_size, desc_size, kind = struct.unpack_from(image.mark + "III", data, at)
        owner_at = at + 12
        desc_at = owner_at + (owner_size + 3 & ~3)
        at = desc_at + (desc_size + 3 & ~3)
        if desc_at + desc_size > len(data):
            raise ElfError("a note reaches behind its section", offset=part.offset, path=image.path)
        if kind != _NT_STAPSDT or data[owner_at : owner_at + owner_size].rstrip(b"\0") != _OWNER:
            continue
        desc = data[desc_at : desc_at + desc_size]
        if len(desc) < 3 * size:
            raise ElfError("a USDT note is cut off", offset=part.offset + desc_at, path=image.path)
        place, linked_base, semaphore = struct.unpack_from(image.mark + 3 * word, desc)
        texts = desc[3 * size :].split(b"\0")
        if len(texts) < 3:
            raise ElfError("a USDT note has not its three texts", offset=part.offset + desc_at, path=image.path)
        owner, point, arguments = (t.decode(errors="replace") for t in texts[:3])
        if (provider and owner != provider) or (name and point != name):
            continue
        # prelink moves sections but not notes: the base section tells how far.
        shift = base.address - linked_base if base is not None and linked_base else 0
        offset = image.offset_of(place + shift, executable=True)
        counter = image.offset_of(semaphore + shift, executable=False) if semaphore else 0
        if offset is None or counter is None:
            raise ElfError(f"USDT {owner}:{point} lies outside every segment", path=image.path)
        found.append(Point(owner, point, offset, counter, arguments, place + shift))
    return found


_X86 = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbp": 32, "rbx": 40, "r11": 48, "r10": 56, "r9": 64, "r8": 72,
    "rax": 80, "rcx": 88, "rdx": 96, "rsi": 104, "rdi": 112, "rip": 128, "rsp": 152,
}  # fmt: skip  # arch/x86/include/uapi/asm/ptrace.h: struct pt_regs


def _x86_register(name: str) -> int:
    if name in _X86:
        return _X86[name]
    match = re.fullmatch(r"r(8|9|1[0-5])[dwb]", name)
    if match:
        return _X86["r" + match[1]]
    match = re.fullmatch(r"e?(ax|bx|cx|dx|si|di|bp|sp)|([abcd])l|(si|di|bp|sp)l", name)
    if match:
        return _X86["r" + (match[1] or (match[2] + "x" if match[2] else match[3]))]
    raise NotSupported(f"USDT argument in register {name}")


def _arm_register(name: str) -> int:
    if name == "sp":
        return 31 * 8
    match = re.fullmatch(r"x(\d|[12]\d|30)", name)
    if match:
        return int(match[1]) * 8  # struct user_pt_regs
    raise NotSupported(f"USDT argument in register {name}")


_RISCV_NAMES = "pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
_RISCV = tuple(_RISCV_NAMES.split(" "))


def _riscv_register(name: str) -> int:
    if name in _RISCV:
        return _RISCV.index(name) * 8  # struct user_regs_struct
    raise NotSupported(f"USDT argument in register {name}")


@dataclass(frozen=True, slots=True)
class Argument:
    """Where a value is. kind: 0 constant `value`, 1 register, 2 memory at register + value, 3 with an index register.

    register, index: offsets in struct pt_regs. size: 1, 2, 4, 8 bytes.
    """

    kind: int
    size: int
    signed: bool
    value: int = 0
    register: int = 0
    index: int = 0
    scale: int = 0  # log2

    def packed(self) -> bytes:
        """struct __bpf_usdt_arg_spec."""
        more = self.index | self.scale << 12
        return struct.pack(
            "<QBHxh?b", self.value & (1 << 64) - 1, self.kind, more, self.register, self.signed, 64 - self.size * 8
        )


_SIZED = re.compile(r"(-?)([1248])f?@(.*)")
_X86_MEMORY = re.compile(r"(-?\w*)\((?:%(\w+))?(?:,%(\w+)(?:,([1248]))?)?\)")
_X86_SPLIT = re.compile(r"\s+(?=-?\d+f?@)")


def arguments_of(text: str, machine: int) -> list[Argument]:
    """The arguments of a note. NotSupported for a machine or an operand that cannot be expressed."""
    parse = {_EM_X86_64: _x86, _EM_AARCH64: _arm, _EM_RISCV: _riscv}.get(machine)
    if parse is None:
        raise NotSupported(f"USDT arguments of ELF machine {machine}")
    found = []
    for word in _X86_SPLIT.split(text.strip()) if text.strip() else []:
        match = _SIZED.fullmatch(word.strip())
        if match is None:
            raise NotSupported(f"USDT argument {word!r}")
        found.append(parse(match[3].strip(), int(match[2]), match[1] == "-"))
    if len(found) > MAX_ARGS:
        raise NotSupported(f"USDT with {len(found)} arguments; there are at most {MAX_ARGS}")
    return found


def _number(text: str) -> int:
    try:
        return int(text, 0) if text else 0
    except ValueError:
        raise NotSupported(f"USDT argument at the symbol {text!r}") from None


def _x86(text: str, size: int, signed: bool) -> Argument:
    if text.startswith("$"):
        return Argument(_CONST, size, signed, _number(text[1:]))
    if text.startswith("%"):
        return Argument(_REG, size, signed, 0, _x86_register(text[1:]))
    match = _X86_MEMORY.fullmatch(text)
    if match is None or not match[2]:
        raise NotSupported(f"USDT argument {text!r}")
    base, value = _x86_register(match[2]), _number(match[1])
    if match[3]:
        scale = int(match[4] or 1).bit_length() - 1
        return Argument(INDEXED, size, signed, value, base, _x86_register(match[3]), scale)
    return Argument(_REG_DEREF, size, signed, value, base)


def _arm(text: str, size: int, signed: bool) -> Argument:
    match = re.fullmatch(r"\[\s*(\w+)\s*(?:,\s*#?(-?\w+)\s*)?\]", text)
    if match:
        return Argument(_REG_DEREF, size, signed, _number(match[2] or ""), _arm_register(match[1]))
    if re.fullmatch(r"-?\d\w*", text):
        return Argument(_CONST, size, signed, _number(text))
    return Argument(_REG, size, signed, 0, _arm_register(text))


def _riscv(text: str, size: int, signed: bool) -> Argument:
    match = re.fullmatch(r"(-?\w*)\((\w+)\)", text)
    if match:
        return Argument(_REG_DEREF, size, signed, _number(match[1]), _riscv_register(match[2]))
    if re.fullmatch(r"-?\d\w*", text):
        return Argument(_CONST, size, signed, _number(text))
    return Argument(_REG, size, signed, 0, _riscv_register(text))


def packed_spec(arguments: list[Argument], cookie: int) -> bytes:
    """struct __bpf_usdt_spec: 12 arguments, cookie, their count."""
    body = b"".join(argument.packed() for argument in arguments).ljust(MAX_ARGS * 16, b"\0")
    return body + struct.pack("<QhHI", cookie & (1 << 64) - 1, len(arguments), 0, 0)
