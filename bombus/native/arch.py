"""The architectures: how their code is made, how it asks the kernel, what their files are called by qemu.

Facts: Linux 6.12 arch/*/kernel/syscalls and entry code, the psABIs (registers of system calls).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from bombus.errors import UsageError
from bombus.jit.target import TARGETS, WASM, Target


@dataclass(frozen=True, slots=True)
class Syscall:
    """System calls. code: machine code of `word bombus_system(word number, word a, word b, word c)`, which returns a
    negative errno or the result, in the architecture's C calling convention. read, write, exit, clock: the numbers;
    clock is clock_gettime with 64 bits for each number."""

    code: bytes
    read: int
    write: int
    exit: int
    clock: int


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture. names: other names for it; qemu: what follows "qemu-" in the name of its user-mode emulator;
    static: the target for executables, whose code stays where it was linked to; routines: it needs `runtime.routines`;
    start: attributes of the function that the kernel enters."""

    name: str
    target: Target
    static: Target
    qemu: str
    syscall: Syscall
    names: tuple[str, ...] = ()
    routines: bool = False
    start: str = ""

    @property
    def bits(self) -> int:
        return self.target.pointer_bits


_GENERIC = (63, 64, 93, 113)  # include/uapi/asm-generic/unistd.h
_OLD = (3, 4, 1, 403)  # those with 64 bits have another clock_gettime
_O32 = (4003, 4004, 4001, 4403)
_N64 = (5000, 5001, 5058, 5222)
_X86_64 = (0, 1, 60, 228)


def _arch(
    name: str,
    code: str,
    numbers: tuple[int, int, int, int],
    *,
    qemu: str = "",
    triple: str = "",
    features: str = "",
    cpu: str = "",
    names: tuple[str, ...] = (),
    start: str = "",
) -> Arch:
    target = TARGETS[name]
    target = target._replace(cpu=cpu or target.cpu)
    joined = ",".join(part for part in (target.features, features) if part)
    static = target._replace(triple=triple or target.triple, features=joined, relocation="static")
    call = Syscall(bytes.fromhex(code), *numbers)
    return Arch(name, target, static, qemu or name, call, names, target.pointer_bits == 32, start)


# It is entered without a return address on the stack, so the stack is aligned differently from what functions expect.
_REALIGN = '"stackrealign" alignstack(16)'

# The code moves the arguments to where the kernel wants them, traps, makes a flagged error negative, and returns.
_ROWS = (
    # mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; mov %rcx,%rdx; syscall; ret
    _arch("x86_64", "4889f8 4889f7 4889d6 4889ca 0f05 c3", _X86_64, names=("x86-64", "amd64"), start=_REALIGN),
    # push %ebx; mov 8(%esp),%eax; mov 12(%esp),%ebx; mov 16(%esp),%ecx; mov 20(%esp),%edx; int $0x80; pop %ebx; ret
    _arch("i386", "53 8b442408 8b5c240c 8b4c2410 8b542414 cd80 5b c3", _OLD, names=("x86", "i686"), start=_REALIGN),
    # push {r7, lr}; mov r7, r0; mov r0, r1; mov r1, r2; mov r2, r3; svc #0; pop {r7, pc}
    _arch("arm", "80402de9 0070a0e1 0100a0e1 0210a0e1 0320a0e1 000000ef 8080bde8", _OLD, names=("armv7",)),
    # mov x8, x0; mov x0, x1; mov x1, x2; mov x2, x3; svc #0; ret
    _arch("aarch64", "e80300aa e00301aa e10302aa e20303aa 010000d4 c0035fd6", _GENERIC, names=("arm64",)),
    # mr 0,3; mr 3,4; mr 4,5; mr 5,6; sc; bnslr; neg 3,3; blr
    _arch("ppc", "7c601b78 7c832378 7ca42b78 7cc53378 44000002 4c830020 7c6300d0 4e800020", _OLD,
          names=("ppc32", "powerpc")),
    _arch("ppc64", "7c601b78 7c832378 7ca42b78 7cc53378 44000002 4c830020 7c6300d0 4e800020", (3, 4, 1, 246),
          triple="powerpc64-unknown-linux-musl", names=("powerpc64",)),
    _arch("ppc64le", "781b607c 7823837c 782ba47c 7833c57c 02000044 2000834c d000637c 2000804e", (3, 4, 1, 246),
          names=("powerpc64le",)),
    # mov %o0,%g1; mov %o1,%o0; mov %o2,%o1; mov %o3,%o2; ta 0x10 or 0x6d; bcc 1f; nop; sub %g0,%o0,%o0; 1: retl; nop
    _arch("sparc", "82100008 90100009 9210000a 9410000b 91d02010 1a800003 01000000 90200008 81c3e008 01000000", _OLD,
          qemu="sparc32plus", cpu="v9", names=("sparc32",)),
    _arch("sparc64", "82100008 90100009 9210000a 9410000b 91d0206d 1a680003 01000000 90200008 81c3e008 01000000",
          (3, 4, 1, 257)),
    # lgr %r1,%r2; lgr %r2,%r3; lgr %r3,%r4; lgr %r4,%r5; svc 0; br %r14
    _arch("s390x", "b9040012 b9040023 b9040034 b9040045 0a00 07fe", (3, 4, 1, 260)),
    # move $2,$4; move $4,$5; move $5,$6; move $6,$7; syscall; beqz $7, 1f; nop; (d)subu $2,$0,$2; 1: jr $31; nop
    _arch("mips", "00801025 00a02025 00c02825 00e03025 0000000c 10e00002 00000000 00021023 03e00008 00000000", _O32,
          features="+noabicalls", names=("mips32",)),
    _arch("mipsel", "25108000 2520a000 2528c000 2530e000 0c000000 0200e010 00000000 23100200 0800e003 00000000", _O32,
          features="+noabicalls", names=("mips32el",)),
    _arch("mips64", "00801025 00a02025 00c02825 00e03025 0000000c 10e00002 00000000 0002102f 03e00008 00000000", _N64,
          features="+noabicalls"),
    _arch("mips64el", "25108000 2520a000 2528c000 2530e000 0c000000 0200e010 00000000 2f100200 0800e003 00000000", _N64,
          features="+noabicalls"),
    # mv a7,a0; mv a0,a1; mv a1,a2; mv a2,a3; ecall; ret
    _arch("riscv32", "93080500 13850500 93050600 13860600 73000000 67800000", (63, 64, 93, 403)),
    _arch("riscv64", "93080500 13850500 93050600 13860600 73000000 67800000", _GENERIC),
    # move $a7,$a0; move $a0,$a1; move $a1,$a2; move $a2,$a3; syscall 0; jr $ra
    _arch("loongarch64", "8b001500 a4001500 c5001500 e6001500 00002b00 2000004c", _GENERIC, names=("loong64",)),
)  # fmt: skip
# WebAssembly: no system calls, what executables need of their host is `native.wasi`'s.
WASM32 = Arch("wasm32", WASM, WASM, "", Syscall(b"", 0, 0, 0, 0), ("wasm",))
ARCHES: dict[str, Arch] = {row.name: row for row in _ROWS}


@cache
def _by_name() -> dict[str, Arch]:
    return {name: row for row in (*_ROWS, WASM32) for name in (row.name, *row.names)}


def arch_of(name: str) -> Arch:
    """An architecture by one of its names. UsageError for others."""
    try:
        return _by_name()[name]
    except KeyError:
        raise UsageError(f"{name!r} is no architecture: {', '.join([*ARCHES, WASM32.name])} are") from None
