"""What lowering and code generation must know of a machine."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import NamedTuple

from bombus.errors import NotSupported, UsageError
from bombus.isa.insn import ByteOrder


class Target(NamedTuple):
    """triple: LLVM's; cpu, features: as LLVM takes them ("" for the triple's own; "host": this machine's).

    musttail: LLVM can turn a tail call into a jump there, so that chains of them need no stack, and knows calls that
    save all registers (`saving` is what the text of such a call says). relocation: "pic", or
    "static" for code that stays where it is linked to.
    """

    name: str
    triple: str
    byteorder: ByteOrder = "little"
    pointer_bits: int = 64
    cpu: str = ""
    features: str = ""
    musttail: bool = False
    relocation: str = "pic"

    @property
    def saving(self) -> str:
        return "preserve_mostcc " if self.musttail else ""


_ROWS = (
    Target("x86_64", "x86_64-unknown-linux-gnu", musttail=True),
    Target("aarch64", "aarch64-unknown-linux-gnu", musttail=True),
    Target("i386", "i686-unknown-linux-gnu", pointer_bits=32),
    Target("arm", "armv7-unknown-linux-gnueabihf", pointer_bits=32),
    Target("ppc", "powerpc-unknown-linux-gnu", "big", 32),
    Target("ppc64", "powerpc64-unknown-linux-gnu", "big"),
    Target("ppc64le", "powerpc64le-unknown-linux-gnu"),
    Target("sparc", "sparc-unknown-linux-gnu", "big", 32),
    Target("sparc64", "sparc64-unknown-linux-gnu", "big"),
    Target("s390x", "s390x-unknown-linux-gnu", "big"),
    Target("mips", "mips-unknown-linux-gnu", "big", 32),
    Target("mipsel", "mipsel-unknown-linux-gnu", pointer_bits=32),
    Target("mips64", "mips64-unknown-linux-gnuabi64", "big"),
    Target("mips64el", "mips64el-unknown-linux-gnuabi64"),
    Target("riscv32", "riscv32-unknown-linux-gnu", pointer_bits=32, features="+m,+a"),
    Target("riscv64", "riscv64-unknown-linux-gnu", features="+m,+a"),
    Target("loongarch64", "loongarch64-unknown-linux-gnu", features="-lasx,-lsx"),  # vectors are an option of the CPU
)
# Code of a virtual machine: no ELF, no system calls. bulk-memory: copies are instructions (WebAssembly 2.0).
WASM = Target("wasm32", "wasm32-unknown-unknown", pointer_bits=32, features="+bulk-memory", relocation="static")
TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}


def target(name: str) -> Target:
    """UsageError for a name that is none of TARGETS."""
    try:
        return TARGETS[name]
    except KeyError:
        raise UsageError(f"{name!r} is no target: {', '.join(TARGETS)} are") from None


@cache
def host() -> Target:
    """This machine, with all that its CPU can do. NotSupported where code cannot be placed yet."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in ("x86_64",):
        raise NotSupported("native code", f"{sys.platform} on {machine}; the fast engine runs everywhere")
    row = TARGETS[machine]
    return Target(row.name, row.triple, row.byteorder, row.pointer_bits, "host", "host", row.musttail)
