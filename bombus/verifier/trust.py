"""Which pointers the kernel knows to be valid.

Linux 6.12 kernel/bpf/verifier.c: is_trusted_reg, bpf_type_has_unsafe_modifiers, reg2btf_ids.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier.regs import (
    BASE_MASK,
    CONST_PTR_TO_MAP,
    MEM_ALLOC,
    NON_OWN_REF,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_TCP_SOCK,
    PTR_TRUSTED,
    Reg,
)

TRUSTED_FLAGS: Final = MEM_ALLOC | PTR_TRUSTED | NON_OWN_REF
# Pointers that the kernel itself made, with the struct that each is.
KERNEL_STRUCTS: Final = {
    PTR_TO_SOCKET: "sock", PTR_TO_SOCK_COMMON: "sock_common", PTR_TO_TCP_SOCK: "tcp_sock",
    CONST_PTR_TO_MAP: "bpf_map",
}


def has_unsafe_flags(type_: int) -> bool:
    return bool(type_ & ~BASE_MASK & ~TRUSTED_FLAGS)


def is_trusted(reg: Reg) -> bool:
    if reg.ref_id:
        return True
    if has_unsafe_flags(reg.type):
        return False
    return reg.type & BASE_MASK in KERNEL_STRUCTS or bool(reg.type & TRUSTED_FLAGS)
