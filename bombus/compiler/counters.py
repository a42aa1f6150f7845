"""Counters of loops by `bpf.can_loop()`: which ones the verifier must not know the start of.

It goes through such a loop until nothing new comes. Numbers that decide nothing it forgets; one that starts with a
constant and is compared with one decides each round, and is another one in each. So they start with a zero that it does
not know.
Facts: Linux 6.12 kernel/bpf/verifier.c (check_cond_jmp_op of may_goto, widen_imprecise_scalars, is_branch_taken).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bombus.compiler import tree
from bombus.compiler.types import IntT

_ORDERS = frozenset({"lt", "le", "gt", "ge"})


def nodes(part: Any) -> Iterator[tree.Node]:
    """Everything in a piece of the tree, functions that it calls left out."""
    if isinstance(part, (list, tuple)):
        for item in part:
            yield from nodes(item)
    elif isinstance(part, tree.Node) and not isinstance(part, (tree.Function, tree.Variable, tree.Place)):
        yield part
        for name in part.FIELDS:
            yield from nodes(getattr(part, name, None))


def asks(part: Any) -> bool:
    """Whether a piece of the tree asks for the budget."""
    return any(isinstance(node, tree.CanLoop) for node in nodes(part))


def known(value: tree.Expr) -> bool:
    """Whether it is a constant."""
    return isinstance(value.value if isinstance(value, tree.Cast) else value, tree.Const)


def counters(loop: tree.While) -> list[tuple[tree.Variable, bool]]:
    """Variables that the loop's own test compares with a constant and its body changes, and whether they count down."""
    if not asks(loop.test):
        return []
    changed = {id(node.variable) for node in nodes(loop.body) if isinstance(node, (tree.Set, tree.Assigned))}
    found: list[tuple[tree.Variable, bool]] = []
    for node in nodes(loop.test):
        if not isinstance(node, tree.Compare) or node.relation not in _ORDERS:
            continue
        for side, other, down in ((node.left, node.right, "g"), (node.right, node.left, "l")):
            if not isinstance(side, tree.Read) or not known(other) or id(side.variable) not in changed:
                continue
            if isinstance(side.type, IntT) and side.type.bits >= 32:
                found.append((side.variable, node.relation.startswith(down)))
    return found
