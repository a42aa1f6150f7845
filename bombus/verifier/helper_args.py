"""Arguments of helpers: types, memory with its size, special fields of map values.

Linux 6.12 kernel/bpf/verifier.c: check_func_arg and what it calls.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s64
from bombus.btf.parse import Btf
from bombus.errors import NotSupported
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier import (
    dynptr,
    early_dynptr,
    graph,
    locks,
    memory,
    records,
    refs,
    regions,
    special,
    stack,
    typed_args,
)
from bombus.verifier.const_keys import note_key
from bombus.verifier.env import EACCES, EFAULT, EINVAL, MAX_VAR_SIZE, READ, WRITE, Env
from bombus.verifier.live import use
from bombus.verifier.precision import mark_precise
from bombus.verifier.program import Field, MapInfo
from bombus.verifier.prototypes import ArgSpec, Proto
from bombus.verifier.regs import (
    BASE_MASK,
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    DYNPTR_ANY,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    MEM_RINGBUF,
    NON_OWN_REF,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_STACK,
    PTR_TO_TCP_SOCK,
    PTR_TO_XDP_SOCK,
    PTR_TRUSTED,
    SCALAR_VALUE,
    Reg,
    type_name,
)

_MEM: Final = (
    PTR_TO_STACK, PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE, PTR_TO_MEM,
    PTR_TO_MEM | MEM_RINGBUF, PTR_TO_BUF, PTR_TO_BTF_ID | PTR_TRUSTED,
)
_SCALAR: Final = (SCALAR_VALUE,)
# Which registers an argument takes, in the order in which messages list them (compatible_reg_types).
COMPATIBLE: Final[dict[str, tuple[int, ...]]] = {
    "ARG_PTR_TO_MAP_KEY": _MEM,
    "ARG_PTR_TO_MAP_VALUE": _MEM,
    "ARG_CONST_SIZE": _SCALAR,
    "ARG_CONST_SIZE_OR_ZERO": _SCALAR,
    "ARG_CONST_ALLOC_SIZE_OR_ZERO": _SCALAR,
    "ARG_SCALAR": _SCALAR,
    "ARG_CONST_MAP_PTR": (CONST_PTR_TO_MAP,),
    "ARG_PTR_TO_CTX": (PTR_TO_CTX,),
    "ARG_PTR_TO_SOCK_COMMON": (PTR_TO_SOCK_COMMON, PTR_TO_SOCKET, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK),
    "ARG_PTR_TO_BTF_ID_SOCK_COMMON": (
        PTR_TO_SOCK_COMMON, PTR_TO_SOCKET, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK, PTR_TO_BTF_ID,
        PTR_TO_BTF_ID | PTR_TRUSTED,
    ),
    "ARG_PTR_TO_SOCKET": (PTR_TO_SOCKET,),
    "ARG_PTR_TO_BTF_ID": (PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED, PTR_TO_BTF_ID | MEM_RCU),
    "ARG_PTR_TO_SPIN_LOCK": (PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC),
    "ARG_PTR_TO_MEM": _MEM,
    "ARG_PTR_TO_RINGBUF_MEM": (PTR_TO_MEM | MEM_RINGBUF,),
    "ARG_PTR_TO_PERCPU_BTF_ID": (
        PTR_TO_BTF_ID | MEM_PERCPU, PTR_TO_BTF_ID | MEM_PERCPU | MEM_RCU, PTR_TO_BTF_ID | MEM_PERCPU | PTR_TRUSTED,
    ),
    "ARG_PTR_TO_FUNC": (PTR_TO_FUNC,),
    "ARG_PTR_TO_STACK": (PTR_TO_STACK,),
    "ARG_PTR_TO_CONST_STR": (PTR_TO_MAP_VALUE,),
    "ARG_PTR_TO_TIMER": (PTR_TO_MAP_VALUE,),
    "ARG_KPTR_XCHG_DEST": (PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC),
    "ARG_PTR_TO_DYNPTR": (PTR_TO_STACK, CONST_PTR_TO_DYNPTR),
}
# What keys and values may be in until any memory may hold them.
_KEY_KINDS: Final = ("ARG_PTR_TO_MAP_KEY", "ARG_PTR_TO_MAP_VALUE")
_KEYS: Final = (PTR_TO_STACK, PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE)
_SOCK_MAPS: Final = special.SOCK_MAPS
_BLOOM: Final = MAP_TYPE["BPF_MAP_TYPE_BLOOM_FILTER"].id
_ARRAY: Final = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
# Whose context is not converted (no convert_ctx_access): helpers may work on its bytes.
_PLAIN_CONTEXT: Final = tuple(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id
    for name in ("SYSCALL", "KPROBE", "TRACEPOINT", "RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE", "CGROUP_DEVICE",
                 "NETFILTER", "LIRC_MODE2", "TRACING", "LSM", "STRUCT_OPS", "EXT")
)
_FREELY_MOVED: Final = frozenset(
    (
        PTR_TO_STACK, PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE, PTR_TO_MEM,
        PTR_TO_MEM | MEM_RDONLY, PTR_TO_MEM | MEM_RINGBUF, PTR_TO_BUF, PTR_TO_BUF | MEM_RDONLY, PTR_TO_ARENA,
        SCALAR_VALUE,
    )
)
_FIXED_OFFSET: Final = frozenset(
    (
        PTR_TO_BTF_ID, PTR_TO_BTF_ID | MEM_ALLOC, PTR_TO_BTF_ID | PTR_TRUSTED, PTR_TO_BTF_ID | MEM_RCU,
        PTR_TO_BTF_ID | MEM_ALLOC | NON_OWN_REF, PTR_TO_BTF_ID | MEM_ALLOC | NON_OWN_REF | MEM_RCU,
    )
)


class Meta:
    """What the arguments of one call told."""

    __slots__ = (
        "access_size",
        "dynptr_id",
        "field",
        "helper",
        "key",
        "kptr_btf",
        "map",
        "map_uid",
        "mem_size",
        "new_dynptr",
        "packet_access",
        "percpu",
        "raw_reg",
        "ref_id",
        "release_reg",
        "size_max",
        "subprog",
    )

    def __init__(self, proto: Proto) -> None:
        self.helper = proto.id
        self.packet_access = proto.pkt_access
        self.map: MapInfo | None = None
        self.map_uid = 0
        self.key = -1  # the constant key of a lookup
        self.mem_size = 0
        self.size_max = 0
        self.raw_reg = -1
        self.access_size = 0
        self.release_reg = 0
        self.ref_id = 0
        self.dynptr_id = 0
        self.new_dynptr = 0  # the argument in which a dynptr is made
        self.subprog = 0
        self.field: Field | None = None
        self.kptr_btf: Btf | None = None  # of what holds the kptr `field`
        self.percpu: Reg | None = None


def check(env: Env, i: int, spec: ArgSpec, meta: Meta, proto: Proto) -> None:
    """One argument of a helper call (check_func_arg)."""
    kind = spec.kind
    regno = i + 1
    reg = env.state.frames[-1].regs[regno]
    if env.marked or reg.type == NOT_INIT:
        use(env, regno)
    env.touched_regs |= 1 << regno
    env.note_stack_argument(regno)
    if kind == "ARG_ANYTHING":
        if env.is_pointer(reg):
            env.fail(EACCES, f"R{regno} leaks addr into helper function")
        return
    if reg.type & BASE_MASK in (PTR_TO_PACKET, PTR_TO_PACKET_META) and not regions.may_access_packet(
        env, READ, meta.packet_access
    ):
        env.fail(EACCES, "helper access to the packet is not allowed")
    if kind == "ARG_PTR_TO_MAP_VALUE":
        kind = _map_value_kind(env, meta, spec)
    if not (stack.is_null(reg) and spec.nullable):
        _check_type(env, regno, reg, kind, spec, meta)
        check_offset(env, reg, regno, release=spec.release, dynptr=kind == "ARG_PTR_TO_DYNPTR")
    elif not env.rules.null_args_not_precise:
        mark_precise(env, regno)
    if spec.release:
        _check_release(env, regno, reg, kind)
        meta.release_reg = regno
    if reg.ref_id and kind != "ARG_KPTR_XCHG_DEST":
        if meta.ref_id and env.rules.one_reference_argument:
            env.say(f"more than one arg with ref_obj_id R{regno} {reg.ref_id} {meta.ref_id}")
            env.fail(EACCES)
        if meta.ref_id:
            env.fail(
                EFAULT,
                f"verifier internal error: more than one arg with ref_obj_id R{regno} {reg.ref_id} {meta.ref_id}",
            )
        meta.ref_id = reg.ref_id
    check_kind = _KINDS.get(kind)
    if check_kind is not None:
        check_kind(env, regno, reg, spec, meta, proto)


def _map_value_kind(env: Env, meta: Meta, spec: ArgSpec) -> str:
    """The value argument of sockmaps is a socket (resolve_map_arg_type)."""
    if meta.map is None:
        env.fail(EACCES, "invalid map_ptr to access map->type")
    if meta.map.type in _SOCK_MAPS:
        if spec.uninit or spec.nullable or spec.read_only:
            env.fail(EINVAL, "invalid arg_type for sockmap/sockhash")
        return "ARG_PTR_TO_BTF_ID_SOCK_COMMON"
    return "ARG_PTR_TO_MAP_VALUE"


def _check_type(env: Env, regno: int, reg: Reg, kind: str, spec: ArgSpec, meta: Meta) -> None:
    compatible = COMPATIBLE.get(kind)
    if compatible is None:
        raise NotSupported(f"helper argument {kind}", "the verifier does not know it")
    if not env.rules.any_memory_for_keys:
        later = PTR_TRUSTED | MEM_RCU | MEM_ALLOC
        compatible = _KEYS if kind in _KEY_KINDS else tuple(t for t in compatible if not t & later)
    type_ = reg.type
    if spec.read_only:
        type_ &= ~MEM_RDONLY
    if spec.nullable:
        type_ &= ~PTR_MAYBE_NULL
    if kind == "ARG_PTR_TO_MEM":
        type_ &= ~DYNPTR_ANY
    if meta.helper == special.KPTR_XCHG and type_ & MEM_ALLOC and regno == 2:
        type_ &= ~(MEM_ALLOC | MEM_PERCPU)
    if type_ not in compatible:
        text = f"R{regno} type={type_name(reg.type)} expected={', '.join(type_name(t) for t in compatible)}"
        env.fail(EACCES, text if env.rules.any_memory_for_keys else text.replace("ringbuf_mem", "alloc_mem"))
    if reg.type & BASE_MASK == PTR_TO_BTF_ID:
        typed_args.check(env, regno, reg, kind, spec, meta, memory=compatible is _MEM)


def check_typed(env: Env, regno: int, reg: Reg, type_id: int, *, nullable: bool) -> None:
    """A typed pointer that a global function takes: the type is one of the kernel's."""
    compatible = COMPATIBLE["ARG_PTR_TO_BTF_ID"]
    type_ = reg.type & ~PTR_MAYBE_NULL if nullable else reg.type
    if type_ not in compatible:
        env.fail(
            EACCES,
            f"R{regno} type={type_name(reg.type)} expected={', '.join(type_name(t) for t in compatible)}",
        )
    typed_args.check_struct(env, regno, reg, type_id, strict=False)


