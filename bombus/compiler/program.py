"""A whole program: from the names of a Python module to a checked `tree.Unit`.

The module has been imported; its maps, globals, licence and decorated functions are taken from its names, other
functions when they are called.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from types import FunctionType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from bombus.bpf import core, helpers
from bombus.bpf.context import Context
from bombus.bpf.contexts import PtRegs
from bombus.bpf.ints import Scalar, u8
from bombus.bpf.map import Map
from bombus.bpf.program import CREATED, Program
from bombus.bpf.struct import Ref, Struct
from bombus.bpf.structops import StructOps, programs_of
from bombus.bpf.tracing import Arguments, Operation
from bombus.compiler import tree
from bombus.compiler.check import Checker, Wrong, check_function
from bombus.compiler.diagnostics import Diagnostic, at_node
from bombus.compiler.programargs import place_arguments
from bombus.compiler.source import SourceFile, definition, not_a_def
from bombus.compiler.types import BOOL, NONE, IntT, ObjectT, RefT, Type
from bombus.errors import DialectError, UsageError
from bombus.spec.helpers.model import Helper

if TYPE_CHECKING:
    pass

# is_gpl_compatible of Linux 6.12 include/linux/license.h
_GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
_TRACING = frozenset({"BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_RAW_TRACEPOINT",
                      "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_EXT",
                      "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_SYSCALL"})  # fmt: skip


_OWN = ("LICENSE", "__zero")  # names that objects have of their own

# Kernel functions that work on types of the program's own BTF
_OBJECTS = (
    "bpf_obj_new", "bpf_obj_drop", "bpf_percpu_obj_new", "bpf_percpu_obj_drop", "bpf_refcount_acquire", "bpf_rbtree_",
    "bpf_list_",
)  # fmt: skip


class Builder:
    """Collects what a program needs while its functions are checked."""

    def __init__(self, names: Mapping[str, Any], path: str, *, native: bool = False, cpu: str = "v3") -> None:
        """native: for this machine, not for BPF; cpu: the BPF instruction set."""
        self.native = native
        self.cpu = cpu
        self.unit = tree.Unit(path)
        self.diagnostics: list[Diagnostic] = []
        self._names = named(names)
        self._functions: dict[FunctionType, tree.Function] = {}
        self._pending: list[tuple[tree.Function, SourceFile, ast.FunctionDef]] = []
        self._kernel_functions: dict[str, tree.Function] = {}
        self.unit.license = self._license(names)
        for value in names.values():
            if isinstance(value, Map):
                self._map(value)
            elif id(value) in core.GLOBALS and core.GLOBALS[id(value)].view is value:
                self._global(value)

    def name_all(self, names: Mapping[str, Any]) -> None:
        """More names by which globals and maps are known; only those that are used are declared."""
        self._names |= named(names)

    def _license(self, names: Mapping[str, Any]) -> str:
        licenses = {name: value.text for name, value in names.items() if isinstance(value, core.License)}
        for name, value in names.items():
            if name.strip("_").lower() in ("license", "licence") and isinstance(value, str):
                self._wrong_name(name, f"{name} is a text, which no program gets", f"{name} = bpf.license({value!r})")
        if len(set(licenses.values())) > 1:
            self._wrong_name(list(licenses)[-1], "a file has one licence", f"{next(iter(licenses))} is there already")
        return next(iter(licenses.values()), "")

    # What the checker asks for

    def global_name(self, value: Any, node: ast.AST, c: Checker) -> str:
        self._learn(value, c)
        if id(value) not in self._names:
            c.wrong(node, "this global has no name of its own", "declare it at module level: name = bpf.var(...)")
        return self._global(value)

    def _global(self, value: Any) -> str:
        row = core.GLOBALS[id(value)]
        name = self._free(self._names[id(value)], value)
        self._refuse_name(name, "global")
        self.unit.globals[name] = tree.GlobalVariable(name, row.type, row.initial, row.config, row.view)
        return name

    def _learn(self, value: Any, c: Checker) -> None:
        """The name of a global or map of another module, which a function of that module uses."""
        if id(value) not in self._names:
            self._names |= named({name: known for name, known in c.names.items() if known is value})

    def map_name(self, value: Map, node: ast.AST, c: Checker) -> str:
        self._learn(value, c)
        if id(value) not in self._names:
            c.wrong(node, "this map has no name of its own", "declare it at module level: name = map.hash(...)")
        return self._map(value)

    def event(self, value: Any, kind: Any) -> None:
        """A struct goes into a buffer. A map without a name of its own (looked up in another one) is left out."""
        name = self._names.get(id(value))
        if name in self.unit.maps and self.unit.maps[name].map is value:
            kinds = self.unit.events.setdefault(name, [])
            if kind not in kinds:
                kinds.append(kind)

    def _map(self, value: Map) -> str:
        name = self._free(self._names[id(value)], value)
        self._refuse_name(name, "map")
        self.unit.maps[name] = tree.MapVariable(name, value)
        return name

    def _free(self, name: str, value: Any) -> str:
        """The name of a map or global, or another one when that of another module has it."""
        wanted, count = name, 1
        while self._taken(name, value):
            count += 1
            name = f"{wanted}_{count}"
        return name

    def _taken(self, name: str, value: Any) -> bool:
        known = self.unit.globals.get(name), self.unit.maps.get(name)
        if known[0] is not None and known[0].view is not value:
            return True
        if known[1] is not None and known[1].map is not value:
            return True
        return any(function.name == name for function in self.unit.functions)

    def _refuse_name(self, name: str, what: str) -> None:
        if not name.isascii() and not self.native:
            self._wrong_name(name, f"{name}: names of {what}s are ASCII in BPF objects", "use a-z, A-Z, 0-9 and _")

    def _wrong_name(self, name: str, message: str, hint: str) -> None:
        """Report a name of the module, where it is given."""
        path = self.unit.path
        lines = linecache.getlines(path)
        line = next((i for i, text in enumerate(lines, 1) if text.startswith(name)), 1)
        here = ast.Constant(None, lineno=line, col_offset=0, end_lineno=line, end_col_offset=len(name.encode()))
        found = at_node(path, lines, here, message, hint)
        if found not in self.diagnostics:
            self.diagnostics.append(found)

    def needs_gpl(self, c: Checker, node: ast.AST, helper: str) -> None:
        if self.unit.license not in _GPL:
            c.report(node, f"{helper} is for GPL-compatible programs", 'declare LICENSE = bpf.license("GPL")')

    def needs_cpu(self, c: Checker, node: ast.AST, what: str, cpu: str) -> None:
        if not self.native and self.cpu < cpu:
            c.report(node, f"{what} is an instruction of cpu {cpu}", f"build with --mcpu {cpu}")

    def stack_room(self) -> int:
        """Bytes that a variable may have."""
        return 1 << 16 if self.native else 512

    def allows(self, function: tree.Function, row: Helper) -> bool:
        """Whether programs of this type may call a helper; what functions call is up to who calls them."""
        return not function.prog_type or _allowed(row.name, function.prog_type, function.attach_type)

    def function(self, python: FunctionType, c: Checker | None, node: ast.AST, *, linkage: str = "") -> tree.Function:
        """A function that is called (or given as a callback)."""
        known = self._functions.get(python)
        if known is not None:
            return known
        try:
            file, source = definition(python)
        except UsageError as error:
            if c is None:
                self._report_not_a_def(python)
                raise Wrong from None
            known_text = linecache.getlines(python.__code__.co_filename)
            c.wrong(node, *(not_a_def(python.__code__) if known_text else (str(error), "")))
        linkage = linkage or core.linkage_of(python) or "static"
        made = tree.Function(source.name, file.path, source.lineno, [], NONE, linkage, python=python)
        self._declare(made, file, source)
        if made.linkage == "kfunc":
            self._check_kfunc(made, file, source)
        else:
            self._pending.append((made, file, source))
        return made

    def kernel_function(self, name: str, params: list[tuple[str, Type]], result: Type) -> tree.Function:
        """A function of the kernel that the language itself calls."""
        known = self._kernel_functions.get(name)
        if known is None:
            variables = [tree.Variable(param, kind) for param, kind in params]
            known = tree.Function(name, self.unit.path, 1, variables, result, "kfunc")
            declared = [f for f in self.unit.functions if f.linkage == "kfunc" and f.name == name]
            for other in self.unit.functions:
                if other.name == name and other.linkage != "kfunc":
                    file, node = definition(other.python)
                    message = f"{name} is the name of a kernel function that the language calls"
                    self.diagnostics.append(at_node(file.path, file.lines, node, message, "rename the function"))
            self._kernel_functions[name] = known = declared[0] if declared else known
            if not declared:
                self.unit.functions.append(known)
        return known

    def _check_kfunc(self, made: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        if made.name.startswith(_OBJECTS):
            message = f"{made.name}: the language has words for objects"
            hint = "bpf.new(Node), bpf.drop(node), head.push_back(node), root.add(node, less), ..."
            self.diagnostics.append(at_node(file.path, file.lines, node, message, hint))
        from bombus.spec.kfuncs import KFUNC  # most programs need no such rows

        row = KFUNC.get(made.name)
        result = made.result
        if row is not None and "ret_null" in row.flags and isinstance(result, RefT) and not result.nullable:
            self.diagnostics.append(at_node(
                file.path, file.lines, node.returns or node, f"{made.name} may return None",
                f"annotate it: -> {result} | None",
            ))  # fmt: skip
        filled = [part for part in node.body if not (
            (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            or (isinstance(part, ast.Raise) and isinstance(part.exc, ast.Name) and part.exc.id == "NotImplementedError")
        )]  # fmt: skip
        if filled:
            self.diagnostics.append(at_node(
                file.path, file.lines, filled[0], f"{made.name} is in the kernel and has no body",
                "write ... or raise NotImplementedError",
            ))  # fmt: skip

    def _declare(self, made: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        if not self.native:
            self._check_names(file, node)
        taken = {function.name for function in self.unit.functions} | {*self.unit.maps, *self.unit.globals, *_OWN}
        count = 0
        if made.linkage == "kfunc" and made.name in taken:
            if all(f.linkage == "kfunc" for f in self.unit.functions if f.name == made.name):
                taken.clear()  # declared elsewhere too
            else:
                message = f"{made.name} is the name of a function of the program too"
                self.diagnostics.append(at_node(file.path, file.lines, node, message, "rename the other one"))
        while made.name in taken:
            made.name = f"{node.name}_{node.lineno}" + (f"_{count}" if count else "")
            count += 1
        self._functions[made.python] = made
        self.unit.functions.append(made)
        c = Checker(self, made, file, node)
        made.wrong = True
        with suppress(Wrong):
            self._signature(c, made, node)
            made.wrong = False
        self.diagnostics += c.diagnostics

    def _check_names(self, file: SourceFile, node: ast.FunctionDef) -> None:
        """Names that BTF and the kernel see are ASCII (btf_name_valid_identifier)."""
        for part, name in ((node, node.name), *((arg, arg.arg) for arg in node.args.args)):
            if not name.isascii():
                message = f"{name}: names of functions and parameters are ASCII in BPF objects"
                self.diagnostics.append(at_node(file.path, file.lines, part, message, "use a-z, A-Z, 0-9 and _"))

    def _signature(self, c: Checker, made: tree.Function, node: ast.FunctionDef) -> None:
        args = node.args
        for part in (args.vararg, args.kwarg, *args.posonlyargs, *args.kwonlyargs, *getattr(node, "type_params", ())):
            if part is not None:
                c.wrong(part, "a function has plain parameters only", f"def {node.name}(a: u32, b: u32)")
        if args.defaults:
            c.wrong(args.defaults[0], "parameters have no default values", "pass every argument")
        program = made.linkage == "program"
        for arg in args.args:
            if arg.annotation is None:
                wanted = "u32"
                if arg.arg in ("self", "cls"):
                    c.wrong(arg, f"{node.name} is a method of a class", "define it at module level, without self")
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
                c.wrong(arg.annotation, "None is no type of parameters")
            if made.linkage == "global" and isinstance(kind, RefT):
                kind = self._global_parameter(made, kind)
            made.params.append(tree.Variable(arg.arg, kind))
        if program:
            place_arguments(c, made, args.args)
        if len(made.params) > 5 and not program and not self.native:
            c.wrong(args.args[5], "a BPF function has at most 5 parameters", "pass a struct")
        if node.returns is None:
            c.wrong(node, f"{node.name} does not say what it returns", f"def {node.name}(...) -> u32:")
        returned = c.annotation(node.returns)
        made.result = self._result(c, node, returned, program)
        free = made.prog_type == "BPF_PROG_TYPE_STRUCT_OPS"  # members of a struct of operations return what they do
        number = isinstance(made.result, IntT) and not made.result.kind.NETWORK
        if program and not free and not number and made.result != BOOL:
            c.wrong(node.returns, f"a program returns an integer, not {made.result}", "annotate it: -> s32")
        if made.linkage == "global" and not isinstance(made.result, IntT):
            c.wrong(node.returns, f"a global function returns an integer, not {made.result}", "annotate it: -> u32")

    def _global_parameter(self, made: tree.Function, kind: RefT) -> RefT:
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

    def _result(self, c: Checker, node: ast.FunctionDef, returned: Any, program: bool) -> Type:
        from bombus.bpf.ints import s32

        assert node.returns is not None
        if returned is int:
            if program:
                return IntT(s32)
            c.wrong(node.returns, "a plain int has no width", "say how wide it is: s32")
        return c.meaning(node.returns, returned, "btf" if c.function.linkage == "kfunc" else "map")

    # Building

    def add_ops(self, name: str, ops: StructOps) -> None:
        """A struct of operations of the module, whose functions were added."""
        self._refuse_name(name, "struct")
        members = type(ops).LAYOUT.members
        functions = {
            members[member].offset: self._functions[program.function]
            for member, program in programs_of(ops).items()
            if program.function in self._functions
        }
        row = tree.OpsVariable(name, type(ops), bytes(ops), functions, ops.LINK)
        self.unit.ops.append(row)

    def add_program(self, name: str, program: Program[Any, Any]) -> None:
        """name: of the module's variable."""
        try:
            file, node = definition(program.function)  # type: ignore[arg-type]
        except UsageError:
            self._report_not_a_def(program.function)
            return
        made = tree.Function(
            name, file.path, node.lineno, [], NONE, "program", program.section, python=program.function
        )
        row = _section(program.section)
        if row is not None:
            made.prog_type, made.attach_type = row.prog_type, row.attach_type
        self._declare(made, file, node)
        if row is None:
            self.diagnostics.append(
                at_node(file.path, file.lines, node, f"there is no kind of program for section {program.section!r}")
            )
        elif not made.wrong and not made.loads and made.prog_type != "BPF_PROG_TYPE_EXT":
            self._check_context(made, file, node)
        self._pending.append((made, file, node))

    def _report_not_a_def(self, function: Any) -> None:
        """For a function that is being handled as an error of its definition: UsageError when there is no source."""
        code = function.__code__
        lines = linecache.getlines(code.co_filename)
        if not lines:
            raise
        here = ast.Constant(None, lineno=code.co_firstlineno, col_offset=0)
        self.diagnostics.append(at_node(code.co_filename, lines, here, *not_a_def(code)))

    def _check_context(self, made: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        wanted = _context_of(made.prog_type)
        if len(made.params) != 1:
            if node.args.args and len(node.args.args) == 1:
                return  # its annotation was wrong
            self.diagnostics.append(
                at_node(file.path, file.lines, node, "a program has one parameter, its context", "def name(ctx: ...)")
            )
            return
        kind = made.params[0].type
        name = getattr(kind.target, "C_NAME", "") if isinstance(kind, RefT) else ""
        if made.prog_type in _TRACING:  # typed arguments are looked at elsewhere
            good = isinstance(kind, RefT) and kind.is_struct
        else:
            good = name == wanted
        if not good:
            self.diagnostics.append(
                at_node(
                    file.path, file.lines, node.args.args[0],
                    f"programs in {made.section} get a struct {wanted}, not {kind}",
                )
            )  # fmt: skip

    def idle(self, names: Mapping[str, Any]) -> list[FunctionType]:
        """Functions of the module that nothing calls though they are BPF's: by a mark (`@bpf.noinline` and so on), or
        by the types of all that they take and return. Others are for the import, or for user space."""
        return [
            value for value in dict.fromkeys(v for v in names.values() if isinstance(v, FunctionType))
            if value not in self._functions and value.__code__.co_filename == self.unit.path
            and (core.linkage_of(value) or (_looks_like_bpf(value) and not core.is_python_only(value)))
        ]

    def finish(self) -> tree.Unit:
        """Check everything that is reached. DialectError with all diagnostics."""
        while self._pending:
            function, file, node = self._pending.pop(0)
            if function.wrong:
                continue
            self.diagnostics += check_function(self, function, file, node)
        self._refuse_recursion()
        if self.diagnostics:
            raise DialectError(_sorted(self.diagnostics))
        return self.unit

    def _refuse_recursion(self) -> None:
        calls = {function.name: function for function in self.unit.functions}
        done: set[str] = set()

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                function = calls[name]
                file, node = definition(function.python)
                self.diagnostics.append(
                    at_node(file.path, file.lines, node, f"{name} calls itself ({' -> '.join((*above, name))})",
                            "BPF has no recursion: write a loop")
                )  # fmt: skip
                done.update(above)
            if name in done:
                return
            for callee in sorted(calls[name].calls):
                visit(callee, (*above, name))
            done.add(name)

        for name in list(calls):
            visit(name, ())


def loose_parameter(annotation: Any) -> Type | None:
    """What a kernel function takes that has no type in the dialect: memory of any kind, a map, a callback."""
    if annotation == helpers.Memory or annotation == helpers.Memory | None:
        return RefT(u8, "any", annotation != helpers.Memory)
    if isinstance(annotation, type) and issubclass(annotation, Map):
        return ObjectT(Map)
    if get_origin(annotation) is Callable:
        return ObjectT(annotation)
    return None


@lru_cache(maxsize=4096)
def _allowed(helper: str, prog_type: str, attach_type: str) -> bool:
    from bombus.spec.attachtypes import ATTACH_TYPE
    from bombus.spec.helpers import allowed
    from bombus.spec.progtypes import PROG_TYPE

    return allowed(helper, PROG_TYPE[prog_type].id, ATTACH_TYPE[attach_type].id if attach_type else 0)


def _section(name: str) -> Any:
    from bombus.spec.sections import resolve

    match = resolve(name.removeprefix("?"))
    return match.section if match is not None else None


def context_text(made: tree.Function) -> str:
    """The context class of a program, as users write it."""
    from bombus.compiler.bindings import class_name

    short = made.section.removeprefix("?").partition("/")[0].partition(".")[0]
    wanted = _context_of(made.prog_type) if made.prog_type else ""
    return f"{short}.Context" if short in ("xdp", "tc") else f"contexts.{class_name(wanted)}" if wanted else "u32"


def _context_of(prog_type: str) -> str:
    from bombus.spec.progtypes import PROG_TYPE

    return PROG_TYPE[prog_type].ctx


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
    idle = builder.idle(names)
    for marked in (True, False):
        functions = [function for function in idle if bool(core.linkage_of(function)) is marked]
        if functions:  # checked apart: they are no part of the object
            found = _check_apart(Builder(names, path, cpu=cpu), functions)
            problems += found if marked else [
                diagnostic if diagnostic.hint else replace(diagnostic, hint=_IDLE_HINT) for diagnostic in found
            ]
    if problems:
        raise DialectError(_sorted(problems))
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


def _looks_like_bpf(function: FunctionType) -> bool:
    """Whether all parameters and the result have types of the language, and one of them no other use."""
    try:
        kinds = inspect.get_annotations(function, eval_str=True)
    except Exception:  # whatever annotations of user space say
        return False
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
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


def named(names: Mapping[str, Any]) -> dict[int, str]:
    """Names by the identity of what they are bound to, the first one for each."""
    found: dict[int, str] = {}
    for name, value in names.items():
        if not (name.startswith("__") and name.endswith("__")):
            found.setdefault(id(value), name)
    return found


def _sorted(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each once, by file and place."""
    order = {path: i for i, path in enumerate(dict.fromkeys(d.path for d in found))}
    return tuple(sorted(dict.fromkeys(found), key=lambda d: (order[d.path], d.line, d.column)))


@contextmanager
def _collecting(problems: list[Diagnostic]) -> Iterator[None]:
    try:
        yield
    except DialectError as error:
        problems += error.diagnostics
