"""One checked function as LLVM IR text.

A reference that may be None is two values: the address, and whether it is None. So a bounds check makes no null
pointer, and the tests that a program writes become the branches that the verifier wants to see.
Network-order integers are held as they lie in memory; conversions swap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.bits import bswap
from bombus.bpf.context import REACH, PacketContext
from bombus.bpf.ints import Scalar
from bombus.bpf.layout import ArrayType, PointerType, align_of, size_of
from bombus.compiler import tree
from bombus.compiler.types import BOOL, NONE, IntT, LitT, RefT, TupleT, Type
from bombus.errors import NotSupported

if TYPE_CHECKING:
    from bombus.compiler.module import ModuleText

_RELATIONS = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
_PLAIN = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}


def type_text(kind: Type) -> str:
    """The LLVM type of a value."""
    if isinstance(kind, IntT):
        return f"i{kind.bits}"
    if kind == BOOL:
        return "i1"
    if isinstance(kind, LitT):
        return "i64"
    if isinstance(kind, RefT):
        return "ptr"
    if isinstance(kind, TupleT):
        return "{ " + ", ".join(map(type_text, kind.items)) + " }"
    return "void"


class FunctionText:
    """Writes one function."""

    def __init__(self, module: ModuleText, function: tree.Function, attributes: str) -> None:
        self.module = module
        self.function = function
        self.attributes = "alwaysinline" if isinstance(function.result, TupleT) else attributes
        self.scope = module.debug.subprogram(function)
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.slots: dict[tree.Variable, tuple[str, str]] = {}  # variable -> slot, slot of its None flag
        self.count = 0
        self.block = "entry"
        self.ended = False
        self.loops: list[tuple[str, str, int]] = []  # break label, continue label, number of scopes around
        self.scopes: list[tree.Scope] = []
        self.dbg = ""
        self.params: dict[tree.Variable, str] = {}

    # Writing

    def fresh(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.lines.append(f"  {name} = {text}{self.dbg}")
        return name

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}{self.dbg}")

    def label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def begin(self, label: str) -> None:
        if not self.ended:
            self.do(f"br label %{label}")
        self.lines.append(f"{label}:")
        self.block = label
        self.ended = False

    def jump(self, label: str) -> None:
        if not self.ended:
            self.do(f"br label %{label}")
            self.ended = True

    def branch_on(self, value: str, yes: str, no: str) -> None:
        self.do(f"br i1 {value}, label %{yes}, label %{no}")
        self.ended = True

    def at(self, place: tree.Place) -> None:
        if place.line:
            self.dbg = f", !dbg {self.module.debug.location(place, self.scope)}"

    def alloca(self, kind: str, alignment: int) -> str:
        name = self.fresh()
        self.allocas.append(f"  {name} = alloca {kind}, align {alignment}")
        return name

    def slot(self, variable: tree.Variable) -> tuple[str, str]:
        known = self.slots.get(variable)
        if known is None:
            kind = variable.type
            flag = self.alloca("i1", 1) if isinstance(kind, RefT) and kind.nullable else ""
            known = self.slots[variable] = (self.alloca(type_text(kind), 8), flag)
        return known

    def text(self) -> str:
        function = self.function
        result = self.result_text()
        params: list[str] = []
        self.at(tree.Place(function.line, 1))
        for index, variable in enumerate(function.params):
            params.append(f"{type_text(variable.type)} {_extension(variable.type)}%p{index}")
        for index, variable in enumerate(function.params):
            self.set_parameter(variable, f"%p{index}")
        self.statements(function.body)
        if not self.ended:
            self.at(tree.Place(function.line, 1))
            if function.result == NONE and function.linkage != "callback":
                self.do("ret void")
            else:
                self.do(f"ret {result} {_zero(result)}")  # control does not come here; LLVM would call __bpf_trap
        local = "dso_local" if function.linkage in ("program", "global") else "internal"
        section = f' section "{function.section}"' if function.section else ""
        extension = _extension(function.result) if function.linkage != "callback" else ""
        return "\n".join([
            f"define {local} {extension}{result} @{function.name}({', '.join(params)}) nounwind "
            f"{self.attributes}{section} !dbg {self.scope} {{",
            "entry:",
            *self.allocas,
            *self.lines,
            "}",
        ])  # fmt: skip

    def result_text(self) -> str:
        if self.function.linkage == "callback":
            return "i64"
        return type_text(self.function.result)

    def set_parameter(self, variable: tree.Variable, name: str) -> None:
        place, flag = self.slot(variable)
        self.do(f"store {type_text(variable.type)} {name}, ptr {place}")
        if flag:
            null = self.emit(f"icmp eq ptr {name}, null")
            self.do(f"store i1 {null}, ptr {flag}")
        if isinstance(variable.type, RefT) and variable.type.space == "ctx":
            self.params[variable] = name

    # Statements

    def statements(self, body: list[tree.Stmt]) -> None:
        for statement in body:
            if self.ended:
                return
            self.at(statement.at)
            getattr(self, f"do_{type(statement).__name__.lower()}")(statement)

    def do_set(self, s: tree.Set) -> None:
        self.assign(s.variable, s.value)

    def assign(self, variable: tree.Variable, value: tree.Expr) -> str:
        place, flag = self.slot(variable)
        if flag:
            address, null = self.pair(value)
            self.do(f"store ptr {address}, ptr {place}")
            self.do(f"store i1 {null}, ptr {flag}")
            return address
        text = self.value(value)
        self.do(f"store {type_text(variable.type)} {text}, ptr {place}")
        return text

    def do_store(self, s: tree.Store) -> None:
        self.store(s.place, s.value)

    def do_unpack(self, s: tree.Unpack) -> None:
        if isinstance(s.value, tree.Tuple):
            values = [self.value(item) for item in s.value.items]
        else:
            whole = self.value(s.value)
            kind = type_text(s.value.type)
            values = [self.emit(f"extractvalue {kind} {whole}, {index}") for index in range(len(s.variables))]
        for variable, value in zip(s.variables, values, strict=True):
            place, flag = self.slot(variable)
            self.do(f"store {type_text(variable.type)} {value}, ptr {place}")
            if flag:
                null = self.emit(f"icmp eq ptr {value}, null")
                self.do(f"store i1 {null}, ptr {flag}")

    def do_evaluate(self, s: tree.Evaluate) -> None:
        self.evaluate(s.value)

    def evaluate(self, value: tree.Expr) -> None:
        if isinstance(value.type, RefT) and value.type.nullable:
            self.pair(value)
        else:
            self.value(value)

    def do_if(self, s: tree.If) -> None:
        then, other, end = self.label(), self.label(), self.label()
        self.branch(s.test, then, other if s.other else end)
        self.begin(then)
        self.statements(s.then)
        self.jump(end)
        if s.other:
            self.begin(other)
            self.statements(s.other)
            self.jump(end)
        self.begin(end)

    def do_while(self, s: tree.While) -> None:
        head, body, other, end = (self.label() for _ in range(4))
        self.begin(head)
        self.branch(s.test, body, other)
        self.begin(body)
        self.loops.append((end, head, len(self.scopes)))
        self.statements(s.body)
        self.loops.pop()
        self.jump(head)
        self.begin(other)
        self.statements(s.other)
        self.begin(end)

    def do_for(self, s: tree.For) -> None:
        head, body, step, other, end = (self.label() for _ in range(5))
        start, stop = self.value(s.start), self.value(s.stop)
        counter = self.alloca("i64", 8)  # the program's variable keeps its last value, as in Python
        self.do(f"store i64 {start}, ptr {counter}")
        self.begin(head)
        now = self.emit(f"load i64, ptr {counter}")
        more = self.emit(f"icmp {'slt' if s.step > 0 else 'sgt'} i64 {now}, {stop}")
        self.branch_on(more, body, other)
        self.begin(body)
        place, _flag = self.slot(s.variable)
        self.do(f"store i64 {now}, ptr {place}")
        self.loops.append((end, step, len(self.scopes)))
        self.statements(s.body)
        self.loops.pop()
        self.begin(step)
        self.at(s.at)
        self.do(f"store i64 {self.emit(f'add nsw i64 {now}, {s.step}')}, ptr {counter}")
        self.jump(head)
        self.begin(other)
        self.statements(s.other)
        self.begin(end)

    def do_unrolled(self, s: tree.Unrolled) -> None:
        end = self.label()
        for body in s.bodies:
            following = self.label()
            self.loops.append((end, following, len(self.scopes)))
            self.statements(body)
            self.loops.pop()
            self.begin(following)
        self.statements(s.other)
        self.begin(end)

    def do_break(self, s: tree.Break) -> None:
        label, _next, depth = self.loops[-1]
        self.leave(depth)
        self.jump(label)

    def do_continue(self, s: tree.Continue) -> None:
        _end, label, depth = self.loops[-1]
        self.leave(depth)
        self.jump(label)

    def do_return(self, s: tree.Return) -> None:
        function = self.function
        if s.value is None:
            self.leave(0)
            self.do("ret void")
        else:
            kind = s.value.type
            if isinstance(kind, RefT) and kind.nullable:
                address, null = self.pair(s.value)
                text = self.emit(f"select i1 {null}, ptr null, ptr {address}")
            else:
                text = self.value(s.value)
            self.leave(0)
            wide = self.result_text()
            if function.linkage == "callback" and type_text(kind) != wide:
                signed = isinstance(kind, IntT) and kind.signed
                text = self.emit(f"{'sext' if signed else 'zext'} {type_text(kind)} {text} to {wide}")
            self.do(f"ret {wide} {text}")
        self.ended = True

    def do_scope(self, s: tree.Scope) -> None:
        self.statements(s.enter)
        self.scopes.append(s)
        self.statements(s.body)
        self.scopes.pop()
        if not self.ended:
            self.leave_one(s)

    def leave(self, depth: int) -> None:
        """Run what ends the scopes down to `depth`, the inner ones first."""
        for scope in reversed(self.scopes[depth:]):
            self.leave_one(scope)

    def leave_one(self, scope: tree.Scope) -> None:
        if scope.guard is None:
            self.evaluate(scope.leave)
            return
        _place, flag = self.slot(scope.guard)
        there, end = self.label(), self.label()
        self.branch_on(self.emit(f"load i1, ptr {flag}"), end, there)
        self.begin(there)
        self.evaluate(scope.leave)
        self.begin(end)

    # Conditions

    def branch(self, test: tree.Expr, yes: str, no: str) -> None:
        """Go to one of two labels."""
        if isinstance(test, tree.Not):
            self.branch(test.value, no, yes)
        elif isinstance(test, tree.Const):
            self.jump(yes if test.value else no)
        elif isinstance(test, tree.Logic):
            for part in test.values[:-1]:
                following = self.label()
                self.branch(part, *((following, no) if test.conjunction else (yes, following)))
                self.begin(following)
            self.branch(test.values[-1], yes, no)
        else:
            value = self.value(test)
            self.branch_on(value, yes, no)

    # Values

    def value(self, e: tree.Expr) -> str:
        """The operand that holds a value; of a reference its address."""
        if isinstance(e.type, RefT) and e.type.nullable and not isinstance(e, tree.Const):
            return self.pair(e)[0]
        self.at(e.at)
        text = getattr(self, f"of_{type(e).__name__.lower()}")(e)
        assert isinstance(text, str)
        return text

    def pair(self, e: tree.Expr) -> tuple[str, str]:
        """Address and whether it is None."""
        self.at(e.at)
        if isinstance(e, tree.Const):
            return "null", "true"
        if isinstance(e, tree.Read):
            place, flag = self.slot(e.variable)
            address = self.emit(f"load ptr, ptr {place}")
            return address, self.emit(f"load i1, ptr {flag}") if flag else "false"
        if isinstance(e, tree.Assigned):
            address, null = self.pair(e.value)
            place, flag = self.slot(e.variable)
            self.do(f"store ptr {address}, ptr {place}")
            if flag:
                self.do(f"store i1 {null}, ptr {flag}")
            return address, null
        if isinstance(e, tree.Parse):
            return self.parse(e)
        if isinstance(e, tree.Choice):
            return self.choose_reference(e)
        if isinstance(e.type, RefT) and e.type.nullable:
            address = getattr(self, f"of_{type(e).__name__.lower()}")(e)
            return address, self.emit(f"icmp eq ptr {address}, null")
        return self.value(e), "false"

    def number(self, value: int, kind: Type) -> str:
        """A constant as it lies in memory."""
        if isinstance(kind, IntT) and kind.kind.NETWORK and not self.module.big:
            value = bswap(value, kind.bits)
        return str(value)

    def of_const(self, e: tree.Const) -> str:
        if isinstance(e.type, RefT):
            return "null"
        if e.type == BOOL:
            return "true" if e.value else "false"
        return self.number(e.value, e.type)

    of_folded = of_const

    def of_object(self, e: tree.Object) -> str:
        if isinstance(e.value, tree.Function):
            return f"@{e.value.name}"
        return f"@{self.module.map_names[id(e.value)]}"

    def of_read(self, e: tree.Read) -> str:
        if e.variable in self.params:
            return self.params[e.variable]
        place, _flag = self.slot(e.variable)
        return self.emit(f"load {type_text(e.type)}, ptr {place}")

    def of_assigned(self, e: tree.Assigned) -> str:
        return self.assign(e.variable, e.value)

    def of_binary(self, e: tree.Binary) -> str:
        left, right = self.value(e.left), self.value(e.right)
        self.at(e.at)
        kind = e.type
        assert isinstance(kind, IntT)
        bits = f"i{kind.bits}"
        if e.operation in _PLAIN:
            return self.emit(f"{_PLAIN[e.operation]} {bits} {left}, {right}")
        if e.operation == "shr":
            return self.emit(f"{'ashr' if kind.signed else 'lshr'} {bits} {left}, {right}")
        return self.divide(e.operation, kind, left, right, e.right)

    def divide(self, operation: str, kind: IntT, left: str, right: str, divisor: tree.Expr) -> str:
        """isa.semantics: x / 0 is 0, x % 0 is x; LLVM leaves both undefined."""
        bits = f"i{kind.bits}"
        known = isinstance(divisor, tree.Const)
        if known and divisor.value == 0:  # type: ignore[attr-defined]
            return "0" if operation == "div" else left
        zero, safe = "", right
        if not known:
            zero = self.emit(f"icmp eq {bits} {right}, 0")
            safe = self.emit(f"select i1 {zero}, {bits} 1, {bits} {right}")
        result = self.signed_divide(operation, bits, left, safe) if kind.signed else self.emit(
            f"{'udiv' if operation == 'div' else 'urem'} {bits} {left}, {safe}"
        )  # fmt: skip
        if not zero:
            return result
        return self.emit(f"select i1 {zero}, {bits} {'0' if operation == 'div' else left}, {bits} {result}")

    def signed_divide(self, operation: str, bits: str, left: str, right: str) -> str:
        """Through unsigned division: before cpu v4 there is no other, and (most negative) / -1 wraps as it must."""
        a_minus = self.emit(f"icmp slt {bits} {left}, 0")
        b_minus = self.emit(f"icmp slt {bits} {right}, 0")
        a = self.emit(f"select i1 {a_minus}, {bits} {self.emit(f'sub {bits} 0, {left}')}, {bits} {left}")
        b = self.emit(f"select i1 {b_minus}, {bits} {self.emit(f'sub {bits} 0, {right}')}, {bits} {right}")
        if operation == "div":
            whole = self.emit(f"udiv {bits} {a}, {b}")
            minus = self.emit(f"xor i1 {a_minus}, {b_minus}")
        else:
            whole = self.emit(f"urem {bits} {a}, {b}")
            minus = a_minus
        return self.emit(f"select i1 {minus}, {bits} {self.emit(f'sub {bits} 0, {whole}')}, {bits} {whole}")

    def of_unary(self, e: tree.Unary) -> str:
        value = self.value(e.value)
        bits = type_text(e.type)
        if e.operation == "neg":
            return self.emit(f"sub {bits} 0, {value}")
        if e.operation == "not":
            return self.emit(f"xor {bits} {value}, -1")
        return self.swap(value, bits)

    def swap(self, value: str, bits: str) -> str:
        if bits == "i8":
            return value
        self.module.declare(f"{bits} @llvm.bswap.{bits}({bits})")
        return self.emit(f"call {bits} @llvm.bswap.{bits}({bits} {value})")

    def of_compare(self, e: tree.Compare) -> str:
        left, right = self.value(e.left), self.value(e.right)
        self.at(e.at)
        kind = e.left.type
        relation = e.relation
        if relation not in ("eq", "ne"):
            relation = ("s" if isinstance(kind, LitT) or (isinstance(kind, IntT) and kind.signed) else "u") + relation
        return self.emit(f"icmp {relation} {type_text(kind)} {left}, {right}")

    def of_logic(self, e: tree.Logic) -> str:
        return self.by_branches(e)

    def of_not(self, e: tree.Not) -> str:
        return self.emit(f"xor i1 {self.value(e.value)}, true")

    def of_isnone(self, e: tree.IsNone) -> str:
        return self.pair(e.value)[1]

    def by_branches(self, e: tree.Expr) -> str:
        yes, no, end = self.label(), self.label(), self.label()
        self.branch(e, yes, no)
        self.begin(yes)
        self.jump(end)
        self.begin(no)
        self.jump(end)
        self.begin(end)
        return self.emit(f"phi i1 [ true, %{yes} ], [ false, %{no} ]")

    def of_choice(self, e: tree.Choice) -> str:
        yes, no, end = self.label(), self.label(), self.label()
        self.branch(e.test, yes, no)
        self.begin(yes)
        a = self.value(e.then)
        from_yes = self.block
        self.jump(end)
        self.begin(no)
        b = self.value(e.other)
        from_no = self.block
        self.jump(end)
        self.begin(end)
        return self.emit(f"phi {type_text(e.type)} [ {a}, %{from_yes} ], [ {b}, %{from_no} ]")

    def choose_reference(self, e: tree.Choice) -> tuple[str, str]:
        yes, no, end = self.label(), self.label(), self.label()
        self.branch(e.test, yes, no)
        self.begin(yes)
        a, a_null = self.pair(e.then)
        from_yes = self.block
        self.jump(end)
        self.begin(no)
        b, b_null = self.pair(e.other)
        from_no = self.block
        self.jump(end)
        self.begin(end)
        address = self.emit(f"phi ptr [ {a}, %{from_yes} ], [ {b}, %{from_no} ]")
        return address, self.emit(f"phi i1 [ {a_null}, %{from_yes} ], [ {b_null}, %{from_no} ]")

    def of_cast(self, e: tree.Cast) -> str:
        value = self.value(e.value)
        self.at(e.at)
        given, wanted = e.value.type, e.type
        if wanted == BOOL:
            return value if given == BOOL else self.emit(f"icmp ne {type_text(given)} {value}, 0")
        bits = int(type_text(wanted)[1:])
        if given == BOOL:
            value, width = self.emit(f"zext i1 {value} to i{bits}"), bits
        else:
            width = int(type_text(given)[1:])
        if isinstance(given, IntT) and given.kind.NETWORK and not self.module.big:
            value = self.swap(value, f"i{width}")
        if width > bits:
            value = self.emit(f"trunc i{width} {value} to i{bits}")
        elif width < bits:
            signed = isinstance(given, LitT) or (isinstance(given, IntT) and given.signed)
            value = self.emit(f"{'sext' if signed else 'zext'} i{width} {value} to i{bits}")
        if isinstance(wanted, IntT) and wanted.kind.NETWORK and not self.module.big:
            value = self.swap(value, f"i{bits}")
        return value

    # Memory

    def address(self, spot: tree.Spot) -> tuple[str, int]:
        """Address and alignment of a place."""
        base = self.value(spot.base)
        kind = spot.base.type
        assert isinstance(kind, RefT)
        alignment = align_of(spot.kind)
        if spot.member is not None and kind.target.CORE:
            return self.relocated(base, kind.target, spot.member), alignment
        if spot.member is not None:
            if kind.target.LAYOUT.packed:
                alignment = 1
            if kind.space == "ctx":
                self.module.declare("ptr @llvm.preserve.static.offset(ptr)")
                base = self.emit(f"call ptr @llvm.preserve.static.offset(ptr {base})")
            if spot.member.offset:
                base = self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {spot.member.offset}")
        elif spot.index is not None:
            size = size_of(spot.kind)
            if isinstance(spot.index, tree.Const):
                if spot.index.value:
                    base = self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {spot.index.value * size}")
            else:
                index = self.value(spot.index)
                bits = type_text(spot.index.type)
                if bits != "i64":
                    signed = isinstance(spot.index.type, IntT) and spot.index.type.signed
                    index = self.emit(f"{'sext' if signed else 'zext'} {bits} {index} to i64")
                if kind.space in ("stack", "mem") and _root_alignment(spot.base) > size:
                    # LLVM adds offsets below the alignment by `or`, which verifiers refuse on pointers: hide what it
                    # knows of the offset.
                    index = self.emit(f'call i64 asm "", "=r,0"(i64 {index})')
                base = self.emit(f"getelementptr inbounds [{size} x i8], ptr {base}, i64 {index}")
        return base, alignment

    def relocated(self, base: str, kind: Any, member: Any) -> str:
        """The address of a member that the loader finds in the kernel's BTF (CO-RE)."""
        if member.bits:
            raise NotSupported(f"bit-fields of kernel structs ({kind.__name__}.{member.name})")
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
            address = self.relocated("null", e.kind, e.kind.LAYOUT.members[e.member])
            self.module.declare("i32 @llvm.bpf.preserve.field.info.p0(ptr, i64 immarg)")
            # 2: BPF_CORE_FIELD_EXISTS
            found = self.emit(f"call i32 @llvm.bpf.preserve.field.info.p0(ptr {address}, i64 2)")
        else:
            self.module.declare("i32 @llvm.bpf.preserve.type.info(i32 immarg, i64 immarg)")
            node = self.module.debug.type(e.kind)
            found = self.fresh()
            call = f"call i32 @llvm.bpf.preserve.type.info(i32 {self.count}, i64 0)"
            self.lines.append(f"  {found} = {call}{self.dbg}, !llvm.preserve.access.index {node}")
        return self.emit(f"icmp ne i32 {found}, 0")

    def probe(self, address: str, kind: Any) -> str:
        """A copy on the stack of memory that only probe_read_kernel (helper 113) may read."""
        size = size_of(kind)
        copy = self.room(kind)
        self.do(f"call i64 inttoptr (i64 113 to ptr)(ptr {copy}, i32 {size}, ptr {address})")
        return copy

    def of_load(self, e: tree.Load) -> str:
        place = e.place
        address, alignment = self.address(place)
        self.at(e.at)
        assert isinstance(place.base.type, RefT)
        if place.base.type.space == "kernel":
            address = self.probe(address, place.kind)
        volatile = "volatile " if place.volatile else ""
        if place.kind is bool:
            byte = self.emit(f"load {volatile}i8, ptr {address}, align 1")
            return self.emit(f"icmp ne i8 {byte}, 0")
        if isinstance(place.kind, PointerType):
            return self.emit(f"load ptr, ptr {address}, align 8")
        bits = place.kind.BITS
        value = self.emit(f"load {volatile}i{bits}, ptr {address}, align {alignment}")
        member = place.member
        if member is None or not member.bits:
            return value
        if member.type.SIGNED:
            value = self.emit(f"shl i{bits} {value}, {bits - member.bits - member.bit}")
            return self.emit(f"ashr i{bits} {value}, {bits - member.bits}")
        if member.bit:
            value = self.emit(f"lshr i{bits} {value}, {member.bit}")
        return self.emit(f"and i{bits} {value}, {(1 << member.bits) - 1}")

    def of_inside(self, e: tree.Inside) -> str:
        return self.address(e.place)[0]

    def of_globalref(self, e: tree.GlobalRef) -> str:
        return f"@{e.name}"

    def of_bytes(self, e: tree.Bytes) -> str:
        return self.module.string(e.data)

    def store(self, place: tree.Spot, value: tree.Expr) -> None:
        kind = place.kind
        text = self.value(value)
        address, alignment = self.address(place)
        if isinstance(value.type, RefT) and value.type.space == "kernel":
            self.do(f"call i64 inttoptr (i64 113 to ptr)(ptr {address}, i32 {size_of(kind)}, ptr {text})")
        elif isinstance(kind, ArrayType) or (isinstance(kind, type) and hasattr(kind, "LAYOUT")):
            self.copy(address, text, size_of(kind), alignment)
        elif kind is bool:
            self.do(f"store i8 {self.emit(f'zext i1 {text} to i8')}, ptr {address}, align 1")
        else:
            self.store_int(kind, address, alignment, text, place.member)

    def store_int(self, kind: type[Scalar], address: str, alignment: int, text: str, member: Any) -> None:
        bits = f"i{kind.BITS}"
        if member is not None and member.bits:
            mask = ((1 << member.bits) - 1) << member.bit
            old = self.emit(f"load {bits}, ptr {address}, align {alignment}")
            kept = self.emit(f"and {bits} {old}, {~mask & ((1 << kind.BITS) - 1)}")
            moved = self.emit(f"shl {bits} {text}, {member.bit}")
            text = self.emit(f"or {bits} {kept}, {self.emit(f'and {bits} {moved}, {mask}')}")
        self.do(f"store {bits} {text}, ptr {address}, align {alignment}")

    def copy(self, target: str, source: str, size: int, alignment: int) -> None:
        self.module.declare("void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)")
        self.do(
            f"call void @llvm.memmove.p0.p0.i64(ptr align {alignment} {target}, ptr align {alignment} {source}, "
            f"i64 {size}, i1 false)"
        )

    def room(self, kind: Any) -> str:
        """Zeroed bytes on the stack."""
        size = max(size_of(kind), 1)
        # No more than natural: with a larger one LLVM adds small offsets by `or`, which verifiers refuse on pointers.
        alignment = align_of(kind)
        place = self.alloca(f"[{size} x i8]", alignment)
        self.module.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        self.do(f"call void @llvm.memset.p0.i64(ptr align {alignment} {place}, i8 0, i64 {size}, i1 false)")
        return place

    def of_new(self, e: tree.New) -> str:
        assert isinstance(e.type, RefT)
        values = [(member, self.value(value)) for member, value in e.members]
        place = self.room(e.type.target)
        packed = getattr(getattr(e.type.target, "LAYOUT", None), "packed", False)
        for member, text in values:
            address = place
            if member.offset:
                address = self.emit(f"getelementptr inbounds i8, ptr {place}, i64 {member.offset}")
            alignment = 1 if packed else align_of(member.type)
            if member.type is bool:
                self.do(f"store i8 {self.emit(f'zext i1 {text} to i8')}, ptr {address}, align 1")
            elif isinstance(member.type, ArrayType) or hasattr(member.type, "LAYOUT"):
                self.copy(address, text, size_of(member.type), alignment)
            else:
                self.store_int(member.type, address, alignment, text, member)
        return place

    def of_clone(self, e: tree.Clone) -> str:
        assert isinstance(e.type, RefT)
        source = self.value(e.source)
        place = self.room(e.type.target)
        self.copy(place, source, size_of(e.type.target), 1 if e.type.target.LAYOUT.packed else align_of(e.type.target))
        return place

    def of_copyto(self, e: tree.CopyTo) -> str:
        assert isinstance(e.target.type, RefT)
        kind = e.target.type.target
        target, source = self.value(e.target), self.value(e.source)
        self.copy(target, source, size_of(kind), 1 if kind.LAYOUT.packed else align_of(kind))
        return ""

    def of_slot(self, e: tree.Slot) -> str:
        assert isinstance(e.type, RefT)
        value = self.value(e.value)
        kind = e.type.target
        if kind is bool:
            place = self.alloca("i8", 1)
            self.do(f"store i8 {self.emit(f'zext i1 {value} to i8')}, ptr {place}, align 1")
        else:
            place = self.alloca(f"i{kind.BITS}", kind.SIZE)
            self.do(f"store i{kind.BITS} {value}, ptr {place}, align {kind.SIZE}")
        return place

    # Packets

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
        return self.emit(f"trunc i64 {self.emit(f'sub i64 {words[0]}, {words[1]}')} to i32")

    def parse(self, e: tree.Parse) -> tuple[str, str]:
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
        small = small or isinstance(e.offset.type, LitT)
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

    # Calls

    def of_tuple(self, e: tree.Tuple) -> str:
        kind = type_text(e.type)
        whole = "poison"
        for index, item in enumerate(e.items):
            whole = self.emit(f"insertvalue {kind} {whole}, {type_text(item.type)} {self.value(item)}, {index}")
        return whole

    def of_call(self, e: tree.Call) -> str:
        args: list[str] = []
        for arg, variable in zip(e.args, e.function.params, strict=True):
            text = self.reference(arg) if isinstance(variable.type, RefT) else self.value(arg)
            args.append(f"{type_text(variable.type)} {_extension(variable.type)}{text}")
        self.at(e.at)
        wide = "i64" if e.function.linkage == "callback" else type_text(e.function.result)
        if wide == "void":
            self.do(f"call void @{e.function.name}({', '.join(args)})")
            return ""
        value = self.emit(f"call {_extension(e.type)}{wide} @{e.function.name}({', '.join(args)})")
        if e.function.linkage == "callback" and type_text(e.type) != wide:
            value = self.emit(f"trunc {wide} {value} to {type_text(e.type)}")
        return value

    def reference(self, e: tree.Expr) -> str:
        """A reference as one pointer, null for None."""
        if not (isinstance(e.type, RefT) and e.type.nullable):
            return self.value(e)
        address, null = self.pair(e)
        return self.emit(f"select i1 {null}, ptr null, ptr {address}")

    def of_helpercall(self, e: tree.HelperCall) -> str:
        args: list[str] = []
        for arg, width in zip(e.args, e.widths, strict=True):
            args.append(f"i{width} {self.value(arg)}" if width else f"ptr {self.reference(arg)}")
        self.at(e.at)
        callee = f"inttoptr (i64 {e.number} to ptr)({', '.join(args)})"
        if e.result == "void":
            self.do(f"call void {callee}")
            return ""
        if isinstance(e.type, RefT):
            return self.emit(f"call ptr {callee}")
        bits = type_text(e.type) if isinstance(e.type, IntT) else "i64"
        return self.emit(f"call {bits} {callee}")

    def of_atomic(self, e: tree.Atomic) -> str:
        value = self.value(e.value)
        expected = self.value(e.expected) if e.expected is not None else ""
        address, _alignment = self.address(e.place)
        self.at(e.at)
        bits = type_text(e.type)
        if e.operation == "cmpxchg":
            both = self.emit(f"cmpxchg ptr {address}, {bits} {expected}, {bits} {value} seq_cst seq_cst")
            return self.emit(f"extractvalue {{ {bits}, i1 }} {both}, 0")
        # clang: a fetch whose result nobody wants is relaxed, so that it becomes a plain atomic instruction
        order = "seq_cst" if e.fetch else "monotonic"
        return self.emit(f"atomicrmw {e.operation} ptr {address}, {bits} {value} {order}")

    def of_print(self, e: tree.Print) -> str:
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
        if len(values) <= 3:
            more = "".join(f", i64 {value}" for value in values)
            self.do(f"call i64 inttoptr (i64 6 to ptr)(ptr {text}, i32 {size}{more})")
            return ""
        table = self.alloca(f"[{len(values)} x i64]", 8)
        for index, value in enumerate(values):
            place = self.emit(f"getelementptr inbounds i8, ptr {table}, i64 {index * 8}")
            self.do(f"store i64 {value}, ptr {place}, align 8")
        self.do(f"call i64 inttoptr (i64 177 to ptr)(ptr {text}, i32 {size}, ptr {table}, i32 {len(values) * 8})")
        return ""


def _root_alignment(base: tree.Expr) -> int:
    """The alignment of the variable that a place lies in."""
    while isinstance(base, tree.Inside):
        base = base.place.base
    assert isinstance(base.type, RefT)
    return align_of(base.type.target)


def _zero(kind: str) -> str:
    return "zeroinitializer" if kind.startswith("{") else "null" if kind == "ptr" else "0"


def _extension(kind: Type) -> str:
    """How narrow integers fill their registers: clang's rule for BPF."""
    if kind == BOOL:
        return "zeroext "
    if isinstance(kind, IntT) and kind.bits < 32:
        return "signext " if kind.signed else "zeroext "
    return ""
