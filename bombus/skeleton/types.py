"""BTF types as the text of Python classes."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, replace

from bombus.btf.parse import Btf
from bombus.btf.types import Array, Enum, Enum64, Float, Func, FuncProto, Int, Ptr, Struct, Type, Typedef, Union, Var
from bombus.btf.types import Kind as TypeKind
from bombus.errors import NotSupported
from bombus.object.model import MapSpec, Object
from bombus.skeleton import values

WIDTH = 110
_DEPTH = 64
# What members and attributes cannot be called.
_STRUCT = frozenset(name for name in dir(values.Struct) if not name.startswith("__")) | {"self"}
_BUILTINS = frozenset({"int", "str", "bytes", "bool", "float"})
_ENUM = frozenset({"name", "value", "mro"}) | frozenset(name for name in dir(int) if not name.startswith("_"))


def identifier(name: str, taken: frozenset[str] | set[str] = frozenset()) -> str:
    """A Python name for a C name: "__opaque" gives "_opaque" (Python mangles two underscores), "from" gives "from_"."""
    text = "".join(char if char.isalnum() or char == "_" else "_" for char in name)
    if text.startswith("__"):
        text = "_" + text.lstrip("_")
    if not text or text[0].isdigit():
        text = f"_{text}"
    if keyword.iskeyword(text):
        text += "_"
    while text in taken:
        text += "_"
    return text


def pascal(name: str) -> str:
    """A class name: "task_struct" gives "TaskStruct"; names that have capitals inside keep them."""
    words = [word for word in "".join(c if c.isalnum() else "_" for c in name).split("_") if word]
    text = "".join(word[:1].upper() + word[1:] for word in words)
    return f"T{text}" if not text or text[0].isdigit() else text


@dataclass(frozen=True, slots=True)
class Kind:
    """How a type is written. codec: an expression; get, put: annotations of what is read and what may be stored;
    default: of a constructor's parameter ("" when only None says 'not given'); field: what makes a member, with {} for
    its offset."""

    codec: str
    get: str
    put: str
    default: str
    field: str


def _plain(codec: str, hint: str, default: str) -> Kind:
    return Kind(codec, hint, hint, default, f"skeleton.Field({codec}, {{}})")


class Types:
    """Collects classes in the order in which they must stand. `used`: which of Iterable and builtins to import."""

    def __init__(self, btf: Btf, taken: set[str]) -> None:
        self.btf = btf
        self.used: set[str] = set()
        self.blocks: list[str] = []
        self._taken = taken
        self._names: dict[int, str] = {}
        self._done: dict[tuple[int, str], Kind] = {}

    def name(self, wanted: str) -> str:
        """A class name that is free."""
        name = identifier(wanted, self._taken)
        self._taken.add(name)
        return name

    def kind(self, type_id: int, path: str, depth: int = 0) -> Kind:
        """How values of a type are written. path: the name of types that have none."""
        if depth > _DEPTH:
            raise NotSupported("a skeleton", f"the type of {path} is nested more than {_DEPTH} deep")
        name, resolved = self._walk(type_id)
        key = (resolved, "" if name or self._named(resolved) else path)
        if key not in self._done:
            self._done[key] = self._kind(resolved, name, path, depth)
        return self._done[key]

    def _named(self, type_id: int) -> bool:
        return bool(self.btf.name(type_id)) if type_id else False

    def _walk(self, type_id: int) -> tuple[str, int]:
        """The last typedef's name on the way, and the type behind all of them."""
        name = ""
        while True:
            type_ = self.btf.type(type_id)
            if isinstance(type_, Typedef):
                name = type_.name
            elif isinstance(type_, (Int, Ptr, Array, Struct, Union, Enum, Enum64, Float, FuncProto)):
                return name, type_id
            target = getattr(type_, "type", None)
            if not isinstance(target, int) or not target:
                return name, type_id
            type_id = target

    def _kind(self, type_id: int, alias: str, path: str, depth: int) -> Kind:
        type_ = self.btf.type(type_id)
        match type_:
            case Int():
                if type_.boolean:
                    codec = "skeleton.BOOL" if type_.size == 1 else f"skeleton.BoolCodec({type_.size})"
                    return _plain(codec, "bool", "False")
                return _plain(f"skeleton.{'S' if type_.signed else 'U'}{type_.size * 8}", "int", "0")
            case Ptr():
                return _plain("skeleton.POINTER", "int", "0")
            case Float():
                if type_.size not in (4, 8):
                    raise NotSupported("a skeleton", f"{path} is a floating-point number of {type_.size} bytes")
                return _plain(f"skeleton.F{type_.size * 8}", "float", "0.0")
            case Enum() | Enum64():
                return self._enum(type_id, type_, alias, path)
            case Array():
                return self._array(type_, path, depth)
            case Struct() | Union():
                return self._struct(type_id, type_, alias, path, depth)
        raise NotSupported("a skeleton", f"{path} has the type {type_.kind.name} {type_.name}".rstrip())

    def _array(self, type_: Array, path: str, depth: int) -> Kind:
        inner = self.btf.resolved(type_.type)
        count = type_.nelems
        if isinstance(inner, Int) and inner.size == 1 and (inner.char or inner.name == "char"):
            return Kind(f"skeleton.CharsCodec({count})", "str", "str | bytes", 'b""', f"skeleton.Chars({{}}, {count})")
        each = self.kind(type_.type, path, depth + 1)
        codec = f"skeleton.ArrayCodec({each.codec}, {count})"
        put = f"Iterable[{each.get}]"
        return Kind(codec, f"skeleton.Array[{each.get}]", put, "()", f"skeleton.Items({each.codec}, {{}}, {count})")

    def _enum(self, type_id: int, type_: Enum | Enum64, alias: str, path: str) -> Kind:
        name = self.name(pascal(type_.name or alias or path))
        self._names[type_id] = name
        rows: list[str] = []
        taken = set(_ENUM)
        for text, number in type_.values:
            member = identifier(text, taken)
            if member.startswith("_") and member.endswith("_"):
                member = member.strip("_") or f"VALUE{len(rows)}"  # names with underscores around them are not members
            taken.add(member)
            rows.append(f"    {member} = {number}")
        doc = f"enum {type_.name}" if type_.name else f"enum of {path}"
        self.blocks.append("\n".join([f"class {name}(skeleton.Enum):", f'    """{doc}"""', "", *rows]).rstrip() + "\n")
        codec = f"skeleton.EnumCodec({name}, {type_.size}{', True' if type_.signed else ''})"
        return _plain(codec, name, f"{name}(0)")

    def _struct(self, type_id: int, type_: Struct | Union, alias: str, path: str, depth: int) -> Kind:
        name = self.name(pascal(type_.name or alias or path))
        self._names[type_id] = name
        word = "union" if isinstance(type_, Union) else "struct"
        c_name = f"{word} {type_.name}" if type_.name else alias or f"{word} of {path}"
        self.blocks.append(self._class(name, "skeleton.Struct", c_name, type_.size, self._members(type_, name, depth)))
        return Kind(
            f"skeleton.StructCodec({name})", name, name, "", f"skeleton.Field(skeleton.StructCodec({name}), {{}})"
        )  # fmt: skip

    def _members(self, holder: Struct | Union, path: str, depth: int) -> list[tuple[str, Kind, str, bool]]:
        """(Python name, kind, text of the field, whether it shares its bytes with others)."""
        found: list[tuple[str, Kind, str, bool]] = []
        taken = set(_STRUCT) | self._taken  # a member must not hide a class, which its neighbours may need
        self._collect(holder, path, 0, isinstance(holder, Union), depth, found, taken)
        return found

    def _collect(
        self, holder: Struct | Union, path: str, start: int, shared: bool, depth: int,
        found: list[tuple[str, Kind, str, bool]], taken: set[str],
    ) -> None:  # fmt: skip
        for member in holder.members:
            offset = start + member.offset
            type_ = self.btf.resolved(member.type)
            if not member.name:
                if isinstance(type_, (Struct, Union)):
                    inside = shared or isinstance(type_, Union)
                    self._collect(type_, path, offset, inside, depth + 1, found, taken)
                continue
            if isinstance(type_, Array) and not type_.nelems:
                continue  # a flexible array has no bytes here
            name = identifier(member.name, taken)
            taken.add(name)
            kind = self.kind(member.type, f"{path}_{member.name}", depth + 1)
            found.append((name, kind, self._field(type_, kind, offset, member.bits), shared))

    def _field(self, type_: Type, kind: Kind, offset: int, bits: int) -> str:
        if not bits and isinstance(type_, Int) and (offset % 8 or type_.offset or type_.bits != type_.size * 8):
            bits, offset = type_.bits, offset + type_.offset  # before kind_flag the type said where its bits are
        if not bits:
            return kind.field.format(offset // 8)
        signed = getattr(type_, "signed", False)
        tail = f"{offset}, {bits}{', True' if signed else ''}"
        if isinstance(type_, (Enum, Enum64)):
            return f"skeleton.EnumBits({kind.get}, {tail})"
        if isinstance(type_, Int) and type_.boolean:
            return f"skeleton.BoolBits({tail})"
        return f"skeleton.Bits({tail})"

    def _class(self, name: str, base: str, c_name: str, size: int, rows: list[tuple[str, Kind, str, bool]]) -> str:
        lines = [f'class {name}({base}, name="{c_name}", size={size}):', f'    """{c_name}, {size} bytes"""', "",
                 "    __slots__ = ()"]  # fmt: skip
        lines += [f"    {member} = {text}" for member, _kind, text, _shared in rows]
        if rows:
            lines += ["", *self._init(rows)]
        return "\n".join(lines) + "\n"

    def _init(self, rows: list[tuple[str, Kind, str, bool]]) -> list[str]:
        params, body = [], ["        super().__init__()"]
        shadowed = {member for member, *_ in rows} & _BUILTINS
        for member, kind, _text, shared in rows:
            for word in shadowed:  # a member of this name hides the type in annotations
                kind = replace(kind, put=re.sub(rf"\b{word}\b", f"builtins.{word}", kind.put))
            if "builtins." in kind.put:
                self.used.add("builtins")
            if shared or not kind.default:
                params.append(f"{member}: {kind.put} | None = None")
                body += [f"        if {member} is not None:", f"            self.{member} = {member}"]
            else:
                params.append(f"{member}: {kind.put} = {kind.default}")
                body.append(f"        self.{member} = {member}")
            if "Iterable[" in kind.put:
                self.used.add("Iterable")
        one = f"    def __init__(self, {', '.join(params)}) -> None:"
        if len(one) <= WIDTH:
            return [one, *body]
        return ["    def __init__(", "        self,", *(f"        {text}," for text in params), "    ) -> None:", *body]

    def section(self, name: str, section: str, size: int, rows: list[tuple[str, int, int]]) -> str:
        """A class for a data section. rows: variable, BTF type, offset."""
        taken = set(_STRUCT) | self._taken | {"of", "move"}
        lines = [f'class {name}(skeleton.Section, name="{section}", size={size}):', "    __slots__ = ()"]
        for variable, type_id, offset in rows:
            member = identifier(variable, taken)
            taken.add(member)
            lines.append(f"    {member} = {self.kind(type_id, variable).field.format(offset)}")
        return "\n".join(lines) + "\n"

    def operations(self, name: str, variable: str, type_id: int, size: int) -> str:
        """A class for the values of a struct_ops variable: members that are not functions."""
        holder = self.btf.resolved(type_id)
        assert isinstance(holder, Struct)
        rows = [(member, kind, text, shared) for member, kind, text, shared in self._members(holder, variable, 0)
                if not self._is_function(holder, member)]  # fmt: skip
        lines = [f'class {name}(skeleton.Section, name="{variable}", size={size}):', "    __slots__ = ()"]
        return "\n".join([*lines, *(f"    {member} = {text}" for member, _kind, text, _shared in rows)]) + "\n"

    def _is_function(self, holder: Struct, member: str) -> bool:
        found = next((row for row in holder.members if row.name == member), None)
        pointer = self.btf.resolved(found.type) if found is not None else None
        return isinstance(pointer, Ptr) and isinstance(self.btf.resolved(pointer.type), FuncProto)

    def add(self, name: str) -> bool:
        """The structs, unions and enums of this name, with or without the word before it. False when there is none."""
        word, _, rest = name.rpartition(" ")
        kinds = _KINDS.get(word, _ANY)
        found = self.btf.find_all(rest, kinds)
        for type_id in found:
            self.kind(type_id, name)
        return bool(found)

    def add_all(self) -> None:
        """Every named struct, union and enum."""
        for type_id, type_ in self.btf.items():
            if isinstance(type_, (Struct, Union, Enum, Enum64)) and type_.name:
                self.kind(type_id, type_.name)

    def context_of(self, function: str, path: str) -> str:
        """The class of the struct that a program's first parameter points to; "" when it points to none."""
        for type_id in self.btf.find_all(function):
            func = self.btf.type(type_id)
            if not isinstance(func, Func):
                continue
            proto = self.btf.type(func.type)
            if isinstance(proto, FuncProto) and proto.params:
                pointer = self.btf.resolved(proto.params[0].type)
                target = self.btf.resolved(pointer.type) if isinstance(pointer, Ptr) and pointer.type else None
                if isinstance(target, Struct) and isinstance(pointer, Ptr):
                    return self.kind(pointer.type, path).get
        return ""


def variables(obj: Object, spec: MapSpec) -> list[tuple[str, int, int]]:
    """(name, type, offset) of what a data section shows to other files, in the order of memory."""
    btf = obj.btf
    if btf is None or not spec.section:
        return []
    if spec.section == ".kconfig":  # where the loader puts them
        found = [(extern.name, extern.type, extern.offset) for extern in obj.externs if extern.kind == "kconfig"]
        return sorted(found, key=lambda row: row[2])
    found = []
    for place in getattr(btf.type(spec.value_type), "vars", ()) if spec.value_type else ():
        var = btf.type(place.type)
        if isinstance(var, Var) and var.linkage != 0:
            found.append((var.name, var.type, place.offset))
    return sorted(found, key=lambda row: row[2])


_KINDS = {"struct": (TypeKind.STRUCT,), "union": (TypeKind.UNION,), "enum": (TypeKind.ENUM, TypeKind.ENUM64)}
_ANY = (TypeKind.STRUCT, TypeKind.UNION, TypeKind.ENUM, TypeKind.ENUM64, TypeKind.TYPEDEF)
