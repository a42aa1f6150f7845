"""BPF_OBJ_GET_INFO_BY_FD, read by the rows of spec.infos; and the ids of all objects."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError, UsageError
from bombus.kernel.api import Attr, address_of
from bombus.spec.infos import INFO

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel

KINDS = ("map", "prog", "btf", "link")


class Info(Mapping[str, Any]):
    """One info struct. Members are items and attributes: `info["map_flags"]`, `info.map_flags`.

    Names are str, tags bytes, the rest int. A member that this kernel is too old to fill in is 0 (empty).
    """

    __slots__ = ("_values", "struct")

    def __init__(self, struct: str, values: dict[str, Any]) -> None:
        self.struct = struct
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"{self.struct} has no member {name!r}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{self.struct}({', '.join(f'{k}={v!r}' for k, v in self._values.items() if v)})"


def read_info(
    kernel: Kernel, fd: int, struct: str, *, inputs: Mapping[str, int] | None = None,
    buffers: Mapping[str, bytearray] | None = None,
) -> Info:  # fmt: skip
    """What the kernel says about a descriptor.

    struct: a row of spec.infos ("bpf_map_info"). buffers: memory for pointer members; inputs: the counts that say
    how much fits there. KernelError as the kernel answers.
    """
    row = INFO[struct]
    data = bytearray(row.size)
    values: dict[str, int] = dict(inputs or {})
    for name, buffer in (buffers or {}).items():
        values[name] = address_of(buffer)
    for name, value in values.items():
        field = row.by_name[name]
        data[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    attr = Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=fd, info_len=len(data), info=data)
    attr.buffers.update(buffers or {})  # so that both kernels may write there
    try:
        kernel.bpf(attr)
    except KernelError as error:
        # A kernel with a shorter struct wants the rest zero, which it is; E2BIG can only come from inputs.
        if error.errno == errno.E2BIG:
            raise UsageError(f"this kernel's {struct} has not all of {', '.join(values)}") from error
        raise
    out: dict[str, Any] = {}
    for field in row.fields:
        piece = bytes(data[field.offset : field.offset + field.size])
        if field.kind == "name":
            out[field.name] = piece.split(b"\0", 1)[0].decode(errors="replace")
        elif field.kind == "bytes":
            out[field.name] = piece
        else:
            out[field.name] = int.from_bytes(piece, "little", signed=field.kind == "s32")
    return Info(struct, out)


def check_kind(kernel: Kernel, fd: int, kind: str) -> None:
    """KernelError(EINVAL) unless the descriptor is a "map", "prog", "link" or "btf", as asked for.

    The kernel fills in the struct of whatever the descriptor is, and tells them apart only by length.
    """
    attr = Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=fd, info_len=_ROOM, info=bytearray(_ROOM))
    kernel.bpf(attr)
    length = attr.get("info_len")
    # Since Linux 5.0 bpf_prog_info has 192 bytes or more; bpf_map_info 72 to 104, bpf_link_info 32 to 64.
    found = "prog" if length >= 160 else "map" if length >= 72 else "btf or link"
    if kind not in found:
        raise KernelError(errno.EINVAL, "BPF_OBJ_GET", f"the path pins a {found}, not a {kind}")


_ROOM = INFO["bpf_prog_info"].size


def ids(kernel: Kernel, kind: str) -> Iterator[int]:
    """Ids of all objects of a kind ("map", "prog", "btf", "link"), ascending. They may be gone when you look."""
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of object with ids; there are {', '.join(KINDS)}")
    at = 0
    while True:
        attr = Attr(f"BPF_{kind.upper()}_GET_NEXT_ID", start_id=at)
        try:
            kernel.bpf(attr)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        following = attr.get("next_id")
        if following <= at:
            return
        at = following
        yield at
