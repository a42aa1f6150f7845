"""Kernel structs as a typed Python module, from BTF.

Only what CO-RE can find by name is written: members of anonymous structs and unions appear in the struct around them,
pointers to structs that are not in the module point to `Opaque`. Members that the dialect has no type for (enums,
floating point, functions) are named in a comment. Functions of the kernel (kfuncs) get the types of their prototypes.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from bombus.btf.parse import Btf
from bombus.btf.types import Array, Const, Enum, Func, FuncProto, Int, Kind, Ptr, Struct, Typedef, Union, Void, Volatile
from bombus.errors import UsageError
from bombus.spec.kfuncs import KFUNC

_HEAD = '''"""Kernel structs{whence}. Members are found by name when a program is loaded (CO-RE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from bombus.bpf import Array, Opaque, Pointer, Ref, Struct, Union, array, bits, kfunc, map
from bombus.bpf import be16, be32, be64, s8, s16, s32, s64, u8, u16, u32, u64
from bombus.bpf.helpers import Memory
'''


def kernel_module(btf: Btf, names: Iterable[str], *, functions: Iterable[str] = (), whence: str = "") -> str:
    """The module's text for these structs and unions, and those that lie inside of them. UsageError for unknown ones.

    functions: of the kernel; structs that only they speak of have no members. whence: for the docstring, such as "of
    Linux 6.12".
    """
    writer = _Writer(btf, list(dict.fromkeys(names)))
    writer.functions = list(dict.fromkeys(functions))
    declared = [writer.function(name) for name in writer.functions]
    return writer.text(f" {whence}" if whence else "", declared)


# Names that the module uses: a member called so would hide them.
_WORDS = frozenset({
    "Any", "Array", "Callable", "Memory", "Opaque", "Pointer", "Ref", "Struct", "TypeAlias", "Union", "array", "be16",
    "be32", "be64", "bits", "bool", "kfunc", "map", "s16", "s32", "s64", "s8", "u16", "u32", "u64", "u8",
})  # fmt: skip
_NETWORK = {"__be16": "be16", "__be32": "be32", "__be64": "be64", "__sum16": "be16"}


def struct_names(btf: Btf) -> list[str]:
    """All structs and unions that have a name which Python can say, without flavours (`x___y`)."""
    names = []
    for type_id in range(1, len(btf)):
        if btf.kind(type_id) in (Kind.STRUCT, Kind.UNION):
            name = btf.name(type_id)
            if name.isidentifier() and "___" not in name and not keyword.iskeyword(name):
                names.append(name)
    return list(dict.fromkeys(names))


class _Writer:
    def __init__(self, btf: Btf, names: list[str]) -> None:
        self.btf = btf
        self.ids: dict[str, int] = {}
        self.order: list[str] = []
        self.hidden: set[str] = set()  # members of the struct that is being written
        self.functions: list[str] = []
        self.pointed: list[str] = []  # structs that only functions speak of
        self.aliases: set[str] = set()  # structs that some struct has a member of the same name as
        for name in names:
            self._add(name)

    def _add(self, name: str) -> None:
        """A struct, after those that lie in it."""
        found = [i for i in self.btf.find_all(name) if isinstance(self.btf.type(i), (Struct, Union))]
        if not found:
            raise UsageError(f"this kernel has no struct {name}")
        self._add_id(name, found[0])

    def _add_id(self, name: str, type_id: int) -> None:
        if name in self.ids:
            return
        self.ids[name] = type_id
        for member in self._members(type_id):
            inner = self._inside(member[1])
            if inner is not None:
                self._add_id(*inner)
        self.order.append(name)

    def _inside(self, type_id: int) -> tuple[str, int] | None:
        """The named struct that a member holds by value, also as elements of an array."""
        kind = self.btf.resolved(type_id)
        while isinstance(kind, Array):
            type_id = kind.type
            kind = self.btf.resolved(type_id)
        if isinstance(kind, (Struct, Union)) and kind.name:
            return kind.name, self.btf.resolve(type_id)
        return None

    def _members(self, type_id: int) -> list[tuple[str, int, int]]:
        """(name, type, bits) with anonymous members taken apart."""
        kind = self.btf.type(type_id)
        assert isinstance(kind, (Struct, Union))
        found: list[tuple[str, int, int]] = []
        for member in kind.members:
            if member.name:
                found.append((member.name, member.type, member.bits))
            elif isinstance(self.btf.resolved(member.type), (Struct, Union)):
                found += self._members(self.btf.resolve(member.type))
        return found

    def text(self, whence: str, functions: list[str]) -> str:
        classes = {name: self._class(name) for name in self.order}
        parts = [
            text + (f"\n\n{_safe(name)}_struct: TypeAlias = {_safe(name)}\n" if name in self.aliases else "")
            for name, text in classes.items()
        ]
        for name in self.pointed:
            called = self._class_name(name)
            named = f', name="{name}"' if called != name else ""
            parts.append(f"class {called}(Struct, core=True{named}):\n    _opaque: u8\n")
        return "\n\n".join([_HEAD.format(whence=whence), *parts, *functions]).rstrip() + "\n"

    # Functions

    def function(self, name: str) -> str:
        """The declaration of a function of the kernel; a comment when its prototype cannot be expressed."""
        type_id = self.btf.find(name, Kind.FUNC)
        if type_id is None:
            raise UsageError(f"this kernel has no function {name}")
        described = self.btf.type(type_id)
        assert isinstance(described, Func)
        prototype = self.btf.type(described.type)
        assert isinstance(prototype, FuncProto)
        given: list[str] = []
        for index, param in enumerate(prototype.params):
            kind = self._value(param.type, nullable=param.name.endswith(("__nullable", "__opt", "__ign")))
            if param.name.endswith("__map"):
                kind = "map.Map"
            elif kind is None and isinstance(self.btf.resolved(param.type), Ptr):
                kind = self._callback(param.type)
            if kind is None:
                return f"# not expressed: {name} ({param.name or index})\n"
            called = param.name or f"arg{index}"
            given.append(f"{called}{'_' * (keyword.iskeyword(called) or called in _WORDS)}: {kind}")
        row = KFUNC.get(name)
        may = row is None or "ret_null" in row.flags
        result = "None" if not prototype.type else self._value(prototype.type, nullable=may)
        if result is None or result.startswith("Memory"):
            return f"# not expressed: {name} (its result)\n"
        head = f"@kfunc\ndef {name}({', '.join(given)}) -> {result}:"
        body = " ..." if result.endswith("None") else "\n    raise NotImplementedError"
        return f"{head}{body}\n"

    def _callback(self, type_id: int) -> str | None:
        """A parameter that is a function: pointers to what the dialect has no type for are Any."""
        pointer = self.btf.resolved(type_id)
        target = self.btf.resolved(pointer.type) if isinstance(pointer, Ptr) and pointer.type else None
        if not isinstance(target, FuncProto):
            return None
        kinds: list[str] = []
        for param in target.params:
            kind = self.btf.resolved(param.type)
            inside = self._scalar(kind.type) if isinstance(kind, Ptr) and kind.type else None
            number = isinstance(kind, Ptr) and kind.type and isinstance(self.btf.resolved(kind.type), Int)
            kinds.append(f"Ref[{inside}]" if number and inside else (self._value(param.type, nullable=False) or "Any"))
        kinds = ["Any" if kind.startswith("Memory") else kind for kind in kinds]
        result = self._value(target.type, nullable=False) if target.type else "None"
        return f"Callable[[{', '.join(kinds)}], {result or 'Any'}]"

    def _value(self, type_id: int, *, nullable: bool) -> str | None:
        """The annotation of a parameter or result."""
        kind = self.btf.resolved(type_id)
        if isinstance(kind, Enum):
            return "s32" if kind.signed else "u32"
        if isinstance(kind, Int):
            return self._scalar(type_id)
        if not isinstance(kind, Ptr):
            return None
        target = self.btf.resolved(kind.type) if kind.type else None
        if target is None or isinstance(target, (Int, Void)):
            return "Memory" + " | None" * nullable
        if not isinstance(target, (Struct, Union)) or not target.name:
            return None
        if target.name not in self.ids and target.name not in self.pointed:
            self.pointed.append(target.name)
        return self._class_name(target.name) + " | None" * nullable

    def _class_name(self, name: str) -> str:
        """The class of a struct that functions speak of; a function may have the struct's name."""
        return f"{name}_struct" if name in self.functions else _safe(name)

    def _class(self, name: str) -> str:
        base = "Union" if isinstance(self.btf.type(self.ids[name]), Union) else "Struct"
        lines = [f"class {_safe(name)}({base}, core=True{_named(name)}):"]
        skipped: list[str] = []
        seen: set[str] = set()
        members = self._members(self.ids[name])
        self.hidden = {member for member, _type, _bits in members}
        for member, type_id, bits in members:
            unfit = keyword.iskeyword(member) or member in seen or member in _WORDS
            written = None if unfit else self._bit_field(type_id, bits) if bits else self._type(type_id)
            if written is None:
                skipped.append(member)
            else:
                seen.add(member)
                lines.append(f"    {member}: {written}")
        if not seen:
            lines.append("    _opaque: u8")
        if skipped:
            lines.append(f"    # not expressed: {', '.join(skipped)}")
        return "\n".join(lines) + "\n"

    def _bit_field(self, type_id: int, bits: int) -> str | None:
        kind = self.btf.resolved(type_id)
        if not isinstance(kind, Int) or kind.boolean or kind.size not in (1, 2, 4, 8) or bits > kind.size * 8:
            return None
        return f"{'s' if kind.signed else 'u'}{kind.size * 8} = bits({bits})"

    def _type(self, type_id: int) -> str | None:
        """An annotation (with its value); None when the dialect has no such type."""
        counts: list[int] = []
        kind = self.btf.resolved(type_id)
        while isinstance(kind, Array):
            counts.append(kind.nelems)
            type_id = kind.type
            kind = self.btf.resolved(type_id)
        name = self._scalar(type_id)
        if name is None or 0 in counts:
            return None
        for _ in counts:
            name = f"Array[{name}]"
        if counts and "Pointer" in name:
            return None
        return f"{name} = array({', '.join(map(str, counts))})" if counts else name

    def _scalar(self, type_id: int) -> str | None:
        kind = self.btf.resolved(type_id)
        if isinstance(kind, Int):
            network = self._network(type_id)
            if network:
                return network
            if kind.bits != kind.size * 8 or kind.size not in (1, 2, 4, 8):
                return None
            return "bool" if kind.boolean else f"{'s' if kind.signed and not kind.char else 'u'}{kind.size * 8}"
        if isinstance(kind, Ptr):
            target = self.btf.resolved(kind.type) if kind.type else None
            if isinstance(target, (Struct, Union)) and target.name in self.ids:
                return f"Pointer[{self._name(target.name)}]"
            return "Pointer[Opaque]"
        if isinstance(kind, (Struct, Union)) and kind.name:
            return self._name(kind.name)
        return None

    def _name(self, struct: str) -> str:
        """A struct's class, as seen inside of the class that is being written."""
        if struct not in self.hidden:
            return _safe(struct)
        self.aliases.add(struct)
        return f"{_safe(struct)}_struct"


    def _network(self, type_id: int) -> str:
        """ "be16" for __be16 and its like."""
        kind = self.btf.type(type_id)
        while isinstance(kind, (Typedef, Const, Volatile)):
            if kind.name in _NETWORK:
                return _NETWORK[kind.name]
            kind = self.btf.type(kind.type)
        return ""


def _safe(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in _WORDS else name


def _named(name: str) -> str:
    return f', name="{name}"' if _safe(name) != name else ""
