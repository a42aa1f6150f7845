# ruff: noqa: RET503 -- Checker.wrong never returns
"""Calls of helpers, and of maps, which are calls of helpers."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from bombus.bpf import contexts, ints, maps
from bombus.bpf.ints import u32, u64
from bombus.bpf.layout import ArrayType, size_of
from bombus.bpf.special import SpinLock
from bombus.compiler import tree
from bombus.compiler.arguments import bind, may_call
from bombus.compiler.check import Checker, python_function
from bombus.compiler.expressions import expression, is_struct_class, kind_type
from bombus.compiler.prototypes import argument_kinds, int_type, may_be_null, parameters, result_kind
from bombus.compiler.suggest import map_words
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, ObjectT, RefT, Type
from bombus.spec.helpers import HELPER, HELPER_BY_ID, Helper

U64: Final = IntT(u64)
U32: Final = IntT(u32)


def helper_call(
    c: Checker, node: ast.AST, row: Helper, args: list[tree.Expr], result: Type, result_name: str = ""
) -> tree.Expr:  # fmt: skip
    """A call with checked arguments, of which integers have the width of the helper's parameters."""
    may_call(c, node, row)
    widths = [arg.type.bits if isinstance(arg.type, IntT) else 0 for arg in args]
    return tree.HelperCall(c.at(node), result, row.id, args, widths, result_name or result_kind(row))


def pointer(c: Checker, node: ast.expr, value: tree.Expr, nullable: bool) -> tree.Expr:
    """An argument that is an address."""
    if isinstance(value.type, RefT):
        if value.type.nullable and not nullable:
            c.maybe_none(node, value.type)
        if value.type.space == "arena":
            c.wrong(node, "memory of an arena is not given to functions of the kernel", "copy it to a variable first")
        return value
    if value.type == NONE and nullable:
        return tree.Const(value.at, RefT(u64, "mem", True), 0)
    if isinstance(value, tree.Object) and isinstance(value.value, bytes):
        return tree.Bytes(value.at, RefT(ArrayType(ints.u8, len(value.value)), "config"), value.value)
    if isinstance(value.type, (IntT, LitT)):
        c.wrong(node, f"an address is wanted here, this is {value.type}", f"bpf.local({c.text(node)}) has one")
    c.wrong(node, f"memory is wanted here, this is {value.type}", "give a struct, an array, a reference or bytes")


def helper(c: Checker, node: ast.Call, row: Helper) -> tree.Expr:
    if row.name == "tail_call":
        c.wrong(node, "tail calls are made through a map", "jumps.tail_call(ctx, index)")
    if row.name == "kptr_xchg":
        c.wrong(node, "pointers in map values are members", "declare one, task: Kptr[task_struct], and "
                "write value.task.exchange(task)")  # fmt: skip
    result = result_kind(row)
    given = parameters(row)
    names = [name for name, c_type in given if c_type != "..."]
    kind: Any = None
    if result == "pointer":
        names = ["kind", *names]
    if any(c_type == "..." for _name, c_type in given):
        c.wrong(node, f"{row.name} is not called directly", 'write bpf.printk(f"...")')
    nodes = bind(c, node, names)
    if result == "pointer":
        first = nodes.pop(0)
        assert first is not None
        chosen = expression(c, first)
        if not isinstance(chosen, tree.Object) or not is_struct_class(chosen.value):
            c.wrong(first, f"{row.name} wants the type of its result first, a Struct class",
                    f"helpers.{row.name}(task_struct, ...)")  # fmt: skip
        kind = chosen.value
    args: list[tree.Expr] = []
    for (name, c_type), arg_kind, arg in zip(given, argument_kinds(row), nodes, strict=True):
        assert arg is not None
        args.append(helper_argument(c, row, name, c_type, arg_kind, arg))
    check_callbacks(c, row.name, args, nodes)
    spaces = {"pointer": "mem", "bpf_sock": "sock", "bpf_tcp_sock": "sock"}
    kinds: dict[str, Any] = {"bpf_sock": contexts.BpfSock, "bpf_tcp_sock": contexts.BpfTcpSock, "pointer": kind}
    if result == "void":
        return helper_call(c, node, row, args, NONE)
    if result in kinds:
        space = "btf" if "BTF_ID" in row.ret else spaces[result]
        return helper_call(c, node, row, args, RefT(kinds[result], space, may_be_null(row)))
    return helper_call(c, node, row, args, IntT(getattr(ints, result)))


