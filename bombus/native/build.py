"""Objects and executables of BPF programs for any architecture.

A relocatable object exports, for each program, the C function `uint64_t NAME(void *ctx)`, and needs what the program
calls: `bpf_helper_N` for each helper (see `jit.abi` for its arguments), `bpf_map_NAME` for each map that is no section
of variables. `header` declares all of it. An executable answers records from its standard input (`runtime.serve`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bombus.elf.model import SHN_UNDEF
from bombus.elf.read import read_elf
from bombus.errors import CodegenError, NotSupported, UsageError
from bombus.isa import opcodes as op
from bombus.isa.facts import CTX, MAP_KEY, MAP_VALUE, MEM, PACKET, RECORD, STACK
from bombus.isa.insn import Insn
from bombus.jit import abi
from bombus.jit.compile import Compiler
from bombus.jit.lower import lower
from bombus.jit.model import Lowered, Options
from bombus.jit.walks import LOOP
from bombus.native import start
from bombus.native.arch import WASM32, Arch
from bombus.native.inside import FREE, TIMELESS, Codes, access
from bombus.native.link import link, link_shared
from bombus.native.module import Pieces
from bombus.native.programs import (
    NativeProgram,
    NativeUnit,
    context_size,
    helper_name,
    packet_words,
    pointers_of,
    wide_offset,
)
from bombus.native.wasm import module_of
from bombus.runtime import serve
from bombus.spec.ctxstructs import CONTEXT
from bombus.spec.helpers import HELPER_BY_ID
from bombus.vm.env import ArrayPlace, MapCode

Emit = Literal["obj", "exe", "so", "llvm", "asm"]
_PLAIN: Final = CTX | STACK | PACKET | MAP_VALUE | MAP_KEY | MEM | RECORD
_BUDGET: Final = 1 << 62
_LOOKUP: Final = 1  # bpf_map_lookup_elem
_NAMES: Final = {"exe": "executables", "so": "shared libraries"}
_CALLBACK: Final = "ARG_PTR_TO_FUNC"
_KINDS: Final = {"xdp_md": serve.XDP, "__sk_buff": serve.SKB}


def build(unit: NativeUnit, arch: Arch, *, emit: Emit = "obj", level: int = 2, soname: str = "") -> bytes:
    """Compile verified programs. soname: what a shared library calls itself. NotSupported names what an executable or a
    library does not have; CodegenError when LLVM fails."""
    if unit.byteorder != arch.target.byteorder:
        flag = "bpfeb" if arch.target.byteorder == "big" else "bpfel"
        raise UsageError(f"a {unit.byteorder}-endian object for {arch.name}: build it with --target {flag}")
    pieces = Pieces()
    entries = []
    target = arch.static if emit == "exe" else arch.target
    is_wasm = arch is WASM32
    alone = is_wasm and emit == "so"  # a module that asks its host for nothing
    whole = emit in ("exe", "so")  # nobody provides anything
    inner = unit.inside if whole else {}
    codes = Codes(arch, _layout(arch))
    for number, program in enumerate(unit.programs):
        held = {index: name for index, name in program.maps.items() if name in inner}
        looked_up = {index for index in held if program.insns[index].imm == _LOOKUP}
        arrays = {i: name for i, name in held.items() if i in looked_up and inner[name].kind == "array"}
        places = {i: ArrayPlace(0, inner[name].numbers["slot_bytes"], inner[name].numbers["max_entries"], 0)
                  for i, name in arrays.items()}  # fmt: skip
        maps = {i: codes.of(inner[name].kind, inner[name].numbers) for i, name in held.items() if i not in arrays}
        maps |= _helpers(program, codes, TIMELESS if alone else FREE) if whole else {}
        lowered = lower(program.insns, target, Options(checked=False, budget=False, facts=program.facts, plain=_PLAIN,
                                                       outside_stack=False, arrays=places, maps=maps,
                                                       packet=packet_words(program.context)))  # fmt: skip
        _complain(program, lowered, maps.keys())
        if whole and lowered.helpers:
            names = ", ".join(helper_name(program.insns[index].imm) for index in sorted(lowered.helpers.values()))
            raise NotSupported(
                f"helpers in {_NAMES[emit]}", f"{program.name} calls {names}; --emit obj leaves them to you"
            )
        prefix = f"p{number}."
        memory = {i: f"@bpf_memory_{_identifier(name)}" for i, name in held.items()}
        pieces.add_program(lowered, prefix, [_place(program, value) for value in lowered.immediates],
                           {i: memory[i] for i in arrays}, {i: memory.get(i, "@bombus_random") for i in maps})
        entries.append((f"{prefix}{abi.MAIN}", _context(program) if emit == "exe" else 0))
    pieces.add(_variables(unit, {"exe": "internal ", "so": "dso_local "}.get(emit, "")))
    pieces.add(_tables(unit))
    for name, one in sorted(inner.items()):
        pieces.add([one.memory(f"bpf_memory_{_identifier(name)}", arch.target.byteorder),
                    f"@bpf_map_{name} = internal global i8 0"])  # fmt: skip
        if emit == "so":
            code = codes.of(one.kind, one.numbers)
            pieces.add_code(code)
            pieces.add(access(name, f"@bpf_memory_{_identifier(name)}", code))
    if whole:
        pieces.add(["@bombus_random = internal global i64 0"])  # the memory of helpers: numbers so far
        pieces.add(start.yield_text() if alone else start.service_text(arch))
        outside = unit.maps - inner.keys()
        if outside:
            names = ", ".join(sorted(outside))
            raise NotSupported(f"maps in {_NAMES[emit]}", f"{names}; --emit obj leaves them to you")
    if emit == "exe":
        return _executable(pieces, arch, entries, level, _BUDGET)
    pieces.add(f"@bpf_map_{name} = external global i8" for name in sorted(unit.maps - inner.keys()))
    pieces.add(_entry(name, program.name) for (name, _), program in zip(entries, unit.programs, strict=True))
    if alone:
        _add_routines(pieces, arch, start.memory_names(), "internal")
        return module_of(_compile(pieces, arch, "obj", level, static=False))
    if is_wasm:
        return _compile(pieces, arch, emit, level, static=False)
    if emit == "so":
        _add_routines(pieces, arch, start.routine_names() if arch.routines else start.memory_names(), "hidden")
        data = _compile(pieces, arch, "obj", level, static=False)
        return link_shared(data, soname, {start.SYSTEM: arch.syscall.code})
    return _object(pieces, arch, emit, level)


def build_unverified(codes: Sequence[Sequence[Insn]], arch: Arch, *, level: int = 1, budget: int = _BUDGET) -> bytes:
    """An executable of instructions that no verifier saw: every access is checked against the data of the record and
    the stack, and `budget` instructions end a run. r1 is the address of the data."""
    pieces = Pieces()
    entries = []
    for number, insns in enumerate(codes):
        lowered = lower(insns, arch.static, Options(checked=True, budget=True))
        if lowered.immediates or lowered.helpers or lowered.entries or lowered.needs - {abi.FIND}:
            needs = sorted({*lowered.helpers, *(lowered.needs - {abi.FIND})})
            raise NotSupported("this program in an executable", f"program {number} needs {', '.join(needs) or 'maps'}")
        prefix = f"p{number}."
        pieces.add_program(lowered, prefix, [])
        entries.append((f"{prefix}{abi.MAIN}", serve.MEMORY))
    return _executable(pieces, arch, entries, level, budget)


# ------------------------------------------------------------------------------------------------ parts


def _helpers(program: NativeProgram, codes: Codes, free: Collection[int]) -> dict[int, MapCode]:
    """Calls of helpers that take no map and can be inside."""
    insns = enumerate(program.insns)
    calls = [index for index, insn in insns if insn.opcode == op.CALL and not insn.src and insn.imm in free]
    if not calls:
        return {}
    code = codes.of_helpers(packet_words(program.context))
    return {index: code for index in calls if program.insns[index].imm in code.calls}


def _complain(program: NativeProgram, lowered: Lowered, inside: Collection[int]) -> None:
    if lowered.entries and not _only_loops(program, inside):
        raise NotSupported("native code of this program", f"{program.name} has callbacks")
    missing = lowered.needs - {abi.FIND, abi.TAIL_CALL}
    if missing:
        what = {abi.LOAD_PACKET: "BPF_LD_ABS and BPF_LD_IND", abi.ADDRESS_CAST: "arenas"}
        names = ", ".join(what.get(name, name) for name in sorted(missing))
        raise NotSupported("native code of this program", f"{program.name} has {names}")
    if abi.FIND in lowered.needs:
        raise CodegenError(f"{program.name} has accesses that the verifier says nothing of")


def _only_loops(program: NativeProgram, inside: Collection[int]) -> bool:
    """Are the callbacks those of loops in native code? Other calls than bpf_loop's are when their map is inside."""
    loops = {i: at for i, at in program.facts.loops.items() if program.insns[i].imm == LOOP or i in inside}
    called = [index for index, insn in enumerate(program.insns) if insn.opcode == op.CALL and insn.src == 0]
    rows = {index: HELPER_BY_ID.get(program.insns[index].imm) for index in called}
    return not any(row is None or (_CALLBACK in row.args and index not in loops) for index, row in rows.items())