def check_offset(env: Env, reg: Reg, regno: int, *, release: bool, dynptr: bool = False) -> None:
    """Whether a pointer argument may have been moved (check_func_arg_reg_off)."""
    if release:
        if dynptr and reg.type == PTR_TO_STACK:
            return
        if reg.off and env.rules.release_by_offset:
            env.fail(
                EINVAL,
                f"R{regno} must have zero offset when passed to release func or trusted arg to kfunc",
            )
        regions.check_plain_pointer(env, reg, regno)
        return
    if reg.type in _FREELY_MOVED:
        if dynptr and reg.type == PTR_TO_STACK and reg.off % 8 and not env.rules.dynptrs_guarded:
            env.fail(EINVAL, "cannot pass in dynptr at an offset")
        return
    regions.check_plain_pointer(env, reg, regno, fixed_ok=reg.type in _FIXED_OFFSET)


def _check_release(env: Env, regno: int, reg: Reg, kind: str) -> None:
    if kind == "ARG_PTR_TO_DYNPTR":
        if reg.type != PTR_TO_STACK:
            env.fail(EINVAL, "cannot release unowned const bpf_dynptr")
        if env.rules.dynptrs_guarded:
            main = dynptr.of(env, reg)
            ref_id = 0 if main is None else main.ref_id
        else:
            ref_id = early_dynptr.reference(env, reg)
        if not ref_id:
            env.fail(EINVAL, f"arg {regno} is an unacquired reference")
    elif not reg.ref_id and not stack.is_null(reg):
        env.fail(EINVAL, f"R{regno} must be referenced when passed to release function")


