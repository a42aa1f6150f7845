"""LLVM IR around the bodies of `runtime`: routines under the names compilers call, entry and system calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bombus.compiler.host import HostText, module_parts
from bombus.jit import abi
from bombus.native import wasi
from bombus.native.arch import WASM32, Arch
from bombus.runtime import routines, serve
from bombus.vm.run import FRAME_STRIDE, MAX_CALL_FRAMES, MAX_TAIL_CALLS

SYSTEM: Final = "bombus_system"  # the linker places it: `Syscall.code`
ROOM: Final = 1 << 16  # bytes of data that a record may have
HEAD: Final = 256  # bytes before the data, and behind it
# Frames of a run whose tail calls come out of subprograms.
DEPTH: Final = MAX_CALL_FRAMES + (MAX_CALL_FRAMES - 1) * MAX_TAIL_CALLS

_WORDS: Final = {
    "__udivdi3": routines.udivdi3, "__umoddi3": routines.umoddi3, "__divdi3": routines.divdi3,
    "__moddi3": routines.moddi3, "__ashldi3": routines.ashldi3, "__lshrdi3": routines.lshrdi3,
    "__ashrdi3": routines.ashrdi3, "__muldi3": routines.muldi3, "__udivsi3": routines.udivsi3,
    "__divsi3": routines.divsi3,
}  # fmt: skip
_MEMORY: Final = {
    "memset": routines.memory_set, "memcpy": routines.memory_copy, "memmove": routines.memory_move,
    "memcmp": routines.memory_compare, "bcmp": routines.memory_compare,
}  # fmt: skip
_ATOMICS: Final = {
    "load": routines.atomic_load, "store": routines.atomic_store, "exchange": routines.atomic_exchange,
    "compare_exchange": routines.atomic_compare_exchange, "fetch_add": routines.atomic_fetch_add,
    "fetch_sub": routines.atomic_fetch_sub, "fetch_and": routines.atomic_fetch_and,
    "fetch_or": routines.atomic_fetch_or, "fetch_xor": routines.atomic_fetch_xor,
}  # fmt: skip


def _text(functions: dict[str, object], arch: Arch, layout: str, prefix: str) -> HostText:
    return module_parts(functions, linkage="internal", prefix=prefix, layout=layout, triple=arch.static.triple)  # type: ignore[arg-type]


# Run-time ABI for the Arm architecture: quotient, and quotient and remainder in registers; which of the above divides.
_ARM: Final = {
    "__aeabi_idiv": "__divsi3", "__aeabi_uidiv": "__udivsi3", "__aeabi_idivmod": "__divsi3",
    "__aeabi_uidivmod": "__udivsi3", "__aeabi_ldivmod": "__divdi3", "__aeabi_uldivmod": "__udivdi3",
}  # fmt: skip


def routine_names() -> frozenset[str]:
    """Symbols that `routine_text` can define."""
    return frozenset([*_WORDS, *_MEMORY, *_ARM, *(f"__atomic_{name}_8" for name in _ATOMICS)])


def memory_names() -> frozenset[str]:
    """Those that every target may need."""
    return frozenset(_MEMORY)


def routine_text(arch: Arch, layout: str, wanted: Sequence[str], linkage: str) -> tuple[list[str], frozenset[str]]:
    """Lines that define the wanted routines, and what they declare. linkage: of the routines ("weak" where the object
    goes to other linkers)."""
    word = f"i{arch.bits}"
    lines: list[str] = []
    bodies: dict[str, object] = {}

    def body(name: str, function: object) -> str:
        bodies.setdefault(f"routine_{name}", function)
        return f"routine_{name}"

    for name in wanted:
        if name in _WORDS:
            inner = body(name, _WORDS[name])
            first = "i32" if name.endswith("si3") else "i64"
            second = "i32" if name.startswith(("__ash", "__lsh")) else first
            lines.append(f"define {linkage} {first} @{name}({first} %a, {second} %b) nounwind noinline {{\n"
                         f"  %r = call {first} @{inner}({first} %a, {second} %b)\n  ret {first} %r\n}}")  # fmt: skip
        elif name in _MEMORY:
            lines.append(_memory(name, body("memcmp" if name == "bcmp" else name, _MEMORY[name]), word, linkage))
        elif name.startswith("__atomic_"):
            operation = name.removeprefix("__atomic_").removesuffix("_8")
            lines.append(_atomic(name, operation, body(name, _ATOMICS[operation]), linkage))
        elif name in _ARM:
            lines.append(_arm_division(name, body(_ARM[name], _WORDS[_ARM[name]]), linkage))
    if not bodies:
        return [], frozenset()
    text = _text(bodies, arch, layout, "routine.")
    return [text.head, text.definitions, *lines], text.declarations


def _memory(name: str, inner: str, word: str, linkage: str) -> str:
    if name in ("memcmp", "bcmp"):
        # The bodies of maps say i64 for the size everywhere. What LLVM makes of it, a bcmp, has words.
        size = "i64" if name == "memcmp" else word
        wide = "zext i32 %n to i64" if size == "i32" else "add i64 %n, 0"
        return (f"define {linkage} i32 @{name}(ptr %t, ptr %s, {size} %n) nounwind noinline {{\n"
                f"  %ta = ptrtoint ptr %t to i64\n  %sa = ptrtoint ptr %s to i64\n  %size = {wide}\n"
                f"  %r = call i32 @{inner}(i64 %ta, i64 %sa, i64 %size)\n  ret i32 %r\n}}")  # fmt: skip
    if name == "memset":
        head, second = f"ptr %t, i32 %b, {word} %n", "i32 %b"
        more = ""
    else:
        head, second = f"ptr %t, ptr %s, {word} %n", "i64 %sa"
        more = "  %sa = ptrtoint ptr %s to i64\n"
    size = "  %size = add i64 %n, 0\n" if word == "i64" else "  %size = zext i32 %n to i64\n"
    return (f"define {linkage} ptr @{name}({head}) nounwind noinline {{\n  %ta = ptrtoint ptr %t to i64\n{more}{size}"
            f"  %r = call i64 @{inner}(i64 %ta, {second}, i64 %size)\n  ret ptr %t\n}}")  # fmt: skip


def _atomic(name: str, operation: str, inner: str, linkage: str) -> str:
    place = "  %pa = ptrtoint ptr %p to i64\n"
    if operation == "load":
        return (f"define {linkage} i64 @{name}(ptr %p, i32 %order) nounwind noinline {{\n{place}"
                f"  %r = call i64 @{inner}(i64 %pa)\n  ret i64 %r\n}}")  # fmt: skip
    if operation == "store":
        return (f"define {linkage} void @{name}(ptr %p, i64 %v, i32 %order) nounwind noinline {{\n{place}"
                f"  call void @{inner}(i64 %pa, i64 %v)\n  ret void\n}}")  # fmt: skip
    if operation == "compare_exchange":
        return (f"define {linkage} zeroext i1 @{name}(ptr %p, ptr %e, i64 %v, i32 %x, i32 %y) nounwind noinline {{\n"
                f"{place}  %ea = ptrtoint ptr %e to i64\n  %r = call i1 @{inner}(i64 %pa, i64 %ea, i64 %v)\n"
                f"  ret i1 %r\n}}")  # fmt: skip
    return (f"define {linkage} i64 @{name}(ptr %p, i64 %v, i32 %order) nounwind noinline {{\n{place}"
            f"  %r = call i64 @{inner}(i64 %pa, i64 %v)\n  ret i64 %r\n}}")  # fmt: skip


def _arm_division(name: str, divide: str, linkage: str) -> str:
    word = "i64" if "l" in name.removeprefix("__aeabi_") else "i32"
    if not name.endswith("mod"):
        return (f"define {linkage} {word} @{name}({word} %a, {word} %b) nounwind noinline {{\n"
                f"  %q = call {word} @{divide}({word} %a, {word} %b)\n  ret {word} %q\n}}")  # fmt: skip
    both = f"{{ {word}, {word} }}"
    return (f"define {linkage} {both} @{name}({word} %a, {word} %b) nounwind noinline {{\n"
            f"  %q = call {word} @{divide}({word} %a, {word} %b)\n  %p = mul {word} %q, %b\n  %r = sub {word} %a, %p\n"
            f"  %x = insertvalue {both} undef, {word} %q, 0\n  %y = insertvalue {both} %x, {word} %r, 1\n"
            f"  ret {both} %y\n}}")  # fmt: skip


def yield_text() -> list[str]:
    """Who waits for a lock goes on waiting."""
    return ["define internal i32 @sched_yield() nounwind {\n  ret i32 0\n}"]


def service_text(arch: Arch) -> list[str]:
    """What the bodies of maps and helpers ask a C library for."""
    if arch is WASM32:
        return [*yield_text(), *wasi.clock_text()]
    word = f"i{arch.bits}"
    cut = "  %c = zext i32 %clock to i64\n  %p = add i64 %place, 0\n" if word == "i64" else (
        "  %c = add i32 %clock, 0\n  %p = trunc i64 %place to i32\n")  # fmt: skip
    end = "  %e = trunc i64 %r to i32\n  ret i32 %e\n}" if word == "i64" else "  ret i32 %r\n}"
    return [
        *yield_text(),
        f"declare hidden {word} @{SYSTEM}({word}, {word}, {word}, {word})",
        f"define internal i32 @clock_gettime(i32 %clock, i64 %place) nounwind {{\n{cut}"
        f"  %r = call {word} @{SYSTEM}({word} {arch.syscall.clock}, {word} %c, {word} %p, {word} 0)\n{end}",
    ]


# ------------------------------------------------------------------------------------------------ executables


def serve_text(arch: Arch, layout: str) -> tuple[list[str], frozenset[str]]:
    """The main loop; declares bombus_read, bombus_write, bombus_kind and bombus_enter."""
    text = _text({"bombus_serve": serve.serve}, arch, layout, "serve.")
    return [text.head, text.definitions], frozenset(line for line in text.declarations if "@bombus_" not in line)


def _system_text(arch: Arch) -> list[str]:
    """bombus_read, bombus_write and bombus_exit."""
    call = arch.syscall
    word = f"i{arch.bits}"
    lines = [f"declare hidden {word} @{SYSTEM}({word}, {word}, {word}, {word})"]
    for name, fd, number in (("read", 0, call.read), ("write", 1, call.write)):
        cut = "  %a = add i64 %address, 0\n  %n = add i64 %size, 0\n" if word == "i64" else (
            "  %a = trunc i64 %address to i32\n  %n = trunc i64 %size to i32\n")  # fmt: skip
        wide = "  %w = add i64 %r, 0\n" if word == "i64" else "  %w = sext i32 %r to i64\n"
        lines.append(f"define internal i64 @bombus_{name}(i64 %address, i64 %size) nounwind noinline {{\n{cut}"
                     f"  %r = call {word} @{SYSTEM}({word} {number}, {word} {fd}, {word} %a, {word} %n)\n{wide}"
                     f"  ret i64 %w\n}}")  # fmt: skip
    wide = "zext i32 %code to i64" if word == "i64" else "add i32 %code, 0"
    return [*lines, f"""define internal void @bombus_exit(i32 %code) noreturn nounwind {{
  %wide = {wide}
  call {word} @{SYSTEM}({word} {call.exit}, {word} %wide, {word} 0, {word} 0)
  unreachable
}}"""]


def entry_text(arch: Arch, programs: Sequence[tuple[str, int]], budget: int) -> list[str]:
    """_start, system calls, and the table of programs: their function and the kind of their context."""
    lines = [
        f"@bombus_data = internal global [{HEAD + ROOM + HEAD} x i8] zeroinitializer, align 16",
        f"@bombus_run = internal global [{abi.RUN_BYTES} x i8] zeroinitializer, align 16",
        f"@bombus_frames = internal global [{DEPTH * FRAME_STRIDE} x i8] zeroinitializer, align 16",
        *(wasi.system_text() if arch is WASM32 else _system_text(arch)),
    ]
    cases = "\n".join(f"    i32 {n}, label %p{n}" for n in range(len(programs)))
    kinds = "\n".join(f"p{n}:\n  ret i32 {kind}" for n, (_, kind) in enumerate(programs))
    lines.append(f"define internal i32 @bombus_kind(i32 %program) nounwind noinline {{\n"
                 f"  switch i32 %program, label %none [\n{cases}\n  ]\nnone:\n  ret i32 -1\n{kinds}\n}}")  # fmt: skip
    calls = "\n".join(
        f"p{n}:\n  %r{n} = call i64 @{name}(ptr %at, i64 %ctx, i32 0)\n  ret i64 %r{n}"
        for n, (name, _) in enumerate(programs)
    )
    lines.append(f"define internal i64 @bombus_enter(i32 %program, i64 %run, i64 %ctx) nounwind noinline {{\n"
                 f"  %at = inttoptr i64 %run to ptr\n  switch i32 %program, label %none [\n{cases}\n  ]\n"
                 f"none:\n  ret i64 0\n{calls}\n}}")  # fmt: skip
    sizes = f"i64 {FRAME_STRIDE}, i64 {DEPTH}, i64 %data, i64 {ROOM}, i64 {budget}"
    lines.append(f"""define void @_start() noreturn nounwind noinline {arch.start} {{
  %run = ptrtoint ptr @bombus_run to i64
  %frames = ptrtoint ptr @bombus_frames to i64
  %buffer = ptrtoint ptr @bombus_data to i64
  %data = add i64 %buffer, {HEAD}
  %code = call i32 @bombus_serve(i64 %run, i64 %frames, {sizes})
  call void @bombus_exit(i32 %code)
  unreachable
}}""")
    # An access that no region holds: the run is over.
    lines.append(f"""define internal i32 @{abi.FIND}(ptr %run, i64 %address, i64 %size, i32 %kind) nounwind noinline {{
  store i32 {abi.ERROR}, ptr %run, align 8
  ret i32 -1
}}""")
    return lines