def _tables(unit: NativeUnit) -> list[str]:
    """bpf_tail_call over the arrays of programs, which nobody changes."""
    if not unit.tables:
        return []
    numbers = {program.name: number for number, program in enumerate(unit.programs)}
    lines, blocks = [], []
    head = f"define internal i64 @{abi.TAIL_CALL}(ptr %run, i64 %ctx, i64 %array, i64 %index) nounwind noinline {{"
    for at, (name, slots) in enumerate(sorted(unit.tables.items())):
        lines.append(f"@bpf_map_{name} = internal global i8 0")
        blocks += [
            f"try{at}:", f"  %a{at} = ptrtoint ptr @bpf_map_{name} to i64", f"  %is{at} = icmp eq i64 %array, %a{at}",
            f"  br i1 %is{at}, label %in{at}, label %try{at + 1}", f"in{at}:",
        ]  # fmt: skip
        targets = {slot: numbers[program] for slot, program in enumerate(slots) if program}
        cases = "\n".join(f"    i64 {slot}, label %t{at}.{slot}" for slot in targets)
        blocks.append(f"  switch i64 %index, label %none [\n{cases}\n  ]")
        for slot, number in targets.items():
            blocks += [f"t{at}.{slot}:", f"  %c{at}.{slot} = ptrtoint ptr @p{number}.{abi.MAIN} to i64",
                       f"  ret i64 %c{at}.{slot}"]  # fmt: skip
    last = f"try{len(unit.tables)}:"
    return [*lines, "\n".join([head, "  br label %try0", *blocks, last, "  br label %none", "none:", "  ret i64 0",
                               "}"])]  # fmt: skip


