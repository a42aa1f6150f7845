"""One BPF function as one LLVM function: its blocks, and what each instruction does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.facts import DST, NEGATIVE, SRC
from bombus.isa.insn import Insn, imm64
from bombus.jit import abi, access, calls, walks
from bombus.jit.model import ADDRESSES
from bombus.jit.ops import ADDRESS, number
from bombus.jit.uses import base_of, reads_writes
from bombus.jit.writer import SLOTS, Left, Writer, field_of
from bombus.vm.run import MAX_LOOPS

if TYPE_CHECKING:
    from bombus.jit.lower import Module
    from bombus.vm.flow import Block

_STACK: Final = op.MAX_BPF_STACK
_FIVE: Final = range(1, 6)


def _depth(module: Module, entry: int, blocks: dict[int, Block]) -> int:
    """Bytes of stack that the function may touch, a multiple of 16."""
    known = module.out.options.facts.depths.get(entry)
    if module.out.options.checked or known is None:
        return _STACK
    # What the verifier left out because kernels do without it (spills around some calls) we still do.
    for block in blocks.values():
        for index in range(block.start, block.end):
            insn = module.insns[index]
            if insn.opcode & 7 in (op.BPF_LDX, op.BPF_ST, op.BPF_STX) and op.BPF_REG_FP in (insn.dst, insn.src):
                known = max(known, -insn.off)
    return min((known + 15) // 16 * 16, _STACK)


class Function(Writer):
    """Writes one function."""

    def __init__(self, module: Module, entry: int, blocks: dict[int, Block], *, main: bool) -> None:
        super().__init__(module, entry, blocks, main=main)
        self.depth = _depth(module, entry, blocks)
        self.loops = False
        self.byteorder = module.out.target.byteorder
        self.base = -1
        self.scope = 1000 if main else 1001 + entry  # the metadata node of the function

    # ------------------------------------------------------------------------------------------ text

    def text(self) -> str:
        order = sorted(self.blocks.values(), key=lambda block: block.start)
        for block in order:
            self._block(block)
        body = self.ops.lines
        for at in self.resets:
            body[at] = "\n".join(
                f"  store i64 0, ptr %c{reg}{part}, align 8" for reg in sorted(self.caches) for part in "lw"
            )
        if self.options.lines:
            self._say_where()
        return "\n".join([*self._prologue(), *body, "}", ""])

    def _say_where(self) -> None:
        """Every line of the body gets the instruction that it is for."""
        lines, scope = self.ops.lines, self.scope
        for (start, index), (end, _) in zip(self.marks, [*self.marks[1:], (len(lines), 0)], strict=True):
            for at in range(start, end):
                place = f", !dbg !DILocation(line: {index + 1}, scope: !{scope})"
                lines[at] = "\n".join(part + place if part.startswith("  ") else part for part in lines[at].split("\n"))

    def _prologue(self) -> list[str]:
        where = f"!dbg !{self.scope} " if self.options.lines else ""
        if self.main:
            lines = [f"define i64 @{abi.MAIN}(ptr %run, i64 %a1, i32 %count) nounwind {where}{{"]
            if self.module.calls:
                lines += [field_of("tail_calls", "%countp"), "  store i32 %count, ptr %countp, align 4"]
        else:
            args = ", ".join(f"i64 %a{n}" for n in _FIVE)
            lines = [f"define internal i64 @f{self.entry}(ptr %run, i64 %frame, {args}) nounwind {where}{{"]
        pointers = self.uses.pointers[self.entry]
        for slot in sorted(self.slots):
            kind, reg = slot[0], int(slot[1])
            is_given = reg in _FIVE and (reg == 1 or not self.main)
            value = "null" if kind == "p" else "0"
            lines.append(f"  %{slot} = alloca {SLOTS[kind]}")
            if kind == "r" and is_given:
                value = f"%a{reg}"
            elif kind == "p" and is_given and pointers >> reg & 1:
                value = f"%a{reg}p"
                lines.append(f"  {value} = inttoptr i64 %a{reg} to ptr")
            lines.append(f"  store {SLOTS[kind]} {value}, ptr %{slot}")
        for reg in sorted(self.caches):
            for part in "slw":
                lines += [f"  %c{reg}{part} = alloca i64, align 8", f"  store i64 0, ptr %c{reg}{part}, align 8"]
        if self.loops:
            lines += ["  %loops = alloca i64, align 8", f"  store i64 {MAX_LOOPS}, ptr %loops, align 8"]
        lines += [f"  {name} = alloca [{size} x i8], align 8" for name, size in self.rooms]
        return [*lines, *self._stack(), f"  br label %b{self.entry}"]

    def _stack(self) -> list[str]:
        """%fpp and %fp, the end of the frame, and zeros in it."""
        if self.module.native_frames:
            if not self.depth:
                return ["  %fpp = getelementptr i8, ptr null, i64 0", "  %fp = add i64 0, 0"]
            return [
                f"  %mem = alloca [{self.depth} x i8], align 16",
                f"  call void @llvm.memset.p0.i64(ptr align 16 %mem, i8 0, i64 {self.depth}, i1 false)",
                f"  %fpp = getelementptr i8, ptr %mem, i64 {self.depth}",
                "  %fp = ptrtoint ptr %fpp to i64",
            ]
        lines = []
        if self.main:
            lines = [field_of("frame", "%framep"), "  %frame = load i64, ptr %framep, align 8"]
        lines += [
            f"  %fp = add i64 %frame, {_STACK}",
            "  %framemem = inttoptr i64 %frame to ptr",
            f"  %fpp = getelementptr i8, ptr %framemem, i64 {_STACK}",
        ]
        if self.depth:
            lines += [
                f"  %mem = getelementptr i8, ptr %framemem, i64 {_STACK - self.depth}",
                f"  call void @llvm.memset.p0.i64(ptr align 8 %mem, i8 0, i64 {self.depth}, i1 false)",
            ]
        return lines

    # ------------------------------------------------------------------------------------------ blocks

    def _block(self, block: Block) -> None:
        self.label(f"%b{block.start}")
        self.values, self.places = {}, {}
        self.pointers = self.uses.pointers[block.start]
        live = self.uses.live[block.start]
        self.start = self.here = block.start
        self.clean = {self.slot(block.start, reg) for reg in range(10) if live >> reg & 1}
        self.marks.append((len(self.ops.lines), block.start))
        try:
            if self.options.budget:
                self._count(block)
            condition = self._straight(block)
        except Left:
            return
        self.flush(block.next)
        if condition is not None and len(block.next) == 2:
            straight_on, taken = block.next
            self.line(f"br i1 {condition}, label {self._to(taken)}, label {self._to(straight_on)}")
        else:
            self.line(f"br label {self._to(block.next[0])}")
        for target in dict.fromkeys(block.next):
            if target not in self.blocks:
                self.label(self._to(target))
                length = len(self.insns)
                self.fault("jump", f"goes to {target}, outside the program's {length} instructions")

    def _to(self, target: int) -> str:
        if target in self.blocks:
            return f"%b{target}"
        return f"%out{self.here}_{target}".replace("-", "m")

    def _count(self, block: Block) -> None:
        count = block.end - block.start
        place = self.field("budget")
        left = self.ops.emit(f"load i64, ptr {place}, align 8")
        enough = self.ops.emit(f"icmp uge i64 {left}, {count}")
        less = self.ops.emit(f"sub i64 {left}, {count}")
        good, bad = self.ops.name(), self.ops.name()
        self.line(f"br i1 {enough}, label {good}, label {bad}")
        self.label(bad)
        self.stop(abi.BUDGET)
        self.label(good)
        self.line(f"store i64 {less}, ptr {place}, align 8")

    def _straight(self, block: Block) -> str | None:
        """The instructions of a block. The condition of its branch, if there is one."""
        index = block.start
        insns = self.insns
        while index < block.end:
            insn = insns[index]
            self.here = index
            self.marks.append((len(self.ops.lines), index))
            second = insns[index + 1] if index + 1 < len(insns) else None
            try:
                if self._moved(insn):
                    condition = None
                else:
                    self.base = self._base(insn)
                    effect: Any = sem.effect(insn, self.ops, self._operand, second, self.byteorder)
                    condition = self._carry_out(effect, insn, second)
                    self._want(insn)
            except EncodingError as error:
                self.fault("opcode", str(error))
                raise Left from None
            if condition is not None:
                return condition
            index += 2 if insn.opcode == op.LD_IMM64 else 1
        return None

    def _base(self, insn: Insn) -> int:
        """The base register of a plain access: its address is not computed as a number. -1 for others."""
        if self.here not in self.plain:
            return -1
        both = insn.opcode & 7 == op.BPF_STX and insn.src == insn.dst
        return -1 if both else base_of(insn)

    def _operand(self, reg: int) -> str:
        return ADDRESS if reg == self.base else self.read(reg)

    def _want(self, insn: Insn) -> None:
        """Where a result is needed as a pointer, it becomes one here, once."""
        if self.here in self.uses.wanted:
            _read, written = reads_writes(insn)
            if written:
                self.pointer(written.bit_length() - 1)

    def _moved(self, insn: Insn) -> bool:
        """Moves and additions of pointers: what they give is a pointer into the same object."""
        opcode, dst, src, off, imm = insn
        if opcode & 7 != op.BPF_ALU64 or dst >= op.BPF_REG_FP or src > op.BPF_REG_FP:
            return False
        operation, by_register = opcode & 0xF0, opcode & op.BPF_X
        if operation == op.BPF_MOV and by_register and not off:
            if self.is_pointer(src):
                self.write(dst, self.values.get(src), self.pointer(src))
                return True
            return False
        if operation not in (op.BPF_ADD, op.BPF_SUB) or off:
            return False
        subtracts = operation == op.BPF_SUB
        if not by_register:
            if not self.is_pointer(dst):
                return False
            self.write(dst, None, self._step(self.pointer(dst), -imm if subtracts else imm, imm < 0 or subtracts))
            return True
        found = self.facts.pointer.get(self.here, 0)
        which = found & ~NEGATIVE
        if which not in (DST, SRC) or (subtracts and which == SRC):
            return False
        place, step_ = (self.pointer(dst), self.read(src)) if which == DST else (self.pointer(src), self.read(dst))
        self._assume(step_)
        if subtracts:
            step_ = self.ops.neg(step_, 64)
        self.write(dst, None, self._step(place, step_, bool(found & NEGATIVE) or subtracts))
        return True

    def _assume(self, step: str) -> None:
        """Tell LLVM what the verifier knows of an offset: it cannot see why loops end, nor that none is negative."""
        low, high = self.facts.steps.get(self.here, (-1, 0))
        if low >= 0 and high < 1 << 32:
            inside = self.ops.emit(f"icmp ule i64 {step}, {high}")
            self.line(f"call void @llvm.assume(i1 {inside})")

    def _step(self, place: str, step: str | int, backwards: bool) -> str:
        """A pointer moved. The verifier sees to it that no address wraps around; on 32 bits we cannot say as much."""
        known = self.facts.pointer.get(self.here, 0) & ~NEGATIVE in (DST, SRC)
        wraps = not known or self.module.out.target.pointer_bits < 64
        flags = "" if wraps else "nusw " if backwards else "nusw nuw "
        if isinstance(step, int):
            step = self.ops.const(step & 0xFFFF_FFFF_FFFF_FFFF, 64)
        return self.ops.emit(f"getelementptr {flags}i8, ptr {place}, i64 {step}")

    # ------------------------------------------------------------------------------------------ effects

    def _carry_out(self, effect: Any, insn: Insn, second: Insn | None) -> str | None:
        ops = self.ops
        match effect:
            case sem.Write(reg, value):
                self.write(reg, value)
            case sem.Load(reg, address, size):
                raw = access.load(self, insn.src, address, size, acquire=effect.acquire)
                self.write(reg, effect.extend(ops, raw))
            case sem.Store(address, size, value):
                access.store(self, insn.dst, address, size, value, release=effect.release)
            case sem.Branch(condition):
                return str(condition)
            case sem.Goto():
                pass
            case sem.Exit():
                self.line(f"ret i64 {self.read(0)}")
                raise Left
            case sem.CallHelper(helper) if helper == calls.TAIL_CALL:
                calls.tail_call(self)
            case sem.CallHelper() if self.here in self.module.arrays:
                calls.array_lookup(self, self.module.arrays[self.here])
            case sem.CallHelper(helper) if self.here in self.module.walks:
                walks.walk(self, self.module.maps[self.here], helper, self.module.walks[self.here])
            case sem.CallHelper(helper) if self.here in self.module.maps:
                calls.map_call(self, self.module.maps[self.here], helper)
            case sem.CallHelper() if self.here in self.module.loops:
                calls.loop(self, self.module.loops[self.here])
            case sem.CallHelper(helper):
                calls.call(self, abi.helper_symbol(helper))
            case sem.CallKfunc(btf_id, fd_index):
                calls.call(self, abi.kfunc_symbol(btf_id, fd_index))
            case sem.CallLocal(off):
                calls.call_local(self, self.here + 1 + off)
            case sem.Atomic():
                access.atomic(self, effect, insn)
            case sem.MayGoto():
                return self._may_goto()
            case sem.LoadPacket(offset, size):
                calls.load_packet(self, offset, size)
            case sem.LoadPseudo(reg, kind, imm):
                assert second is not None
                if self.here in self.options.objects and not self.options.blind:
                    self.write(reg, None, self._address())
                else:
                    self.write(reg, self._pseudo(insn, second, kind, imm))
            case sem.AddressCast(reg, value, to, from_):
                self.write(reg, self.service(abi.ADDRESS_CAST, [value, str(to), str(from_)]))
            case _:
                raise EncodingError("calls through a register; no kernel does", field="opcode")
        return None

    def _address(self) -> str:
        """Of a map's value."""
        offset = self.options.objects[self.here][1]
        return self.ops.emit(f"getelementptr i8, ptr @{self.module.memory(self.here)}, i64 {offset}")

    def _pseudo(self, insn: Insn, second: Insn, kind: int, imm: int) -> str:
        if kind == op.BPF_PSEUDO_FUNC:
            base = self.ops.emit(f"ptrtoint ptr @{abi.FUNCTIONS} to i64")
            return self.ops.add(base, number(8 * (self.here + 1 + imm), 64), 64)
        value = imm64(insn, second)
        if self.options.blind:
            return self.ops.const(value, 64)
        if kind in ADDRESSES:
            return self.ops.emit(f"ptrtoint ptr @{self.module.immediate(value, self.here)} to i64")
        return number(value, 64)

    def _may_goto(self) -> str:
        self.loops = True
        left = self.ops.emit("load i64, ptr %loops, align 8")
        used = self.ops.emit(f"icmp eq i64 {left}, 0")
        less = self.ops.emit(f"sub i64 {left}, 1")
        kept = self.ops.emit(f"select i1 {used}, i64 0, i64 {less}")
        self.line(f"store i64 {kept}, ptr %loops, align 8")
        return used
