"""C declarations of BTF types: the spelling of `const char *const *name[4]` and of function pointers.

The layout of blanks is bpftool's (libbpf's btf_dump), so that outputs can be compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.btf.parse import Btf
from bombus.btf.types import (
    MODIFIERS,
    Array,
    Const,
    Float,
    FuncProto,
    Int,
    Kind,
    Ptr,
    Restrict,
    Type,
    TypeTag,
    Void,
    Volatile,
)
from bombus.errors import BtfError

MAX_CHAIN = 256
_QUALIFIER = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
LINKS = (Ptr, Volatile, Const, Restrict, TypeTag, FuncProto, Array)

# Spells a struct, union, enum, fwd or typedef: (id, type, indentation level) -> text
Named = Callable[[int, Type, int], str]


class Declarer:
    """Spells declarations; `named` spells the types that have names (or bodies, when anonymous)."""

    __slots__ = ("btf", "named")

    def __init__(self, btf: Btf, named: Named) -> None:
        self.btf = btf
        self.named = named

    def declare(self, type_id: int, name: str, level: int = 0) -> str:
        """`name` declared with a type, without semicolon; a bare type name when `name` is empty."""
        chain: list[tuple[int, Type]] = []
        while True:
            type_ = self.btf.type(type_id)
            chain.append((type_id, type_))
            if not isinstance(type_, LINKS):
                break
            if len(chain) > MAX_CHAIN:
                raise BtfError(f"type {chain[0][0]} is derived more than {MAX_CHAIN} times")
            type_id = type_.type
        return self._spell(chain, name, level)

    def _spell(self, chain: list[tuple[int, Type]], name: str, level: int) -> str:
        """`chain` runs from the outermost type to the innermost, which is spelled first; it is used up."""
        out = ""
        # A star needs no blank at the very start (inside parentheses) nor after another star.
        after_star = True
        while chain:
            type_id, type_ = chain.pop()
            match type_:
                case Ptr():
                    out += "*" if after_star else " *"
                case Array():
                    _drop_modifiers(chain)
                    return out + self._array(chain, type_, name, level, after_star)
                case FuncProto():
                    _drop_modifiers(chain)
                    return out + self._prototype(chain, type_, name, level, after_star)
                case Volatile() | Const() | Restrict():
                    out += " " + _QUALIFIER[type_.kind]
                case TypeTag():
                    out += _take_qualifiers(chain) + f' __attribute__((btf_type_tag("{type_.name}")))'
                case Void():
                    out += _take_qualifiers(chain) + "void"
                case Int() | Float():
                    out += _take_qualifiers(chain) + type_.name
                case _:
                    out += _take_qualifiers(chain) + self.named(type_id, type_, level)
            after_star = isinstance(type_, Ptr)
        return out + _blank(name, after_star) + name

    def _array(self, chain: list[tuple[int, Type]], type_: Array, name: str, level: int, after_star: bool) -> str:
        size = f"[{type_.nelems}]"
        if not chain:
            return _blank(name, after_star) + name + size
        inner_is_array = isinstance(chain[-1][1], Array)
        inner = self._spell(chain, name, level)
        return _blank(name, after_star) + (inner if inner_is_array else f"({inner})") + size

    def _prototype(
        self, chain: list[tuple[int, Type]], type_: FuncProto, name: str, level: int, after_star: bool
    ) -> str:
        if chain:
            head = f" ({self._spell(chain, name, level)})"
        else:
            head = _blank(name, after_star) + name
        params = type_.params
        if not params or (len(params) == 1 and not params[0].type):
            return head + "(void)"
        spelled = [
            "..." if number == len(params) - 1 and not param.type else self.declare(param.type, param.name, level)
            for number, param in enumerate(params)
        ]
        return f"{head}({', '.join(spelled)})"


def _blank(name: str, after_star: bool) -> str:
    return " " if name and not after_star else ""


def _take_qualifiers(chain: list[tuple[int, Type]]) -> str:
    """Qualifiers of a type that is no pointer stand before it."""
    out = ""
    while chain and chain[-1][1].kind in _QUALIFIER:
        out += _QUALIFIER[chain.pop()[1].kind] + " "
    return out


def _drop_modifiers(chain: list[tuple[int, Type]]) -> None:
    # GCC repeats an element's qualifiers on the array, and marks noreturn function pointers volatile.
    while chain and chain[-1][1].kind in MODIFIERS:
        chain.pop()
