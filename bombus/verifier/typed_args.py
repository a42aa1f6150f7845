"""Typed pointers as arguments and results of helpers, kptrs among them.

Linux 6.12 kernel/bpf/verifier.c: check_reg_type, map_kptr_match_type, btf_ld_kptr_type, check_helper_call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from bombus.btf.parse import Btf
from bombus.btf.types import Kind, Struct, Union
from bombus.errors import BtfError
from bombus.spec.helpers.structs import ARGUMENT_STRUCTS, RESULT_STRUCTS
from bombus.verifier import btf_walk, records, regions, special
from bombus.verifier.env import EACCES, EINVAL, Env
from bombus.verifier.program import Field, Refused
from bombus.verifier.regs import (
    BASE_MASK,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    NON_OWN_REF,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MEM,
    PTR_TRUSTED,
    PTR_UNTRUSTED,
    ZERO,
    Reg,
    type_name,
)
from bombus.verifier.typed_access import in_rcu_section, pointer

if TYPE_CHECKING:
    from bombus.verifier.helper_args import Meta
    from bombus.verifier.prototypes import ArgSpec, Proto

_PLAIN: Final = tuple(
    PTR_TO_BTF_ID | flags
    for flags in (
        0, PTR_TRUSTED, PTR_TRUSTED | PTR_MAYBE_NULL, MEM_RCU, PTR_MAYBE_NULL, PTR_MAYBE_NULL | MEM_RCU,
    )
)
_ALLOCATED: Final = (PTR_TO_BTF_ID | MEM_ALLOC, PTR_TO_BTF_ID | MEM_PERCPU | MEM_ALLOC)
_PERCPU: Final = tuple(PTR_TO_BTF_ID | MEM_PERCPU | flags for flags in (0, MEM_RCU, PTR_TRUSTED))
# Kernel types whose objects live on until RCU's grace period ends (rcu_protected_types).
_RCU_PROTECTED: Final = frozenset(("prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"))


def struct_id(env: Env, name: str) -> int:
    """The id of a struct of the kernel; 0 when it has none of that name."""
    return env.kernel_btf(f"pointers to struct {name}").find(name, Kind.STRUCT) or 0


def check(env: Env, regno: int, reg: Reg, kind: str, spec: ArgSpec, meta: Meta, *, memory: bool) -> None:
    """A typed pointer whose kind fits the argument's. memory: the argument is plain memory."""
    number = meta.helper
    if memory:
        if not spec.read_only:
            env.fail(
                EACCES,
                f"{special.name(number)}() may write into memory pointed by R{regno} type={type_name(reg.type)}",
            )
        return
    type_ = reg.type
    if type_ in _PLAIN:
        if type_ & PTR_MAYBE_NULL and (not spec.nullable or spec.release):
            env.fail(EACCES, f"Possibly NULL pointer passed to helper arg{regno}")
        if number == special.KPTR_XCHG:
            _fits_kptr(env, meta, reg, regno)
            return
        wanted = "sock_common" if kind == "ARG_PTR_TO_BTF_ID_SOCK_COMMON" else ""
        wanted = wanted or ARGUMENT_STRUCTS[special.name(number).removeprefix("bpf_")][regno - 1]
        strict = spec.release and number != special.SK_RELEASE
        check_struct(env, regno, reg, struct_id(env, wanted), strict=strict)
    elif type_ in _ALLOCATED:
        if number not in (special.SPIN_LOCK, special.SPIN_UNLOCK, special.KPTR_XCHG):
            env.defect("unimplemented handling of MEM_ALLOC")
        if number == special.KPTR_XCHG and regno == 2:
            _fits_kptr(env, meta, reg, regno)
    elif type_ not in _PERCPU:
        env.defect("invalid PTR_TO_BTF_ID register for type match")


def check_struct(env: Env, regno: int, reg: Reg, type_id: int, *, strict: bool) -> None:
    """Whether a typed pointer points to a struct of the kernel, or to one that it begins with."""
    btf = env.kernel_btf("typed arguments")
    assert reg.btf is not None
    if not btf_walk.matches(
        env, reg.btf, reg.btf_id, reg.off, btf, type_id, strict=strict, flexible=not reg.type & MEM_ALLOC
    ):
        env.fail(
            EACCES,
            f"R{regno} is of type {reg.btf.type(reg.btf_id).name} but {btf.type(type_id).name} is expected",
        )


def _fits_kptr(env: Env, meta: Meta, reg: Reg, regno: int) -> None:
    assert meta.field is not None and meta.kptr_btf is not None
    try:
        match_kptr(env, meta.field, meta.kptr_btf, reg, regno)
    except Refused:
        env.fail(EACCES)


# Kptrs in map values and objects.


def kptr_target(env: Env, btf: Btf, field: Field) -> tuple[Btf, int]:
    """The type of a kptr: the kernel's of that name, or the program's own. btf: of the map or object that holds it."""
    for kernel in (env.kernel_btf("kptrs"), *env.program.modules.values()):
        found = kernel.find(field.target, Kind.STRUCT)
        if found is not None:
            return kernel, found
    return btf, field.target_id


