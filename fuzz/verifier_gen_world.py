"""What fuzzed programs can refer to: maps of every kind on the running kernel, BTF of functions and of map values.

The verifier under test gets the same maps as `MapInfo`, under the same descriptors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import (
    Const,
    DeclTag,
    Enum,
    Enumerator,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    TypeTag,
)  # fmt: skip
from bombus.errors import BombusError, KernelError
from bombus.isa.insn import Insn
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.btfcache import vmlinux_of
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.version import KernelVersion
from bombus.verifier import records
from bombus.verifier.program import MapInfo

RDONLY_PROG, WRONLY_PROG, NO_PREALLOC, MMAPABLE, INNER = 0x80, 0x100, 1, 0x400, 0x1000
WITH_PROGRAMS = frozenset((3, 14, 16, 25))  # PROG_ARRAY, DEVMAP, CPUMAP, DEVMAP_HASH
VALUE = 48  # bytes of the value of most maps


@dataclass(frozen=True, slots=True)
class Row:
    """A map to be made. value: its BTF type by name; inner: the name of an earlier row."""

    name: str
    type: str
    key_size: int = 4
    value_size: int = VALUE
    max_entries: int = 4
    flags: int = 0
    value: str = ""
    inner: str = ""
    contents: bytes = b""
    extra: int = 0


CONSTANTS = bytes((7 * i + 3) % 256 for i in range(40)) + bytes(8)
ROWS = (
    Row("array", "ARRAY"),
    Row("hash", "HASH", key_size=8),
    Row("one", "ARRAY", value_size=22, max_entries=1),
    Row("rdonly", "ARRAY", flags=RDONLY_PROG),
    Row("wronly", "ARRAY", flags=WRONLY_PROG),
    Row("rodata", "ARRAY", max_entries=1, flags=RDONLY_PROG, contents=CONSTANTS),
    Row("percpu", "PERCPU_ARRAY"),
    Row("percpu_hash", "PERCPU_HASH", value_size=16),
    Row("lru", "LRU_HASH", key_size=12, value_size=7),
    Row("mmapable", "ARRAY", value_size=64, flags=MMAPABLE),
    Row("lock", "ARRAY", value_size=32, value="locked"),
    Row("lock_hash", "HASH", value_size=32, value="locked", flags=NO_PREALLOC),
    Row("timer", "ARRAY", value_size=40, value="timed"),
    Row("timer_hash", "HASH", value_size=40, value="timed"),
    Row("ringbuf", "RINGBUF", 0, 0, 4096),
    Row("user_ringbuf", "USER_RINGBUF", 0, 0, 4096),
    Row("progs", "PROG_ARRAY", value_size=4),
    Row("events", "PERF_EVENT_ARRAY", value_size=4),
    Row("cgroups", "CGROUP_ARRAY", value_size=4),
    Row("inner", "ARRAY", value_size=24, flags=0),
    Row("inner_lock", "ARRAY", value_size=32, value="locked"),
    Row("array_of_maps", "ARRAY_OF_MAPS", value_size=4, inner="inner"),
    Row("hash_of_maps", "HASH_OF_MAPS", value_size=4, inner="inner_lock"),
    Row("devmap", "DEVMAP", value_size=8),
    Row("devmap_hash", "DEVMAP_HASH", value_size=4),
    Row("cpumap", "CPUMAP", value_size=4, max_entries=2),
    Row("xskmap", "XSKMAP", value_size=4),
    Row("sockmap", "SOCKMAP", value_size=4),
    Row("sockhash", "SOCKHASH", value_size=8),
    Row("reuseport", "REUSEPORT_SOCKARRAY", value_size=8),
    Row("stack", "STACK", 0, 16),
    Row("queue", "QUEUE", 0, 16),
    Row("bloom", "BLOOM_FILTER", 0, 8),
    Row("stacks", "STACK_TRACE", 4, 8 * 16),
    Row("trie", "LPM_TRIE", 8, 16, flags=NO_PREALLOC),
    Row("cgroup_storage", "CGROUP_STORAGE", 16, 24, 0),
    Row("percpu_cgroup_storage", "PERCPU_CGROUP_STORAGE", 16, 16, 0),
    Row("sk_storage", "SK_STORAGE", 4, 24, 0, NO_PREALLOC, "plain"),
    Row("inode_storage", "INODE_STORAGE", 4, 24, 0, NO_PREALLOC, "plain"),
    Row("cgrp_storage", "CGRP_STORAGE", 4, 24, 0, NO_PREALLOC, "plain"),
    Row("lru_percpu", "LRU_PERCPU_HASH", 8, 16),
    Row("big", "ARRAY", value_size=4096, max_entries=1),
    Row("wide_key", "HASH", key_size=64, value_size=8),
    Row("percpu_one", "PERCPU_ARRAY", value_size=8, max_entries=1),
    Row("task_storage", "TASK_STORAGE", 4, 24, 0, NO_PREALLOC, "plain"),
    Row("kptrs", "ARRAY", value_size=24, value="kptrs"),
    Row("kptrs_hash", "HASH", value_size=48, value="own_kptrs"),
    Row("graph", "ARRAY", value_size=48, max_entries=1, value="graph"),
    Row("graph_hash", "HASH", value_size=48, value="graph", flags=NO_PREALLOC),
    Row("work", "ARRAY", value_size=24, value="working"),
    Row("arena", "ARENA", 0, 0, 16, MMAPABLE, extra=1 << 44),
    Row("resilient", "ARRAY", value_size=16, value="resilient"),
    Row("task_work", "ARRAY", value_size=16, value="task_work"),
    Row("shared", "TASK_STORAGE", 4, 24, 0, NO_PREALLOC, "shared"),
    Row("kptrs_one", "ARRAY", value_size=48, max_entries=1, value="own_kptrs"),
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function type in the BTF. args: how each parameter looks to the verifier; result: "int" or "void"."""

    name: str
    type_id: int
    args: tuple[str, ...]
    result: str
    is_global: bool


