
"""Calls of kernel functions that the language makes itself: exceptions, iterators, sections.

Facts: Linux 6.12 kernel/bpf/helpers.c, kernel/bpf/task_iter.c, kernel/bpf/cgroup_iter.c, kernel/bpf/bpf_iter.c.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from bombus.bpf import flow
from bombus.bpf.ints import s32, u32, u64
from bombus.bpf.struct import Array, Struct, array
from bombus.compiler import tree
from bombus.compiler.arguments import bind, no_keywords
from bombus.compiler.check import Checker
from bombus.compiler.expressions import expression, is_struct_class
from bombus.compiler.types import BOOL, NONE, IntT, LitT, RefT, Type

U64: Final = IntT(u64)
S32: Final = IntT(s32)
_MOST_ROUNDS: Final = 8 << 20  # BPF_MAX_LOOPS


def kernel_call(
    c: Checker, node: ast.AST, name: str, params: list[tuple[str, Type]], args: list[tree.Expr], result: Type
) -> tree.Expr:
    """A call of a kernel function with checked arguments."""
    if c.program.native:
        c.wrong(node, f"{name} is a function of the kernel", "native code has none")
    function = c.program.kernel_function(name, params, result)
    return tree.Call(c.at(node), result, function, args)


def throw(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 0, 1)
    value: tree.Expr = tree.Const(c.at(node), U64, 0)
    if node.args:
        given = expression(c, node.args[0])
        if isinstance(given.type, LitT) and isinstance(given, tree.Const) and given.value < 0:
            c.wrong(node.args[0], "throw takes a number from 0", "say how wide it is: u64(...)")
        value = c.coerce(given, U64, node.args[0], "this value")
    return thrown(c, node, value)


def thrown(c: Checker, node: ast.AST, value: tree.Expr) -> tree.Expr:
    if c.locks or c.scopes:
        c.wrong(node, "the program cannot be left like this while it holds something",
                "leave the `with` or the loop of the iterator first")  # fmt: skip
    return kernel_call(c, node, "bpf_throw", [("cookie", U64)], [value], NONE)


def can_loop(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 0)
    if c.program.native:
        c.wrong(node, "can_loop is an instruction of BPF", "native code has no budget: leave it out")
    return tree.CanLoop(c.at(node), BOOL)


# ------------------------------------------------------------------------------------------------ sections


def section(c: Checker, node: ast.expr) -> tuple[tree.Expr, tree.Expr] | None:
    """`with bpf.rcu():` as what it begins and ends with; None for something else."""
    if not isinstance(node, ast.Call):
        return None
    callee = expression(c, node.func) if isinstance(node.func, (ast.Attribute, ast.Name)) and not (
        isinstance(node.func, ast.Attribute) and node.func.attr == "reserve"
    ) else None  # fmt: skip
    names = _SECTIONS.get(callee.value) if isinstance(callee, tree.Object) and callable(callee.value) else None
    if names is None:
        return None
    no_keywords(c, node, 0)
    enter, leave = (kernel_call(c, node, name, [], [], NONE) for name in names)
    return enter, leave


_SECTIONS: Final[dict[Any, tuple[str, str]]] = {
    flow.rcu: ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
    flow.preempt_off: ("bpf_preempt_disable", "bpf_preempt_enable"),
}


# ------------------------------------------------------------------------------------------------ iterators


class _Iterator(NamedTuple):
    """One kind of open-coded iterator. params: what `new` takes beside the iterator: "kernel" for a struct of the
    kernel, "maybe" if it may be None, or an integer class."""

    name: str
    state: type[Struct]
    params: tuple[tuple[str, Any], ...]


class bpf_iter_num(Struct):
    opaque: Array[u64] = array(1)


class bpf_iter_task(Struct):
    opaque: Array[u64] = array(3)


class bpf_iter_task_vma(Struct):
    opaque: Array[u64] = array(1)


class bpf_iter_css(Struct):
    opaque: Array[u64] = array(3)


class bpf_iter_css_task(Struct):
    opaque: Array[u64] = array(1)


class bpf_iter_kmem_cache(Struct):
    opaque: Array[u64] = array(1)


class bpf_iter_dmabuf(Struct):
    opaque: Array[u64] = array(1)


_ITERATORS: Final[dict[Callable[..., Any], _Iterator]] = {
    flow.iterators.task: _Iterator("task", bpf_iter_task, (("task", "maybe"), ("flags", u32))),
    flow.iterators.task_vma: _Iterator("task_vma", bpf_iter_task_vma, (("task", "kernel"), ("address", u64))),
    flow.iterators.css: _Iterator("css", bpf_iter_css, (("start", "kernel"), ("flags", u32))),
    flow.iterators.css_task: _Iterator("css_task", bpf_iter_css_task, (("css", "kernel"), ("flags", u32))),
    flow.iterators.kmem_cache: _Iterator("kmem_cache", bpf_iter_kmem_cache, ()),
    flow.iterators.dmabuf: _Iterator("dmabuf", bpf_iter_dmabuf, ()),
}


class Walk(NamedTuple):
    """A loop by an iterator: `enter` makes it, `test` is whether there is one more (which `item` then is), `leave` ends
    it. literal: of a loop over numbers, their bounds."""

    enter: list[tree.Stmt]
    test: tree.Expr
    item: tree.Expr
    leave: tree.Expr
    kind: Type


def walk(c: Checker, node: ast.For) -> Walk | None:
    """The loop of `for x in bpf.iterate(...)` or `bpf.iterators.x(...)`; None when it is another one."""
    call = node.iter
    if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Attribute, ast.Name)):
        return None
    if isinstance(call.func, ast.Name) and call.func.id in c.variables:
        return None
    first = call.func
    while isinstance(first, ast.Attribute):
        first = first.value  # type: ignore[assignment]
    if not isinstance(first, ast.Name) or first.id in c.variables:
        return None
    callee = expression(c, call.func)
    value = callee.value if isinstance(callee, tree.Object) and callable(callee.value) else None
    if value is flow.iterate:
        return _numbers(c, call)
    row = _ITERATORS.get(value) if value is not None else None
    if row is None:
        return None
    names = ["kind", *(name for name, _ in row.params)]
    kind_node, *nodes = bind(c, call, names)
    assert kind_node is not None
    kind = expression(c, kind_node)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value) or not kind.value.CORE:
        c.wrong(kind_node, f"iterators.{row.name} wants a struct of the kernel first",
                "class task_struct(Struct, core=True): ...")  # fmt: skip
    args: list[tree.Expr] = []
    params: list[tuple[str, Type]] = []
    for (name, wanted), arg in zip(row.params, nodes, strict=True):
        assert arg is not None
        given = expression(c, arg)
        if isinstance(wanted, type):
            params.append((name, IntT(wanted)))
            args.append(c.coerce(given, IntT(wanted), arg, name))
            continue
        params.append((name, RefT(kind.value, "btf", wanted == "maybe")))
        if given.type == NONE and wanted == "maybe":
            args.append(tree.Const(given.at, params[-1][1], 0))
            continue
        if not isinstance(given.type, RefT) or not given.type.is_struct or not given.type.target.CORE:
            c.wrong(arg, f"{name} is a struct of the kernel, not {given.type}",
                    "declare it with core=True: class task_struct(Struct, core=True)")  # fmt: skip
        if given.type.nullable:
            c.maybe_none(arg, given.type)
        args.append(given)
    return _walk(c, call, row.name, row.state, params, args, RefT(kind.value, "btf", True))


def _walk(
    c: Checker, node: ast.Call, name: str, state: type[Struct], params: list[tuple[str, Type]],
    args: list[tree.Expr], item: RefT,
) -> Walk:  # fmt: skip
    at = c.at(node)
    place = RefT(state, "stack")
    hidden = tree.Variable(f"iterator.{node.lineno}.{node.col_offset}", place)
    found = tree.Variable(f"found.{node.lineno}.{node.col_offset}", item)
    it = tree.Read(at, place, hidden)
    new = kernel_call(c, node, f"bpf_iter_{name}_new", [("it", place), *params], [it, *args], S32)
    following = kernel_call(c, node, f"bpf_iter_{name}_next", [("it", place)], [it], item)
    destroy = kernel_call(c, node, f"bpf_iter_{name}_destroy", [("it", place)], [it], NONE)
    enter = [tree.Set(at, hidden, tree.New(at, place, [])), tree.Evaluate(at, new)]
    test = tree.Not(at, BOOL, tree.IsNone(at, BOOL, tree.Assigned(at, item, found, following)))
    return Walk(enter, test, tree.Read(at, item.present(), found), destroy, item.present())


def _numbers(c: Checker, node: ast.Call) -> Walk:
    no_keywords(c, node, 1)
    call = node.args[0]
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
        c.wrong(call, "iterate wants a range in place", "for i in bpf.iterate(range(n)):")
    no_keywords(c, call, 1, 2, 3)
    bounds = [expression(c, arg) for arg in call.args]
    if len(bounds) == 3:
        step = bounds.pop()
        if not isinstance(step, tree.Const) or step.value != 1:
            c.wrong(call.args[2], "iterate goes in steps of 1", "calculate with the number inside of the loop")
    if len(bounds) == 1:
        bounds.insert(0, tree.Const(c.at(call), LitT(0, 0), 0))
    nodes = call.args[: len(bounds)] if len(call.args) > 1 else [call.args[0], call.args[0]]
    limits: list[tuple[int, int]] = []
    ends: list[tree.Expr] = []
    for bound, arg in zip(bounds, nodes, strict=True):
        kind = bound.type
        if isinstance(kind, LitT):
            low, high = kind.low, kind.high
        elif isinstance(kind, IntT) and not kind.kind.NETWORK:
            low, high = kind.kind.MIN, kind.kind.MAX
        else:
            c.wrong(arg, f"range takes numbers, not {kind}", "convert it: u32(...)")
        if low < s32.MIN or high > s32.MAX:
            c.wrong(arg, f"iterate counts within s32, this is {kind} and may be {high if high > s32.MAX else low}",
                    "convert what is small enough: u16(...)")  # fmt: skip
        limits.append((low, high))
        ends.append(bound if kind == S32 else tree.Cast(bound.at, S32, bound))
    if limits[1][1] - limits[0][0] > _MOST_ROUNDS:
        c.wrong(call, f"iterate makes {_MOST_ROUNDS} rounds at most, these may be {limits[1][1] - limits[0][0]}",
                "convert the bounds that are small enough: u16(...)")  # fmt: skip
    kind = LitT(limits[0][0], max(limits[0][0], limits[1][1] - 1))
    whole = _walk(
        c, node, "num", bpf_iter_num, [("start", S32), ("end", S32)], ends, RefT(s32, "mem", True)
    )  # fmt: skip
    number = tree.Load(c.at(node), S32, tree.Spot(s32, whole.item))
    return whole._replace(item=tree.Cast(c.at(node), kind, number), kind=kind)
