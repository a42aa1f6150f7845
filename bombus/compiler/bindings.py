"""The text of bombus.bpf.contexts and bombus.bpf.helpers, made from the rows of spec (tools/gen-dialect writes it)."""

from __future__ import annotations

import keyword
import textwrap

from bombus.compiler.prototypes import INTS, may_be_null, parameters, result_kind
from bombus.spec.contexts import CONTEXTS, Context
from bombus.spec.helpers import HELPERS, Helper

_NAMES = {"__sk_buff": "Skb", "u32": "LircSample"}
# Contexts with bytes to look at: names of the members with their ends, bytes of each
_PACKETS = {
    "__sk_buff": ("data", "data_end", 4), "xdp_md": ("data", "data_end", 4), "sk_msg_md": ("data", "data_end", 8),
    "sk_reuseport_md": ("data", "data_end", 8), "bpf_sockopt": ("optval", "optval_end", 8),
}  # fmt: skip
# Members that point to something
_POINTERS = {
    "sk": "BpfSock", "migrating_sk": "BpfSock", "flow_keys": "BpfFlowKeys", "state": "Opaque", "skb": "Opaque",
}  # fmt: skip
# Members in network byte order. include/uapi/linux/bpf.h says "Stored in network byte order" of them.
_NETWORK = frozenset({
    "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "user_ip4", "user_ip6", "msg_src_ip4", "msg_src_ip6",
    "src_ip4", "dst_ip4", "src_ip6", "dst_ip6",
})  # fmt: skip
_NETWORK_PORTS = frozenset({("bpf_sock", "dst_port"), ("bpf_sk_lookup", "remote_port")})
# Signed members, as include/uapi/linux/bpf.h declares them
_SIGNED = frozenset({
    ("bpf_sockopt", "level"), ("bpf_sockopt", "optname"), ("bpf_sockopt", "optlen"), ("bpf_sockopt", "retval"),
    ("bpf_sock", "rx_queue_mapping"),
})  # fmt: skip


def class_name(c_name: str) -> str:
    """ "bpf_sock_addr" -> "BpfSockAddr"."""
    return _NAMES.get(c_name) or "".join(word.capitalize() for word in c_name.split("_"))


def pages() -> dict[str, str]:
    return {"contexts.py": contexts_page(), "helpers.py": helpers_page()}


_CONTEXTS_HEAD = '''"""Context structs as programs see them. Written by tools/gen-dialect from bombus.spec.contexts."""

from __future__ import annotations

from typing import ClassVar

from bombus.bpf.context import Context, PacketContext
from bombus.bpf.ints import be16, be32, s32, u8, u16, u32, u64
from bombus.bpf.struct import Array, Opaque, Pointer, array
'''


def contexts_page() -> str:
    return "\n\n".join([_CONTEXTS_HEAD, *map(_context, CONTEXTS)]).rstrip() + "\n"