@dataclass(slots=True)
class Types:
    """The BTF of all programs: functions to choose from, and map values by name."""

    data: bytes
    btf: Btf
    functions: list[Function] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    key: int = 0
    typed: list[Function] = field(default_factory=list)  # with parameters of the kernel's types
    objects: dict[str, int] = field(default_factory=dict)  # structs that programs may allocate
    exceptions: tuple[int, int] = (0, 0)  # a main program with a callback for exceptions, and that


_CONTEXTS = ("__sk_buff", "xdp_md", "bpf_sock_addr", "bpf_sock_ops", "bpf_sockopt", "bpf_raw_tracepoint_args")
# Shapes of functions: parameters by the names of `_parameter_types`; a word after a colon is a declaration tag.
_SHAPES = (
    ("int",), ("void",), ("int", "int"), ("int", "int", "long"), ("int", "int", "int", "int", "int", "int"),
    ("void", "int", "int"), ("int", "int*"), ("int", "int*:nonnull"), ("int", "long*:nonnull", "int"),
    ("int", "struct*"), ("int", "struct*:nonnull"), ("int", "const struct*:nonnull", "int"), ("int", "void*"),
    ("int", "void*:ctx"), ("int", "char*:nonnull"), ("int", "enum", "int*:nullable"), ("long", "int", "struct*"),
    ("int", "ctx:__sk_buff"), ("int", "ctx:__sk_buff", "int"), ("int", "ctx:xdp_md", "int"),
    ("int", "ctx:bpf_sock_addr"), ("int", "ctx:bpf_sock_ops"), ("int", "ctx:bpf_sockopt"),
    ("int", "ctx:bpf_raw_tracepoint_args"), ("int", "dynptr*"), ("void", "struct*:nonnull"),
)  # fmt: skip


