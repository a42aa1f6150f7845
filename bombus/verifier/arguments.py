"""What functions of a program take, by their BTF, and whether a caller's registers fit.

Linux 6.12 kernel/bpf/btf.c: btf_prepare_func_args; kernel/bpf/verifier.c: btf_check_func_arg_match.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf, essential_name
from bombus.btf.types import (
    Const,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Void,
    Volatile,
)
from bombus.errors import BtfError
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID
from bombus.verifier import btfkit, dynptr, stack
from bombus.verifier.env import EFAULT, EINVAL, ENOENT, EOPNOTSUPP, ESRCH, READ, WRITE, Argument, Env
from bombus.verifier.helper_args import check_memory, check_offset, check_typed
from bombus.verifier.program import Refused
from bombus.verifier.regs import (
    MEM_RDONLY,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_CTX,
    PTR_TRUSTED,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    Reg,
)

_GLOBAL: Final = 1
_KPROBE: Final = PROG_TYPE["BPF_PROG_TYPE_KPROBE"].id
_PERF_EVENT: Final = PROG_TYPE["BPF_PROG_TYPE_PERF_EVENT"].id
_RAW: Final = tuple(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE")
)
_ANY_CONTEXT: Final = tuple(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACEPOINT", "SYSCALL", "EXT")
)
_BY_ARGUMENTS: Final = tuple(PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACING", "LSM", "STRUCT_OPS"))
_PROJECTIONS: Final = {"__sk_buff": "sk_buff", "xdp_md": "xdp_buff"}


def main_program(env: Env) -> None:
    """The kernel looks at the main program's BTF too, and only takes note when it is not what it expects."""
    try:
        found = of_subprogram(env, 0)
    except Refused:
        env.subprogs[0].unreliable = True
        return
    if len(found) != 1 or found[0].kind != "ctx":
        env.subprogs[0].unreliable = True


def of_subprogram(env: Env, number: int) -> list[Argument]:
    """The arguments of a subprogram. Refused (with the reason said) when its BTF does not describe it."""
    subprog = env.subprogs[number]
    if subprog.arguments is not None:
        return subprog.arguments
    btf = env.program.btf
    assert btf is not None
    is_global = subprog.linkage == _GLOBAL
    func = btf.type(subprog.type_id)
    assert isinstance(func, Func)
    if subprog.unreliable:
        env.fail(EFAULT, f"Verifier bug in function {func.name}()")
    proto = btf.type(func.type)
    assert isinstance(proto, FuncProto)
    if len(proto.params) > 5:
        if not is_global:
            env.fail(EINVAL)
        env.fail(EINVAL, f"Global function {func.name}() with {len(proto.params)} > 5 args. Buggy compiler.")
    if not isinstance(btf.resolved(proto.type), (Int, Enum, Enum64)):
        if not is_global:
            env.fail(EINVAL)
        env.fail(
            EINVAL, f"Global function {func.name}() doesn't return scalar. Only those are supported."
        )
    tags = btfkit.argument_tags(btf, subprog.type_id) if env.rules.argument_tags else {}
    found = [
        _argument(env, btf, func, i, param.type, is_global, tags.get(i, []))
        for i, param in enumerate(proto.params)
    ]
    subprog.arguments = found
    return found