# By kind.


def _map(env: Env, _regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if meta.map is not None and (meta.map is not reg.map or meta.map_uid != reg.map_uid):
        env.fail(
            EINVAL,
            f"timer pointer in R1 map_uid={meta.map_uid} doesn't match map pointer in R2 map_uid={reg.map_uid}",
        )
    meta.map = reg.map
    meta.map_uid = reg.map_uid


def _map_key(env: Env, regno: int, _reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if meta.map is None:
        env.fail(EACCES, "invalid map_ptr to access map->key")
    check_memory(env, regno, meta.map.key_size, READ)
    if env.rules.constant_keys:
        note_key(env, regno, meta)


def _map_value(env: Env, regno: int, reg: Reg, spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if spec.nullable and stack.is_null(reg):
        return
    if meta.map is None:
        env.fail(EACCES, "invalid map_ptr to access map->value")
    raw = spec.uninit and not (meta.map.type == _BLOOM and meta.helper == special.PEEK)
    write = spec.write and not (meta.map.type == _BLOOM and meta.helper == special.PEEK)
    check_memory(env, regno, meta.map.value_size, WRITE if write else READ, meta=meta, raw=raw)


def _memory(env: Env, regno: int, reg: Reg, spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if spec.size:
        check_memory(env, regno, spec.size, WRITE if spec.write else READ, meta=meta, raw=spec.uninit)
        if spec.aligned:
            regions.check_alignment(env, reg, 0, spec.size, strict=True)


def _size(env: Env, regno: int, reg: Reg, spec: ArgSpec, meta: Meta, proto: Proto) -> None:
    """The size of the memory that the argument before points to (check_mem_size_reg)."""
    zero_ok = spec.kind == "ARG_CONST_SIZE_OR_ZERO"
    before = proto.args[regno - 2]
    raw = before.uninit and reg.bounds.bits[1] == 0
    check_size(env, regno, reg, WRITE if before.write else READ, zero_ok=zero_ok, meta=meta, raw=raw)


def check_size(
    env: Env, regno: int, reg: Reg, access: int, *, zero_ok: bool, meta: Meta | None = None, raw: bool = False
) -> None:
    """The register before points to as many bytes as this one says, at most."""
    umin, umax, smin, _smax = reg.bounds.r64
    if meta is not None:
        meta.size_max = umax
    if smin < 0:
        env.fail(EACCES, f"R{regno} min value is negative, either use unsigned or 'var &= const'")
    if umin == 0 and not zero_ok and not env.rules.zero_size_named:
        check_memory(env, regno - 1, 0, READ)
    if umin == 0 and not zero_ok:
        env.fail(EACCES, f"R{regno} invalid zero-sized read: u64=[{umin},{s64(umax)}]")
    if umax >= MAX_VAR_SIZE:
        env.fail(
            EACCES,
            f"R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'",
        )
    check_memory(env, regno - 1, umax, access, zero_ok=zero_ok, meta=meta, raw=raw)
    mark_precise(env, regno)


def _alloc_size(env: Env, regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if reg.bounds.bits[1]:
        env.fail(EACCES, f"R{regno} is not a known constant'")
    meta.mem_size = reg.bounds.bits[0] & 0xFFFFFFFF
    mark_precise(env, regno)


def _function(_env: Env, _regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    meta.subprog = reg.number


def _dynptr(env: Env, regno: int, _reg: Reg, spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if not env.rules.dynptrs_guarded:
        if early_dynptr.check_argument(env, regno, uninit=spec.uninit, kind=spec.dynptr):
            meta.new_dynptr = regno
        return
    dynptr.process(
        env, regno, uninit=spec.uninit, read_only=spec.read_only, kind=spec.dynptr, insn_idx=env.insn_idx
    )


def _const_string(env: Env, regno: int, reg: Reg, _spec: ArgSpec, _meta: Meta, _proto: Proto) -> None:
    check_string(env, regno, reg)


def check_string(env: Env, regno: int, reg: Reg) -> None:
    """A string that can never change (check_reg_const_str)."""
    map_ = reg.map
    if reg.type != PTR_TO_MAP_VALUE or map_ is None:
        env.fail(EINVAL)
    if not map_.flags & regions.F_RDONLY_PROG or not map_.frozen:
        env.fail(EACCES, f"R{regno} does not point to a readonly map'")
    if reg.bounds.bits[1]:
        env.fail(EACCES, f"R{regno} is not a constant address'")
    if map_.type != _ARRAY:
        env.fail(EACCES, "no direct value access support for this map type")
    regions.check_map_value(env, regno, reg.off, map_.value_size - reg.off, False, by_helper=True)
    if map_.max_entries != 1 or map_.contents is None:
        env.fail(EINVAL, "direct value access on string failed")
    off = reg.off + s64(reg.bounds.bits[0])
    if b"\0" not in map_.contents[off : map_.value_size]:
        env.fail(EINVAL, "string is not zero-terminated")


def _lock(env: Env, regno: int, _reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    """bpf_spin_lock and bpf_spin_unlock."""
    if env.kfuncs and graph.in_less_callback(env):
        env.fail(EACCES, "can't spin_{lock,unlock} in rbtree cb")
    (locks.take if meta.helper == special.SPIN_LOCK else locks.give)(env, regno, locks.SPIN)


def _timer(env: Env, regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    map_ = reg.map
    value, mask = reg.bounds.bits
    errno = EINVAL if env.rules.lock_errnos else EACCES
    if mask:
        env.fail(
            errno, f"R{regno} doesn't have constant offset. bpf_timer has to be at the constant offset"
        )
    assert map_ is not None
    if map_.btf is None:
        env.fail(errno, f"map '{map_.name}' has to have BTF in order to use bpf_timer")
    field = records.find(map_, "timer")
    if field is None:
        no_timer = f"map '{map_.name}' has no valid bpf_timer"
        env.fail(errno, no_timer if env.rules.lock_errnos else locks.without(map_, "bpf_timer"))
    if field.offset != s64(value) + reg.off:
        env.fail(
            errno, f"off {s64(value) + reg.off} doesn't point to 'struct bpf_timer' that is at {field.offset}"
        )
    if meta.map is not None:
        env.fail(EFAULT, "verifier bug. Two map pointers in a timer helper")
    meta.map = map_
    meta.map_uid = reg.map_uid


def _kptr(env: Env, regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    map_ = reg.map
    named = env.rules.kptr_errors_named
    errno = EINVAL if named else EACCES
    if map_ is not None:
        if map_.btf is None:
            env.fail(errno, f"map '{map_.name}' has to have BTF in order to use bpf_kptr_xchg")
        meta.map = map_
    value, mask = reg.bounds.bits
    if mask:
        env.fail(errno, f"R{regno} doesn't have constant offset. kptr has to be at the constant offset")
    kptrs = [field for field in graph.fields_of(env, reg) if field.kind in records.KPTRS]
    if not kptrs:
        whose = f"R{regno}" if named or map_ is None else f"map '{map_.name}'"
        env.fail(errno, f"{whose} has no valid kptr")
    off = reg.off + s64(value)
    found = next((field for field in kptrs if field.offset == off), None)
    if found is None:
        env.fail(EACCES, f"off={off} doesn't point to kptr")
    if found.kind == "kptr_unref":
        env.fail(EACCES, f"off={off} kptr isn't referenced kptr")
    meta.field = found
    meta.kptr_btf = map_.btf if map_ is not None else reg.btf


def _percpu(env: Env, regno: int, reg: Reg, _spec: ArgSpec, meta: Meta, _proto: Proto) -> None:
    if not reg.btf_id:
        env.fail(EACCES, f"Helper has invalid btf_id in R{regno}")
    meta.percpu = reg


_KINDS: Final = {
    "ARG_CONST_MAP_PTR": _map,
    "ARG_PTR_TO_MAP_KEY": _map_key,
    "ARG_PTR_TO_MAP_VALUE": _map_value,
    "ARG_PTR_TO_SPIN_LOCK": _lock,
    "ARG_PTR_TO_TIMER": _timer,
    "ARG_PTR_TO_FUNC": _function,
    "ARG_PTR_TO_MEM": _memory,
    "ARG_CONST_SIZE": _size,
    "ARG_CONST_SIZE_OR_ZERO": _size,
    "ARG_CONST_ALLOC_SIZE_OR_ZERO": _alloc_size,
    "ARG_PTR_TO_DYNPTR": _dynptr,
    "ARG_PTR_TO_CONST_STR": _const_string,
    "ARG_KPTR_XCHG_DEST": _kptr,
    "ARG_PTR_TO_PERCPU_BTF_ID": _percpu,
}


def check_memory(
    env: Env, regno: int, size: int, access: int, *, zero_ok: bool = False, meta: Meta | None = None, raw: bool = False
) -> None:
    """Memory that a helper reads or writes (check_helper_mem_access). `raw`: it may be uninitialised stack."""
    reg = env.regs[regno]
    base = reg.type & BASE_MASK
    if base == PTR_TO_STACK:
        if stack.initialized(env, regno, reg.off, size, by_helper=True, zero_size_allowed=zero_ok, raw=raw,
                             access=access) \
                and meta is not None:
            meta.raw_reg = regno
            meta.access_size = size
    elif base == PTR_TO_MAP_VALUE:
        regions.check_map_flags(env, regno, reg.off, size, access)
        regions.check_map_value(env, regno, reg.off, size, zero_ok, by_helper=True)
    elif base in (PTR_TO_PACKET, PTR_TO_PACKET_META):
        regions.check_packet(env, regno, reg.off, size, zero_ok)
    elif base == PTR_TO_MAP_KEY:
        if access == WRITE:
            env.fail(EACCES, f"R{regno} cannot write into {type_name(reg.type)}")
        assert reg.map is not None
        regions.check_region(env, regno, reg.off, size, reg.map.key_size, False)
    elif base == PTR_TO_MEM:
        if reg.type & MEM_RDONLY and access == WRITE:
            env.fail(EACCES, f"R{regno} cannot write into {type_name(reg.type)}")
        regions.check_region(env, regno, reg.off, size, reg.number, zero_ok)
    elif base == PTR_TO_BUF:
        if reg.type & MEM_RDONLY and access == WRITE:
            env.fail(EACCES, f"R{regno} cannot write into {type_name(reg.type)}")
        regions.check_buffer(env, "rdonly" if reg.type & MEM_RDONLY else "rdwr", regno, reg.off, size)
    elif base == PTR_TO_BTF_ID:
        memory.access_typed(env, regno, reg.off, size)
    elif base == PTR_TO_CTX and env.program.prog_type in _PLAIN_CONTEXT:
        if size == 0:
            if not zero_ok:
                env.fail(EACCES)
            return
        memory.access(env, regno, size - 1, 1, access, -1)
    else:
        if zero_ok and size == 0 and stack.is_null(reg):
            return
        env.fail(
            EACCES, f"R{regno} type={type_name(reg.type)} expected={type_name(PTR_TO_STACK)}"
        )


__all__ = ["COMPATIBLE", "Meta", "check", "check_memory", "check_offset", "refs"]
