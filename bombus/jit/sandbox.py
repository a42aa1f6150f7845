"""Bytes that nobody verified, run natively and safely: what ubpf and rbpf are used for.

    box = Sandbox()
    box.register(5, lambda a, b, c, d, e: print(a))
    box.load(code)                      # eBPF instructions, or an ELF object's .text
    box.exec(b"packet bytes")           # r1: address of a copy of the bytes, r2: their number; returns r0

Every access is checked against the memory of the call, the stack and what `share` allows; instructions are counted;
calls go to registered functions only. What breaks a rule is a VmFault that says where.
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.elf.read import read_elf
from bombus.errors import EncodingError, UsageError
from bombus.isa.insn import Insn, decode
from bombus.jit.engine import NativeEngine, NativeProgram
from bombus.jit.model import Options
from bombus.vm.binding import function_base
from bombus.vm.env import HelperFn, PlainEnv
from bombus.vm.memory import Region
from bombus.vm.reference import ReferenceProgram

MAX_INSNS = 65536  # ubpf's limit, UBPF_MAX_INSTS


class _Env(PlainEnv):
    """A sandbox's helpers; kernel functions, tail calls and packets there are none."""

    __slots__ = ()


class Sandbox:
    """One program with its helpers and memory. Not for several threads at once.

    budget: instructions that a run may take (None: no limit). level: LLVM's optimisation, 0 (compiles fastest) to 3.
    engine "reference" runs the same programs, slower, with the same results. harden: 1 and 2 keep the program's
    constants out of the code. NotSupported without llvmlite.
    """

    def __init__(
        self, *, budget: int | None = 1_000_000_000, level: int = 2, engine: str = "native", harden: int = 0
    ) -> None:
        if engine not in ("native", "reference"):
            raise UsageError(f"engine {engine!r}: it is native or reference")
        self._env = _Env()
        self._names: dict[str, int] = {}
        self._program: NativeProgram | ReferenceProgram | None = None
        self._base = function_base()
        self._budget = budget
        self._level = level
        self._native = engine == "native"
        if self._native:
            NativeEngine(harden=harden)  # says why there is none
        self._blind = harden > 0
        self._insns: list[Insn] = []
        self._room: Region | None = None

    def register(self, number: int, function: Callable[..., int | None], name: str = "") -> None:
        """Make a function callable as helper `number`: five u64 in, an int (None: 0) out. What it raises ends the run
        and leaves `exec`. Before `load`. UsageError for a number that is taken or no u32."""
        if self._insns:
            raise UsageError("register helpers before the program is loaded")
        if not 0 <= number <= 0x7FFF_FFFF or number in self._env.helpers or number == 12:
            raise UsageError(f"helper {number}: the number is taken, the tail call's (12), or no positive s32")
        self._env.helpers[number] = function
        if name:
            self._names[name] = number

    def helper(self, number: int) -> HelperFn | None:
        """The function behind a number."""
        return self._env.helpers.get(number)

    def share(self, size: int, *, name: str = "shared memory", writable: bool = True) -> Region:
        """Memory that programs may touch besides the bytes of a call: `region.view` here, `region.start` there."""
        return self._env.memory.allocate(size, name=name, kind="mem", writable=writable)

    def load(self, code: bytes, *, section: str = ".text") -> None:
        """Take a program: raw instructions or an ELF object (its `section`). UsageError when one is loaded, or there
        are too many instructions; EncodingError for a length that is no multiple of 8; ElfError."""
        if self._insns:
            raise UsageError("a program is loaded; unload it first")
        if code[:4] == b"\x7fELF":
            found = read_elf(code).section(section)
            if found is None:
                raise UsageError(f"the object has no section {section}")
            code = found.data
        insns = decode(code)
        if not insns:
            raise EncodingError("there are no instructions", field="length")
        if len(insns) > MAX_INSNS:
            raise UsageError(f"{len(insns)} instructions; at most {MAX_INSNS}")
        self._insns = insns
        self._program = self._make(insns)

    def _make(self, insns: list[Insn]) -> NativeProgram | ReferenceProgram:
        if not self._native:
            return ReferenceProgram(insns, self._env, budget=self._budget, base=self._base)
        options = Options(budget=self._budget is not None, exported=(0,), blind=self._blind, main=False)
        return NativeProgram(insns, self._env, self._budget, level=self._level, options=options, base=self._base)

    def unload(self) -> None:
        """Forget the program, and its code."""
        self._insns = []
        self._program = None

    def compile(self) -> None:
        """Compile now what the first `exec` would compile. CodegenError."""
        program = self._program
        if program is None:
            raise UsageError("no program is loaded")
        program.prepare()

    def exec(self, memory: bytes | bytearray | memoryview = b"") -> int:
        """Run with r1 the address of `memory` and r2 its size; returns r0. A bytearray gets back what the program left.
        A helper may call `exec`, too: each run has memory of its own.

        VmFault for a wrong access, call or jump, or a used-up budget; what a helper raised.
        """
        program = self._program
        if program is None:
            raise UsageError("no program is loaded")
        size = len(memory)
        region = self._take_room(size)
        region.view[:size] = memory
        try:
            result = program.call(self._base, (region.start, size))
        finally:
            if isinstance(memory, bytearray):
                memory[:] = region.view[:size]
            self._give_room(region)
        return result

    def _take_room(self, size: int) -> Region:
        """Memory for a call: exactly as long as its bytes, for nothing beyond them may be touched."""
        room, self._room = self._room, None
        if room is not None and room.size == size:
            return room
        if room is not None:
            self._env.memory.remove(room)
        return self._env.memory.allocate(size, name="the memory", kind="mem")

    def _give_room(self, room: Region) -> None:
        if self._room is not None:
            self._env.memory.remove(self._room)
        self._room = room

    def disassemble(self) -> str:
        """The machine code as text. Needs capstone."""
        from bombus.jit.dump import listing

        program = self._program
        if not isinstance(program, NativeProgram):
            raise UsageError("no native program is loaded")
        program.prepare()
        return listing(program)
