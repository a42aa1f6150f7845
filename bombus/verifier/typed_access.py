"""Loads and stores through pointers whose type is in BTF, and how far what they yield is to be trusted.

Linux 6.12 kernel/bpf/verifier.c: check_ptr_to_btf_access, check_ptr_to_map_access, mark_btf_ld_reg.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.structops import ANYWHERE
from bombus.verifier import btf_walk, records
from bombus.verifier.env import EACCES, EINVAL, EPERM, READ, WRITE, Env
from bombus.verifier.log import bits_text
from bombus.verifier.regs import (
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_USER,
    NON_OWN_REF,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MEM,
    PTR_TRUSTED,
    PTR_UNTRUSTED,
    ZERO,
    Reg,
)
from bombus.verifier.trust import TRUSTED_FLAGS, is_trusted

_CONNECTION_RULES: Final = "_nf_conntrack_btf_struct_access"
_CONNECTION_FIELDS: Final[tuple[str, ...]] = ("mark",)
_CONNTRACK_WRITERS: Final = ("BPF_PROG_TYPE_SCHED_CLS", "BPF_PROG_TYPE_SCHED_ACT", "BPF_PROG_TYPE_XDP")


def in_rcu_section(env: Env) -> bool:
    """Whether RCU keeps objects alive here: a section was opened, a lock is held, or the program cannot sleep."""
    state = env.state
    return bool(state.rcu_locked) or state.lock is not None or not (env.sleepable or state.in_sleepable)


def pointer(env: Env, btf: Btf, type_id: int, flags: int) -> Reg:
    """A typed pointer as a load makes it."""
    return Reg(
        PTR_TO_BTF_ID | flags, ZERO, id_=env.new_id() if flags & PTR_MAYBE_NULL else 0, btf=btf, btf_id=type_id
    )


def loaded(env: Env, found: btf_walk.Found, btf: Btf, flags: int) -> Reg:
    if found.kind == btf_walk.SCALAR:
        return env.unknown
    if found.kind == btf_walk.MEMORY:
        return Reg(PTR_TO_MEM | found.flags, ZERO)
    return pointer(env, btf, found.type_id, flags)


def check(env: Env, regno: int, off: int, size: int, kind: int, value: int) -> None:
    """One load or store through a typed pointer, which is not null; `off` counts the pointer's own offset."""
    regs = env.regs
    reg = regs[regno]
    btf = reg.btf
    assert btf is not None
    name = btf.type(reg.btf_id).name
    in_kernel = btf is env.program.vmlinux
    if not env.leaks_allowed:
        env.fail(EPERM, f"'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN")
    if not env.gpl and in_kernel:
        env.fail(EINVAL, f"Cannot access kernel 'struct {name}' from non-GPL compatible program")
    if off < 0:
        env.fail(EACCES, f"R{regno} is ptr_{name} invalid negative access: off={off}")
    if reg.bounds.bits != (0, 0):
        env.fail(
            EACCES,
            f"R{regno} is ptr_{name} invalid variable offset: off={off}, var_off={bits_text(env, reg.bounds.bits)}",
        )
    if reg.type & MEM_USER:
        env.fail(EACCES, f"R{regno} is ptr_{name} access user memory: off={off}")
    if reg.type & MEM_PERCPU:
        env.fail(EACCES, f"R{regno} is ptr_{name} access percpu memory: off={off}")
    if kind != READ and reg.type & PTR_UNTRUSTED:
        env.fail(EACCES, "only read is supported")
    allocated = bool(reg.type & MEM_ALLOC)
    if kind == WRITE and not allocated and _write(env, reg, off, size):
        return
    if kind != READ and not (allocated and not reg.type & MEM_PERCPU):
        env.fail(EACCES, "only read is supported")
    if allocated:
        _check_owned(env, reg, off, size)
    found = btf_walk.access(env, btf, reg.btf_id, off, size, flexible=not allocated)
    if kind == READ and value >= 0:
        if allocated and found.kind == btf_walk.POINTER:
            regs[value] = env.unknown
        else:
            flags = _flags(env, reg, btf, found) if found.kind == btf_walk.POINTER else 0
            regs[value] = loaded(env, found, btf, flags)


