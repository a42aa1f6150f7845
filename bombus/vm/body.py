"""Effects of instructions as lines of Python.

Names in the generated code: r0..r9 the registers (always clean 64-bit numbers), fp r10, d the frame's number,
run the `vm.run.Run`; q, w, h, b the frame's memory in units of 8, 4, 2 and 1 bytes; s{k}, v{k}, n{k}_... the
k-th region cache: start address, view, and the last offset at which an access of a size may begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bombus.bits import U64
from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.insn import Insn, imm64
from bombus.vm.binding import TAIL_CALL
from bombus.vm.source import SOURCE, Truth, Value, clean, signed

Line = list[Any]
"""[indent, text, instruction index]. A line whose text is None is left out; texts may be set late."""

_FRAME = op.MAX_BPF_STACK
_VIEWS = {8: "q", 4: "w", 2: "h", 1: "b"}
LOAD, STORE, ATOMIC = 0, 1, 2  # kinds of access, for `miss`


class Facts:
    """What is known of the registers at one point of the program."""

    __slots__ = ("values",)

    def __init__(self, values: list[Value] | None = None) -> None:
        self.values = values or [Value(f"r{n}", 0, U64, None, f"r{n}") for n in range(10)] + [
            Value("fp", 0, U64, 0, "fp")
        ]

    def copy(self) -> Facts:
        return Facts(self.values[:])


class Body:
    """Writes the instructions of one function. `lines` is its text without the prologue."""

    def __init__(
        self, insns: Sequence[Insn], name: str, base: int, callbacks: bool, probes: frozenset[int] = frozenset()
    ) -> None:
        self.insns = insns
        self.probes = probes  # loads that give 0 where there is no memory
        self.name = name
        self.base = base
        self.callbacks = callbacks
        self.lines: list[Line] = []
        self.used: set[str] = set()  # which of q, w, h, b the prologue has to fetch
        self.caches: dict[str, int] = {}  # origin -> number
        self.limits: list[dict[tuple[int, bool], str]] = []  # per cache: (size, write) -> variable
        self.calls: list[int] = []  # entries of functions that are called
        self.resets: list[Line] = []
        self.registers: set[int] = set()
        self.loops = False
        self.facts = Facts()
        self.here = 0

    def line(self, indent: int, text: str | None) -> Line:
        line: Line = [indent, text, self.here]
        self.lines.append(line)
        return line

    def read(self, reg: int) -> Value:
        self.registers.add(reg)
        return self.facts.values[reg]

    def write(self, indent: int, reg: int, value: Value) -> None:
        if reg == op.BPF_REG_FP:
            raise EncodingError("writes r10, the frame pointer", field="dst")
        value = clean(value, 64)
        self.registers.add(reg)
        if value.text != f"r{reg}":
            self.line(indent, f"r{reg} = {value.text}")
        known = value.known or value.frame is not None
        lo, hi = max(value.lo, 0), min(value.hi, U64)
        self.facts.values[reg] = Value(
            value.text if known else f"r{reg}", lo, hi, value.frame, value.origin or f"r{reg}"
        )

    def straight(self, indent: int, start: int, end: int) -> Truth | bool:
        """Write [start, end). Returns the condition of a last branch, True when it goes on at its only target
        or the next instruction, False when nothing comes behind it."""
        index = start
        while index < end:
            insn = self.insns[index]
            self.here = index
            second = self.insns[index + 1] if index + 1 < len(self.insns) else None
            try:
                effect = sem.effect(insn, SOURCE, self.read, second)
                done = self._carry_out(indent, effect, index, insn, second)
            except EncodingError as error:
                self.fail(indent, "opcode", str(error))
                return False
            if done is not True:
                return done
            index += 2 if insn.opcode == op.LD_IMM64 else 1
        return True

    def fail(self, indent: int, kind: str, message: str) -> None:
        self.line(indent, f"raise VmFault({kind!r}, {message!r})")

    def _carry_out(
        self, indent: int, effect: Any, index: int, insn: Insn, second: Insn | None
    ) -> Truth | bool:
        kind = type(effect)
        if kind is sem.Write:
            self.write(indent, effect.reg, effect.value)
        elif kind is sem.Branch:
            condition: Truth = effect.condition
            return condition
        elif kind is sem.Load:
            raw = self._load(indent, effect.address, effect.size)
            origin = f"{effect.address.origin}.{insn.off}"
            self.write(indent, effect.reg, effect.extend(SOURCE, raw)._replace(origin=origin))
        elif kind is sem.Store:
            self._store(indent, effect.address, effect.size, clean(effect.value, effect.size * 8))
        elif kind is sem.Goto:
            return True
        elif kind is sem.Exit:
            self.line(indent, f"return {self.read(0).text}")
            return False
        elif kind is sem.CallHelper or kind is sem.CallKfunc:
            self._call(indent, insn, index)
        elif kind is sem.CallLocal:
            return self._call_local(indent, index + 1 + effect.off)
        elif kind is sem.MayGoto:
            self.loops = True
            self.line(indent, "loops -= 1")
            return Truth("loops < 0", "loops >= 0")
        elif kind is sem.Atomic:
            self._atomic(indent, effect)
        elif kind is sem.LoadPacket:
            self.line(indent, f"t = load_packet({self.read(6).text}, {signed(effect.offset, 32).text}, {effect.size})")
            self.line(indent, "if t is None: return 0")
            self.write(indent, 0, Value("t", 0, (1 << effect.size * 8) - 1))
            self._forget_regions(indent)
        elif kind is sem.LoadPseudo:
            assert second is not None
            is_function = effect.kind == op.BPF_PSEUDO_FUNC
            value = (self.base + 8 * (index + 1 + effect.imm)) & U64 if is_function else imm64(insn, second)
            self.write(indent, effect.reg, Value(str(value), value, value))
        elif kind is sem.AddressCast:
            text = f"(address_cast({effect.value.text}, {effect.to}, {effect.from_}) & {U64})"
            self.write(indent, effect.reg, Value(text, 0, U64))
        else:
            raise _Unsupported
        return True

    # ------------------------------------------------------------------------------------------ memory

    def _offset(self, indent: int, address: Value, size: int, kind: int) -> str:
        """Lines that leave the offset of a checked access in o. Returns the name of its view."""
        origin = address.origin or "?"
        number = self.caches.setdefault(origin, len(self.caches))
        if number == len(self.limits):
            self.limits.append({})
        limit = self.limits[number].setdefault(
            (size, kind != LOAD), f"n{number}_{size}{'w' if kind != LOAD else 'r'}"
        )
        self.line(indent, f"o = {address.text} - s{number}")
        self.line(indent, f"if not 0 <= o <= {limit}:")
        line = self.line(indent + 1, None)
        line[1] = (number, clean(address, 64).text, size, kind)  # the cache's variables are not all known yet
        return f"v{number}"

    def miss_text(self, number: int, address: str, size: int, kind: int) -> str:
        return (
            f"{self.cache_variables(number)} = miss({self.name}, {number}, {address}, {size}, {kind}); "
            f"o = {address} - s{number}"
        )

    def cache_variables(self, number: int) -> str:
        return ", ".join([f"s{number}", f"v{number}", *self.limits[number].values()])

    def _slot(self, address: Value, size: int) -> tuple[str, int] | None:
        """View and index of an access to this frame, when it is one: then nothing needs checking."""
        if address.frame is None or not -_FRAME <= address.frame <= -size:
            return None
        offset = _FRAME + address.frame
        if offset % size:
            self.used.add("b")
            return "b", offset
        self.used.add(_VIEWS[size])
        return _VIEWS[size], offset // size

    def _load(self, indent: int, address: Value, size: int) -> Value:
        hi = (1 << size * 8) - 1
        if self.here in self.probes:
            return Value(f"probe({address.text}, {size})", 0, hi)
        slot = self._slot(address, size)
        if slot is not None:
            view, index = slot
            if view == "b" and size > 1:
                return Value(f"get{size}(b, {index})[0]", 0, hi)
            return Value(f"{view}[{index}]", 0, hi)
        view = self._offset(indent, address, size, LOAD)
        return Value(f"{view}[o]" if size == 1 else f"get{size}({view}, o)[0]", 0, hi)

    def _store(self, indent: int, address: Value, size: int, value: Value) -> None:
        slot = self._slot(address, size)
        if slot is not None:
            view, index = slot
            if view == "b" and size > 1:
                self.line(indent, f"put{size}(b, {index}, {value.text})")
            else:
                self.line(indent, f"{view}[{index}] = {value.text}")
            return
        view = self._offset(indent, address, size, STORE)
        if size == 1:
            self.line(indent, f"{view}[o] = {value.text}")
        else:
            self.line(indent, f"put{size}({view}, o, {value.text})")

    def _atomic(self, indent: int, effect: Any) -> None:
        size, bits = effect.size, effect.size * 8
        slot = self._slot(effect.address, size)
        old = Value("t", 0, (1 << bits) - 1)
        update = clean(effect.update(SOURCE, old), bits).text
        if slot is not None and slot[0] != "b":
            self.line(indent, f"t = {slot[0]}[{slot[1]}]")
            self.line(indent, f"{slot[0]}[{slot[1]}] = {update}")
        else:
            view, where = ("b", str(slot[1])) if slot else (self._offset(indent, effect.address, size, ATOMIC), "o")
            self.line(indent, f"t = get{size}({view}, {where})[0]")
            self.line(indent, f"put{size}({view}, {where}, {update})")
        if effect.result is not None:
            self.write(indent, effect.result, effect.fetched(SOURCE, old))

    # ------------------------------------------------------------------------------------------ calls

    def _arguments(self) -> str:
        return ", ".join(self.read(n).text for n in range(1, 6))

    def _call(self, indent: int, insn: Insn, index: int) -> None:
        if insn.src == 0 and insn.imm == TAIL_CALL:
            context, array, number = (self.read(n) for n in (1, 2, 3))
            self.line(indent, f"t = tail_call(run, d, {context.text}, {array.text}, {clean(number, 32).text})")
            self.line(indent, "if t is not None: return t")
            return
        if self.callbacks:
            self.line(indent, "run.frame = d")
        text = f"((call{index}({self._arguments()}) or 0) & {U64})"
        self.write(indent, 0, Value(text, 0, U64, None, f"call{insn.imm}"))
        self._forget_regions(indent)

    def _call_local(self, indent: int, target: int) -> bool:
        if not 0 <= target < len(self.insns):
            self.fail(indent, "call", f"there is no instruction {target} to call")
            return False
        self.calls.append(target)
        self.line(indent, "if d == top: no_frame()")
        self.line(indent, "next(ticks); frames[d + 1][:] = ZEROS")
        self.write(indent, 0, Value(f"f{target}({self._arguments()}, d + 1, run)", 0, U64))
        self._forget_regions(indent)
        return True

    def _forget_regions(self, indent: int) -> None:
        self.resets.append(self.line(indent, None))


class _Unsupported(EncodingError):
    """callx: there is no such instruction in any kernel."""

    def __init__(self) -> None:
        super().__init__("calls through a register; no kernel does", field="opcode")
