"""bpf_pt_regs.h: registers of probes, from `spec.ptregs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bombus.spec.ptregs import PT_REGS, TARGETS, PtRegs

_HEAD = """\
/* SPDX-License-Identifier: BSD-2-Clause */
/* Made by tools/gen-headers from spec/ptregs.py. Registers of probes; included by bpf_tracing.h. */
#ifndef __BPF_PT_REGS_H__
#define __BPF_PT_REGS_H__

/* Without a target, that of the compiler, when it is made for a processor other than BPF. */
"""

_HOSTS = (
    ("x86", "defined(__x86_64__) || defined(__i386__)"), ("s390", "defined(__s390__)"), ("arm", "defined(__arm__)"),
    ("arm64", "defined(__aarch64__)"), ("mips", "defined(__mips__)"), ("powerpc", "defined(__powerpc__)"),
    ("sparc", "defined(__sparc__)"), ("riscv", "defined(__riscv)"), ("arc", "defined(__arc__)"),
    ("loongarch", "defined(__loongarch__)"),
)  # fmt: skip

ARGS = 8
SYSCALL_ARGS = 7


def page() -> str:
    """The header's text."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "#if !(" + " || ".join(f"defined(__TARGET_ARCH_{target})" for target in TARGETS) + ")"
    for index, (target, condition) in enumerate(_HOSTS):
        yield f"#{'elif' if index else 'if'} {condition}"
        yield f"#define __TARGET_ARCH_{target}"
    yield from ("#endif", "#endif", "")
    for index, target in enumerate(TARGETS):
        yield f"#{'elif' if index else 'if'} defined(__TARGET_ARCH_{target})"
        yield "#define __bpf_target_known"
        yield from _target([row for row in PT_REGS if row.target == target])
    yield from ("#endif", "", "struct pt_regs;", "")
    yield from _macros()
    yield from ("", "#endif")


def _target(rows: list[PtRegs]) -> Iterator[str]:
    first = rows[0]
    if first.wrapped:
        yield "#define __PT_SYSCALL_WRAPPED"
    if first.syscall_original is not None:
        struct, member = first.syscall_original
        yield f"struct {struct} {{ unsigned long {member}; }} __attribute__((preserve_access_index));"
    if first.cast:
        yield f"#define __PT_REGS_CAST(x) ((const {first.cast} *)(x))"
    for index, row in enumerate(rows):
        if row.condition:
            yield f"#{'elif' if index else 'if'} {row.condition}"
        elif index:
            yield "#else"
        yield from _registers(row)
    if len(rows) > 1:
        yield "#endif"


def _registers(row: PtRegs) -> Iterator[str]:
    for number, name in enumerate(row.args, 1):
        yield f"#define __PT_PARM{number}_REG {name}"
    for number, name in enumerate(row.syscall_args, 1):
        if name:
            yield f"#define __PT_PARM{number}_SYSCALL_REG {name}"
    if row.syscall_original is not None:
        struct, member = row.syscall_original
        yield "#define PT_REGS_PARM1_SYSCALL(x) PT_REGS_PARM1_CORE_SYSCALL(x)"
        yield f"#define PT_REGS_PARM1_CORE_SYSCALL(x) BPF_CORE_READ((const struct {struct} *)(x), {member})"
    if row.ret.startswith("*"):
        yield "#define __PT_RET_ON_STACK"
    for name, register in (
        ("RET", row.ret.removeprefix("*")), ("FP", row.fp), ("RC", row.rc), ("SP", row.sp), ("IP", row.ip),
    ):  # fmt: skip
        if register:
            yield f"#define __PT_{name}_REG {register}"


