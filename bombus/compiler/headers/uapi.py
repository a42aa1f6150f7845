"""linux/bpf.h: what the kernel's header of this name has, from spec, up to the newest kernel that spec knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from bombus.spec.attachtypes import ATTACH_TYPES
from bombus.spec.commands import COMMANDS, Field
from bombus.spec.ctxstructs import CONTEXTS, Context
from bombus.spec.helperflags import HELPER_FLAGS
from bombus.spec.helpers import HELPERS
from bombus.spec.infos import INFOS, InfoStruct
from bombus.spec.linktypes import LINK_TYPES
from bombus.spec.maptypes import FLAGS, MAP_TYPES
from bombus.spec.progtypes import PROG_TYPES
from bombus.spec.uapi import (
    ATTR_INNER,
    CONTEXT_MEMBERS,
    ENUMERATIONS,
    LINK_INFO_INNER,
    MACROS,
    ONE_BIT,
    SIGNED_FDS,
    STRUCTS,
    Declaration,
    Enumeration,
    Inner,
)

_HEAD: Final = """\
/* SPDX-License-Identifier: BSD-2-Clause */
/* Made by tools/gen-headers from spec. What the kernel's <linux/bpf.h> has. */
#ifndef _UAPI__LINUX_BPF_H__
#define _UAPI__LINUX_BPF_H__
#define __LINUX_BPF_H__

#include <linux/types.h>
#include <linux/bpf_common.h>

"""
# Contexts that are declared elsewhere.
_ELSEWHERE: Final = {"pt_regs", "bpf_perf_event_data", "bpf_nf_ctx", "u32", "bpf_raw_tracepoint_args"}
_KIND: Final = {"u32": "__u32", "u64": "__u64", "s32": "__s32", "fd": "__u32", "ptr": "__aligned_u64"}


def page() -> str:
    """The header's text. Beside vmlinux.h it is macros only."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (f"#define {macro.name} {macro.text}" for macro in MACROS)
    yield from (f"#define {flag.name} (1U << {flag.value.bit_length() - 1})" for flag in FLAGS if _is_macro(flag.where))
    yield from _mapper()
    yield from ("", "#ifndef __VMLINUX_H__ /* which has all types */", "")
    yield from _enum("bpf_cmd", [*((c.name, c.id) for c in COMMANDS), ("BPF_PROG_RUN", 10),
                                 ("__MAX_BPF_CMD", COMMANDS[-1].id + 1)])  # fmt: skip
    yield from _enum("bpf_map_type", [("BPF_MAP_TYPE_UNSPEC", 0), *(
        (name, row.id) for row in MAP_TYPES for name in (row.name, *row.aliases)
    ), ("__MAX_BPF_MAP_TYPE", max(row.id for row in MAP_TYPES) + 1)])  # fmt: skip
    yield from _enum("bpf_prog_type", [("BPF_PROG_TYPE_UNSPEC", 0), *((p.name, p.id) for p in PROG_TYPES),
                                       ("__MAX_BPF_PROG_TYPE", max(p.id for p in PROG_TYPES) + 1)])  # fmt: skip
    yield from _enum("bpf_attach_type", [*((a.name, a.id) for a in ATTACH_TYPES),
                                         ("__MAX_BPF_ATTACH_TYPE", max(a.id for a in ATTACH_TYPES) + 1)])  # fmt: skip
    yield from _enum("bpf_link_type", [("BPF_LINK_TYPE_UNSPEC", 0), *((row.name, row.id) for row in LINK_TYPES),
                                       ("__MAX_BPF_LINK_TYPE", max(row.id for row in LINK_TYPES) + 1)])  # fmt: skip
    yield from _enum("", [(f.name, f.value) for f in FLAGS if not _is_macro(f.where)], "U")
    for row in ENUMERATIONS:
        yield from _enumeration(row)
    # One enum for each helper: a large constant decides about the type of its neighbours.
    for _helper, flags in groupby(HELPER_FLAGS, key=lambda f: (f.helpers[:1], f.value < 0)):
        rows = [(f.name, f.value) for f in flags]
        yield from _enum("", rows, "L" if rows[0][1] < 0 else "ULL")
    yield "#define __BPF_ENUM_FN(x, y) BPF_FUNC_ ## x = y,"
    yield "enum bpf_func_id {\n\t___BPF_FUNC_MAPPER(__BPF_ENUM_FN)\n\t__BPF_FUNC_MAX_ID,\n};"
    yield "#undef __BPF_ENUM_FN\n"
    yield from ("struct bpf_flow_keys;", "struct bpf_sock;", "")
    for struct in STRUCTS:
        yield from _declaration(struct)
    for context in CONTEXTS:
        if context.name not in _ELSEWHERE:
            yield from _context(context)
    yield from _attr()
    for info in INFOS:
        yield from _info(info)
    yield from ("#endif", "", "#endif")


def _is_macro(where: str) -> bool:
    """Flags of bpf(2) are macros where the kernel's header has macros: programs may ask for them with #ifdef."""
    return where in ("attach", "prog", "netfilter", "query", "run")


def _mapper() -> Iterator[str]:
    yield "#define ___BPF_FUNC_MAPPER(FN, ctx...) \\"
    yield "\tFN(unspec, 0, ##ctx) \\"
    yield from (f"\tFN({row.name}, {row.id}, ##ctx) \\" for row in HELPERS)
    yield ""
    yield "#define __BPF_FUNC_MAPPER_APPLY(name, value, FN) FN(name),"
    yield "#define __BPF_FUNC_MAPPER(FN) ___BPF_FUNC_MAPPER(__BPF_FUNC_MAPPER_APPLY, FN)"


