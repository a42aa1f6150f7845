"""BTF that a kernel takes which refused it: kinds that it does not know become ones that it does.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__sanitize_btf).
"""

from __future__ import annotations

from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import (
    GLOBAL,
    STATIC,
    Const,
    DataSec,
    DeclTag,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Int,
    Member,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
)
from bombus.btf.types import Enum as EnumType
from bombus.kernel.api import Kernel
from bombus.kernel.handles.features import features
from bombus.spec.btfkinds import KIND_SINCE


def lacking(btf: Btf, kernel: Kernel) -> set[str]:
    """What this BTF has, of KIND_SINCE, and the kernel does not take."""
    has = {type_.kind.name for type_ in btf}
    has |= {"FUNC_GLOBAL", "ENUM_SIGN"}  # variations of kinds
    known = features(kernel)
    return {kind for kind in KIND_SINCE if kind in has and not known.has(f"btf_{kind.lower()}")}


def without(btf: Btf, lacks: set[str]) -> Btf:
    """The same BTF without the kinds `lacks`; the input itself when nothing has to change."""
    builder = Builder.from_btf(btf)
    changed = False
    for type_id, type_ in btf.items():
        new: Type | None = None
        match type_:
            case Var() if "VAR" in lacks or "DATASEC" in lacks:
                new = Int(type_.name, 4, 1)
            case DataSec() if "DATASEC" in lacks:
                members = tuple(
                    Member(btf.type(v.type).name, v.type, v.offset * 8) for v in type_.vars
                )
                new = Struct(type_.name.replace(".", "_"), type_.size, members)
            case FuncProto() if "FUNC" in lacks:
                members = tuple(Member(p.name, p.type, i * 32) for i, p in enumerate(type_.params))
                new = EnumType("", 4, tuple(Enumerator(m.name or f"a{i}", i) for i, m in enumerate(members)))
            case Func() if "FUNC" in lacks:
                new = Typedef(type_.name, type_.type)
            case Func() if "FUNC_GLOBAL" in lacks and type_.linkage == GLOBAL:
                new = Func(type_.name, type_.type, STATIC)
            case Float() if "FLOAT" in lacks:
                new = Struct("", type_.size)
            case DeclTag() if "DECL_TAG" in lacks:
                new = Int(type_.name, 1)
            case TypeTag() if "TYPE_TAG" in lacks:
                new = Const(type_.type)
            case Enum64() if "ENUM64" in lacks:
                new = Union(type_.name, type_.size)
            case EnumType() if "ENUM_SIGN" in lacks and type_.signed:
                new = EnumType(type_.name, type_.size, type_.values)
        if new is not None:
            builder.replace(type_id, new)
            changed = True
    return builder.build() if changed else btf
