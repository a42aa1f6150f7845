"""From instructions to the text of an LLVM module. See `abi` for what the module exports and needs.

Two kinds of code:

- checked, for anything: every access is looked up in the run's table of regions, calls count frames, and a budget of
  instructions can be kept. Nothing that the bytes say makes it leave its regions.
- trusted, for what a verifier accepted: frames are not counted, and accesses that it says are plain memory (`plain`) go
  straight through.

The text holds no address of this process, so its object can be kept and used elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from bombus.errors import NotSupported
from bombus.isa import opcodes as op
from bombus.isa.facts import STACK
from bombus.isa.insn import Insn
from bombus.jit import abi
from bombus.jit.access import TREE
from bombus.jit.calls import TAIL_CALL
from bombus.jit.function import Function
from bombus.jit.model import Lowered, Options, asks
from bombus.jit.target import Target
from bombus.jit.walks import LOOP, OWN, WALKS
from bombus.jit.writer import field_of
from bombus.vm.flow import Block, blocks_from
from bombus.vm.run import FRAME_STRIDE

# Functions that share code each get a copy of it; beyond this many instructions per instruction it is no program that
# a compiler wrote.
_MAX_COPIES: Final = 4


class Module:
    """What the functions of one program share while they are written."""

    def __init__(self, insns: Sequence[Insn], target: Target, options: Options) -> None:
        self.insns = insns
        self.out = Lowered(target, options)
        self.todo: list[int] = []  # functions that are called
        self.written: set[int] = set()
        self.size = 0
        self.callbacks = any(insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC for insn in insns)
        self._fault_numbers: dict[tuple[str, str], int] = {}
        self._immediate_numbers: dict[int, int] = {}
        facts = options.facts
        self.plain = (
            frozenset()
            if options.checked
            else frozenset(index for index, kinds in facts.access.items() if not kinds & ~options.plain) - facts.probes
        )
        self.arrays = {} if options.checked else options.arrays
        self.maps = {} if options.checked else options.maps
        self.jumps = {} if options.checked else options.jumps
        loops = {} if options.checked else facts.loops
        self.loops = {index: function for index, function in loops.items() if insns[index].imm == LOOP}
        self._blocks: dict[int, dict[int, Block]] = {}
        self._stops: dict[int, bool] = {}
        self._calls_out: dict[int, bool] = {}
        self.walks: dict[int, int] = {}  # calls that are loops over what a map holds: the function that they call
        self._choose_walks(loops)
        inlined = {index for index, code in self.maps.items() if not code.by_handle}
        here = inlined | self.arrays.keys() | self.loops.keys()
        # Who follows numbers: callees that are not code of this program, programs that are jumped to, careful loads.
        follows = bool(facts.probes) or any(
            insn.opcode == op.CALL and insn.src != op.BPF_PSEUDO_CALL and index not in here
            for index, insn in enumerate(insns)
        )
        # Where a pointer leads to the stack or to what is accessed with care, the stack is looked for as well.
        careful = any(kinds & STACK and index not in self.plain for index, kinds in facts.access.items())
        outside = careful or facts.stack_arguments - here or (facts.stack_numbers and follows)
        self.native_frames = not options.checked and not (options.outside_stack and outside)
        self.calls = any(insn.opcode in (op.CALL, op.CALLX) for insn in insns)

    def _choose_walks(self, loops: Mapping[int, int]) -> None:
        """Calls of WALKS that stay native; the others go to the helper. What the callback gets lies in a frame of
        native code where the map does not have it as it is: then no helper of Python's may be among what it calls."""
        todo = {index: code for index, code in self.maps.items() if self.insns[index].imm in WALKS}
        self.maps = {index: code for index, code in self.maps.items() if index not in todo}
        while todo:  # the innermost first: what a callback itself walks over
            chosen = {
                index: code for index, code in todo.items()
                if index in loops and not code.by_handle
                and (code.calls[self.insns[index].imm][1] == OWN or not self.calls_out(loops[index]))
            }  # fmt: skip
            if not chosen:
                return
            for index, code in chosen.items():
                del todo[index]
                self.maps = {**self.maps, index: code}
                self.walks[index] = loops[index]
            self._calls_out.clear()

    def fault(self, kind: str, message: str) -> int:
        """The number of a fault."""
        key = kind, message
        number = self._fault_numbers.setdefault(key, len(self.out.faults))
        if number == len(self.out.faults):
            self.out.faults.append(key)
        return number

    def immediate(self, value: int, index: int) -> str:
        """The symbol whose address is the `value` that instruction `index` has."""
        number = self._immediate_numbers.setdefault(value, len(self.out.immediates))
        if number == len(self.out.immediates):
            self.out.immediates.append(value)
            self.out.places.append(index)
        return abi.immediate_symbol(number)

    def memory(self, index: int) -> str:
        """The symbol of the memory that a look-up, a map's code or an address of a value leads into."""
        if index in self.out.options.objects:
            return abi.object_symbol(self.out.options.objects[index][0])
        return abi.array_symbol(index) if index in self.arrays else abi.map_symbol(index)

    def call(self, entry: int) -> None:
        """A function is called: it has to be written."""
        if entry not in self.written:
            self.written.add(entry)
            self.todo.append(entry)

    def blocks(self, entry: int) -> dict[int, Block]:
        if entry not in self._blocks:
            self._blocks[entry] = blocks_from(self.insns, entry)
        return self._blocks[entry]

    def stops(self, entry: int) -> bool:
        """May a function leave because the run is over? Then its callers look."""
        if self.out.options.checked:
            return True
        if entry not in self._stops:
            self._stops[entry] = True  # for what calls itself
            self._stops[entry] = self.out.options.budget or any(
                self._stopping(index)
                for block in self.blocks(entry).values()
                for index in range(block.start, block.end)
            )
        return self._stops[entry]

    def calls_out(self, entry: int) -> bool:
        """May a function, or what it calls, give something to a helper outside of the code?"""
        if entry not in self._calls_out:
            self._calls_out[entry] = False  # for what calls itself
            self._calls_out[entry] = any(
                self._leaving(index)
                for block in self.blocks(entry).values()
                for index in range(block.start, block.end)
            )
        return self._calls_out[entry]

    def _leaving(self, index: int) -> bool:
        insn = self.insns[index]
        if insn.opcode not in (op.CALL, op.CALLX):
            return False
        if insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL:
            target = index + 1 + insn.imm
            return not 0 <= target < len(self.insns) or self.calls_out(target)
        called = self.loops.get(index, self.walks.get(index))
        if called is not None:
            return self.calls_out(called)
        code = self.maps.get(index)
        return index not in self.arrays and (code is None or code.by_handle)

    @cached_property
    def counts_in_register(self) -> bool:
        """Is the number of tail calls at hand where they are made: does main alone make them?"""
        insns, outside = self.insns, set(self.out.options.exported)
        for index, insn in enumerate(insns):
            local = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL
            if local or (insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC):
                outside.add(index + 1 + insn.imm)
        return not any(
            insns[index].opcode == op.CALL and not insns[index].src and insns[index].imm == TAIL_CALL
            for entry in outside if 0 <= entry < len(insns)
            for block in self.blocks(entry).values()
            for index in range(block.start, min(block.end, len(insns)))
        )  # fmt: skip

    def _stopping(self, index: int) -> bool:
        insn = self.insns[index]
        cls = insn.opcode & 7
        if insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL:
            target = index + 1 + insn.imm
            return not 0 <= target < len(self.insns) or self.stops(target)
        if index in self.walks:
            return self.stops(self.walks[index])
        if index in self.arrays or index in self.maps:
            code = self.maps.get(index)
            return code is not None and (code.by_handle or asks(code, insn.imm))
        if index in self.loops:
            return self.stops(self.loops[index])
        if insn.opcode & 0xE7 in (op.BPF_LD | op.BPF_ABS, op.BPF_LD | op.BPF_IND):
            return not self.out.options.packet
        if insn.opcode in (op.CALL, op.CALLX):
            return True
        if cls in (op.BPF_LDX, op.BPF_ST, op.BPF_STX):
            return index not in self.plain
        return insn.opcode == op.BPF_ALU64 | op.BPF_MOV | op.BPF_X and insn.off == op.BPF_ADDR_SPACE_CAST


