
"""Assignments: what a variable, a member or an element is given."""

from __future__ import annotations

import ast

from bombus.compiler import suggest, tree
from bombus.compiler.check import Checker
from bombus.compiler.expressions import expression, kind_type, load_place, spot, value_of
from bombus.compiler.operators import operate
from bombus.compiler.types import NONE, IntT, LitT, ObjectT, RefT, TupleT
from bombus.compiler.words import atomic_change


def assign(c: Checker, node: ast.Assign) -> list[tree.Stmt]:
    if len(node.targets) > 1:
        c.wrong(node, "a = b = value is not part of the language", "assign twice")
    return _assign_to(c, node.targets[0], node.value, node)


def _assign_to(c: Checker, target: ast.expr, source: ast.expr, node: ast.stmt) -> list[tree.Stmt]:
    at = c.at(node)
    if isinstance(target, ast.Name):
        value = value_of(c, source)
        return [set_variable(c, target, value, source)]
    if isinstance(target, (ast.Tuple, ast.List)):
        return _unpack(c, target, source, node)
    place = spot(c, target, store=True)
    value = expression(c, source)
    wanted = kind_type(place.kind, "mem")
    return [tree.Store(at, place, c.coerce(value, wanted, source, "this value"))]


def set_variable(c: Checker, target: ast.Name, value: tree.Expr, source: ast.AST) -> tree.Stmt:
    name = target.id
    kind = value.type
    if name in c.constants:
        c.wrong(target, f"{name} is the variable of a loop over constants and cannot be assigned", "use another name")
    known = c.variables.get(name)
    if kind == NONE and isinstance(source, ast.Call):
        c.wrong(source, f"{c.text(source.func)} returns nothing", "call it in a line of its own")
    if kind == NONE:
        if known is None or not isinstance(known.type, RefT):
            c.wrong(
                source, "None alone has no type" if known is None else f"{name} is {known.type} and cannot be None",
                f"annotate it: {name}: Struct | None = None" if known is None else "",
            )  # fmt: skip
        value = tree.Const(value.at, RefT(known.type.target, known.type.space, True), 0)
        variable = c.variable(target, name, value.type)
        c.assigned(name, NONE)
        return tree.Set(c.at(target), variable, value)
    if isinstance(kind, ObjectT):
        c.wrong(source, f"{c.text(source)} is no value that a variable holds", suggest.for_text(kind.value))
    if isinstance(kind, LitT):
        if known is not None and isinstance(known.type, IntT):
            value = c.coerce(value, known.type, source, "this value")
            kind = value.type
        elif c.stores.get(name, 0) > 1:
            c.wrong(
                source, f"{name} is assigned more than once and has no width",
                f"say how wide it is: {name} = u64({c.text(source)})",
            )  # fmt: skip
    if isinstance(kind, RefT) and kind.space == "stack" and not isinstance(value, (tree.New, tree.Slot, tree.Clone)):
        c.wrong(
            source, f"{name} would be a second name for a variable on the stack",
            f"use it by its first name, or copy it: {name} = {c.text(source)}.copy()",
        )  # fmt: skip
    variable = c.variable(target, name, kind)
    if isinstance(variable.type, IntT):
        value = c.coerce(value, variable.type, source, "this value")
    c.assigned(name, kind)
    return tree.Set(c.at(target), variable, value)


def _unpack(c: Checker, target: ast.Tuple | ast.List, source: ast.expr, node: ast.stmt) -> list[tree.Stmt]:
    for element in target.elts:
        if isinstance(element, ast.Starred):
            c.wrong(element, "* in front of a name is not part of the language", "give every value a name")
    value = expression(c, source)
    if not isinstance(value.type, TupleT):
        c.wrong(source, f"{value.type} cannot be taken apart", "only tuples can")
    if len(target.elts) != len(value.type.items):
        c.wrong(target, f"{len(value.type.items)} values for {len(target.elts)} names",
                "give every value a name; _ is for those that nobody reads")  # fmt: skip
    variables: list[tree.Variable] = []
    for element, kind in zip(target.elts, value.type.items, strict=True):
        if not isinstance(element, ast.Name):
            c.wrong(element, "several results go to names", "assign to a name first")
        if element.id == "_":
            variables.append(tree.Variable(f"_.{len(variables)}", kind))
            continue
        if isinstance(kind, LitT):
            c.wrong(source, f"{element.id} has no width", "convert the items: u64(...)")
        variables.append(c.variable(element, element.id, kind))
        c.assigned(element.id, kind)
    return [tree.Unpack(c.at(node), variables, value)]


def annotated(c: Checker, node: ast.AnnAssign) -> list[tree.Stmt]:
    if not isinstance(node.target, ast.Name):
        c.wrong(node.target, "only local variables are annotated", "declare members in the struct")
    if node.value is None:
        c.wrong(node, f"{node.target.id} has no value", "assign one here")
    kind = c.type_of(node.annotation)
    value = value_of(c, node.value)
    if isinstance(kind, IntT) and isinstance(value.type, LitT):
        c.wrong(
            node.value, f"a plain int is not {kind}: Python would keep it unbounded",
            f"write {node.target.id} = {kind}({c.text(node.value)})",
        )  # fmt: skip
    variable = c.variable(node.target, node.target.id, kind)
    value_kind = value.type
    wanted = RefT(kind.target, kind.space, True) if isinstance(kind, RefT) else kind
    value = c.coerce(value, wanted, node.value, "this value")
    if isinstance(kind, RefT) and not kind.nullable and value_kind == NONE:
        c.wrong(node.value, f"None is not {kind}", f"annotate it as {kind} | None")
    c.assigned(node.target.id, value_kind)
    return [tree.Set(c.at(node), variable, value)]


def augmented(c: Checker, node: ast.AugAssign) -> list[tree.Stmt]:
    at = c.at(node)
    changed = atomic_change(c, node)
    if changed is not None:
        return [tree.Evaluate(at, changed)]
    target = node.target
    if isinstance(target, ast.Name):
        load = ast.copy_location(ast.Name(target.id, ast.Load()), target)
        value = operate(c, node, expression(c, load), node.op, expression(c, node.value), load, node.value)
        return [set_variable(c, target, value, node)]
    place = spot(c, target, store=True)
    made = _evaluate_once(node, place)
    value = operate(c, node, load_place(c, target, place), node.op, expression(c, node.value), target, node.value)
    return [*made, tree.Store(at, place, value)]


def _evaluate_once(node: ast.AugAssign, place: tree.Spot) -> list[tree.Stmt]:
    """The place of `a[i] += v` is read and written but evaluated once, before v: its parts go to hidden variables."""
    made: list[tree.Stmt] = []
    rebinds = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node))
    if rebinds or any(isinstance(part, ast.Call) for part in ast.walk(node.target)):
        place.base = _hidden(made, f"base.{node.lineno}.{node.col_offset}", place.base)
    if place.index is not None and not isinstance(place.index, tree.Const):
        place.index = _hidden(made, f"index.{node.lineno}.{node.col_offset}", place.index)
    return made


def _hidden(made: list[tree.Stmt], name: str, value: tree.Expr) -> tree.Expr:
    variable = tree.Variable(name, value.type)
    made.append(tree.Set(value.at, variable, value))
    return tree.Read(value.at, value.type, variable)
