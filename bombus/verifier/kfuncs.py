"""Calls of kernel functions: what they are by BTF, whether the program may call them, and what they give back.

Linux 6.12 kernel/bpf/verifier.c: add_kfunc_call, fetch_kfunc_meta, check_kfunc_call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bombus.bits import s64, u32
from bombus.btf.parse import Btf
from bombus.btf.types import Enum, Enum64, Func, FuncProto, Int, Kind, Param, Ptr, Struct, Type, Union, Void
from bombus.errors import BtfError, NotSupported
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.spec.attachable import modifiable
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.kfuncs import KFUNC
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.verifier import btfkit, calls, graph, irqreg, iters, records, refs, regions
from bombus.verifier.attach import MAX_ERRNO, distill, kind_name
from bombus.verifier.bounds import sync
from bombus.verifier.btf_walk import target_of
from bombus.verifier.env import E2BIG, EACCES, EFAULT, EINVAL, EPROTO, WRITE, Env
from bombus.verifier.iterreg import IterReg, untrusted
from bombus.verifier.live import mark_read
from bombus.verifier.regs import (
    DYNPTR_FLAGS,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MEM,
    PTR_TRUSTED,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    UNINIT,
    ZERO,
    Dynptr,
    Reg,
)
from bombus.verifier.state import LIVE_READ32, LIVE_READ64, LIVE_WRITTEN, SPILL, Slot
from bombus.verifier.typed_access import in_rcu_section

if TYPE_CHECKING:
    from bombus.verifier.kfunc_args import Meta

_MAX_KFUNCS: Final = 256
MAX_ARGS: Final = 5
_MAX_PERCPU_OBJECT: Final = 512
# What may be called while a lock is held.
_UNDER_LOCK: Final = graph.FUNCTIONS
RES_LOCKS: Final = frozenset(("bpf_res_spin_lock", "bpf_res_spin_lock_irqsave"))
_UNDER_LOCK_LATER: Final = frozenset((
    "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy", "bpf_res_spin_unlock",
    "bpf_res_spin_unlock_irqrestore", *RES_LOCKS,
))  # fmt: skip
_DEVICE: Final = "bpf_xdp_metadata_rx_"  # what devices know of a frame, for programs bound to one
# By function: the attach types of the programs that may call it.
_ATTACHED_AS: Final = {
    "bpf_sock_destroy": ("BPF_TRACE_ITER",),
    "bpf_session_is_return": ("BPF_TRACE_KPROBE_SESSION", "BPF_TRACE_UPROBE_SESSION"),
    "bpf_session_cookie": ("BPF_TRACE_KPROBE_SESSION", "BPF_TRACE_UPROBE_SESSION"),
}
_MAY_VANISH: Final = "bpf_get_kmem_cache"  # what it returns is not kept alive
# Functions that have a callback run later, where it may sleep.
CALLING_LATER: Final = frozenset((
    "bpf_wq_set_callback_impl", "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl",
))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Kfunc:
    """One function that the program calls. flags: as in `spec.kfuncs`; allowed: programs of this type may call it."""

    name: str
    btf: Btf
    type_id: int
    proto: FuncProto
    flags: frozenset[str]
    allowed: bool

    @property
    def params(self) -> tuple[Param, ...]:
        return self.proto.params

    @property
    def trusted_args(self) -> bool:
        return "trusted_args" in self.flags or "release" in self.flags


def add(env: Env, insn: Insn) -> None:
    """Find the function of a call, before anything is verified."""
    btf = env.kernel_btf("calls of kernel functions")
    if not env.gpl:
        env.fail(EINVAL, "cannot call kernel function from non-GPL compatible program")
    number = insn.imm
    if not number and not insn.off:
        return
    if insn.off:
        btf = _module(env, insn.off)
    place = number, insn.off
    if place in env.kfuncs:
        return
    func = btfkit.type_or_none(btf, number)
    if not isinstance(func, Func):
        env.fail(EINVAL, f"kernel btf_id {number & 0xFFFFFFFF} is not a function")
    proto = btfkit.type_or_none(btf, func.type)
    if not isinstance(proto, FuncProto):
        env.fail(EINVAL, f"kernel function btf_id {number} does not have a valid func_proto")
    if func.name.startswith(_DEVICE):
        env.fail(EINVAL, "metadata kfuncs require device-bound program")
    if len(env.kfuncs) >= _MAX_KFUNCS:
        env.fail(E2BIG, "too many different kernel function calls")
    distill(env, btf, proto, func.name)
    row = KFUNC.get(func.name)
    if row is None and _is_kfunc(btf, number) and not modifiable(func.name, injection=False):
        raise NotSupported(f"verification of calls of {func.name}", "bombus does not know its rules")
    if row is not None and env.program.version in row:
        types = row.callers(env.program.version)
        allowed = not types or PROG_TYPE_BY_ID[env.program.prog_type].name in types
        attach = ATTACH_TYPE_BY_ID.get(env.program.expected_attach_type)
        if func.name in _ATTACHED_AS and (attach is None or attach.name not in _ATTACHED_AS[func.name]):
            allowed = False
        if not _is_kfunc(btf, number) and any("bpf_kfunc" in tags for tags in tags_of(btf).values()):
            allowed = False  # this kernel's configuration leaves it out
        env.kfuncs[place] = Kfunc(func.name, btf, number, proto, row.flags, allowed)
    else:
        env.kfuncs[place] = Kfunc(func.name, btf, number, proto, frozenset(), False)


def _module(env: Env, place: int) -> Btf:
    """The types of the module whose BTF stands in fd_array (find_kfunc_desc_btf)."""
    if place < 0:
        env.say("negative offset disallowed for kernel module function call\n")
        env.fail(EINVAL, "failed to find BTF for kernel function")
    array = env.program.fd_array
    if not array:
        env.say("kfunc offset > 0 without fd_array is invalid\n")
        env.fail(EPROTO, "failed to find BTF for kernel function")
    return env.module_btf(array[place] if place < len(array) else -1, "calls of kernel modules' functions")


def _is_kfunc(btf: Btf, number: int) -> bool:
    """Whether the kernel's BTF says that a function may be called by programs (from Linux 6.10 on)."""
    return "bpf_kfunc" in tags_of(btf).get(number, ())


