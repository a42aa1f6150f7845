"""System calls by number, through libc's syscall(2) and ctypes alone."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import NamedTuple

from bombus.errors import NotSupported


class Numbers(NamedTuple):
    """Numbers of the calls that libc has no wrapper for."""

    bpf: int
    perf_event_open: int
    add_key: int


# Linux arch/*/entry/syscalls/*.tbl and include/uapi/asm-generic/unistd.h
_GENERIC = Numbers(280, 241, 217)
NUMBERS: dict[str, Numbers] = {
    "x86_64": Numbers(321, 298, 248),
    "i386": Numbers(357, 336, 286),
    "i686": Numbers(357, 336, 286),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "riscv32": _GENERIC,
    "loongarch64": _GENERIC,
    "armv7l": Numbers(386, 364, 309),
    "armv8l": Numbers(386, 364, 309),
    "s390x": Numbers(351, 331, 278),
    "ppc64le": Numbers(361, 319, 269),
    "ppc64": Numbers(361, 319, 269),
    "sparc64": Numbers(349, 327, 281),
    "mips64": Numbers(5315, 5292, 5239),
}

MAP_SHARED = 1
PROT_READ, PROT_WRITE = 1, 2


@functools.cache
def libc() -> ctypes.CDLL:
    """libc, with the types of the functions used here set."""
    lib = ctypes.CDLL(None, use_errno=True)
    lib.syscall.restype = ctypes.c_long
    lib.mmap.restype = ctypes.c_void_p
    lib.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    lib.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return lib


@functools.cache
def numbers() -> Numbers:
    """NotSupported on a machine whose system call numbers are not known."""
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise NotSupported(f"bpf(2) on {machine}", "its system call numbers are not known")
    return NUMBERS[machine]
