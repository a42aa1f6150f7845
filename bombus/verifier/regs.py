"""What the verifier knows of one register or spilled register.

A `Reg` is immutable and shared between states: to change one, make another with `but`. Liveness is not part of
it (see `state`): it belongs to the place, not to the value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bombus.verifier.bounds import ANY, Bounds, const

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.verifier.program import MapInfo

# Base types. The numbers are ours; the names are the kernel's (include/linux/bpf.h: enum bpf_reg_type).
NOT_INIT: Final = 0
SCALAR_VALUE: Final = 1
PTR_TO_CTX: Final = 2
CONST_PTR_TO_MAP: Final = 3
PTR_TO_MAP_VALUE: Final = 4
PTR_TO_MAP_KEY: Final = 5
PTR_TO_STACK: Final = 6
PTR_TO_PACKET_META: Final = 7
PTR_TO_PACKET: Final = 8
PTR_TO_PACKET_END: Final = 9
PTR_TO_FLOW_KEYS: Final = 10
PTR_TO_SOCKET: Final = 11
PTR_TO_SOCK_COMMON: Final = 12
PTR_TO_TCP_SOCK: Final = 13
PTR_TO_TP_BUFFER: Final = 14
PTR_TO_XDP_SOCK: Final = 15
PTR_TO_BTF_ID: Final = 16
PTR_TO_MEM: Final = 17
PTR_TO_ARENA: Final = 18
PTR_TO_BUF: Final = 19
PTR_TO_FUNC: Final = 20
CONST_PTR_TO_DYNPTR: Final = 21

BASE_MASK: Final = 0xFF

# Flags of a type (include/linux/bpf.h: enum bpf_type_flag).
PTR_MAYBE_NULL: Final = 1 << 8
MEM_RDONLY: Final = 1 << 9
MEM_RINGBUF: Final = 1 << 10
MEM_USER: Final = 1 << 11
MEM_PERCPU: Final = 1 << 12
OBJ_RELEASE: Final = 1 << 13
PTR_UNTRUSTED: Final = 1 << 14
MEM_UNINIT: Final = 1 << 15
DYNPTR_TYPE_LOCAL: Final = 1 << 16
DYNPTR_TYPE_RINGBUF: Final = 1 << 17
MEM_FIXED_SIZE: Final = 1 << 18
MEM_ALLOC: Final = 1 << 19
PTR_TRUSTED: Final = 1 << 20
MEM_RCU: Final = 1 << 21
NON_OWN_REF: Final = 1 << 22
DYNPTR_TYPE_SKB: Final = 1 << 23
DYNPTR_TYPE_XDP: Final = 1 << 24
MEM_ALIGNED: Final = 1 << 25
MEM_WRITE: Final = 1 << 26
DYNPTR_TYPE_SKB_META: Final = 1 << 27

_NAMES: Final = {
    NOT_INIT: "?",
    SCALAR_VALUE: "scalar",
    PTR_TO_CTX: "ctx",
    CONST_PTR_TO_MAP: "map_ptr",
    PTR_TO_MAP_VALUE: "map_value",
    PTR_TO_MAP_KEY: "map_key",
    PTR_TO_STACK: "fp",
    PTR_TO_PACKET: "pkt",
    PTR_TO_PACKET_META: "pkt_meta",
    PTR_TO_PACKET_END: "pkt_end",
    PTR_TO_FLOW_KEYS: "flow_keys",
    PTR_TO_SOCKET: "sock",
    PTR_TO_SOCK_COMMON: "sock_common",
    PTR_TO_TCP_SOCK: "tcp_sock",
    PTR_TO_TP_BUFFER: "tp_buffer",
    PTR_TO_XDP_SOCK: "xdp_sock",
    PTR_TO_BTF_ID: "ptr_",
    PTR_TO_MEM: "mem",
    PTR_TO_ARENA: "arena",
    PTR_TO_BUF: "buf",
    PTR_TO_FUNC: "func",
    CONST_PTR_TO_DYNPTR: "dynptr_ptr",
}
_PREFIXES: Final = (
    (MEM_RDONLY, "rdonly_"),
    (MEM_RINGBUF, "ringbuf_"),
    (MEM_USER, "user_"),
    (MEM_PERCPU, "percpu_"),
    (MEM_RCU, "rcu_"),
    (PTR_UNTRUSTED, "untrusted_"),
    (PTR_TRUSTED, "trusted_"),
)


def type_name(type_: int) -> str:
    """A register type as logs write it, such as "map_value_or_null" (Linux 6.12 kernel/bpf/log.c: reg_type_str)."""
    base = type_ & BASE_MASK
    suffix = ""
    if type_ & PTR_MAYBE_NULL:
        suffix = "or_null_" if base == PTR_TO_BTF_ID else "_or_null"
    return "".join(text for flag, text in _PREFIXES if type_ & flag) + _NAMES[base] + suffix


# A scalar whose id also says that it is the linked scalar plus the constant `off`.
ADD_CONST: Final = 1 << 31
# The same, and the sum was cut to 32 bits (together with ADD_CONST).
ADD_CONST32: Final = 1 << 30
ID_BITS: Final = ADD_CONST32 - 1


# What a slice's type says of the dynptr that it is of: it is no plain memory for functions that are called.
DYNPTR_FLAGS: Final = {
    "local": DYNPTR_TYPE_LOCAL, "ringbuf": DYNPTR_TYPE_RINGBUF, "skb": DYNPTR_TYPE_SKB, "xdp": DYNPTR_TYPE_XDP,
    "skb_meta": DYNPTR_TYPE_SKB_META,
}  # fmt: skip

DYNPTR_PACKET: Final = DYNPTR_TYPE_SKB | DYNPTR_TYPE_XDP | DYNPTR_TYPE_SKB_META
DYNPTR_ANY: Final = DYNPTR_TYPE_LOCAL | DYNPTR_TYPE_RINGBUF | DYNPTR_PACKET


class Dynptr:
    """What is known of a dynptr: its kind (a key of DYNPTR_FLAGS), whether this is its first slot."""

    __slots__ = ("first", "id", "kind")

    def __init__(self, kind: str, first: bool, id_: int) -> None:
        self.kind: Final = kind
        self.first: Final = first
        self.id: Final = id_


class Reg:
    """One register. Which members mean something depends on `type`.

    off: constant part of a pointer's offset (or of a linked scalar's distance); bounds: the scalar, or the variable
    part of the offset; id: groups registers that share a fate (null checks, packet ranges, linked scalars);
    ref_id: the acquired reference that it stands for; frame: whose stack it points to; precise: its bounds were
    needed to prove something; map, map_uid: for map pointers and map values; number: packet range, size of memory
    or index of a subprogram; btf, btf_id: its type; dynptr: for dynptrs.
    """

    __slots__ = (
        "bounds",
        "btf",
        "btf_id",
        "dynptr",
        "frame",
        "id",
        "map",
        "map_uid",
        "number",
        "off",
        "precise",
        "ref_id",
        "type",
    )

    def __init__(
        self,
        type_: int,
        bounds: Bounds,
        off: int = 0,
        id_: int = 0,
        ref_id: int = 0,
        frame: int = 0,
        precise: bool = False,
        map_: MapInfo | None = None,
        map_uid: int = 0,
        number: int = 0,
        btf: Btf | None = None,
        btf_id: int = 0,
        dynptr: Dynptr | None = None,
    ) -> None:
        self.type: Final = type_
        self.bounds: Final = bounds
        self.off: Final = off
        self.id: Final = id_
        self.ref_id: Final = ref_id
        self.frame: Final = frame
        self.precise: Final = precise
        self.map: Final = map_
        self.map_uid: Final = map_uid
        self.number: Final = number
        self.btf: Final = btf
        self.btf_id: Final = btf_id
        self.dynptr: Final = dynptr

    def but(
        self,
        *,
        type_: int | None = None,
        bounds: Bounds | None = None,
        off: int | None = None,
        id_: int | None = None,
        ref_id: int | None = None,
        precise: bool | None = None,
        number: int | None = None,
    ) -> Reg:
        """The same register with some members changed."""
        return Reg(
            self.type if type_ is None else type_,
            self.bounds if bounds is None else bounds,
            self.off if off is None else off,
            self.id if id_ is None else id_,
            self.ref_id if ref_id is None else ref_id,
            self.frame,
            self.precise if precise is None else precise,
            self.map,
            self.map_uid,
            self.number if number is None else number,
            self.btf,
            self.btf_id,
            self.dynptr,
        )

    def with_bounds(self, bounds: Bounds) -> Reg:
        """`but(bounds=bounds)`, of which there are many."""
        return Reg(
            self.type, bounds, self.off, self.id, self.ref_id, self.frame, self.precise, self.map, self.map_uid,
            self.number, self.btf, self.btf_id, self.dynptr,
        )

    def with_off(self, off: int) -> Reg:
        """`but(off=off)`."""
        return Reg(
            self.type, self.bounds, off, self.id, self.ref_id, self.frame, self.precise, self.map, self.map_uid,
            self.number, self.btf, self.btf_id, self.dynptr,
        )

    def with_precision(self, precise: bool) -> Reg:
        """`but(precise=precise)`."""
        return Reg(
            self.type, self.bounds, self.off, self.id, self.ref_id, self.frame, precise, self.map, self.map_uid,
            self.number, self.btf, self.btf_id, self.dynptr,
        )

    def with_id(self, id_: int, off: int) -> Reg:
        """`but(id_=id_, off=off)`."""
        return Reg(
            self.type, self.bounds, off, id_, self.ref_id, self.frame, self.precise, self.map, self.map_uid,
            self.number, self.btf, self.btf_id, self.dynptr,
        )

    def with_number(self, number: int) -> Reg:
        """`but(number=number)`."""
        return Reg(
            self.type, self.bounds, self.off, self.id, self.ref_id, self.frame, self.precise, self.map, self.map_uid,
            number, self.btf, self.btf_id, self.dynptr,
        )

    @property
    def base(self) -> int:
        return self.type & BASE_MASK

    @property
    def is_const(self) -> bool:
        """Whether the register is a scalar of one known value."""
        return self.type == SCALAR_VALUE and self.bounds.bits[1] == 0

    def __repr__(self) -> str:
        return f"Reg({type_name(self.type)}, off={self.off}, id={self.id}, {self.bounds!r})"


ZERO: Final = const(0)
UNINIT: Final = Reg(NOT_INIT, ANY)
UNKNOWN: Final = Reg(SCALAR_VALUE, ANY)
UNKNOWN_PRECISE: Final = Reg(SCALAR_VALUE, ANY, precise=True)


def scalar(bounds: Bounds, *, id_: int = 0, precise: bool = False) -> Reg:
    return Reg(SCALAR_VALUE, bounds, 0, id_, 0, 0, precise)


@lru_cache(maxsize=1 << 13)
def known(number: int, precise: bool = False) -> Reg:
    """A scalar of one value (taken modulo 2**64)."""
    return Reg(SCALAR_VALUE, const(number), 0, 0, 0, 0, precise)