_TAGS: dict[int, tuple[Btf, dict[int, list[str]]]] = {}


def tags_of(btf: Btf) -> dict[int, list[str]]:
    """Declaration tags of whole types, by the type's id; looked up once for each kernel."""
    kept = _TAGS.get(id(btf))
    if kept is None or kept[0] is not btf:
        found: dict[int, list[str]] = {}
        for i in btf.ids():
            if btf.kind(i) == Kind.DECL_TAG:
                tag = btf.type(i)
                if getattr(tag, "component", 0) < 0:
                    found.setdefault(getattr(tag, "type", 0), []).append(tag.name)
        _TAGS.clear()
        kept = _TAGS[id(btf)] = (btf, found)
    return kept[1]


def of(env: Env, insn: Insn) -> Kfunc | None:
    """What a call instruction calls; None for a call that cannot be one of a kernel function."""
    return env.kfuncs.get((insn.imm, insn.off)) if insn.src == 2 else None


def allowed_under_lock(env: Env, insn: Insn) -> bool:
    kfunc = of(env, insn)
    if kfunc is None:
        return False
    return kfunc.name in _UNDER_LOCK or (env.rules.refs_in_state and kfunc.name in _UNDER_LOCK_LATER)


def call(env: Env, insn: Insn) -> bool:
    """BPF_CALL of a kernel function. True when it does not return."""
    from bombus.verifier import kfunc_args

    kfunc = of(env, insn)
    if kfunc is None:  # number 0: a missing function, an error only if the call stays in the program
        if insn.imm == 0:
            return False
        env.fail(EINVAL)
    name = kfunc.name
    if not kfunc.allowed:
        env.fail(EACCES, f"calling kernel function {name} is not allowed")
    if name in RES_LOCKS:
        _not_locked(env)
    elif name == "__bpf_trap":
        env.fail(EFAULT, "unexpected __bpf_trap() due to uninitialized variable?")
    sleepable = "sleepable" in kfunc.flags
    if sleepable and not (env.sleepable or env.state.in_sleepable):
        env.fail(EACCES, f"program must be sleepable to call sleepable kfunc {name}")
    meta = kfunc_args.Meta(kfunc)
    kfunc_args.check(env, meta)
    if env.rules.rcu_required and "rcu_protected" in kfunc.flags and not in_rcu_section(env):
        env.fail(EACCES, f"kernel func {name} requires RCU critical section protection")
    if name == "bpf_rbtree_add_impl":
        calls.push(env, meta.subprog, graph.set_up_less)
    elif name in CALLING_LATER:
        set_up = calls.set_up_timer if name.startswith("bpf_wq") else calls.set_up_task_work
        calls.push_asynchronous(env, meta.subprog, set_up, sleepable=True)
    _sections(env, kfunc, sleepable)
    release = env.regs[meta.release_reg].ref_id if meta.release_reg else 0
    if meta.release_reg and not refs.release(env, release):
        env.fail(EINVAL, f"kfunc {name}#{kfunc.type_id} reference has not been acquired before")
    if name in graph.INSERTING:
        graph.inserted(env, kfunc)
    if name == "bpf_throw":
        env.throws = True
        if env.exception_callback < 0:
            calls.check_return(env, 1)
    _finish(env, kfunc, meta)
    return name == "bpf_throw"