def build_types(
    shapes: Sequence[tuple[str, ...]] = _SHAPES, functions_named: Sequence[tuple[str, bool]] = ()
) -> Types:
    """The BTF: types of map values, and functions. Each shape gives a static and a global one, s0, g0, s1 ...

    functions_named: for each shape one function instead, of this name and global or not.
    """
    b = Builder()
    names: dict[str, int] = {"void": 0}
    names["int"] = b.add(Int("int", 4, 1))
    names["long"] = b.add(Int("long", 8, 1))
    names["char"] = b.add(Int("char", 1, 1))
    u64 = b.add(Int("unsigned long long", 8))
    u32 = b.add(Int("unsigned int", 4))
    names["enum"] = b.add(Enum("choice", 4, (Enumerator("A", 0), Enumerator("B", 1))))
    struct = b.add(Struct("pair", 16, (Member("a", names["int"], 0), Member("b", u64, 64))))
    names["struct*"] = b.add(Ptr(struct))
    names["const struct*"] = b.add(Ptr(b.add(Const(struct))))
    for name in ("int", "long", "char", "void"):
        names[f"{name}*"] = b.add(Ptr(names[name]))
    names["dynptr*"] = b.add(Ptr(b.add(Struct("bpf_dynptr", 16, (Member("__opaque", u64, 0),)))))
    for name in _CONTEXTS:
        names[f"ctx:{name}"] = b.add(Ptr(b.add(Struct(name, 8, (Member("first", u32, 0),)))))
    spin = b.add(Struct("bpf_spin_lock", 4, (Member("val", u32, 0),)))
    timer = b.add(Struct("bpf_timer", 16, (Member("a", u64, 0), Member("b", u64, 64))))
    values = {
        "locked": b.add(Struct("locked", 32, (
            Member("a", u64, 0), Member("lock", spin, 64), Member("b", u32, 96), Member("c", u64, 128),
            Member("d", u64, 192),
        ))),
        "timed": b.add(Struct("timed", 40, (
            Member("a", u64, 0), Member("timer", timer, 64), Member("c", u64, 192), Member("d", u64, 256),
        ))),
        "plain": b.add(Struct("plain", 24, (
            Member("a", u64, 0), Member("b", u64, 64), Member("c", u64, 128),
        ))),
    }  # fmt: skip
    functions = []
    for number, (result, *parameters) in enumerate(shapes):
        types, tags = [], []
        for place, text in enumerate(parameters):
            base, _, tag = (text, "", "") if text.startswith("ctx:") else text.partition(":")
            types.append(Param(f"p{place}", names[base]))
            if tag:
                tags.append((place, tag))
        proto = b.add(FuncProto(names[result], tuple(types)))
        both = ((f"s{number}", False), (f"g{number}", True))
        for name, is_global in (functions_named[number],) if functions_named else both:
            type_id = b.add(Func(name, proto, 1 if is_global else 0))
            for place, tag in tags:
                b.add(DeclTag(f"arg:{tag}", type_id, place))
            functions.append(Function(name, type_id, tuple(parameters), result, is_global))
    task = b.add(Struct("task_struct", 8, (Member("first", u64, 0),)))
    kernel_type = b.add(TypeTag("kptr_untrusted", task))
    referenced = b.add(TypeTag("kptr", task))
    values["kptrs"] = b.add(Struct("kptrs", 24, (
        Member("a", u64, 0), Member("plain", b.add(Ptr(kernel_type)), 64), Member("own", b.add(Ptr(referenced)), 128),
    )))  # fmt: skip
    # All that follows came later: the ids above stand in recorded programs.
    typed, objects, exceptions = [], {}, (0, 0)
    if not functions_named:
        objects = _objects(b, u64, u32, spin, task, values)
        typed = _typed_functions(b, names, task, objects)
        shared = b.add(Ptr(b.add(TypeTag("uptr", objects["record"]))))
        values["shared"] = b.add(Struct("shared", 24, (
            Member("a", u64, 0), Member("memory", shared, 64), Member("c", u64, 128),
        )))  # fmt: skip
        handler = b.add(Func("handler", b.add(FuncProto(names["int"], (Param("cookie", u64),))), 1))
        throwing = b.add(Func("throwing", b.add(FuncProto(names["int"], (Param("ctx", names["void*"]),))), 1))
        b.add(DeclTag("exception_callback:handler", throwing, -1))
        exceptions = (throwing, handler)
    data = b.to_bytes()
    return Types(data, Btf.parse(data), functions, values, u32, typed, objects, exceptions)


