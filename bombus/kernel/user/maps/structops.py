"""struct_ops maps. The user kernel has no subsystem that such a map could plug programs into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.errors import NotSupported
from bombus.kernel.user.maps.base import EINVAL, Map, MapAttr, map_type
from bombus.spec.maptypes import BPF_F_LINK, BPF_F_VTYPE_BTF_OBJ_FD

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel


@map_type("BPF_MAP_TYPE_STRUCT_OPS")
class StructOpsMap(Map):
    """Attributes are checked as Linux 6.12 kernel/bpf/bpf_struct_ops.c does; then NotSupported."""

    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        raise NotSupported("BPF_MAP_TYPE_STRUCT_OPS", "the user kernel has nothing to register a struct_ops with")

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags & ~(BPF_F_LINK | BPF_F_VTYPE_BTF_OBJ_FD)
        if attr.key_size != 4 or attr.max_entries != 1 or flags or not attr.btf_vmlinux_value_type_id:
            return EINVAL
        return 0
