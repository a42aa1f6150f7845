"""Loads and stores: whether they are allowed, and what a load yields. Limits of memory are in `regions`.

Linux 6.12 kernel/bpf/verifier.c: check_mem_access and what it calls.
"""

from __future__ import annotations

from typing import Final, NoReturn

from bombus.bits import s64
from bombus.errors import NotSupported
from bombus.isa import facts
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.spec.contexts import access as context_access
from bombus.verifier import records, regions, stack, typed_access, typed_args, typed_context
from bombus.verifier.bounds import const
from bombus.verifier.bounds_alu import sign_extend
from bombus.verifier.env import EACCES, EINVAL, EPERM, READ, WRITE, Env
from bombus.verifier.live import define, use
from bombus.verifier.log import print_source
from bombus.verifier.precision import mark_precise
from bombus.verifier.program import Field
from bombus.verifier.regs import (
    BASE_MASK,
    CONST_PTR_TO_MAP,
    MEM_RDONLY,
    MEM_RINGBUF,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TO_CTX,
    PTR_TO_FLOW_KEYS,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_STACK,
    PTR_TO_TCP_SOCK,
    PTR_TO_TP_BUFFER,
    PTR_TO_XDP_SOCK,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    ZERO,
    Reg,
    type_name,
)
from bombus.verifier.state import FP

_FLOW_KEYS_SIZE: Final = 56  # struct bpf_flow_keys


def _kptr(env: Env, regno: int, value: int, field: Field) -> None:
    """A load or store of a kptr field (check_map_kptr_access)."""
    insn = env.insns[env.insn_idx]
    klass = insn.opcode & 7
    if insn.opcode & 0xE0 != op.BPF_MEM:
        env.fail(EACCES, "kptr in map can only be accessed using BPF_MEM instruction mode")
    if klass != op.BPF_LDX and field.kind in ("kptr_ref", "kptr_percpu"):
        env.fail(EACCES, "store to referenced kptr disallowed")
    if klass != op.BPF_LDX and field.kind == records.UPTR:
        env.fail(EACCES, "store to uptr disallowed")
    if klass == op.BPF_LDX:
        map_ = env.regs[regno].map
        assert map_ is not None and map_.btf is not None
        if field.kind == records.UPTR:
            size = map_.btf.size_of(field.target_id)
            env.regs[value] = Reg(PTR_TO_MEM | PTR_MAYBE_NULL, ZERO, id_=env.new_id(), number=size)
            return
        env.regs[value] = typed_args.load_kptr(env, field, map_.btf)
        return
    if klass == op.BPF_STX:
        if stack.is_null(env.regs[value]):
            mark_precise(env, value)
            return
        map_ = env.regs[regno].map
        assert map_ is not None and map_.btf is not None
        typed_args.match_kptr(env, field, map_.btf, env.regs[value], value)
        return
    if klass == op.BPF_ST:
        if insn.imm:
            env.fail(EACCES, f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}")
        return
    env.fail(EACCES, "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST")


def _no_leak(env: Env, access: int, value: int, where: str) -> None:
    if access == WRITE and value >= 0 and env.is_pointer(env.regs[value]):
        env.fail(EACCES, f"R{value} leaks addr into {where}")


def _map_value(env: Env, regno: int, off: int, size: int, access: int, value: int, signed: bool) -> None:
    regs = env.regs
    reg = regs[regno]
    map_ = reg.map
    assert map_ is not None
    _no_leak(env, access, value, "map")
    regions.check_map_flags(env, regno, off, size, access)
    regions.check_map_value(env, regno, off, size, False, by_helper=False)
    bits = reg.bounds.bits
    if bits[1] == 0:
        for field in map_.fields:
            if field.kind in records.POINTERS and field.offset == off + s64(bits[0]):
                _kptr(env, regno, value, field)
                return
    if access == READ and value >= 0:
        if bits[1] == 0 and regions.is_rdonly(map_) and map_.type == regions.ARRAY:
            found = regions.constant_of(map_, off + s64(bits[0]), size, signed=signed)
            if found is not None:
                precise = regs[value].precise or not env.bpf_capable
                regs[value] = Reg(SCALAR_VALUE, const(found), precise=precise)
                return
        regs[value] = env.unknown


def _no_context(env: Env, off: int, size: int) -> NoReturn:
    env.say(f"invalid bpf_context access off={off} size={size}\n")
    print_source(env, env.insn_idx, "; ")
    env.fail(EACCES)