def _argument(env: Env, btf: Btf, func: Func, i: int, type_id: int, is_global: bool, tags: list[str]) -> Argument:
    known = set()
    for tag in tags:
        if not is_global:
            env.fail(EOPNOTSUPP, f"arg#{i} type tag is not supported in static functions")
        if tag not in ("ctx", "trusted", "nonnull", "nullable", "arena") and not (
            tag == "untrusted" and env.rules.leaf_pointers
        ):
            env.fail(EOPNOTSUPP, f"arg#{i} has unsupported set of tags")
        known.add(tag)
    type_ = btf.resolved(type_id)
    invalid = f"arg#{i} has invalid combination of tags"
    if isinstance(type_, Ptr):
        if "ctx" in known or is_context(btf, type_, env.program.prog_type):
            if known - {"ctx"}:
                env.fail(EINVAL, invalid)
            if "ctx" in known:
                _validate_context(env, btf, type_, i)
            return Argument("ctx")
        if env.rules.argument_tags and _is_dynptr(btf, type_):
            if known:
                env.fail(EINVAL, invalid)
            return Argument("dynptr")
        if "trusted" in known:
            if "nonnull" in known:
                env.fail(EINVAL, invalid)
            nullable = "nullable" in known
            flags = PTR_TRUSTED | (PTR_MAYBE_NULL if nullable else 0)
            return Argument("typed", nullable=nullable, btf_id=_kernel_struct(env, btf, type_, i), flags=flags)
        if "untrusted" in known:
            return _untrusted(env, btf, type_, i, known)
        if "arena" in known:
            if known - {"arena"}:
                env.fail(EINVAL, f"arg#{i} arena cannot be combined with any other tags")
            return Argument("arena")
        if is_global:
            if "nullable" in known:
                env.fail(EINVAL, invalid)
            return Argument("mem", _target_size(env, btf, type_, i), nullable="nonnull" not in known)
    if known:
        env.fail(EINVAL, f"arg#{i} has pointer tag, but is not a pointer type")
    if isinstance(type_, (Int, Enum, Enum64)):
        return Argument("scalar")
    if not is_global:
        env.fail(EINVAL)
    env.fail(EINVAL, f"Arg#{i} type {_kind_name(type_)} in {func.name}() is not supported yet.")


def _kernel_struct(env: Env, btf: Btf, pointer: Ptr, i: int) -> int:
    """The kernel's type of the name that a pointer's target has (btf_get_ptr_to_btf_id)."""
    target = btf.resolved(pointer.type)
    name = essential_name(target.name)
    kernel = env.kernel_btf("global functions that take pointers to kernel types")
    found = kernel.find_all(name, target.kind) if name else []
    if len(found) != 1:
        what = "is ambiguous" if found else "has no matches"
        env.fail(ESRCH if found else ENOENT, f"arg#{i} reference type('{_kind_name(target)} {target.name}') {what}")
    return found[0]


def _untrusted(env: Env, btf: Btf, pointer: Ptr, i: int, known: set[str]) -> Argument:
    """__arg_untrusted, from Linux 6.17 on: memory that is read with probes, or a kernel struct."""
    if known - {"untrusted"}:
        env.fail(EINVAL, f"arg#{i} untrusted cannot be combined with any other tags")
    target = btf.resolved(pointer.type)
    if isinstance(target, (Void, Int, Enum, Enum64)):
        return Argument("typed", flags=MEM_RDONLY | PTR_UNTRUSTED)
    return Argument("typed", btf_id=_kernel_struct(env, btf, pointer, i), flags=PTR_UNTRUSTED)


def _kind_name(type_: Type) -> str:
    return "UNKNOWN" if isinstance(type_, Void) else Kind(type_.kind).name


def _target_size(env: Env, btf: Btf, pointer: Ptr, i: int) -> int:
    target = btf.resolve(pointer.type)
    try:
        return btf.size_of(target)
    except BtfError:
        type_ = btf.type(target)
        env.fail(
            EINVAL,
            f"arg#{i} reference type('{_kind_name(type_)} {type_.name}') size cannot be determined: -22",
        )


def _is_dynptr(btf: Btf, pointer: Ptr) -> bool:
    target = btf.resolved(pointer.type)
    return target.name == "bpf_dynptr" and (
        isinstance(target, (Struct, Union)) or (isinstance(target, Fwd) and not target.union)
    )


def _names(btf: Btf, type_id: int) -> tuple[str, bool]:
    """The name of the first typedef behind modifiers, or of the type; and whether it is a typedef."""
    type_ = btf.type(type_id)
    while isinstance(type_, (Const, Volatile, Restrict, TypeTag)):
        type_ = btf.type(type_.type)
    return type_.name, isinstance(type_, Typedef)


def is_context(btf: Btf, pointer: Ptr, prog_type: int) -> bool:
    """Whether a pointer's type is the context of programs of a type (btf_is_prog_ctx_type)."""
    row = PROG_TYPE_BY_ID[prog_type]
    if row.id == _KPROBE:
        name, is_typedef = _names(btf, pointer.type)
        if is_typedef and name == "bpf_user_pt_regs_t":
            return True
    target = btf.resolved(pointer.type)
    if not isinstance(target, (Struct, Union)):
        return False
    if row.id == _KPROBE and target.name == "bpf_user_pt_regs_t":
        return True
    return bool(target.name and row.ctx) and target.name in (row.ctx, _PROJECTIONS.get(row.ctx, ""))


