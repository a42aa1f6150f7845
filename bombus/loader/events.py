"""Which type the events of a ring or perf buffer have, and readers that know it.

BTF does not say what a program puts into a buffer. The answer is taken from the first of:

1. the caller: a type's name ("event", "struct event"), or the type as C ("{ u64 ts; pid_t pid; char comm[16]; }");
2. the object: a declaration tag on the map, `__attribute__((btf_decl_tag("event:NAME")))`; there may be several, of
   different sizes. Objects built from Python have them;
3. the object: the struct that a global variable points to, as users of cilium/ebpf declare it:
   `const struct event *unused __attribute__((unused));` (with `size`, the one of these that fits);
4. a guess by `size`, when an event has come: the only named struct of that size that is no key, value or context, else
   the only key or value type of that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bombus.btf.data import layout_of
from bombus.btf.types import DataSec, DeclTag, Kind, Ptr, Struct, Union, Var
from bombus.errors import UsageError
from bombus.kernel.handles import Map, PerfBuffer, RingBuffer

if TYPE_CHECKING:
    from bombus.btf.layouts import Layout
    from bombus.btf.parse import Btf
    from bombus.kernel.handles import Reader
    from bombus.loader.load import Loaded

TAG = "event:"
BUFFERS = ("ringbuf", "perf_event_array")
_PADDING = 8  # perf events are padded to multiples of 8, less the 4 bytes of their size


@dataclass(frozen=True, slots=True)
class EventType:
    """type_id: in `btf`, which is the object's or was made from a text. why: how it was found, for people."""

    layout: Layout
    btf: Btf
    type_id: int
    name: str
    why: str


def _made(btf: Btf, type_id: int, why: str) -> EventType:
    type_ = btf.resolved(type_id)
    kind = f"{type_.kind.name.lower()} " if isinstance(type_, (Struct, Union)) else ""
    return EventType(layout_of(btf, type_id), btf, type_id, kind + btf.name(btf.resolve(type_id)), why)


def named(btf: Btf | None, name: str) -> EventType:
    """A type by its name, "event" or "struct event", or written down as C, "struct event { u64 ts; ... }". UsageError
    when there is none."""
    if "{" in name:
        from bombus.btf.ctext import type_of

        made, type_id = type_of(name)
        return _made(made, type_id, "as given")
    word, _, rest = name.partition(" ")
    kinds = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}.get(word)
    short = rest.strip() if kinds else name
    for kind in kinds or (Kind.STRUCT, Kind.TYPEDEF, Kind.UNION, Kind.INT, Kind.ENUM, Kind.ENUM64):
        found = btf.find(short, kind) if btf is not None else None
        if btf is not None and found is not None:
            return _made(btf, found, name)
    raise UsageError(f"the object's BTF has no type {name!r}" + ("" if btf is not None else ": it has no BTF"))


def event_type(loaded: Loaded, name: str, type: str | None = None, *, size: int | None = None) -> EventType | None:
    """The type of a buffer's events; None when nothing says it. size: of one event, for guesses. UsageError."""
    btf = loaded.obj.btf
    if type is not None:
        return named(btf, type)
    if btf is None:
        return None
    tags = [named(btf, tag) for tag in _tags(btf, name)]
    if len(tags) == 1:
        return tags[0]
    if tags and size is not None:
        fit = [tag for tag in tags if tag.layout.size <= size < tag.layout.size + _PADDING]
        return fit[0] if len(fit) == 1 else None
    pointed = [t for t in _pointed(btf) if size is None or _fits(btf, t, size)]
    if len(pointed) == 1:
        return _made(btf, pointed[0], "what a global variable points to")
    return _guess(loaded, btf, size) if size is not None else None


def _fits(btf: Btf, type_id: int, size: int) -> bool:
    own = btf.size_of(type_id)
    return own <= size < own + _PADDING


def _tags(btf: Btf, name: str) -> list[str]:
    """What declaration tags on the map say."""
    found: list[str] = []
    for type_id in btf.ids():
        type_ = btf.type(type_id)
        if isinstance(type_, DeclTag) and type_.name.startswith(TAG) and type_.component < 0:
            target = btf.type(type_.type)
            if isinstance(target, Var) and target.name == name:
                found.append(type_.name.removeprefix(TAG).strip())
    return found


def _pointed(btf: Btf) -> list[int]:
    """Named structs and unions that global variables point to."""
    found: list[int] = []
    for type_id in btf.ids():
        type_ = btf.type(type_id)
        if not isinstance(type_, DataSec) or type_.name == ".maps":
            continue
        for place in type_.vars:
            var = btf.type(place.type)
            pointer = btf.resolved(var.type) if isinstance(var, Var) else None
            if isinstance(pointer, Ptr):
                target = btf.resolve(pointer.type)
                there = btf.type(target)
                if isinstance(there, (Struct, Union)) and there.name and target not in found:
                    found.append(target)
    return found


def declared_types(loaded: Loaded) -> list[EventType]:
    """Structs that global variables of the object point to."""
    btf = loaded.obj.btf
    return [_made(btf, t, "what a global variable points to") for t in _pointed(btf)] if btf is not None else []


def _guess(loaded: Loaded, btf: Btf, size: int) -> EventType | None:
    from bombus.spec.contexts import CONTEXT

    stored = {btf.resolve(t) for s in loaded.specs.values() for t in (s.key_type, s.value_type) if t}
    fit = [
        type_id
        for type_id in btf.ids()
        if isinstance(type_ := btf.type(type_id), Struct)
        and type_.name
        and type_.name not in CONTEXT
        and _fits(btf, type_id, size)
    ]
    for among, words in (
        ([t for t in fit if t not in stored], "the only one of this size"),
        ([t for t in fit if t in stored], "the only key or value of this size"),
    ):
        exact = [t for t in among if btf.size_of(t) == size] or among
        if len(exact) == 1:
            return _made(btf, exact[0], words)
    return None


def is_buffer(item: Map) -> bool:
    return item.type.short in BUFFERS


def open_reader(
    loaded: Loaded, name: str, type: str | None = None, *, pages: int = 64, wakeup: int = 1
) -> RingBuffer | PerfBuffer:
    """A reader of one buffer, typed where the type is known (see above; without `size`). UsageError.

    pages, wakeup: of perf buffers.
    """
    if name not in loaded.maps:
        raise UsageError(f"{loaded.obj.name} has no map {name!r}; it has {', '.join(loaded.maps) or 'none'}")
    item = loaded.maps[name]
    if not is_buffer(item):
        raise UsageError(f"{name} is a {item.type.short} map; events come from ring and perf buffers")
    found = event_type(loaded, name, type)
    layout = found.layout if found is not None else None
    if item.type.short == "ringbuf":
        return RingBuffer(item, layout)
    return PerfBuffer(item, layout, pages=pages, wakeup=wakeup)


def guess_type(loaded: Loaded, name: str, reader: Reader, event: Any) -> EventType | None:
    """Give an untyped reader the type that an event's size tells, if any."""
    if reader.layout is not None or not isinstance(event, (bytes, bytearray)):
        return None
    found = event_type(loaded, name, size=len(event))
    if found is not None:
        reader.layout = found.layout
    return found
