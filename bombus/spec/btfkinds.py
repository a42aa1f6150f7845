"""Kinds of BTF types, and variations of them, with the kernel that brought them.

Source: include/uapi/linux/btf.h and kernel/bpf/btf.c of Linux; BTF itself came with 4.18.
"""

from __future__ import annotations

from typing import Final

from bombus.spec.version import KernelVersion, since

# FUNC_GLOBAL: linkage in FUNC; ENUM_SIGN: the flag for signed values of ENUM.
KIND_SINCE: Final[dict[str, KernelVersion]] = {
    "INT": since("4.18"),
    "FUNC": since("5.0"),
    "VAR": since("5.2"),
    "DATASEC": since("5.2"),
    "FUNC_GLOBAL": since("5.6"),
    "FLOAT": since("5.13"),
    "DECL_TAG": since("5.16"),
    "TYPE_TAG": since("5.17"),
    "ENUM64": since("6.0"),
    "ENUM_SIGN": since("6.0"),
}
