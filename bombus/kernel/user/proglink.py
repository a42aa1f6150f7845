"""ld_imm64 with a pseudo source: map numbers and BTF ids become addresses.

Source: Linux 6.12 kernel/bpf/verifier.c resolve_pseudo_ldimm64, __add_used_map.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.bits import s32, u32
from bombus.errors import KernelError, LoadError, NotSupported
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, imm64
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.prog import Prog

CALL: Final = "BPF_PROG_LOAD"
MAX_USED_MAPS: Final = 64
_BY_FD: Final = (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE)
_BY_INDEX: Final = (op.BPF_PSEUDO_MAP_IDX, op.BPF_PSEUDO_MAP_IDX_VALUE)
_DIRECT_VALUES: Final = since("5.2")  # Linux 5.2 bpf: implement lookup-free direct value access for maps
_VALUES: Final = (op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX_VALUE)


def resolve(kernel: UserKernel, attr: Attr, insns: list[Insn]) -> tuple[list[Insn], list[Map]]:
    """The instructions with addresses in place, and the maps they use, in order of first use.

    KernelError as the kernel; NotSupported for addresses of kernel variables.
    """
    out = list(insns)
    maps: list[Map] = []
    index = 0
    while index < len(out):
        insn = out[index]
        if insn.opcode != op.LD_IMM64:
            index += 1
            continue
        if insn.src == op.BPF_PSEUDO_MAP_VALUE and kernel.version < _DIRECT_VALUES:
            raise LoadError(errno.EINVAL, CALL, f"instruction {index}: unrecognized bpf_ld_imm64 insn")
        if insn.src in _BY_FD or insn.src in _BY_INDEX:
            address = _map_address(kernel, attr, insn, out[index + 1], index, maps)
            out[index] = insn._replace(imm=s32(address))
            out[index + 1] = out[index + 1]._replace(imm=s32(address >> 32))
        elif insn.src == op.BPF_PSEUDO_BTF_ID:
            raise NotSupported("addresses of kernel variables (typed ksyms)", f"instruction {index}")
        elif insn.src not in (0, op.BPF_PSEUDO_FUNC):
            raise LoadError(errno.EINVAL, CALL, f"instruction {index}: unrecognized bpf_ld_imm64 insn")
        index += 2
    return out, maps


def _map_address(kernel: UserKernel, attr: Attr, insn: Insn, second: Insn, index: int, maps: list[Map]) -> int:
    fd = u32(insn.imm)
    if insn.src in _BY_INDEX:
        array = attr.get("fd_array")
        if not array:
            raise LoadError(errno.EPROTO, CALL, f"instruction {index}: fd_idx without fd_array is invalid")
        fd = int.from_bytes(attr.read(array + 4 * fd, 4), "little")
    try:
        item = kernel.map_by_fd(CALL, fd)
    except KernelError as error:
        raise LoadError(
            error.errno or errno.EBADF, CALL, f"instruction {index}: fd {s32(fd)} is not pointing to valid bpf_map"
        ) from None
    if item not in maps:
        if len(maps) >= MAX_USED_MAPS:
            raise LoadError(errno.E2BIG, CALL, f"The total number of maps per program has reached {MAX_USED_MAPS}")
        maps.append(item)
    if insn.src not in _VALUES:
        return item.handle
    address = item.value_address(u32(second.imm))
    if address < 0:
        raise LoadError(-address, CALL, f"instruction {index}: invalid access to map value pointer, off={second.imm}")
    return address


def dumped(prog: Prog) -> list[Insn]:
    """The instructions as bpf(2) shows them: ids in place of map addresses. Linux 6.12 bpf_insn_prepare_dump."""
    out = list(prog.insns)
    by_address = {item.handle: item for item in prog.maps}
    for index, insn in enumerate(prog.insns):
        if insn.opcode != op.LD_IMM64 or not (insn.src in _BY_FD or insn.src in _BY_INDEX):
            continue
        address = imm64(prog.xlated[index], prog.xlated[index + 1])
        value = insn.src in _VALUES
        offset = u32(prog.insns[index + 1].imm) if value else 0
        if value:
            item = next(each for each in prog.maps if each.value_address(offset) == address)
        else:
            item = by_address[address]
        source = op.BPF_PSEUDO_MAP_VALUE if value else op.BPF_PSEUDO_MAP_FD
        out[index] = insn._replace(src=source, imm=s32(item.id))
        out[index + 1] = out[index + 1]._replace(imm=s32(offset))
    return out
