"""The context of programs that attach through BTF: an array of the target's arguments.

Linux 6.12 kernel/bpf/btf.c: btf_ctx_access, get_ctx_arg_idx; kernel/trace/bpf_trace.c: bpf_tracing_ctx_access.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import Enum, Enum64, Int, Kind, Ptr, Struct, Type, TypeTag, Union, Void
from bombus.errors import NotSupported
from bombus.spec.attachable import tracepoint_arguments
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID
from bombus.verifier import arguments
from bombus.verifier.attach import Target, kind_name, return_range
from bombus.verifier.attach_prog import kernel_context
from bombus.verifier.bounds import sync
from bombus.verifier.btf_walk import pointer_tag
from bombus.verifier.env import READ, Env
from bombus.verifier.regs import (
    BASE_MASK,
    MEM_RCU,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TRUSTED,
    SCALAR_VALUE,
    ZERO,
    Reg,
)

_LSM: Final = PROG_TYPE["BPF_PROG_TYPE_LSM"].id
_MAX_ARGS: Final = 12
_REG_ARGS: Final = 5


def load(env: Env, target: Target, off: int, size: int, kind: int) -> Reg | None:
    """What a load from the context yields; None when it is refused (the reason is said where the kernel says one)."""
    if env.program.prog_type != _LSM and (
        not 0 <= off < 8 * _MAX_ARGS or kind != READ or off % size
    ):
        return None
    name = target.name
    if off % 8:
        env.say(f"func '{name}' offset {off} is not multiple of 8\n")
        return None
    if target.unknown:
        return _any(env, target, off // 8)
    number = _index(target, off)
    params = target.params
    if number > len(params):
        env.say(f"func '{name}' doesn't have {number + 1}-th argument\n")
        return None
    if number == len(params):
        return _result(env, target, number, size)
    return _argument(env, target, off, size, number)


def _any(env: Env, target: Target, number: int) -> Reg | None:
    """Of a function whose BTF says nothing reliable: five numbers, and what it returns."""
    if number < _REG_ARGS or (number == _REG_ARGS and target.attach == "BPF_TRACE_FEXIT"):
        return env.unknown
    env.say(f"func '{target.name}' doesn't have {number + 1}-th argument\n")
    return None


def _index(target: Target, off: int) -> int:
    """The number of the argument at an offset; the result comes after the last."""
    offset = 0
    for number, param in enumerate(target.proto.params):
        offset += _room(target.btf, param.type)
        if off < offset:
            return number
    count = len(target.proto.params)
    return count if off < offset + _room(target.btf, target.proto.type) else count + 1


def _room(btf: Btf, type_id: int) -> int:
    type_ = btf.resolved(type_id)
    if isinstance(type_, Ptr):
        return 8
    return -(-getattr(type_, "size", 0) // 8) * 8


def _is_scalar(env: Env, type_: Type) -> bool:
    if isinstance(type_, Union):
        return env.rules.unions_are_numbers
    return isinstance(type_, (Enum, Enum64, Struct)) or (isinstance(type_, Int) and type_.size in (1, 2, 4, 8))


def _result(env: Env, target: Target, number: int, size: int) -> Reg | None:
    attach = target.attach
    if attach == "BPF_MODIFY_RETURN":
        type_ = target.btf.resolved(target.proto.type)
        if not (isinstance(type_, Int) and type_.size in (1, 2, 4, 8)):
            env.say(f"ret type {kind_name(type_)} not allowed for fmod_ret\n")
            return None
    elif attach not in ("BPF_LSM_MAC", "BPF_LSM_CGROUP", "BPF_TRACE_FEXIT"):
        env.say(f"func '{target.name}' doesn't have {number + 1}-th argument\n")
        return None
    found = _typed(env, target, 8 * number, size, number, target.proto.type, "")
    if found is not None and found.type == SCALAR_VALUE and attach == "BPF_LSM_MAC" and not target.is_void:
        limits = return_range(env, target)
        assert limits is not None
        low, high = limits
        bounds = found.bounds
        signed = (bounds.r64[0], bounds.r64[1], low, high)
        return found.with_bounds(sync(bounds.bits, signed, (0, 0xFFFFFFFF, low, high)))
    return found


def _argument(env: Env, target: Target, off: int, size: int, number: int) -> Reg | None:
    param = target.params[number]
    return _typed(env, target, off, size, number, param.type, param.name)


def _typed(env: Env, target: Target, off: int, size: int, number: int, type_id: int, param: str) -> Reg | None:
    """A value of a type as the context holds it."""
    btf, name = target.btf, target.name
    type_ = btf.resolved(type_id)
    if _is_scalar(env, type_):
        return env.unknown
    if not isinstance(type_, Ptr):
        shown = type_.name or "(anon)"
        env.say(
            f"func '{name}' arg{number} '{shown}' has type {kind_name(type_)}. Only pointer access is allowed\n"
        )
        return None
    if size != 8:
        env.say(f"func '{name}' size {size} must be 8\n")
        return None
    known = target.pointers.get(off)
    if known is not None and known[0] & BASE_MASK == PTR_TO_BUF:
        return Reg(known[0], ZERO, id_=env.new_id())
    pointed = btf.resolved(type_.type)
    if isinstance(pointed, Int) or type_.type == 0 or (isinstance(pointed, Void) and env.rules.leaf_pointers):
        return env.unknown
    if known is not None:
        return _pointer(env, btf, known[0], known[1])
    flags = PTR_TRUSTED if target.trusted else 0
    if param.endswith("__nullable"):
        flags |= PTR_MAYBE_NULL
    if target.ctx_type:
        return _context_of(env, target, type_, number, flags)
    is_error = False
    if target.attach == "BPF_TRACE_RAW_TP":
        rules = tracepoint_arguments(name, env.program.version)
        if number in rules.nullable:
            flags |= PTR_MAYBE_NULL
        is_error = number in rules.errors
    tag = btf.type(type_.type)
    if isinstance(tag, TypeTag):
        flags |= pointer_tag(btf, type_) & ~MEM_RCU
    struct_id = btf.resolve(type_.type)
    struct = btf.type(struct_id)
    if not isinstance(struct, (Struct, Union)):
        env.say(f"func '{name}' arg{number} type {kind_name(struct)} is not a struct\n")
        return None
    env.say(
        f"func '{name}' arg{number} has btf_id {struct_id} type {kind_name(struct)} '{struct.name or '(anon)'}'\n"
    )
    if is_error:
        env.say(f"marking pointer arg{number} as scalar as it may encode error")
        return env.unknown
    if target.ops is not None and struct.name == target.ops.promoted[0] and not flags & ~(PTR_TRUSTED):
        struct_id = btf.find(target.ops.promoted[1], Kind.STRUCT) or struct_id
    return _pointer(env, btf, PTR_TO_BTF_ID | flags, struct_id)


def _context_of(env: Env, target: Target, pointer: Ptr, number: int, flags: int) -> Reg | None:
    """A pointer argument of a program's function: only to the context, which is the kernel's own struct then."""
    if not arguments.is_context(target.btf, pointer, target.ctx_type):
        return None
    kernel = env.kernel_btf("programs that look at the context of the program that they are attached to")
    type_id = kernel_context(kernel, target.ctx_type)
    if not type_id:
        row = PROG_TYPE_BY_ID[target.ctx_type]
        raise NotSupported(f"the context of {row.short} programs", "this kernel's BTF does not tell it")
    return _pointer(env, kernel, PTR_TO_BTF_ID | flags, type_id)


def _pointer(env: Env, btf: Btf, type_: int, struct_id: int) -> Reg:
    id_ = env.new_id() if type_ & PTR_MAYBE_NULL else 0
    return Reg(type_, ZERO, id_=id_, btf=btf, btf_id=struct_id)



def netfilter(env: Env, off: int) -> Reg:
    """A member of struct bpf_nf_ctx (Linux 6.12 net/netfilter/nf_bpf_link.c: nf_is_valid_access)."""
    btf = env.kernel_btf("netfilter programs that look into their context")
    struct = "nf_hook_state" if off == 0 else "sk_buff"
    return _pointer(env, btf, PTR_TO_BTF_ID | PTR_TRUSTED, btf.find(struct, Kind.STRUCT) or 0)