def _macros() -> Iterator[str]:
    yield "#ifdef __bpf_target_known"
    yield "#ifndef __PT_REGS_CAST\n#define __PT_REGS_CAST(x) (x)\n#endif"
    yield from ("", "/* What the program may read itself, and what it reads with a helper and CO-RE. */")
    yield from _reads((f"PARM{number}", f"PARM{number}", number > 3) for number in range(1, ARGS + 1))
    yield from _reads((name, name, name == "FP") for name in ("RET", "FP", "RC", "SP", "IP"))
    yield from ("", "/* A system call's arguments, from the registers of user space. */")
    yield from _syscall_reads()
    yield _RETURN_ADDRESS
    yield "#else /* no target */"
    yield from _unknown()
    yield "#endif"


def _reads(rows: Iterable[tuple[str, str, bool]]) -> Iterator[str]:
    for name, register, optional in rows:
        if optional:
            yield f"#ifdef __PT_{register}_REG"
        yield f"#define PT_REGS_{name}(x) (__PT_REGS_CAST(x)->__PT_{register}_REG)"
        yield f"#define PT_REGS_{name}_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_{register}_REG)"
        if optional:
            yield "#else"
            yield f'#define PT_REGS_{name}(x) __bpf_no_register("PT_REGS_{name}")'
            yield f'#define PT_REGS_{name}_CORE(x) __bpf_no_register("PT_REGS_{name}_CORE")'
            yield "#endif"


def _syscall_reads() -> Iterator[str]:
    for number in range(1, SYSCALL_ARGS + 1):
        name, core = f"PT_REGS_PARM{number}_SYSCALL", f"PT_REGS_PARM{number}_CORE_SYSCALL"
        register = f"__PT_PARM{number}_SYSCALL_REG"
        yield f"#ifdef {register}"
        yield f"#define {name}(x) (__PT_REGS_CAST(x)->{register})"
        yield f"#define {core}(x) BPF_CORE_READ(__PT_REGS_CAST(x), {register})"
        yield f"#elif !defined({core})"
        yield f'#define {name}(x) __bpf_no_register("{name}")'
        yield f'#define {core}(x) __bpf_no_register("{core}")'
        yield "#endif"


_RETURN_ADDRESS = """
#define __bpf_no_register(name) \\
	({ _Static_assert(0, name ": this architecture has no such register"); 0l; })

/* The address that the probed function returns to. */
#ifdef __PT_RET_ON_STACK
#define BPF_KPROBE_READ_RET_IP(ip, ctx) \\
	({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)PT_REGS_RET(ctx)); })
#define BPF_KRETPROBE_READ_RET_IP(ip, ctx) \\
	({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)(PT_REGS_FP(ctx) + sizeof(ip))); })
#else
#define BPF_KPROBE_READ_RET_IP(ip, ctx) ({ (ip) = PT_REGS_RET(ctx); })
#define BPF_KRETPROBE_READ_RET_IP BPF_KPROBE_READ_RET_IP
#endif

/* The registers of user space, given those of a probe on a system call's function. */
#ifdef __PT_SYSCALL_WRAPPED
#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))
#else
#define PT_REGS_SYSCALL_REGS(ctx) ctx
#endif
"""


def _unknown() -> Iterator[str]:
    yield "#ifndef __BPF_TARGET_MISSING"
    yield '#define __BPF_TARGET_MISSING "GCC error \\"Must specify a BPF target arch via __TARGET_ARCH_xxx\\""'
    yield "#endif"
    names = [f"PARM{number}" for number in range(1, ARGS + 1)] + ["RET", "FP", "RC", "SP", "IP"]
    macros = [f"PT_REGS_{name}{core}(x)" for name in names for core in ("", "_CORE")]
    macros += [f"PT_REGS_PARM{n}{core}_SYSCALL(x)" for n in range(1, SYSCALL_ARGS + 1) for core in ("", "_CORE")]
    macros += ["BPF_KPROBE_READ_RET_IP(ip, ctx)", "BPF_KRETPROBE_READ_RET_IP(ip, ctx)", "PT_REGS_SYSCALL_REGS(ctx)"]
    for macro in macros:
        yield f"#define {macro} ({{ _Pragma(__BPF_TARGET_MISSING); 0l; }})"