def check_missing(env: Env) -> None:
    """Calls of missing functions must have gone with dead code (fixup_kfunc_call)."""
    for insn, aux in zip(env.insns, env.aux, strict=True):
        if aux.seen and insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL and not insn.imm:
            env.fail(EINVAL, "invalid kernel function call not eliminated in verifier pass")


def _sections(env: Env, kfunc: Kfunc, sleepable: bool) -> None:
    """RCU read sections and sections without preemption."""
    state = env.state
    name = kfunc.name
    lock, unlock = name == "bpf_rcu_read_lock", name == "bpf_rcu_read_unlock"
    if state.rcu_locked:
        if (lock or unlock) and graph.in_less_callback(env):
            env.fail(EACCES, "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback")
        if lock:
            env.fail(EINVAL, f"nested rcu read lock (kernel function {name})")
        if unlock:
            _leave_rcu(env)
            state.rcu_locked = False
        elif sleepable:
            env.fail(EACCES, f"kernel func {name} is sleepable within rcu_read_lock region")
    elif lock:
        state.rcu_locked = True
    elif unlock:
        env.fail(EINVAL, f"unmatched rcu read unlock (kernel function {name})")
    disable, enable = name == "bpf_preempt_disable", name == "bpf_preempt_enable"
    if state.preempt_disabled:
        if disable:
            state.preempt_disabled += 1
        elif enable:
            state.preempt_disabled -= 1
        elif sleepable:
            env.fail(EACCES, f"kernel func {name} is sleepable within non-preemptible region")
    elif disable:
        state.preempt_disabled = 1
    elif enable:
        env.fail(EINVAL, f"unmatched attempt to enable preemption (kernel function {name})")
    if sleepable and irqreg.disabled(env):
        env.fail(EACCES, f"kernel func {name} is sleepable within IRQ-disabled region")


def _not_locked(env: Env) -> None:
    """A path on which a resilient lock was not taken."""
    queued = env.push(env.insn_idx + 1, env.insn_idx)
    regs = queued.frames[-1].regs
    for reg in range(6):
        regs[reg] = UNINIT
    bounds = env.unknown.bounds
    signed = (bounds.r64[0], bounds.r64[1], -MAX_ERRNO, -1)
    regs[0] = env.unknown.with_bounds(sync(bounds.bits, signed, (0, 0xFFFFFFFF, -MAX_ERRNO, -1)))


def _leave_rcu(env: Env) -> None:
    """What only RCU kept alive is no longer to be trusted, iterators included."""

    def change(reg: Reg) -> Reg | None:
        if not reg.type & MEM_RCU:
            return None
        return reg.but(type_=reg.type & ~(MEM_RCU | PTR_MAYBE_NULL) | PTR_UNTRUSTED)

    refs.replace_all(env, change)
    for frame in env.state.frames:
        for at, slot in enumerate(frame.stack):
            if slot.kinds[7] != SPILL and isinstance(slot.reg, IterReg) and slot.reg.type & MEM_RCU:
                frame.stack[at] = Slot(slot.kinds, untrusted(slot.reg))


