"""Programs that attach to functions of other programs: fentry and fexit of them, and extensions that replace one.

Linux 6.12 kernel/bpf/verifier.c: bpf_check_attach_target, check_attach_btf_id; kernel/bpf/btf.c: btf_check_type_match,
btf_check_func_type_match, btf_translate_to_vmlinux.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import Enum, Enum64, Float, Func, FuncProto, Int, Kind, Ptr, Struct, Type, Union
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID
from bombus.verifier import btfkit
from bombus.verifier.attach import (
    RETURNING,
    TRAMPOLINES,
    Target,
    distill,
    kind_name,
)
from bombus.verifier.env import EFAULT, EINVAL, EOPNOTSUPP, Env, Subprog
from bombus.verifier.program import Function, Program, Refused, TargetProgram

_TRACING: Final = PROG_TYPE["BPF_PROG_TYPE_TRACING"].id
_EXT: Final = PROG_TYPE["BPF_PROG_TYPE_EXT"].id
_GLOBAL: Final = 1  # BTF_FUNC_GLOBAL
_WATCHING: Final = ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT")
# Types whose context is typed by what they attach to.
_BY_ARGUMENTS: Final = tuple(PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACING", "LSM", "STRUCT_OPS"))
_SIZED: Final = (Int, Enum, Enum64, Struct, Union, Float)
NOT_OF_KERNEL: Final = "(program)"
"""Stands for the function where helpers depend on its name: those of programs are in no list of the kernel's."""


def check(env: Env) -> Target | None:
    """The target of a program that names another program; Refused when it does not fit.

    An extension is verified from here on as a program of its target's type: it has a target of its own (what is
    returned) only where the context of such programs is made of the arguments of what they attach to.
    """
    target = env.program.target
    assert target is not None
    extension = env.program.prog_type == _EXT
    if not env.program.attach_btf_id:
        env.fail(EINVAL, "Tracing programs must provide btf_id")
    btf, name, function, proto = _fitting(env, target, extension)
    ret_size = distill(env, btf, proto, name) if not function.unreliable else 8
    row = ATTACH_TYPE_BY_ID.get(env.program.expected_attach_type)
    attach = row.name if row is not None else ""
    if ret_size > 8 and attach in RETURNING:
        env.fail(
            EOPNOTSUPP, f"Attach to function {name} with a >8 byte return value is not supported for this attach type"
        )
    if env.sleepable:
        env.fail(EINVAL, f"{name} is not sleepable")
    if attach == "BPF_MODIFY_RETURN" and not extension:
        env.fail(EINVAL, "can't modify return codes of BPF programs")
    ctx_type = target.extends or target.prog_type
    if extension:
        extended = target.prog_type
        env.program = replace(
            env.program, prog_type=extended, expected_attach_type=target.expected_attach_type
        )
        env.extends = True
        if extended not in _BY_ARGUMENTS:
            return None
        row = ATTACH_TYPE_BY_ID.get(target.expected_attach_type)
        attach = row.name if row is not None and extended != PROG_TYPE["BPF_PROG_TYPE_STRUCT_OPS"].id else ""
    return Target(name, attach, btf, proto, NOT_OF_KERNEL, ctx_type=ctx_type, unknown=function.unreliable)


def refusal(program: Program, main: Function) -> tuple[int, str] | None:
    """Why an extension that was verified for one target cannot be attached to another, as errno and message.

    main: what is known of its main function.
    """
    env = Env(replace(program, log_level=1))
    env.subprogs = [Subprog(0, changes_packet=main.changes_packet, might_sleep=main.might_sleep)]
    target = program.target
    assert target is not None
    try:
        btf, name, _function, proto = _fitting(env, target, True)
        distill(env, btf, proto, name)
    except Refused as refused:
        return refused.errno, env.log.text().strip()
    return None


def _fitting(env: Env, target: TargetProgram, extension: bool) -> tuple[Btf, str, Function, FuncProto]:
    """The target's types, and the name, function and prototype there that programs of this kind may attach to."""
    type_id = env.program.attach_btf_id
    if target.btf is None:
        env.fail(EINVAL, "FENTRY/FEXIT program can only be attached to another program annotated with BTF")
    type_ = btfkit.type_or_none(target.btf, type_id)
    if type_ is None:
        env.fail(EINVAL, f"attach_btf_id {type_id} is invalid")
    number = next((i for i, one in enumerate(target.functions) if one.type_id == type_id), -1)
    if number < 0:
        env.fail(EINVAL, f"Subprog {type_.name} doesn't exist")
    function = target.functions[number]
    if len(target.functions) > 1 and number == target.exception_callback:
        env.fail(EINVAL, f"{'Extension' if extension else 'FENTRY/FEXIT'} programs cannot attach to exception callback")
    if extension:
        if function.unreliable:
            env.fail(EINVAL, "Cannot replace static functions")
        _no_new_effects(env, function)
    if not target.jited:
        env.fail(EINVAL, "Can attach to only JITed progs")
    if not extension and env.rules.traced_tracers:
        if target.traces:
            env.fail(EINVAL, "Cannot nest tracing program attach more than once")
    elif target.prog_type == env.program.prog_type:
        env.fail(EINVAL, "Cannot recursively attach")
    row = ATTACH_TYPE_BY_ID.get(target.expected_attach_type)
    if extension and target.prog_type == _TRACING and row is not None and row.name in _WATCHING:
        env.fail(EINVAL, "Cannot extend fentry/fexit")
    return target.btf, type_.name, function, _proto(env, target, type_, extension)


