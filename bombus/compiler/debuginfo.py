"""Debug metadata of a module as text: what LLVM makes BTF, function and line info from."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args, get_origin

from bombus.bpf.ints import Scalar
from bombus.bpf.layout import ArrayType, Member, PointerType, size_of
from bombus.bpf.maps import Map
from bombus.bpf.objects import Kptr, ListNode, PercpuKptr, Place, TreeNode
from bombus.bpf.struct import Ref
from bombus.bpf.structops import Method
from bombus.bpf.tracing import Arguments
from bombus.compiler import tree
from bombus.compiler.types import BOOL, NONE, IntT, LitT, ObjectT, RefT, Type
from bombus.spec.maptypes import MAP_TYPE

# (bits, signed) -> clang's name and DWARF encoding
BASE_NAMES = {
    (8, False): ("unsigned char", "DW_ATE_unsigned_char"),
    (16, False): ("unsigned short", "DW_ATE_unsigned"),
    (32, False): ("unsigned int", "DW_ATE_unsigned"),
    (64, False): ("unsigned long long", "DW_ATE_unsigned"),
    (8, True): ("signed char", "DW_ATE_signed_char"),
    (16, True): ("short", "DW_ATE_signed"),
    (32, True): ("int", "DW_ATE_signed"),
    (64, True): ("long long", "DW_ATE_signed"),
}
TYPEDEFS = {
    "u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s8": "__s8", "s16": "__s16", "s32": "",
    "s64": "__s64", "be16": "__be16", "be32": "__be32", "be64": "__be64",
}  # fmt: skip


# Maps that BPF_MAP_CREATE takes no types for: their definitions give sizes (libbpf's bpf_object__create_map).
_SIZED = frozenset({
    "STACK_TRACE", "PERF_EVENT_ARRAY", "PROG_ARRAY", "CGROUP_ARRAY", "ARRAY_OF_MAPS", "HASH_OF_MAPS", "DEVMAP",
    "DEVMAP_HASH", "CPUMAP", "XSKMAP", "SOCKMAP", "SOCKHASH", "REUSEPORT_SOCKARRAY",
})  # fmt: skip


def quote(text: str) -> str:
    """As LLVM writes strings."""
    return "".join(ch if ch.isprintable() and ch.isascii() and ch not in '"\\' else "".join(
        f"\\{byte:02X}" for byte in ch.encode()) for ch in text)  # fmt: skip


class DebugInfo:
    """Numbered metadata nodes; equal nodes are one. on: whether there is any; native code has none."""

    on = True

    def __init__(self, path: str) -> None:
        self.lines: list[str] = []
        self._known: dict[str, str] = {}
        self._types: dict[Any, str] = {}
        self._files: dict[str, str] = {}
        self.globals: list[str] = []
        self.unit = self.reserve()  # defined by `finish`
        self._file = self.file(path)

    def reserve(self) -> str:
        self.lines.append("")
        return f"!{len(self.lines) - 1}"

    def define(self, number: str, text: str) -> None:
        self.lines[int(number[1:])] = f"{number} = {text}"

    def node(self, text: str) -> str:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self.reserve()
            self.define(known, text)
        return known

    def distinct(self, text: str) -> str:
        number = self.reserve()
        self.define(number, f"distinct {text}")
        return number

    def file(self, path: str) -> str:
        known = self._files.get(path)
        if known is None:
            # the source lines in BTF.ext come from the file itself; a path that is not there gives none
            directory, name = os.path.split(os.path.abspath(path)) if os.path.exists(path) else ("", path)
            text = f'!DIFile(filename: "{quote(name)}", directory: "{quote(directory)}")'
            known = self._files[path] = self.node(text)
        return known

    def finish(self) -> list[str]:
        enums = f", globals: {self.node('!{' + ', '.join(self.globals) + '}')}" if self.globals else ""
        self.define(
            self.unit,
            f'distinct !DICompileUnit(language: DW_LANG_C11, file: {self._file}, producer: "bombus", '
            f"isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug{enums}, splitDebugInlining: false, "
            "nameTableKind: None)",
        )  # fmt: skip
        flags = [self.node('!{i32 7, !"Dwarf Version", i32 5}'), self.node('!{i32 2, !"Debug Info Version", i32 3}')]
        return [f"!llvm.dbg.cu = !{{{self.unit}}}", f"!llvm.module.flags = !{{{', '.join(flags)}}}", *self.lines]

    # Types

    def type(self, kind: Any) -> str:
        """The node of a type of members."""
        known = self._types.get(kind)
        if known is not None:
            return known
        if isinstance(kind, type) and issubclass(kind, (Kptr, PercpuKptr)) and kind.TARGET is not None:
            tag = self.node(f'!{{!"btf_type_tag", !"{kind.C_NAME}"}}')
            made = self._types[kind] = self.node(
                f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {self.type(kind.TARGET)}, size: 64, "
                f"annotations: {self.node(f'!{{{tag}}}')})"
            )
            return made
        if isinstance(kind, type) and hasattr(kind, "LAYOUT"):
            if issubclass(kind, Place) and kind.TARGET is not None:  # one struct of the kernel's for all elements
                return self.type(kind.__mro__[1])
            return self._struct(kind)
        self._types[kind] = made = self._simple(kind)
        return made

    def _simple(self, kind: Any) -> str:
        if isinstance(kind, ArrayType):
            return self._array(self.type(kind.element), kind.count, size_of(kind))
        if isinstance(kind, PointerType):
            return self.pointer(self.type(kind.target()))
        if kind is bool:
            return self.node('!DIBasicType(name: "_Bool", size: 8, encoding: DW_ATE_boolean)')
        assert issubclass(kind, Scalar)
        if kind is Method:
            return self.method()
        name, encoding = BASE_NAMES[kind.BITS, kind.SIGNED]
        base = self.node(f'!DIBasicType(name: "{name}", size: {kind.BITS}, encoding: {encoding})')
        typedef = TYPEDEFS.get(kind.__name__)
        if typedef is None:  # actions
            return base
        return self.node(
            f'!DIDerivedType(tag: DW_TAG_typedef, name: "{typedef}", file: {self._file}, baseType: {base})'
        ) if typedef else base  # fmt: skip

    def enum(self, kind: Any) -> str:
        """An enum of the kernel (a KernelEnum class)."""
        known = self._types.get(kind)
        if known is None:
            values = [self.node(f'!DIEnumerator(name: "{value.name}", value: {int(value)})') for value in kind]
            unsigned = min((int(value) for value in kind), default=0) >= 0
            base = self.node(
                f'!DIBasicType(name: "{"unsigned " * unsigned}int", size: 32, '
                f'encoding: DW_ATE_{"unsigned" if unsigned else "signed"})'
            )
            name = kind.__dict__.get("C_NAME", kind.__name__)
            known = self._types[kind] = self.node(
                f'!DICompositeType(tag: DW_TAG_enumeration_type, name: "{quote(name)}", file: {self._file}, '
                f"baseType: {base}, size: 32, elements: {self.node('!{' + ', '.join(values) + '}')})"
            )
        return known

    def method(self) -> str:
        """A pointer to a function, of which nothing is said."""
        return self.pointer(self.node(f"!DISubroutineType(types: {self.node('!{null}')})"))

    def _array(self, element: str, count: int, size: int) -> str:
        extent = self.node(f"!{{{self.node(f'!DISubrange(count: {count})')}}}")
        return self.node(
            f"!DICompositeType(tag: DW_TAG_array_type, baseType: {element}, size: {size * 8}, elements: {extent})"
        )

    def pointer(self, target: str) -> str:
        return self.node(f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {target}, size: 64)")

    def _struct(self, kind: Any) -> str:
        number = self._types[kind] = self.reserve()
        members = [self._member(number, member) for member in kind.LAYOUT.members.values()]
        tag = "DW_TAG_union_type" if kind.LAYOUT.union else "DW_TAG_structure_type"
        self.define(
            number,
            f'distinct !DICompositeType(tag: {tag}, name: "{quote(kind.C_NAME)}", file: {self._file}, '
            f"size: {kind.LAYOUT.size * 8}, elements: {self.node('!{' + ', '.join(members) + '}')})",
        )
        return number

    def _member(self, owner: str, member: Member) -> str:
        where = f"offset: {member.offset * 8 + member.bit}"
        size = member.bits or size_of(member.type) * 8
        more = f", flags: DIFlagBitField, extraData: i64 {member.offset * 8}" if member.bits else ""
        if isinstance(member.type, type) and issubclass(member.type, Place) and member.type.NODE:
            holds = f"contains:{member.type.TARGET.C_NAME}:{member.type.NODE}"
            note = self.node(f'!{{!"btf_decl_tag", !"{quote(holds)}"}}')
            more += f", annotations: {self.node(f'!{{{note}}}')}"
        return self.node(
            f'!DIDerivedType(tag: DW_TAG_member, name: "{quote(member.name)}", scope: {owner}, file: {self._file}, '
            f"baseType: {self.type(member.type)}, size: {size}, {where}{more})"
        )

    def value_type(self, kind: Type) -> str:
        """The node of the type of a parameter or result."""
        if isinstance(kind, IntT):
            return self.type(kind.kind)
        if kind == BOOL:
            return self.type(bool)
        if kind == NONE:
            return "null"
        if isinstance(kind, ObjectT) and get_origin(kind.value) is Callable:
            return self.callback(*get_args(kind.value))
        if isinstance(kind, ObjectT) or (isinstance(kind, RefT) and kind.space in ("any", "arena")):
            return self.pointer("null")
        if isinstance(kind, RefT):
            from bombus.bpf.ints import u64

            registers = kind.is_struct and kind.target is Arguments  # C: unsigned long long *
            return self.pointer(self.type(u64 if registers else kind.target))
        from bombus.bpf.ints import s64

        return self.type(s64) if isinstance(kind, LitT) else "null"

    def callback(self, given: Any, returned: Any) -> str:
        """A pointer to a function: Callable[[Any, Ref[u32], Any], s64]. Any is void *."""
        if given is ...:
            return self.pointer("null")
        kinds = [self.hint(returned), *(self.hint(kind) for kind in given)]
        return self.pointer(self.node(f"!DISubroutineType(types: {self.node('!{' + ', '.join(kinds) + '}')})"))

    def hint(self, kind: Any) -> str:
        if isinstance(kind, type) and issubclass(kind, Scalar):
            return self.type(kind)
        if kind is bool:
            return self.type(bool)
        if isinstance(kind, type) and hasattr(kind, "LAYOUT"):
            return self.pointer(self.type(kind))
        inside = get_args(kind)
        return self.pointer(self.type(inside[0]) if get_origin(kind) is Ref and len(inside) == 1 else "null")

    # Declarations

    def subprogram(self, function: tree.Function) -> str:
        from bombus.bpf.ints import u64

        params = function.params
        given = [self.value_type(p.type) for p in params]
        if function.loads:  # C: unsigned long long *ctx
            params, given = [tree.Variable("ctx", NONE)], [self.pointer(self.type(u64))]
        result = self.value_type(function.result)
        returned = function.result
        of_program = isinstance(returned, RefT) and returned.is_struct and not (
            returned.target.CORE or returned.target in (ListNode, TreeNode)
        )  # fmt: skip
        if function.linkage == "kfunc" and of_program:
            result = self.pointer("null")  # a struct of the program: the kernel's function returns void *
        types = [result, *given]
        kind = self.node(f"!DISubroutineType(types: {self.node('!{' + ', '.join(types) + '}')})")
        local = "" if function.linkage in ("program", "global") else "DISPFlagLocalToUnit | "
        file = self.file(function.path)
        if function.linkage == "kfunc":
            return self.node(
                f'!DISubprogram(name: "{function.name}", scope: {file}, file: {file}, line: {function.line}, '
                f"type: {kind}, flags: DIFlagPrototyped, spFlags: DISPFlagOptimized)"
            )
        number = self.reserve()
        kept = [
            self.parameter(number, file, function, params[index].name, index, types[index + 1])
            for index in range(len(params))
        ]
        self.define(
            number,
            f'distinct !DISubprogram(name: "{function.name}", scope: {file}, file: {file}, line: {function.line}, '
            f"type: {kind}, scopeLine: {function.line}, flags: DIFlagPrototyped, "
            f"spFlags: {local}DISPFlagDefinition | DISPFlagOptimized, unit: {self.unit}, "
            f"retainedNodes: {self.node('!{' + ', '.join(kept) + '}')})",
        )
        return number

    def parameter(self, scope: str, file: str, function: tree.Function, name: str, index: int, kind: str) -> str:
        """BTF takes a parameter's name and its tags from here."""
        notes = [self.node(f'!{{!"btf_decl_tag", !"{tag}"}}') for tag in function.tags.get(index, ())]
        annotations = f", annotations: {self.node('!{' + ', '.join(notes) + '}')}" if notes else ""
        return self.node(
            f'!DILocalVariable(name: "{name}", arg: {index + 1}, scope: {scope}, file: {file}, line: {function.line}, '
            f"type: {kind}{annotations})"
        )

    def location(self, place: tree.Place, scope: str) -> str:
        return self.node(f"!DILocation(line: {place.line}, column: {place.column}, scope: {scope})")

    def variable(self, name: str, kind: str, local: bool = False) -> str:
        """A global variable of the object; gives the node to attach to it."""
        variable = self.distinct(
            f'!DIGlobalVariable(name: "{name}", scope: {self.unit}, file: {self._file}, line: 1, type: {kind}, '
            f"isLocal: {'true' if local else 'false'}, isDefinition: true)"
        )
        whole = self.node(f"!DIGlobalVariableExpression(var: {variable}, expr: !DIExpression())")
        self.globals.append(whole)
        return whole

    def constant(self, kind: str) -> str:
        """const volatile."""
        volatile = self.node(f"!DIDerivedType(tag: DW_TAG_volatile_type, baseType: {kind})")
        return self.node(f"!DIDerivedType(tag: DW_TAG_const_type, baseType: {volatile})")

    def map(self, item: Map) -> tuple[str, int]:
        """The anonymous struct that declares a map, and how many pointers it has."""
        from bombus.bpf.ints import s32

        number = self.reserve()
        members: list[str] = []

        def add(name: str, target: str) -> None:
            members.append(self.node(
                f'!DIDerivedType(tag: DW_TAG_member, name: "{name}", scope: {number}, file: {self._file}, '
                f"baseType: {self.pointer(target)}, size: 64, offset: {len(members) * 64})"
            ))  # fmt: skip

        def add_number(name: str, value: int) -> None:
            add(name, self._array(self.type(s32), value, value * 4))

        add_number("type", MAP_TYPE[item.MAP_TYPE].id)
        if item.max_entries:
            add_number("max_entries", item.max_entries)
        if item.flags:
            add_number("map_flags", item.flags)
        if item.extra:
            add_number("map_extra", item.extra)
        if item.pinned:
            add_number("pinning", 1)
        sized = item.MAP_TYPE.removeprefix("BPF_MAP_TYPE_") in _SIZED
        for what, kind in (("key", item.key), ("value", item.value)):
            if kind is not None and sized:
                add_number(f"{what}_size", size_of(kind))
            elif kind is not None:
                add(what, self.type(kind))
        count = len(members)
        if item.inner is not None:  # `values`: an array of no known length of pointers to the inner map's declaration
            inner, _count = self.map(item.inner)
            members.append(self.node(
                f'!DIDerivedType(tag: DW_TAG_member, name: "values", scope: {number}, file: {self._file}, '
                f"baseType: {self._array(self.pointer(inner), 0, 0)}, offset: {count * 64})"
            ))  # fmt: skip
        self.define(
            number,
            f"distinct !DICompositeType(tag: DW_TAG_structure_type, file: {self._file}, size: {count * 64}, "
            f"elements: {self.node('!{' + ', '.join(members) + '}')})",
        )
        return number, count


class NoDebugInfo(DebugInfo):
    """For native code: nothing is written."""

    on = False

    def finish(self) -> list[str]:
        return []

    def subprogram(self, function: tree.Function) -> str:
        return ""

    def variable(self, name: str, kind: str, local: bool = False) -> str:
        return ""