# What helpers give to callbacks (Linux 6.12 kernel/bpf/verifier.c: set_loop_callback_state and its like): numbers,
# the key and value of a map, a dynptr, structs of the kernel, and the argument ("ctx") that the helper was given.
_CALLBACKS: Final = {
    "loop": ("index", "ctx"), "for_each_map_elem": ("map", "key", "value", "ctx"),
    "timer_set_callback": ("map", "key", "value"), "user_ringbuf_drain": ("dynptr", "ctx"),
    "find_vma": ("kernel", "kernel", "ctx"),
}  # fmt: skip


def check_callbacks(
    c: Checker, name: str, args: list[tree.Expr], nodes: list[Any], owner: maps.Map | None = None
) -> None:
    """Report a callback whose parameters are not what the helper gives it."""
    wanted = _CALLBACKS.get(name)
    found = [(i, arg.value) for i, arg in enumerate(args) if isinstance(arg, tree.Object)]
    at, function = next((pair for pair in found if isinstance(pair[1], tree.Function)), (-1, None))
    if wanted is None or function is None or function.wrong:
        return
    node = nodes[at]
    if len(function.params) > len(wanted):
        c.wrong(node, f"{function.name} gets {len(wanted)} arguments: {', '.join(wanted)}", "take as many or fewer")
    for what, variable in zip(wanted, function.params, strict=False):
        kind = variable.type
        if isinstance(kind, IntT):
            continue  # the number, or the address as one
        given = args[at + 1].type if what == "ctx" and not isinstance(args[at + 1], tree.Const) else None
        if owner is not None and what in ("key", "value"):
            given = RefT(getattr(owner, what), "map")
        if what in ("index", "map"):
            c.wrong(node, f"{function.name} gets a number as {variable.name}", f"annotate it: {variable.name}: u64")
        if not isinstance(given, RefT) or not isinstance(kind, RefT):
            continue
        if given.target != kind.target:
            c.wrong(node, f"{function.name} gets {given.present()} as {variable.name}, not {kind}",
                    f"annotate it: {variable.name}: {given.present()}")  # fmt: skip


def helper_argument(
    c: Checker, row: Helper, name: str, c_type: str, arg_kind: str, node: ast.expr
) -> tree.Expr:  # fmt: skip
    number = int_type(c_type)
    value = expression(c, node)
    if number is not None:
        return c.coerce(value, IntT(getattr(ints, number)), node, name)
    if arg_kind.startswith("ARG_CONST_MAP_PTR") or c_type == "struct bpf_map *":
        if not isinstance(value, tree.Object) or not isinstance(value.value, maps.Map):
            c.wrong(node, f"{name} is a map, not {value.type}", "give a map of the module by its name")
        c.program.map_name(value.value, node, c)
        return value
    if arg_kind.startswith("ARG_PTR_TO_FUNC"):
        function = python_function(value.value) if isinstance(value, tree.Object) else None
        if function is None:
            c.wrong(node, f"{name} is a function, not {value.type}", "give a function of the file by its name")
        return tree.Object(value.at, value.type, c.program.function(function, c, node, linkage="callback"))
    if arg_kind == "ARG_ANYTHING" and value.type == U64:
        return value
    if arg_kind.startswith("ARG_PTR_TO_CTX") and (
        not isinstance(value.type, RefT) or value.type.space not in ("ctx", "mem")
    ):  # fmt: skip
        c.wrong(node, f"{row.name} wants the program's context", "give the program's first parameter")
    return pointer(c, node, value, "PTR_MAYBE_NULL" in arg_kind or arg_kind == "ARG_ANYTHING" or "MEM" not in arg_kind)