def _context(env: Env, regno: int, off: int, size: int, access: int, value: int, signed: bool) -> None:
    regs = env.regs
    program = env.program
    _no_leak(env, access, value, "ctx")
    regions.check_plain_pointer(env, regs[regno], regno)
    if env.target is not None:
        loaded = typed_context.load(env, env.target, off, size, access)
        if loaded is None:
            _no_context(env, off, size)
        env.max_ctx_offset = max(env.max_ctx_offset, off + size)
        if access == READ and value >= 0:
            regs[value] = loaded
        return
    found = context_access(
        program.prog_type, off, size, access == WRITE, program.expected_attach_type,
        signed=signed, version=program.version, privileged=env.bpf_capable,
    )
    if found is None:
        _no_context(env, off, size)
    env.max_ctx_offset = max(env.max_ctx_offset, off + size)
    if access == READ and value >= 0:
        type_ = CTX_POINTERS_BY_NAME.get(found.pointer, -1)
        if found.pointer == "PTR_TO_BTF_ID":
            regs[value] = typed_context.netfilter(env, off)
            return
        if type_ < 0:
            raise NotSupported(f"context field of kind {found.pointer}", "the verifier does not know it")
        if type_ == SCALAR_VALUE:
            regs[value] = env.unknown
        else:
            regs[value] = Reg(type_, ZERO, id_=env.new_id() if type_ & PTR_MAYBE_NULL else 0)


# What is memory and nothing else. Flagged types (of users, of other CPUs, untrusted) are not.
_KINDS: Final = {
    PTR_TO_CTX: facts.CTX,
    PTR_TO_STACK: facts.STACK,
    PTR_TO_PACKET: facts.PACKET,
    PTR_TO_PACKET_META: facts.PACKET,
    PTR_TO_MAP_VALUE: facts.MAP_VALUE,
    PTR_TO_MAP_KEY: facts.MAP_KEY,
    PTR_TO_MEM: facts.MEM,
    PTR_TO_MEM | MEM_RDONLY: facts.MEM,
    PTR_TO_MEM | MEM_RINGBUF: facts.RECORD,
}


def access(
    env: Env, regno: int, off: int, size: int, kind: int, value: int, *,
    strict: bool = False, signed: bool = False,
) -> None:
    """Check one load (kind READ) or store (WRITE) of `size` bytes through register `regno`.

    value: the register that is loaded or stored; -1 when none is (immediates, helpers). Linux 6.12:
    check_mem_access.
    """
    regs = env.state.frames[-1].regs
    reg = regs[regno]
    type_ = reg.type
    env.aux[env.insn_idx].access |= _KINDS.get(type_, facts.OTHER)
    if type_ == PTR_TO_STACK:
        if (reg.off + off) % size or reg.bounds.bits[1]:
            regions.check_alignment(env, reg, off, size, strict=strict)
        off += reg.off
        stack.within_bounds(env, regno, off, size, kind, by_helper=False)
        if kind == READ:
            stack.read(env, reg, regno, off, size, value)
        else:
            stack.write(env, reg, off, size, value)
    else:
        if strict or env.strict_alignment:
            regions.check_alignment(env, reg, off, size, strict=strict)
        off += reg.off
        base = type_ & BASE_MASK
        if type_ == PTR_TO_MAP_VALUE:
            _map_value(env, regno, off, size, kind, value, signed)
        elif type_ == PTR_TO_CTX:
            _context(env, regno, off, size, kind, value, signed)
        elif type_ in (PTR_TO_PACKET, PTR_TO_PACKET_META):
            if kind == WRITE:
                if not regions.may_access_packet(env, WRITE, None):
                    env.fail(EACCES, "cannot write into packet")
                _no_leak(env, kind, value, "packet")
            regions.check_packet(env, regno, off, size, False)
            if kind == READ and value >= 0:
                regs[value] = env.unknown
        elif base == PTR_TO_MEM:
            _sized(env, regno, off, size, kind, value)
        elif type_ == PTR_TO_MAP_KEY:
            if kind == WRITE:
                env.fail(EACCES, f"write to change key R{regno} not allowed")
            assert reg.map is not None
            regions.check_region(env, regno, off, size, reg.map.key_size, False)
            if value >= 0:
                regs[value] = env.unknown
        elif type_ == PTR_TO_FLOW_KEYS:
            _no_leak(env, kind, value, "flow keys")
            if size < 0 or off < 0 or off + size > _FLOW_KEYS_SIZE:
                env.fail(EACCES, f"invalid access to flow keys off={off} size={size}")
            if kind == READ and value >= 0:
                regs[value] = env.unknown
        elif type_ in regions.SOCKS:
            _socket(env, regno, off, size, kind, value)
        elif type_ == PTR_TO_TP_BUFFER:
            regions.check_buffer(env, "tracepoint", regno, off, size)
            if kind == READ and value >= 0:
                regs[value] = env.unknown
        elif base == PTR_TO_BTF_ID and not type_ & PTR_MAYBE_NULL:
            typed_access.check(env, regno, off, size, kind, value)
        elif type_ == CONST_PTR_TO_MAP:
            _map_pointer(env, regno, off, size, kind, value)
        elif base == PTR_TO_BUF and not type_ & PTR_MAYBE_NULL:
            read_only = bool(type_ & MEM_RDONLY)
            if read_only and kind == WRITE:
                env.fail(EACCES, f"R{regno} cannot write into {type_name(type_)}")
            regions.check_buffer(env, "rdonly" if read_only else "rdwr", regno, off, size)
            if value >= 0 and (read_only or kind == READ):
                regs[value] = env.unknown
        elif type_ == PTR_TO_ARENA:
            if kind == READ and value >= 0:
                regs[value] = env.unknown
        else:
            env.fail(EACCES, f"R{regno} invalid mem access '{type_name(type_)}'")
    if size < 8 and value >= 0 and kind == READ:
        loaded = regs[value]
        if loaded is env.unknown and not signed:
            regs[value] = env.unknown_bytes[size]
        elif loaded.type == SCALAR_VALUE:
            bounds = loaded.bounds
            bounds = sign_extend(bounds, size) if signed else env.truncate(bounds, size)
            regs[value] = loaded.with_bounds(bounds)


