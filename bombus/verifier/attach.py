"""What programs of types that attach through BTF are for: the function, tracepoint, hook or struct member.

Linux 6.12 kernel/bpf/verifier.c: check_attach_btf_id, bpf_check_attach_target, check_struct_ops_btf_id;
kernel/bpf/bpf_lsm.c: bpf_lsm_verify_prog; kernel/bpf/btf.c: btf_distill_func_proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NoReturn

from bombus.btf.parse import Btf
from bombus.btf.types import (
    Enum,
    Enum64,
    Func,
    FuncProto,
    Int,
    Kind,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
    Void,
)
from bombus.errors import BtfError, NotSupported
from bombus.spec import attachable
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.hooks import DISABLED_LSM_HOOKS, LSM_PREFIX, SLEEPABLE_LSM_HOOKS, UNTRUSTED_LSM_HOOKS
from bombus.spec.iterators import ITERATOR
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID
from bombus.spec.structops import STRUCT_OPS, StructOps
from bombus.verifier.env import EINVAL, ENOTSUPP, EOPNOTSUPP, Env
from bombus.verifier.regs import MEM_RDONLY, PTR_MAYBE_NULL, PTR_TO_BTF_ID, PTR_TO_BUF, PTR_TRUSTED

_TRACING: Final = PROG_TYPE["BPF_PROG_TYPE_TRACING"].id
_LSM: Final = PROG_TYPE["BPF_PROG_TYPE_LSM"].id
_EXT: Final = PROG_TYPE["BPF_PROG_TYPE_EXT"].id
_STRUCT_OPS: Final = PROG_TYPE["BPF_PROG_TYPE_STRUCT_OPS"].id
_SYSCALL: Final = PROG_TYPE["BPF_PROG_TYPE_SYSCALL"].id
# Program types that may sleep before Linux 6.2, whatever they attach to.
_SLEEPABLE_EARLY: Final = (_TRACING, _LSM, PROG_TYPE["BPF_PROG_TYPE_KPROBE"].id)
_MAX_ARGS: Final = 12
_MAX_ARG_SIZE: Final = 16
TRAMPOLINES: Final = ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN", "BPF_LSM_MAC", "BPF_LSM_CGROUP")
RETURNING: Final = ("BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN")  # those that get what the function returned
_TRACEPOINT_PREFIX: Final = "btf_trace_"
MAX_ERRNO: Final = 4095


@dataclass(slots=True)
class Target:
    """What a program is attached to. attach: the name of the attach type, "" for struct_ops.

    helpers_for: as `spec.helpers.allowed` names it. skipped: leading arguments that programs do not see.
    pointers: by offset in the context, the type and the struct (an id) of arguments that BTF does not tell all of.
    ctx_type: of a function of a program, the type whose context its argument may be. unknown: such a function may be
    called with anything.
    """

    name: str
    attach: str
    btf: Btf
    proto: FuncProto
    helpers_for: str
    skipped: int = 0
    trusted: bool = False
    pointers: dict[int, tuple[int, int]] = field(default_factory=dict)
    ops: StructOps | None = None
    ctx_type: int = 0
    unknown: bool = False

    @property
    def params(self) -> tuple[Param, ...]:
        return self.proto.params[self.skipped :]

    @property
    def is_void(self) -> bool:
        return self.proto.type == 0


def check(env: Env) -> None:
    """Find the target of the program, or refuse it."""
    program = env.program
    row = PROG_TYPE_BY_ID[program.prog_type]
    attach_row = ATTACH_TYPE_BY_ID.get(program.expected_attach_type)
    attach = attach_row.name if attach_row is not None else ""
    if row.id == _SYSCALL:
        if not env.sleepable:
            env.fail(EINVAL, "Syscall programs can only be sleepable")
        return
    if env.sleepable and not env.rules.sleepable_by_attach_type:
        if row.id not in _SLEEPABLE_EARLY:
            env.fail(EINVAL, "Only fentry/fexit/fmod_ret, lsm, and kprobe/uprobe programs can be sleepable")
    elif env.sleepable and not ("*" in row.sleepable or attach in row.sleepable):
        env.fail(
            EINVAL, "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable",
        )
    env.prototypes.clear()  # which helpers the program gets may depend on what it is attached to
    if program.target is not None:
        from bombus.verifier import attach_prog

        env.target = attach_prog.check(env)
        return
    if program.attach_prog and program.attach_btf_fd not in program.modules:
        raise NotSupported(
            "verification of programs that are attached to programs or kernel modules", "their types are not here"
        )
    if row.id == _STRUCT_OPS:
        _struct_ops(env)
    elif row.id in (_TRACING, _LSM, _EXT):
        env.target = _find(env, attach)


def _type(btf: Btf, type_id: int) -> Type | None:
    try:
        return btf.type(type_id)
    except BtfError:
        return None


def _kernel_types(env: Env, what: str) -> Btf:
    """The types that attach_btf_id is an id of: the kernel's or a module's."""
    btf = env.kernel_btf(what)
    return env.module_btf(env.program.attach_btf_fd, what) if env.program.attach_btf_fd else btf


def _find(env: Env, attach: str) -> Target:
    btf_id = env.program.attach_btf_id
    if not btf_id:
        env.fail(EINVAL, "Tracing programs must provide btf_id")
    btf = _kernel_types(env, f"{PROG_TYPE_BY_ID[env.program.prog_type].short} programs")
    type_ = _type(btf, btf_id)
    if type_ is None:
        env.fail(EINVAL, f"attach_btf_id {btf_id} is invalid")
    if not type_.name:
        env.fail(EINVAL, f"attach_btf_id {btf_id} doesn't have a name")
    if env.program.prog_type == _EXT:
        env.fail(EINVAL, "Cannot replace kernel functions")
    if attach == "BPF_TRACE_RAW_TP":
        return _tracepoint(env, btf, btf_id, type_)
    if attach != "BPF_TRACE_ITER" and attach not in TRAMPOLINES:
        env.fail(EINVAL)
    if not isinstance(type_, Func):
        env.fail(EINVAL, f"attach_btf_id {btf_id} is not a function")
    proto = btf.type(type_.type)
    if not isinstance(proto, FuncProto):
        env.fail(EINVAL)
    target = Target(type_.name, attach, btf, proto, type_.name)
    ret_size = distill(env, btf, proto, type_.name)
    if attach == "BPF_TRACE_ITER":
        _iterator(env, target)
        return target
    if ret_size > 8 and attach in RETURNING:
        env.fail(
            EOPNOTSUPP,
            f"Attach to function {type_.name} with a >8 byte return value is not supported for this attach type",
        )
    _trampoline(env, target)
    return target


def _tracepoint(env: Env, btf: Btf, btf_id: int, type_: Type) -> Target:
    if not isinstance(type_, Typedef):
        env.fail(EINVAL, f"attach_btf_id {btf_id} is not a typedef")
    if not type_.name.startswith(_TRACEPOINT_PREFIX):
        env.fail(EINVAL, f"attach_btf_id {btf_id} points to wrong type name {type_.name}")
    short = type_.name.removeprefix(_TRACEPOINT_PREFIX)
    # The function that is called has the names of the arguments; it is named after the event class, which may be
    # another name. Where it is not found, the names are missing, of which only the suffix __nullable matters.
    found = btf.find(f"__bpf_trace_{short}", Kind.FUNC)
    function = btf.type(found) if found is not None else btf.type(type_.type)
    assert isinstance(function, (Func, Ptr))
    proto = btf.type(function.type)
    if not isinstance(proto, FuncProto):
        env.fail(EINVAL)
    return Target(short, "BPF_TRACE_RAW_TP", btf, proto, short, skipped=1, trusted=True)


def _size(btf: Btf, type_id: int) -> tuple[int, Type]:
    """Bytes of an argument or result, -1 when it cannot be one; and its type."""
    if not type_id:
        return 0, Void()
    type_ = btf.resolved(type_id)
    if isinstance(type_, Ptr):
        return 8, type_
    if isinstance(type_, (Int, Enum, Enum64, Struct, Union)):
        return type_.size, type_
    return -1, type_


def kind_name(type_: Type) -> str:
    """How messages call a kind of type."""
    return "UNKNOWN" if isinstance(type_, Void) else Kind(type_.kind).name


def distill(env: Env, btf: Btf, proto: FuncProto, name: str) -> int:
    """Whether a trampoline can call for a function of that kind; bytes of its result."""
    if len(proto.params) > _MAX_ARGS:
        env.fail(EINVAL, f"The function {name} has {len(proto.params)} arguments. Too many.")
    ret_size, ret = _size(btf, proto.type)
    if ret_size < 0 or isinstance(ret, (Struct, Union)):
        env.fail(EINVAL, f"The function {name} return type {kind_name(ret)} is unsupported.")
    for i, param in enumerate(proto.params):
        if i == len(proto.params) - 1 and param.type == 0:
            env.fail(EINVAL, f"The function {name} with variable args is unsupported.")
        size, type_ = _size(btf, param.type)
        if not 0 <= size <= _MAX_ARG_SIZE:
            env.fail(EINVAL, f"The function {name} arg{i} type {kind_name(type_)} is unsupported.")
        if size == 0:
            env.fail(EINVAL, f"The function {name} has malformed void argument.")
    return ret_size


def _iterator(env: Env, target: Target) -> None:
    row = ITERATOR.get(target.name.removeprefix("bpf_iter_")) if target.name.startswith("bpf_iter_") else None
    if row is None or row.since > env.program.version:
        env.fail(EINVAL)
    target.trusted = True
    for pointer in row.pointers:
        if pointer.kind != "typed":
            read_only = MEM_RDONLY if pointer.kind == "buffer_rdonly" else 0
            target.pointers[pointer.offset] = (PTR_TO_BUF | PTR_MAYBE_NULL | read_only, 0)
            continue
        struct = target.btf.find(pointer.struct, Kind.STRUCT)
        trusted = PTR_TRUSTED if pointer.trusted else 0
        target.pointers[pointer.offset] = (PTR_TO_BTF_ID | PTR_MAYBE_NULL | trusted, struct or 0)


@lru_cache(maxsize=4)
def _hooks(btf: Btf) -> frozenset[str]:
    """The security hooks of a kernel: the members of its union of all their functions."""
    found = btf.find("security_list_options", Kind.UNION)
    union = btf.type(found) if found is not None else None
    return frozenset(member.name for member in union.members) if isinstance(union, Union) else frozenset()


def _trampoline(env: Env, target: Target) -> None:
    name, attach = target.name, target.attach
    lsm = env.program.prog_type == _LSM
    hook = name.removeprefix(LSM_PREFIX)
    # The function is there when CONFIG_FUNCTION_ERROR_INJECTION is.
    injection = target.btf.find("within_error_injection_list", Kind.FUNC) is not None
    if env.sleepable:
        may_sleep = hook in SLEEPABLE_LSM_HOOKS if lsm else attachable.sleepable(name, injection)
        if not may_sleep:
            env.fail(EINVAL, f"{name} is not sleepable")
    elif attach == "BPF_MODIFY_RETURN" and not attachable.modifiable(name, injection):
        env.fail(EINVAL, f"{name}() is not modifiable")
    if lsm:
        if not env.gpl:
            env.fail(EINVAL, "LSM programs must have a GPL compatible license")
        number = env.program.attach_btf_id
        if name.startswith(LSM_PREFIX) and hook in DISABLED_LSM_HOOKS:
            env.fail(EINVAL, f"attach_btf_id {number} points to disabled hook {name}")
        if not name.startswith(LSM_PREFIX) or hook not in _hooks(target.btf):
            env.fail(EINVAL, f"attach_btf_id {number} points to wrong type name {name}")
        target.trusted = hook not in UNTRUSTED_LSM_HOOKS
    elif name in attachable.DENIED:
        env.fail(EINVAL)
    elif attach in RETURNING and name in attachable.NEVER_RETURN:
        env.fail(EINVAL, "Attaching fexit/fmod_ret to __noreturn functions is rejected.")


def return_range(env: Env, target: Target) -> tuple[int, int] | None:
    """What r0 of a program may be at its end, of the attach types whose rule depends on the target; None: anything.

    Linux 6.12 kernel/bpf/bpf_lsm.c: bpf_lsm_get_retval_range.
    """
    if target.attach == "BPF_LSM_CGROUP":
        return (1, 1) if target.is_void else (0, 1)
    if target.attach == "BPF_LSM_MAC":
        if target.name.removeprefix(LSM_PREFIX) in attachable.BOOLEAN_LSM_HOOKS:
            return (0, 1)
        return (-MAX_ERRNO, 0)
    if target.attach in ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT"):
        return (0, 0)
    if target.attach == "BPF_TRACE_ITER":
        return (0, 1)
    return None


def _struct_ops(env: Env) -> None:
    program = env.program
    if not env.gpl:
        env.fail(EINVAL, "struct ops programs must have a GPL compatible license")
    if not program.attach_btf_id:
        env.fail(ENOTSUPP)
    btf = _kernel_types(env, "struct_ops programs")
    struct = _type(btf, program.attach_btf_id)
    if not isinstance(struct, Struct) or btf.find(f"bpf_struct_ops_{struct.name}", Kind.STRUCT) is None:
        env.fail(ENOTSUPP, f"attach_btf_id {program.attach_btf_id} is not a supported struct")
    row = STRUCT_OPS.get(struct.name)
    if row is None:
        raise NotSupported(f"verification of programs for struct {struct.name}", "bombus does not know its rules")
    number = program.expected_attach_type
    if number >= len(struct.members):
        env.fail(EINVAL, f"attach to invalid member idx {number} of struct {struct.name}")
    member = struct.members[number]
    pointer = btf.resolved(member.type)
    proto = btf.resolved(pointer.type) if isinstance(pointer, Ptr) else None
    if not isinstance(proto, FuncProto):
        env.fail(EINVAL, f"attach to invalid member {member.name}(@idx {number}) of struct {struct.name}")

    def unsupported(errno: int) -> NoReturn:
        env.fail(errno, f"attach to unsupported member {member.name} of struct {struct.name}")

    if member.name in row.unsupported:
        unsupported(ENOTSUPP)
    if env.sleepable and row.sleepable is not None and member.name not in row.sleepable:
        unsupported(EINVAL)
    target = Target(member.name, "", btf, proto, f"{struct.name}.{member.name}", trusted=True, ops=row)
    for name, argument in row.nullable:
        if name == member.name:
            pointed = btf.resolved(proto.params[argument].type)
            assert isinstance(pointed, Ptr)
            target.pointers[8 * argument] = (
                PTR_TO_BTF_ID | PTR_TRUSTED | PTR_MAYBE_NULL, btf.resolve(pointed.type)
            )
    env.target = target
