"""What to write instead: hints for what Python has and programs have not, and names that were meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import Enum
from types import BuiltinFunctionType, ModuleType
from typing import Any, Final

from bombus.bpf import map as declarations
from bombus.bpf import maps
from bombus.bpf.context import PacketContext
from bombus.bpf.layout import name_of, size_of
from bombus.bpf.struct import Struct
from bombus.compiler.types import ObjectT, RefT, TupleT, Type
from bombus.spec.helpers import Helper, allowed
from bombus.spec.progtypes import PROG_TYPES

_SHOWN: Final = 6  # names that a hint lists


def closest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """ "did you mean ...?", or what to say when nothing is close."""
    import difflib  # most builds have no errors

    found = difflib.get_close_matches(name, [one for one in known if not one.startswith("_")], 1, 0.7)
    return f"did you mean {found[0]}?" if found else otherwise or "define it, or import it at the top of the file"


def members_of(kind: type[Struct], name: str = "", more: Iterable[str] = ()) -> str:
    """What members a struct has, or which one was meant. more: names that are read like members."""
    names = [*(one for one in kind.LAYOUT.members if not one.startswith("_")), *more]
    meant = closest(name, names, "-") if name else "-"
    if meant != "-":
        return meant
    return f"it has {', '.join(names)}" if names else "it has no members"


def who_may_call(row: Helper) -> str:
    """The types of programs that may call a helper."""
    names = [kind.short for kind in PROG_TYPES if allowed(row.name, kind.id)]
    if not names:
        return "see docs/features.md for who may"
    return f"{', '.join(names[:_SHOWN])}{' and other' * (len(names) > _SHOWN)} programs may"


def map_words(owner: maps.Map) -> list[str]:
    """The methods of a map."""
    return sorted(name for name in dir(type(owner)) if not name.startswith("_") and name.islower())


def for_map(owner: maps.Map, text: str, name: str) -> str:
    """Instead of a method that a map has not: the words of Python's dicts, or names that are close."""
    if name in _DICT_WORDS and hasattr(owner, "lookup"):
        return _DICT_WORDS[name].format(text)
    words = map_words(owner)
    meant = closest(name, words, "-")
    return meant if meant != "-" else f"it has {', '.join(words)}"


_DICT_WORDS: Final = {
    **dict.fromkeys(("get", "setdefault"), "slot = {0}.lookup(key), which is None where there is no such key"),
    **dict.fromkeys(("items", "keys", "values"), "{0}.for_each(function, ctx) calls a function for each element"),
    **dict.fromkeys(("pop", "popitem", "remove", "discard"), "{0}.delete(key)"),
    **dict.fromkeys(("add", "insert", "append"), "{0}.update(key, value)"),
    "clear": "{0}.for_each(function, ctx) calls a function for each element, which may delete it",
}  # fmt: skip


def for_class(kind: type) -> str:
    """Instead of making an object of a class that is no struct."""
    known = _CLASSES.get(kind)
    if known:
        return known
    name = kind.__name__
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields") or hasattr(kind, "__total__"):
        members = "; ".join(f"{member}: ..." for member in getattr(kind, "__annotations__", {}))
        return f"make it a struct: class {name}(Struct): {members}"
    if issubclass(kind, Enum):
        return f"write its members: {name}.{next(iter(kind.__members__), 'NAME')}"
    if issubclass(kind, BaseException):
        return "BPF has no exceptions: return a value that says what went wrong"
    if kind.__module__.partition(".")[0] == "numpy":
        return "numbers are u8 to u64 and s8 to s64"
    return f"only structs are made in programs: class {name}(Struct), with functions that take it"


_CLASSES: Final[dict[type, str]] = {
    int: "say how wide it is: s64(...)", str: 'texts are printed in place: bpf.printk(f"...")',
    float: "BPF has no floating point", enumerate: "for i in range(n): value = values[i]",
    zip: "for i in range(n): a[i] and b[i]", reversed: "count down: range(n - 1, -1, -1)", map: "write a loop",
    filter: "write a loop", list: "use bpf.zeros(u8, 64), or an array in a struct",
    tuple: "write the values in place: (a, b)", dict: "declare a map: map.hash(u32, u64, max_entries=1024)",
    set: "declare a map: map.hash(u32, u8, max_entries=1024)", bytes: "use bpf.zeros(u8, 64)",
    bytearray: "use bpf.zeros(u8, 64)", range: "it stands in a for loop: for i in range(n):",
    type: "types are known when compiling", object: "class Name(Struct), with members", slice: "write a loop",
    frozenset: "declare a map: map.hash(u32, u8, max_entries=1024)", complex: "BPF has no floating point",
    memoryview: "use a struct, or an array", super: "structs do not inherit",
}  # fmt: skip


