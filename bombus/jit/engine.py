"""The native engine: programs through LLVM to machine code of this process.

It does what the reference interpreter does, faults included. Programs that a verifier accepted (their Env says so) run
without checks of what it proved.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from bombus.bits import U64, s32
from bombus.errors import NotSupported, UsageError, VmFault
from bombus.isa import opcodes as op
from bombus.isa.facts import CTX, MAP_KEY, MAP_VALUE, MEM, PACKET, RECORD, STACK
from bombus.isa.insn import Insn, imm64
from bombus.jit import abi
from bombus.jit import cache as objects
from bombus.jit.batch import Batch
from bombus.jit.batch import loop as loop_of
from bombus.jit.compile import COMPILER, llvmlite_folder
from bombus.jit.link import Linked, link
from bombus.jit.model import NO_FACTS, VALUES, Lowered, Options, asks
from bombus.jit.state import (
    BUDGET,
    CPU,
    ERRORS,
    FAULT,
    FRAME,
    INSN,
    ORDINARY,
    PROGRAM,
    RESULT,
    STATES,
    STATUS,
    TAIL_CALLS,
    TOP,
    State,
    find_upcall,
)
from bombus.jit.target import host
from bombus.vm import jumps
from bombus.vm.binding import TAIL_CALL, at, bind_calls, calls_back, function_base
from bombus.vm.env import ArrayPlace, Compiled, Env, HelperFn, MapCode
from bombus.vm.memory import Memory
from bombus.vm.run import DEFAULT_BUDGET, FRAME_STRIDE, NO_FRAME, Run, own

if TYPE_CHECKING:
    from bombus.vm.reference import ReferenceProgram

_U64_MAIN = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)
_U64_FIVE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, *[ctypes.c_uint64] * 5)
_ROUTINES: Final = ("memset", "memcpy", "memmove", "memcmp", "bcmp", "sched_yield", "clock_gettime")
_LIBC = ctypes.CDLL(None)

_LOOKUP: Final = 1  # bpf_map_lookup_elem
_PLAIN: Final = STACK | PACKET | MAP_VALUE | MAP_KEY | MEM | RECORD

# Instructions up to which LLVM's levels are worth their time.
_FOR_LEVEL_2, _FOR_LEVEL_1 = 2000, 4000

_programs: WeakValueDictionary[int, NativeProgram] = WeakValueDictionary()
_serial = itertools.count(1)


class NativeProgram:
    """One program. See `vm.env.Compiled`. Several threads may run it at once."""

    def __init__(
        self, insns: Sequence[Insn], env: Env, budget: int | None, *, level: int, options: Options,
        base: int | None = None,
    ) -> None:  # fmt: skip
        self._insns = list(insns)
        self._env = env
        self._budget = budget
        self._options = options
        self._level = level
        self.base = function_base() if base is None else base
        self._number = next(_serial)
        self._idle: list[State] = []
        self._active: list[State] = []  # runs of this program that are in a helper now, if one may call back
        self._calls_back = calls_back(self._insns, env)
        self._bound: dict[int, HelperFn] | None = None
        self._keep: list[object] = []
        self._python = False  # does it call Python, whatever the world is like?
        self._asks = any(asks(code, self._insns[at].imm) for at, code in options.maps.items())
        self._main: Callable[[int, int, int], int] | None = None
        self._linked: Linked | None = None
        self._functions: dict[int, Any] = {}
        self._faults: list[tuple[str, str]] = []
        self._lines: list[tuple[int, int]] | None = None  # what `line_map` found
        self._fallback: ReferenceProgram | None = None
        self._lock = Lock()

    # ------------------------------------------------------------------------------------------ running

    def run(self, ctx: int) -> int:
        if self._main is None:
            self.prepare()
        run = Run(self._env.memory, self._budget)
        try:
            return self.enter(ctx, run)
        finally:
            run.close()

    def enter(self, ctx: int, run: Run) -> int:
        if self._main is None:
            self.prepare()
        main = self._main
        if main is None:
            return self._reference().enter(ctx, run)
        state = self._begin(run)
        try:
            result = main(state.address, ctx & U64, run.tail_calls)
            if state.halves[STATUS]:
                raise self._stopped(state)
            return result
        finally:
            self._end(state)

    def call(self, address: int, args: Sequence[int]) -> int:
        if self._main is None:
            self.prepare()
        entry, rest = divmod(address - self.base, 8)
        if rest or not 0 <= entry < len(self._insns):
            raise VmFault("call", f"{address:#x} is no function of this program")
        function = self._functions.get(entry)
        if function is None:
            return self._reference().call(address, args)
        registers = [*(value & U64 for value in args[:5]), 0, 0, 0, 0, 0][:5]
        if (state := own(self._active)) is not None:
            if self._options.checked and state.words[FRAME] == state.words[TOP]:
                raise VmFault("stack", NO_FRAME)
            frame, insn = state.words[FRAME], state.halves[INSN]
            result: int = function(state.address, *registers)
            state.words[FRAME] = frame
            if state.halves[STATUS]:
                error = self._stopped(state)
                state.halves[STATUS] = abi.RETURNED  # the helper may catch what it raises
                state.halves[INSN] = insn
                raise error
            return result
        run = Run(self._env.memory, self._budget)
        state = self._begin(run)
        try:
            state.words[FRAME] -= FRAME_STRIDE  # the function takes the next one
            result = function(state.address, *registers)
            if state.halves[STATUS]:
                raise self._stopped(state)
            return result
        finally:
            self._end(state)
            run.close()

    def batch(self, loop: str, batch: Batch, cpu: int | None = None) -> int:
        """Run one of `jit.batch`'s loops, whose `ctx` and places are set. Returns what the loop returns; raises what a
        run that was stopped raises (`batch` says how far it came).

        Several threads may do so at once when no callee is Python's, each as a `cpu` of its own.
        """
        self.prepare()
        if self._linked is None:
            raise NotSupported("batches of this program", "it has no native code")
        run = Run(self._env.memory, self._budget)
        state = self._begin(run)
        if cpu is not None:
            state.halves[CPU] = cpu
        try:
            batch["main"] = self._linked.symbols[abi.MAIN]
            batch["frame"], batch["top"] = state.words[FRAME], state.words[TOP]
            batch["budget"] = state.words[BUDGET]
            result: int = loop_of(loop)(state.address, batch.address)
            if state.halves[STATUS]:
                raise self._stopped(state)
            return result
        finally:
            self._end(state)
            run.close()

    @property
    def inlined(self) -> frozenset[int]:
        """Calls of helpers that are code of its own."""
        return frozenset(self._options.maps)

    @property
    def linked(self) -> Linked | None:
        """Where its code lies now."""
        return self._linked

    @property
    def label(self) -> str:
        """What profilers call it."""
        return self._env.label

    def line_map(self) -> list[tuple[int, int]]:
        """(address, instruction) where code of an instruction begins, by address; -1: of none. Compiled for this, once
        more, with a line table. Empty when that gives other code (constants blinded anew)."""
        linked = self._linked
        if linked is None or self._options.blind or not self._options.main:
            return []
        if self._lines is None:
            self._lines = self._make_lines(linked)
        return self._lines

    def _make_lines(self, linked: Linked) -> list[tuple[int, int]]:
        from bombus.elf.lines import line_table
        from bombus.elf.model import STT_FUNC
        from bombus.elf.read import read_elf
        from bombus.jit.lower import lower

        lowered = lower(self._insns, host(), self._options._replace(lines=True))
        elf = read_elf(COMPILER.compile(lowered.text, host(), level=self._chosen_level()))
        symbols = {symbol.name: symbol for symbol in elf.symbols if symbol.type == STT_FUNC}
        if {name: symbol.size for name, symbol in symbols.items()} != {n: f[1] for n, f in linked.functions.items()}:
            return []
        base = linked.symbols[abi.MAIN] - symbols[abi.MAIN].value
        return [(base + offset, line - 1) for offset, line in line_table(elf)]

    @property
    def is_native(self) -> bool:
        """Is there native code of it now?"""
        return self._linked is not None

    @property
    def calls_python(self) -> bool:
        """Does native code call back into Python (after `prepare`)?"""
        return self._python or (self._asks and not self._env.ordinary)

    def _begin(self, run: Run) -> State:
        try:
            state = self._idle.pop()
        except IndexError:
            state = State(self._env.memory)
        jumps.busy.add(state.address)
        state.begin(run, self._budget, self._env.cpu)
        if self._asks:
            state.words[ORDINARY] = int(self._env.ordinary)
        return state

    def _end(self, state: State) -> None:
        jumps.busy.discard(state.address)
        state.run = None
        if state.keep:
            state.keep.clear()
        self._idle.append(state)

    def _stopped(self, state: State) -> BaseException:
        """Why a run stopped, as what its caller gets."""
        status, insn = state.halves[STATUS], s32(state.halves[INSN])
        if status == abi.ERROR:
            error = ERRORS.pop(state.address, None)
            if error is None:  # the dict could not take it
                return MemoryError("for what a callee raised")
            return at(error, insn) if isinstance(error, VmFault) else error
        if status == abi.FAULT:
            kind, message = _programs[state.words[PROGRAM]]._faults[state.halves[FAULT]]
            return VmFault(kind, message, insn=insn)
        if status == abi.BUDGET:
            return VmFault("budget", "the program used up its instructions", insn=insn)
        return VmFault("stack", NO_FRAME, insn=insn)

    def __del__(self) -> None:
        for state in self._idle:
            STATES.pop(state.address, None)

    @property
    def is_running(self) -> bool:
        """Is a run of this program, in this thread, in a helper that may call back?"""
        return own(self._active) is not None

    def _reference(self) -> ReferenceProgram:
        """For what has no native code: callbacks to addresses that no instruction names, programs beyond reason."""
        if self._fallback is None:
            from bombus.vm.reference import ReferenceProgram

            self._fallback = ReferenceProgram(self._insns, self._env, budget=self._budget, base=self.base)
        return self._fallback

    # ------------------------------------------------------------------------------------------ compiling

    def prepare(self) -> None:
        """Compile now what the first run would compile."""
        if self._main is not None or self._fallback is not None:
            return
        if not self._insns:
            self._reference()
            return
        with self._lock:  # code must not be replaced while another thread runs it
            if self._main is None and self._fallback is None:
                self._compile()

    def _compile(self) -> None:
        if self._take_cached():
            return
        lowered = self.lower()
        if lowered is None:
            return
        data = COMPILER.compile(lowered.text, host(), level=self._chosen_level())
        if not self._options.blind:
            objects.store(self._key(), lowered, data)
        self._install(lowered, data)

    def from_cache(self) -> bool:
        """Take code that was compiled earlier, if there is some."""
        with self._lock:
            return self._take_cached()

    def _take_cached(self) -> bool:
        if self._main is not None:
            return True
        if not self._insns or self._options.blind:
            return False
        found = objects.load(self._key(), self._insns, host(), self._options)
        if found is not None:
            self._install(*found)
        return found is not None

    def _key(self) -> str:
        return objects.key_of(self._insns, host(), self._options, self._chosen_level())

    def _chosen_level(self) -> int:
        size = len(self._insns)
        return min(self._level, 2 if size <= _FOR_LEVEL_2 else 1 if size <= _FOR_LEVEL_1 else 0)

    def _install(self, lowered: Lowered, data: bytes) -> None:
        self.take(lowered, link(data, self.symbols(lowered).__getitem__))

    def lower(self) -> Lowered | None:
        """The text of its module; None when it has code, or never will."""
        if self._main is not None or self._fallback is not None or not self._insns:
            return None
        from bombus.jit.lower import lower

        try:
            return lower(self._insns, host(), self._options)
        except NotSupported:
            self._reference()
            return None

    def take(self, lowered: Lowered, linked: Linked) -> None:
        """Run what was compiled from `lower` and placed with `symbols`."""
        self._faults = lowered.faults
        _programs[self._number] = self
        self._linked = linked
        self._functions = {entry: _U64_FIVE(linked.symbols[abi.function_symbol(entry)]) for entry in lowered.entries}
        if os.environ.get("BOMBUS_PERF_MAP"):
            from bombus.jit import perfmap

            perfmap.note(self._env.label, linked)
        if os.environ.get("BOMBUS_GDB"):
            from bombus.jit import gdb

            gdb.note(self._env.label, linked)
        self._main = _U64_MAIN(linked.symbols[abi.MAIN]) if self._options.main else _no_main

    def symbols(self, lowered: Lowered) -> dict[str, int]:
        """What the code needs, as addresses."""
        found = {abi.FUNCTIONS: self.base, abi.PROGRAM: self._number}
        found |= {abi.object_symbol(index): self._start(index) for index, _ in self._options.objects.values()}
        for index in self._options.jumps:
            facts = self._options.facts
            table = self._env.jump_table(facts.maps[index])
            if table is None:  # compiled in another thread, too late
                raise NotSupported("native code of a program that is gone", "its maps are, too")
            found[abi.jumps_symbol(index)] = table.address
        for number, value in enumerate(lowered.immediates):
            found[abi.immediate_symbol(number)] = value
        for name in _ROUTINES:
            found[name] = _address(getattr(_LIBC, name))
        for symbol, index in lowered.helpers.items():
            found[symbol] = self._helper(self._bodies()[index])
            code = self._options.maps.get(index)
            self._python |= code is None or code.by_handle or not asks(code, self._insns[index].imm)
        self._python |= bool(lowered.needs - {abi.FIND})
        if abi.TAIL_CALL in lowered.needs:
            found[abi.TAIL_CALL] = self._upcall(self._tail_call, "service")
        if abi.LOAD_PACKET in lowered.needs:
            found[abi.LOAD_PACKET] = self._upcall(self._load_packet, "service")
        if abi.ADDRESS_CAST in lowered.needs:
            found[abi.ADDRESS_CAST] = self._upcall(self._address_cast, "service")
        if abi.FIND in lowered.needs:
            found[abi.FIND] = find_upcall().address
        return found

    def _start(self, index: int) -> int:
        """Where the memory begins that an instruction of `Options.objects` leads into."""
        arrays, maps = self._options.arrays, self._options.maps
        if index in arrays:
            return arrays[index].start
        if index in maps:
            return maps[index].address
        return imm64(self._insns[index], self._insns[index + 1]) - self._options.objects[index][1]

    def _bodies(self) -> dict[int, HelperFn]:
        """Of calls that go back to Python: where all of them are native code, no body is looked for."""
        if self._bound is None:
            self._bound = bind_calls(self._insns, self._env)
        return self._bound

    def _upcall(self, function: Callable[..., int | None], kind: str) -> int:
        from bombus.jit.upcall import Upcall

        upcall = Upcall(function, kind, ERRORS, self._env.memory.epochs)
        self._keep.append(upcall)
        return upcall.address

    def _helper(self, body: HelperFn) -> int:
        """Where native code calls a helper."""
        return self._upcall(self._tracked(body), "tracked") if self._calls_back else self._upcall(body, "helper")

    # ------------------------------------------------------------------------------------------ called by native code

    def _tracked(self, body: HelperFn) -> Callable[[int, int, int, int, int, int], int | None]:
        """For programs with functions that a helper may call back: their run is found while it is in one."""
        active = self._active

        def call(run: int, r1: int, r2: int, r3: int, r4: int, r5: int) -> int | None:
            state = STATES[run]
            active.append(state)
            try:
                return body(r1, r2, r3, r4, r5)
            finally:
                active.remove(state)

        return call

    def _tail_call(self, run: int, ctx: int, array: int, index: int) -> int:
        state = STATES[run]
        target = self._env.tail_call(ctx, array, index)
        if target is None:
            return 0
        native = _native_form(target)
        if native is None or native._linked is None:
            return self._elsewhere(state, target, ctx)
        state.keep.append(native)
        code = native._linked.symbols[abi.MAIN]
        table = self._env.jump_table(handle=array) if self._options.jumps else None
        if table is not None:
            table.fill(index, code, native)
        return code

    def _elsewhere(self, state: State, target: Compiled, ctx: int) -> int:
        """Run a program of another engine."""
        run = state.run
        assert run is not None
        frame, top = run.frame, run.top
        run.tail_calls = state.halves[TAIL_CALLS]
        try:
            state.words[RESULT] = run.tail_call(target, ctx, state.frame())
        finally:
            run.frame, run.top = frame, top
            state.halves[TAIL_CALLS] = run.tail_calls
        return abi.ALREADY_RAN

    def _load_packet(self, _run: int, skb: int, offset: int, size: int) -> int:
        found = self._env.load_packet(skb, s32(offset & 0xFFFF_FFFF), size)
        return U64 if found is None else found

    def _address_cast(self, _run: int, value: int, to: int, from_: int) -> int:
        return self._env.address_cast(value, to, from_)


def _no_main(run: int, ctx: int, tail_calls: int) -> int:
    raise UsageError("only functions of this program were compiled: call one")


def _native_form(target: Compiled) -> NativeProgram | None:
    """The program as native code, if it is now."""
    if isinstance(target, NativeProgram):
        target.prepare()
        return target
    form: Callable[[], NativeProgram | None] | None = getattr(target, "native_form", None)
    return None if form is None else form()


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _objects(
    insns: Sequence[Insn], memory: Memory, arrays: Mapping[int, ArrayPlace], maps: Mapping[int, MapCode]
) -> dict[int, tuple[int, int]]:
    """See `Options.objects`."""
    leads = {index: (place.start, 0) for index, place in arrays.items()}
    leads |= {index: (code.address, 0) for index, code in maps.items()}
    for index, insn in enumerate(insns):
        if insn.opcode == op.LD_IMM64 and insn.src in VALUES:
            value = imm64(insn, insns[index + 1])
            region = memory.find(value, 1)
            if region is not None:
                leads[index] = region.start, value - region.start
    first: dict[int, int] = {}
    return {index: (first.setdefault(start, index), offset) for index, (start, offset) in sorted(leads.items())}


class NativeEngine:
    """`vm.env.Engine`.

    budget: instructions after which a run of an unverified program is VmFault("budget"); None: no limit. checked: check
    every access; None: as the Env's `verified` says. NotSupported without llvmlite, and on machines that code cannot be
    placed on yet. harden: constant blinding as net.core.bpf_jit_harden has it: 0 none, 1 of unverified programs, 2 of
    all (blinded code is not kept on disk). UsageError for others.
    """

    __slots__ = ("_budget", "_checked", "_harden", "_level", "name")

    def __init__(
        self, *, budget: int | None = DEFAULT_BUDGET, checked: bool | None = None, level: int = 2, harden: int = 0
    ) -> None:
        if harden not in (0, 1, 2):
            raise UsageError(f"harden={harden}: it is 0, 1 or 2")
        host()
        llvmlite_folder()
        self.name = "native"
        self._budget = budget
        self._checked = checked
        self._level = level
        self._harden = harden

    def compile(self, insns: Sequence[Insn], env: Env, base: int | None = None) -> NativeProgram:
        facts = env.facts
        checked = facts is None if self._checked is None else self._checked
        budget = self._budget if checked else None
        plain = _PLAIN | (CTX if env.whole_context else 0)
        places = {} if facts is None or checked else {index: env.array(id_) for index, id_ in facts.maps.items()}
        tables = (
            {}
            if facts is None or checked
            else {i: env.jump_table(id_) for i, id_ in facts.maps.items() if insns[i].imm == TAIL_CALL}
        )
        slots = {i: table.entries for i, table in tables.items() if table is not None}
        arrays = {i: place for i, place in places.items() if place is not None and insns[i].imm == _LOOKUP}
        codes = {} if facts is None or checked else {i: env.map_code(id_) for i, id_ in facts.maps.items()}
        maps = {
            i: code for i, code in codes.items() if code is not None and insns[i].imm in code.calls and i not in arrays
        }
        if facts is not None and not checked:
            held = {i: env.inner_code(type_) for i, type_ in facts.inner.items()}
            maps |= {i: code for i, code in held.items() if code is not None and insns[i].imm in code.calls}
        calls_helpers = any(insn.opcode == op.CALL and not insn.src for insn in insns)
        others = env.helper_code() if facts is not None and not checked and calls_helpers else None
        if others is not None:
            maps |= {
                i: others
                for i, insn in enumerate(insns)
                if insn.opcode == op.CALL and insn.src == 0 and insn.imm in others.calls and i not in maps
            }
        blind = self._harden == 2 or (self._harden == 1 and facts is None)
        options = Options(
            checked=checked,
            budget=budget is not None,
            facts=facts or NO_FACTS,
            plain=plain,
            blind=blind,
            arrays=arrays,
            maps=maps,
            jumps=slots,
            objects={} if facts is None or checked else _objects(insns, env.memory, arrays, maps),
            packet=env.packet_words,
            unwind=bool(os.environ.get("BOMBUS_GDB")),
            exported=tuple(sorted(env.called)),
        )
        return NativeProgram(insns, env, budget, level=self._level, options=options, base=base)