def _enumeration(row: Enumeration) -> Iterator[str]:
    return _enum(row.name, row.values, row.suffix)


def _enum(name: str, values: Iterable[tuple[str, int]], suffix: str = "") -> Iterator[str]:
    yield f"enum {name} {{".replace("  ", " ")
    for label, value in values:
        text = f"{value}" if value < 0 or not suffix else f"{value:#x}"
        yield f"\t{label} = ({text}{suffix})," if value < 0 else f"\t{label} = {text}{suffix},"
    yield from ("};", "")


def _declaration(row: Declaration) -> Iterator[str]:
    yield f"{row.kind} {row.name} {{"
    yield from (f"\t{member};" for member in row.members)
    yield f"}}{f' __attribute__((aligned({row.align})))' if row.align else ''};"
    yield ""


def _context(context: Context) -> Iterator[str]:
    special = CONTEXT_MEMBERS.get(context.name, {})
    yield f"struct {context.name} {{"
    end = 0
    for member in context.members:
        if member.offset > end:
            yield from _gap(end, member.offset)
        end = member.end
        text = special.get(member.name)
        if text is None:
            count = f"[{member.count}]" if member.count > 1 else ""
            text = f"__u{member.size // member.count * 8} {member.name}{count}"
        if text:
            yield f"\t{text};"
    yield from ("};", "")


def _gap(start: int, end: int) -> Iterator[str]:
    """Nameless room, that zeroing with `= {}` need not know of."""
    while start < end:
        step = next(size for size in (4, 2, 1) if start % size == 0 and start + size <= end)
        yield f"\t__u{step * 8} : {step * 8};"
        start += step


def _attr() -> Iterator[str]:
    """union bpf_attr: each command's part; parts that have no name share theirs."""
    yield "union bpf_attr {"
    seen: set[str] = set()
    groups: dict[str, list[Field]] = {}
    for command in COMMANDS:
        if command.member:
            known = groups.setdefault(command.member, [])
            known += [field for field in command.fields if field.name not in {f.name for f in known}]
            continue
        fresh = [field for field in command.fields if field.name not in seen]
        seen |= {field.name for field in fresh}
        if fresh:
            yield from _part("", fresh, 1)
    for member, fields in groups.items():
        yield from _part(member, fields, 1)
    yield from ("} __attribute__((aligned(8)));", "")


def _part(member: str, fields: list[Field], level: int) -> Iterator[str]:
    """A struct of fields at their offsets."""
    tab = "\t" * level
    yield f"{tab}struct {{"
    yield from _placed(fields, level + 1, 0, ATTR_INNER)
    yield f"{tab}}}{' ' + member if member else ''};"


def _placed(fields: list[Field], level: int, start: int, inner: Inner) -> Iterator[str]:
    """Members from byte `start` on. Those that share an offset are a union, and so are all structs of `inner`."""
    tab = "\t" * level
    plain = [f for f in fields if not _inner(f, inner)]
    nested = [f for f in fields if _inner(f, inner)]
    if nested:
        first = min(f.offset for f in nested)
        before = [f for f in plain if f.offset < first]
        yield from _placed(before, level, start, {})
        end = max((f.offset + f.size for f in before), default=start)
        yield from (tab + line.lstrip("\t") for line in _gap(end, first))
        yield f"{tab}union {{"
        after = [f for f in plain if f.offset >= first]
        later = _later(nested, inner)
        nested = [f for f in nested if f not in later]
        if after:
            yield f"{tab}\tstruct {{"
            yield from _placed(after, level + 2, first, {})
            yield f"{tab}\t}};"
        for name, below in inner.items():
            mine = [
                Field(f.name.removeprefix(name + "_"), f.offset, f.size, f.kind)
                for f in nested if _inner(f, inner) == name
            ]  # fmt: skip
            if mine:
                yield f"{tab}\tstruct {{"
                yield from _placed(mine, level + 2, first, below)
                yield f"{tab}\t}} {name};"
        yield f"{tab}}};"
        if later:
            yield from _placed(later, level, max(f.offset + f.size for f in nested), inner)
        return
    at = start
    for offset, group in groupby(sorted(plain, key=lambda f: f.offset), key=lambda f: f.offset):
        same = list(group)
        if offset > at:
            yield from (tab + line.lstrip("\t") for line in _gap(at, offset))
        texts = [_field(f) for f in same]
        yield f"{tab}{texts[0]};" if len(texts) == 1 else f"{tab}union {{ {'; '.join(texts)}; }};"
        at = offset + max(f.size for f in same)


def _later(nested: list[Field], inner: Inner) -> list[Field]:
    """Fields of structs that begin behind the end of those that begin first: a union of their own."""
    starts = {name: min((f.offset for f in nested if _inner(f, inner) == name), default=0) for name in inner}
    first = min(f.offset for f in nested)
    end = max(f.offset + f.size for f in nested if starts[_inner(f, inner)] == first)
    return [f for f in nested if starts[_inner(f, inner)] >= end]


def _inner(field: Field, inner: Inner) -> str:
    return next((name for name in inner if field.name.startswith(name + "_")), "")


def _field(field: Field) -> str:
    if field.kind in ("name", "bytes"):
        return f"{'char' if field.kind == 'name' else '__u8'} {field.name}[{field.size}]"
    if field.name in ONE_BIT:
        return f"__u32 {field.name} : 1; __u32 : 31"
    return f"{'__s32' if field.name in SIGNED_FDS else _KIND[field.kind]} {field.name}"


def _info(info: InfoStruct) -> Iterator[str]:
    yield f"struct {info.name} {{"
    yield from _placed(list(info.fields), 1, 0, LINK_INFO_INNER if info.name == "bpf_link_info" else {})
    yield from ("} __attribute__((aligned(8)));", "")