def _check_owned(env: Env, reg: Reg, off: int, size: int) -> None:
    """Objects of the program's own types: their special fields are not for loads and stores."""
    if not reg.type & (NON_OWN_REF | MEM_RCU) and not reg.ref_id:
        env.defect("ref_obj_id for allocated object must be non-zero")
    assert reg.btf is not None
    for field in records.of_object(reg.btf, reg.btf_id, env.program.version):
        if off < field.offset + field.size and field.offset < off + size:
            env.fail(EACCES, f"direct access to {field.name} is disallowed")


def _flags(env: Env, reg: Reg, btf: Btf, found: btf_walk.Found) -> int:
    """How far a pointer is to be trusted that was found by following another one."""
    flags = found.flags
    if reg.type & PTR_UNTRUSTED:
        return PTR_UNTRUSTED
    if not (is_trusted(reg) or reg.type & MEM_RCU):
        return flags & ~(TRUSTED_FLAGS | MEM_RCU)

    def safe(how: str) -> bool:
        return btf_walk.is_safe_field(btf, reg.btf_id, found.field, found.type_id, how)

    if safe("safe_trusted"):
        return flags | PTR_TRUSTED
    if safe("safe_trusted_or_null"):
        return flags | PTR_TRUSTED | PTR_MAYBE_NULL
    if not in_rcu_section(env) or reg.type & PTR_MAYBE_NULL:
        return PTR_UNTRUSTED
    if safe("safe_rcu"):
        return flags | MEM_RCU
    if safe("safe_rcu_or_null"):
        return (flags | MEM_RCU | PTR_MAYBE_NULL) & ~PTR_UNTRUSTED
    if flags & MEM_RCU:
        return flags | PTR_MAYBE_NULL
    if flags & (MEM_PERCPU | MEM_USER):
        return flags
    return flags & ~(TRUSTED_FLAGS | MEM_RCU)


def _write(env: Env, reg: Reg, off: int, size: int) -> bool:
    """A store where the program's kind has rules for it. False when it has none."""
    rules = env.target.ops if env.target is not None else None
    btf = reg.btf
    assert btf is not None
    if rules is None:
        if PROG_TYPE_BY_ID[env.program.prog_type].name not in _CONNTRACK_WRITERS:
            return False
        if btf.find(_CONNECTION_RULES, Kind.FUNC) is None:
            env.fail(EACCES)  # they are in a module, which is not loaded
        struct, fields = "nf_conn", _CONNECTION_FIELDS
    else:
        struct, fields = rules.writable
    wanted = btf.find(struct, Kind.STRUCT)
    # Connections that are not set up yet have the same layout (Linux 6.12 net/netfilter/nf_conntrack_bpf.c).
    if wanted is None or (reg.btf_id != wanted and btf.type(reg.btf_id).name != f"{struct}___init"):
        env.fail(EACCES, "only read is supported" if fields else f"only access to {struct} is supported")
    if not fields:
        if off + size > btf.size_of(wanted):
            env.fail(EACCES, f"write access at off {off} with size {size}")
        return True
    for path in fields:
        field = btf.field(wanted, path)
        start = field.offset // 8
        # A bit-field cannot be named by its offset; those here are whole members.
        end = start + btf.size_of(field.type)
        if off == start or (path in ANYWHERE and start <= off < end):
            if off + size > end:
                env.fail(
                    EACCES,
                    f"write access at off {off} with size {size} beyond the member of {struct} ended at {end}",
                )
            return True
    env.fail(EACCES, f"no write support to {struct} at off {off}")


def map_member(env: Env, regno: int, off: int, size: int, struct: str, value: int) -> None:
    """A load from a map's own struct, which may be no store and lie before nothing (the caller looked)."""
    btf = env.kernel_btf("loads from struct bpf_map")
    struct_id = btf.find(struct, Kind.STRUCT)
    assert struct_id is not None, struct
    found = btf_walk.access(env, btf, struct_id, off, size)
    if value >= 0:
        env.regs[value] = loaded(env, found, btf, found.flags)
