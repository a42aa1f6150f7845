"""Values of externs: kernel configuration, kernel symbols, kernel functions.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__resolve_externs, set_kcfg_value_str,
bpf_object__read_kallsyms_file).
"""

from __future__ import annotations

from typing import Protocol

from bombus.btf.corematch import Matcher
from bombus.btf.parse import Btf, essential_name
from bombus.btf.types import Array, Enum, Func, Int, Kind, Var
from bombus.errors import NotSupported, ObjectError
from bombus.kernel.api import Kernel
from bombus.kernel.handles.features import features
from bombus.object.model import Extern, Object
from bombus.object.relocate import Symbol
from bombus.spec.version import KernelVersion

_TRISTATE = {"n": 0, "y": 1, "m": 2}
_VIRTUAL = ("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER")


class Modules(Protocol):
    """Kernel modules as the loader's state knows them."""

    def modules(self) -> dict[str, Btf]: ...

    def module_fd(self, name: str) -> int: ...

    def module_index(self, name: str) -> int:
        """Its place in fd_array; 0 is vmlinux."""


def resolve(
    obj: Object, kernel: Kernel, vmlinux: Btf | None, modules: Modules
) -> tuple[dict[str, Symbol], bytes]:
    """Where every extern is found, and the contents of the .kconfig map.

    Raises ObjectError for a symbol that is not weak and not there, or of another type than the kernel's.
    """
    symbols: dict[str, Symbol] = {}
    config = [extern for extern in obj.externs if extern.kind == "kconfig"]
    values = bytearray(max((e.offset + e.size for e in config), default=0))
    if config:
        known = kernel.kconfig() if any(e.name not in _VIRTUAL for e in config) else {}
        for extern in config:
            value = _config_value(obj, extern, kernel, known)
            if value is not None:
                values[extern.offset : extern.offset + extern.size] = value
            symbols[extern.name] = Symbol("kconfig", extern.offset)
    wanted = {extern.name for extern in obj.externs if extern.kind == "ksym" and not extern.type}
    addresses = kernel.kallsyms(wanted) if wanted else {}
    for extern in obj.externs:
        if extern.kind == "kfunc":
            symbols[extern.name] = _typed(obj, extern, Kind.FUNC, vmlinux, modules)
        elif extern.kind == "ksym" and extern.type:
            symbols[extern.name] = _typed(obj, extern, Kind.VAR, vmlinux, modules)
        elif extern.kind == "ksym":
            if extern.name in addresses:
                symbols[extern.name] = Symbol("address", addresses[extern.name])
            else:
                symbols[extern.name] = _missing(extern, "the kernel has no such symbol")
    return symbols, bytes(values)


def _missing(extern: Extern, why: str) -> Symbol:
    if not extern.weak:
        raise ObjectError(f"extern {extern.kind} {extern.name!r}: {why}", symbol=extern.name)
    return Symbol("missing")


def _typed(obj: Object, extern: Extern, kind: Kind, vmlinux: Btf | None, modules: Modules) -> Symbol:
    """A variable or function that BTF describes: vmlinux's, or the first module's that has it."""
    name = essential_name(extern.name)
    what = "function" if kind is Kind.FUNC else "variable"
    found = vmlinux.find(name, kind) if vmlinux is not None else None
    btf, module = vmlinux, ""
    if found is None:
        for owner, types in modules.modules().items():
            found = next((i for i in types.find_all(name, kind) if i >= types.first_id), None)
            if found is not None:
                module, btf = owner, types
                break
        else:
            return _missing(extern, f"this kernel's BTF has no such {what}")
    assert btf is not None and obj.btf is not None and found is not None
    theirs = btf.type(found)
    assert isinstance(theirs, (Func, Var))
    if not Matcher(obj.btf, btf).types_compatible(obj.btf.resolve(extern.type), btf.resolve(theirs.type)):
        if kind is Kind.VAR:
            raise ObjectError(f"extern variable {extern.name!r} is of another type in this kernel", symbol=extern.name)
        return _missing(extern, "the function has other parameters in this kernel")
    fd = modules.module_fd(module) if module else 0
    if kind is Kind.VAR:
        return Symbol("btf", found, fd)
    return Symbol("kfunc", found, fd, modules.module_index(module) if module else 0)


def _config_value(obj: Object, extern: Extern, kernel: Kernel, known: dict[str, str]) -> bytes | None:
    """The bytes of one configuration value; None leaves zeros (weak and not set)."""
    if extern.name == "LINUX_KERNEL_VERSION":
        return kernel.version.code.to_bytes(extern.size, "little")
    if extern.name == "LINUX_HAS_BPF_COOKIE":
        return int(features(kernel).has("bpf_cookie")).to_bytes(extern.size, "little")
    if extern.name == "LINUX_HAS_SYSCALL_WRAPPER":
        return int(kernel.version >= KernelVersion(4, 17)).to_bytes(extern.size, "little")
    if not extern.name.startswith("CONFIG_"):
        if extern.name.startswith("LINUX_"):
            raise NotSupported(f"the virtual kconfig value {extern.name}")
        raise ObjectError(f"kconfig extern {extern.name!r} is neither CONFIG_ nor LINUX_", symbol=extern.name)
    text = known.get(extern.name)
    if text is None:
        if not extern.weak:
            raise ObjectError(f"the kernel's configuration does not say {extern.name}", symbol=extern.name)
        return None
    return _encode(obj, extern, text)


def _encode(obj: Object, extern: Extern, text: str) -> bytes:
    assert obj.btf is not None
    type_ = obj.btf.resolved(extern.type)

    def bad(what: str) -> ObjectError:
        return ObjectError(f"{extern.name}={text} {what}", symbol=extern.name)

    if text in _TRISTATE:
        if isinstance(type_, Int) and type_.boolean:
            if text == "m":
                raise bad("does not fit a bool")
            return _TRISTATE[text].to_bytes(extern.size, "little")
        if isinstance(type_, Int) and type_.size == 1:
            return text.encode()
        if isinstance(type_, Enum) and type_.name == "libbpf_tristate":
            return _TRISTATE[text].to_bytes(extern.size, "little")
        raise bad("does not fit the extern's type")
    if text.startswith('"'):
        if not isinstance(type_, Array) or not text.endswith('"'):
            raise bad("is a string, the extern is not")
        return text[1:-1].encode()[: extern.size - 1].ljust(extern.size, b"\0")
    if not isinstance(type_, Int) or type_.boolean:
        raise bad("is a number, the extern is not")
    try:
        number = int(text, 0)
        return number.to_bytes(extern.size, "little", signed=number < 0 or type_.signed)
    except (ValueError, OverflowError):
        raise bad(f"does not fit {extern.size} bytes") from None
