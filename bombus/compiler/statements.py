
"""Statements: what may be written, what it means, and where control goes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from bombus.bpf.ints import u64
from bombus.bpf.layout import ArrayType
from bombus.bpf.maps import Map, Reservation
from bombus.compiler import tree
from bombus.compiler.assignments import annotated, assign, augmented, set_variable
from bombus.compiler.check import Checker, Loop, State, Wrong, merge
from bombus.compiler.expressions import REFUSED, condition, expression, load_place, negate
from bombus.compiler.flow import Walk, section, thrown, walk
from bombus.compiler.helpercalls import discard, enter_scope
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, RefT, TupleT

_REFUSED: dict[type[ast.stmt], tuple[str, str]] = {
    ast.TryStar: ("try is not part of the language", "BPF has no exceptions: test what functions return"),
    ast.Try: ("try is not part of the language", "BPF has no exceptions: test what functions return"),
    ast.Raise: ("raise is not part of the language", "return a value that says what went wrong"),
    ast.FunctionDef: ("a function inside of a function is not part of the language", "define it at module level"),
    ast.AsyncFunctionDef: ("async is not part of the language", "define the function at module level with def"),
    ast.AsyncFor: ("async is not part of the language", "use for"),
    ast.AsyncWith: ("async is not part of the language", "use with"),
    ast.ClassDef: ("a class inside of a function is not part of the language", "define it at module level"),
    ast.Import: ("import inside of a function is not part of the language", "import at the top of the file"),
    ast.ImportFrom: ("import inside of a function is not part of the language", "import at the top of the file"),
    ast.Global: ("global is not part of the language", "declare `name = bpf.var(u64(0))` and use name.value"),
    ast.Nonlocal: ("nonlocal is not part of the language", "give the value as a parameter or keep it in bpf.var(...)"),
    ast.Delete: ("del is not part of the language", "to remove a key from a map, call .delete(key)"),
}


def body(c: Checker, statements: Sequence[ast.stmt]) -> list[tree.Stmt]:
    """Check statements in order; a wrong one does not stop the others."""
    made: list[tree.Stmt] = []
    for node in statements:
        try:
            handler = _HANDLERS.get(type(node))
            if handler is None:
                message, hint = _REFUSED.get(type(node), (f"{type(node).__name__} is not part of the language", ""))
                c.wrong(node, message, hint)
            made += handler(c, node)
        except Wrong:
            c.broken |= {name for part in ast.walk(node) for name in _binds(part)}
            if isinstance(node, ast.Return):
                c.state.reachable = False
    return made


def _binds(node: ast.AST) -> list[str]:
    """Names that a piece of syntax gives a value."""
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.alias):
        return [(node.asname or node.name).partition(".")[0]]
    if isinstance(node, (ast.MatchAs, ast.MatchStar)):
        return [node.name] if node.name else []
    return []


def _expression(c: Checker, node: ast.Expr) -> list[tree.Stmt]:
    if isinstance(node.value, ast.Constant):
        if isinstance(node.value.value, str) or node.value.value is ...:
            return []
        c.wrong(node, "this value is not used", "remove it")
    if type(node.value) in REFUSED:
        expression(c, node.value)
    if not isinstance(node.value, (ast.Call, ast.NamedExpr)):
        c.wrong(node, "this value is not used", "assign it or remove it")
    if isinstance(node.value, ast.Call):
        given_up = discard(c, node.value)
        if given_up is not None:
            call, variable = given_up
            c.assigned(variable.name, NONE)
            none = tree.Const(call.at, variable.type, 0)
            return [tree.Evaluate(call.at, call), tree.Set(call.at, variable, none)]
    value = expression(c, node.value)
    made: list[tree.Stmt] = [tree.Evaluate(c.at(node), value)]
    if isinstance(value, tree.Call) and value.function.name == "bpf_throw" and value.function.linkage == "kfunc":
        c.state.reachable = False
        made.append(tree.Leave(c.at(node)))
    return made


def _if(c: Checker, node: ast.If) -> list[tree.Stmt]:
    test, yes, no = condition(c, node.test)
    before = c.state
    c.state = before.knowing(yes)
    if isinstance(test, tree.Const) and not test.value:
        c.state.reachable = False
    then = body(c, node.body)
    after_then = c.state
    c.state = before.knowing(no)
    if isinstance(test, tree.Const) and test.value:
        c.state.reachable = False
    other = body(c, node.orelse)
    c.state = merge([after_then, c.state]) if before.reachable else before
    return [tree.If(c.at(node), test, then, other)]


def _assigned_in(nodes: Sequence[ast.AST]) -> set[str]:
    return {
        part.id
        for node in nodes
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def _loop(c: Checker, statements: list[ast.stmt], enter: Callable[[], Any]) -> tuple[Any, list[tree.Stmt], Loop, State]:
    """Check a loop's body until what it changes is known. Returns what `enter` made, the body, and its ways out."""
    before = c.state
    changed = _assigned_in(statements)
    while True:
        marks = len(c.diagnostics), {name: v.type for name, v in c.variables.items()}
        c.state = before.copy()
        for name in changed:
            c.state.present.pop(name, None)
        head = enter()
        c.loops.append(Loop())
        made = body(c, statements)
        loop = c.loops.pop()
        again = any(
            isinstance(kind, RefT) and not kind.nullable and getattr(c.variables[name].type, "nullable", False)
            for name, kind in marks[1].items()
        )
        if not again:
            return head, made, loop, before
        del c.diagnostics[marks[0] :]


