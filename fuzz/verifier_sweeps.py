"""Small programs by the thousand, one for each thing that the kernel's tables decide: which function a program may call
and where, and what the arguments of what it attaches to are. Nothing here is random."""

from __future__ import annotations

from collections.abc import Iterator

from verifier_gen import Case
from verifier_gen_targets import SLEEPABLE, STRUCT_OPS_TYPE, SYSCALL, TRACING
from verifier_gen_world import World
from verifier_kernel_types import KernelTypes

from bombus.btf.types import FuncProto, Kind, Ptr, Struct
from bombus.isa.insn import Insn
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPERS
from bombus.spec.iterators import ITERATORS
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.structops import STRUCT_OPS

_RAW_TP, _ITER = ATTACH_TYPE["BPF_TRACE_RAW_TP"].id, ATTACH_TYPE["BPF_TRACE_ITER"].id
_END = (Insn(0xB7, 0, 0, 0, 0), Insn(0x95, 0, 0, 0, 0))
_MOST_ARGUMENTS = 7  # of one more than any iterator or struct_ops member has
_SIMPLE = (1, 2, 3, 5, 6, 7, 8, 13, 17, 18, 22, 25, 30, 31, 32)


def _case(insns: tuple[Insn, ...], prog_type: int, attach_type: int = 0, btf_id: int = 0, flags: int = 0) -> Case:
    return Case("sweep", (*insns, *_END), prog_type, attach_type, flags, 6, attach_btf_id=btf_id)


def _load(off: int) -> tuple[Insn, ...]:
    return (Insn(0x79, 2, 1, off, 0),)


def contexts(types: KernelTypes) -> Iterator[tuple[str, Case]]:
    """Every argument of every tracepoint, iterator and struct_ops member, and the place behind the last."""
    btf = types.btf
    for number, params in types.tracepoints:
        for i in range(len(params) + 1):
            yield f"{types.name(number)} {i}", _case(_load(8 * i), TRACING, _RAW_TP, number)
    for row in ITERATORS:
        found = btf.find(f"bpf_iter_{row.target}", Kind.FUNC)
        if found is not None:
            for i in range(_MOST_ARGUMENTS):
                for flags in (0, SLEEPABLE):
                    yield f"{row.target} {i} {flags}", _case(_load(8 * i), TRACING, _ITER, found, flags)
    for ops in STRUCT_OPS.values():
        struct = btf.find(ops.name, Kind.STRUCT)
        type_ = btf.type(struct) if struct is not None else None
        if struct is None or not isinstance(type_, Struct):
            continue
        for number, member in enumerate(type_.members):
            pointer = btf.resolved(member.type)
            is_function = isinstance(pointer, Ptr) and isinstance(btf.resolved(pointer.type), FuncProto)
            for i in range(_MOST_ARGUMENTS if is_function else 1):
                for flags in (0, SLEEPABLE):
                    yield (f"{ops.name}.{member.name} {i} {flags}",
                           _case(_load(8 * i), STRUCT_OPS_TYPE, number, struct, flags))  # fmt: skip


def _programs(types: KernelTypes) -> Iterator[tuple[str, int, int, int, int]]:
    """(name, program type, attach type, BTF id, flags): one of every kind that loads here."""
    yield "syscall", SYSCALL, 0, 0, SLEEPABLE
    point = types.tracepoint("sched_switch") or types.tracepoints[0]
    yield "tp_btf", TRACING, _RAW_TP, point[0], 0
    task = types.btf.find("bpf_iter_task", Kind.FUNC)
    if task is not None:
        yield "iter", TRACING, _ITER, task, 0
        yield "iter.s", TRACING, _ITER, task, SLEEPABLE
    ops = types.btf.find("tcp_congestion_ops", Kind.STRUCT)
    type_ = types.btf.type(ops) if ops is not None else None
    if ops is not None and isinstance(type_, Struct):
        number = [member.name for member in type_.members].index("ssthresh")
        yield "struct_ops", STRUCT_OPS_TYPE, number, ops, 0
        yield "struct_ops.s", STRUCT_OPS_TYPE, number, ops, SLEEPABLE
    yield "kprobe.s", 2, 0, 0, SLEEPABLE
    yield "kprobe.session", 2, ATTACH_TYPE["BPF_TRACE_KPROBE_SESSION"].id, 0, 0
    for prog_type in _SIMPLE:
        if prog_type == SYSCALL:
            continue
        row = PROG_TYPE_BY_ID[prog_type]
        attach = ATTACH_TYPE[row.attach_types[0]].id if row.attach_checked and row.attach_types else 0
        yield row.short, prog_type, attach, 0, 0


def calls(world: World, types: KernelTypes, *, sections: bool = True) -> Iterator[tuple[str, Case]]:
    """Every helper and every kernel function, called by every kind of program: as it is, with preemption disabled, in
    an RCU section, and with a lock held (`sections`). The registers hold nothing but the context in r1."""
    functions = types.functions
    before: dict[str, tuple[Insn, ...]] = {"": ()}
    for what in ("preempt_disable", "rcu_read_lock"):
        found = functions.get(f"bpf_{what}")
        if found is not None:
            before[what] = (Insn(0xBF, 6, 1, 0, 0), Insn(0x85, 0, 2, 0, found.type_id), Insn(0xBF, 1, 6, 0, 0))
    lock = world.maps.get("graph")
    if lock is not None:
        before["locked"] = (
            Insn(0xBF, 6, 1, 0, 0), Insn(0x62, 10, 0, -4, 0), Insn(0xBF, 2, 10, 0, 0), Insn(0x07, 2, 0, 0, -4),
            Insn(0x18, 1, 1, 0, lock), Insn(0, 0, 0, 0, 0), Insn(0x85, 0, 0, 0, 1), Insn(0x55, 0, 0, 2, 0), *_END,
            Insn(0xBF, 1, 0, 0, 0), Insn(0x07, 1, 0, 0, 8), Insn(0x85, 0, 0, 0, 93), Insn(0xBF, 1, 6, 0, 0),
        )  # fmt: skip
    if not sections:
        before = {"": ()}
    for name, prog_type, attach, btf_id, flags in _programs(types):
        for what, insns in before.items():
            for row in HELPERS:
                yield (f"{name} {what} {row.name}",
                       _case((*insns, Insn(0x85, 0, 0, 0, row.id)), prog_type, attach, btf_id, flags))  # fmt: skip
            for function in functions.values():
                yield (f"{name} {what} {function.name}",
                       _case((*insns, Insn(0x85, 0, 2, 0, function.type_id)), prog_type, attach, btf_id, flags),
                       )  # fmt: skip