def _sized(env: Env, regno: int, off: int, size: int, kind: int, value: int) -> None:
    regs = env.regs
    reg = regs[regno]
    read_only = bool(reg.type & MEM_RDONLY)
    if reg.type & PTR_MAYBE_NULL:
        env.fail(EACCES, f"R{regno} invalid mem access '{type_name(reg.type)}'")
    if kind == WRITE and read_only:
        env.fail(EACCES, f"R{regno} cannot write into {type_name(reg.type)}")
    _no_leak(env, kind, value, "mem")
    if not (read_only and reg.type & PTR_UNTRUSTED):  # that is read with probes
        regions.check_region(env, regno, off, size, reg.number, False)
    if value >= 0 and (kind == READ or read_only):
        regs[value] = env.unknown


def _socket(env: Env, regno: int, off: int, size: int, kind: int, value: int) -> None:
    regs = env.regs
    reg = regs[regno]
    if kind == WRITE:
        env.fail(EACCES, f"R{regno} cannot write into {type_name(reg.type)}")
    if reg.bounds.r64[2] < 0:
        env.fail(
            EACCES,
            f"R{regno} min value is negative, either use unsigned index or do a if (index >=0) check.",
        )
    if not records.socket_access(regions.SOCKS[reg.type], off, size):
        env.fail(EACCES, f"R{regno} invalid {type_name(reg.type)} access off={off} size={size}")
    if value >= 0:
        regs[value] = env.unknown


def access_typed(env: Env, regno: int, off: int, size: int) -> None:
    """A helper reads what a typed pointer points to."""
    typed_access.check(env, regno, off, size, READ, -1)


def _map_pointer(env: Env, regno: int, off: int, size: int, kind: int, value: int) -> None:
    """A load from struct bpf_map itself (check_ptr_to_map_access): its members need kernel BTF."""
    map_ = env.regs[regno].map
    name = regions.map_struct(map_.type) if map_ is not None else "bpf_map"
    if not env.leaks_allowed:
        shown = f"'struct {name}'" if env.rules.any_memory_for_keys else name
        env.fail(EPERM, f"{shown} access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN")
    if off < 0:
        env.fail(EACCES, f"R{regno} is {name} invalid negative access: off={off}")
    if kind == WRITE:
        env.fail(EACCES, f"only read from {name} is supported")
    typed_access.map_member(env, regno, off, size, name, value)