def _while(c: Checker, node: ast.While) -> list[tree.Stmt]:
    facts: list[dict[str, bool]] = [{}]
    tested: list[State] = [c.state]

    def enter() -> tree.Expr:
        test, yes, no = condition(c, node.test)
        facts[0] = no
        tested[0] = c.state.knowing(no)
        c.state = c.state.knowing(yes)
        return test

    changed = _assigned_in(node.body)
    test, made, loop, before = _loop(c, node.body, enter)
    end = tested[0]
    for name in changed:
        if name not in facts[0]:  # facts also have "=name", which stay
            end.present.pop(name, None)
    if isinstance(test, tree.Const) and test.value:
        end.reachable = False
        if not loop.breaks and not any(_leaves(part) for inner in node.body for part in ast.walk(inner)):
            c.report(node.test, "this loop never ends", "while bpf.can_loop() and ...: or leave it by break or return")
    c.state = end if before.reachable else before
    other = body(c, node.orelse)
    c.state = merge([c.state, *loop.breaks])
    return [tree.While(c.at(node), test, made, other)]


def _leaves(node: ast.AST) -> bool:
    """Does a piece of a loop leave the function?"""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("throw", "tail_call")
    return isinstance(node, ast.Return)


def _for(c: Checker, node: ast.For) -> list[tree.Stmt]:
    if not isinstance(node.target, ast.Name):
        if isinstance(node.target, ast.Tuple) and all(isinstance(item, ast.Name) for item in node.target.elts):
            return _for_tuples(c, node, node.target)
        c.wrong(node.target, "a for loop has one name as its variable", "for i in range(n): a[i] = ...")
    call = node.iter
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range" \
            and call.func.id not in c.variables and c.lookup(call.func) is range:  # fmt: skip
        return _for_range(c, node, node.target, call)
    loop = walk(c, node)
    if loop is not None:
        return _for_walk(c, node, node.target, loop)
    return _for_items(c, node, node.target)


def _for_walk(c: Checker, node: ast.For, target: ast.Name, loop: Walk) -> list[tree.Stmt]:
    at = c.at(node)
    first: list[tree.Stmt] = []

    def enter() -> None:
        if isinstance(loop.kind, LitT):
            if c.stores.get(target.id, 0) > 1 and target.id in _assigned_in(node.body):
                c.wrong(target, f"{target.id} is changed inside of its loop", "use another variable")
            variable = c.variable(target, target.id, loop.kind)
            c.assigned(target.id, loop.kind)
            first[:] = [tree.Set(at, variable, loop.item)]
        else:
            first[:] = [set_variable(c, target, loop.item, node.iter)]

    c.scopes += 1
    _head, made, inner, before = _loop(c, node.body, enter)
    c.state = before.copy()
    for changed in _assigned_in(node.body):
        c.state.present.pop(changed, None)
    other = body(c, node.orelse)
    c.scopes -= 1
    c.state = merge([c.state, *inner.breaks])
    whole = tree.While(at, loop.test, [*first, *made], other)
    return [tree.Scope(at, loop.enter, [whole], loop.leave, None)]