def _is_kernels(env: Env, btf: Btf) -> bool:
    return btf is env.program.vmlinux or any(btf is module for module in env.program.modules.values())


def match_kptr(env: Env, field: Field, holder: Btf, reg: Reg, regno: int) -> None:
    """Whether a register may be stored into a kptr (map_kptr_match_type)."""
    btf, type_id = kptr_target(env, holder, field)
    name = ""

    def bad() -> NoReturn:
        plain = field.kind == "kptr_unref"
        other = f" or {type_name(PTR_TO_BTF_ID | PTR_UNTRUSTED)}{field.target}" if plain else ""
        env.fail(
            EACCES,
            f"invalid kptr access, R{regno} type={type_name(reg.type)}{name} "
            f"expected={type_name(PTR_TO_BTF_ID)}{field.target}{other}",
        )

    if reg.type & BASE_MASK != PTR_TO_BTF_ID or reg.btf is None:
        bad()
    if _is_kernels(env, reg.btf):
        allowed = PTR_MAYBE_NULL | PTR_TRUSTED | MEM_RCU | (PTR_UNTRUSTED if field.kind == "kptr_unref" else 0)
    else:
        allowed = PTR_MAYBE_NULL | MEM_ALLOC | (MEM_PERCPU if field.kind == "kptr_percpu" else 0)
    if reg.type & ~BASE_MASK & ~allowed:
        bad()
    if not env.rules.percpu_kptrs_mixed and (field.kind == "kptr_percpu") != bool(reg.type & MEM_PERCPU):
        bad()
    name = reg.btf.type(reg.btf_id).name
    regions.check_plain_pointer(env, reg, regno, fixed_ok=True)
    if not btf_walk.matches(
        env, reg.btf, reg.btf_id, reg.off, btf, type_id, strict=field.kind != "kptr_unref",
        flexible=not reg.type & MEM_ALLOC,
    ):
        bad()


def load_kptr(env: Env, field: Field, holder: Btf) -> Reg:
    """What a load of a kptr yields."""
    btf, type_id = kptr_target(env, holder, field)
    kernels = _is_kernels(env, btf)
    safe = field.kind == "kptr_percpu" or (
        field.kind == "kptr_ref" and (not kernels or field.target in _RCU_PROTECTED)
    )
    if not safe or not in_rcu_section(env):
        return pointer(env, btf, type_id, PTR_MAYBE_NULL | PTR_UNTRUSTED)
    flags = PTR_MAYBE_NULL | MEM_RCU
    if field.kind == "kptr_percpu":
        flags |= MEM_PERCPU
    elif not kernels:
        flags |= MEM_ALLOC
    if not kernels and any(
        one.kind in ("list_node", "rb_node") for one in records.of_object(btf, type_id, env.program.version)
    ):
        flags |= NON_OWN_REF
    return pointer(env, btf, type_id, flags)


# Results.


def result(env: Env, meta: Meta, proto: Proto) -> Reg:
    """What a helper returns that returns a typed pointer."""
    flags = (PTR_MAYBE_NULL if proto.ret_nullable else 0) | (PTR_TRUSTED if proto.ret_trusted else 0)
    if proto.ret == "RET_PTR_TO_MEM_OR_BTF_ID":
        return _percpu(env, meta, proto, flags)
    if meta.helper == special.KPTR_XCHG:
        assert meta.field is not None and meta.kptr_btf is not None
        btf, type_id = kptr_target(env, meta.kptr_btf, meta.field)
        if not _is_kernels(env, btf):
            flags |= MEM_ALLOC | (MEM_PERCPU if meta.field.kind == "kptr_percpu" else 0)
        return pointer(env, btf, type_id, flags)
    btf = env.kernel_btf(f"results of bpf_{proto.name}")
    type_id = struct_id(env, RESULT_STRUCTS[proto.name])
    if not type_id:
        env.fail(EINVAL, f"invalid return type 8 of func bpf_{proto.name}#{proto.id}")
    return pointer(env, btf, type_id, flags)


def _percpu(env: Env, meta: Meta, proto: Proto, flags: int) -> Reg:
    """bpf_per_cpu_ptr and bpf_this_cpu_ptr: one CPU's copy of a variable or object."""
    arg = meta.percpu
    assert arg is not None and arg.btf is not None
    btf = arg.btf
    type_ = btf.resolved(arg.btf_id)
    if not isinstance(type_, (Struct, Union)):
        try:
            size = btf.size_of(arg.btf_id)
        except BtfError:
            env.fail(EINVAL, f"unable to resolve the size of type '{type_.name}': -22")
        read_only = MEM_RDONLY if proto.ret_read_only else 0
        id_ = env.new_id() if flags & PTR_MAYBE_NULL else 0
        return Reg(PTR_TO_MEM | flags | read_only, ZERO, id_=id_, number=size)
    return pointer(env, btf, arg.btf_id, MEM_ALLOC | MEM_RCU if arg.type & MEM_RCU else flags)

