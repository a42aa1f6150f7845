"""What the loader finds out about the kernel's types (CO-RE): places of members, sizes, existence, values of enums."""

from __future__ import annotations

from typing import Any, Final

from bombus.compiler import tree
from bombus.compiler.arithmetic import Arithmetic
from bombus.errors import NotSupported

# What is asked of a member: LLVM 22 llvm/lib/Target/BPF/BPFCORE.h
OFFSET: Final = 0
SIZE: Final = 1
EXISTS: Final = 2
LEFT: Final = 4
RIGHT: Final = 5


class Relocations(Arithmetic):
    """Expressions whose values the loader puts in."""

    def relocated(self, base: str, kind: Any, member: Any) -> str:
        """The address of a member that the loader finds in the kernel's BTF (CO-RE)."""
        index = list(kind.LAYOUT.members).index(member.name)
        node = self.module.debug.type(kind)
        if kind.LAYOUT.union:
            call = f"@llvm.preserve.union.access.index.p0.p0(ptr {base}, i32 {index})"
            self.module.declare("ptr @llvm.preserve.union.access.index.p0.p0(ptr, i32 immarg)")
        else:
            element = self.module.struct(kind)
            call = (
                f"@llvm.preserve.struct.access.index.p0.p0(ptr elementtype({element}) {base}, i32 {index}, i32 {index})"
            )
            self.module.declare("ptr @llvm.preserve.struct.access.index.p0.p0(ptr, i32 immarg, i32 immarg)")
        name = self.fresh()
        self.lines.append(f"  {name} = call ptr {call}{self.dbg}, !llvm.preserve.access.index {node}")
        return name

    def of_kernelhas(self, e: tree.KernelHas) -> str:
        self.at(e.at)
        if e.member:
            found = self.field_info("null", e.kind, e.kind.LAYOUT.members[e.member], EXISTS)
        else:
            found = self.type_info(e.kind, 0)
        return self.emit(f"icmp ne i32 {found}, 0")

    def of_kernelfact(self, e: tree.KernelFact) -> str:
        self.at(e.at)
        if e.fact == "local":
            return self.local_type(e.kind)
        if e.fact in ("has", "value"):
            value = self.enum_info(e.kind, e.member, int(e.fact == "value"))
            return self.emit(f"icmp ne i64 {value}, 0") if e.fact == "has" else value
        if e.member:
            what = SIZE if e.fact == "size" else OFFSET
            return self.field_info("null", e.kind, e.kind.LAYOUT.members[e.member], what)
        if e.fact == "size":
            return self.type_info(e.kind, 1)
        return self.emit(f"icmp ne i32 {self.type_info(e.kind, 2)}, 0")

    # CO-RE. Numbers of what is asked: LLVM 22 BPFCORE.h

    def field_info(self, base: str, kind: Any, member: Any, what: int) -> str:
        address = self.relocated(base, kind, member)
        self.module.declare("i32 @llvm.bpf.preserve.field.info.p0(ptr, i64 immarg)")
        return self.emit(f"call i32 @llvm.bpf.preserve.field.info.p0(ptr {address}, i64 {what})")

    def type_info(self, kind: Any, what: int) -> str:
        """what: 0 whether it is there, 1 its size, 2 whether it matches."""
        self.module.declare("i32 @llvm.bpf.preserve.type.info(i32 immarg, i64 immarg)")
        found = self.fresh()
        call = f"call i32 @llvm.bpf.preserve.type.info(i32 {self.count}, i64 {what})"
        self.lines.append(f"  {found} = {call}{self.dbg}, !llvm.preserve.access.index {self.module.debug.type(kind)}")
        return found

    def local_type(self, kind: Any) -> str:
        """The number of a struct in the program's own BTF."""
        self.module.declare("i64 @llvm.bpf.btf.type.id(i32 immarg, i64 immarg)")
        found = self.fresh()
        call = f"call i64 @llvm.bpf.btf.type.id(i32 {self.count}, i64 0)"
        self.lines.append(f"  {found} = {call}{self.dbg}, !llvm.preserve.access.index {self.module.debug.type(kind)}")
        return found

    def enum_info(self, kind: Any, name: str, what: int) -> str:
        """what: 0 whether it is there, 1 its value."""
        self.module.declare("i64 @llvm.bpf.preserve.enum.value(i32 immarg, ptr, i64 immarg)")
        text = self.module.string(f"{name}:{int(kind[name])}".encode() + b"\0")
        found = self.fresh()
        call = f"call i64 @llvm.bpf.preserve.enum.value(i32 {self.count}, ptr {text}, i64 {what})"
        self.lines.append(f"  {found} = {call}{self.dbg}, !llvm.preserve.access.index {self.module.debug.enum(kind)}")
        return found

    def bit_field(self, base: str, kind: Any, member: Any, space: str) -> str:
        """A bit-field of a kernel struct: bytes, shifts and sign are the kernel's."""
        offset = self.field_info(base, kind, member, OFFSET)
        size = self.field_info(base, kind, member, SIZE)
        left = self.field_info(base, kind, member, LEFT)
        right = self.field_info(base, kind, member, RIGHT)
        address = self.emit(f"getelementptr i8, ptr {base}, i64 {self.emit(f'zext i32 {offset} to i64')}")
        if space == "kernel":
            room = self.alloca("i64", 8)
            self.do(f"store i64 0, ptr {room}, align 8")
            self.do(f"call i64 inttoptr (i64 113 to ptr)(ptr {room}, i32 {size}, ptr {address})")
            value = self.emit(f"load i64, ptr {room}, align 8")
            if self.module.big:
                raise NotSupported("bit-fields behind plain kernel pointers on big-endian targets")
        else:
            end = self.label()
            ways: list[tuple[str, str]] = []
            for width in (1, 2, 4):
                this, other = self.label(), self.label()
                self.branch_on(self.emit(f"icmp eq i32 {size}, {width}"), this, other)
                self.begin(this)
                narrow = self.emit(f"load i{width * 8}, ptr {address}, align {width}")
                ways.append((self.emit(f"zext i{width * 8} {narrow} to i64"), self.block))
                self.jump(end)
                self.begin(other)
            ways.append((self.emit(f"load i64, ptr {address}, align 8"), self.block))
            self.jump(end)
            self.begin(end)
            value = self.emit("phi i64 " + ", ".join(f"[ {way}, %{block} ]" for way, block in ways))
        value = self.emit(f"shl i64 {value}, {self.emit(f'zext i32 {left} to i64')}")
        shift = "ashr" if member.type.SIGNED else "lshr"
        value = self.emit(f"{shift} i64 {value}, {self.emit(f'zext i32 {right} to i64')}")
        bits = member.type.BITS
        return value if bits == 64 else self.emit(f"trunc i64 {value} to i{bits}")