def _for_range(c: Checker, node: ast.For, target: ast.Name, call: ast.Call) -> list[tree.Stmt]:
    if call.keywords or not 1 <= len(call.args) <= 3:
        c.wrong(call, "range takes one to three numbers", "range(end), range(start, end), range(start, end, step)")
    bounds = [expression(c, arg) for arg in call.args]
    limits: list[tuple[int, int]] = []
    for bound, arg in zip(bounds, call.args, strict=True):
        if isinstance(bound.type, LitT):
            limits.append((bound.type.low, bound.type.high))
        elif isinstance(bound.type, IntT) and not bound.type.kind.NETWORK:
            kind = bound.type.kind
            if kind.MAX > S64.kind.MAX:
                c.wrong(arg, "range over u64 is not part of the language", "convert it: u32(...) or s64(...)")
            limits.append((kind.MIN, kind.MAX))
        else:
            c.wrong(arg, f"range takes numbers, not {bound.type}", "convert it: u32(...)")
    start: tree.Expr = tree.Const(c.at(call), LitT(0, 0), 0)
    step, low = 1, (0, 0)
    if len(bounds) > 1:
        start, low = bounds[0], limits[0]
        stop, high = bounds[1], limits[1]
    else:
        stop, high = bounds[0], limits[0]
    if len(bounds) == 3:
        step = _step(c, bounds[2], call.args[2])
    counted = LitT(low[0], max(low[0], high[1] - 1)) if step > 0 else LitT(min(low[1], high[0] + 1), low[1])
    name = target.id
    known = c.variables.get(name)
    if known is not None and not isinstance(known.type, LitT):
        c.wrong(target, f"{name} is {known.type}, and a range counts in plain ints", "use another name")
    if known is not None and isinstance(known.type, LitT) and c.loops and not (
        known.type.low <= counted.low and counted.high <= known.type.high
    ):  # fmt: skip
        c.wrong(target, f"{name} counts another loop already", "use another name")
    if c.stores.get(name, 0) > 1 and any(
        isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id == name
        for inner in node.body for part in ast.walk(inner)
    ):  # fmt: skip
        c.wrong(target, f"{name} is changed inside of its loop", "use a while loop, or another variable")
    variable = c.variable(target, name, counted)
    ends = [tree.Cast(b.at, S64, b) if b.type != S64 else b for b in (start, stop)]

    def enter() -> None:
        c.assigned(name, counted)

    _head, made, loop, before = _loop(c, [*node.body], enter)
    c.state = before.copy()
    for changed in _assigned_in(node.body):
        c.state.present.pop(changed, None)
    other = body(c, node.orelse)
    c.state = merge([c.state, *loop.breaks])
    return [tree.For(c.at(node), variable, ends[0], ends[1], step, made, other)]


def _step(c: Checker, bound: tree.Expr, node: ast.AST) -> int:
    if not isinstance(bound, tree.Const) or not bound.value or abs(bound.value) >= 1 << 31:
        c.wrong(node, "the step of a range is a constant other than 0", "range(a, b, 1)")
    return bound.value


def _for_items(c: Checker, node: ast.For, target: ast.Name) -> list[tree.Stmt]:
    items = expression(c, node.iter)
    if isinstance(items.type, RefT) and items.type.is_array and not items.type.nullable:
        return _for_array(c, node, target, items, items.type.target)
    values = list(items.items) if isinstance(items, tree.Tuple) else None
    if values is None:
        hint = "use range(...), a tuple of constants or an array"
        if isinstance(items, tree.Object):
            hint = _LOOP_HINTS.get(type(items.value), hint).format(c.text(node.iter))
            if isinstance(items.value, Map):
                hint = f"{c.text(node.iter)}.for_each(function, ctx) calls a function for each element"
        c.wrong(node.iter, f"a for loop does not run over {items.type}", hint)
    if not all(isinstance(value, (tree.Const, tree.Object)) for value in values):
        c.wrong(node.iter, "a for loop over a tuple wants constants", "use range(...)")
    return _copies(c, node, [target], [[value] for value in values])