def _context(program: NativeProgram) -> int:
    kind = _KINDS.get(program.context)
    if kind is None:
        raise NotSupported("this context in executables", f"{program.name} gets a {program.context or 'record'}")
    return kind


def _place(program: NativeProgram, value: int) -> str:
    name, offset = program.addresses[value]
    if offset is None:
        return f"@bpf_map_{name}"
    return f"getelementptr (i8, ptr @bpf_data_{_identifier(name)}, i64 {offset})"


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def _variables(unit: NativeUnit, linkage: str) -> list[str]:
    lines = []
    for name, row in sorted(unit.variables.items()):
        text = "".join(f"\\{byte:02X}" for byte in row.data)
        value = f'c"{text}"' if any(row.data) else "zeroinitializer"
        how = "constant" if row.constant else "global"
        lines.append(f"@bpf_data_{_identifier(name)} = {linkage}{how} [{len(row.data)} x i8] {value}, align 8")
    return lines


def _entry(main: str, name: str) -> str:
    """The C function of a program: a run of its own on the native stack."""
    fields = "\n".join(
        f"  %{field} = getelementptr i8, ptr %run, i64 {abi.RUN[field][0]}\n"
        f"  store i{abi.RUN[field][1] * 8} 0, ptr %{field}"
        for field in ("status", "count", "cpu")
    )
    return f"""define i64 @{name}(ptr %ctx) nounwind {{
  %run = alloca [{abi.RUN_BYTES} x i8], align 16
{fields}
  %at = ptrtoint ptr %ctx to i64
  %r = call i64 @{main}(ptr %run, i64 %at, i32 0)
  ret i64 %r
}}"""


def _layout(arch: Arch) -> str:
    order = "E" if arch.target.byteorder == "big" else "e"
    return f"{order}-m:e-p:{arch.bits}:{arch.bits}-i64:64-n32-S128"


def _compile(pieces: Pieces, arch: Arch, emit: str, level: int, *, static: bool) -> bytes:
    compiler = Compiler()
    try:
        kind = {"llvm": "ir", "asm": "assembly"}.get(emit, "object")
        return compiler.compile(pieces.text(), arch.static if static else arch.target, level=level, emit=kind)
    finally:
        compiler.close()