def loose_argument(c: Checker, name: str, kind: Type, node: ast.expr) -> tree.Expr:
    """An argument of a kernel function: memory of any kind, a map, or a callback."""
    value = expression(c, node)
    if isinstance(kind, RefT):
        return pointer(c, node, value, kind.nullable)
    if isinstance(kind, ObjectT) and kind.value is maps.Map:
        if not isinstance(value, tree.Object) or not isinstance(value.value, maps.Map):
            c.wrong(node, f"{name} is a map, not {value.type}", "give a map of the module by its name")
        c.program.map_name(value.value, node, c)
        return value
    function = python_function(value.value) if isinstance(value, tree.Object) else None
    if function is None:
        c.wrong(node, f"{name} is a function, not {value.type}", "give a function of the file by its name")
    return tree.Object(value.at, value.type, c.program.function(function, c, node, linkage="callback"))


def _key(c: Checker, node: ast.expr | None, kind: Any, what: str) -> tree.Expr:
    """A key or value as the address of one."""
    assert node is not None
    value = expression(c, node)
    wanted = kind_type(kind, "mem")
    if isinstance(wanted, RefT):
        return c.coerce(value, wanted, node, what)
    if isinstance(value.type, RefT) and value.type.target == kind:
        c.wrong(node, f"{what} is a reference", f"give its value: {c.text(node)}.value")
    return tree.Slot(c.at(node), RefT(kind, "stack"), c.coerce(value, wanted, node, what))


def map_call(c: Checker, node: ast.Call, owner: maps.Map, name: str, this: tree.Expr | None = None) -> tree.Expr:
    """A method of a map. `this`: the map as a value, when it was looked up in another one."""
    if this is None:
        c.program.map_name(owner, node.func, c)
        this = tree.Object(c.at(node), ObjectT(owner), owner)
    if isinstance(owner, maps.RingBuf) and name == "reserve":
        c.wrong(node, "reserve stands in a with", "with events.reserve(Event) as event:")
    maker = _MAP_CALLS.get((_family(owner), name))
    if maker is None:
        c.wrong(node.func, f"{name} of a {type(owner).__name__} map is not called in programs",
                f"programs have {', '.join(map_words(owner))}")  # fmt: skip
    return maker(c, node, this, owner)


def _family(owner: maps.Map) -> str:
    families = (
        maps.MapOfMaps, maps.Storage, maps.LocalStorage, maps.Table, maps.Queue, maps.ProgArray, maps.Redirect,
        maps.PerfEventArray, maps.StackTrace, maps.RingBuf, maps.Arena,
    )  # fmt: skip
    for kind in families:
        if isinstance(owner, kind):
            return kind.__name__
    return ""


def _flags(c: Checker, node: ast.expr | None, default: int = 0) -> tree.Expr:
    if node is None:
        return tree.Const(tree.Place(0, 0), U64, default)
    return c.coerce(expression(c, node), U64, node, "flags")