def _objects(b: Builder, u64: int, u32: int, spin: int, task: int, values: dict[str, int]) -> dict[str, int]:
    """Structs that programs may allocate (named as no struct of a kernel is); map values with lists, trees, kptrs."""

    def opaque(name: str, words: int) -> int:
        return b.add(Struct(name, 8 * words, tuple(Member(f"__opaque{i}", u64, 64 * i) for i in range(words))))

    def pointer(tag: str, target: int) -> int:
        return b.add(Ptr(b.add(TypeTag(tag, target))))

    list_head, list_node = opaque("bpf_list_head", 2), opaque("bpf_list_node", 3)
    rb_root, rb_node = opaque("bpf_rb_root", 2), opaque("bpf_rb_node", 4)
    refcount = b.add(Struct("bpf_refcount", 4, (Member("__opaque", u32, 0),)))
    work = opaque("bpf_wq", 2)
    res_lock = b.add(Struct("bpf_res_spin_lock", 4, (Member("val", u32, 0),)))
    cgroup = b.add(Struct("cgroup", 8, (Member("first", u64, 0),)))
    mask = b.add(Struct("bpf_cpumask", 8, (Member("first", u64, 0),)))
    objects = {
        "node": b.add(Struct("own_node", 80, (
            Member("key", u64, 0), Member("l", list_node, 64), Member("r", rb_node, 256), Member("ref", refcount, 512),
            Member("data", u64, 576),
        ))),
        "single": b.add(Struct("own_single", 40, (
            Member("key", u64, 0), Member("l", list_node, 64), Member("data", u64, 256),
        ))),
        "record": b.add(Struct("own_record", 24, (Member("a", u64, 0), Member("b", u32, 64), Member("c", u64, 128)))),
    }  # fmt: skip
    objects["holder"] = b.add(Struct("own_holder", 40, (
        Member("key", u64, 0), Member("lock", spin, 64), Member("head", list_head, 128),
        Member("mine", pointer("kptr", task), 256),
    )))  # fmt: skip
    b.add(DeclTag("contains:own_single:l", objects["holder"], 2))
    values["own_kptrs"] = b.add(Struct("own_kptrs", 48, (
        Member("a", u64, 0), Member("cgroup", pointer("kptr", cgroup), 64), Member("mask", pointer("kptr", mask), 128),
        Member("node", pointer("kptr", objects["node"]), 192),
        Member("record", pointer("kptr", objects["record"]), 256),
        Member("percpu", pointer("percpu_kptr", objects["record"]), 320),
    )))  # fmt: skip
    values["graph"] = b.add(Struct("graph", 48, (
        Member("a", u64, 0), Member("lock", spin, 64), Member("head", list_head, 128), Member("root", rb_root, 256),
    )))  # fmt: skip
    b.add(DeclTag("contains:own_node:l", values["graph"], 2))
    b.add(DeclTag("contains:own_node:r", values["graph"], 3))
    values["working"] = b.add(Struct("working", 24, (Member("a", u64, 0), Member("work", work, 64))))
    task_work = opaque("bpf_task_work", 1)
    values["task_work"] = b.add(Struct("task_works", 16, (Member("a", u64, 0), Member("work", task_work, 64))))
    values["resilient"] = b.add(Struct("resilient", 16, (Member("a", u64, 0), Member("lock", res_lock, 64))))
    return objects


# Shapes of functions with pointers to the kernel's types: parameters, with tags behind colons.
_TYPED_SHAPES = (
    ("int", "task*:trusted"), ("int", "task*:trusted:nullable"), ("int", "task*:untrusted"),
    ("int", "cgroup*:trusted", "int"), ("int", "task*"), ("int", "int*:untrusted"), ("int", "void*:untrusted"),
    ("int", "struct*:arena"), ("void", "task*:trusted", "cgroup*:trusted:nullable"),
)  # fmt: skip


def _typed_functions(b: Builder, names: dict[str, int], task: int, objects: dict[str, int]) -> list[Function]:
    names = names | {"task*": b.add(Ptr(task)), "node*": b.add(Ptr(objects["node"]))}
    names["cgroup*"] = b.add(Ptr(b.add(Struct("cgroup", 8, (Member("first", names["long"], 0),)))))
    found = []
    for number, (result, *parameters) in enumerate(_TYPED_SHAPES):
        split = [text.split(":") for text in parameters]
        proto = b.add(FuncProto(names[result], tuple(Param(f"p{i}", names[one[0]]) for i, one in enumerate(split))))
        for name, is_global in ((f"ts{number}", False), (f"tg{number}", True)):
            type_id = b.add(Func(name, proto, 1 if is_global else 0))
            for place, (_, *tags) in enumerate(split):
                for tag in tags:
                    b.add(DeclTag(f"arg:{tag}", type_id, place))
            found.append(Function(name, type_id, tuple(parameters), result, is_global))
    return found