def _validate_context(env: Env, btf: Btf, pointer: Ptr, i: int) -> None:
    """__arg_ctx on a type that is not the context's own (btf_validate_prog_ctx_type)."""
    row = PROG_TYPE_BY_ID[env.program.prog_type]
    if row.id in (_KPROBE, _PERF_EVENT):
        name, is_typedef = _names(btf, pointer.type)
        if is_typedef and name == "bpf_user_pt_regs_t":
            return
    target = btf.resolved(pointer.type)
    if isinstance(target, Void):
        return
    if not target.name:
        env.fail(EINVAL, f"arg#{i} type doesn't have a name")
    is_struct = isinstance(target, (Struct, Union))
    if row.id in (_KPROBE, _PERF_EVENT) and is_struct and target.name == "pt_regs":
        return
    if row.id in _RAW and isinstance(target, Int) and target.size == 8:
        return
    if row.id in _ANY_CONTEXT:
        return
    if row.id in _BY_ARGUMENTS and _fits_arguments(env, target):
        return
    if not row.ctx or row.ctx == "u64":
        env.fail(EINVAL, f"arg#{i} should be void pointer")
    if not is_struct or target.name != row.ctx:
        env.fail(EINVAL, f"arg#{i} should be `struct {row.ctx} *`")


def _fits_arguments(env: Env, target: Type) -> bool:
    """The context of programs that attach through BTF is an array of u64, whatever it is called."""
    attach = env.target.attach if env.target is not None else ""
    if attach == "BPF_TRACE_ITER":
        return isinstance(target, (Struct, Union)) and target.name.startswith("bpf_iter__")
    if attach == "BPF_TRACE_RAW_TP" and isinstance(target, (Struct, Union)) \
            and target.name == "bpf_raw_tracepoint_args":
        return True
    return isinstance(target, Int) and target.size == 8


def check_passed(env: Env, regno: int, reg: Reg, argument: Argument) -> None:
    """Whether a caller's register fits an argument of the called function."""
    i = regno - 1
    if argument.kind == "scalar":
        if reg.type != SCALAR_VALUE:
            env.fail(EINVAL, f"R{regno} is not a scalar")
    elif argument.kind == "ctx":
        check_offset(env, reg, regno, release=False)
        if reg.type != PTR_TO_CTX:
            env.fail(EINVAL, f"arg#{i} expects pointer to ctx")
    elif argument.kind == "mem":
        check_offset(env, reg, regno, release=False)
        try:
            check_memory_argument(env, regno, reg, argument.size)
        except Refused:
            env.fail(EINVAL)
        if not argument.nullable and reg.type & PTR_MAYBE_NULL:
            env.fail(EINVAL, f"arg#{i} is expected to be non-NULL")
    elif argument.kind == "arena":
        if reg.type not in (PTR_TO_ARENA, SCALAR_VALUE):
            env.fail(EINVAL, f"R{regno} is not a pointer to arena or scalar.")
    elif argument.kind == "typed":
        if argument.flags & PTR_UNTRUSTED:
            return  # anything is taken for an address to read with probes
        if stack.is_null(reg) and argument.nullable:
            return
        check_typed(env, regno, reg, argument.btf_id, nullable=argument.nullable)
        check_offset(env, reg, regno, release=False)
    else:
        check_offset(env, reg, regno, release=False, dynptr=True)
        dynptr.process(env, regno, uninit=False, read_only=True, kind="", insn_idx=-1)


def check_memory_argument(env: Env, regno: int, reg: Reg, size: int) -> None:
    """Memory of a global function's argument must be readable and writable (check_mem_reg)."""
    if stack.is_null(reg):
        return
    regs = env.regs
    if reg.type & PTR_MAYBE_NULL:
        from bombus.verifier.branch import without_null

        regs[regno] = without_null(reg)
    try:
        check_memory(env, regno, size, READ, zero_ok=True)
        check_memory(env, regno, size, WRITE, zero_ok=True)
    finally:
        if reg.type & PTR_MAYBE_NULL:
            regs[regno] = reg
