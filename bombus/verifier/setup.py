"""Before the walk: BTF of functions and lines, and what ld_imm64 instructions refer to.

Linux 6.12 kernel/bpf/verifier.c: check_btf_func, check_btf_line, resolve_pseudo_ldimm64.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import DataSec, Func, Kind, Struct, Union, Var
from bombus.errors import BtfError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.spec.maptypes import MAP_TYPE, MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier import btfkit, special
from bombus.verifier.env import (
    E2BIG,
    EBADF,
    EBUSY,
    EEXIST,
    EINVAL,
    ENOENT,
    EPERM,
    EPROTO,
    MAX_MAPS,
    MAX_VAR_OFF,
    Env,
)
from bombus.verifier.opcodes import known
from bombus.verifier.program import MapInfo
from bombus.verifier.regs import MEM_PERCPU, MEM_RDONLY, PTR_TO_BTF_ID, PTR_TO_MEM, ZERO, Reg

_GLOBAL: Final = 1  # BTF_FUNC_GLOBAL
_ARENA: Final = MAP_TYPE["BPF_MAP_TYPE_ARENA"].id
_ARRAY: Final = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
_STRUCT_OPS: Final = MAP_TYPE["BPF_MAP_TYPE_STRUCT_OPS"].id
_STORAGE: Final = (
    MAP_TYPE["BPF_MAP_TYPE_CGROUP_STORAGE"].id, MAP_TYPE["BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE"].id,
)
_SOCKET_FILTER: Final = PROG_TYPE["BPF_PROG_TYPE_SOCKET_FILTER"].id
_TRACING: Final = tuple(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id
    for name in ("KPROBE", "TRACEPOINT", "PERF_EVENT", "RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE")
)


def check_functions_early(env: Env) -> None:
    """func_info records name functions, in order. Kernels before 6.7 look at all of it later, record by record."""
    program = env.program
    if not env.rules.functions_checked_early:
        return
    if not program.func_info:
        _no_abnormal_return(env)
        return
    btf = program.btf
    if btf is None:
        env.fail(EBADF)
    for i in range(len(program.func_info)):
        _check_offset(env, i)
        _check_function(env, btf, i)


def find_exception_callback(env: Env) -> None:
    """The function that a declaration tag of the main program names (bpf_find_exception_callback_insn_off)."""
    program = env.program
    btf = program.btf
    if not program.func_info or btf is None:
        return
    names = btfkit.exception_callbacks(btf, program.func_info[0].type_id)
    if not names:
        return
    if len(names) > 1:
        env.fail(EEXIST, "multiple exception callback tags for main subprog")
    name = names[0]
    found = btf.find(name, Kind.FUNC)
    if found is None:
        env.fail(ENOENT, f"exception callback '{name}' could not be found in BTF")
    if btfkit.function(btf, found)[1] != _GLOBAL:
        env.fail(EINVAL, f"exception callback '{name}' must have global linkage")
    starts = [info.insn for info in program.func_info if info.type_id == found]
    if not starts:
        env.fail(EINVAL, "exception callback type id not found in func_info")
    if not starts[-1]:
        env.fail(EINVAL, "invalid exception callback insn_off in func_info: 0")
    env.exception_callback = starts[-1]


def _check_offset(env: Env, i: int) -> None:
    at = env.program.func_info[i].insn
    if i == 0:
        if at:
            env.say(f"nonzero insn_off {at} for the first func info record")
            env.fail(EINVAL)
        return
    before = env.program.func_info[i - 1].insn
    if at <= before:
        env.say(f"same or smaller insn offset ({at}) than previous func info record ({before})")
        env.fail(EINVAL)


def _check_function(env: Env, btf: Btf, i: int) -> None:
    type_id = env.program.func_info[i].type_id
    if not btfkit.is_func(btf, type_id):
        env.say(f"invalid type id {type_id} in func info")
        env.fail(EINVAL)
    if not btfkit.is_func_proto(btf, btfkit.proto_of(btf, type_id)):
        env.fail(EINVAL)


def _no_abnormal_return(env: Env) -> None:
    for subprog in env.subprogs[1:]:
        if subprog.has_ld_abs:
            env.fail(EINVAL, "LD_ABS is not allowed in subprogs without BTF")
        if subprog.has_tail_call:
            env.fail(EINVAL, "tail_call is not allowed in subprogs without BTF")


def check_functions(env: Env) -> None:
    """func_info matches the subprograms; those that may end early return int."""
    program = env.program
    if not program.func_info:
        _no_abnormal_return(env)
        return
    btf = program.btf
    if btf is None:
        env.fail(EBADF)
    if len(program.func_info) != len(env.subprogs):
        env.fail(EINVAL, "number of funcs in func_info doesn't match number of subprogs")
    for i, (info, subprog) in enumerate(zip(program.func_info, env.subprogs, strict=True)):
        if not env.rules.functions_checked_early:
            _check_offset(env, i)
        if subprog.start != info.insn:
            env.fail(EINVAL, "func_info BTF section doesn't match subprog layout in BPF program")
        if not env.rules.functions_checked_early:
            _check_function(env, btf, i)
        subprog.type_id = info.type_id
        subprog.name, subprog.linkage = btfkit.function(btf, info.type_id)
        if i and not btfkit.returns_scalar(btf, info.type_id):
            if subprog.has_ld_abs:
                env.fail(EINVAL, "LD_ABS is only allowed in functions that return 'int'.")
            if subprog.has_tail_call:
                env.fail(EINVAL, "tail_call is only allowed in functions that return 'int'.")


def check_lines(env: Env) -> None:
    """line_info records are in order, and every subprogram has a first line."""
    lines = env.program.line_info
    if not lines:
        return
    before = 0
    number = 0
    for i, info in enumerate(lines):
        if (i and info.insn <= before) or info.insn >= len(env.insns):
            env.fail(
                EINVAL,
                f"Invalid line_info[{i}].insn_off:{info.insn} (prev_offset:{before} prog->len:{len(env.insns)})",
            )
        if not env.insns[info.insn].opcode:
            env.fail(EINVAL, f"Invalid insn code at line_info[{i}].insn_off")
        if info.file_offset < 0:
            env.fail(EINVAL, f"Invalid line_info[{i}].line_off or .file_name_off")
        if number < len(env.subprogs):
            start = env.subprogs[number].start
            if info.insn == start:
                number += 1
            elif start < info.insn:
                env.fail(EINVAL, f"missing bpf_line_info for func#{number}")
        before = info.insn
    if number != len(env.subprogs):
        env.fail(
            EINVAL, f"missing bpf_line_info for {len(env.subprogs) - number} funcs starting from func#{number}"
        )
    at = 0
    for i in range(len(env.insns)):
        while at + 1 < len(lines) and lines[at + 1].insn <= i:
            at += 1
        env.line_at[i] = lines[at]


# What ld_imm64 refers to.


def _loads(env: Env) -> tuple[int, ...]:
    return (op.BPF_MEM, op.BPF_MEMSX) if env.rules.cpu_v4 else (op.BPF_MEM,)


def resolve_references(env: Env) -> None:
    """Maps by file descriptor or index, and opcodes that no instruction has."""
    insns = env.insns
    opcodes = known(env.rules)
    i = 0
    while i < len(insns):
        code, _dst, src, _off, imm = insns[i]
        if code & 7 == op.BPF_LDX and (code & 0xE0 not in _loads(env) or imm):
            env.fail(EINVAL, "BPF_LDX uses reserved fields")
        if code != op.LD_IMM64:
            if code not in opcodes:
                env.fail(EINVAL, f"unknown opcode {code:02x}")
            i += 1
            continue
        if i == len(insns) - 1 or insns[i + 1][:4] != (0, 0, 0, 0):
            env.fail(EINVAL, "invalid bpf_ld_imm64 insn")
        if src == op.BPF_PSEUDO_BTF_ID:
            _kernel_symbol(env, i)
        elif src not in (0, op.BPF_PSEUDO_FUNC):
            _resolve_map(env, i)
        i += 2


def _kernel_symbol(env: Env, at: int) -> None:
    """A variable or function of the kernel, by its BTF id (check_pseudo_btf_id). Its address is made up."""
    first, second = env.insns[at], env.insns[at + 1]
    btf = env.kernel_btf("addresses of kernel symbols")
    if second.imm:
        btf = env.module_btf(second.imm, "addresses of kernel modules' symbols")
    type_id = first.imm
    type_ = btfkit.type_or_none(btf, type_id)
    if type_ is None:
        env.fail(ENOENT, f"ldimm64 insn specifies invalid btf_id {type_id}.")
    if not isinstance(type_, (Var, Func)):
        env.fail(EINVAL, f"pseudo btf_id {type_id} in ldimm64 isn't KIND_VAR or KIND_FUNC")
    if isinstance(type_, Var) and not env.program.data_symbols:
        env.fail(ENOENT, f"ldimm64 failed to find the address for kernel symbol '{type_.name}'.")
    address = 0xFFFF_FFFF_8100_0000 + 16 * type_id
    env.insns[at] = Insn(first.opcode, first.dst, first.src, first.off, _signed32(address))
    env.insns[at + 1] = Insn(0, 0, 0, 0, _signed32(address >> 32))
    if isinstance(type_, Func):
        env.aux[at].variable = Reg(PTR_TO_MEM | MEM_RDONLY, ZERO)
        return
    section = btf.find(".data..percpu", Kind.DATASEC)
    percpu = btf.type(section) if section is not None else None
    if isinstance(percpu, DataSec) and any(one.type == type_id for one in percpu.vars):
        env.aux[at].variable = Reg(PTR_TO_BTF_ID | MEM_PERCPU, ZERO, btf=btf, btf_id=type_.type)
    elif isinstance(btf.resolved(type_.type), (Struct, Union)):
        env.aux[at].variable = Reg(PTR_TO_BTF_ID, ZERO, btf=btf, btf_id=type_.type)
    else:
        try:
            size = btf.size_of(type_.type)
        except BtfError:
            name = btf.resolved(type_.type).name
            env.fail(EINVAL, f"ldimm64 unable to resolve the size of type '{name}': -22")
        env.aux[at].variable = Reg(PTR_TO_MEM | MEM_RDONLY, ZERO, number=size)


def _resolve_map(env: Env, at: int) -> None:
    first, second = env.insns[at], env.insns[at + 1]
    src = first.src
    by_value = src in (op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX_VALUE)
    if not by_value and (src not in (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_IDX) or second.imm):
        env.fail(EINVAL, "unrecognized bpf_ld_imm64 insn")
    fd = first.imm
    if src in (op.BPF_PSEUDO_MAP_IDX, op.BPF_PSEUDO_MAP_IDX_VALUE):
        array = env.program.fd_array
        if not array:
            env.fail(EPROTO, "fd_idx without fd_array is invalid")
        if not 0 <= first.imm < len(array):
            env.fail(14)
        fd = array[first.imm]
    map_ = env.program.maps.get(fd)
    if map_ is None:
        env.fail(EINVAL if fd in env.program.other_fds else EBADF, f"fd {fd} is not pointing to valid bpf_map")
    reused = any(map_ is used for used in env.used_maps)
    if not reused:
        if len(env.used_maps) >= MAX_MAPS:
            env.fail(E2BIG, f"The total number of maps per program has reached the limit of {MAX_MAPS}")
        env.used_maps.append(map_)
    aux = env.aux[at]
    aux.map = None
    if not env.rules.map_checks_once or not reused:
        _compatible(env, map_)
    address = map_.pointer
    if by_value:
        off = second.imm & 0xFFFFFFFF
        if off >= MAX_VAR_OFF:
            env.fail(EINVAL, f"direct value offset of {off} is not allowed")
        if map_.type not in (_ARRAY, _ARENA):
            env.fail(EINVAL, "no direct value access support for this map type")
        if (map_.type == _ARRAY and (map_.max_entries != 1 or off >= map_.value_size)) or (
            map_.type == _ARENA and off >= map_.max_entries * 4096
        ):
            errno = 524 if map_.type == _ARRAY and map_.max_entries != 1 else EINVAL
            if map_.type == _ARENA:
                errno = 34
            env.fail(errno, f"invalid access to map value pointer, value_size={map_.value_size} off={off}")
        aux.map_off = off
        address = map_.address + off
    env.insns[at] = Insn(first.opcode, first.dst, first.src, first.off, _signed32(address))
    env.insns[at + 1] = Insn(0, 0, 0, 0, _signed32(address >> 32))
    aux.map = map_
    if reused:
        return
    if map_.type in _STORAGE and any(m.type == map_.type and m is not map_ for m in env.used_maps):
        env.fail(EBUSY, "only one cgroup storage of each type is allowed")
    if map_.type == _ARENA:
        if env.arena is not None:
            env.fail(EBUSY, "Only one arena per program")
        if not env.leaks_allowed or not env.bpf_capable:
            env.fail(EPERM, "CAP_BPF and CAP_PERFMON are required to use arena")
        env.arena = map_
        if not map_.user_start:
            env.fail(EINVAL, "arena's user address must be set via map_extra or mmap()")


def _signed32(number: int) -> int:
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def _compatible(env: Env, map_: MapInfo) -> None:
    """Whether programs of this type may use this map (check_map_prog_compatibility)."""
    tracing = env.program.prog_type in _TRACING
    kinds = {field.kind for field in map_.fields}
    if tracing and kinds & {"list_head", "rb_root"}:
        env.fail(EINVAL, "tracing progs cannot use bpf_{list_head,rb_root} yet")
    if kinds & {"spin_lock", "res_spin_lock"}:
        if env.program.prog_type == _SOCKET_FILTER:
            env.fail(EINVAL, "socket filter progs cannot use bpf_spin_lock yet")
        if tracing:
            env.fail(EINVAL, "tracing progs cannot use bpf_spin_lock yet")
    if tracing and "timer" in kinds:
        env.fail(EINVAL, "tracing progs cannot use bpf_timer yet")
    if tracing and "wq" in kinds:
        env.fail(EINVAL, "tracing progs cannot use bpf_wq yet")
    if map_.type == _STRUCT_OPS:
        env.fail(EINVAL, "bpf_struct_ops map cannot be used in prog")
    if env.sleepable and not MAP_TYPE_BY_ID[map_.type].sleepable:
        env.fail(
            EINVAL, "Sleepable programs can only use array, hash, ringbuf and local storage maps"
        )


__all__ = ["BtfError", "special"]
