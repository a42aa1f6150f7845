"""What BPF_OBJ_GET_INFO_BY_FD says of a program. Linux 6.12 kernel/bpf/syscall.c bpf_prog_get_info_by_fd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.isa.insn import encode
from bombus.kernel.user.info import get_field, info_body, read_info, write_info
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.proglink import dumped

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.objects import KernelObject

NAME: Final = "bpf_prog_info"


@info_body("prog")
def prog_info(kernel: UserKernel, obj: KernelObject, attr: Attr) -> None:
    assert isinstance(obj, Prog)
    info = read_info(kernel, attr, NAME)
    values: dict[str, int | bytes] = {
        "type": obj.type.id, "id": obj.id, "tag": obj.tag, "name": obj.name, "load_time": obj.load_time,
        "gpl_compatible": int(obj.gpl), "created_by_uid": 0, "run_time_ns": obj.run_time, "run_cnt": obj.run_count,
        "verified_insns": obj.verified_insns,
    }  # fmt: skip
    code = encode(dumped(obj))
    _array(attr, info, values, "xlated_prog_len", "xlated_prog_insns", code, 1)
    ids = b"".join(item.id.to_bytes(4, "little") for item in obj.maps)
    _array(attr, info, values, "nr_map_ids", "map_ids", ids, 4)
    if obj.btf is not None:
        values["btf_id"] = obj.btf.id
    for what in ("func_info", "line_info"):
        size, records = getattr(obj, what)
        if size:
            _array(attr, info, values, f"nr_{what}", what, records, size)
            values[f"{what}_rec_size"] = size
    write_info(kernel, attr, NAME, info, values)


def _array(
    attr: Attr, info: bytearray, values: dict[str, int | bytes], count: str, pointer: str, data: bytes, unit: int
) -> None:
    """Copy as much of `data` as the caller has room for, and say how many units there are."""
    room = get_field(NAME, info, count) * unit
    address = get_field(NAME, info, pointer)
    if room and address and data:
        attr.write(address, data[:room])
    values[count] = len(data) // unit