CTX_POINTERS_BY_NAME: Final = {
    "": SCALAR_VALUE,
    "SCALAR_VALUE": SCALAR_VALUE,
    "PTR_TO_PACKET": PTR_TO_PACKET,
    "PTR_TO_PACKET_META": PTR_TO_PACKET_META,
    "PTR_TO_PACKET_END": 9,
    "PTR_TO_FLOW_KEYS": PTR_TO_FLOW_KEYS,
    "PTR_TO_SOCKET": PTR_TO_SOCKET,
    "PTR_TO_SOCKET_OR_NULL": PTR_TO_SOCKET | PTR_MAYBE_NULL,
    "PTR_TO_SOCK_COMMON": PTR_TO_SOCK_COMMON,
    "PTR_TO_SOCK_COMMON_OR_NULL": PTR_TO_SOCK_COMMON | PTR_MAYBE_NULL,
    "PTR_TO_TP_BUFFER": PTR_TO_TP_BUFFER,
}


def _merge_typed(env: Env, type_: int, seen: int) -> bool:
    """Loads through typed pointers that are trusted differently become loads with probes."""
    kinds = {type_ & BASE_MASK, seen & BASE_MASK}
    if env.rules.leaf_pointers and kinds <= {PTR_TO_BTF_ID, PTR_TO_MEM}:
        base = PTR_TO_MEM if PTR_TO_MEM in kinds else PTR_TO_BTF_ID
        env.aux[env.insn_idx].pointer_type = base | (type_ | seen) & (PTR_UNTRUSTED | MEM_RDONLY)
        return True
    if kinds == {PTR_TO_BTF_ID}:
        env.aux[env.insn_idx].pointer_type = PTR_TO_BTF_ID | PTR_UNTRUSTED
        return True
    return False


def save_pointer_type(env: Env, type_: int, *, loads: bool = False) -> None:
    """One instruction may not be used with pointers that the kernel rewrites differently (save_aux_ptr_type)."""
    aux = env.aux[env.insn_idx]
    seen = aux.pointer_type
    if not seen:
        aux.pointer_type = type_
    elif seen != type_ and (type_ & BASE_MASK in _PARTICULAR or seen & BASE_MASK in _PARTICULAR):
        if loads and _merge_typed(env, type_, seen):
            return
        env.fail(EINVAL, "same insn cannot be used with different pointers")


_PARTICULAR: Final = (
    PTR_TO_CTX, PTR_TO_SOCKET, PTR_TO_SOCK_COMMON, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK, PTR_TO_BTF_ID, PTR_TO_ARENA,
)


def load(env: Env, insn: Insn) -> None:
    """BPF_LDX."""
    code, dst, src, off, _imm = insn
    regs = env.state.frames[-1].regs
    if env.marked or dst >= FP or src > FP or regs[src].type == NOT_INIT:
        use(env, src)
        define(env, dst)
    env.touched_regs |= 1 << dst | 1 << src
    reg = regs[src]
    aux = env.aux[env.insn_idx]
    if reg is aux.before and aux.after is not None:
        regs[dst] = aux.after
        return
    access(env, src, off, op.SIZE_BYTES[code & 0x18], READ, dst, signed=code & 0xE0 == op.BPF_MEMSX)
    save_pointer_type(env, reg.type, loads=True)
    new = regs[dst]
    if new.bounds.checked < env.sane_at:
        new = regs[dst] = env.sane(new, "ldx")
    if reg.type in _SAME_AGAIN and new.type == SCALAR_VALUE and not new.id:
        aux.before, aux.after = reg, new


# A load through the very same pointer gives the same scalar.
_SAME_AGAIN: Final = frozenset((PTR_TO_CTX, PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_MAP_VALUE, PTR_TO_MEM))


def store(env: Env, insn: Insn) -> None:
    """BPF_STX | BPF_MEM."""
    code, dst, src, off, imm = insn
    if code & 0xE0 != op.BPF_MEM or imm:
        env.fail(EINVAL, "BPF_STX uses reserved fields")
    regs = env.state.frames[-1].regs
    if env.marked or dst > FP or src > FP or regs[src].type == NOT_INIT or regs[dst].type == NOT_INIT:
        use(env, src)
        use(env, dst)
    env.touched_regs |= 1 << dst | 1 << src
    type_ = regs[dst].type
    if type_ != PTR_TO_STACK:  # who reads it there may follow it
        env.note_stack_argument(src)
    else:  # its bytes may be read, also on paths that are pruned for others where there are other bytes
        env.note_stack_number(regs[src])
    access(env, dst, off, op.SIZE_BYTES[code & 0x18], WRITE, src)
    save_pointer_type(env, type_)