def _no_new_effects(env: Env, function: Function) -> None:
    main = env.subprogs[0]
    if env.rules.packet_effects and main.changes_packet and not function.changes_packet:
        env.fail(EINVAL, "Extension program changes packet data, while original does not")
    if env.rules.sleepable_effects and main.might_sleep and not function.might_sleep:
        env.fail(EINVAL, "Extension program may sleep, while original does not")


def _proto(env: Env, target: TargetProgram, type_: Type, extension: bool) -> FuncProto:
    row = ATTACH_TYPE_BY_ID.get(env.program.expected_attach_type)
    attach = row.name if row is not None else ""
    if not extension and attach == "BPF_TRACE_RAW_TP":
        env.fail(EINVAL, "Only FENTRY/FEXIT progs are attachable to another BPF prog")
    if not extension and attach != "BPF_TRACE_ITER" and attach not in TRAMPOLINES:
        env.fail(EINVAL)
    assert target.btf is not None
    if not isinstance(type_, Func):
        env.fail(EINVAL, f"attach_btf_id {env.program.attach_btf_id} is not a function")
    if extension:
        _same_kind(env, target.btf, type_)
    proto = target.btf.type(type_.type)
    if not isinstance(proto, FuncProto):
        env.fail(EINVAL)
    if attach == "BPF_TRACE_ITER" and not extension:
        env.fail(EINVAL)  # no iterator of the kernel is called so
    return proto


def _same_kind(env: Env, btf: Btf, other: Func) -> None:
    """An extension's main function has the same kind of arguments as what it replaces (btf_check_func_type_match)."""
    program = env.program
    if not program.func_info or program.btf is None:
        env.fail(EINVAL, "Program extension requires BTF")
    own_btf = program.btf
    own = own_btf.type(program.func_info[0].type_id)
    assert isinstance(own, Func)  # setup.check_functions
    for one in (own, other):
        if one.linkage != _GLOBAL:
            env.fail(EINVAL, f"{one.name}() is not a global function")
    own_proto, proto = own_btf.type(own.type), btf.type(other.type)
    if not isinstance(own_proto, FuncProto) or not isinstance(proto, FuncProto):
        env.fail(EFAULT)
    counts = len(own_proto.params), len(proto.params)
    if counts[0] != counts[1]:
        env.fail(EINVAL, f"{own.name}() has {counts[0]} args while {other.name}() has {counts[1]} args")
    result1, result2 = own_btf.resolved(own_proto.type), btf.resolved(proto.type)
    if _info(result1) != _info(result2):
        env.fail(
            EINVAL,
            f"Return type {kind_name(result1)} of {own.name}() doesn't match type {kind_name(result2)} of "
            f"{other.name}()",
        )
    for i, (left, right) in enumerate(zip(own_proto.params, proto.params, strict=True)):
        _same_argument(env, i, (own.name, own_btf, left.type), (other.name, btf, right.type))


def _same_argument(env: Env, i: int, own: tuple[str, Btf, int], other: tuple[str, Btf, int]) -> None:
    (name1, btf1, id1), (name2, btf2, id2) = own, other
    type1, type2 = btf1.resolved(id1), btf2.resolved(id2)
    if _info(type1) != _info(type2):
        env.fail(EINVAL, f"arg{i} in {name1}() is {kind_name(type1)} while {name2}() has {kind_name(type2)}")
    if isinstance(type1, _SIZED) and isinstance(type2, _SIZED) and type1.size != type2.size:
        env.fail(EINVAL, f"arg{i} in {name1}() has size {type1.size} while {name2}() has {type2.size}")
    if isinstance(type1, (Int, Enum, Enum64)):
        return
    if not isinstance(type1, Ptr) or not isinstance(type2, Ptr):
        env.fail(EINVAL, f"arg{i} in {name1}() has unrecognized type")
    struct1, struct2 = btf1.resolved(type1.type), btf2.resolved(type2.type)
    for name, struct in ((name1, struct1), (name2, struct2)):
        if not isinstance(struct, (Struct, Union)):
            env.fail(EINVAL, f"arg{i} in {name}() is not a pointer to context")
    if struct1.name != struct2.name:
        env.fail(EINVAL, f"arg{i} {name1}(struct {struct1.name} *) doesn't match {name2}(struct {struct2.name} *)")


def _info(type_: Type) -> tuple[object, ...]:
    """What is in a type's `info` word: its kind, its number of members, its flag."""
    members = getattr(type_, "members", getattr(type_, "values", ()))
    return type_.kind, len(members), getattr(type_, "signed", False) if isinstance(type_, (Enum, Enum64)) else False


def kernel_context(btf: Btf, prog_type: int) -> int:
    """The id of the kernel's own type behind the context of programs of a type (find_kern_ctx_type_id); 0: none."""
    found = btf.find("bpf_ctx_convert", Kind.STRUCT)
    pairs = btf.type(found) if found is not None else None
    members = pairs.members if isinstance(pairs, Struct) else ()
    name = f"{PROG_TYPE_BY_ID[prog_type].name}_kern"
    return next((member.type for member in members if member.name == name), 0)
