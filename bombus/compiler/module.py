"""A checked program as the text of an LLVM module."""

from __future__ import annotations

from typing import Any

from bombus.bpf.layout import ArrayType, align_of, size_of
from bombus.bpf.maps import Arena
from bombus.bpf.objects import Place
from bombus.bpf.special import SpinLock, Timer, WorkQueue
from bombus.bpf.struct import Struct
from bombus.compiler import tree
from bombus.compiler.debuginfo import DebugInfo
from bombus.compiler.lower import FunctionText
from bombus.compiler.writer import extension, type_text

_LAYOUT = {
    "bpfel": "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128",
    "bpfeb": "E-m:e-p:64:64-i64:64-i128:128-n32:64-S128",
}
_ATTRIBUTES = {
    "noinline": "noinline", "global": "noinline", "inline": "alwaysinline", "static": "", "callback": "noinline",
    "program": "",
}  # fmt: skip


class ModuleText:
    """Collects declarations while functions are written.

    target: "bpfel" or "bpfeb", with cpu "v1" to "v4".
    """

    native = False
    prefix = ""  # of names

    def __init__(self, unit: tree.Unit, target: str, cpu: str) -> None:
        self.unit = unit
        self.layout = _LAYOUT[target]
        self.triple = target
        self.big = target == "bpfeb"
        self.cpu = cpu
        self.debug = DebugInfo(unit.path)
        self.arenas = [row.name for row in unit.maps.values() if isinstance(row.map, Arena)]
        self.addresses: dict[str, int] = {}  # of globals whose memory is there already
        self.head: list[str] = []
        self.declared: set[str] = set()
        self._strings: dict[bytes, str] = {}
        self.map_names = {id(row.map): row.name for row in unit.maps.values()}

    def declare(self, text: str) -> None:
        self.declared.add(f"declare {text}")

    def string(self, data: bytes) -> str:
        """The name of constant bytes in .rodata."""
        known = self._strings.get(data)
        if known is None:
            known = self._strings[data] = f"@{self.prefix}.text{len(self._strings)}"
            self.head.append(f"{known} = internal constant [{len(data)} x i8] {bytes_text(data)}, align 1")
        return known

    def zero(self) -> str:
        """A variable that is 0 and that nothing writes to (see `counters`)."""
        name = "@__zero"
        if not any(line.startswith(name) for line in self.head):
            from bombus.bpf.ints import u32

            node = self.debug.variable("__zero", self.debug.type(u32))
            self.head.append(f"{name} = dso_local global i32 0, align 4, !dbg {node}")
        return name

    def struct(self, kind: Any) -> str:
        """A named LLVM type with as many elements as a struct has members; offsets come from the debug metadata."""
        name = f"%struct.{kind.C_NAME}"
        line = f"{name} = type {{ {', '.join(['i64'] * len(kind.LAYOUT.members))} }}"
        if line not in self.head:
            self.head.append(line)
        return name

    def linkage(self, function: tree.Function) -> str:
        """How others see a function."""
        return "dso_local" if function.linkage in ("program", "global") else "internal"

    def attributes(self, function: tree.Function) -> str:
        # LLVM's tables for `match` are private symbols, which its BTF of .rodata asks for and then does not find.
        return _ATTRIBUTES[function.linkage] + (' "no-jump-tables"="true"' if not self.native else "")

    def text(self) -> str:
        """The whole module."""
        unit = self.unit
        for row in unit.maps.values():
            kind, count = self.debug.map(row.map)
            node = self.debug.variable(row.name, kind)
            self.head.append(
                f'@{row.name} = dso_local global [{count} x ptr] zeroinitializer, section ".maps", align 8, !dbg {node}'
            )
        for variable in unit.globals.values():
            self.write_global(variable)
        for ops in unit.ops:
            self._ops(ops)
        if unit.license:
            data = unit.license.encode() + b"\0"
            from bombus.bpf.ints import s8
            from bombus.bpf.layout import ArrayType

            node = self.debug.variable("LICENSE", self.debug.type(ArrayType(s8, len(data))))
            self.head.append(
                f"@LICENSE = dso_local global [{len(data)} x i8] {bytes_text(data)}, "
                f'section "license", align 1, !dbg {node}'
            )
        bodies = self.bodies()
        kernels = {function.name: function for function in unit.functions if function.linkage == "kfunc"}
        bodies += [self._kfunc(function) for function in kernels.values()]
        return "\n".join([
            f'target datalayout = "{self.layout}"',
            f'target triple = "{self.triple}"',
            *self.head,
            *bodies,
            *sorted(self.declared),
            *self.debug.finish(),
            "",
        ])  # fmt: skip

    def _ops(self, row: tree.OpsVariable) -> None:
        """A struct of operations: its bytes, with functions in between."""
        kinds: list[str] = []
        values: list[str] = []
        at = 0
        for offset in (*sorted(row.functions), len(row.data)):
            if offset > at:
                kinds.append(f"[{offset - at} x i8]")
                values.append(f"{kinds[-1]} {bytes_text(row.data[at:offset])}")
            if offset in row.functions:
                kinds.append("ptr")
                values.append(f"ptr @{row.functions[offset].name}")
            at = offset + 8
        node = self.debug.variable(row.name, self.debug.type(row.kind))
        section = ".struct_ops.link" if row.link else ".struct_ops"
        self.head.append(
            f"@{row.name} = dso_local global <{{ {', '.join(kinds)} }}> <{{ {', '.join(values)} }}>, "
            f'section "{section}", align 8, !dbg {node}'
        )

    def bodies(self) -> list[str]:
        return [
            FunctionText(self, function, self.attributes(function)).text()
            for function in self.unit.functions
            if function.linkage != "kfunc"
        ]

    def _kfunc(self, function: tree.Function) -> str:
        """The declaration of a kernel function, which the loader resolves."""
        params = ", ".join(f"{type_text(p.type)} {extension(p.type)}".strip() for p in function.params)
        node = self.debug.subprogram(function)
        result = f"{extension(function.result)}{type_text(function.result)}"
        return f'declare !dbg {node} {result} @{function.name}({params}) section ".ksyms"'

    def write_global(self, row: tree.GlobalVariable) -> None:
        kind = self.debug.type(row.kind)
        node = self.debug.variable(row.name, self.debug.constant(kind) if row.config else kind)
        size = size_of(row.kind)
        zero = not any(row.initial)
        value = "zeroinitializer" if zero else bytes_text(row.initial)
        what = "constant" if row.config else "global"
        seen = section = ""
        if has_kernel_parts(row.kind):
            # User space must not map what the kernel manages: a section of its own, of which nothing is visible.
            seen, section = "hidden ", f'section "{".bss" if zero else ".data"}.{row.name}", '
        bytes_ = f"[{size} x i8] {value}, {section}align {align_of(row.kind)}"
        self.head.append(f"@{row.name} = dso_local {seen}{what} {bytes_}, !dbg {node}")


def has_kernel_parts(kind: Any) -> bool:
    """Has a type members that only the kernel may touch: locks, lists, trees, pointers to objects?"""
    if isinstance(kind, ArrayType):
        return has_kernel_parts(kind.element)
    if not isinstance(kind, type) or not issubclass(kind, Struct):
        return False
    if issubclass(kind, (SpinLock, Timer, WorkQueue, Place)):
        return True
    return any(has_kernel_parts(member.type) for member in kind.LAYOUT.members.values())


def bytes_text(data: bytes) -> str:
    return 'c"' + "".join(f"\\{byte:02X}" for byte in data) + '"'
