"""Values and conditions: arithmetic as bombus.isa.semantics has it, comparisons, logic, choices, conversions.

Network-order integers are held as they lie in memory; conversions swap.
"""

from __future__ import annotations

from bombus.compiler import tree
from bombus.compiler.budget import IDLE, PLACE
from bombus.compiler.types import BOOL, IntT, LitT
from bombus.compiler.writer import Writer, type_text

_PLAIN = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}


class Arithmetic(Writer):
    """Expressions that touch no memory."""

    def of_binary(self, e: tree.Binary) -> str:
        left, right = self.value(e.left), self.value(e.right)
        self.at(e.at)
        kind = e.type
        assert isinstance(kind, IntT)
        bits = f"i{kind.bits}"
        if e.proof and not self.module.native:  # LLVM must not leave the mask out because it knows better
            left = self.emit(f'call {bits} asm "", "=r,0"({bits} {left})')
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

    def pair_choice(self, e: tree.Choice) -> tuple[str, str]:
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

    # Conditions

    def of_canloop(self, e: tree.CanLoop) -> str:
        return self.by_branches(e)

    def branch_on_budget(self, e: tree.CanLoop, yes: str, no: str) -> None:
        """Two instructions that `maygoto` knows again, and two more that it makes nothing of: with two ways to `over`
        LLVM cannot take the condition for a value of the program (a truth value that is set on both ways). What
        follows has an effect of its own on both ways, so that LLVM neither merges the branch with another one nor
        leaves it out; convergent keeps it from copying it to the end of the loop, where it would jump to the next
        round.
        """
        self.at(e.at)
        more, over = self.label(), self.label()
        for place in (PLACE, IDLE):
            nothing = self.emit('call i64 asm sideeffect "", "=r"() convergent')
            marked = self.emit(f"xor i64 {nothing}, {place}")
            left = self.emit(f'call i64 asm sideeffect "", "=r,0"(i64 {marked})')
            following = more if place == IDLE else self.label()
            self.branch_on(self.emit(f"icmp eq i64 {left}, 0"), over, following)
            self.begin(following)
        for number, label, target in ((0, more, yes), (1, over, no)):
            if label == over:
                self.begin(label)
            self.do(f'call void asm sideeffect "", "i"(i32 {number})')
            self.jump(target)

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
        elif isinstance(test, tree.CanLoop):
            self.branch_on_budget(test, yes, no)
        else:
            value = self.value(test)
            self.branch_on(value, yes, no)
