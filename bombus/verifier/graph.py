"""Objects that programs allocate, and the lists and trees that own them.

Linux 6.12 kernel/bpf/verifier.c: process_kf_arg_ptr_to_graph_root, process_kf_arg_ptr_to_graph_node,
ref_convert_owning_non_owning, invalidate_non_owning_refs, set_rbtree_add_callback_state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.bits import s64
from bombus.btf.parse import Btf
from bombus.verifier import btf_walk, records, refs
from bombus.verifier.env import EFAULT, EINVAL, Env
from bombus.verifier.program import Field
from bombus.verifier.regs import (
    BASE_MASK,
    MEM_ALLOC,
    MEM_RCU,
    NON_OWN_REF,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_VALUE,
    UNINIT,
    ZERO,
    Reg,
)
from bombus.verifier.state import Frame

if TYPE_CHECKING:
    from bombus.verifier.kfunc_args import Meta
    from bombus.verifier.kfuncs import Kfunc

INSERTING: Final = frozenset(("bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_rbtree_add_impl"))
_POPPING: Final = frozenset(("bpf_list_pop_front", "bpf_list_pop_back"))
_PEEKING: Final = frozenset(("bpf_list_front", "bpf_list_back"))
_TREE_WALK: Final = frozenset(("bpf_rbtree_first", "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right"))
_TREE: Final = _TREE_WALK | {"bpf_rbtree_add_impl", "bpf_rbtree_remove"}
# What returns a node, and of these what does not hand it over.
RETURNING: Final = _POPPING | _PEEKING | _TREE_WALK | {"bpf_rbtree_remove"}
LOOKING: Final = _PEEKING | _TREE_WALK
ALLOCATING: Final = frozenset(("bpf_obj_new_impl", "bpf_percpu_obj_new_impl", "bpf_refcount_acquire_impl"))
FUNCTIONS: Final = INSERTING | RETURNING | {"bpf_refcount_acquire_impl"}
_OBJECT: Final = PTR_TO_BTF_ID | MEM_ALLOC
_ROOTS: Final = {"list_head": "bpf_list_head", "rb_root": "bpf_rb_root"}
_NODES: Final = {"list_node": "bpf_list_node", "rb_node": "bpf_rb_node"}


def is_object(reg: Reg) -> bool:
    """Whether a register points to an object that the program allocated (type_is_ptr_alloc_obj)."""
    return reg.type & BASE_MASK == PTR_TO_BTF_ID and bool(reg.type & MEM_ALLOC)


def fields_of(env: Env, reg: Reg) -> tuple[Field, ...]:
    """The special fields of a map value or of an allocated object."""
    if reg.type & BASE_MASK == PTR_TO_MAP_VALUE and reg.map is not None:
        return reg.map.fields
    if is_object(reg) and reg.btf is not None:
        return records.of_object(reg.btf, reg.btf_id, env.program.version)
    return ()


def may_hold_lock(env: Env, reg: Reg) -> bool:
    return records.has_lock(fields_of(env, reg))


def _holder(reg: Reg) -> object:
    return reg.map if reg.type == PTR_TO_MAP_VALUE else reg.btf


def _is_locked(env: Env, reg: Reg) -> bool:
    """Whether the lock that is held lies in the same allocation (check_reg_allocation_locked)."""
    if reg.type not in (PTR_TO_MAP_VALUE, _OBJECT):
        env.defect("unknown reg type for lock check")
    lock = env.state.lock
    if lock is None:
        return False
    if lock[0] is not _holder(reg) or lock[1] != reg.id:
        env.say("held lock and object are not in the same allocation\n")
        return False
    return True


def _root(env: Env, meta: Meta, i: int, kind: str) -> None:
    regno = i + 1
    reg = env.regs[regno]
    if reg.type not in (PTR_TO_MAP_VALUE, _OBJECT):
        env.fail(EINVAL, f"arg#{i} expected pointer to map value or allocated object")
    if reg.type == _OBJECT and not reg.ref_id:
        env.fail(EINVAL, "allocated object must be referenced")
    name = _ROOTS[kind]
    if reg.bounds.bits[1]:
        env.fail(EINVAL, f"R{regno} doesn't have constant offset. {name} has to be at the constant offset")
    fields = fields_of(env, reg)
    at = reg.off + s64(reg.bounds.bits[0])
    found = next((field for field in fields if field.kind == kind and field.offset == at), None)
    if found is None:
        env.fail(EINVAL, f"{name} not found at offset={at & 0xFFFFFFFF}")
    if not _is_locked(env, reg):
        lock = next((field.offset for field in fields if field.kind == "spin_lock"), -22)
        env.fail(EINVAL, f"bpf_spin_lock at off={lock} must be held for {name}")
    meta.field = found
    meta.holder = reg.map.btf if reg.map is not None else reg.btf


def list_head(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    _root(env, meta, i, "list_head")


def rb_root(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    _root(env, meta, i, "rb_root")


def _node(env: Env, meta: Meta, i: int, kind: str, root_kind: str) -> None:
    regno = i + 1
    reg = env.regs[regno]
    name = _NODES[kind]
    if reg.bounds.bits[1]:
        env.fail(EINVAL, f"R{regno} doesn't have constant offset. {name} has to be at the constant offset")
    at = reg.off + s64(reg.bounds.bits[0])
    if not any(field.kind == kind and field.offset == at for field in fields_of(env, reg)):
        env.fail(EINVAL, f"{name} not found at offset={at & 0xFFFFFFFF}")
    root = meta.field
    assert root is not None and meta.holder is not None and reg.btf is not None
    wanted = meta.holder.type(root.value_id).name
    if not btf_walk.matches(
        env, reg.btf, reg.btf_id, 0, meta.holder, root.value_id, strict=True, flexible=not reg.type & MEM_ALLOC
    ):
        env.fail(
            EINVAL,
            f"operation on {_ROOTS[root_kind]} expects arg#1 {name} at offset={root.node_offset} in struct {wanted}, "
            f"but arg is at offset={at} in struct {reg.btf.type(reg.btf_id).name}",
        )
    meta.arg_btf, meta.arg_btf_id = reg.btf, reg.btf_id
    if at != root.node_offset:
        env.fail(
            EINVAL, f"arg#1 offset={at}, but expected {name} at offset={root.node_offset} in struct {wanted}"
        )


def _owned(env: Env, i: int) -> None:
    reg = env.regs[i + 1]
    if reg.type != _OBJECT:
        env.fail(EINVAL, f"arg#{i} expected pointer to allocated object")
    if not reg.ref_id:
        env.fail(EINVAL, "allocated object must be referenced")


def list_node(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    _owned(env, i)
    _node(env, meta, i, "list_node", "list_head")


def rb_node(env: Env, meta: Meta, i: int, _target_id: int) -> None:
    name = meta.kfunc.name
    if name == "bpf_rbtree_add_impl":
        _owned(env, i)
    else:
        reg = env.regs[i + 1]
        later = env.rules.refs_in_state
        if later and not reg.type & NON_OWN_REF and not reg.ref_id:
            env.fail(EINVAL, f"{name} can only take non-owning or refcounted bpf_rb_node pointer")
        if not later and (not reg.type & NON_OWN_REF or reg.ref_id):
            env.fail(EINVAL, "rbtree_remove node input must be non-owning ref")
        if in_less_callback(env):
            env.fail(EINVAL, f"{name if later else 'rbtree_remove'} not allowed in rbtree cb")
    _node(env, meta, i, "rb_node", "rb_root")


# Ownership.


def not_owning(env: Env, reg: Reg) -> Reg:
    """A pointer that stays valid while the lock is held (ref_set_non_owning)."""
    if env.state.lock is None:
        env.defect("ref_set_non_owning w/o active lock")
    if reg.type & NON_OWN_REF:
        env.defect("NON_OWN_REF already set")
    counted = any(field.kind == "refcount" for field in fields_of(env, reg))
    return reg.but(type_=reg.type | NON_OWN_REF | (MEM_RCU if counted else 0))


def inserted(env: Env, kfunc: Kfunc) -> None:
    """A list or tree took a node: the program's pointers to it are no longer owners."""
    id_ = env.regs[2].ref_id
    if not id_:
        env.say("verifier internal error: ref_obj_id is zero for owning -> non-owning conversion\n")
        env.fail(EFAULT, f"kfunc {kfunc.name}#{kfunc.type_id} conversion of owning ref to non-owning failed")

    def change(reg: Reg) -> Reg | None:
        return not_owning(env, reg.but(ref_id=0)) if reg.ref_id == id_ else None

    if any(ref.id == id_ for ref in env.references(env.frame)):
        refs.replace_all(env, change)
    else:
        env.say("verifier internal error: ref state missing for ref_obj_id\n")
        env.fail(EFAULT, f"kfunc {kfunc.name}#{kfunc.type_id} conversion of owning ref to non-owning failed")
    if not refs.release(env, id_):
        env.fail(EINVAL, f"kfunc {kfunc.name}#{kfunc.type_id} reference has not been acquired before")