def lower(insns: Sequence[Insn], target: Target, options: Options | None = None) -> Lowered:
    """The module of a program. NotSupported when its functions share too much code to be native functions."""
    module = Module(insns, target, options or Options())
    parts: list[str] = []
    if insns and module.out.options.main:
        parts.append(_function(module, 0, main=True))
    for entry in module.out.options.exported:
        module.out.entries.append(entry)
        module.call(entry)
    for index, insn in enumerate(insns):
        if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC:
            entry = index + 1 + insn.imm
            if 0 <= entry < len(insns) and entry not in module.out.entries:
                module.out.entries.append(entry)
                module.call(entry)
    while module.todo:
        parts.append(_function(module, module.todo.pop(), main=False))
    out = module.out
    parts += [_callback(entry, native_frames=module.native_frames) for entry in out.entries]
    out.text = "\n".join([*_head(module), *parts, _WEIGHTS, TREE])
    if out.options.unwind:
        out.text = re.sub(r"(?m)^(define .*) nounwind", r"\1 nounwind uwtable", out.text)
    if module.out.options.lines:
        out.text += _debug_info(module)
    return out


def _function(module: Module, entry: int, *, main: bool) -> str:
    blocks = module.blocks(entry)
    module.size += sum(block.end - block.start for block in blocks.values())
    if module.size > _MAX_COPIES * len(module.insns) + 1000:
        raise NotSupported("native code of this program", "its functions share most of their code")
    return Function(module, entry, blocks, main=main).text()


