"""The third reading: functions of the dialect as native code.

    fast = native(siphash)
    fast(u64(1), u64(8))          # as siphash(u64(1), u64(8)), and the same result

For functions without helpers, maps and packets: integers, structs by reference, arrays, memory at addresses, atomics,
other such functions. Variables of functions around them are constants of the code, so one function makes code for each
key size:

    def make(size: int) -> Callable[[Key], u32]:
        def hash_key(key: Key) -> u32:
            for i in bpf.unroll(range(size)): ...
        return hash_key

`module_text` gives LLVM IR for other modules to take in. Functions that are declared with @bpf.kfunc are symbols which
the taker provides.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, Final

from bombus.bpf import core
from bombus.bpf.layout import align_of
from bombus.bpf.struct import View
from bombus.compiler import tree
from bombus.compiler.debuginfo import NoDebugInfo
from bombus.compiler.module import ModuleText, bytes_text
from bombus.compiler.program import Builder
from bombus.compiler.source import definition, names_of
from bombus.compiler.types import BOOL, NONE, IntT, RefT, Type
from bombus.compiler.writer import extension, type_text
from bombus.errors import CodegenError, NotSupported, UsageError

_C: Final = {
    (8, False): ctypes.c_uint8, (16, False): ctypes.c_uint16, (32, False): ctypes.c_uint32,
    (64, False): ctypes.c_uint64, (8, True): ctypes.c_int8, (16, True): ctypes.c_int16, (32, True): ctypes.c_int32,
    (64, True): ctypes.c_int64,
}  # fmt: skip
LINKAGES: Final = ("external", "internal", "linkonce_odr", "private", "weak", "weak_odr")

# ------------------------------------------------------------------------------------------------ text


@dataclass(frozen=True, slots=True)
class HostText:
    """A module in pieces, to be put together with others.

    names: of the wanted functions; head: types, constants and globals; definitions: the functions; declarations: what
    they call, one line each (several texts may have the same ones).
    """

    names: tuple[str, ...]
    head: str
    definitions: str
    declarations: frozenset[str]
    layout: str
    triple: str

    def __str__(self) -> str:
        """A whole module."""
        start = [f'target datalayout = "{self.layout}"', f'target triple = "{self.triple}"']
        return "\n".join([*start, self.head, self.definitions, *sorted(self.declarations), ""])


class _HostModule(ModuleText):
    """Writes functions for a machine that is not BPF."""

    native = True

    def __init__(self, unit: tree.Unit, layout: str, triple: str, prefix: str) -> None:
        super().__init__(unit, "bpfel", "")
        self.layout, self.triple, self.prefix = layout, triple, prefix
        self.big = layout.startswith("E")
        self.debug = NoDebugInfo(unit.path)
        self.wanted: dict[int, tuple[str, str]] = {}  # id of a function: linkage, attributes

    def linkage(self, function: tree.Function) -> str:
        return self.wanted.get(id(function), ("internal", ""))[0]

    def attributes(self, function: tree.Function) -> str:
        return self.wanted.get(id(function), ("", super().attributes(function)))[1]


    def parts(self, names: tuple[str, ...]) -> HostText:
        unit = self.unit
        for row in unit.globals.values():
            if row.name not in self.addresses:
                zero = "zeroinitializer" if not any(row.initial) else bytes_text(row.initial)
                size, alignment = len(row.initial), align_of(row.kind)
                self.head.append(
                    f"@{self.prefix}{row.name} = internal global [{size} x i8] {zero}, align {max(alignment, 8)}"
                )
        for function in unit.functions:
            if function.linkage == "kfunc":
                params = ", ".join(f"{type_text(p.type)} {extension(p.type)}".strip() for p in function.params)
                result = f"{extension(function.result)}{type_text(function.result)}"
                self.declare(f"{result} @{function.name}({params})")
        definitions = "\n".join(self.bodies())
        return HostText(
            names, "\n".join(self.head), definitions, frozenset(self.declared), self.layout, self.triple
        )


def module_parts(
    functions: Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]],
    *,
    linkage: str = "external",
    attributes: str = "",
    prefix: str = "",
    layout: str = "",
    triple: str = "",
    globals_at: Mapping[str, int] | None = None,
) -> HostText:
    """Functions of the dialect as LLVM IR, in pieces (see `module_text`)."""
    named = dict(functions) if isinstance(functions, Mapping) else {f.__name__: f for f in _checked(functions)}
    if linkage not in LINKAGES:
        raise UsageError(f"{linkage!r} is no linkage: {', '.join(LINKAGES)} are")
    unit, made = _check(named)
    if not (layout and triple):
        machine_layout, machine_triple = _host()
        layout, triple = layout or machine_layout, triple or machine_triple
    text = _HostModule(unit, layout, triple, prefix)
    text.addresses = {name: at for name, at in (globals_at or {}).items() if name in unit.globals}
    rename(unit, made, prefix)
    text.wanted = {id(f): ("" if linkage == "external" else linkage, attributes) for f in made.values()}
    return text.parts(tuple(made))


def module_text(
    functions: Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]],
    *,
    linkage: str = "external",
    attributes: str = "",
    prefix: str = "",
    layout: str = "",
    triple: str = "",
    globals_at: Mapping[str, int] | None = None,
) -> str:
    """Functions of the dialect as the text of an LLVM module, to be compiled or linked into another one.

    functions: the wanted ones, by the names that they get (or in a row, with their own names). One function with other
    variables around it, such as another key size, is another function. What they call is in the module too, internal,
    under `prefix` and its name; globals likewise, unless `globals_at` says where their memory is.

    linkage: of the wanted functions ("linkonce_odr" for bodies that are to be inlined); attributes: more LLVM
    attributes for them ("alwaysinline"). layout, triple: of the machine; this one when not given.

    References are `ptr` parameters, u8 to s64 are i8 to i64 (narrow ones zeroext or signext), bool is i1.

    DialectError with all that is wrong, NotSupported for what only the kernel has (helpers, maps, packets).
    """
    return str(module_parts(
        functions, linkage=linkage, attributes=attributes, prefix=prefix, layout=layout, triple=triple,
        globals_at=globals_at,
    ))  # fmt: skip


def _checked(functions: Iterable[Callable[..., Any]]) -> list[Callable[..., Any]]:
    given = list(functions)
    names = [getattr(function, "__name__", "?") for function in given]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two functions are called {name}; give them names: {{name: function, ...}}")
    return given


def _check(
    named: Mapping[str, Callable[..., Any]], names: Mapping[str, Any] | None = None
) -> tuple[tree.Unit, dict[str, tree.Function]]:
    """Check functions as one unit. The result has them by their wanted names."""
    if not named:
        raise UsageError("no function is given")
    builder: Builder | None = None
    made: dict[str, tree.Function] = {}
    for name, function in named.items():
        if not isinstance(function, FunctionType):
            raise UsageError(f"{name} is a {type(function).__name__}; functions are compiled")
        file, node = definition(function)
        builder = builder or Builder({}, file.path, native=True)
        builder.name_all(names if names is not None else names_of(function))
        made[name] = builder.function(function, None, node)
    assert builder is not None
    unit = builder.finish()
    if unit.maps:
        raise NotSupported("maps in native code", f"{next(iter(made.values())).name} uses {', '.join(unit.maps)}")
    for function_tree in made.values():
        for kind in (function_tree.result, *(p.type for p in function_tree.params)):
            if not (isinstance(kind, (IntT, RefT)) or kind in (BOOL, NONE)):
                raise NotSupported("this signature in native code", f"{function_tree.name} has {kind} in it")
    return unit, made


def rename(unit: tree.Unit, made: Mapping[str, tree.Function], prefix: str) -> None:
    """Give the wanted functions their names and the others the prefix."""
    names = {id(function): name for name, function in made.items()}
    taken = set(names.values())
    if len(names) != len(made):
        raise UsageError("one function is given twice")
    for function in unit.functions:
        if function.linkage == "kfunc":
            continue
        wanted = names.get(id(function))
        name = wanted if wanted is not None else f"{prefix}{function.name}"
        count = 0
        while wanted is None and name in taken:
            count += 1
            name = f"{prefix}{function.name}.{count}"
        taken.add(name)
        function.name = name


@cache
def _llvm() -> Any:
    try:
        import llvmlite.binding as llvm  # type: ignore[import-untyped]
    except ImportError:
        raise NotSupported("native code", "it needs llvmlite: pip install bombus[py]") from None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _machine() -> Any:
    llvm = _llvm()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )


@cache
def _host() -> tuple[str, str]:
    """Layout and triple of this machine."""
    machine = _machine()
    return str(machine.target_data), str(machine.triple)


# ------------------------------------------------------------------------------------------------ code


class Native:
    """A compiled function. Integers are given as themselves or plain ints that fit, structs as views."""

    def __init__(self, function: tree.Function, address: int, keep: object) -> None:
        self.name = function.name
        self.address = address
        self._keep = keep
        self._params = [parameter.type for parameter in function.params]
        self._result = function.result
        if isinstance(self._result, RefT):
            raise NotSupported("this signature in native code", f"{function.name} returns {function.result}")
        kinds = [_ctype(kind) for kind in self._params]
        self._call = ctypes.CFUNCTYPE(_ctype(self._result), *kinds)(address)

    def __call__(self, *args: Any) -> Any:
        if len(args) != len(self._params):
            raise UsageError(f"{self.name} takes {len(self._params)} arguments, not {len(args)}")
        result = self._call(*(_argument(kind, arg, self.name) for kind, arg in zip(self._params, args, strict=True)))
        if isinstance(self._result, IntT):
            raw = int(result)
            if self._result.kind.NETWORK:
                return self._result.kind.from_bytes(raw.to_bytes(self._result.kind.SIZE, "little"))
            return self._result.kind._make(raw)
        return None if self._result == NONE else bool(result)


def _ctype(kind: Type) -> Any:
    if isinstance(kind, IntT):
        return _C[kind.bits, kind.signed]
    if kind == BOOL:
        return ctypes.c_bool
    if isinstance(kind, RefT):
        return ctypes.c_void_p
    return None


def _argument(kind: Type, value: Any, name: str) -> Any:
    if isinstance(kind, RefT):
        if value is None and kind.nullable:
            return None
        if not isinstance(value, View):
            raise UsageError(f"{name} takes a {kind}, not {type(value).__name__}")
        return value._address or ctypes.addressof(ctypes.c_char.from_buffer(value._view))
    if isinstance(kind, IntT):
        if type(value) is int and kind.kind.MIN <= value <= kind.kind.MAX:
            value = kind.kind(value)
        if type(value) is not kind.kind:
            raise UsageError(f"{name} takes {kind}, not {type(value).__name__}")
        return int.from_bytes(bytes(value), "little") if kind.kind.NETWORK else int(value)
    return bool(value)


def native(function: Callable[..., Any], names: Mapping[str, Any] | None = None) -> Native:
    """Compile a function for this machine. Its globals are those that plain Python sees.

    DialectError with all that is wrong in it, NotSupported for what only the kernel has (helpers, maps, packets).
    """
    if not isinstance(function, FunctionType):
        raise UsageError("native(...) takes a function")
    return native_module({function.__name__: function}, names)[function.__name__]


def native_module(
    functions: Mapping[str, Callable[..., Any]], names: Mapping[str, Any] | None = None
) -> dict[str, Native]:
    """Compile functions for this machine as one module."""
    unit, made = _check(functions, names)
    layout, triple = _host()
    text = _HostModule(unit, layout, triple, "")
    for row in core.GLOBALS.values():
        name = next((n for n, g in unit.globals.items() if g.view is row.view), None)
        if name is not None:
            text.addresses[name] = ctypes.addressof(ctypes.c_char.from_buffer(row.view._view))
    rename(unit, made, "")
    text.wanted = {id(function): ("", "") for function in made.values()}
    engine = _engine(str(text.parts(tuple(made))))
    return {name: Native(function, engine.get_function_address(name), engine) for name, function in made.items()}


_ENGINES: dict[str, Any] = {}
_KEPT: Final = 256


def _engine(text: str) -> Any:
    """The machine code of a module; a text that was compiled before is not compiled again."""
    known = _ENGINES.get(text)
    if known is not None:
        return known
    llvm = _llvm()
    machine = _machine()
    try:
        module = llvm.parse_assembly(text)
        module.verify()
        optimise(module, machine)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
    except RuntimeError as error:
        raise CodegenError("LLVM refuses the module", log=str(error)) from None
    if len(_ENGINES) >= _KEPT:
        _ENGINES.pop(next(iter(_ENGINES)))
    _ENGINES[text] = engine
    return engine


def optimise(module: Any, machine: Any) -> None:
    """LLVM's -O2 with its vectorisers, on a parsed module."""
    llvm = _llvm()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