def unlocked(env: Env) -> None:
    """The lock is gone, and with it what only it kept valid (invalidate_non_owning_refs)."""
    refs.replace_all(env, lambda reg: env.invalid() if reg.type & NON_OWN_REF else None)


def _node_reg(field: Field, btf: Btf) -> Reg:
    return Reg(_OBJECT, ZERO, field.node_offset, btf=btf, btf_id=field.value_id)


def node_of(env: Env, meta: Meta) -> Reg:
    """The node that a list or tree gives."""
    assert meta.field is not None and meta.holder is not None
    return _node_reg(meta.field, meta.holder)


def set_up_less(env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    """The comparing callback of bpf_rbtree_add sees two nodes that the tree owns."""
    root = caller.regs[1]
    at = root.off
    field = next((f for f in fields_of(env, root) if f.kind == "rb_root" and f.offset == at), None)
    btf = root.map.btf if root.map is not None else root.btf
    if field is None or btf is None or not field.value_id:
        env.fail(EFAULT)
    callee.regs[1] = not_owning(env, _node_reg(field, btf))
    callee.regs[2] = not_owning(env, _node_reg(field, btf))
    for i in (3, 4, 5):
        callee.regs[i] = UNINIT
    callee.in_callback = True
    callee.return_range = (0, 1)


def in_less_callback(env: Env) -> bool:
    """Whether a comparing callback of a tree runs, which runs under the tree's lock."""
    for frame in env.state.frames[1:]:
        if frame.in_callback:
            insn = env.insns[frame.callsite]
            kfunc = env.kfuncs.get((insn.imm, insn.off))
            if kfunc is not None and kfunc.name in _TREE:
                return True
    return False
