"""The types of what `jit_generate` makes: functions, values with a lock or a timer, and functions of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jit_flow import KFUNCS, ROOM

from bombus.btf.build import Builder
from bombus.btf.types import DeclTag, Func, FuncProto, Int, Member, Param, Ptr, Struct

STATIC, NONNULL, NULLABLE = "static", "nonnull", "nullable"
KINDS: Final = (STATIC, NONNULL, NULLABLE)
"""Of functions: the last two are global, and take 64 bytes of memory."""
_GLOBAL: Final = 1
_VOID: Final = 0


@dataclass(frozen=True, slots=True)
class Types:
    """functions: of a kind, the id of the first. values: ids of a key and of the value with a "lock" or a "timer"."""

    data: bytes
    functions: dict[str, int]
    values: dict[str, tuple[int, int]]


def program_types(functions: int) -> Types:
    """functions: how many of each kind."""
    builder = Builder()
    number = builder.add(Int("long", 8, 1))
    word = builder.add(Int("int", 4, 1))
    lock = builder.add(Struct("bpf_spin_lock", 4, (Member("val", word, 0),)))
    timer = builder.add(Struct("bpf_timer", 16, (Member("a", number, 0), Member("b", number, 64))))
    rest = Member("a", number, 64), Member("b", number, 128)
    values = {"lock": (word, builder.add(Struct("locked", 24, (Member("lock", lock, 0), *rest))))}
    rest = Member("a", number, 128), Member("b", number, 192)
    values["timer"] = word, builder.add(Struct("timed", 32, (Member("timer", timer, 0), *rest)))
    room = builder.add(Struct("room", 64, tuple(Member(f"n{at}", number, 64 * at) for at in range(8))))
    pointer = builder.add(Ptr(room))
    given = Param("given", number)
    plain = builder.add(FuncProto(number, (given,)))
    memory = builder.add(FuncProto(number, (Param("room", pointer), given)))
    first = {}
    for kind in KINDS:
        proto, linkage = (plain, 0) if kind == STATIC else (memory, _GLOBAL)
        ids = [builder.add(Func(f"{kind}{place}", proto, linkage)) for place in range(functions)]
        first[kind] = ids[0]
        if kind == NONNULL:
            for one in ids:
                builder.add(DeclTag("arg:nonnull", one, 0))
    return Types(builder.to_bytes(), first, values)


def kernel_types() -> tuple[bytes, dict[str, int]]:
    """BTF of a kernel that has KFUNCS, and their ids."""
    builder = Builder()
    word, long_ = builder.add(Int("int", 4, 1)), builder.add(Int("unsigned long long", 8, 0))
    members = tuple(Member(f"n{at}", long_, 64 * at) for at in range(8))
    assert builder.add(Struct("room", 64, members)) == ROOM
    state = builder.add(Ptr(builder.add(Struct("bpf_iter_num", 8, (Member("opaque", long_, 0),)))))
    word_pointer, void_pointer = builder.add(Ptr(word)), builder.add(Ptr(_VOID))
    state_ = Param("it", state)
    protos = {
        "bpf_iter_num_new": (word, (state_, Param("start", word), Param("end", word))),
        "bpf_iter_num_next": (word_pointer, (state_,)),
        "bpf_iter_num_destroy": (_VOID, (state_,)),
        "bpf_rdonly_cast": (void_pointer, (Param("obj__ign", void_pointer), Param("btf_id__k", word))),
    }
    ids = {name: builder.add(Func(name, builder.add(FuncProto(*protos.get(name, (_VOID, ())))), 0)) for name in KFUNCS}
    for one in ids.values():
        builder.add(DeclTag("bpf_kfunc", one))
    return builder.to_bytes(), ids
