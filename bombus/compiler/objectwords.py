
"""Objects that programs allocate: their words, and the methods of pointers, lists and trees in map values.

Facts: Linux 6.12 kernel/bpf/helpers.c (bpf_obj_new_impl, bpf_list_..., bpf_rbtree_...), kernel/bpf/btf.c
(btf_parse_fields), tools/testing/selftests/bpf/bpf_experimental.h. The verifier knows what is owned and when; here are
types only.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from bombus.bpf import objects
from bombus.bpf.ints import s32, u8, u32, u64
from bombus.bpf.layout import PointerType
from bombus.compiler import tree
from bombus.compiler.arguments import no_keywords
from bombus.compiler.check import Checker, python_function
from bombus.compiler.expressions import expression, is_struct_class
from bombus.compiler.flow import kernel_call
from bombus.compiler.helpercalls import helper_call
from bombus.compiler.types import BOOL, NONE, IntT, ObjectT, RefT, Type
from bombus.spec.helpers import HELPER

_S32: Final = IntT(s32)
_U64: Final = IntT(u64)
_ANY: Final = RefT(u8, "any", True)


def _kind(c: Checker, node: ast.expr, word: str) -> Any:
    chosen = expression(c, node)
    kind: Any = chosen.value if isinstance(chosen, tree.Object) else None
    if not is_struct_class(kind) or kind.CORE or kind.ARENA:
        c.wrong(node, f"{word} wants a struct class of the program", f"{word}(Node), with class Node(Struct)")
    return kind


def _null(at: tree.Place) -> tree.Expr:
    return tree.Const(at, _ANY, 0)


def _new(name: str, space: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, 1)
        kind = _kind(c, node.args[0], c.text(node.func))
        at = c.at(node)
        number = tree.KernelFact(at, _U64, "local", kind, "")
        params: list[tuple[str, Type]] = [("local_type_id__k", _U64), ("meta__ign", _ANY)]
        made = kernel_call(c, node, name, params, [number, _null(at)], RefT(u8, "any", True))
        return tree.Recast(at, RefT(kind, space, True), made)

    return word


# Spaces of references: "own" and "percpu_own" for what the program owns, "borrowed" and "percpu" for what a map value
# keeps meanwhile.
_GAVE: Final = {
    "own": "bpf.new(...) or an exchange", "borrowed": "first()", "percpu_own": "bpf.percpu_new(...) or an exchange",
    "percpu": "get()",
}  # fmt: skip


def _object(c: Checker, node: ast.expr, *spaces: str) -> tree.Expr:
    """An object that is in one of these spaces."""
    value = expression(c, node)
    if not isinstance(value.type, RefT) or value.type.space not in spaces:
        gave = " or ".join(_GAVE[space] for space in spaces)
        c.wrong(node, f"an object that {gave} gave is wanted here", f"this is {value.type}")
    if value.type.nullable:
        c.maybe_none(node, value.type)
    return value


def given_away(c: Checker, node: ast.expr) -> None:
    """From here on the program does not own what a variable refers to, and must not use it."""
    if isinstance(node, ast.Name):
        c.state.assigned.discard(node.id)


def _drop(name: str, space: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, 1)
        value = _object(c, node.args[0], space)
        given_away(c, node.args[0])
        params: list[tuple[str, Type]] = [("p__alloc", _ANY), ("meta__ign", _ANY)]
        return kernel_call(c, node, name, params, [value, _null(c.at(node))], NONE)

    return word


def _acquire(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    value = _object(c, node.args[0], "own", "borrowed")
    assert isinstance(value.type, RefT)
    if not any(member.type is objects.RefCount for member in value.type.target.LAYOUT.members.values()):
        c.wrong(node.args[0], f"{value.type} has no RefCount", "count: RefCount")
    at = c.at(node)
    params: list[tuple[str, Type]] = [("p__refcounted_kptr", _ANY), ("meta__ign", _ANY)]
    made = kernel_call(c, node, "bpf_refcount_acquire_impl", params, [value, _null(at)], _ANY)
    return tree.Recast(at, RefT(value.type.target, "own", True), made)


def _this_cpu(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    value = _object(c, node.args[0], "percpu")
    assert isinstance(value.type, RefT)
    return helper_call(c, node, HELPER["this_cpu_ptr"], [value], RefT(value.type.target, "borrowed"))


def _per_cpu(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 2)
    value = _object(c, node.args[0], "percpu")
    assert isinstance(value.type, RefT)
    cpu = c.coerce(expression(c, node.args[1]), IntT(u32), node.args[1], "cpu")
    return helper_call(c, node, HELPER["per_cpu_ptr"], [value, cpu], RefT(value.type.target, "borrowed", True))


# ------------------------------------------------------------------------------------------------ places


def place_call(c: Checker, node: ast.Call, name: str, place: tree.Expr) -> tree.Expr:
    """A method of a pointer, list or tree."""
    assert isinstance(place.type, RefT)
    owner = place.type.target
    if place.type.space not in ("map", "own", "borrowed", "global"):
        holder = owner.__mro__[1].__name__
        c.wrong(node, f"{holder} holds objects in map values and globals only", "keep it in a map, or bpf.var(...)")
    method = _METHODS.get((owner.C_NAME, name))
    if method is None:
        known = ", ".join(method for of, method in _METHODS if of == owner.C_NAME)
        c.wrong(node.func, f"{owner.__name__} has no method {name!r}", f"it has {known}")
    return method(c, node, place, owner)


def _exchange(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
    no_keywords(c, node, 1)
    space = "percpu_own" if issubclass(owner, objects.PercpuKptr) else "btf" if owner.TARGET.CORE else "own"
    value = expression(c, node.args[0])
    kind = RefT(owner.TARGET, space, True)
    if value.type == NONE:
        value = tree.Const(value.at, kind, 0)
    elif not isinstance(value.type, RefT) or value.type.target is not owner.TARGET or value.type.space != space:
        kind_name = owner.TARGET.__name__
        c.wrong(node.args[0], f"exchange takes a {kind_name} that the program owns, or None, not {value.type}",
                "bpf.new(...) and exchange give what the program owns")  # fmt: skip
    given_away(c, node.args[0])
    return helper_call(c, node, HELPER["kptr_xchg"], [place, value], kind)


def _get(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
    no_keywords(c, node, 0)
    spot = tree.Spot(PointerType({"target": owner.TARGET}, {}, "target"), place)
    space = "percpu" if issubclass(owner, objects.PercpuKptr) else "btf" if owner.TARGET.CORE else "borrowed"
    return tree.Load(c.at(node), RefT(owner.TARGET, space, True), spot)


def _node_of(c: Checker, value: tree.Expr, owner: Any) -> tree.Expr:
    """The member by which an element hangs in a list or tree."""
    member = owner.TARGET.LAYOUT.members[owner.NODE]
    return tree.Inside(value.at, RefT(member.type, "own"), tree.Spot(member.type, value, member=member))


def _around(call: tree.Expr, owner: Any, space: str = "own") -> tree.Expr:
    """The element that a member found in a list or tree belongs to."""
    return tree.Around(call.at, RefT(owner.TARGET, space, True), call, owner.TARGET.LAYOUT.members[owner.NODE].offset)


def _element(c: Checker, node: ast.expr, owner: Any, *spaces: str) -> tree.Expr:
    value = _object(c, node, *spaces)
    assert isinstance(value.type, RefT)
    if value.type.target is not owner.TARGET:
        c.wrong(node, f"elements are {owner.TARGET.__name__}, this is {value.type}",
                f"make one: bpf.new({owner.TARGET.__name__})")  # fmt: skip
    return value


def _push(name: str) -> Callable[[Checker, ast.Call, tree.Expr, Any], tree.Expr]:
    def method(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
        no_keywords(c, node, 1)
        value = _element(c, node.args[0], owner, "own")
        at = c.at(node)
        params: list[tuple[str, Type]] = [
            ("head", RefT(objects.ListHead, "mem")), ("node", RefT(objects.ListNode, "mem")), ("meta__ign", _ANY),
            ("off", _U64),
        ]  # fmt: skip
        args = [place, _node_of(c, value, owner), _null(at), tree.Const(at, _U64, 0)]
        given_away(c, node.args[0])
        return kernel_call(c, node, name, params, args, _S32)

    return method


def _pop(name: str) -> Callable[[Checker, ast.Call, tree.Expr, Any], tree.Expr]:
    def method(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
        no_keywords(c, node, 0)
        params: list[tuple[str, Type]] = [("head", RefT(objects.ListHead, "mem"))]
        return _around(kernel_call(c, node, name, params, [place], RefT(objects.ListNode, "own", True)), owner)

    return method


_ROOT: Final[tuple[str, Type]] = ("root", RefT(objects.TreeRoot, "mem"))
_FOUND: Final = RefT(objects.TreeNode, "own", True)


def _add(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
    no_keywords(c, node, 2)
    value = _element(c, node.args[0], owner, "own")
    given = expression(c, node.args[1])
    python = python_function(given.value) if isinstance(given, tree.Object) else None
    if python is None:
        c.wrong(node.args[1], f"add wants a function that compares two elements, not {given.type}",
                f"def less(a: {owner.TARGET.__name__}, b: {owner.TARGET.__name__}) -> bool:")  # fmt: skip
    less = c.program.function(python, c, node.args[1], linkage="callback")
    wanted = [owner.TARGET, owner.TARGET]
    kinds = [variable.type.target if isinstance(variable.type, RefT) else None for variable in less.params]
    if not less.wrong and (kinds != wanted or less.result != BOOL):
        c.wrong(node.args[1], f"{less.name} compares two {owner.TARGET.__name__}, and says whether the first is less",
                f"def {less.name}(a: {owner.TARGET.__name__}, b: {owner.TARGET.__name__}) -> bool:")  # fmt: skip
    if less.name in c.function.calls:
        c.wrong(node.args[1], f"{less.name} is called elsewhere too", "write a function for the tree alone")
    less.around = owner.TARGET.LAYOUT.members[owner.NODE].offset
    at = c.at(node)
    params: list[tuple[str, Type]] = [
        _ROOT, ("node", RefT(objects.TreeNode, "mem")),
        ("less", ObjectT(Callable[[objects.TreeNode, objects.TreeNode], bool])), ("meta__ign", _ANY), ("off", _U64),
    ]  # fmt: skip
    args = [
        place, _node_of(c, value, owner), tree.Object(given.at, given.type, less), _null(at), tree.Const(at, _U64, 0),
    ]  # fmt: skip
    given_away(c, node.args[0])
    return kernel_call(c, node, "bpf_rbtree_add_impl", params, args, _S32)


def _first(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
    no_keywords(c, node, 0)
    found = kernel_call(c, node, "bpf_rbtree_first", [_ROOT], [place], _FOUND)
    return _around(found, owner, "borrowed")


def _remove(c: Checker, node: ast.Call, place: tree.Expr, owner: Any) -> tree.Expr:
    no_keywords(c, node, 1)
    value = _element(c, node.args[0], owner, "borrowed")
    params = [_ROOT, ("node", RefT(objects.TreeNode, "mem"))]
    args = [place, _node_of(c, value, owner)]
    given_away(c, node.args[0])
    return _around(kernel_call(c, node, "bpf_rbtree_remove", params, args, _FOUND), owner)


_METHODS: Final[dict[tuple[str, str], Callable[[Checker, ast.Call, tree.Expr, Any], tree.Expr]]] = {
    ("kptr", "exchange"): _exchange,
    ("kptr", "get"): _get,
    ("percpu_kptr", "exchange"): _exchange,
    ("percpu_kptr", "get"): _get,
    ("bpf_list_head", "push_front"): _push("bpf_list_push_front_impl"),
    ("bpf_list_head", "push_back"): _push("bpf_list_push_back_impl"),
    ("bpf_list_head", "pop_front"): _pop("bpf_list_pop_front"),
    ("bpf_list_head", "pop_back"): _pop("bpf_list_pop_back"),
    ("bpf_rb_root", "add"): _add,
    ("bpf_rb_root", "first"): _first,
    ("bpf_rb_root", "remove"): _remove,
}
WORDS: Final[dict[Any, Callable[[Checker, ast.Call], tree.Expr]]] = {
    objects.new: _new("bpf_obj_new_impl", "own"),
    objects.percpu_new: _new("bpf_percpu_obj_new_impl", "percpu_own"),
    objects.drop: _drop("bpf_obj_drop_impl", "own"),
    objects.percpu_drop: _drop("bpf_percpu_obj_drop_impl", "percpu_own"),
    objects.acquire: _acquire,
    objects.this_cpu: _this_cpu,
    objects.per_cpu: _per_cpu,
}