def _add_routines(pieces: Pieces, arch: Arch, wanted: Collection[str], linkage: str) -> None:
    lines, declarations = start.routine_text(arch, _layout(arch), sorted(wanted), linkage)
    pieces.add(lines)
    pieces.add(sorted(declarations))


def _object(pieces: Pieces, arch: Arch, emit: Emit, level: int) -> bytes:
    """Compile; when the code turned out to call the compiler's routines, once more with those."""
    data = _compile(pieces, arch, "obj", level, static=False)
    missing = {s.name for s in read_elf(data).symbols if s.section == SHN_UNDEF} & start.routine_names()
    if missing:
        _add_routines(pieces, arch, missing, "weak")
    elif emit == "obj":
        return data
    return _compile(pieces, arch, emit, level, static=False)


def _executable(pieces: Pieces, arch: Arch, entries: list[tuple[str, int]], level: int, budget: int) -> bytes:
    lines, declarations = start.serve_text(arch, _layout(arch))
    pieces.add(lines)
    pieces.add(sorted(declarations))
    _add_routines(pieces, arch, start.routine_names() if arch.routines else start.memory_names(), "hidden")
    pieces.add(start.entry_text(arch, entries, budget))
    data = _compile(pieces, arch, "obj", level, static=True)
    return module_of(data) if arch is WASM32 else link(data, {start.SYSTEM: arch.syscall.code})


# ------------------------------------------------------------------------------------------------ header


def header(unit: NativeUnit, name: str) -> str:
    """A C header for a relocatable object."""
    lines = [
        f"/* {name}: BPF programs as C functions. Made by `bombus build --native`. */", "#pragma once", "",
        "#include <stdint.h>", "", "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
    ]  # fmt: skip
    contexts = {program.context for program in unit.programs if context_size(program.context)}
    for context in sorted(contexts):
        lines += [
            f"/* The context of {context} programs: the struct of <linux/bpf.h>, and the packet's addresses. */",
            f"struct bombus_{context.strip('_')} {{",
            f"\tuint8_t uapi[{wide_offset(context, 'data')}]; /* {CONTEXT[context].size} bytes of {context} */",
            *(f"\tuint64_t {field};" for field in pointers_of(context)), "};", "",
        ]  # fmt: skip
    for program in unit.programs:
        lines.append(f"uint64_t {program.name}(void *ctx); /* {program.type} */")
    helpers = sorted({number for program in unit.programs for number in program.helpers})
    if helpers or unit.maps:
        lines += ["", "/* For you to provide. A helper that stores a number other than 0 to *run ends the program. */"]
    five = ", ".join(f"uint64_t r{n}" for n in range(1, 6))
    lines += [f"uint64_t bpf_helper_{n}(uint32_t *run, {five}); /* {helper_name(n)} */" for n in helpers]
    lines += [f"extern char bpf_map_{name}[]; /* its address is what helpers get */" for name in sorted(unit.maps)]
    for row in unit.variables.values():
        how = "extern const char" if row.constant else "extern char"
        lines.append(f"{how} bpf_data_{_identifier(row.name)}[{len(row.data)}];")
    return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", ""])


# ------------------------------------------------------------------------------------------------ records


@dataclass(frozen=True, slots=True)
class Answer:
    """What an executable said of a record. status, insn: as in `jit.abi`; 0 is a run that ended by itself."""

    status: int
    insn: int
    r0: int
    data: bytes


def records(requests: Sequence[tuple[int, bytes]]) -> bytes:
    """Standard input of an executable: (program, data) each."""
    if any(len(data) > start.ROOM for _, data in requests):
        raise UsageError(f"a record has more than {start.ROOM} bytes")
    return b"".join(number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data for number, data in requests)


def answers(output: bytes) -> list[Answer]:
    """Standard output of an executable. UsageError when it is cut off."""
    found: list[Answer] = []
    at = 0
    while at < len(output):
        head = output[at : at + 20]
        size = int.from_bytes(head[16:20], "big")
        if len(head) < 20 or len(output) < at + 20 + size:
            raise UsageError(f"the output is cut off after {len(found)} answers")
        found.append(Answer(int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big"),
                            int.from_bytes(head[8:16], "big"), output[at + 20 : at + 20 + size]))  # fmt: skip
        at += 20 + size
    return found
