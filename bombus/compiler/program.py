"""A whole program: from the names of a Python module to a checked `tree.Unit`.

The module has been imported; its maps, globals, licence and decorated functions are taken from its names, other
functions when they are called.
"""

from __future__ import annotations

import ast
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, get_origin

from bombus.bpf import core, helpers
from bombus.bpf.context import Context
from bombus.bpf.contexts import PtRegs
from bombus.bpf.ints import u8
from bombus.bpf.map import Map
from bombus.bpf.program import Program
from bombus.bpf.structops import StructOps, programs_of
from bombus.bpf.tracing import Arguments
from bombus.compiler import tree
from bombus.compiler.check import Checker, Wrong, check_function
from bombus.compiler.diagnostics import Diagnostic, at_node
from bombus.compiler.programargs import place_arguments
from bombus.compiler.source import SourceFile, definition
from bombus.compiler.types import BOOL, NONE, IntT, ObjectT, RefT, Type
from bombus.errors import BombusError, DialectError, UsageError
from bombus.spec.helpers.model import Helper

if TYPE_CHECKING:
    import traceback

# is_gpl_compatible of Linux 6.12 include/linux/license.h
_GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
_TRACING = frozenset({"BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_RAW_TRACEPOINT",
                      "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_EXT",
                      "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_SYSCALL"})  # fmt: skip


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
        self._names = {id(value): name for name, value in names.items() if not name.startswith("__")}
        self._functions: dict[FunctionType, tree.Function] = {}
        self._pending: list[tuple[tree.Function, SourceFile, ast.FunctionDef]] = []
        self._kernel_functions: dict[str, tree.Function] = {}
        licenses = [value for value in names.values() if isinstance(value, core.License)]
        self.unit.license = licenses[0].text if licenses else ""
        for value in names.values():
            if isinstance(value, Map):
                self._map(value)
            elif id(value) in core.GLOBALS and core.GLOBALS[id(value)].view is value:
                self._global(value)

    def name_all(self, names: Mapping[str, Any]) -> None:
        """More names by which globals and maps are known; only those that are used are declared."""
        self._names |= {id(value): name for name, value in names.items() if not name.startswith("__")}

    # What the checker asks for

    def global_name(self, value: Any, node: ast.AST, c: Checker) -> str:
        self._learn(value, c)
        if id(value) not in self._names:
            c.wrong(node, "this global has no name of its own", "declare it at module level: name = bpf.var(...)")
        return self._global(value)

    def _global(self, value: Any) -> str:
        row = core.GLOBALS[id(value)]
        name = self._names[id(value)]
        count = 1
        while name in self.unit.globals and self.unit.globals[name].view is not value:  # of another module
            count += 1
            name = f"{self._names[id(value)]}_{count}"
        self._refuse_name(name, "global")
        self.unit.globals[name] = tree.GlobalVariable(name, row.type, row.initial, row.config, row.view)
        return name

    def _learn(self, value: Any, c: Checker) -> None:
        """The name of a global or map of another module, which a function of that module uses."""
        if id(value) not in self._names:
            self._names |= {id(value): name for name, known in c.names.items() if known is value}

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
        name = self._names[id(value)]
        count = 1
        while name in self.unit.maps and self.unit.maps[name].map is not value:
            count += 1
            name = f"{self._names[id(value)]}_{count}"
        self._refuse_name(name, "map")
        self.unit.maps[name] = tree.MapVariable(name, value)
        return name

    def _refuse_name(self, name: str, what: str) -> None:
        if not name.isascii() and not self.native:
            path = self.unit.path
            lines = linecache.getlines(path)
            line = next((i for i, text in enumerate(lines, 1) if text.startswith(name)), 1)
            here = ast.Constant(None, lineno=line, col_offset=0, end_lineno=line, end_col_offset=len(name.encode()))
            message = f"{name}: names of {what}s are ASCII in BPF objects"
            found = at_node(path, lines, here, message, "use a-z, A-Z, 0-9 and _")
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
                raise
            c.wrong(node, str(error))
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
            self._kernel_functions[name] = known = declared[0] if declared else known
            if not declared:
                self.unit.functions.append(known)
        return known

    def _check_kfunc(self, made: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        if made.name.startswith(_OBJECTS):
            message = f"{made.name}: objects that programs allocate are not part of the language"
            hint = "keep them in a map, or in an arena (map.arena)"
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
        taken = {function.name for function in self.unit.functions}
        count = 0
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
        for part in (args.vararg, args.kwarg, *args.posonlyargs, *args.kwonlyargs):
            if part is not None:
                c.wrong(part, "a function has plain parameters only", f"def {node.name}(a: u32, b: u32)")
        if args.defaults:
            c.wrong(args.defaults[0], "parameters have no default values", "pass every argument")
        program = made.linkage == "program"
        for arg in args.args:
            if arg.annotation is None:
                c.wrong(arg, f"{arg.arg} has no type", f"annotate it: {arg.arg}: u32")
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

    def add_program(self, program: Program[Any, Any]) -> None:
        try:
            file, node = definition(program.function)  # type: ignore[arg-type]
        except UsageError:
            code = program.function.__code__
            lines = linecache.getlines(code.co_filename)
            if not lines:
                raise
            here = ast.Constant(None, lineno=code.co_firstlineno, col_offset=0)
            what = "a lambda" if code.co_name == "<lambda>" else "no plain function"
            self.diagnostics.append(
                at_node(code.co_filename, lines, here, f"{code.co_name} is {what}", "define it with `def`")
            )
            return
        made = tree.Function(
            node.name, file.path, node.lineno, [], NONE, "program", program.section, python=program.function
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
        """Functions of the module that nothing calls though they are marked as BPF's (`@bpf.noinline` and so on).
        Others may be meant for the import, or for user space."""
        return [
            value for value in dict.fromkeys(v for v in names.values() if isinstance(v, FunctionType))
            if core.linkage_of(value) and value not in self._functions
            and value.__code__.co_filename == self.unit.path
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


def _context_of(prog_type: str) -> str:
    from bombus.spec.progtypes import PROG_TYPE

    return PROG_TYPE[prog_type].ctx


def check_names(names: Mapping[str, Any], path: str, *, cpu: str = "v3") -> tree.Unit:
    """Check the programs among the names of a module. DialectError, UsageError when there is none."""
    ops = {name: value for name, value in names.items() if isinstance(value, StructOps)}
    found = [value for value in names.values() if isinstance(value, Program)]
    programs = list(dict.fromkeys([*found, *(p for value in ops.values() for p in programs_of(value).values())]))
    if not programs:
        raise UsageError(f"{path}: there is no program in it; decorate a function, for example with @xdp")
    builder = Builder(names, path, cpu=cpu)
    for program in programs:
        builder.add_program(program)
    for name, value in ops.items():
        builder.add_ops(name, value)
    problems: list[Diagnostic] = []
    with _collecting(problems):
        builder.finish()
    idle = builder.idle(names)
    if idle:  # checked apart: they are no part of the object
        apart = Builder(names, path, cpu=cpu)
        apart.unit.license = builder.unit.license
        with _collecting(problems):
            for function in idle:
                apart.function(function, None, ast.Pass())
            apart.finish()
    if problems:
        raise DialectError(_sorted(problems))
    return builder.unit


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


def import_file(path: str) -> ModuleType:
    """Run a program file as a module of its own. DialectError for what bombus.bpf refuses while it runs.

    As for a script, modules beside it can be imported; they are its own: another program's may have the same names.
    """
    path = os.path.abspath(path)  # as tracebacks and line information name it
    name = "bombus_program_" + "".join(ch if ch.isalnum() else "_" for ch in Path(path).stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(path)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        with_place(path, lambda: spec.loader.exec_module(module))
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        for other in set(sys.modules) - before:
            if _lies_in(sys.modules[other], folder):
                del sys.modules[other]
    return module


def _lies_in(module: Any, folder: str) -> bool:
    """Whether a module (or a package of several files) was imported from a folder, and is no installed one."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(folder + os.sep) and "site-packages" not in file


def import_source(text: str, path: str = "<program>") -> ModuleType:
    """As `import_file` for a text; `path` is what messages call it."""
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    name = f"bombus_program_{abs(hash((text, path)))}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    with_place(path, lambda: exec(compile(text, path, "exec"), module.__dict__))
    return module


def with_place(path: str, run: Any) -> None:
    """Run a program file; what goes wrong in it becomes a diagnostic at its line."""
    try:
        run()
    except SyntaxError as error:
        if error.filename != path:
            raise
        lines = linecache.getlines(path)
        line, column = error.lineno or 1, error.offset or 1
        text = lines[line - 1].rstrip("\n") if 0 < line <= len(lines) else ""
        end = error.end_offset or column + 1
        raise DialectError((Diagnostic(path, line, column, end, error.msg, "", text),)) from None
    except DialectError:
        raise
    except Exception as error:  # the program's own, or what bombus.bpf refuses
        import traceback

        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        if not frames:
            raise
        message = str(error) if isinstance(error, BombusError) else f"{type(error).__name__}: {error}"
        lines = linecache.getlines(path)
        node = _member_of_class(lines, frames[-1].lineno or 1, message) or _frame_node(frames[-1])
        raise DialectError((at_node(path, lines, node, message),)) from error


def _frame_node(frame: traceback.FrameSummary) -> ast.AST:
    """The piece of source that a frame was in."""
    node = ast.Constant(None)
    node.lineno, node.col_offset = frame.lineno or 1, frame.colno or 0
    node.end_lineno, node.end_col_offset = frame.end_lineno, frame.end_colno
    return node


def _member_of_class(lines: list[str], line: int, message: str) -> ast.AST | None:
    """The member that an error about a struct ("Flow.ports: ...", "ports: ...") speaks of."""
    name = message.partition(":")[0].rpartition(".")[2]
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.ClassDef) and node.lineno == line:
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id == name:
                    return part
    return None
