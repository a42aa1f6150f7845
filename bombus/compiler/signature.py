"""What a function takes and gives: parameters and results by their annotations, contexts of programs.

Functions here report to the `Checker` of the function, whose declaration is looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, get_origin

from bombus.bpf import core, helpers
from bombus.bpf.context import Context
from bombus.bpf.contexts import BpfRawTracepointArgs, PtRegs
from bombus.bpf.ints import s32, u8
from bombus.bpf.maps import Map
from bombus.bpf.tracing import Arguments
from bombus.compiler import tree
from bombus.compiler.check import Checker
from bombus.compiler.programargs import place_arguments
from bombus.compiler.types import BOOL, NONE, IntT, LitT, ObjectT, RefT, Type

_OWN_RECORD = frozenset({"BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_RAW_TRACEPOINT",
                         "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_EXT",
                         "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_SYSCALL"})  # fmt: skip
"""Types of programs whose context is a struct that the program declares."""

# Kernel functions that work on types of the program's own BTF
_OBJECTS = (
    "bpf_obj_new", "bpf_obj_drop", "bpf_percpu_obj_new", "bpf_percpu_obj_drop", "bpf_refcount_acquire", "bpf_rbtree_",
    "bpf_list_",
)  # fmt: skip


def check_ascii(c: Checker, node: ast.FunctionDef) -> None:
    """Names that BTF and the kernel see are ASCII (btf_name_valid_identifier)."""
    for part, name in ((node, node.name), *((arg, arg.arg) for arg in node.args.args)):
        if not name.isascii():
            message = f"{name}: names of functions and parameters are ASCII in BPF objects"
            c.report(part, message, "use a-z, A-Z, 0-9 and _")


def signature(c: Checker, made: tree.Function, node: ast.FunctionDef) -> None:
    args = node.args
    for part in (args.vararg, args.kwarg, *args.posonlyargs, *args.kwonlyargs, *getattr(node, "type_params", ())):
        if part is not None:
            c.wrong(part, "a function has plain parameters only", f"def {node.name}(a: u32, b: u32)")
    if args.defaults and made.linkage in ("program", "callback", "kfunc"):
        c.wrong(args.defaults[0], "who calls this function passes every argument", "take the default value away")
    program = made.linkage == "program"
    owner = core.struct_of(made.python)
    for arg in args.args:
        if arg.annotation is None and owner is not None and arg is args.args[0]:
            made.params.append(tree.Variable(arg.arg, c.meaning(arg, owner, "mem")))
            continue
        if arg.annotation is None:
            wanted = "u32"
            if arg.arg in ("self", "cls"):
                c.wrong(arg, f"{node.name} is a method of a class that is no struct",
                        "define it at module level, without self")  # fmt: skip
            if program and arg is args.args[0]:
                wanted = context_text(made)
            c.wrong(arg, f"{arg.arg} has no type", f"annotate it: {arg.arg}: {wanted}")
        if made.linkage == "kfunc" and (loose := loose_parameter(c.annotation(arg.annotation))) is not None:
            made.params.append(tree.Variable(arg.arg, loose))
            continue
        kind = c.type_of(arg.annotation, "ctx" if program and len(args.args) == 1 else "mem")
        if isinstance(kind, RefT) and isinstance(kind.target, type) and issubclass(kind.target, Context):
            kind = RefT(kind.target, "ctx")
        if kind == NONE:
            c.wrong(arg.annotation, "None is no type of parameters", "leave it away")
        if made.linkage == "global" and isinstance(kind, RefT):
            kind = _global_parameter(made, kind)
        made.params.append(tree.Variable(arg.arg, kind))
    for node_of, variable, value in _defaults(made, args):
        given = c.constant(node_of, value)
        if isinstance(variable.type, IntT) and isinstance(given.type, LitT):
            c.wrong(node_of, f"a plain int is not {variable.type}: Python would keep it unbounded",
                    f"write {variable.type}({c.text(node_of)})")  # fmt: skip
        if not isinstance(given, tree.Const):
            c.wrong(node_of, "a default value is a constant", "u32(5), True or None")
        made.defaults[variable.name] = c.coerce(given, variable.type, node_of, "the default value")
    if program:
        place_arguments(c, made, args.args)
    if len(made.params) > 5 and not program and not c.program.native:
        c.wrong(args.args[5], "a BPF function has at most 5 parameters", "pass a struct")
    if node.returns is None:
        c.wrong(node, f"{node.name} does not say what it returns", f"def {node.name}(...) -> u32:")
    returned = c.annotation(node.returns)
    made.result = _result(c, node, returned, program)
    free = made.prog_type == "BPF_PROG_TYPE_STRUCT_OPS"  # members of a struct of operations return what they do
    number = isinstance(made.result, IntT) and not made.result.kind.NETWORK
    if program and not free and not number and made.result != BOOL:
        c.wrong(node.returns, f"a program returns an integer, not {made.result}", "annotate it: -> s32")
    if made.linkage == "global" and not isinstance(made.result, IntT):
        c.wrong(node.returns, f"a global function returns an integer, not {made.result}", "annotate it: -> u32")


def _defaults(made: tree.Function, args: ast.arguments) -> list[tuple[ast.expr, tree.Variable, Any]]:
    """Parameters that may be left out: where the value is written, the parameter, and the value as Python has it."""
    count = len(args.defaults)
    values = getattr(made.python, "__defaults__", None) or ()
    return list(zip(args.defaults, made.params[len(made.params) - count :], values, strict=True)) if count else []


def _global_parameter(made: tree.Function, kind: RefT) -> RefT:
    """What the verifier is told of a reference that a global function takes (btf_prepare_func_args of Linux 6.12).
    Kernels before 6.8 take all memory for maybe None."""
    tags = made.tags.setdefault(len(made.params), [])
    if kind.space == "ctx":
        if kind.target in (Arguments, PtRegs):
            tags.append("arg:ctx")
        return kind
    if kind.is_struct and kind.target.CORE:
        tags += ["arg:trusted", *(["arg:nullable"] if kind.nullable else [])]
        return RefT(kind.target, "btf", kind.nullable)
    if not kind.nullable:
        tags.append("arg:nonnull")
    return kind


def _result(c: Checker, node: ast.FunctionDef, returned: Any, program: bool) -> Type:
    assert node.returns is not None
    if returned is int:
        if program:
            return IntT(s32)
        c.wrong(node.returns, "a plain int has no width", "say how wide it is: s32")
    return c.meaning(node.returns, returned, "btf" if c.function.linkage == "kfunc" else "map")


def check_kfunc(c: Checker, made: tree.Function, node: ast.FunctionDef) -> None:
    """The declaration of a kernel function."""
    if made.name.startswith(_OBJECTS):
        message = f"{made.name}: the language has words for objects"
        hint = "bpf.new(Node), bpf.drop(node), head.push_back(node), root.add(node, less), ..."
        c.report(node, message, hint)
    from bombus.spec.kfuncs import KFUNC  # most programs need no such rows

    row = KFUNC.get(made.name)
    result = made.result
    if row is not None and "ret_null" in row.flags and isinstance(result, RefT) and not result.nullable:
        c.report(node.returns or node, f"{made.name} may return None", f"annotate it: -> {result} | None")
    filled = [part for part in node.body if not (
        (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(part, ast.Raise) and isinstance(part.exc, ast.Name) and part.exc.id == "NotImplementedError")
    )]  # fmt: skip
    if filled:
        hint = "write ... or raise NotImplementedError"
        c.report(filled[0], f"{made.name} is in the kernel and has no body", hint)


def check_context(c: Checker, made: tree.Function, node: ast.FunctionDef) -> None:
    """Has a program the context of its kind as its one parameter?"""
    wanted = _context_of(made.prog_type)
    if len(made.params) != 1:
        if node.args.args and len(node.args.args) == 1:
            return  # its annotation was wrong
        c.report(node, "a program has one parameter, its context", "def name(ctx: ...)")
        return
    kind = made.params[0].type
    name = getattr(kind.target, "C_NAME", "") if isinstance(kind, RefT) else ""
    if made.prog_type not in _OWN_RECORD:
        if name != wanted:
            shown = f"programs in {made.section} get a struct {wanted}, not {kind}"
            c.report(node.args.args[0], shown, f"annotate it: {node.args.args[0].arg}: {context_text(made)}")
    elif not isinstance(kind, RefT) or not kind.is_struct:
        c.report(node.args.args[0], f"programs in {made.section} get a record, not {kind}", "class Record(Struct): ...")
    elif issubclass(kind.target, Context) and kind.target not in (Arguments, BpfRawTracepointArgs):
        c.report(node.args.args[0], f"{kind} is the context of programs of another kind than {made.section}",
                 "declare what the program is given: class Record(Struct): ...")  # fmt: skip


def loose_parameter(annotation: Any) -> Type | None:
    """What a kernel function takes that has no type in the dialect: memory of any kind, a map, a callback."""
    if annotation == helpers.Memory or annotation == helpers.Memory | None:
        return RefT(u8, "any", annotation != helpers.Memory)
    if isinstance(annotation, type) and issubclass(annotation, Map):
        return ObjectT(Map)
    if get_origin(annotation) is Callable:
        return ObjectT(annotation)
    return None


def context_text(made: tree.Function) -> str:
    """The context class of a program, as users write it."""
    from bombus.compiler.bindings import class_name

    short = made.section.removeprefix("?").partition("/")[0].partition(".")[0]
    wanted = _context_of(made.prog_type) if made.prog_type else ""
    return f"{short}.Context" if short in ("xdp", "tc") else f"contexts.{class_name(wanted)}" if wanted else "u32"


def _context_of(prog_type: str) -> str:
    from bombus.spec.progtypes import PROG_TYPE

    return PROG_TYPE[prog_type].ctx