def _lookup(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (key,) = bind(c, node, ["key"])
    args = [this, _key(c, key, owner.key, "the key")]
    return helper_call(c, node, HELPER["map_lookup_elem"], args, RefT(owner.value, "map", True))


def _lookup_map(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (key,) = bind(c, node, ["key"])
    args = [this, _key(c, key, owner.key, "the key")]
    return helper_call(c, node, HELPER["map_lookup_elem"], args, RefT(owner.inner, "map", True))


def _storage_get(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    assert isinstance(owner, maps.Storage)
    whose, flags = bind(c, node, ["owner", "flags"], optional=1)
    null = tree.Const(c.at(node), RefT(u64, "mem", True), 0)
    args = [this, _owner(c, whose), null, _flags(c, flags, 1)]
    return helper_call(c, node, HELPER_BY_ID[owner.GET], args, RefT(owner.value, "map", True))


def _storage_delete(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    assert isinstance(owner, maps.Storage)
    (whose,) = bind(c, node, ["owner"])
    return helper_call(c, node, HELPER_BY_ID[owner.DELETE], [this, _owner(c, whose)], S64)


def _local_storage(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    bind(c, node, [])
    args = [this, tree.Const(c.at(node), U64, 0)]
    return helper_call(c, node, HELPER["get_local_storage"], args, RefT(owner.value, "map"))


def _owner(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    value = expression(c, node)
    if not isinstance(value.type, RefT) or not value.type.is_struct:
        c.wrong(node, f"the owner of a value is a kernel struct, not {value.type}",
                "give a socket, task, inode or cgroup")  # fmt: skip
    return pointer(c, node, value, False)


def _lookup_percpu(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, cpu = bind(c, node, ["key", "cpu"])
    if "PERCPU" not in owner.MAP_TYPE:
        c.wrong(node.func, f"this {type(owner).__name__} map has no values of their own for CPUs", "use lookup")
    assert cpu is not None
    args = [this, _key(c, key, owner.key, "the key"), c.coerce(expression(c, cpu), U32, cpu, "cpu")]
    return helper_call(c, node, HELPER["map_lookup_percpu_elem"], args, RefT(owner.value, "map", True))


def _update(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, value, flags = bind(c, node, ["key", "value", "flags"], optional=1)
    args = [this, _key(c, key, owner.key, "the key"), _key(c, value, owner.value, "the value"), _flags(c, flags)]
    return helper_call(c, node, HELPER["map_update_elem"], args, S64)


def _delete(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (key,) = bind(c, node, ["key"])
    return helper_call(c, node, HELPER["map_delete_elem"], [this, _key(c, key, owner.key, "the key")], S64)


def _for_each(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    function, ctx, flags = bind(c, node, ["function", "ctx", "flags"], optional=2)
    row = HELPER["for_each_map_elem"]
    assert function is not None
    callback = helper_argument(c, row, "function", "void *", "ARG_PTR_TO_FUNC", function)
    given: tree.Expr = tree.Const(c.at(node), RefT(u64, "mem", True), 0)
    if ctx is not None:
        given = pointer(c, ctx, expression(c, ctx), True)
    args = [this, callback, given, _flags(c, flags)]
    check_callbacks(c, row.name, args, [None, function, ctx, None], owner)
    return helper_call(c, node, row, args, S64)


def _push(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    value, flags = bind(c, node, ["value", "flags"], optional=1)
    args = [this, _key(c, value, owner.value, "the value"), _flags(c, flags)]
    return helper_call(c, node, HELPER["map_push_elem"], args, S64)


def _take(helper: str) -> Callable[[Checker, ast.Call, tree.Expr, maps.Map], tree.Expr]:
    def made(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
        (into,) = bind(c, node, ["into"])
        assert into is not None
        value = expression(c, into)
        target = c.coerce(value, RefT(owner.value, "mem"), into, "where the value goes")
        return helper_call(c, node, HELPER[helper], [this, target], S64)

    return made


def _has(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    if not isinstance(owner, maps.Bloom):
        c.wrong(node.func, "only bloom filters have `has`", "look the key up: lookup(key) is not None")
    (value,) = bind(c, node, ["value"])
    found = helper_call(c, node, HELPER["map_peek_elem"], [this, _key(c, value, owner.value, "the value")], S64)
    return tree.Compare(found.at, BOOL, "eq", found, tree.Const(found.at, S64, 0))


def _context(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    value = expression(c, node)
    if not isinstance(value.type, RefT) or value.type.space not in ("ctx", "mem"):
        c.wrong(node, "the program's context is wanted here", "give the program's first parameter")
    return value


def _tail_call(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, index = bind(c, node, ["ctx", "index"])
    assert index is not None
    args = [_context(c, ctx), this, c.coerce(expression(c, index), U32, index, "index")]
    return helper_call(c, node, HELPER["tail_call"], args, NONE, "s64")


def _redirect(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, flags = bind(c, node, ["key", "flags"], optional=1)
    assert key is not None
    wide = HELPER["redirect_map"]
    kind = IntT(getattr(ints, int_type(parameters(wide)[1][1]) or "u64"))
    value = c.coerce(expression(c, key), U32, key, "key")
    number = tree.Cast(value.at, kind, value) if kind != U32 else value
    return helper_call(c, node, wide, [this, number, _flags(c, flags)], S64)


def _perf_output(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, data, flags = bind(c, node, ["ctx", "data", "flags"], optional=1)
    record = _record(c, data)
    assert isinstance(record.type, RefT)
    size = tree.Const(record.at, U64, size_of(record.type.target))
    c.program.event(owner, record.type.target)
    args = [_context(c, ctx), this, _flags(c, flags, 0xFFFF_FFFF), record, size]
    return helper_call(c, node, HELPER["perf_event_output"], args, S64)


def _record(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    record = expression(c, node)
    if not isinstance(record.type, RefT) or not record.type.is_struct:
        c.wrong(node, f"a record is a struct, not {record.type}", "class Event(Struct): ...")
    return pointer(c, node, record, False)


def _ring_output(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    data, flags = bind(c, node, ["data", "flags"], optional=1)
    record = _record(c, data)
    assert isinstance(record.type, RefT)
    c.program.event(owner, record.type.target)
    size = tree.Const(record.at, U64, size_of(record.type.target))
    return helper_call(c, node, HELPER["ringbuf_output"], [this, record, size, _flags(c, flags)], S64)


def _ring_query(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (what,) = bind(c, node, ["what"])
    return helper_call(c, node, HELPER["ringbuf_query"], [this, _flags(c, what)], U64)


def _ring_discard(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    c.wrong(node, "discard is a statement of its own", "events.discard(record)")


def discard(c: Checker, node: ast.Call) -> tuple[tree.Expr, tree.Variable] | None:
    """`events.discard(record)`: the call, and the record's variable, which is None from then on. None for other
    calls."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "discard":
        return None
    if not isinstance(node.func.value, ast.Name) or node.func.value.id in c.variables:
        return None
    owner = expression(c, node.func.value)
    if not isinstance(owner, tree.Object) or not isinstance(owner.value, maps.RingBuf):
        return None
    (record,) = bind(c, node, ["record"])
    if not isinstance(record, ast.Name) or record.id not in c.variables:
        c.wrong(node, "discard wants the name of a reserved record", "with events.reserve(Event) as record:")
    value = expression(c, record)
    if not isinstance(value.type, RefT) or value.type.space != "ringbuf":
        c.wrong(record, f"{record.id} is no reserved record", "discard what `with events.reserve(Event) as event` gave")
    if value.type.nullable:
        c.maybe_none(record, value.type)
    call = helper_call(c, node, HELPER["ringbuf_discard"], [value, tree.Const(c.at(node), U64, 0)], NONE)
    return call, c.variables[record.id]


def _stack_id(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, flags = bind(c, node, ["ctx", "flags"], optional=1)
    return helper_call(c, node, HELPER["get_stackid"], [_context(c, ctx), this, _flags(c, flags)], S64)


def _alloc(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    from bombus.compiler.flow import kernel_call  # it stands above this module

    kind_node, pages = bind(c, node, ["kind", "pages"], optional=1)
    assert kind_node is not None
    chosen = expression(c, kind_node)
    kind: Any = chosen.value if isinstance(chosen, tree.Object) else None
    if not is_struct_class(kind) or not kind.ARENA:
        c.wrong(kind_node, "alloc wants a struct of arenas", "class Node(Struct, arena=True): ...")
    at = c.at(node)
    needed = -(-size_of(kind) // maps.PAGE)
    count: tree.Expr = tree.Const(at, U32, needed)
    if pages is not None:
        count = c.coerce(expression(c, pages), U32, pages, "pages")
        if not isinstance(count, tree.Const) or not needed <= count.value:
            c.wrong(pages, f"{kind.__name__} needs a constant number of pages, {needed} at least",
                    f"heap.alloc({kind.__name__}, {needed})")  # fmt: skip
    anywhere = tree.Const(at, RefT(ints.u8, "any", True), 0)
    node_id = tree.Const(at, IntT(ints.s32), -1)  # NUMA_NO_NODE
    params: list[tuple[str, Type]] = [
        ("p__map", ObjectT(maps.Map)), ("addr__ign", anywhere.type), ("page_cnt", U32), ("node_id", IntT(ints.s32)),
        ("flags", U64),
    ]  # fmt: skip
    args = [this, anywhere, count, node_id, tree.Const(at, U64, 0)]
    return kernel_call(c, node, "bpf_arena_alloc_pages", params, args, RefT(kind, "arena", True))


def _free(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    from bombus.compiler.flow import kernel_call

    place, pages = bind(c, node, ["place", "pages"], optional=1)
    assert place is not None
    value = expression(c, place)
    if not isinstance(value.type, RefT) or value.type.space != "arena":
        c.wrong(place, f"free wants what alloc gave, not {value.type}", "heap.free(node)")
    if value.type.nullable:
        c.maybe_none(place, value.type)
    at = c.at(node)
    count: tree.Expr = tree.Const(at, U32, -(-size_of(value.type.target) // maps.PAGE))
    if pages is not None:
        count = c.coerce(expression(c, pages), U32, pages, "pages")
    params: list[tuple[str, Type]] = [
        ("p__map", ObjectT(maps.Map)), ("ptr__ign", RefT(ints.u8, "any")), ("page_cnt", U32),
    ]  # fmt: skip
    return kernel_call(c, node, "bpf_arena_free_pages", params, [this, value, count], NONE)


_MAP_CALLS: Final[dict[tuple[str, str], Callable[[Checker, ast.Call, tree.Expr, maps.Map], tree.Expr]]] = {
    ("Table", "lookup"): _lookup,
    ("Table", "lookup_percpu"): _lookup_percpu,
    ("Table", "update"): _update,
    ("Table", "delete"): _delete,
    ("Table", "for_each"): _for_each,
    ("MapOfMaps", "lookup"): _lookup_map,
    ("Storage", "get"): _storage_get,
    ("LocalStorage", "get"): _local_storage,
    ("Arena", "alloc"): _alloc,
    ("Arena", "free"): _free,
    ("Storage", "delete"): _storage_delete,
    ("Queue", "push"): _push,
    ("Queue", "pop"): _take("map_pop_elem"),
    ("Queue", "peek"): _take("map_peek_elem"),
    ("Queue", "has"): _has,
    ("ProgArray", "tail_call"): _tail_call,
    ("Redirect", "redirect"): _redirect,
    ("PerfEventArray", "output"): _perf_output,
    ("StackTrace", "stack_id"): _stack_id,
    ("RingBuf", "output"): _ring_output,
    ("RingBuf", "query"): _ring_query,
    ("RingBuf", "discard"): _ring_discard,
}


def enter_scope(c: Checker, node: ast.expr) -> tuple[tree.Expr, tree.Expr, Any, Any]:
    """What a `with` begins and ends with: (enter, leave, leave of a variable, kind)."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reserve":
        callee = expression(c, node.func)
        owner = getattr(callee.value, "__self__", None) if isinstance(callee, tree.Object) else None
        if isinstance(owner, maps.RingBuf):
            return _reserve(c, node, owner)
    value = expression(c, node)
    if isinstance(value.type, RefT) and value.type.target is SpinLock:
        if value.type.nullable:
            c.maybe_none(node, value.type)
        locks = [helper_call(c, node, HELPER[name], [value], NONE) for name in ("spin_lock", "spin_unlock")]
        return locks[0], locks[1], None, SpinLock
    c.wrong(node, "with works on ring buffer records and spin locks", "with events.reserve(Event) as event:")


def _reserve(c: Checker, node: ast.Call, owner: maps.RingBuf) -> tuple[tree.Expr, tree.Expr, Any, Any]:
    kind_node, flags = bind(c, node, ["kind", "flags"], optional=1)
    assert kind_node is not None
    c.program.map_name(owner, node.func, c)
    kind = expression(c, kind_node)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value):
        c.wrong(kind_node, "reserve wants a Struct class", "with events.reserve(Event) as event:")
    c.program.event(owner, kind.value)
    at = c.at(node)
    this = tree.Object(at, ObjectT(owner), owner)
    size = tree.Const(at, U64, size_of(kind.value))
    zero = tree.Const(at, U64, 0)
    enter = helper_call(
        c, node, HELPER["ringbuf_reserve"], [this, size, zero], RefT(kind.value, "ringbuf", True)
    )  # fmt: skip
    wake = _flags(c, flags)

    def leave(guard: tree.Variable) -> tree.Expr:
        record = tree.Read(at, RefT(kind.value, "ringbuf"), guard)
        return helper_call(c, node, HELPER["ringbuf_submit"], [record, wake], NONE)

    return enter, zero, leave, maps.Reservation