_LOOP_HINTS: dict[type, str] = {
    list: "make it a tuple: {} = (...)", range: "write for i in range(...): in place",
    bytes: "use its items: for i in bpf.unroll(range(n)): ... {}[i]",
}


_CALL_HINTS = {
    "enumerate": "for i in range(n): value = values[i]", "zip": "for i in range(n): a[i] and b[i]",
    "items": "{}.for_each(function, ctx) calls a function for each element",
}  # fmt: skip


def _for_tuples(c: Checker, node: ast.For, target: ast.Tuple) -> list[tree.Stmt]:
    """for a, b in ((1, 2), (3, 4)):"""
    if isinstance(node.iter, ast.Call):
        name = c.text(node.iter.func)
        hint = _CALL_HINTS.get(name.rpartition(".")[2], "count with range(...)")
        c.wrong(node.iter, "a for loop has one name as its variable, or several over a tuple of tuples",
                hint.format(name.rpartition(".")[0]))  # fmt: skip
    items = expression(c, node.iter)
    rows = list(items.items) if isinstance(items, tree.Tuple) else []
    values: list[list[tree.Expr]] = []
    for row in rows:
        if not isinstance(row, tree.Tuple) or len(row.items) != len(target.elts):
            c.wrong(node.iter, f"each item is taken apart into {len(target.elts)} values",
                    "give all items as many values as there are names")  # fmt: skip
        values.append(list(row.items))
    if not rows or not all(isinstance(value, (tree.Const, tree.Object)) for row in values for value in row):
        c.wrong(node.iter, "a for loop over a tuple wants constants", "use range(...)")
    return _copies(c, node, target.elts, values)


def _copies(
    c: Checker, node: ast.For, targets: Sequence[ast.expr], rows: Sequence[Sequence[tree.Expr]]
) -> list[tree.Stmt]:  # fmt: skip
    """The body once for each row of constants."""
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    for target, name in zip(targets, names, strict=True):
        if name in c.variables:
            c.wrong(target, f"{name} is a variable already", "use another name")
    bodies: list[list[tree.Stmt]] = []
    breaks: list[State] = []
    for row in rows:
        c.constants |= {name: _constant_value(value) for name, value in zip(names, row, strict=True)}
        c.loops.append(Loop())
        bodies.append(body(c, node.body))
        loop = c.loops.pop()
        c.state = merge([c.state, *loop.continues])
        breaks += loop.breaks
    for name in names:
        c.constants.pop(name, None)
    other = body(c, node.orelse)
    c.state = merge([c.state, *breaks])
    return [tree.Unrolled(c.at(node), bodies, other)]


def _constant_value(value: tree.Expr) -> Any:
    if isinstance(value, tree.Object):
        return value.value
    assert isinstance(value, tree.Const)
    if isinstance(value.type, IntT):
        return value.type.kind(value.value)
    return value.value if isinstance(value.type, LitT) else bool(value.value)


def _for_array(
    c: Checker, node: ast.For, target: ast.Name, items: tree.Expr, kind: ArrayType
) -> list[tree.Stmt]:  # fmt: skip
    counter = tree.Variable(f"{target.id}.index", LitT(0, max(kind.count - 1, 0)))
    at = c.at(node)
    index = tree.Read(at, counter.type, counter)
    element = load_place(c, node.iter, tree.Spot(kind.element, items, index=index))

    if isinstance(element.type, RefT) and element.type.space == "stack":
        c.wrong(node.iter, f"{target.id} would be a second name for a part of a variable on the stack",
                f"count with range(...) and use {c.text(node.iter)}[i]")  # fmt: skip

    def enter() -> tree.Stmt:
        return set_variable(c, target, element, node.iter)

    first, made, loop, before = _loop(c, node.body, enter)
    c.state = before.copy()
    for changed in _assigned_in(node.body):
        c.state.present.pop(changed, None)
    other = body(c, node.orelse)
    c.state = merge([c.state, *loop.breaks])
    zero = tree.Const(at, S64, 0)
    count = tree.Const(at, S64, kind.count)
    return [tree.For(at, counter, zero, count, 1, [first, *made], other)]