def _debug_info(module: Module) -> str:
    scopes = {1001 + entry: entry for entry in module.written} | {1000: 0}  # as Function.scope
    nodes = "".join(
        f'!{number} = distinct !DISubprogram(name: "f{entry}", file: !101, line: {entry + 1}, scope: !101, '
        f"type: !104, spFlags: DISPFlagDefinition, unit: !100)\n"
        for number, entry in scopes.items()
    )
    return f"""
!llvm.dbg.cu = !{{!100}}
!llvm.module.flags = !{{!102, !103}}
!100 = distinct !DICompileUnit(language: DW_LANG_C, file: !101, isOptimized: true, emissionKind: LineTablesOnly)
!101 = !DIFile(filename: "bpf", directory: "")
!102 = !{{i32 2, !"Debug Info Version", i32 3}}
!103 = !{{i32 2, !"Dwarf Version", i32 4}}
!104 = !DISubroutineType(types: !{{}})
{nodes}"""


def _callback(entry: int, *, native_frames: bool) -> str:
    """The exported form of a function: one frame deeper than what runs now."""
    args = ", ".join(f"i64 %r{n}" for n in range(1, 6))
    head = f"define i64 @{abi.function_symbol(entry)}(ptr %run, {args}) nounwind {{"
    if native_frames:
        return f"{head}\n  %r = call i64 @f{entry}(ptr %run, i64 0, {args})\n  ret i64 %r\n}}\n"
    return f"""
{head}
{field_of("frame", "%p")}
  %f = load i64, ptr %p, align 8
  %g = add i64 %f, {FRAME_STRIDE}
  %r = call i64 @f{entry}(ptr %run, i64 %g, {args})
  store i64 %f, ptr %p, align 8
  ret i64 %r
}}
"""


