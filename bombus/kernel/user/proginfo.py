"""What BPF_OBJ_GET_INFO_BY_FD says of a program. Linux 6.12 kernel/bpf/syscall.c bpf_prog_get_info_by_fd."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from bombus.isa.insn import encode
from bombus.kernel.user.info import get_field, info_body, read_info, write_info
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.proglink import dumped

if TYPE_CHECKING:
    from bombus.jit.engine import NativeProgram
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
        "verified_insns": obj.verified_insns, "recursion_misses": obj.misses, "attach_btf_id": obj.attach_btf_id,
        "attach_btf_obj_id": _target_types(obj),
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
    _native(obj, attr, info, values)
    write_info(kernel, attr, NAME, info, values)


def _target_types(prog: Prog) -> int:
    """The id of the BTF that attach_btf_id is of, of programs for programs: until they are attached."""
    target = prog.target
    return target.btf.id if target is not None and target.btf is not None else 0


def _native(prog: Prog, attr: Attr, info: bytearray, values: dict[str, int | bytes]) -> None:
    """Machine code, where there is some by now: all functions one behind the other, their addresses and sizes, and
    where the code of each record of line_info begins (0: nowhere)."""
    native = native_code(prog)
    if native is None or native.linked is None:
        return
    from bombus.jit.dump import functions

    parts = functions(native)
    _array(attr, info, values, "jited_prog_len", "jited_prog_insns", b"".join(code for _, code in parts.values()), 1)
    addresses = b"".join(address.to_bytes(8, "little") for address, _ in parts.values())
    _array(attr, info, values, "nr_jited_ksyms", "jited_ksyms", addresses, 8)
    sizes = b"".join(len(code).to_bytes(4, "little") for _, code in parts.values())
    _array(attr, info, values, "nr_jited_func_lens", "jited_func_lens", sizes, 4)
    size, records = prog.line_info
    if not size:
        return
    count = len(records) // size
    starts = bytes(8 * count)
    if get_field(NAME, info, "nr_jited_line_info"):  # it takes compiling: only when asked for
        starts = b"".join(where.to_bytes(8, "little") for where in _line_starts(native, records, size))
    _array(attr, info, values, "nr_jited_line_info", "jited_line_info", starts, 8)
    values["jited_line_info_rec_size"] = 8


def native_code(prog: Prog) -> NativeProgram | None:
    """The native form of a program when runs use it."""
    compiled: Any = prog.compiled
    form = getattr(compiled, "native_form", None)
    if form is not None:
        compiled = form()
    return compiled if getattr(compiled, "is_native", False) else None


def _line_starts(native: NativeProgram, records: bytes, size: int) -> list[int]:
    """The lowest address of the code of each record: of the instructions from its own up to the next record's."""
    first = [int.from_bytes(records[at : at + 4], "little") for at in range(0, len(records), size)]
    found = [0] * len(first)
    for address, insn in native.line_map():
        number = bisect_right(first, insn) - 1
        if insn >= 0 and number >= 0 and not found[number]:
            found[number] = address
    return found


def _array(
    attr: Attr, info: bytearray, values: dict[str, int | bytes], count: str, pointer: str, data: bytes, unit: int
) -> None:
    """Copy as much of `data` as the caller has room for, and say how many units there are."""
    room = get_field(NAME, info, count) * unit
    address = get_field(NAME, info, pointer)
    if room and address and data:
        attr.write(address, data[:room])
    values[count] = len(data) // unit