def _break(c: Checker, node: ast.Break) -> list[tree.Stmt]:
    c.loops[-1].breaks.append(c.state.copy())
    c.state.reachable = False
    return [tree.Break(c.at(node))]


def _continue(c: Checker, node: ast.Continue) -> list[tree.Stmt]:
    c.loops[-1].continues.append(c.state.copy())
    c.state.reachable = False
    return [tree.Continue(c.at(node))]


def _return(c: Checker, node: ast.Return) -> list[tree.Stmt]:
    wanted = c.function.result
    value: tree.Expr | None = None
    if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
        if wanted != NONE and not (isinstance(wanted, RefT) and wanted.nullable):
            c.wrong(node, f"{c.function.name} returns {wanted}", "return a value")
        if wanted != NONE:
            value = tree.Const(c.at(node), wanted, 0)
    elif wanted == NONE:
        c.wrong(node.value, f"{c.function.name} returns nothing", "annotate what it returns: -> u32")
    else:
        value = expression(c, node.value)
        if isinstance(wanted, IntT) and isinstance(value.type, LitT) and c.function.linkage != "program":
            c.wrong(
                node.value, f"a plain int is not {wanted}: Python would keep it unbounded",
                f"write return {wanted}({c.text(node.value)})",
            )  # fmt: skip
        value = c.coerce(value, wanted, node.value, "this value")
        if isinstance(value.type, RefT) and value.type.space in ("stack", "mem"):
            what = "a variable on the stack" if value.type.space == "stack" else "a reference that it was given"
            c.wrong(node.value, f"{c.function.name} returns {what}", "let the caller pass the struct to be filled in")
    c.state.reachable = False
    return [tree.Return(c.at(node), value)]


def _assert(c: Checker, node: ast.Assert) -> list[tree.Stmt]:
    test, yes, _no = condition(c, node.test)
    if isinstance(test, tree.Const):
        if not test.value:
            c.wrong(node.test, "this assertion does not hold", "it is known when compiling: take it away or mend it")
        return []
    if c.program.native:
        c.wrong(node, "native code has no assertions at run time", "test it with if and return")
    at = c.at(node)
    fails = thrown(c, node, tree.Const(at, IntT(u64), 0))
    c.state = c.state.knowing(yes)
    return [tree.If(at, negate(test), [tree.Evaluate(at, fails), tree.Leave(at)], [])]


def _with(c: Checker, node: ast.With) -> list[tree.Stmt]:
    if len(node.items) != 1:
        c.wrong(node, "with takes one thing at a time", "nest the blocks")
    item = node.items[0]
    held = section(c, item.context_expr)
    if held is not None:
        if item.optional_vars is not None:
            c.wrong(item.optional_vars, "this section has no value", "remove `as ...`")
        c.scopes += 1
        inside = body(c, node.body)
        c.scopes -= 1
        return [tree.Scope(c.at(node), [tree.Evaluate(c.at(node), held[0])], inside, held[1], None)]
    enter, leave, bound, kind = enter_scope(c, item.context_expr)
    made: list[tree.Stmt] = []
    guard: tree.Variable | None = None
    if kind is Reservation:
        if not isinstance(item.optional_vars, ast.Name):
            c.wrong(node, "the record needs a name", f"with {c.text(item.context_expr)} as record:")
        first = set_variable(c, item.optional_vars, enter, item.context_expr)
        made.append(first)
        guard = c.variables[item.optional_vars.id]
        if c.stores.get(guard.name, 0) > sum(
            isinstance(part, ast.With) and any(
                isinstance(i.optional_vars, ast.Name) and i.optional_vars.id == guard.name for i in part.items
            )
            for part in ast.walk(c.node)
        ):  # fmt: skip
            c.wrong(item.optional_vars, f"{guard.name} is assigned elsewhere too", "use another name for the record")
        leave = bound(guard)
    else:
        if item.optional_vars is not None:
            c.wrong(item.optional_vars, "a lock has no value", "remove `as ...`")
        if c.locks:
            c.wrong(node, "one lock is held already", "the verifier allows one spin lock at a time")
        made.append(tree.Evaluate(c.at(node), enter))
        c.locks += 1
    c.scopes += 1
    inner = body(c, node.body)
    c.scopes -= 1
    if guard is None:
        c.locks -= 1
    else:
        c.state.assigned.discard(guard.name)
    return [tree.Scope(c.at(node), made, inner, leave, guard)]