def _head(module: Module) -> list[str]:
    out = module.out
    lines = [f"declare i{bits} @llvm.bswap.i{bits}(i{bits})" for bits in (16, 32, 64)]
    lines.append("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    lines.append("declare void @llvm.assume(i1)")
    five = ", ".join(["ptr", *["i64"] * 5])
    lines += [f"declare i64 @{name}({five}) nounwind nonlazybind" for name in out.helpers]
    for name in sorted(out.needs):
        result, *params = abi.SIGNATURES[name]
        lines.append(f"declare {result} @{name}({', '.join(['ptr', *params])}) nounwind nonlazybind")
    lines += [f"@{abi.immediate_symbol(n)} = external global i8" for n in range(len(out.immediates))]
    memory = dict.fromkeys(module.memory(index) for index in (*module.arrays, *module.maps, *out.options.objects))
    lines += [f"@{symbol} = external global i8" for symbol in memory]
    texts = {code.digest: code for code in module.maps.values()}
    lines += [text for code in texts.values() for text in (code.head, code.definitions)]
    lines += sorted({line for code in texts.values() for line in code.declarations}.difference(lines))
    lines += [f"@{abi.jumps_symbol(index)} = external global i64" for index in module.jumps]
    if module.callbacks:
        lines.append(f"@{abi.FUNCTIONS} = external global i8")
    lines.append(_STOP)
    if abi.FIND in out.needs:
        lines.append(_LOOKUP)
    if abi.TAIL_CALL in out.needs:
        lines.append(_ASK.replace("SAVING ", out.target.saving))
    return lines


_STOP = f"""
@{abi.PROGRAM} = external global i8
define internal void @stop(ptr %run, i32 %status, i32 %insn, i32 %fault) noinline cold nounwind {{
  store i32 %status, ptr %run, align 8
  %p = getelementptr i8, ptr %run, i64 {abi.RUN["insn"][0]}
  store i32 %insn, ptr %p, align 4
  %q = getelementptr i8, ptr %run, i64 {abi.RUN["fault"][0]}
  store i32 %fault, ptr %q, align 8
  %r = getelementptr i8, ptr %run, i64 {abi.RUN["program"][0]}
  %id = ptrtoint ptr @{abi.PROGRAM} to i64
  store i64 %id, ptr %r, align 8
  ret void
}}
"""

# bpf_tail_call for instruction %insn.
_ASK = f"""
define internal SAVING i64 @ask(ptr %run, i64 %ctx, i64 %array, i64 %index, i32 %insn) noinline cold nounwind {{
  %p = getelementptr i8, ptr %run, i64 {abi.RUN["insn"][0]}
  store i32 %insn, ptr %p, align 4
  %r = call i64 @{abi.TAIL_CALL}(ptr %run, i64 %ctx, i64 %array, i64 %index)
  ret i64 %r
}}
"""

# The table's entry that holds an access, or what bpf_find says; null when there is none.
_LOOKUP = f"""
define internal ptr @lookup(ptr %run, i64 %address, i64 %size, i32 %kind, i32 %insn) noinline nounwind {{
  %cp = getelementptr i8, ptr %run, i64 {abi.RUN["count"][0]}
  %count = load i32, ptr %cp, align 4
  %table = getelementptr i8, ptr %run, i64 {abi.RUN["regions"][0]}
  %loads = icmp eq i32 %kind, {abi.LOAD}
  %probes = icmp eq i32 %kind, {abi.PROBE}
  %reads = or i1 %loads, %probes
  %which = select i1 %reads, i64 8, i64 16
  br label %head
head:
  %i = phi i32 [ 0, %0 ], [ %j, %next ]
  %more = icmp ult i32 %i, %count
  br i1 %more, label %body, label %miss
body:
  %w = zext i32 %i to i64
  %off = mul i64 %w, {abi.REGION_BYTES}
  %e = getelementptr i8, ptr %table, i64 %off
  %start = load i64, ptr %e, align 8
  %lp = getelementptr i8, ptr %e, i64 %which
  %len = load i64, ptr %lp, align 8
  %o = sub i64 %address, %start
  %in = icmp ult i64 %o, %len
  %left = sub i64 %len, %o
  %fits = icmp uge i64 %left, %size
  %ok = and i1 %in, %fits
  br i1 %ok, label %found, label %next
found:
  ret ptr %e
next:
  %j = add i32 %i, 1
  br label %head
miss:
  %ip = getelementptr i8, ptr %run, i64 {abi.RUN["insn"][0]}
  store i32 %insn, ptr %ip, align 4
  %n = call i32 @{abi.FIND}(ptr %run, i64 %address, i64 %size, i32 %kind)
  %none = icmp eq i32 %n, {-1}
  br i1 %none, label %lost, label %there
lost:
  ret ptr null
there:
  %nw = zext i32 %n to i64
  %noff = mul i64 %nw, {abi.REGION_BYTES}
  %ne = getelementptr i8, ptr %table, i64 %noff
  ret ptr %ne
}}
"""

# Likely first, unlikely first.
_WEIGHTS = """
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
"""
