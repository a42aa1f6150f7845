"""The BTF of three recorded kernels and of the running one, as spec's tests ask it."""

from __future__ import annotations

import functools
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

from bombus.btf.parse import Btf
from bombus.btf.types import (
    MODIFIERS_AND_TYPEDEFS,
    Array,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    Int,
    Kind,
    Ptr,
    Struct,
    Union,
)
from bombus.spec.version import KernelVersion

RUNNING = Path("/sys/kernel/btf/vmlinux")
FILES = {"6.1": "vmlinux-6.1.0-56.btf.gz", "6.12": "vmlinux-6.12.117+deb12.btf.gz", "6.18": "vmlinux-6.18.btf.gz"}
ORACLE = Path(__file__).resolve().parents[2].parent / "shared" / "oracle" / "btf"


@dataclass(frozen=True)
class Place:
    """Where a member lies: bytes from the start of the outermost struct; bits: of a bit-field, else 0."""

    offset: int
    size: int
    bits: int = 0


class KernelTypes:
    """Enumerators and structs of one kernel."""

    def __init__(self, name: str, version: KernelVersion, btf: Btf) -> None:
        self.name = name
        self.version = version
        self.btf = btf

    def __repr__(self) -> str:
        return self.name

    def enum(self, name: str) -> dict[str, int]:
        id_ = self.btf.find(name, (Kind.ENUM, Kind.ENUM64))
        assert id_ is not None, name
        found = self.btf[id_]
        assert isinstance(found, Enum | Enum64)
        return {e.name: e.value for e in found.values}

    @functools.cached_property
    def constants(self) -> dict[str, int]:
        """Every enumerator whose name begins with BPF_."""
        return {
            e.name: e.value
            for type_ in self.btf
            if isinstance(type_, Enum | Enum64)
            for e in type_.values
            if e.name.startswith("BPF_")
        }

    @functools.cached_property
    def kfuncs(self) -> frozenset[str]:
        """Functions that a "bpf_kfunc" tag marks; kernels before 6.9 have no such tags."""
        return frozenset(
            target.name
            for type_ in self.btf
            if isinstance(type_, DeclTag) and type_.name == "bpf_kfunc"
            and isinstance(target := self.btf[type_.type], Func)
        )  # fmt: skip

    @functools.cached_property
    def functions(self) -> frozenset[str]:
        return frozenset(type_.name for type_ in self.btf if isinstance(type_, Func))

    def size(self, id_: int) -> int:
        type_ = self.btf[id_]
        while type_.kind in MODIFIERS_AND_TYPEDEFS:
            type_ = self.btf[type_.type]  # type: ignore[union-attr]
        if isinstance(type_, Array):
            return type_.nelems * self.size(type_.type)
        if isinstance(type_, Ptr):
            return 8
        assert isinstance(type_, Int | Enum | Enum64 | Float | Struct | Union), type_
        return type_.size

    def struct(self, name: str) -> Struct | Union:
        """The struct or union of a name (the one with most members: uapi names are not always unique)."""
        found = [self.btf[id_] for id_ in self.btf.find_all(name, (Kind.STRUCT, Kind.UNION))]
        assert found, f"{self.name} has no struct {name}"
        best = max(found, key=lambda t: len(t.members))  # type: ignore[union-attr]
        assert isinstance(best, Struct | Union)
        return best

    def members(
        self, holder: Struct | Union, base: int = 0, prefix: str = "", *, inner: bool = True
    ) -> dict[str, Place]:
        """Members by name. Those of anonymous structs count as the holder's; with `inner`, those of named ones too,
        under "outer_inner", and instead of the outer one."""
        found: dict[str, Place] = {}
        for member in holder.members:
            id_ = member.type
            while self.btf.kind(id_) in MODIFIERS_AND_TYPEDEFS:
                id_ = self.btf[id_].type  # type: ignore[union-attr]
            type_ = self.btf[id_]
            offset = base + member.offset // 8
            composite = isinstance(type_, Struct | Union)
            if composite and (inner or not member.name):
                name = f"{prefix}{member.name}_" if member.name else prefix
                found.update(self.members(type_, offset, name, inner=inner))  # type: ignore[arg-type]
            elif member.name:
                found[prefix + member.name] = Place(offset, self.size(id_), member.bits)
        return found


@functools.cache
def types_of(name: str) -> KernelTypes | None:
    """None where the recording, or the running kernel's BTF, is absent."""
    if name == "running":
        if not RUNNING.exists():
            return None
        major, minor, _ = KernelVersion.parse(os.uname().release)  # rows know no patch levels
        return KernelTypes(name, KernelVersion(major, minor), Btf.parse(RUNNING.read_bytes()))
    path = ORACLE / FILES[name]
    if not path.exists():
        return None
    return KernelTypes(name, KernelVersion.parse(name), Btf.parse(gzip.decompress(path.read_bytes())))
