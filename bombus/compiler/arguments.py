
"""Arguments of calls: how many, in which order; and who may call."""

from __future__ import annotations

import ast

from bombus.bpf.ints import SCALARS
from bombus.compiler.check import Checker
from bombus.compiler.suggest import who_may_call
from bombus.spec.helpers.model import Helper


def no_keywords(c: Checker, node: ast.Call, *counts: int) -> None:
    name = c.text(node.func)
    if node.keywords:
        c.wrong(node.keywords[0].value, f"{name} takes no named arguments", "give them in order")
    if len(node.args) not in counts:
        wanted = " or ".join(map(str, counts))
        c.wrong(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, not {len(node.args)}",
                'put values into the text: bpf.printk(f"port {port}")' if name.endswith("printk")
                else f"call it with {wanted if counts != (0,) else 'none'}")  # fmt: skip


def bind(c: Checker, node: ast.Call, names: list[str], optional: int = 0) -> list[ast.expr | None]:
    """Arguments in the order of `names`; the last `optional` may be missing."""
    name = c.text(node.func)
    if len(node.args) > len(names):
        plural = "" if len(names) == 1 else "s"
        c.wrong(node, f"{name} takes {len(names)} argument{plural} ({', '.join(names)}), not {len(node.args)}",
                f"write {name}({', '.join(names)})")  # fmt: skip
    found: list[ast.expr | None] = [*node.args, *[None] * (len(names) - len(node.args))]
    for keyword in node.keywords:
        if keyword.arg not in names:
            c.wrong(keyword.value, f"{name} has no parameter {keyword.arg!r}", f"it has {', '.join(names)}")
        index = names.index(keyword.arg)
        if found[index] is not None:
            c.wrong(keyword.value, f"{keyword.arg} is given twice", "give it once")
        found[index] = keyword.value
    given = [arg for arg in found if arg is not None and not isinstance(arg, ast.Constant)]
    if any(_acts(arg) for arg in given) and given != sorted(given, key=lambda arg: (arg.lineno, arg.col_offset)):
        c.wrong(node, f"the arguments of {name} are named in another order than they are computed in",
                f"write them in the order {', '.join(names)}, or compute them before")  # fmt: skip
    for index in range(len(names) - optional):
        if found[index] is None:
            c.wrong(node, f"{name} wants {names[index]}", f"{name}({', '.join(names)})")
    return found


def _acts(node: ast.expr) -> bool:
    """Does computing this change anything?"""
    return any(isinstance(part, (ast.Call, ast.NamedExpr)) and not _conversion(part) for part in ast.walk(node))


def _conversion(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CONVERSIONS


_CONVERSIONS = frozenset(kind.__name__ for kind in SCALARS)


def may_call(c: Checker, node: ast.AST, row: Helper) -> None:
    """Report a helper that the program's licence or type does not allow."""
    if row.gpl_only:
        c.program.needs_gpl(c, node, row.name)
    if not c.program.allows(c.function, row):
        c.wrong(node, f"{c.function.prog_type.removeprefix('BPF_PROG_TYPE_').lower()} programs may not call {row.name}",
                who_may_call(row))  # fmt: skip
