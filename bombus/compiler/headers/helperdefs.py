"""bpf_helper_defs.h: every helper as a C function, from `spec.helpers`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from bombus.spec.helpers import HELPERS, Helper

_HEAD = """\
/* SPDX-License-Identifier: BSD-2-Clause */
/* Made by tools/gen-headers from spec/helpers. Helpers of the kernel; included by bpf_helpers.h. */
#ifndef __BPF_HELPER_DEFS_H__
#define __BPF_HELPER_DEFS_H__

/* Calls that leave unused registers alone (6.12): the compiler need not save them. */
#ifndef __bpf_fastcall
#if defined(__has_attribute) && __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

"""

_BASIC: Final = {"u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"}
# What a program has instead of the kernel's own structs.
_SEEN: Final = {
    "struct bpf_map *": "void *", "struct sk_buff *": "struct __sk_buff *", "struct xdp_buff *": "struct xdp_md *",
    "struct sk_msg_buff *": "struct sk_msg_md *", "size_t ": "unsigned long ",
}  # fmt: skip
# Helpers of several program types, whose contexts differ.
_ANY_CONTEXT: Final = {"get_socket_cookie", "sk_assign"}


def page() -> str:
    """The header's text."""
    return (
        f"{_HEAD}{chr(10).join(_structs())}\n\n#if defined(__clang__)\n\n"
        f"{chr(10).join(_helper(row) for row in HELPERS)}\n#else /* gcc, which has an attribute for them */\n\n"
        f"{chr(10).join(_gcc(row) for row in HELPERS)}\n\n#endif\n#endif\n"
    )


def _structs() -> Iterator[str]:
    names = {name for row in HELPERS for name in re.findall(r"struct (\w+)", f"{row.c_return} {parameters(row)}")}
    for name in sorted(names):
        yield f"struct {name};"


def parameters(row: Helper) -> str:
    """The parameters as programs see them: maps are any pointer, contexts and numbers have uapi's names."""
    text = row.c_params
    if row.name in _ANY_CONTEXT:
        text = text.replace("struct sk_buff *", "void *")
    for kernel, seen in _SEEN.items():
        text = text.replace(kernel, seen)
    return _uapi(text) or "void"


def returned(row: Helper) -> str:
    return _uapi(row.c_return)


def _uapi(text: str) -> str:
    return re.sub(r"\b\w+\b", lambda m: f"__{m[0]}" if m[0] in _BASIC else m[0], text)


def _helper(row: Helper) -> str:
    notes = f"Since Linux {row.since}." + (" For GPL-compatible programs." if row.gpl_only else "")
    doc = textwrap.wrap(f"bpf_{row.name}: {row.doc} {notes}", 112)
    space = "" if returned(row).endswith("*") else " "
    fast = "__bpf_fastcall " if row.fastcall else ""
    lines = ["/*", *(f" * {line}" for line in doc), " */"]
    lines.append(
        f"{fast}static {returned(row)}{space}(*const bpf_{row.name})({parameters(row)}) = (void *){row.id};"
    )
    return "\n".join(lines) + "\n"


def _gcc(row: Helper) -> str:
    space = "" if returned(row).endswith("*") else " "
    return f"extern {returned(row)}{space}bpf_{row.name}({parameters(row)}) __attribute__((kernel_helper({row.id})));"
