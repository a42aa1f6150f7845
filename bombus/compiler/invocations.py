"""Packets, calls of functions and helpers, atomics, printing."""

from __future__ import annotations

from typing import Final

from bombus.bpf.context import REACH, PacketContext
from bombus.bpf.ints import u64
from bombus.bpf.layout import size_of
from bombus.compiler import tree
from bombus.compiler.memory import Memory
from bombus.compiler.types import IntT, LitT, RefT
from bombus.compiler.writer import extension, type_text
from bombus.errors import NotSupported
from bombus.spec.helpers import HELPER

_U64: Final = IntT(u64)
_LOOP: Final = HELPER["loop"].id


def _pieces(size: int, alignment: int) -> list[tuple[int, int]]:
    """(offset, width) of the words that `size` bytes are looked at in."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        width = 8
        while width > min(alignment, size - at):
            width //= 2
        found.append((at, width))
        at += width
    return found


class Invocations(Memory):
    """Expressions that ask the kernel or other functions."""

    def packet_end(self, ctx: str, kind: type[PacketContext], offset: int) -> str:
        """data or data_end as an address."""
        self.module.declare("ptr @llvm.preserve.static.offset(ptr)")
        base = self.emit(f"call ptr @llvm.preserve.static.offset(ptr {ctx})")
        if offset:
            base = self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {offset}")
        if kind._WIDTH == 8:
            return self.emit(f"load ptr, ptr {base}, align 8")
        word = self.emit(f"load i32, ptr {base}, align 4")
        return self.emit(f"inttoptr i64 {self.emit(f'zext i32 {word} to i64')} to ptr")

    def of_packetlength(self, e: tree.PacketLength) -> str:
        assert isinstance(e.ctx.type, RefT)
        ctx, kind = self.value(e.ctx), e.ctx.type.target
        ends = [self.packet_end(ctx, kind, offset) for offset in (kind._DATA_END, kind._DATA)]
        words = [self.emit(f"ptrtoint ptr {end} to i64") for end in ends]
        length = self.emit(f"sub i64 {words[0]}, {words[1]}")
        # The difference is all that verifiers allow of these two: keep LLVM from adding to one of them first.
        hidden = self.emit(f'call i64 asm "", "=r,0"(i64 {length})')
        return self.emit(f"trunc i64 {hidden} to i32")

    def pair_parse(self, e: tree.Parse) -> tuple[str, str]:
        assert isinstance(e.ctx.type, RefT) and isinstance(e.type, RefT)
        size = size_of(e.type.target)
        ctx, kind = self.value(e.ctx), e.ctx.type.target
        if isinstance(e.offset, tree.Const):
            self.at(e.at)
            data = self.packet_end(ctx, kind, kind._DATA)
            end = self.packet_end(ctx, kind, kind._DATA_END)
            start = data
            if e.offset.value:
                start = self.emit(f"getelementptr inbounds i8, ptr {data}, i64 {e.offset.value}")
            last = self.emit(f"getelementptr inbounds i8, ptr {data}, i64 {e.offset.value + size}")
            return start, self.emit(f"icmp ugt ptr {last}, {end}")
        offset = self.value(e.offset)
        bits = type_text(e.offset.type)
        signed = isinstance(e.offset.type, LitT) or (isinstance(e.offset.type, IntT) and e.offset.type.signed)
        if bits != "i64":
            offset = self.emit(f"{'sext' if signed else 'zext'} {bits} {offset} to i64")
        far, near, done = self.label(), self.label(), self.label()
        small = isinstance(e.offset.type, IntT) and e.offset.type.kind.MAX <= REACH and not signed
        small = small or (isinstance(e.offset.type, LitT) and e.offset.type.low >= 0 and e.offset.type.high <= REACH)
        before = self.block
        if not small:
            self.branch_on(self.emit(f"icmp ugt i64 {offset}, {REACH}"), far, near)
            self.begin(far)
            self.jump(done)
            self.begin(near)
        self.at(e.at)
        data = self.packet_end(ctx, kind, kind._DATA)
        end = self.packet_end(ctx, kind, kind._DATA_END)
        start = self.emit(f"getelementptr inbounds i8, ptr {data}, i64 {offset}")
        last = self.emit(f"getelementptr inbounds i8, ptr {start}, i64 {size}")
        out = self.emit(f"icmp ugt ptr {last}, {end}")
        # In loops LLVM would turn the checks into a number of rounds, which verifiers cannot follow.
        self.module.declare("i1 @llvm.bpf.passthrough.i1.i1(i32, i1)")
        self.count += 1
        out = self.emit(f"call i1 @llvm.bpf.passthrough.i1.i1(i32 {self.count}, i1 {out})")
        if small:
            return start, out
        here = self.block
        assert before != here
        self.begin(done)
        return (
            self.emit(f"phi ptr [ null, %{far} ], [ {start}, %{here} ]"),
            self.emit(f"phi i1 [ true, %{far} ], [ {out}, %{here} ]"),
        )

    def of_tuple(self, e: tree.Tuple) -> str:
        kind = type_text(e.type)
        whole = "poison"
        for index, item in enumerate(e.items):
            whole = self.emit(f"insertvalue {kind} {whole}, {type_text(item.type)} {self.value(item)}, {index}")
        return whole

    def of_call(self, e: tree.Call) -> str:
        args: list[str] = []
        for arg, variable in zip(e.args, e.function.params, strict=True):
            if isinstance(arg, tree.Object):
                args.append(f"ptr {self.value(arg)}")
                continue
            text = self.reference(arg) if isinstance(variable.type, RefT) else self.value(arg)
            args.append(f"{type_text(variable.type)} {extension(variable.type)}{text}")
        self.at(e.at)
        wide = "i64" if e.function.linkage == "callback" else type_text(e.function.result)
        if wide == "void":
            self.do(f"call void @{e.function.name}({', '.join(args)})")
            return ""
        value = self.emit(f"call {extension(e.type)}{wide} @{e.function.name}({', '.join(args)})")
        if e.function.linkage == "callback" and type_text(e.type) != wide:
            value = self.emit(f"trunc {wide} {value} to {type_text(e.type)}")
        return value

    def of_helpercall(self, e: tree.HelperCall) -> str:
        if self.module.native:
            from bombus.spec.helpers import HELPER_BY_ID

            raise NotSupported("helpers in native code", f"{self.function.name} calls {HELPER_BY_ID[e.number].name}")
        args: list[str] = []
        for arg, width in zip(e.args, e.widths, strict=True):
            # Before cpu v3 the upper half of a register is anything; Linux looks at all of it where it puts a helper's
            # code in place of the call (kernel/bpf/verifier.c: inline_bpf_loop).
            extended = "zeroext " if 0 < width < 64 else ""
            args.append(f"i{width} {extended}{self.value(arg)}" if width else f"ptr {self.reference(arg)}")
        self.at(e.at)
        callee = f"inttoptr (i64 {e.number} to ptr)({', '.join(args)})"
        if e.number == _LOOP and isinstance(e.args[3], tree.Const) and not e.args[3].value:
            return self._loop(callee, args[0].replace("zeroext ", ""))
        if e.result == "void":
            self.do(f"call void {callee}")
            return ""
        if isinstance(e.type, RefT):
            return self.emit(f"call ptr {callee}")
        bits = type_text(e.type) if isinstance(e.type, IntT) else "i64"
        return self.emit(f"call {bits} {callee}")

    def _loop(self, callee: str, rounds: str) -> str:
        """bpf_loop, left out when there is no round. Verifiers that know that there is none do not look at the
        callback; Linux takes it out as dead, but keeps the instruction with its address, and then refuses the program
        with EFAULT (Linux 6.18 kernel/bpf/verifier.c: check_helper_call, opt_remove_dead_code, jit_subprogs)."""
        some, end = self.label(), self.label()
        before = self.block
        self.branch_on(self.emit(f"icmp eq {rounds}, 0"), end, some)
        self.begin(some)
        done = self.emit(f"call i64 {callee}")
        self.begin(end)
        return self.emit(f"phi i64 [ 0, %{before} ], [ {done}, %{some} ]")

    def of_atomic(self, e: tree.Atomic) -> str:
        value = self.value(e.value)
        expected = self.value(e.expected) if e.expected is not None else ""
        address, _alignment = self.address(e.place)
        self.at(e.at)
        bits = type_text(e.type)
        if e.operation == "cmpxchg":
            both = self.emit(f"cmpxchg ptr {address}, {bits} {expected}, {bits} {value} seq_cst seq_cst")
            return self.emit(f"extractvalue {{ {bits}, i1 }} {both}, 0")
        # The kernel's atomic_fetch_... are full barriers, atomic_add and its like order nothing.
        # clang: a fetch whose result nobody wants is relaxed, so that it becomes a plain atomic instruction
        order = "seq_cst" if e.fetch else "monotonic"
        return self.emit(f"atomicrmw {e.operation} ptr {address}, {bits} {value} {order}")

    def of_orderedload(self, e: tree.OrderedLoad) -> str:
        address, alignment = self.address(e.place)
        how = "atomic" if e.order == "acquire" else "volatile"
        order = " acquire" if e.order == "acquire" else ""
        return self.emit(f"load {how} {type_text(e.type)}, ptr {address}{order}, align {alignment}")

    def of_orderedstore(self, e: tree.OrderedStore) -> str:
        value = self.value(e.value)
        address, alignment = self.address(e.place)
        how = "atomic" if e.order == "release" else "volatile"
        order = " release" if e.order == "release" else ""
        self.do(f"store {how} {type_text(e.value.type)} {value}, ptr {address}{order}, align {alignment}")
        return ""

    # Bytes

    def of_bytescall(self, e: tree.BytesCall) -> str:
        places: list[str] = []
        for arg in e.args:
            text = self.value(arg)
            if arg.type == _U64:
                text = self.emit(f"inttoptr i64 {text} to ptr")
            places.append(self.reachable(text, arg.type))
        size = self.value(e.size)
        self.at(e.at)
        return str(getattr(self, f"_{e.operation}_bytes")(e, places, size))

    def _copy_bytes(self, e: tree.BytesCall, places: list[str], size: str) -> str:
        if not self.module.native:
            self.copy(places[0], places[1], int(size), min(e.alignments))
            return ""
        self.module.declare("void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)")
        target, source = (f"ptr align {a} {p}" for a, p in zip(e.alignments, places, strict=True))
        self.do(f"call void @llvm.memmove.p0.p0.i64({target}, {source}, i64 {size}, i1 false)")
        return ""

    def _fill_bytes(self, e: tree.BytesCall, places: list[str], size: str) -> str:
        if not self.module.native:
            self.fill(places[0], places[1], int(size), e.alignments[0])
            return ""
        self.module.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        target = f"ptr align {e.alignments[0]} {places[0]}"
        self.do(f"call void @llvm.memset.p0.i64({target}, i8 {places[1]}, i64 {size}, i1 false)")
        return ""

    def _equal_bytes(self, e: tree.BytesCall, places: list[str], size: str) -> str:
        if self.module.native:
            return self.emit(f"icmp eq i32 {self._memcmp(places, size)}, 0")
        different = ""
        for at, width in _pieces(int(size), min(e.alignments)):
            words = [self._word(place, at, width, min(e.alignments)) for place in places]
            bits = self.emit(f"xor i{width * 8} {words[0]}, {words[1]}")
            if width < 8:
                bits = self.emit(f"zext i{width * 8} {bits} to i64")
            different = self.emit(f"or i64 {different}, {bits}") if different else bits
        return self.emit(f"icmp eq i64 {different}, 0") if different else "true"

    def _compare_bytes(self, e: tree.BytesCall, places: list[str], size: str) -> str:
        if self.module.native:
            found = self._memcmp(places, size)
            more = self.emit(f"zext i1 {self.emit(f'icmp sgt i32 {found}, 0')} to i64")
            less = self.emit(f"zext i1 {self.emit(f'icmp slt i32 {found}, 0')} to i64")
            return self.emit(f"sub i64 {more}, {less}")
        end = self.label()
        answers: list[tuple[str, str]] = []
        for at, width in _pieces(int(size), min(e.alignments)):
            words = [self._word(place, at, width, min(e.alignments)) for place in places]
            if not self.module.big:
                words = [self.swap(word, f"i{width * 8}") for word in words]
            below = self.emit(f"icmp ult i{width * 8} {words[0]}, {words[1]}")
            answer = self.emit(f"select i1 {below}, i64 -1, i64 1")
            following = self.label()
            answers.append((answer, self.block))
            self.branch_on(self.emit(f"icmp eq i{width * 8} {words[0]}, {words[1]}"), following, end)
            self.begin(following)
        answers.append(("0", self.block))
        self.begin(end)
        return self.emit("phi i64 " + ", ".join(f"[ {answer}, %{block} ]" for answer, block in answers))

    def _memcmp(self, places: list[str], size: str) -> str:
        self.module.declare("i32 @memcmp(ptr, ptr, i64)")
        return self.emit(f"call i32 @memcmp(ptr {places[0]}, ptr {places[1]}, i64 {size})")

    def _word(self, place: str, at: int, width: int, alignment: int) -> str:
        if at:
            place = self.emit(f"getelementptr inbounds i8, ptr {place}, i64 {at}")
        return self.emit(f"load i{width * 8}, ptr {place}, align {min(width, alignment)}")

    def of_print(self, e: tree.Print) -> str:
        if self.module.native:
            raise NotSupported("printk in native code", self.function.name)
        into = self.value(e.into) if e.into is not None else ""
        text = self.module.string(e.format)
        values: list[str] = []
        for arg in e.args:
            value, kind = self.value(arg), arg.type
            assert isinstance(kind, IntT)
            if kind.kind.NETWORK and not self.module.big:
                value = self.swap(value, type_text(kind))
            if kind.bits < 64:
                value = self.emit(f"{'sext' if kind.signed else 'zext'} {type_text(kind)} {value} to i64")
            values.append(value)
        self.at(e.at)
        size = len(e.format)
        if not into and len(values) <= 3:
            more = "".join(f", i64 {value}" for value in values)
            self.do(f"call i64 inttoptr (i64 6 to ptr)(ptr {text}, i32 {size}{more})")
            return ""
        table = self.alloca(f"[{len(values)} x i64]", 8) if values else "null"
        for index, value in enumerate(values):
            place = self.emit(f"getelementptr inbounds i8, ptr {table}, i64 {index * 8}")
            self.do(f"store i64 {value}, ptr {place}, align 8")
        if e.into is not None:
            assert isinstance(e.into.type, RefT)
            room = size_of(e.into.type.target)
            return self.emit(
                f"call i64 inttoptr (i64 165 to ptr)(ptr {into}, i32 {room}, ptr {text}, ptr {table}, "
                f"i32 {len(values) * 8})"
            )
        self.do(f"call i64 inttoptr (i64 177 to ptr)(ptr {text}, i32 {size}, ptr {table}, i32 {len(values) * 8})")
        return ""
