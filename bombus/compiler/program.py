"""A whole program: from the names of a Python module to a checked `tree.Unit`.

The module has been imported; its maps, globals, licence and decorated functions are taken from its names, other
functions when they are called.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import FunctionType
from typing import Any

from bombus.bpf import core
from bombus.bpf.maps import Map
from bombus.bpf.program import Program
from bombus.bpf.structops import StructOps, programs_of
from bombus.compiler import tree
from bombus.compiler.check import Checker, Wrong, check_function
from bombus.compiler.diagnostics import Diagnostic, at_node, in_order
from bombus.compiler.signature import check_ascii, check_context, check_kfunc, signature
from bombus.compiler.source import SourceFile, definition, not_a_def
from bombus.compiler.types import NONE, Type
from bombus.errors import DialectError, UsageError
from bombus.spec.helpers.model import Helper

# is_gpl_compatible of Linux 6.12 include/linux/license.h
_GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")

_OWN = ("LICENSE", "__zero")  # names that objects have of their own


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
            c.wrong(node, *(not_a_def(python.__code__) if known_text else (str(error), "define it with def in a file")))
        linkage = linkage or core.linkage_of(python) or "static"
        owner = core.struct_of(python)
        name = source.name if owner is None else f"{owner.__name__}_{source.name}"
        made = tree.Function(name, file.path, source.lineno, [], NONE, linkage, python=python)
        self._declare(made, file, source)
        if made.linkage != "kfunc":
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

    def _declare(self, made: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        taken = {function.name for function in self.unit.functions} | {*self.unit.maps, *self.unit.globals, *_OWN}
        first, count = made.name, 0
        if made.linkage == "kfunc" and made.name in taken:
            if all(f.linkage == "kfunc" for f in self.unit.functions if f.name == made.name):
                taken.clear()  # declared elsewhere too
            else:
                message = f"{made.name} is the name of a function of the program too"
                self.diagnostics.append(at_node(file.path, file.lines, node, message, "rename the other one"))
        while made.name in taken:
            made.name = f"{first}_{node.lineno}" + (f"_{count}" if count else "")
            count += 1
        self._functions[made.python] = made
        self.unit.functions.append(made)
        c = Checker(self, made, file, node)
        if not self.native:
            check_ascii(c, node)
        made.wrong = True
        with suppress(Wrong):
            signature(c, made, node)
            made.wrong = False
        if made.linkage == "kfunc":
            check_kfunc(c, made, node)
        elif made.prog_type and not made.wrong and not made.loads and made.prog_type != "BPF_PROG_TYPE_EXT":
            check_context(c, made, node)
        self.diagnostics += c.diagnostics

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
            message = f"there is no kind of program for section {program.section!r}"
            hint = "decorators such as @xdp know theirs"
            self.diagnostics.append(at_node(file.path, file.lines, node, message, hint))
        self._pending.append((made, file, node))

    def _report_not_a_def(self, function: Any) -> None:
        """For a function that is being handled as an error of its definition: UsageError when there is no source."""
        code = function.__code__
        lines = linecache.getlines(code.co_filename)
        if not lines:
            raise
        here = ast.Constant(None, lineno=code.co_firstlineno, col_offset=0)
        self.diagnostics.append(at_node(code.co_filename, lines, here, *not_a_def(code)))

    def has(self, function: FunctionType) -> bool:
        """Is a function part of the program?"""
        return function in self._functions

    def finish(self) -> tree.Unit:
        """Check everything that is reached. DialectError with all diagnostics."""
        while self._pending:
            function, file, node = self._pending.pop(0)
            if function.wrong:
                continue
            self.diagnostics += check_function(self, function, file, node)
        self._refuse_recursion()
        if self.diagnostics:
            raise DialectError(in_order(self.diagnostics))
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


def named(names: Mapping[str, Any]) -> dict[int, str]:
    """Names by the identity of what they are bound to, the first one for each."""
    found: dict[int, str] = {}
    for name, value in names.items():
        if not (name.startswith("__") and name.endswith("__")):
            found.setdefault(id(value), name)
    return found