def _finish(env: Env, kfunc: Kfunc, meta: Meta) -> None:
    btf, proto = kfunc.btf, kfunc.proto
    frame = env.frame
    result = btf.resolved(proto.type)
    if "acquire" in kfunc.flags and not _is_struct_pointer(btf, result) and kfunc.name not in graph.ALLOCATING:
        env.fail(EINVAL, "acquire kernel function does not return PTR_TO_BTF_ID")
    for reg in range(6):
        frame.regs[reg] = UNINIT
    if isinstance(result, (Int, Enum, Enum64)):
        frame.regs[0] = env.known(0) if kfunc.name in RES_LOCKS else env.unknown
    elif isinstance(result, Ptr):
        frame.regs[0] = _pointer(env, kfunc, meta, result)
    if not isinstance(result, Void) and env.marked:
        frame.live[0] |= LIVE_WRITTEN
    if env.slot_live is None:
        for i, param in enumerate(kfunc.params):
            type_ = btf.resolved(param.type)
            wide = isinstance(type_, Ptr) or getattr(type_, "size", 8) == 8
            mark_read(env, frame, i + 1, LIVE_READ64 if wide else LIVE_READ32)
    if "iter_next" in kfunc.flags:
        iters.advance(env, meta)


def _is_struct_pointer(btf: Btf, type_: Type) -> bool:
    return isinstance(type_, Ptr) and isinstance(btf.resolved(type_.type), (Struct, Union))


def _may_be_null(kfunc: Kfunc, meta: Meta) -> bool:
    return "ret_null" in kfunc.flags and not (kfunc.name == "bpf_refcount_acquire_impl" and meta.owning)


def _pointer(env: Env, kfunc: Kfunc, meta: Meta, result: Ptr) -> Reg:
    reg = _dynamic(env, kfunc, meta) or _typed(env, kfunc, meta, result)
    if reg.type == SCALAR_VALUE:
        return reg
    null = _may_be_null(kfunc, meta)
    if null:
        reg = reg.but(type_=reg.type | PTR_MAYBE_NULL, id_=env.new_id())
    if "acquire" in kfunc.flags:
        id_ = refs.acquire(env, env.insn_idx)
        reg = reg.but(id_=id_ if null else None, ref_id=id_)
    elif kfunc.name in graph.LOOKING:
        reg = graph.not_owning(env, reg)
    if not reg.id and graph.may_hold_lock(env, reg):
        reg = reg.but(id_=env.new_id())
    return reg


def _typed(env: Env, kfunc: Kfunc, meta: Meta, result: Ptr) -> Reg:
    """A pointer of the type that the prototype says."""
    btf = kfunc.btf
    target_id = target_of(btf, result)
    target = btf.type(target_id)
    if isinstance(target, Void):
        return env.unknown
    if not isinstance(target, (Struct, Union)):
        size, read_only = (8, False) if kfunc.name == "bpf_session_cookie" else (
            meta.result_size, meta.result_read_only
        )
        if not size:
            try:
                size, read_only = btf.size_of(target_id), True
            except BtfError:
                size = 0
        if not size:
            env.fail(
                EINVAL,
                f"kernel function {kfunc.name} returns pointer type {kind_name(target)} {target.name} "
                "is not supported",
            )
        return Reg(PTR_TO_MEM | (MEM_RDONLY if read_only else 0), ZERO, ref_id=meta.ref_id, number=size)
    flags = PTR_UNTRUSTED if kfunc.name == _MAY_VANISH else 0
    if "iter_next" in kfunc.flags:
        flags = MEM_RCU if iters.current(env, meta).type & MEM_RCU else PTR_TRUSTED
    return Reg(PTR_TO_BTF_ID | flags, ZERO, btf=btf, btf_id=target_id)


