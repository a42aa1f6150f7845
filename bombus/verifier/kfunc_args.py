"""Arguments of kernel functions, by their BTF: suffixes of their names say what their types do not.

Linux 6.12 kernel/bpf/verifier.c: check_kfunc_args, get_kfunc_ptr_arg_type; Documentation/bpf/kfuncs.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bombus.bits import s64
from bombus.btf.parse import Btf
from bombus.btf.types import Enum, Enum64, FuncProto, Int, Kind, Param, Ptr, Struct, Type, Union, Void
from bombus.errors import BtfError, NotSupported
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.verifier import arguments, btf_walk, dynptr, graph, helper_args, irqflags, iters, locks, records, stack
from bombus.verifier.attach import kind_name
from bombus.verifier.attach_prog import kernel_context
from bombus.verifier.env import EACCES, EINVAL, READ, WRITE, Env
from bombus.verifier.kfuncs import MAX_ARGS, RES_LOCKS, Kfunc, scalars_only
from bombus.verifier.precision import mark_precise
from bombus.verifier.program import Field, MapInfo, Refused
from bombus.verifier.regs import (
    BASE_MASK,
    CONST_PTR_TO_DYNPTR,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    NON_OWN_REF,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_VALUE,
    SCALAR_VALUE,
    Reg,
    type_name,
)
from bombus.verifier.trust import KERNEL_STRUCTS, TRUSTED_FLAGS, has_unsafe_flags, is_trusted

_SCALARS: Final = (Int, Enum, Enum64)
_DYNPTR_MAKERS: Final = {
    "bpf_dynptr_from_skb": "skb", "bpf_dynptr_from_xdp": "xdp", "bpf_dynptr_from_skb_meta": "skb_meta",
}  # fmt: skip
_PROJECTIONS: Final = {"__sk_buff": "sk_buff", "xdp_md": "xdp_buff"}
# Kinds of pointer arguments by the struct that they point to.
_BY_STRUCT: Final = {
    "bpf_dynptr": "dynptr", "bpf_list_head": "list_head", "bpf_list_node": "list_node", "bpf_rb_root": "rb_root",
    "bpf_rb_node": "rb_node", "bpf_wq": "wq", "bpf_task_work": "task_work",
    "bpf_res_spin_lock": "res_lock",
}  # fmt: skip


class Meta:
    """What the arguments of one call told."""

    __slots__ = (
        "arg_btf",
        "arg_btf_id",
        "constant",
        "dynptr_id",
        "dynptr_kind",
        "dynptr_ref_id",
        "field",
        "has_constant",
        "holder",
        "iter_frame",
        "iter_slot",
        "kfunc",
        "map",
        "map_uid",
        "owning",
        "ref_id",
        "release_reg",
        "result_id",
        "result_read_only",
        "result_size",
        "subprog",
    )

    def __init__(self, kfunc: Kfunc) -> None:
        self.kfunc = kfunc
        self.arg_btf: Btf | None = None  # of an allocated object that was passed
        self.arg_btf_id = 0
        self.constant = 0
        self.has_constant = False
        self.dynptr_id = 0
        self.dynptr_kind = ""
        self.dynptr_ref_id = 0
        self.field: Field | None = None  # the list head or tree root
        self.holder: Btf | None = None  # of what has the field
        self.iter_frame = 0
        self.iter_slot = 0
        self.map: MapInfo | None = None
        self.map_uid = 0
        self.owning = False
        self.ref_id = 0
        self.release_reg = 0
        self.result_id = 0
        self.result_size = 0
        self.result_read_only = False
        self.subprog = 0


def check(env: Env, meta: Meta) -> None:
    kfunc = meta.kfunc
    params = kfunc.params
    if len(params) > MAX_ARGS:
        env.fail(EINVAL, f"Function {kfunc.name} has {len(params)} > {MAX_ARGS} args")
    skip = False
    for i, param in enumerate(params):
        env.note_stack_argument(i + 1)
        if skip:
            skip = False
            continue
        if param.name.endswith("__ign"):
            continue
        if param.name.endswith("__prog"):  # the kernel fills it in
            continue
        type_ = kfunc.btf.resolved(param.type)
        if isinstance(type_, _SCALARS):
            _scalar(env, meta, i, param)
        elif isinstance(type_, Ptr):
            skip = _pointer(env, meta, i, param, type_)
        else:
            env.fail(EINVAL, f"Unrecognized arg#{i} type {kind_name(type_)}")
    if "release" in kfunc.flags and not meta.release_reg:
        env.fail(EINVAL, f"release kernel function {kfunc.name} expects refcounted PTR_TO_BTF_ID")


def _constant(env: Env, meta: Meta, regno: int) -> None:
    reg = env.regs[regno]
    if meta.has_constant:
        env.defect("only one constant argument permitted")
    if reg.bounds.bits[1]:
        env.fail(EINVAL, f"R{regno} must be a known constant")
    meta.has_constant = True
    meta.constant = reg.bounds.bits[0]


def _scalar(env: Env, meta: Meta, i: int, param: Param) -> None:
    regno = i + 1
    reg = env.regs[regno]
    if reg.type != SCALAR_VALUE:
        env.fail(EINVAL, f"R{regno} is not a scalar")
    if param.name.endswith("__k"):
        _constant(env, meta, regno)
        mark_precise(env, regno)
    elif param.name in ("rdonly_buf_size", "rdwr_buf_size"):
        meta.result_read_only |= param.name == "rdonly_buf_size"
        if meta.result_size:
            env.say("2 or more rdonly/rdwr_buf_size parameters for kfunc")
            env.fail(EINVAL)
        if reg.bounds.bits[1]:
            env.fail(EINVAL, f"R{regno} is not a const")
        meta.result_size = reg.bounds.bits[0]
        if meta.result_size >> 32:
            env.fail(EINVAL, f"R{regno} rdonly/rdwr_buf_size exceeds u32 max")
        mark_precise(env, regno)


def _pointer(env: Env, meta: Meta, i: int, param: Param, pointer: Ptr) -> bool:
    """A pointer argument. True when the next argument is its size and was looked at, too."""
    kfunc = meta.kfunc
    btf = kfunc.btf
    regno = i + 1
    reg = env.regs[regno]
    releases = "release" in kfunc.flags
    rcu = "rcu" in kfunc.flags
    if (kfunc.trusted_args or rcu) and (stack.is_null(reg) or reg.type & PTR_MAYBE_NULL) \
            and not param.name.endswith("__nullable"):
        env.fail(EACCES, f"Possibly NULL pointer passed to trusted arg{i}")
    if reg.ref_id:
        if releases and meta.ref_id:
            env.defect(f"more than one arg with ref_obj_id R{regno} {reg.ref_id} {meta.ref_id}")
        meta.ref_id = reg.ref_id
        if releases:
            meta.release_reg = regno
    target_id = btf_walk.target_of(btf, pointer)
    target = btf.type(target_id)
    kind = _kind(env, meta, i, pointer, target)
    if kind == "null":
        return False
    if kind == "map":
        _map(env, meta, regno)
    if kind in ("map", "alloc", "typed") and (kfunc.trusted_args or rcu) and not is_trusted(reg):
        if not rcu:
            env.fail(EINVAL, f"R{regno} must be referenced or trusted")
        if not reg.type & MEM_RCU:
            env.fail(EINVAL, f"R{regno} must be a rcu pointer")
    helper_args.check_offset(env, reg, regno, release=releases and bool(reg.ref_id))
    if kind == "map":
        target_id = btf.find("bpf_map", Kind.STRUCT) or 0
        kind = "typed"
    if kind == "typed":
        _typed(env, meta, i, target_id)
    elif kind == "mem_size":
        _memory_and_size(env, meta, i)
        return True
    else:
        _KINDS[kind](env, meta, i, target_id)
    return False


def _kind(env: Env, meta: Meta, i: int, pointer: Ptr, target: Type) -> str:
    """What kind of argument the function wants, mostly by its BTF (get_kfunc_ptr_arg_type)."""
    kfunc = meta.kfunc
    btf = kfunc.btf
    param = kfunc.params[i]
    reg = env.regs[i + 1]
    _, marked, suffix = param.name.rpartition("__")
    if not marked:
        suffix = ""
    if kfunc.name == "bpf_cast_to_kern_ctx" or arguments.is_context(btf, pointer, env.program.prog_type):
        return "ctx"
    if suffix == "nullable" and stack.is_null(reg):
        return "null"
    if suffix == "alloc":
        return "alloc"
    if suffix == "refcounted_kptr" or param.name.endswith("__refcounted_kptr"):
        return "refcounted"
    by_struct = _BY_STRUCT.get(target.name, "") if isinstance(target, Struct) else ""
    if by_struct == "dynptr":
        return by_struct
    if (kfunc.flags & {"iter_new", "iter_next", "iter_destroy"} and i == 0) or suffix == "iter":
        return "iter"
    if by_struct and by_struct not in ("wq", "task_work"):
        return by_struct
    if suffix == "str":
        return "const_str"
    if suffix == "map":
        return "map"
    if suffix == "irq_flag":
        return suffix
    if by_struct:
        return by_struct
    base = reg.type & BASE_MASK
    if base == PTR_TO_BTF_ID or base in KERNEL_STRUCTS:
        if not isinstance(target, (Struct, Union)):
            env.fail(
                EINVAL,
                f"kernel function {kfunc.name} args#{i} pointer type {kind_name(target)} {target.name} "
                "is not supported",
            )
        return "typed"
    if isinstance(target, FuncProto):
        return "callback"
    sized = i + 1 < len(kfunc.params) and _is_size(env, btf, kfunc.params[i + 1], env.regs[i + 2])
    if not isinstance(target, _SCALARS) and not scalars_only(env, btf, target) and not (
        sized and isinstance(target, Void)
    ):
        env.fail(
            EINVAL,
            f"arg#{i} pointer type {kind_name(target)} {target.name} must point to "
            f"{'void, ' if sized else ''}scalar, or struct with scalar",
        )
    return "mem_size" if sized else "mem"


def _is_size(env: Env, btf: Btf, param: Param, reg: Reg) -> bool:
    return isinstance(btf.resolved(param.type), _SCALARS) and reg.type == SCALAR_VALUE \
        and param.name.endswith(("__sz", "__szk"))


def _map(env: Env, meta: Meta, regno: int) -> None:
    reg = env.regs[regno]
    if reg.map is None and reg.btf is None:
        env.fail(EINVAL, f"pointer in R{regno} isn't map pointer")
    work = reg.map is not None and records.has_field(reg.map, "task_work")
    if meta.map is not None and reg.map is not None and (work or records.has_field(reg.map, "wq")) and (
        meta.map is not reg.map or meta.map_uid != reg.map_uid
    ):
        if work:
            env.fail(
                EINVAL,
                f"bpf_task_work pointer in R2 map_uid={meta.map_uid} doesn't match map pointer in R3 "
                f"map_uid={reg.map_uid}",
            )
        env.fail(
            EINVAL,
            f"workqueue pointer in R1 map_uid={meta.map_uid} doesn't match map pointer in R2 map_uid={reg.map_uid}",
        )
    meta.map, meta.map_uid = reg.map, reg.map_uid


def _context(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    reg = env.regs[i + 1]
    if reg.type != PTR_TO_CTX:
        env.fail(EINVAL, f"arg#{i} expected pointer to ctx, but got {type_name(reg.type)}")
    if meta.kfunc.name == "bpf_cast_to_kern_ctx":
        meta.result_id = _kernel_context(env, meta.kfunc.btf)


def _kernel_context(env: Env, btf: Btf) -> int:
    """The id of the kernel's own struct behind the program's context (get_kern_ctx_btf_id)."""
    row = PROG_TYPE_BY_ID[env.program.prog_type]
    type_id = kernel_context(btf, row.id)
    if not type_id:
        raise NotSupported(f"bpf_cast_to_kern_ctx in {row.short} programs", "the kernel's own context is not known")
    if not isinstance(btf.type(type_id), Struct):
        env.fail(EINVAL, f"kern ctx type id {type_id} is not a struct")
    return type_id


def _allocated(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    reg = env.regs[i + 1]
    wanted = {
        PTR_TO_BTF_ID | MEM_ALLOC: "bpf_obj_drop_impl",
        PTR_TO_BTF_ID | MEM_ALLOC | MEM_PERCPU: "bpf_percpu_obj_drop_impl",
    }.get(reg.type)
    if wanted is None:
        env.fail(EINVAL, f"arg#{i} expected pointer to allocated object")
    if meta.kfunc.name != wanted:
        env.fail(EINVAL, f"arg#{i} expected for {wanted}()")
    if not reg.ref_id:
        env.fail(EINVAL, "allocated object must be referenced")
    meta.arg_btf, meta.arg_btf_id = reg.btf, reg.btf_id


def _dynptr(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    regno = i + 1
    reg = env.regs[regno]
    name = meta.kfunc.name
    uninit = meta.kfunc.params[i].name.endswith("__uninit")
    kind = _DYNPTR_MAKERS.get(name, "")
    clone = 0
    if name == "bpf_dynptr_clone" and uninit:
        kind, clone = meta.dynptr_kind, meta.dynptr_ref_id
    dynptr.process(
        env, regno, uninit=uninit, read_only=reg.type == CONST_PTR_TO_DYNPTR, kind=kind, insn_idx=env.insn_idx,
        clone=clone, is_clone=name == "bpf_dynptr_clone" and uninit,
    )
    if not uninit:
        main = dynptr.of(env, reg)
        assert main is not None and main.dynptr is not None
        meta.dynptr_id, meta.dynptr_kind, meta.dynptr_ref_id = main.id, main.dynptr.kind, main.ref_id


def _iterator(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    if meta.kfunc.name == "bpf_iter_css_task_new":
        row = PROG_TYPE_BY_ID[env.program.prog_type].name
        iterates = env.target is not None and env.target.attach == "BPF_TRACE_ITER"
        if row != "BPF_PROG_TYPE_LSM" and not iterates and not (env.sleepable or env.state.in_sleepable):
            env.fail(EINVAL, "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs")
    iters.process(env, meta, i + 1)


def _typed(env: Env, meta: Meta, i: int, target_id: int) -> None:
    """A pointer to a struct of the kernel (process_kf_arg_ptr_to_btf_id)."""
    kfunc = meta.kfunc
    btf = kfunc.btf
    reg = env.regs[i + 1]
    base = reg.type & BASE_MASK
    if (base != PTR_TO_BTF_ID or (has_unsafe_flags(reg.type) and not reg.type & MEM_RCU)) \
            and base not in KERNEL_STRUCTS:
        expected = type_name(base | reg.type & TRUSTED_FLAGS)
        env.fail(EINVAL, f"arg#{i} is {type_name(reg.type)} expected {expected} or socket")
    if base == PTR_TO_BTF_ID:
        assert reg.btf is not None
        reg_btf, reg_id = reg.btf, reg.btf_id
    else:
        reg_btf, reg_id = btf, btf.find(KERNEL_STRUCTS[base], Kind.STRUCT) or 0
    wanted, given = btf.type(target_id), reg_btf.resolved(reg_id)
    strict = ("release" in kfunc.flags and bool(reg.ref_id)) or _no_cast(given.name, wanted.name)
    same = btf_walk.matches(
        env, reg_btf, reg_btf.resolve(reg_id), reg.off, btf, target_id, strict=strict,
        flexible=not reg.type & MEM_ALLOC,
    )
    if not same and _PROJECTIONS.get(wanted.name) != given.name:
        env.fail(
            EINVAL,
            f"kernel function {kfunc.name} args#{i} expected pointer to {kind_name(wanted)} {wanted.name} "
            f"but R{i + 1} has a pointer to {kind_name(given)} {given.name}",
        )


def _no_cast(given: str, wanted: str) -> bool:
    """Whether one name is the other with ___init: what is not set up yet is not to be taken for what is."""
    return len(given) != len(wanted) and (given == f"{wanted}___init" or wanted == f"{given}___init")


def _memory(env: Env, meta: Meta, i: int, target_id: int) -> None:
    btf = meta.kfunc.btf
    try:
        size = btf.size_of(target_id)
    except BtfError:
        target = btf.type(target_id)
        env.fail(
            EINVAL, f"arg#{i} reference type('{kind_name(target)} {target.name}') size cannot be determined: -22"
        )
    arguments.check_memory_argument(env, i + 1, env.regs[i + 1], size)


def _memory_and_size(env: Env, meta: Meta, i: int) -> None:
    from bombus.verifier.branch import without_null

    regno = i + 2
    regs = env.regs
    reg, size = regs[i + 1], regs[regno]
    params = meta.kfunc.params
    if not stack.is_null(reg) or not params[i].name.endswith("__opt"):
        if reg.type & PTR_MAYBE_NULL:
            regs[i + 1] = without_null(reg)
        try:
            for access in (READ, WRITE):
                helper_args.check_size(env, regno, size, access, zero_ok=True)
        except Refused as refused:
            env.say(f"arg#{i} arg#{i + 1} memory, len pair leads to invalid memory access\n")
            raise Refused(refused.errno, refused.insn) from None
        finally:
            if reg.type & PTR_MAYBE_NULL:
                env.regs[i + 1] = reg
    if params[i + 1].name.endswith("__szk"):
        _constant(env, meta, regno)


def _callback(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    reg = env.regs[i + 1]
    if reg.type != PTR_TO_FUNC:
        env.fail(EINVAL, f"arg{i} expected pointer to func")
    meta.subprog = reg.number


def _refcounted(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    reg = env.regs[i + 1]
    if not graph.is_object(reg):
        env.fail(EINVAL, f"arg#{i} is neither owning or non-owning ref")
    if not reg.type & NON_OWN_REF and reg.ref_id:
        meta.owning = True
    fields = graph.fields_of(env, reg)
    if not fields:
        env.defect("Couldn't find btf_record")
    if not any(field.kind == "refcount" for field in fields):
        env.fail(EINVAL, f"arg#{i} doesn't point to a type with bpf_refcount field")
    meta.arg_btf, meta.arg_btf_id = reg.btf, reg.btf_id


def _const_string(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    reg = env.regs[i + 1]
    if reg.type != PTR_TO_MAP_VALUE:
        env.fail(EINVAL, f"arg#{i} doesn't point to a const string")
    helper_args.check_string(env, i + 1, reg)


def _irq_flag(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    name = meta.kfunc.name
    saved_by = irqflags.LOCK if "res_spin" in name else irqflags.NATIVE
    (irqflags.save if name.endswith("save") else irqflags.restore)(env, i + 1, saved_by)


def _resilient_lock(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    if env.regs[i + 1].type not in (PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC):
        env.fail(EINVAL, f"arg#{i} doesn't point to map value or allocated object")
    name = meta.kfunc.name
    kind = locks.RESILIENT_IRQ if "irq" in name else locks.RESILIENT
    (locks.take if name in RES_LOCKS else locks.give)(env, i + 1, kind)


def _work_queue(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    _work(env, meta, i, "wq")


def _task_work(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    _work(env, meta, i, "task_work")


def _work(env: Env, meta: Meta, i: int, kind: str) -> None:
    """A field of a map's value that has work done later: a work queue, or work for a task."""
    reg = env.regs[i + 1]
    if reg.type != PTR_TO_MAP_VALUE or reg.map is None:
        env.fail(EINVAL, f"arg#{i} doesn't point to a map value")
    field = records.find(reg.map, kind)
    at = s64(reg.bounds.bits[0]) + reg.off
    if env.rules.fields_checked_alike:
        if reg.bounds.bits[1]:
            env.fail(EINVAL, f"R{i + 1} doesn't have constant offset. bpf_{kind} has to be at the constant offset")
        if reg.map.btf is None:
            env.fail(EINVAL, f"map '{reg.map.name}' has to have BTF in order to use bpf_{kind}")
        if field is None:
            env.fail(EINVAL, f"map '{reg.map.name}' has no valid bpf_{kind}")
    place = field.offset if field is not None else -22
    if place != at:
        env.fail(EINVAL, f"off {at} doesn't point to 'struct bpf_{kind}' that is at {place}")
    meta.map, meta.map_uid = reg.map, reg.map_uid


_KINDS: Final[dict[str, Callable[[Env, Meta, int, int], None]]] = {
    "ctx": _context,
    "alloc": _allocated,
    "refcounted": _refcounted,
    "dynptr": _dynptr,
    "iter": _iterator,
    "list_head": graph.list_head,
    "list_node": graph.list_node,
    "rb_root": graph.rb_root,
    "rb_node": graph.rb_node,
    "const_str": _const_string,
    "irq_flag": _irq_flag,
    "res_lock": _resilient_lock,
    "wq": _work_queue,
    "task_work": _task_work,
    "callback": _callback,
    "mem": _memory,
}
