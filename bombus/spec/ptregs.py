"""Where each architecture keeps arguments, results and addresses when a probe fires, as members of its struct pt_regs.

Sources: Linux 6.12 arch/*/include/asm/ptrace.h and arch/*/include/uapi/asm/ptrace.h for the names of members,
arch/*/include/asm/syscall.h (syscall_get_arguments) for system calls, the processors' calling conventions for the rest,
arch/*/Kconfig (ARCH_HAS_SYSCALL_WRAPPER).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PtRegs:
    """One way to name registers.

    target: X of __TARGET_ARCH_X; machines: what `uname -m` says there. cast: the type whose members these are, "" for
    struct pt_regs itself. args: of functions; syscall_args: of system calls. syscall_original: (struct, member) of the
    kernel-internal struct that keeps the first argument of a system call, since its register is overwritten. ret:
    where the return address is ("*sp": on the stack); fp: frame pointer, "" when there is none. wrapped: system calls
    are functions that get a pointer to the registers. condition: of the preprocessor, when an architecture has several
    ways.
    """

    target: str
    machines: tuple[str, ...]
    args: tuple[str, ...]
    syscall_args: tuple[str, ...]
    ret: str
    fp: str
    rc: str
    sp: str
    ip: str
    cast: str = ""
    syscall_original: tuple[str, str] | None = None
    wrapped: bool = False
    condition: str = ""


def _numbered(name: str, first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{name}[{index}]" for index in range(first, first + count))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SPARC = _words("u_regs[8] u_regs[9] u_regs[10] u_regs[11] u_regs[12] u_regs[13]")  # UREG_I0 to UREG_I5
_A = _words("a0 a1 a2 a3 a4 a5 a6 a7")
_SCRATCH = tuple(f"scratch.r{index}" for index in range(8))

PT_REGS: Final[tuple[PtRegs, ...]] = (
    # The kernel's own struct pt_regs and the one for user space name the same registers differently.
    PtRegs(
        "x86", ("x86_64", "i386", "i486", "i586", "i686"), _words("di si dx cx r8 r9"), _words("di si dx r10 r8 r9"),
        "*sp", "bp", "ax", "sp", "ip", wrapped=True, condition="defined(__KERNEL__) || defined(__VMLINUX_H__)",
    ),
    PtRegs(
        "x86", (), _words("eax edx ecx"), _words("ebx ecx edx esi edi ebp"), "*esp", "ebp", "eax", "esp", "eip",
        wrapped=True, condition="defined(__i386__)",
    ),
    PtRegs(
        "x86", (), _words("rdi rsi rdx rcx r8 r9"), _words("rdi rsi rdx r10 r8 r9"), "*rsp", "rbp", "rax", "rsp",
        "rip", wrapped=True,
    ),
    PtRegs(
        "s390", ("s390", "s390x"), _numbered("gprs", 2, 5), ("", *_numbered("gprs", 3, 5)), "gprs[14]", "gprs[11]",
        "gprs[2]", "gprs[15]", "psw.addr", cast="user_pt_regs", syscall_original=("pt_regs___s390", "orig_gpr2"),
        wrapped=True,
    ),
    PtRegs(
        "arm", ("arm", "armv6l", "armv7l", "armv8l"), _numbered("uregs", 0, 4), _numbered("uregs", 0, 7), "uregs[14]",
        "uregs[11]", "uregs[0]", "uregs[13]", "uregs[15]",
    ),
    PtRegs(
        "arm64", ("aarch64", "arm64"), _numbered("regs", 0, 8), ("", *_numbered("regs", 1, 5)), "regs[30]",
        "regs[29]", "regs[0]", "sp", "pc", cast="struct user_pt_regs",
        syscall_original=("pt_regs___arm64", "orig_x0"), wrapped=True,
    ),
    PtRegs(
        "mips", ("mips", "mips64"), _numbered("regs", 4, 8), _numbered("regs", 4, 6), "regs[31]", "regs[30]",
        "regs[2]", "regs[29]", "cp0_epc",
    ),
    PtRegs(
        "powerpc", ("ppc", "ppc64", "ppc64le"), _numbered("gpr", 3, 8), ("orig_gpr3", *_numbered("gpr", 4, 6)),
        "link", "gpr[31]", "gpr[3]", "gpr[1]", "nip",
    ),
    PtRegs(
        "sparc", ("sparc64",), _SPARC, _SPARC, "u_regs[15]", "", "u_regs[8]", "u_regs[14]", "tpc",
        condition="defined(__arch64__)",
    ),
    PtRegs("sparc", ("sparc",), _SPARC, _SPARC, "u_regs[15]", "", "u_regs[8]", "u_regs[14]", "pc"),
    PtRegs(
        "riscv", ("riscv64", "riscv32"), _A, ("", *_A[1:6]), "ra", "s0", "a0", "sp", "pc",
        cast="struct user_regs_struct", syscall_original=("pt_regs___riscv", "orig_a0"), wrapped=True,
    ),
    PtRegs(
        "arc", ("arc",), _SCRATCH, _SCRATCH[:6], "scratch.blink", "scratch.fp", "scratch.r0", "scratch.sp",
        "scratch.ret", cast="struct user_regs_struct",
    ),
    PtRegs(
        "loongarch", ("loongarch64", "loongarch32"), _numbered("regs", 4, 8), ("orig_a0", *_numbered("regs", 5, 5)),
        "regs[1]", "regs[22]", "regs[4]", "regs[3]", "csr_era", cast="struct user_pt_regs",
    ),
)  # fmt: skip

TARGETS: Final[tuple[str, ...]] = tuple(dict.fromkeys(row.target for row in PT_REGS))
TARGET_OF_MACHINE: Final[dict[str, str]] = {machine: row.target for row in PT_REGS for machine in row.machines}