def store_imm(env: Env, insn: Insn) -> None:
    """BPF_ST | BPF_MEM."""
    if insn.opcode & 0xE0 != op.BPF_MEM or insn.src:
        env.fail(EINVAL, "BPF_ST uses reserved fields")
    use(env, insn.dst)
    type_ = env.regs[insn.dst].type
    if type_ == PTR_TO_CTX and not env.rules.store_imm_to_context:
        env.fail(EACCES, f"BPF_ST stores into R{insn.dst} {type_name(type_)} is not allowed")
    access(env, insn.dst, insn.off, op.SIZE_BYTES[insn.opcode & 0x18], WRITE, -1)
    save_pointer_type(env, type_)


_RMW: Final = frozenset(
    operation | fetch
    for operation in (op.BPF_ADD, op.BPF_AND, op.BPF_OR, op.BPF_XOR)
    for fetch in (0, op.BPF_FETCH)
) | {op.BPF_XCHG, op.BPF_CMPXCHG}


def atomic(env: Env, insn: Insn) -> None:
    """BPF_STX | BPF_ATOMIC (check_atomic)."""
    imm = insn.imm
    if imm in (op.BPF_LOAD_ACQ, op.BPF_STORE_REL) and env.rules.acquire_release:
        _acquire_release(env, insn)
        return
    if imm not in _RMW:
        env.fail(EINVAL, f"BPF_ATOMIC uses invalid atomic opcode {imm & 0xFFFFFFFF:02x}")
    size_code = insn.opcode & 0x18
    if size_code not in (op.BPF_W, op.BPF_DW):
        env.fail(EINVAL, "invalid atomic operand size")
    use(env, insn.src)
    use(env, insn.dst)
    regs = env.regs
    if imm == op.BPF_CMPXCHG:
        use(env, 0)
        if env.is_pointer(regs[0]):
            env.fail(EACCES, "R0 leaks addr into mem")
    if env.is_pointer(regs[insn.src]):
        env.fail(EACCES, f"R{insn.src} leaks addr into mem")
    env.note_stack_number(regs[insn.src])
    if not _atomic_ok(regs[insn.dst], imm):
        env.fail(EACCES, f"BPF_ATOMIC stores into R{insn.dst} {type_name(regs[insn.dst].type)} is not allowed")
    target = -1
    if imm & op.BPF_FETCH:
        target = 0 if imm == op.BPF_CMPXCHG else insn.src
        define(env, target)
        regs[target] = env.unknown
    size = op.SIZE_BYTES[size_code]
    access(env, insn.dst, insn.off, size, READ, -1, strict=True)
    if target >= 0:
        access(env, insn.dst, insn.off, size, READ, target, strict=True)
    save_pointer_type(env, regs[insn.dst].type)
    access(env, insn.dst, insn.off, size, WRITE, -1, strict=True)


# Of these the x86-64 JIT has no form that survives a fault, which memory of arenas may cause.
_NOT_IN_ARENA: Final = (
    op.BPF_AND | op.BPF_FETCH, op.BPF_OR | op.BPF_FETCH, op.BPF_XOR | op.BPF_FETCH, op.BPF_LOAD_ACQ, op.BPF_STORE_REL,
)


def _atomic_ok(reg: Reg, what: int) -> bool:
    type_ = reg.type
    if type_ & BASE_MASK == PTR_TO_ARENA:
        return what not in _NOT_IN_ARENA
    return type_ != PTR_TO_CTX and type_ not in (PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_FLOW_KEYS) \
        and type_ & BASE_MASK not in regions.SOCKS


def _acquire_release(env: Env, insn: Insn) -> None:
    """Linux 6.15: load-acquire and store-release."""
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    loads = insn.imm == op.BPF_LOAD_ACQ
    regs = env.regs
    if loads:
        use(env, insn.src)
        define(env, insn.dst)
        pointer = regs[insn.src]
        access(env, insn.src, insn.off, size, READ, insn.dst, strict=True)
        save_pointer_type(env, pointer.type)
        regs[insn.dst] = env.sane(regs[insn.dst], "atomic_load")
        if not _atomic_ok(pointer if insn.dst != insn.src else regs[insn.src], insn.imm):
            env.fail(EACCES, f"BPF_ATOMIC loads from R{insn.src} {type_name(pointer.type)} is not allowed")
        return
    use(env, insn.src)
    use(env, insn.dst)
    type_ = regs[insn.dst].type
    access(env, insn.dst, insn.off, size, WRITE, insn.src, strict=True)
    save_pointer_type(env, type_)
    if not _atomic_ok(regs[insn.dst], insn.imm):
        env.fail(EACCES, f"BPF_ATOMIC stores into R{insn.dst} {type_name(type_)} is not allowed")
