"""How programs get the arguments of system calls and of static probes in user programs: code of the dialect itself,
which comes into programs that name such arguments.

Facts: Linux 6.12 tools/lib/bpf/usdt.bpf.h (the map that loaders fill in), bpf_tracing.h (PT_REGS_PARM1_SYSCALL).
"""

from __future__ import annotations

from bombus.bpf import core, helpers, map
from bombus.bpf.contexts import PtRegs
from bombus.bpf.ints import s16, s64, u8, u32, u64
from bombus.bpf.struct import Array, Struct, array

MOST_USDT = 12  # BPF_USDT_MAX_ARG_CNT


class UsdtArgument(Struct, name="__bpf_usdt_arg_spec"):
    """Where one argument lies."""

    val_off: u64
    arg_type: u32  # 0: val_off is the value, 1: it is in a register, 2: in user memory, val_off from where one points
    reg_off: s16
    arg_signed: bool
    arg_bitshift: u8  # 64 less the bits of the value


class UsdtSpec(Struct, name="__bpf_usdt_spec"):
    """One place of a probe."""

    args: Array[UsdtArgument] = array(MOST_USDT)
    usdt_cookie: u64
    arg_cnt: s16


__bpf_usdt_specs = map.array(u32, UsdtSpec, max_entries=256)


@core.inline
def usdt_argument(ctx: PtRegs, number: u32) -> s64:
    """An argument from 0 on; 0 for one that the probe does not have, or that cannot be read."""
    spec = __bpf_usdt_specs.lookup(u32(helpers.get_attach_cookie(ctx)))
    if spec is None or s64(number) >= s64(spec.arg_cnt):
        return s64(0)
    argument = spec.args[number]
    value = core.local(u64(0))
    value.value = argument.val_off
    if argument.arg_type != 0:
        helpers.probe_read_kernel(value, 8, core.context_address(ctx) + u64(argument.reg_off))
        if argument.arg_type == 2:
            helpers.probe_read_user(value, 8, value.value + argument.val_off)
    wide = value.value << argument.arg_bitshift
    if argument.arg_signed:
        return s64(wide) >> argument.arg_bitshift
    return s64(wide >> argument.arg_bitshift)


@core.inline
def syscall_argument(ctx: PtRegs, offset: u64) -> s64:
    """The register at an offset of those that a system call was entered with, which its wrapper gets the address of
    (x86-64 since Linux 4.17, ARCH_HAS_SYSCALL_WRAPPER)."""
    value = core.local(u64(0))
    helpers.probe_read_kernel(value, 8, ctx.di + offset)
    return s64(value.value)