@dataclass(slots=True)
class World:
    """Descriptors of maps and of BTF on the running kernel, with what the verifier knows of them.

    kernel: the running one, or only the version of one that is not (`verifier_guest`). vmlinux: its BTF.
    """

    kernel: Any
    types: Types
    btf_fd: int
    maps: dict[str, int]
    infos: dict[int, MapInfo]
    btfs: dict[bytes, int]
    refused: list[str]
    vmlinux: Btf | None = None

    @property
    def other_fds(self) -> frozenset[int]:
        """Open descriptors that are not maps."""
        return frozenset(int(name) for name in os.listdir("/proc/self/fd")) - frozenset(self.infos)

    def renew(self, insns: Sequence[Insn]) -> None:
        """Make the maps anew that can hold programs: the first program to use one decides who else may."""
        for insn in insns:
            info = self.infos.get(insn.imm) if insn.opcode == 0x18 and insn.src in (1, 2) else None
            if info is not None and info.type in WITH_PROGRAMS:
                fresh = self.make_map(info)
                os.dup2(fresh, insn.imm)
                os.close(fresh)

    def load_btf(self, data: bytes) -> int:
        """A descriptor of BTF on the running kernel; 0 when the kernel does not take it."""
        if data not in self.btfs:
            try:
                self.btfs[data] = self.kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))
            except KernelError:
                self.btfs[data] = 0
        return self.btfs[data]

    def make_map(self, info: MapInfo, btf_data: bytes = b"") -> int:
        """Create a map as described, with its contents, frozen if it says so. Raises KernelError."""
        fields: dict[str, int | str | bytes] = {
            "map_type": info.type, "key_size": info.key_size, "value_size": info.value_size,
            "max_entries": info.max_entries, "map_flags": info.flags, "map_name": info.name,
            "map_extra": info.user_start,
        }  # fmt: skip
        if info.value_type_id and btf_data:
            fields |= {
                "btf_fd": self.load_btf(btf_data), "btf_key_type_id": info.key_type_id,
                "btf_value_type_id": info.value_type_id,
            }  # fmt: skip
        inner = -1
        if info.inner is not None:
            inner = self.make_map(info.inner, btf_data)
            fields["inner_map_fd"] = inner
        fd = self.kernel.bpf(Attr("BPF_MAP_CREATE", **fields))
        if inner >= 0:
            os.close(inner)
        if info.contents:
            key = bytes(4)
            with contextlib.suppress(KernelError):
                self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=key, value=info.contents))
        if info.frozen:
            self.kernel.bpf(Attr("BPF_MAP_FREEZE", map_fd=fd))
        return fd


def describe(number: int, row: Row, types: Types, inner: MapInfo | None, version: KernelVersion) -> MapInfo:
    """A row as the verifier of a version sees the map; number: its place, from which its addresses follow."""
    value_id = types.values.get(row.value, 0)
    return MapInfo(
        MAP_TYPE[f"BPF_MAP_TYPE_{row.type}"].id, row.key_size, row.value_size, row.max_entries, row.name[:15],
        row.flags, number + 1, replace(inner, name="") if inner else None, bool(row.contents),
        row.contents or None, types.btf if value_id else None, types.key if value_id else 0, value_id,
        records.parse(types.btf, value_id, version) if value_id else (), row.extra,
        0xFFFF_8000_0000_0000 + number * 0x10000, 0xFFFF_9000_0000_0000 + number * 0x10000,
    )  # fmt: skip


def make_world(kernel: LinuxKernel) -> World:
    """Every map of ROWS that the running kernel makes. Raises KernelError where bpf(2) is refused."""
    types = build_types()
    world = World(kernel, types, 0, {}, {}, {}, [])
    with contextlib.suppress(BombusError):
        world.vmlinux = vmlinux_of(kernel)
    world.btf_fd = world.load_btf(types.data)
    for number, row in enumerate(ROWS):
        inner = world.infos[world.maps[row.inner]] if row.inner else None
        info = describe(number, row, types, inner, kernel.version)
        value_id = info.value_type_id
        try:
            fd = world.make_map(info, types.data if value_id or (inner and inner.value_type_id) else b"")
        except KernelError as error:
            world.refused.append(f"{row.name}: {error}")
            continue
        world.maps[row.name] = fd
        world.infos[fd] = info
    return world
