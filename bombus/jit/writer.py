"""The lines of one LLVM function, and where the registers of BPF are while they are written.

Registers are stack slots that LLVM promotes; within a block their values are handed on directly. `%frame` is the
address of the function's stack frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.jit import abi
from bombus.jit.narrow import narrow_at
from bombus.jit.ops import LlvmOps
from bombus.jit.uses import Uses

if TYPE_CHECKING:
    from bombus.jit.lower import Module
    from bombus.vm.flow import Block


# Kinds of slots and their types.
SLOTS: Final = {"r": "i64", "n": "i32", "p": "ptr"}


def field_of(name: str, into: str) -> str:
    """The line that makes `into` the address of a member of `run`."""
    return f"  {into} = getelementptr i8, ptr %run, i64 {abi.RUN[name][0]}"


class Left(Exception):
    """The block ends here: control has gone."""


class Writer:
    """`here`: the instruction that is written. `blocks`: the function's. `main`: it is bpf_main itself."""

    def __init__(self, module: Module, entry: int, blocks: dict[int, Block], *, main: bool) -> None:
        self.module = module
        self.insns = module.insns
        self.options = module.out.options
        self.entry = entry
        self.blocks = blocks
        self.main = main
        self.ops = LlvmOps(blind=self.options.blind)
        self.facts = module.out.options.facts
        self.plain = module.plain
        self.uses = Uses(self.insns, blocks, self.plain, self.facts.pointer, module.arrays)
        self.narrow = narrow_at(self.insns, blocks, entry)
        # Registers whose value is at hand, as numbers and as pointers; slots that have it: "r3", of 32 bits "n3", "p3".
        self.values: dict[int, str] = {}
        self.places: dict[int, str] = {}
        self.clean: set[str] = set()
        self.pointers = 0  # registers that the block gets as pointers
        self.start = entry  # of the block
        self.slots: set[str] = set()
        self.caches: set[int] = set()  # base registers whose accesses are checked
        self.resets: list[int] = []  # lines that forget the caches
        self.rooms: list[tuple[str, int]] = []  # names and bytes of what the function has on its native stack
        self.here = entry
        self.marks: list[tuple[int, int]] = []  # line where an instruction begins, and its index

    def line(self, text: str) -> None:
        self.ops.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.ops.lines.append(f"{name[1:]}:")

    def field(self, name: str) -> str:
        return self.ops.emit(f"getelementptr i8, ptr %run, i64 {abi.RUN[name][0]}")

    def room(self, size: int) -> str:
        """A pointer to bytes on the native stack, as long as the function runs."""
        name = self.ops.name()
        self.rooms.append((name, size))
        return name

    # ------------------------------------------------------------------------------------------ registers

    def read(self, reg: int) -> str:
        """A register as a number."""
        value = self.values.get(reg)
        if value is None:
            if reg == op.BPF_REG_FP:
                value = "%fp"
            elif reg in self.places or self.pointers >> reg & 1:
                value = self.ops.emit(f"ptrtoint ptr {self.pointer(reg)} to i64")
            else:
                slot = self.slot(self.start, reg)
                self.slots.add(slot)
                value = self.ops.emit(f"load {SLOTS[slot[0]]}, ptr %{slot}")
                if slot[0] == "n":
                    value = self.ops.zext(value, 32, 64)
            self.values[reg] = value
        return value

    def slot(self, block: int, reg: int) -> str:
        """The slot that the block starting there gets a register in."""
        if self.uses.pointers.get(block, 0) >> reg & 1:
            return f"p{reg}"
        return f"n{reg}" if self.narrow.get(block, 0) >> reg & 1 else f"r{reg}"

    def pointer(self, reg: int) -> str:
        """A register as a pointer."""
        place = self.places.get(reg)
        if place is None:
            if reg == op.BPF_REG_FP:
                place = "%fpp"
            elif reg not in self.values and self.pointers >> reg & 1:
                self.slots.add(f"p{reg}")
                place = self.ops.emit(f"load ptr, ptr %p{reg}")
            else:
                place = self.ops.emit(f"inttoptr i64 {self.read(reg)} to ptr")
            self.places[reg] = place
        return place

    def is_pointer(self, reg: int) -> bool:
        """Is the register at hand as a pointer?"""
        return reg == op.BPF_REG_FP or reg in self.places or (reg not in self.values and bool(self.pointers >> reg & 1))

    def write(self, reg: int, value: str | None, place: str | None = None) -> None:
        """The register becomes a number, a pointer, or both in one."""
        if reg == op.BPF_REG_FP:
            raise EncodingError("writes r10, the frame pointer", field="dst")
        self.values.pop(reg, None)
        self.places.pop(reg, None)
        self.pointers &= ~(1 << reg)
        self.clean -= {f"r{reg}", f"n{reg}", f"p{reg}"}
        if value is not None:
            self.values[reg] = value
        if place is not None:
            self.places[reg] = place

    def flush(self, targets: tuple[int, ...]) -> None:
        """Bring the slots that the next blocks begin with up to date."""
        for target in targets:
            live = self.uses.live.get(target, 0)
            for reg in range(10):
                if not live >> reg & 1:
                    continue
                slot = self.slot(target, reg)
                if slot in self.clean:
                    continue
                self.slots.add(slot)
                self.clean.add(slot)
                value = self.pointer(reg) if slot[0] == "p" else self.read(reg)
                if slot[0] == "n":
                    value = self.ops.trunc(value, 64, 32)
                self.line(f"store {SLOTS[slot[0]]} {value}, ptr %{slot}")

    # ------------------------------------------------------------------------------------------ ways out

    def stop(self, status: int, fault: int = 0) -> None:
        self.line(f"call void @stop(ptr %run, i32 {status}, i32 {self.here}, i32 {fault})")
        self.line("ret i64 0")

    def fault(self, kind: str, message: str) -> None:
        self.stop(abi.FAULT, self.module.fault(kind, message))

    def leave_if_stopped(self) -> None:
        status = self.ops.emit("load i32, ptr %run, align 8")
        stopped = self.ops.emit(f"icmp ne i32 {status}, {abi.RETURNED}")
        out, on = self.ops.name(), self.ops.name()
        self.line(f"br i1 {stopped}, label {out}, label {on}, !prof !1")
        self.label(out)
        self.line("ret i64 0")
        self.label(on)

    def outside(self) -> None:
        """What code behind a call may want to know: where we are, and in which frame."""
        self.line(f"store i32 {self.here}, ptr {self.field('insn')}, align 4")
        if self.module.callbacks and not self.module.native_frames:
            self.line(f"store i64 %frame, ptr {self.field('frame')}, align 8")

    def service(self, symbol: str, args: list[str]) -> str:
        self.module.out.needs.add(symbol)
        self.outside()
        listed = ", ".join(f"i64 {arg}" for arg in args)
        result = self.ops.emit(f"call i64 @{symbol}(ptr %run, {listed})")
        self.leave_if_stopped()
        return result

    def forget(self) -> None:
        """Regions may have changed behind a call."""
        self.resets.append(len(self.ops.lines))
        self.ops.lines.append("")
