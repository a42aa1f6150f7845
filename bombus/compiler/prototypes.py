"""C prototypes of helpers as the dialect sees them."""

from __future__ import annotations

import keyword
import re

from bombus.spec.helpers.model import Helper

INTS = {
    "u64": "u64", "u32": "u32", "u16": "u16", "s64": "s64", "s32": "s32", "int": "s32", "long": "s64", "size_t": "u64",
    "__be16": "be16", "__wsum": "u32",
}  # fmt: skip
RESULTS = {"struct bpf_sock *": "bpf_sock", "struct bpf_tcp_sock *": "bpf_tcp_sock"}


def parameters(row: Helper) -> list[tuple[str, str]]:
    """Names and C types of a helper's parameters; ("args", "...") at the end of a variadic one."""
    found: list[tuple[str, str]] = []
    for part in row.c_params.split(","):
        part = part.strip()
        if not part or part == "void":
            continue
        if part == "...":
            found.append(("args", "..."))
            continue
        match = re.fullmatch(r"(.*?)(\w+)", part)
        assert match is not None, part
        name = match[2]
        found.append((name + "_" * (keyword.iskeyword(name) or name in ("kind",)), match[1].strip()))
    return found


def result_kind(row: Helper) -> str:
    """What a helper returns: "void", an int type, "pointer" (type given by the caller) or a context struct's name."""
    if row.c_return == "void":
        return "void"
    if row.c_return in RESULTS:
        return RESULTS[row.c_return]
    return INTS.get(row.c_return, "pointer")


def argument_kinds(row: Helper) -> tuple[str, ...]:
    """The ARG_ kind of each parameter of `parameters`; "" where the verifier's prototype says nothing."""
    return (*row.args, *[""] * 5)[: len(parameters(row))]


def may_be_null(row: Helper) -> bool:
    """Whether a pointer that a helper returns may be null."""
    return "PTR_MAYBE_NULL" in row.ret


def int_type(c_type: str) -> str | None:
    """The dialect's type of a C integer type; None for pointers."""
    return INTS.get(c_type)
