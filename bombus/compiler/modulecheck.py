"""From the names of a module to its checked programs: what belongs to them, and what was left lying about."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FunctionType, UnionType
from typing import Any, Self, Union, get_args, get_origin

from bombus.bpf import core
from bombus.bpf.ints import Scalar
from bombus.bpf.program import CREATED, Program
from bombus.bpf.struct import Ref, Struct
from bombus.bpf.structops import StructOps, programs_of
from bombus.bpf.tracing import Operation
from bombus.compiler import tree
from bombus.compiler.check import Wrong
from bombus.compiler.diagnostics import Diagnostic, at_node, in_order
from bombus.compiler.expressions import is_struct_class
from bombus.compiler.program import Builder
from bombus.compiler.source import definition
from bombus.errors import DialectError, UsageError


def check_names(names: Mapping[str, Any], path: str, *, cpu: str = "v3") -> tree.Unit:
    """Check the programs among the names of a module. DialectError, UsageError when there is none."""
    ops = {name: value for name, value in names.items() if isinstance(value, StructOps)}
    programs: dict[Program[Any, Any], str] = {}
    for name, value in names.items():
        if isinstance(value, Program) and (value not in programs or value.__name__ == name):
            programs[value] = name
    for value in ops.values():
        for program in programs_of(value).values():
            programs.setdefault(program, program.__name__)
    problems = lost(names, programs)
    if not programs and not problems:
        raise UsageError(f"{path}: there is no program in it; decorate a function, for example with @xdp")
    builder = Builder(names, path, cpu=cpu)
    for program, name in programs.items():
        builder.add_program(name, program)
    for name, value in ops.items():
        builder.add_ops(name, value)
    with _collecting(problems):
        builder.finish()
    idle = _idle(builder, names)
    for marked in (True, False):
        functions = [function for function in idle if bool(core.linkage_of(function)) is marked]
        if functions:  # checked apart: they are no part of the object
            found = _check_apart(Builder(names, path, cpu=cpu), functions)
            problems += found if marked else [
                replace(diagnostic, hint=f"{diagnostic.hint}; {_IDLE_HINT}".removeprefix("; ")) for diagnostic in found
            ]
    if problems:
        raise DialectError(in_order(problems))
    return builder.unit


_IDLE_HINT = "no program calls this function; if it is for Python alone, mark it with @bpf.python_only"


def _check_apart(builder: Builder, functions: list[FunctionType]) -> list[Diagnostic]:
    builder.diagnostics.clear()  # those of the module
    found: list[Diagnostic] = []
    with _collecting(found):
        for function in functions:
            with suppress(Wrong):
                builder.function(function, None, ast.Pass())
        builder.finish()
    return found


def lost(names: Mapping[str, Any], programs: Collection[Program[Any, Any]]) -> list[Diagnostic]:
    """Programs that the module made and that none of its names leads to: they would not be part of the object."""
    found: list[Diagnostic] = []
    tables = [value for value in names.values() if isinstance(value, StructOps)]
    used = {program for value in tables for program in programs_of(value).values()}
    for program in CREATED:
        if program.function.__globals__ is not names:
            continue
        idle = isinstance(program, Operation) and program not in used
        if program in programs and not idle:
            continue
        with suppress(UsageError):
            file, node = definition(program.function)  # type: ignore[arg-type]
            again: Any = names.get(node.name)
            hint = f"give it a name of its own at module level: {node.name} = ..."
            if isinstance(again, Program):
                again = again.function
                hint = f"line {again.__code__.co_firstlineno} defines {node.name} again"
            message = f"no name of the file leads to program {node.name}"
            if idle:
                message = f"{node.name} belongs to no struct of operations that the file names"
                hint = f"make one at module level: name = SomeOps(member={node.name})"
            found.append(at_node(file.path, file.lines, node, message, hint))
    return found


def _idle(builder: Builder, names: Mapping[str, Any]) -> list[FunctionType]:
    """Functions of the module that nothing calls though they are BPF's: by a mark (`@bpf.noinline` and so on), or
    by the types of all that they take and return. Others are for the import, or for user space."""
    classes = [value for value in names.values() if is_struct_class(value)]
    found = [*names.values(), *(value for one in classes for value in vars(one).values())]
    return [
        value for value in dict.fromkeys(v for v in found if isinstance(v, FunctionType))
        if not builder.has(value) and value.__code__.co_filename == builder.unit.path
        and (core.linkage_of(value) or (_looks_like_bpf(value) and not core.is_python_only(value)))
    ]


def _looks_like_bpf(function: FunctionType) -> bool:
    """Whether all parameters and the result have types of the language, and one of them no other use."""
    try:
        kinds = inspect.get_annotations(function, eval_str=True)
    except Exception:  # whatever annotations of user space say
        return False
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    owner = core.struct_of(function)
    if owner is not None:
        kinds = {name: owner if kind is Self else kind for name, kind in ({names[0]: owner} | kinds).items()}
    if "return" not in kinds or any(name not in kinds for name in names):
        return False
    flat = [item for kind in kinds.values() for item in _parts(kind)]
    return all(_is_value(item) or item in (bool, None, type(None)) for item in flat) and any(map(_is_value, flat))


def _parts(kind: Any) -> list[Any]:
    origin = get_origin(kind)
    if origin in (UnionType, Union, tuple):
        return [item for inner in get_args(kind) for item in _parts(inner)]
    return [origin if origin is Ref else kind]


def _is_value(kind: Any) -> bool:
    return kind is Ref or (isinstance(kind, type) and issubclass(kind, (Scalar, Struct)))


@contextmanager
def _collecting(problems: list[Diagnostic]) -> Iterator[None]:
    try:
        yield
    except DialectError as error:
        problems += error.diagnostics
