"""Which bytes a pointer may reach: alignment, and the limits of maps, packets, buffers and memory of known size.

Linux 6.12 kernel/bpf/verifier.c: check_ptr_alignment, __check_ptr_off_reg, check_mem_region_access,
check_packet_access, check_map_access and what they call.
"""

from __future__ import annotations

from typing import Final

from bombus.spec.maptypes import MAP_TYPE, MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID
from bombus.verifier import records, tnum
from bombus.verifier.env import EACCES, EINVAL, MAX_VAR_OFF, READ, WRITE, Env
from bombus.verifier.log import bits_text
from bombus.verifier.program import MapInfo
from bombus.verifier.regs import (
    PTR_TO_ARENA,
    PTR_TO_CTX,
    PTR_TO_FLOW_KEYS,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_STACK,
    PTR_TO_TCP_SOCK,
    PTR_TO_XDP_SOCK,
    Reg,
)

SOCKS: Final = {
    PTR_TO_SOCK_COMMON: "sock_common",
    PTR_TO_SOCKET: "bpf_sock",
    PTR_TO_TCP_SOCK: "bpf_tcp_sock",
    PTR_TO_XDP_SOCK: "bpf_xdp_sock",
}
_WORDS: Final = {
    PTR_TO_FLOW_KEYS: "flow keys ",
    PTR_TO_MAP_KEY: "key ",
    PTR_TO_MAP_VALUE: "value ",
    PTR_TO_CTX: "context ",
    PTR_TO_STACK: "stack ",
    PTR_TO_SOCKET: "sock ",
    PTR_TO_SOCK_COMMON: "sock_common ",
    PTR_TO_TCP_SOCK: "tcp_sock ",
    PTR_TO_XDP_SOCK: "xdp_sock ",
}
_SOCKOPT: Final = PROG_TYPE["BPF_PROG_TYPE_CGROUP_SOCKOPT"].id
_NET_IP_ALIGN: Final = 2
# Map types whose values lie at an address that programs can hold (map_direct_value_addr).
ARRAY: Final = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
F_RDONLY_PROG: Final = 1 << 7
F_WRONLY_PROG: Final = 1 << 8
# Linux 6.12 kernel/bpf/devmap.c: these maps are made read-only for programs, whatever their flags.
_READ_ONLY: Final = tuple(MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id for name in ("DEVMAP", "DEVMAP_HASH"))


def check_alignment(env: Env, reg: Reg, off: int, size: int, *, strict: bool) -> None:
    type_ = reg.type
    strict = strict or env.strict_alignment or type_ == PTR_TO_STACK
    if not strict or size == 1 or type_ == PTR_TO_ARENA:
        return
    packet = type_ in (PTR_TO_PACKET, PTR_TO_PACKET_META)
    fixed = reg.off + off + (_NET_IP_ALIGN if packet else 0)
    value, mask = tnum.add(reg.bounds.bits, (fixed & (1 << 64) - 1, 0))
    if (value | mask) & (size - 1) == 0:
        return
    text = bits_text(env, reg.bounds.bits)
    if packet:
        env.fail(EACCES, f"misaligned packet access off {_NET_IP_ALIGN}+{text}+{reg.off}+{off} size {size}")
    env.fail(EACCES, f"misaligned {_WORDS.get(type_, '')}access off {text}+{reg.off}+{off} size {size}")


def check_plain_pointer(env: Env, reg: Reg, regno: int, *, fixed_ok: bool = False) -> None:
    """A pointer that may not have been moved (__check_ptr_off_reg)."""
    name = env.name(reg.type)
    if reg.off < 0:
        env.fail(EACCES, f"negative offset {name} ptr R{regno} off={reg.off} disallowed")
    if not fixed_ok and reg.off:
        env.fail(EACCES, f"dereference of modified {name} ptr R{regno} off={reg.off} disallowed")
    if reg.bounds.bits != (0, 0):
        env.fail(EACCES, f"variable {name} access var_off={bits_text(env, reg.bounds.bits)} disallowed")


def _fits(env: Env, regno: int, off: int, size: int, limit: int, zero_ok: bool) -> bool:
    """Whether [off, off+size) lies in [0, limit); says why not (__check_mem_access)."""
    if 0 <= off <= limit - size and (size > 0 or (size == 0 and zero_ok)):
        return True
    reg = env.regs[regno]
    off = (off + (1 << 31)) % (1 << 32) - (1 << 31)
    if reg.type == PTR_TO_MAP_KEY:
        env.say(f"invalid access to map key, key_size={limit} off={off} size={size}\n")
    elif reg.type == PTR_TO_MAP_VALUE:
        env.say(f"invalid access to map value, value_size={limit} off={off} size={size}\n")
    elif reg.type in (PTR_TO_PACKET, PTR_TO_PACKET_META):
        env.say(
            f"invalid access to packet, off={off} size={size}, R{regno}(id={reg.id},off={off},r={limit})\n"
        )
    else:
        env.say(f"invalid access to memory, mem_size={limit} off={off} size={size}\n")
    return False


def check_region(env: Env, regno: int, off: int, size: int, limit: int, zero_ok: bool) -> None:
    """An access to memory of known size, over the whole range of the pointer (check_mem_region_access)."""
    _umin, umax, smin, _smax = env.regs[regno].bounds.r64
    if 0 <= smin <= umax < MAX_VAR_OFF and smin + off >= 0 < size and umax + off + size <= limit:
        return
    if smin < 0 and (smin == -(1 << 63) or not -(1 << 31) <= off + smin < 1 << 31 or smin + off < 0):
        env.fail(
            EACCES,
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
        )
    if not _fits(env, regno, smin + off, size, limit, zero_ok):
        env.fail(EACCES, f"R{regno} min value is outside of the allowed memory range")
    if umax >= MAX_VAR_OFF:
        env.fail(EACCES, f"R{regno} unbounded memory access, make sure to bounds check any such access")
    if not _fits(env, regno, umax + off, size, limit, zero_ok):
        env.fail(EACCES, f"R{regno} max value is outside of the allowed memory range")