def for_call(value: Any, text: str) -> str:
    """Instead of calling what programs cannot call. text: as it is written."""
    if isinstance(value, BuiltinFunctionType) and value in _BUILTINS:
        return _BUILTINS[value]
    home = _home(value)
    if home == declarations.__name__:
        return f"declare maps at module level: name = {text}(...)"
    if home in _WORDS and text.rpartition(".")[2] in _WORDS[home]:
        return _WORDS[home][text.rpartition(".")[2]]
    if hasattr(value, "__wrapped__"):
        return "take its decorator away: programs call functions as they are written"
    if isinstance(value, ModuleType):
        return "a module is no function: name one of its functions"
    return _MODULES.get(home.partition(".")[0]) or _MODULES.get(home, _CALLS)


_CALLS: Final = "programs call functions defined with def, helpers.…, and the words of bombus.bpf"


def _home(value: Any) -> str:
    """The module that a function comes from."""
    owner = getattr(value, "__self__", None)
    return str(getattr(value, "__module__", None) or type(owner).__module__)


_MODULES: Final = {
    "time": "helpers.ktime_get_ns() is the time", "random": "helpers.get_prandom_u32() is random",
    "sys": "return a verdict", "_sitebuiltins": "return a verdict", "os": "helpers have what programs may know",
    "posix": "helpers.get_current_pid_tgid() and its like have what programs may know",
    "_struct": "read members: ctx.parse(Struct)", "struct": "read members: ctx.parse(Struct)",
    "math": "calculate with integers", "numpy": "numbers are u8 to u64 and s8 to s64; arrays bpf.zeros(u32, 8)",
    "logging": 'write bpf.printk(f"...")', "json": "write records to a ring buffer: map.ringbuf(max_entries=65536)",
    "hashlib": "write the hash with integers, as examples/bpf/xdp_jhash.py does",
    "ctypes": "class Name(Struct) is C's struct", "threading": "bpf.atomic(...), or a SpinLock in a map's value",
}  # fmt: skip
_WORDS: Final = {
    "_socket": {
        "htons": "bpf.htons(...)", "htonl": "bpf.htonl(...)", "ntohs": "bpf.ntohs(...)", "ntohl": "bpf.ntohl(...)",
        "inet_aton": "write the address as a number: 0x0A000001 is 10.0.0.1",
    },
}  # fmt: skip
_BUILTINS: Final[dict[Any, str]] = {
    print: 'write bpf.printk(f"...")', abs: "write a if a >= 0 else -a", sum: "write a loop", any: "write a loop",
    all: "write a loop", sorted: "write a loop", open: "files are for user space; keep data in maps",
    isinstance: "types are known when compiling", issubclass: "types are known when compiling",
    pow: "multiply or shift", divmod: "write a // b and a % b", round: "BPF has no floating point",
    getattr: "write the member's name", setattr: "write the member's name", hasattr: "write the member's name",
    id: "bpf.address(...) in native code", hash: "declare a map: map.hash(u32, u64, max_entries=1024)",
    ord: "write the number", chr: "write the number", hex: 'bpf.printk(f"{x:#x}") prints it',
    bin: 'bpf.printk(f"{x:#x}") prints it', oct: 'bpf.printk(f"{x:#x}") prints it',
    input: "a program asks maps and bpf.config(...) settings", exec: "write the code itself",
    eval: "write the code itself", iter: "write a for loop", next: "write a for loop",
    repr: 'bpf.printk(f"...") prints it', vars: "write the member's name", dir: "write the member's name",
    callable: "types are known when compiling", globals: "name the global", locals: "name the variable",
}  # fmt: skip


def for_text(value: Any) -> str:
    """Instead of a variable that holds a compile-time object."""
    if isinstance(value, str):
        return 'print texts in place, bpf.printk("..."), or compare bytes: bpf.equal(name, b"eth0", 4)'
    if isinstance(value, bytes):
        return 'give it a name at module level, NAME = b"...", and use that'
    return "use it by its name where it is needed"


def for_comparison(kind: Type, left: str, right: str) -> str:
    """Instead of comparing a value that is no number."""
    if isinstance(kind, TupleT):
        return "compare the items one by one, with `and`"
    if isinstance(kind, RefT) and kind.is_array:
        return f"bpf.equal({left}, {right}, {size_of(kind.target)})"
    if isinstance(kind, RefT):
        return f"compare their members, or their bytes: bpf.equal({left}, {right}, size)"
    value = kind.value if isinstance(kind, ObjectT) else None
    if isinstance(value, Enum):
        return f"make {type(value).__name__} an IntEnum, or take {type(value).__name__}.{value.name}.value"
    if isinstance(value, (str, bytes)):
        return 'compare bytes: bpf.equal(name, b"eth0", 4)'
    return "compare numbers"


def for_length(kind: Type, text: str) -> str:
    """Instead of the length of what is no array."""
    if isinstance(kind, RefT) and kind.is_struct and issubclass(kind.target, PacketContext):
        return f"{text}.length is the packet's"
    if isinstance(kind, RefT) and kind.is_struct:
        return f"bpf.sizeof({name_of(kind.target)}) is the size of the struct"
    if isinstance(kind, ObjectT) and isinstance(kind.value, maps.Map):
        return "count elements in a global, or by for_each"
    return "arrays and tuples have"
