"""The third reading: functions of the dialect as native code of this machine, in this process.

    fast = native(siphash)
    fast(u64(1), u64(8))          # as siphash(u64(1), u64(8)), and the same result

For functions without helpers, maps and packets: integers, structs by reference, arrays, atomics, other such functions.
Variables of functions around them are constants of the code, so one function makes code for each key size:

    def make(size: int) -> Callable[[Key], u32]:
        def hash_key(key: Key) -> u32:
            for i in range(size): ...
        return hash_key
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from bombus.bpf.struct import View
from bombus.compiler import tree
from bombus.compiler.module import ModuleText
from bombus.compiler.program import Builder
from bombus.compiler.source import definition, names_of
from bombus.compiler.types import BOOL, NONE, IntT, RefT, Type
from bombus.errors import CodegenError, NotSupported, UsageError

_C: Final = {
    (8, False): ctypes.c_uint8, (16, False): ctypes.c_uint16, (32, False): ctypes.c_uint32,
    (64, False): ctypes.c_uint64, (8, True): ctypes.c_int8, (16, True): ctypes.c_int16, (32, True): ctypes.c_int32,
    (64, True): ctypes.c_int64,
}  # fmt: skip


class Native:
    """A compiled function. Integers are given as themselves or plain ints that fit, structs as views."""

    def __init__(self, function: tree.Function, address: int, keep: object) -> None:
        self.name = function.name
        self.address = address
        self._keep = keep
        self._params = [parameter.type for parameter in function.params]
        self._result = function.result
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
    """Compile a function for this machine.

    DialectError with all that is wrong in it, NotSupported for what only the kernel has (helpers, maps, packets).
    """
    if not isinstance(function, FunctionType):
        raise UsageError("native(...) takes a function")
    file, node = definition(function)
    known = names if names is not None else names_of(function)
    builder = Builder({}, file.path)
    builder.name_all(known)
    made = builder.function(function, None, node)
    unit = builder.finish()
    if unit.maps:
        raise NotSupported("maps in native code", f"{made.name} uses {', '.join(unit.maps)}")
    return _compile(unit, made)


def _compile(unit: tree.Unit, function: tree.Function) -> Native:
    try:
        import llvmlite.binding as llvm  # type: ignore[import-untyped]
    except ImportError:
        raise NotSupported("native code", "it needs llvmlite: pip install bombus[py]") from None
    params = [parameter.type for parameter in function.params]
    if not (_result_fits(function.result) and all(_result_fits(kind) or isinstance(kind, RefT) for kind in params)):
        raise NotSupported("this signature in native code", f"{function.name} returns {function.result}")
    function.linkage = "global"
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )
    text = ModuleText(unit, "host", "", layout=str(machine.target_data), triple=machine.triple).text()
    try:
        module = llvm.parse_assembly(text)
        module.verify()
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
    except RuntimeError as error:
        raise CodegenError("LLVM refuses the module", log=str(error)) from None
    return Native(function, engine.get_function_address(function.name), engine)


def _result_fits(kind: Type) -> bool:
    return isinstance(kind, IntT) or kind in (BOOL, NONE)
