"""What programs with the kernel's types are for, and the topics that are made of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from verifier_gen import Case
from verifier_gen_kernel import Target
from verifier_gen_scenes import SceneWriter
from verifier_gen_typed import choose_type, finish
from verifier_gen_world import World
from verifier_kernel_types import KernelTypes

from bombus.btf.types import FuncProto, Kind, Ptr, Struct
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.hooks import LSM_PREFIX
from bombus.spec.iterators import ITERATORS
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.structops import STRUCT_OPS

TRACING, STRUCT_OPS_TYPE, LSM, SYSCALL = (
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACING", "STRUCT_OPS", "LSM", "SYSCALL")
)
_ATTACH = {name: ATTACH_TYPE[f"BPF_{name}"].id for name in (
    "TRACE_RAW_TP", "TRACE_ITER", "TRACE_FENTRY", "TRACE_FEXIT", "MODIFY_RETURN", "LSM_MAC", "LSM_CGROUP",
)}  # fmt: skip
SLEEPABLE = 16
# Tracepoints with arguments that programs do something with.
_TRACEPOINTS = (
    "sched_switch", "task_newtask", "cgroup_mkdir", "kfree_skb", "sched_process_exec", "tcp_probe", "sys_enter",
    "netif_receive_skb", "task_rename", "signal_generate", "inet_sock_set_state", "sched_wakeup", "block_rq_issue",
)  # fmt: skip
# Functions that trampolines are often for: with tasks, files, sockets, packets, and several that are refused.
_FUNCTIONS = (
    "bpf_fentry_test1", "bpf_fentry_test7", "bpf_modify_return_test", "do_nanosleep", "vfs_open", "tcp_connect",
    "security_file_open", "wake_up_new_task", "__x64_sys_getpgid", "ip_rcv", "filp_close", "migrate_disable",
)  # fmt: skip
_OTHERS = (1, 2, 3, 3, 5, 6, 7, 8, 13, 14, 17, 18, 30, 31, 31, 32)
HERE = ("tracepoint", "iterator", "struct_ops", "syscall", "other")
TRAMPOLINES = ("fentry", "lsm")


class Targets:
    """Chooses what a program is for. kinds: of HERE and TRAMPOLINES."""

    def __init__(self, world: World, types: KernelTypes, kinds: Sequence[str]) -> None:
        self.types = types
        self.kinds = kinds
        self.hooks = [one for one in types.called if types.name(one[0]).startswith(LSM_PREFIX)]
        version = world.kernel.version
        self.iterators = [row for row in ITERATORS if row.since <= version
                          and types.btf.find(f"bpf_iter_{row.target}", Kind.FUNC) is not None]  # fmt: skip
        self.ops = [row for row in STRUCT_OPS.values() if types.struct(row.name)]

    def choose(self, rng: random.Random) -> Target:
        kind = rng.choice(self.kinds)
        target: Target = getattr(self, kind)(rng)
        return target

    def tracepoint(self, rng: random.Random) -> Target:
        found = self.types.tracepoint(rng.choice(_TRACEPOINTS)) if rng.random() < 0.7 else None
        number, params = found or rng.choice(self.types.tracepoints)
        name = self.types.name(number).removeprefix("btf_trace_")
        flags = SLEEPABLE if rng.random() < 0.02 else 0
        return Target(TRACING, _ATTACH["TRACE_RAW_TP"], number, params, flags, name=name)

    def iterator(self, rng: random.Random) -> Target:
        row = rng.choice(self.iterators)
        number = self.types.btf.find(f"bpf_iter_{row.target}", Kind.FUNC) or 0
        pointers = {one.offset: self.types.struct(one.struct) for one in row.pointers if one.struct}
        flags = SLEEPABLE if rng.random() < 0.3 else 0
        return Target(TRACING, _ATTACH["TRACE_ITER"], number, self.types.arguments(number), flags, (0, 0, 0, 1, 2),
                      name=f"bpf_iter_{row.target}", pointers=pointers)  # fmt: skip

    def struct_ops(self, rng: random.Random) -> Target:
        row = rng.choice(self.ops)
        struct = self.types.struct(row.name)
        type_ = self.types.btf.type(struct)
        assert isinstance(type_, Struct)
        members = []
        for number, member in enumerate(type_.members):
            pointer = self.types.btf.resolved(member.type)
            proto = self.types.btf.resolved(pointer.type) if isinstance(pointer, Ptr) else None
            if isinstance(proto, FuncProto):
                members.append((number, proto.params))
        number, params = rng.choice(members)
        if rng.random() < 0.02:
            number = rng.randrange(len(type_.members) + 1)
        flags = SLEEPABLE if rng.random() < 0.15 else 0
        return Target(STRUCT_OPS_TYPE, number, struct, params, flags, (0, 0, 1))

    def syscall(self, rng: random.Random) -> Target:
        return Target(SYSCALL, 0, 0, (), SLEEPABLE if rng.random() < 0.98 else 0, (0, 0, 1))

    def other(self, rng: random.Random) -> Target:
        prog_type, attach_type = choose_type(rng, _OTHERS)
        return Target(prog_type, attach_type, 0, (), SLEEPABLE if prog_type == SYSCALL else 0, (0, 0, 1))

    def fentry(self, rng: random.Random) -> Target:
        number = self.types.btf.find(rng.choice(_FUNCTIONS), Kind.FUNC) if rng.random() < 0.6 else None
        if number is None:
            number = rng.choice(self.types.called)[0]
        attach = _ATTACH[rng.choice(("TRACE_FENTRY", "TRACE_FEXIT", "TRACE_FEXIT", "MODIFY_RETURN"))]
        flags = SLEEPABLE if rng.random() < 0.15 else 0
        return Target(TRACING, attach, number, self.types.arguments(number), flags, (0, 0, 0, 1),
                      name=self.types.name(number))  # fmt: skip

    def lsm(self, rng: random.Random) -> Target:
        number, params = rng.choice(self.hooks)
        attach = _ATTACH["LSM_MAC" if rng.random() < 0.75 else "LSM_CGROUP"]
        flags = SLEEPABLE if rng.random() < 0.3 else 0
        return Target(LSM, attach, number, params, flags, (0, 0, 0, 1, -1, -4096), name=self.types.name(number))


class KfuncWriter(SceneWriter):
    """Little but calls of kernel functions, with pointers that are trusted in all degrees."""

    longest = 2

    def source(self, struct: int) -> int | None:
        if self.chance(0.35):
            return self.cast(struct)
        reg = super().source(struct)
        return self.cast(struct) if reg is None else reg

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        return [(6, self.any_kfunc), (0.5, self.walk), (0.5, self.section), (0.3, self.reference)]


def kernel_generator(
    world: World, topic: str, kinds: Sequence[str], writer: type[SceneWriter] = SceneWriter
) -> Callable[[random.Random], Case]:
    """Raises LookupError when the kernel's BTF is not known."""
    if world.vmlinux is None:
        raise LookupError(f"{topic}: the kernel's BTF is not readable")
    types = KernelTypes(world.vmlinux)
    targets = Targets(world, types, kinds)

    def generate(rng: random.Random) -> Case:
        target = targets.choose(rng)
        w = writer(rng, world, types, target, rng.choice((0, 0, 0.01, 0.02, 0.05)))
        w.main(rng.randint(1, writer.longest))
        case = finish(w, topic, target.prog_type, target.attach_type)
        return replace(case, attach_btf_id=target.btf_id, flags=case.flags | target.flags)

    return generate
