"""struct_ops: from an object's struct to the kernel's, and registering it.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_map__init_kern_struct_ops, bpf_map__attach_struct_ops).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bombus.btf.parse import Btf, essential_name
from bombus.btf.types import Enum, FuncProto, Int, Kind, Member, Ptr, Struct
from bombus.errors import KernelError, NotSupported, ObjectError
from bombus.kernel.handles import Attachment, Link, Map
from bombus.spec.maptypes import FLAG

if TYPE_CHECKING:
    from bombus.object.model import MapSpec

_PREFIX = "bpf_struct_ops_"
F_LINK = FLAG["BPF_F_LINK"].value


@dataclass(slots=True)
class StructOps:
    """A struct_ops map on its way into the kernel.

    type_id, value_type: BTF ids of the kernel's struct and of the map's value; module: whose BTF ("" for vmlinux).
    data: the value as the kernel lays it out. functions: (program, offset of its pointer in data, member's index).
    """

    spec: MapSpec
    type_id: int
    value_type: int
    module: str
    data: bytearray
    functions: list[tuple[str, int, int]] = field(default_factory=list)
    map: Map | None = None
    autoattach: bool = True

    def prepare(self) -> None:
        """Put the value into the map. One for links is then ready for them; any other is registered by this."""
        if self.map is None:
            raise NotSupported(f"attaching {self.spec.name!r}", "its map was not made")
        try:
            self.map.raw.update(bytes(4), bytes(self.data))
        except KernelError as error:
            # EBUSY: it has its value already, which a map for links keeps.
            if error.errno != errno.EBUSY or not self.spec.flags & F_LINK:
                raise

    def attach(self) -> Link | Attachment:
        """Register it. A link where the map was made for one (.struct_ops.link), else until the key is deleted."""
        item = self.map
        if item is None:
            raise NotSupported(f"attaching {self.spec.name!r}", "its map was not made")
        key = bytes(4)
        kernel, number = item.kernel, item.id
        if self.spec.flags & F_LINK:
            self.prepare()
            return Link.struct_ops(kernel, item)
        watch = kernel.sites.watch("struct_ops", map_id=number)
        try:
            self.prepare()
        except BaseException:
            watch.forget()
            raise

        def undo() -> None:
            try:
                with Map.from_id(kernel, number) as again:
                    del again.raw[key]
            except KernelError as error:
                if error.errno != 2:  # ENOENT
                    raise
            except KeyError:
                return

        return Attachment("struct_ops", undo, facts={"map_id": number, "name": self.spec.name}, watch=watch)


def plan(spec: MapSpec, btf: Btf, vmlinux: Btf, modules: dict[str, Btf]) -> StructOps:
    """Lay an object's struct out as the kernel's. ObjectError where they do not fit together."""
    mine = btf.resolved(spec.value_type)
    assert isinstance(mine, Struct) and spec.data is not None
    name = essential_name(mine.name)
    target, module = vmlinux, ""
    type_id = vmlinux.find(name, Kind.STRUCT)
    value_type = vmlinux.find(_PREFIX + name, Kind.STRUCT)
    if value_type is None:
        for owner, types in modules.items():
            value_type = types.find(_PREFIX + name, Kind.STRUCT)
            if value_type is not None:
                module, target, type_id = owner, types, types.find(name, Kind.STRUCT)
                break
    if type_id is None or value_type is None:
        raise ObjectError(f"this kernel has no struct_ops {name!r}", symbol=spec.name)
    kern, outer = target.type(type_id), target.type(value_type)
    assert isinstance(kern, Struct) and isinstance(outer, Struct)
    start = next((m.offset // 8 for m in outer.members if target.resolve(m.type) == type_id), None)
    if start is None:
        raise ObjectError(f"{outer.name} does not hold a {name}", symbol=spec.name)
    made = StructOps(spec, type_id, value_type, module, bytearray(outer.size))
    theirs = {member.name: (index, member) for index, member in enumerate(kern.members)}
    programs = dict(spec.values)
    for index, member in enumerate(mine.members):
        size = btf.size_of(member.type)
        following = mine.members[index + 1].offset // 8 if index + 1 < len(mine.members) else mine.size
        content = spec.data[member.offset // 8 : member.offset // 8 + size]
        program = programs.get(member.offset // 8)
        there = theirs.get(member.name)
        if there is None:
            # What the kernel does not know may stay unset (libbpf: the same).
            if program is not None or any(spec.data[member.offset // 8 : max(following, member.offset // 8 + size)]):
                raise ObjectError(f"this kernel's {name} has no member {member.name!r}", symbol=spec.name)
            continue
        _copy(made, btf, target, start, there, member, content, program)
    return made


def _copy(
    made: StructOps, btf: Btf, target: Btf, start: int, there: tuple[int, Member], member: Member, content: bytes,
    program: str | None,
) -> None:  # fmt: skip
    number, kern = there
    mine, theirs = btf.resolved(member.type), target.resolved(kern.type)

    def bad(text: str) -> ObjectError:
        return ObjectError(f"member {member.name!r}: {text}", symbol=made.spec.name)

    if member.bits or kern.bits or member.offset % 8 or kern.offset % 8:
        raise bad("bit fields cannot be set")
    at = start + kern.offset // 8
    if isinstance(mine, Ptr):
        if not isinstance(theirs, Ptr) or not isinstance(target.resolved(theirs.type), FuncProto):
            if program is None and not any(content):
                return
            raise bad("is no function pointer in this kernel")
        if program is not None:
            made.functions.append((program, at, number))
        elif any(content):
            raise bad("points to no program")
        return
    alike = mine.kind == theirs.kind or {mine.kind, theirs.kind} <= {Kind.ENUM, Kind.ENUM64}
    if not alike or btf.size_of(member.type) != target.size_of(kern.type):
        # An int may stand for an enum of the same size and the other way round.
        number_like = isinstance(mine, (Int, Enum)) and isinstance(theirs, (Int, Enum))
        if not number_like or btf.size_of(member.type) != target.size_of(kern.type):
            raise bad(f"has {len(content)} bytes, this kernel's has {target.size_of(kern.type)}, or another kind")
    made.data[at : at + len(content)] = content