def _context(row: Context) -> str:
    base = "PacketContext" if row.name in _PACKETS else "Context"
    lines = [f'class {class_name(row.name)}({base}, name="{row.name}"):', f'    """struct {row.name}."""', ""]
    if row.name in _PACKETS:
        first, last, width = _PACKETS[row.name]
        data, end = row.member(first), row.member(last)
        lines += [
            f"    _DATA: ClassVar[int] = {data.offset}",
            f"    _DATA_END: ClassVar[int] = {end.offset}",
            f"    _WIDTH: ClassVar[int] = {width}",
        ]
    at = 0
    for member in row.members:
        each = member.size // member.count
        if each not in (1, 2, 4, 8):  # bpf_perf_event_data.regs
            lines.append(f"    {member.name}: PtRegs")
            at = member.end
            continue
        gap = member.offset - -(-at // each) * each
        if gap:
            at = -(-at // each) * each
            lines.append(f"    _gap{at}: Array[u8] = array({gap})")
        kind = f"u{each * 8}"
        if member.name in _NETWORK or (row.name, member.name) in _NETWORK_PORTS:
            kind = f"be{each * 8}"
        if (row.name, member.name) in _SIGNED:
            kind = f"s{each * 8}"
        if each == 8 and member.name in _POINTERS and row.name not in ("bpf_sock", "bpf_tcp_sock"):
            kind = f"Pointer[{_POINTERS[member.name]}]"
        name = member.name + "_" * keyword.iskeyword(member.name)
        whole = f"Array[{kind}] = array({member.count})" if member.count > 1 else kind
        lines.append(f"    {name}: {whole}")
        at = member.end
    largest = max(m.size // m.count for m in row.members)
    if row.size > -(-at // largest) * largest:
        lines.append(f"    _gap{at}: Array[u8] = array({row.size - at})")
    return "\n".join(lines) + "\n"


_HELPERS_HEAD = '''"""Helpers as typed functions. Written by tools/gen-dialect from bombus.spec.helpers.

In plain Python they run the helper bodies of the machine. Pointers are structs, references, arrays and, where a helper
only reads, bytes. A helper that returns a pointer whose type its prototype does not say takes that type first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from bombus.bpf.contexts import BpfSock, BpfTcpSock
from bombus.bpf.ints import be16, s32, s64, u16, u32, u64
from bombus.bpf.machine import call as _call
from bombus.bpf.machine import pointed as _pointed
from bombus.bpf.maps import Map
from bombus.bpf.struct import Array, Ref, Struct

S = TypeVar("S", bound=Struct)
Memory: TypeAlias = Struct | Array[Any] | Ref[Any] | bytes
'''


def helpers_page() -> str:
    return "\n\n".join([_HELPERS_HEAD, *map(_helper, HELPERS)]).rstrip() + "\n"


def _annotation(c_type: str, kind: str) -> str:
    if c_type == "...":
        return "Any"
    number = INTS.get(c_type)
    if number is not None:
        return number if number == "be16" else f"{number} | int"
    if kind.startswith(("ARG_CONST_MAP_PTR",)) or c_type == "struct bpf_map *":
        return "Map"
    if kind.startswith("ARG_PTR_TO_FUNC"):
        return "Callable[..., Any]"
    if kind.startswith("ARG_PTR_TO_CTX"):
        return "Struct"
    if kind == "ARG_ANYTHING":
        return "Memory | u64 | None"
    return "Memory | None" if "PTR_MAYBE_NULL" in kind or "MEM" not in kind else "Memory"


def _helper(row: Helper) -> str:
    given = parameters(row)
    kinds = (*row.args, *[""] * len(given))
    params = [
        f"*{name}: Any" if c_type == "..." else f"{name}: {_annotation(c_type, kind)}"
        for (name, c_type), kind in zip(given, kinds, strict=False)
    ]
    names = [f"*{name}" if c_type == "..." else name for name, c_type in given]
    result = result_kind(row)
    values = "".join(f", {name}" for name in names)
    if result == "void":
        returns, body = "None", f"_call(None, {row.id}{values})"
    elif result == "pointer":
        params = ["kind: type[S]", *params]
        returns = "S | None" if may_be_null(row) else "S"
        body = f"return _pointed(kind, int(_call(u64, {row.id}{values})))  # type: ignore[no-any-return]"
    elif result in ("bpf_sock", "bpf_tcp_sock"):
        name = class_name(result)
        returns = f"{name} | None"
        body = f"return _pointed({name}, int(_call(u64, {row.id}{values})))  # type: ignore[no-any-return]"
    else:
        returns, body = result, f"return _call({result}, {row.id}{values})"
    head = f"def {row.name}({', '.join(params)}) -> {returns}:"
    if len(head) > 120:
        head = f"def {row.name}(\n    {', '.join(params)}\n) -> {returns}:"
        if any(len(line) > 120 for line in head.splitlines()):
            head = f"def {row.name}(\n" + "".join(f"    {p},\n" for p in params) + f") -> {returns}:"
    doc = textwrap.fill(f"{row.doc} (helper {row.id}, Linux {row.since}{', GPL only' if row.gpl_only else ''})", 110)
    doc = doc.replace("\n", "\n    ")
    return f'{head}\n    """{doc}"""\n    {body}\n'