def _dynamic(env: Env, kfunc: Kfunc, meta: Meta) -> Reg | None:
    """Functions whose result's type depends on their arguments; None for others."""
    name = kfunc.name
    if name in ("bpf_obj_new_impl", "bpf_percpu_obj_new_impl"):
        return _new_object(env, meta, percpu=name == "bpf_percpu_obj_new_impl")
    if name == "bpf_refcount_acquire_impl":
        return Reg(PTR_TO_BTF_ID | MEM_ALLOC, ZERO, btf=meta.arg_btf, btf_id=meta.arg_btf_id)
    if name in graph.RETURNING:
        return graph.node_of(env, meta)
    if name == "bpf_cast_to_kern_ctx":
        return Reg(PTR_TO_BTF_ID | PTR_TRUSTED, ZERO, btf=kfunc.btf, btf_id=meta.result_id)
    if name == "bpf_rdonly_cast":
        type_id = u32(meta.constant)
        type_ = btfkit.type_or_none(kfunc.btf, type_id)
        if type_ is None and env.rules.leaf_pointers:
            env.fail(EINVAL, f"Unknown type ID {s64(meta.constant)} passed to kfunc bpf_rdonly_cast")
        if isinstance(type_, (Struct, Union)):
            return Reg(PTR_TO_BTF_ID | PTR_UNTRUSTED, ZERO, btf=kfunc.btf, btf_id=type_id)
        if env.rules.leaf_pointers and isinstance(type_, Void):
            return Reg(PTR_TO_MEM | MEM_RDONLY | PTR_UNTRUSTED, ZERO)
        what = "a struct or void" if env.rules.leaf_pointers else "a struct"
        env.fail(EINVAL, f"kfunc bpf_rdonly_cast type ID argument must be of {what}")
    if name in ("bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"):
        if not meta.has_constant:
            env.defect("bpf_dynptr_slice(_rdwr) no constant size")
        flags = 0
        if name == "bpf_dynptr_slice":
            flags = MEM_RDONLY
        elif not regions.may_access_packet(env, WRITE, None):
            env.fail(EINVAL, "the prog does not allow writes to packet data")
        kind = meta.dynptr_kind
        return Reg(
            PTR_TO_MEM | flags | DYNPTR_FLAGS[kind], ZERO, number=meta.constant & 0xFFFFFFFF,
            dynptr=Dynptr(kind, False, meta.dynptr_id),
        )
    return None


def _new_object(env: Env, meta: Meta, *, percpu: bool) -> Reg:
    if meta.constant >> 32:
        env.fail(EINVAL, "local type ID argument must be in range [0, U32_MAX]")
    btf = env.program.btf
    if btf is None:
        env.fail(EINVAL, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF")
    type_ = btfkit.type_or_none(btf, meta.constant)
    if not isinstance(type_, Struct):
        env.fail(EINVAL, "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct")
    flags = MEM_ALLOC
    if percpu:
        if type_.size > _MAX_PERCPU_OBJECT:
            env.fail(
                EINVAL, f"bpf_percpu_obj_new type size ({type_.size}) is greater than {_MAX_PERCPU_OBJECT}"
            )
        if not scalars_only(env, btf, type_):
            env.fail(EINVAL, "bpf_percpu_obj_new type ID argument must be of a struct of scalars")
        if records.of_object(btf, meta.constant, env.program.version):
            env.fail(EINVAL, "bpf_percpu_obj_new type ID argument must not contain special fields")
        flags |= MEM_PERCPU
    return Reg(PTR_TO_BTF_ID | flags, ZERO, btf=btf, btf_id=meta.constant)


def scalars_only(env: Env, btf: Btf, type_: Type, depth: int = 0) -> bool:
    """Whether a struct is made of scalars, four levels deep (__btf_type_is_scalar_struct)."""
    from bombus.btf.types import Array

    if not isinstance(type_, (Struct, Union)):
        return False
    for member in type_.members:
        inner = btf.resolved(member.type)
        if isinstance(inner, (Struct, Union)):
            if depth >= 3:
                env.say("max struct nesting depth exceeded\n")
                return False
            if not scalars_only(env, btf, inner, depth + 1):
                return False
            continue
        if isinstance(inner, Array):
            if not inner.nelems:
                return False
            inner = btf.resolved(inner.type)
        if not isinstance(inner, (Int, Enum, Enum64)):
            return False
    return True



def clobbered(kfunc: Kfunc) -> int:
    """The registers that a call destroys for certain: its result and arguments."""
    result = 0 if isinstance(kfunc.btf.resolved(kfunc.proto.type), Void) else 1
    return result | (1 << len(kfunc.params) + 1) - 2