def _match(c: Checker, node: ast.Match) -> list[tree.Stmt]:
    """match on constants is a chain of comparisons."""
    subject = expression(c, node.subject)
    if not isinstance(subject.type, IntT):
        hint = "use if and else"
        if isinstance(subject.type, RefT) and subject.type.nullable:
            hint = "test it with `is None`"
        elif isinstance(subject.type, TupleT):
            hint = "match one of the values, and test the others in the cases: case 1 if ...:"
        c.wrong(node.subject, f"match looks at integers, not {subject.type}", hint)
    at = c.at(node)
    hidden = tree.Variable(f"match.{node.lineno}", subject.type)
    made: list[tree.Stmt] = [tree.Set(at, hidden, subject)]
    inside = made
    ends: list[State] = []
    read = tree.Read(at, subject.type, hidden)
    wrong = False
    for case in node.cases:
        tests: list[tree.Expr | None] = []
        for one in _alternatives(case.pattern):
            try:
                tests.append(_pattern(c, case.pattern, read, one))
            except Wrong:  # the other cases are looked at too
                wrong = True
                c.broken |= {name for part in ast.walk(one) for name in _binds(part)}
        if None in tests:
            test: tree.Expr = tree.Const(at, BOOL, 1)
        else:
            test = tree.Logic(at, BOOL, False, [t for t in tests if t is not None])
        facts: dict[str, bool] = {}
        if case.guard is not None:
            try:
                guard, facts, _no = condition(c, case.guard)
                test = tree.Logic(at, BOOL, True, [test, guard])
            except Wrong:
                wrong = True
        before = c.state
        c.state = before.knowing(facts)
        then = body(c, case.body)
        ends.append(c.state)
        c.state = before.copy()
        step = tree.If(at, test, then, [])
        inside.append(step)
        inside = step.other
        if None in tests and case.guard is None:
            c.state.reachable = False
    c.state = merge([*ends, c.state])
    if wrong:
        raise Wrong
    return made


def _alternatives(pattern: ast.pattern) -> list[ast.pattern]:
    return list(pattern.patterns) if isinstance(pattern, ast.MatchOr) else [pattern]


def _pattern(c: Checker, whole: ast.pattern, subject: tree.Expr, pattern: ast.pattern) -> tree.Expr | None:
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None and pattern.name is None:
        return None
    if not isinstance(pattern, ast.MatchValue):
        hint = "use numbers, named constants (xdp.PASS) and _"
        if isinstance(pattern, ast.MatchAs):
            hint = f"write _ for {pattern.name}" if pattern.pattern is None else "leave `as` away"
        c.wrong(pattern, "match compares with constants", hint)
    value = expression(c, pattern.value)
    value = c.coerce(value, subject.type, pattern.value, "this constant")
    if not isinstance(value, tree.Const):
        c.wrong(pattern, "match compares with constants", "use if")
    return tree.Compare(c.at(pattern), BOOL, "eq", subject, value)


_HANDLERS: dict[type[ast.stmt], Callable[[Checker, Any], list[tree.Stmt]]] = {
    ast.Assign: assign,
    ast.AnnAssign: annotated,
    ast.AugAssign: augmented,
    ast.Expr: _expression,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Return: _return,
    ast.Pass: lambda c, node: [],
    ast.Assert: _assert,
    ast.With: _with,
    ast.Match: _match,
}
