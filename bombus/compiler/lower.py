"""One checked function as LLVM IR text.

A reference that may be None is two values: the address, and whether it is None. So a bounds check makes no null
pointer, and the tests that a program writes become the branches that the verifier wants to see.
"""

from __future__ import annotations

from bombus.compiler import tree
from bombus.compiler.counters import asks, counters, known
from bombus.compiler.invocations import Invocations
from bombus.compiler.types import NONE, IntT, RefT
from bombus.compiler.writer import extension, type_text


class FunctionText(Invocations):
    """Writes one function: its head and its statements."""

    def text(self) -> str:
        function = self.function
        result = self.result_text()
        params: list[str] = []
        self.at(tree.Place(function.line, 1))
        if function.loads:
            params.append("ptr %ctx")
            for variable, offset in zip(function.params, function.loads, strict=True):
                self.set_argument(variable, offset)
        else:
            for index, variable in enumerate(function.params):
                params.append(f"{type_text(variable.type)} {extension(variable.type)}%p{index}")
            for index, variable in enumerate(function.params):
                self.set_parameter(variable, f"%p{index}")
        if function.linkage == "program":
            for name in self.module.arenas:  # a program has the arena whose addresses it follows
                self.do(f'call void asm sideeffect "", "r"(ptr @{name})')
        self.statements(function.body)
        if not self.ended:
            self.at(tree.Place(function.line, 1))
            if function.result == NONE and function.linkage != "callback":
                self.do("ret void")
            else:
                self.do(f"ret {result} {_zero(result)}")  # control does not come here; LLVM would call __bpf_trap
        section = f' section "{function.section}"' if function.section else ""
        widening = extension(function.result) if function.linkage != "callback" else ""
        return "\n".join([
            f"define {self.module.linkage(function)} {widening}{result} @{function.name}({', '.join(params)}) nounwind "
            f"{self.attributes}{section}{f' !dbg {self.scope}' if self.scope else ''} {{",
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
        if self.function.around and isinstance(variable.type, RefT):
            name = self.emit(f"getelementptr i8, ptr {name}, i64 {-self.function.around}")
        self.do(f"store {type_text(variable.type)} {name}, ptr {place}")
        if flag:
            null = self.emit(f"icmp eq ptr {name}, null")
            self.do(f"store i1 {null}, ptr {flag}")
        if isinstance(variable.type, RefT) and variable.type.space == "ctx":
            self.params[variable] = name

    def set_argument(self, variable: tree.Variable, offset: int) -> None:
        """A typed argument out of the context's registers; the whole register is read, as verifiers demand."""
        if offset < 0:
            self.set_parameter(variable, "%ctx")
            return
        place = self.emit(f"getelementptr inbounds i8, ptr %ctx, i64 {offset}") if offset else "%ctx"
        kind = type_text(variable.type)
        if kind == "ptr":
            self.set_parameter(variable, self.emit(f"load volatile ptr, ptr {place}, align 8"))
            return
        value = self.emit(f"load volatile i64, ptr {place}, align 8")
        if kind == "i1":
            byte = self.emit(f"trunc i64 {value} to i8")
            value = self.emit(f"icmp ne i8 {byte}, 0")
        elif kind != "i64":
            value = self.emit(f"trunc i64 {value} to {kind}")
        self.set_parameter(variable, value)

    # Statements

    def statements(self, body: list[tree.Stmt]) -> None:
        for statement in body:
            if self.ended:
                return
            self.at(statement.at)
            getattr(self, f"do_{type(statement).__name__.lower()}")(statement)

    def do_set(self, s: tree.Set) -> None:
        self.assign(s.variable, s.value)

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
        if not self.module.native:
            for variable, down in counters(s):
                place, _flag = self.slot(variable)
                bits = type_text(variable.type)
                step = "sub" if down else "add"
                value = self.emit(f"{step} {bits} {self.emit(f'load {bits}, ptr {place}')}, {self.unknown_zero(bits)}")
                self.do(f"store {bits} {value}, ptr {place}")
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
        if not self.module.native and known(s.stop) and asks(s.body):
            start = self.emit(f"{'add' if s.step > 0 else 'sub'} i64 {start}, {self.unknown_zero('i64')}")
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

    def unknown_zero(self, bits: str) -> str:
        """0, of which the verifier knows that it is not negative, and no more."""
        zero = self.emit(f"load volatile i32, ptr {self.module.zero()}, align 4")
        if bits == "i64":
            return self.emit(f"zext i32 {zero} to i64")
        return self.emit(f"and i32 {zero}, {0x7FFF_FFFF}")

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

    def do_leave(self, s: tree.Leave) -> None:
        result = self.result_text()
        self.do("ret void" if result == "void" else f"ret {result} {_zero(result)}")
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


def _zero(kind: str) -> str:
    return "zeroinitializer" if kind.startswith("{") else "null" if kind == "ptr" else "0"
