"""One BPF function as one LLVM function.

Registers are stack slots that LLVM promotes; within a block their values are handed on directly. `%frame` is the
address of the function's stack frame.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from bombus.errors import EncodingError
from bombus.isa import facts
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.facts import DST, NEGATIVE, SRC
from bombus.isa.insn import Insn, imm64
from bombus.jit import abi
from bombus.jit.ops import ADDRESS, LlvmOps, number
from bombus.jit.uses import Uses, base_of, reads_writes
from bombus.vm.run import FRAME_STRIDE, MAX_CALL_FRAMES, MAX_LOOPS, MAX_TAIL_CALLS

if TYPE_CHECKING:
    from bombus.jit.lower import Module
    from bombus.vm.env import ArrayPlace
    from bombus.vm.flow import Block

TAIL_CALL: Final = 12
_STACK: Final = op.MAX_BPF_STACK
_FIVE: Final = range(1, 6)


def field_of(name: str, into: str) -> str:
    """The line that makes `into` the address of a member of `run`."""
    return f"  {into} = getelementptr i8, ptr %run, i64 {abi.RUN[name][0]}"


# Metadata of the module: memory of each kind, for type-based alias analysis.
TAGS: Final = {
    facts.CTX: 11, facts.STACK: 12, facts.PACKET: 13, facts.MAP_VALUE: 14, facts.MAP_KEY: 15, facts.MEM: 16,
}  # fmt: skip
TREE: Final = "\n".join(
    ['!10 = !{!"memory of BPF programs"}']
    + [f"!{tag} = !{{!{tag + 10}, !{tag + 10}, i64 0}}" for tag in TAGS.values()]
    + [f'!{tag + 10} = !{{!"kind {kind}", !10, i64 0}}' for kind, tag in TAGS.items()]
)


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


# ld_imm64 kinds whose immediate is an address of this process.
ADDRESSES: Final = (
    op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_BTF_ID, op.BPF_PSEUDO_MAP_IDX,
    op.BPF_PSEUDO_MAP_IDX_VALUE,
)  # fmt: skip


class _Left(Exception):
    """The block ends here: control has gone."""


class Function:
    """Writes one function. `main`: it is bpf_main itself."""

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
        # Registers whose value is at hand, as numbers and as pointers; slots that have it: "r3", "p3".
        self.values: dict[int, str] = {}
        self.places: dict[int, str] = {}
        self.clean: set[str] = set()
        self.pointers = 0  # registers that the block gets as pointers
        self.slots: set[str] = set()
        self.depth = _depth(module, entry, blocks)
        self.caches: set[int] = set()  # base registers whose accesses are checked
        self.resets: list[int] = []  # lines that forget the caches
        self.loops = False
        self.here = entry
        self.byteorder = module.out.target.byteorder

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
        return "\n".join([*self._prologue(), *body, "}", ""])

    def _prologue(self) -> list[str]:
        if self.main:
            lines = [f"define i64 @{abi.MAIN}(ptr %run, i64 %a1) nounwind {{"]
        else:
            args = ", ".join(f"i64 %a{n}" for n in _FIVE)
            lines = [f"define internal i64 @f{self.entry}(ptr %run, i64 %frame, {args}) nounwind {{"]
        pointers = self.uses.pointers[self.entry]
        for slot in sorted(self.slots):
            reg = int(slot[1])
            if slot[0] == "r":
                given = f"%a{reg}" if reg in _FIVE and (reg == 1 or not self.main) else "0"
                lines += [f"  %{slot} = alloca i64, align 8", f"  store i64 {given}, ptr %{slot}, align 8"]
            else:
                lines.append(f"  %{slot} = alloca ptr, align 8")
                if pointers >> reg & 1 and reg in _FIVE and (reg == 1 or not self.main):
                    lines += [
                        f"  %a{reg}p = inttoptr i64 %a{reg} to ptr",
                        f"  store ptr %a{reg}p, ptr %{slot}, align 8",
                    ]
                else:
                    lines.append(f"  store ptr null, ptr %{slot}, align 8")
        for reg in sorted(self.caches):
            for part in "slw":
                lines += [f"  %c{reg}{part} = alloca i64, align 8", f"  store i64 0, ptr %c{reg}{part}, align 8"]
        if self.loops:
            lines += ["  %loops = alloca i64, align 8", f"  store i64 {MAX_LOOPS}, ptr %loops, align 8"]
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

    def _line(self, text: str) -> None:
        self.ops.lines.append("  " + text)

    def _label(self, name: str) -> None:
        self.ops.lines.append(f"{name[1:]}:")

    def _field(self, name: str) -> str:
        return self.ops.emit(f"getelementptr i8, ptr %run, i64 {abi.RUN[name][0]}")

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
                self.slots.add(f"r{reg}")
                value = self.ops.emit(f"load i64, ptr %r{reg}, align 8")
            self.values[reg] = value
        return value

    def pointer(self, reg: int) -> str:
        """A register as a pointer."""
        place = self.places.get(reg)
        if place is None:
            if reg == op.BPF_REG_FP:
                place = "%fpp"
            elif reg not in self.values and self.pointers >> reg & 1:
                self.slots.add(f"p{reg}")
                place = self.ops.emit(f"load ptr, ptr %p{reg}, align 8")
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
        self.clean -= {f"r{reg}", f"p{reg}"}
        if value is not None:
            self.values[reg] = value
        if place is not None:
            self.places[reg] = place

    def _flush(self, targets: tuple[int, ...]) -> None:
        """Bring the slots that the next blocks begin with up to date."""
        for target in targets:
            live = self.uses.live.get(target, 0)
            pointers = self.uses.pointers.get(target, 0)
            for reg in range(10):
                if not live >> reg & 1:
                    continue
                kind = "p" if pointers >> reg & 1 else "r"
                slot = f"{kind}{reg}"
                if slot in self.clean:
                    continue
                self.slots.add(slot)
                self.clean.add(slot)
                text = f"ptr {self.pointer(reg)}" if kind == "p" else f"i64 {self.read(reg)}"
                self._line(f"store {text}, ptr %{slot}, align 8")

    # ------------------------------------------------------------------------------------------ blocks

    def _block(self, block: Block) -> None:
        self._label(f"%b{block.start}")
        self.values, self.places = {}, {}
        self.pointers = pointers = self.uses.pointers[block.start]
        live = self.uses.live[block.start]
        self.clean = {f"{'p' if pointers >> reg & 1 else 'r'}{reg}" for reg in range(10) if live >> reg & 1}
        self.here = block.start
        try:
            if self.options.budget:
                self._count(block)
            condition = self._straight(block)
        except _Left:
            return
        self._flush(block.next)
        if condition is not None and len(block.next) == 2:
            straight_on, taken = block.next
            self._line(f"br i1 {condition}, label {self._to(taken)}, label {self._to(straight_on)}")
        else:
            self._line(f"br label {self._to(block.next[0])}")
        for target in dict.fromkeys(block.next):
            if target not in self.blocks:
                self._label(self._to(target))
                length = len(self.insns)
                self._fault("jump", f"goes to {target}, outside the program's {length} instructions")

    def _to(self, target: int) -> str:
        if target in self.blocks:
            return f"%b{target}"
        return f"%out{self.here}_{target}".replace("-", "m")

    def _count(self, block: Block) -> None:
        count = block.end - block.start
        place = self._field("budget")
        left = self.ops.emit(f"load i64, ptr {place}, align 8")
        enough = self.ops.emit(f"icmp uge i64 {left}, {count}")
        less = self.ops.emit(f"sub i64 {left}, {count}")
        good, bad = self.ops.name(), self.ops.name()
        self._line(f"br i1 {enough}, label {good}, label {bad}")
        self._label(bad)
        self._stop(abi.BUDGET)
        self._label(good)
        self._line(f"store i64 {less}, ptr {place}, align 8")

    def _straight(self, block: Block) -> str | None:
        """The instructions of a block. The condition of its branch, if there is one."""
        index = block.start
        insns = self.insns
        while index < block.end:
            insn = insns[index]
            self.here = index
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
                self._fault("opcode", str(error))
                raise _Left from None
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
        if subtracts:
            step_ = self.ops.neg(step_, 64)
        self.write(dst, None, self._step(place, step_, bool(found & NEGATIVE) or subtracts))
        return True

    def _step(self, place: str, step: str | int, backwards: bool) -> str:
        """A pointer moved. The verifier sees to it that no address wraps around; on 32 bits we cannot say as much."""
        known = self.facts.pointer.get(self.here, 0) & ~NEGATIVE in (DST, SRC)
        wraps = not known or self.module.out.target.pointer_bits < 64
        flags = "" if wraps else "nusw " if backwards else "nusw nuw "
        if isinstance(step, int):
            step = self.ops.const(step & 0xFFFF_FFFF_FFFF_FFFF, 64)
        return self.ops.emit(f"getelementptr {flags}i8, ptr {place}, i64 {step}")

    def _stop(self, status: int, fault: int = 0) -> None:
        self._line(f"call void @stop(ptr %run, i32 {status}, i32 {self.here}, i32 {fault})")
        self._line("ret i64 0")

    def _fault(self, kind: str, message: str) -> None:
        self._stop(abi.FAULT, self.module.fault(kind, message))

    # ------------------------------------------------------------------------------------------ effects

    def _carry_out(self, effect: Any, insn: Insn, second: Insn | None) -> str | None:
        ops = self.ops
        match effect:
            case sem.Write(reg, value):
                self.write(reg, value)
            case sem.Load(reg, address, size):
                raw = self._load(insn.src, address, size, acquire=effect.acquire)
                self.write(reg, effect.extend(ops, raw))
            case sem.Store(address, size, value):
                place = self._access(insn.dst, address, size, abi.STORE)
                if effect.release and self._may_be_misaligned:
                    self._line("fence release")
                    self._line(f"store i{size * 8} {value}, ptr {place}, align 1")
                elif effect.release:
                    self._line(f"store atomic i{size * 8} {value}, ptr {place} release, align {size}")
                else:
                    aligned = f"align {self._align(size)}{self._kind()}"
                    self._line(f"store i{size * 8} {value}, ptr {place}, {aligned}")
            case sem.Branch(condition):
                return str(condition)
            case sem.Goto():
                pass
            case sem.Exit():
                self._line(f"ret i64 {self.read(0)}")
                raise _Left
            case sem.CallHelper(helper) if helper == TAIL_CALL:
                self._tail_call()
            case sem.CallHelper() if self.here in self.module.arrays:
                self._array_lookup(self.module.arrays[self.here])
            case sem.CallHelper() if self.here in self.module.loops:
                self._loop(self.module.loops[self.here])
            case sem.CallHelper(helper):
                self._call(abi.helper_symbol(helper))
            case sem.CallKfunc(btf_id, fd_index):
                self._call(abi.kfunc_symbol(btf_id, fd_index))
            case sem.CallLocal(off):
                self._call_local(self.here + 1 + off)
            case sem.Atomic():
                self._atomic(effect, insn)
            case sem.MayGoto():
                return self._may_goto()
            case sem.LoadPacket(offset, size):
                self._load_packet(offset, size)
            case sem.LoadPseudo(reg, kind, imm):
                assert second is not None
                self.write(reg, self._pseudo(insn, second, kind, imm))
            case sem.AddressCast(reg, value, to, from_):
                self.write(reg, self._service(abi.ADDRESS_CAST, [value, str(to), str(from_)]))
            case _:
                raise EncodingError("calls through a register; no kernel does", field="opcode")
        return None

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
        self._line(f"store i64 {kept}, ptr %loops, align 8")
        return used

    # ------------------------------------------------------------------------------------------ memory

    def _align(self, size: int) -> int:
        """Accesses to frames and contexts are aligned: the verifier sees to it."""
        kinds = self.facts.access.get(self.here, 0) if self.here in self.plain else 0
        return size if kinds and not kinds & ~(facts.STACK | facts.CTX) else 1

    def _kind(self) -> str:
        """Memory of different kinds never overlaps."""
        if self.here not in self.plain:
            return ""
        number_ = TAGS.get(self.facts.access.get(self.here, 0))
        return "" if number_ is None else f", !tbaa !{number_}"

    def _load(self, base: int, address: str, size: int, *, acquire: bool) -> str:
        place = self._access(base, address, size, abi.LOAD)
        if acquire and self._may_be_misaligned:
            value = self.ops.emit(f"load i{size * 8}, ptr {place}, align 1")
            self._line("fence acquire")
            return value
        if acquire:
            return self.ops.emit(f"load atomic i{size * 8}, ptr {place} acquire, align {size}")
        return self.ops.emit(f"load i{size * 8}, ptr {place}, align {self._align(size)}{self._kind()}")

    def _access(self, base: int, address: str, size: int, kind: int) -> str:
        """The place of an access as a pointer, after whatever check it takes."""
        insn = self.insns[self.here]
        in_frame = base == op.BPF_REG_FP and -_STACK <= insn.off <= -size
        if self.here in self.plain or in_frame:
            place = self.pointer(base)
            return self.ops.emit(f"getelementptr i8, ptr {place}, i64 {insn.off}") if insn.off else place
        self._check(base, address, size, kind)
        return self.ops.emit(f"inttoptr i64 {address} to ptr")

    def _check(self, base: int, address: str, size: int, kind: int) -> None:
        self.module.out.needs.add(abi.FIND)
        self.caches.add(base)
        emit, ops = self.ops.emit, self.ops
        length = f"%c{base}{'l' if kind == abi.LOAD else 'w'}"
        start = emit(f"load i64, ptr %c{base}s, align 8")
        size_ = emit(f"load i64, ptr {length}, align 8")
        offset = emit(f"sub i64 {address}, {start}")
        inside = emit(f"icmp ult i64 {offset}, {size_}")
        left = emit(f"sub i64 {size_}, {offset}")
        fits = emit(f"icmp uge i64 {left}, {size}")
        both = emit(f"and i1 {inside}, {fits}")
        good, miss, lost, there = ops.name(), ops.name(), ops.name(), ops.name()
        self._line(f"br i1 {both}, label {good}, label {miss}, !prof !0")
        self._label(miss)
        entry = emit(f"call ptr @lookup(ptr %run, i64 {address}, i64 {size}, i32 {kind}, i32 {self.here})")
        none = emit(f"icmp eq ptr {entry}, null")
        self._line(f"br i1 {none}, label {lost}, label {there}")
        self._label(lost)
        self._line("ret i64 0")
        self._label(there)
        for at, part in ((0, "s"), (8, "l"), (16, "w")):
            place = emit(f"getelementptr i8, ptr {entry}, i64 {at}")
            value = emit(f"load i64, ptr {place}, align 8")
            self._line(f"store i64 {value}, ptr %c{base}{part}, align 8")
        self._line(f"br label {good}")
        self._label(good)

    def _forget(self) -> None:
        """Regions may have changed behind a call."""
        self.resets.append(len(self.ops.lines))
        self.ops.lines.append("")

    @property
    def _may_be_misaligned(self) -> bool:
        """Of atomics verifiers ask for alignment."""
        return self.options.checked

    def _atomic(self, effect: Any, insn: Insn) -> None:
        place = self._access(insn.dst, effect.address, effect.size, abi.ATOMIC)
        if self._may_be_misaligned:
            old = self._any_atomic(effect, place)
        else:
            old = self._aligned_atomic(effect, place)
        if effect.result is not None:
            self.write(effect.result, effect.fetched(self.ops, old))

    def _any_atomic(self, effect: Any, place: str) -> str:
        """Off its alignment the update is no single step: machines trap, or stop the others across cache lines."""
        ops, emit, bits = self.ops, self.ops.emit, effect.size * 8
        below = emit(f"and i64 {emit(f'ptrtoint ptr {place} to i64')}, {effect.size - 1}")
        is_aligned = emit(f"icmp eq i64 {below}, 0")
        aligned, off, done = (ops.name() for _ in range(3))
        self._line(f"br i1 {is_aligned}, label {aligned}, label {off}")
        self._label(aligned)
        one = self._aligned_atomic(effect, place)
        self._line(f"br label {done}")
        self._label(off)
        other = emit(f"load i{bits}, ptr {place}, align 1")
        self._line(f"store i{bits} {effect.update(ops, other)}, ptr {place}, align 1")
        self._line(f"br label {done}")
        self._label(done)
        return emit(f"phi i{bits} [ {one}, {aligned} ], [ {other}, {off} ]")

    def _aligned_atomic(self, effect: Any, place: str) -> str:
        """The old value. Linux' order: none without a result, else sequentially consistent."""
        bits, size, emit = effect.size * 8, effect.size, self.ops.emit
        if effect.operation == "cmpxchg":
            values = f"i{bits} {effect.expected}, i{bits} {effect.operand}"
            pair = emit(f"cmpxchg ptr {place}, {values} seq_cst seq_cst, align {size}")
            return emit(f"extractvalue {{ i{bits}, i1 }} {pair}, 0")
        order = "monotonic" if effect.result is None else "seq_cst"
        return emit(f"atomicrmw {effect.operation} ptr {place}, i{bits} {effect.operand} {order}, align {size}")

    # ------------------------------------------------------------------------------------------ calls

    def _arguments(self) -> str:
        return ", ".join(f"i64 {self.read(n)}" for n in _FIVE)

    def _outside(self) -> None:
        """What code behind a call may want to know: where we are, and in which frame."""
        self._line(f"store i32 {self.here}, ptr {self._field('insn')}, align 4")
        if self.module.callbacks and not self.module.native_frames:
            self._line(f"store i64 %frame, ptr {self._field('frame')}, align 8")

    def _leave_if_stopped(self) -> None:
        status = self.ops.emit("load i32, ptr %run, align 8")
        stopped = self.ops.emit(f"icmp ne i32 {status}, {abi.RETURNED}")
        out, on = self.ops.name(), self.ops.name()
        self._line(f"br i1 {stopped}, label {out}, label {on}, !prof !1")
        self._label(out)
        self._line("ret i64 0")
        self._label(on)

    def _call(self, symbol: str) -> None:
        self.module.out.helpers.setdefault(symbol, self.here)
        self._outside()
        result = self.ops.emit(f"call i64 @{symbol}(ptr %run, {self._arguments()})")
        self._leave_if_stopped()
        self._forget()
        self.write(0, result)

    def _loop(self, function: int) -> None:
        """bpf_loop as a loop: function(i, r3) until it returns other than 0; the rounds made are r0."""
        ops, emit = self.ops, self.ops.emit
        self.module.call(function)
        count = ops.zext(ops.trunc(self.read(1), 64, 32), 32, 64)
        context = self.read(3)
        frame = "0" if self.module.native_frames else emit(f"add i64 %frame, {FRAME_STRIDE}")
        begin, head, body, after, done = (ops.name() for _ in range(5))
        self._line(f"br label {begin}")
        self._label(begin)
        many = emit(f"icmp ugt i64 {count}, {MAX_LOOPS}")
        self._line(f"br i1 {many}, label {done}, label {head}")
        self._label(head)
        index, following = ops.name(), ops.name()
        self._line(f"{index} = phi i64 [ 0, {begin} ], [ {following}, {after} ]")
        more = emit(f"icmp ult i64 {index}, {count}")
        self._line(f"br i1 {more}, label {body}, label {done}")
        self._label(body)
        result = emit(f"call i64 @f{function}(ptr %run, i64 {frame}, i64 {index}, i64 {context}, i64 0, i64 0, i64 0)")
        if self.module.stops(function):
            self._leave_if_stopped()
        self._line(f"br label {after}")
        self._label(after)
        self._line(f"{following} = add i64 {index}, 1")
        ends = emit(f"icmp ne i64 {result}, 0")
        self._line(f"br i1 {ends}, label {done}, label {head}")
        self._label(done)
        # Linux' inlined form sets the lower half of r0 only (inline_bpf_loop).
        too_many = -errno.E2BIG & 0xFFFF_FFFF
        rounds = emit(f"phi i64 [ {too_many}, {begin} ], [ {index}, {head} ], [ {following}, {after} ]")
        self._forget()
        self.write(0, rounds)

    def _array_lookup(self, array: ArrayPlace) -> None:
        """bpf_map_lookup_elem of an array, as the kernel inlines it."""
        emit = self.ops.emit
        index = emit(f"load i32, ptr {self.pointer(2)}, align 1")
        inside = emit(f"icmp ult i32 {index}, {number(array.entries, 32)}")
        offset = emit(f"mul i64 {emit(f'zext i32 {index} to i64')}, {array.stride}")
        if array.cpu_stride:
            cpu = emit(f"load i32, ptr {self._field('cpu')}, align 4")
            own = emit(f"mul i64 {emit(f'zext i32 {cpu} to i64')}, {array.cpu_stride}")
            offset = emit(f"add i64 {offset}, {own}")
        place = emit(f"getelementptr i8, ptr @{abi.array_symbol(self.here)}, i64 {offset}")
        self.write(0, None, emit(f"select i1 {inside}, ptr {place}, ptr null"))

    def _service(self, symbol: str, args: list[str]) -> str:
        self.module.out.needs.add(symbol)
        self._outside()
        listed = ", ".join(f"i64 {arg}" for arg in args)
        result = self.ops.emit(f"call i64 @{symbol}(ptr %run, {listed})")
        self._leave_if_stopped()
        return result

    def _call_local(self, target: int) -> None:
        if not 0 <= target < len(self.insns):
            self._fault("call", f"there is no instruction {target} to call")
            raise _Left
        self.module.call(target)
        if self.options.checked:
            top = self.ops.emit(f"load i64, ptr {self._field('top')}, align 8")
            last = self.ops.emit(f"icmp eq i64 %frame, {top}")
            bad, good = self.ops.name(), self.ops.name()
            self._line(f"br i1 {last}, label {bad}, label {good}, !prof !1")
            self._label(bad)
            self._stop(abi.STACK)
            self._label(good)
        frame = "0" if self.module.native_frames else self.ops.emit(f"add i64 %frame, {FRAME_STRIDE}")
        result = self.ops.emit(f"call i64 @f{target}(ptr %run, i64 {frame}, {self._arguments()})")
        if self.module.stops(target):
            self._leave_if_stopped()
        self._forget()
        self.write(0, result)

    def _tail_call(self) -> None:
        """Jump to the program that bpf_tail_call names; from a subprogram: call it and return what it returns."""
        ops, emit = self.ops, self.ops.emit
        args = [self.read(1), self.read(2), ops.zext(ops.trunc(self.read(3), 64, 32), 32, 64)]
        place = self._field("tail_calls")
        count = emit(f"load i32, ptr {place}, align 4")
        below = emit(f"icmp ult i32 {count}, {MAX_TAIL_CALLS}")
        ask, jump, ran, native, on = (ops.name() for _ in range(5))
        self._line(f"br i1 {below}, label {ask}, label {on}")
        self._label(ask)
        entries = self.module.jumps.get(self.here)
        asks = ops.name()
        tried = ops.name()
        known = ""
        if entries is not None:
            inside = emit(f"icmp ult i64 {args[2]}, {entries}")
            self._line(f"br i1 {inside}, label {tried}, label {asks}")
            self._label(tried)
            slot = emit(f"getelementptr i64, ptr @{abi.jumps_symbol(self.here)}, i64 {args[2]}")
            known = emit(f"load atomic i64, ptr {slot} monotonic, align 8")
            there = emit(f"icmp ne i64 {known}, 0")
            self._line(f"br i1 {there}, label {native}, label {asks}")
        else:
            self._line(f"br label {asks}")
        self._label(asks)
        frame, top = self._field("frame"), self._field("top")
        if not self.module.native_frames:
            self._line(f"store i64 %frame, ptr {frame}, align 8")
        target = self._service(abi.TAIL_CALL, args)
        found = emit(f"icmp ne i64 {target}, 0")
        self._line(f"br i1 {found}, label {jump}, label {on}")
        self._label(jump)
        already = emit(f"icmp eq i64 {target}, {abi.ALREADY_RAN}")
        self._line(f"br i1 {already}, label {ran}, label {native}")
        self._label(ran)
        result = emit(f"load i64, ptr {self._field('result')}, align 8")
        self._line(f"ret i64 {result}")
        self._label(native)
        if known:
            target = emit(f"phi i64 [ {known}, {tried} ], [ {target}, {jump} ]")
            frame, top = self._field("frame"), self._field("top")
        self._line(f"store i32 {emit(f'add i32 {count}, 1')}, ptr {place}, align 4")
        before = emit(f"load i64, ptr {top}, align 8")
        here = emit(f"load i64, ptr {frame}, align 8") if self.module.native_frames else "%frame"
        last = emit(f"add i64 {here}, {(MAX_CALL_FRAMES - 1) * FRAME_STRIDE}")
        self._line(f"store i64 {last}, ptr {top}, align 8")
        if not self.module.native_frames:
            self._line(f"store i64 %frame, ptr {frame}, align 8")
        code = emit(f"inttoptr i64 {target} to ptr")
        if self.main and self.module.out.target.musttail:
            result = emit(f"musttail call i64 {code}(ptr %run, i64 {args[0]})")
        else:
            result = emit(f"call i64 {code}(ptr %run, i64 {args[0]})")
            self._line(f"store i64 {before}, ptr {top}, align 8")
        self._line(f"ret i64 {result}")
        self._label(on)
        self._forget()

    def _load_packet(self, offset: str, size: int) -> None:
        wide = self.ops.sext(offset, 32, 64)
        found = self._service(abi.LOAD_PACKET, [self.read(6), wide, str(size)])
        none = self.ops.emit(f"icmp eq i64 {found}, -1")
        out, on = self.ops.name(), self.ops.name()
        self._line(f"br i1 {none}, label {out}, label {on}")
        self._label(out)
        self._line("ret i64 0")
        self._label(on)
        self.write(0, found)