def check_packet(env: Env, regno: int, off: int, size: int, zero_ok: bool) -> None:
    reg = env.regs[regno]
    if reg.bounds.r64[2] < 0:
        env.fail(
            EACCES,
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
        )
    if reg.number < 0:
        env.fail(EINVAL, f"R{regno} offset is outside of the packet")
    if not _fits(env, regno, off, size, reg.number, zero_ok):
        env.fail(EACCES, f"R{regno} offset is outside of the packet")


def may_access_packet(env: Env, access: int, helper_allows: bool | None) -> bool:
    """Whether programs of this type, or the helper that is called, may touch packet bytes."""
    row = PROG_TYPE_BY_ID[env.program.prog_type]
    if row.id == _SOCKOPT:
        return True
    if not row.packet or (row.packet == "read" and access == WRITE):
        return False
    return True if helper_allows is None else helper_allows


def read_only(map_: MapInfo) -> bool:
    """Whether programs may not write the map's values."""
    return bool(map_.flags & F_RDONLY_PROG) or map_.type in _READ_ONLY


def check_map_flags(env: Env, regno: int, off: int, size: int, access: int) -> None:
    map_ = env.regs[regno].map
    assert map_ is not None
    if access == WRITE and read_only(map_):
        env.fail(EACCES, f"write into map forbidden, value_size={map_.value_size} off={off} size={size}")
    if access == READ and map_.flags & F_WRONLY_PROG:
        env.fail(EACCES, f"read from map forbidden, value_size={map_.value_size} off={off} size={size}")


def check_map_value(env: Env, regno: int, off: int, size: int, zero_ok: bool, *, by_helper: bool) -> None:
    """An access to a map value, which must not touch its locks, timers and kptrs (check_map_access)."""
    reg = env.regs[regno]
    map_ = reg.map
    assert map_ is not None
    check_region(env, regno, off, size, map_.value_size, zero_ok)
    _umin, umax, smin, _smax = reg.bounds.r64
    for field in map_.fields:
        if not (smin + off < field.offset + field.size and field.offset < umax + off + size):
            continue
        if field.kind not in records.POINTERS:
            env.fail(EACCES, f"{field.name} cannot be accessed directly by load/store")
        if by_helper:
            name = field.name if env.rules.kptr_kinds_named else "kptr"
            env.fail(EACCES, f"{name} cannot be accessed indirectly by helper")
        value, mask = reg.bounds.bits
        name = field.name if env.rules.kptr_kinds_named else "kptr"
        if mask:
            env.fail(EACCES, f"{name} access cannot have variable offset")
        if field.offset != off + value:
            env.fail(EACCES, f"{name} access misaligned expected={field.offset} off={off + value}")
        if size != 8:
            env.fail(EACCES, f"{name} access size must be BPF_DW")


def constant_of(map_: MapInfo, off: int, size: int, *, signed: bool) -> int | None:
    """The bytes at `off` of a map that can never change again, or None."""
    if not map_.flags & F_RDONLY_PROG or not map_.frozen or map_.type != ARRAY or map_.contents is None:
        return None
    return int.from_bytes(map_.contents[off : off + size], "little", signed=signed)


def is_rdonly(map_: MapInfo) -> bool:
    return bool(map_.flags & F_RDONLY_PROG) and map_.frozen


def check_buffer(env: Env, name: str, regno: int, off: int, size: int) -> None:
    reg = env.regs[regno]
    if off < 0:
        env.fail(EACCES, f"R{regno} invalid {name} buffer access: off={off}, size={size}")
    if reg.bounds.bits != (0, 0):
        env.fail(
            EACCES,
            f"R{regno} invalid variable buffer offset: off={off}, var_off={bits_text(env, reg.bounds.bits)}",
        )


# The kernel's structs of maps (map_btf_id of their map_ops), by the end of the map type's name.
_MAP_STRUCTS: Final = (
    ("_STORAGE_DEPRECATED", "bpf_cgroup_storage_map"), ("CGROUP_STORAGE", "bpf_cgroup_storage_map"),
    ("_STORAGE", "bpf_local_storage_map"), ("REUSEPORT_SOCKARRAY", "reuseport_array"), ("ARRAY", "bpf_array"),
    ("ARRAY_OF_MAPS", "bpf_array"), ("HASH_OF_MAPS", "bpf_htab"), ("SOCKHASH", "bpf_shtab"), ("SOCKMAP", "bpf_stab"),
    ("DEVMAP_HASH", "bpf_dtab"), ("HASH", "bpf_htab"), ("DEVMAP", "bpf_dtab"), ("CPUMAP", "bpf_cpu_map"),
    ("XSKMAP", "xsk_map"), ("STACK_TRACE", "bpf_stack_map"), ("TRIE", "lpm_trie"), ("BLOOM_FILTER", "bpf_bloom_filter"),
    ("QUEUE", "bpf_queue_stack"), ("STACK", "bpf_queue_stack"), ("RINGBUF", "bpf_ringbuf_map"), ("ARENA", "bpf_arena"),
    ("STRUCT_OPS", "bpf_struct_ops_map"),
)


def map_struct(map_type: int) -> str:
    """The name of the kernel's struct that a map of this type is."""
    row = MAP_TYPE_BY_ID.get(map_type)
    return next((struct for end, struct in _MAP_STRUCTS if row is not None and row.name.endswith(end)), "bpf_map")
