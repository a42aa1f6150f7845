"""What a load knows between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bombus.btf.core import Resolver, Result
from bombus.btf.parse import Btf
from bombus.errors import NotSupported, ObjectError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Btf as BtfHandle
from bombus.kernel.handles import Map, Program, ids
from bombus.loader.btfcache import vmlinux_of
from bombus.loader.signing import Sign
from bombus.loader.structops import StructOps
from bombus.object.model import Function, MapSpec, Object, ProgramSpec
from bombus.object.relocate import Flat, Symbol


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller chose.

    btf: the kernel's BTF for CO-RE instead of the kernel's own; programs: names to load (None: those that load by
    default); max_entries: other sizes by map name; data: contents of data sections (".rodata") or values of their
    variables by name; pin_root: the directory for maps that are pinned by name ("": they are made anew and not
    pinned); prog_type: for sections that say nothing; reuse: maps to use instead of making them, which stay the
    caller's; log_level: of BPF_PROG_LOAD; targets: for freplace, fentry and fexit of BPF programs by program name, the
    program (and function) that they attach to; autoload: programs to load although their section starts with "?", or
    not to; autoattach: programs and struct_ops maps that `Loaded.attach` leaves out (False); pins: paths by map, which
    is found there or pinned there; device: an interface that runs the programs and keeps the maps itself (offload): its
    name or number; sign: makes a signature of a program's instructions (`signing.Signer`); keyring: who may have made
    it, a name of `signing.KEYRINGS` or a serial number (Linux 6.18); fields: more of BPF_PROG_LOAD's attr by program
    (fd_array, ...).
    """

    btf: Btf | bytes | None = None
    programs: Sequence[str] | None = None
    max_entries: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    pin_root: str = "/sys/fs/bpf"
    prog_type: str = ""
    reuse: Mapping[str, Map] = field(default_factory=dict)
    log_level: int = 0
    targets: Mapping[str, Program | tuple[Program, str]] = field(default_factory=dict)
    autoload: Mapping[str, bool] = field(default_factory=dict)
    autoattach: Mapping[str, bool] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    device: str | int = 0
    sign: Sign | None = None
    keyring: str | int = "session"
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Filled in by the passes, in order."""

    obj: Object
    kernel: Kernel
    options: Options
    chosen: list[ProgramSpec] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)
    core: dict[str, list[Result]] = field(default_factory=dict)
    btf: BtfHandle | None = None
    func_info: bool = True  # whether the kernel takes records of functions
    types: Btf | None = None  # the object's BTF with externs as plain variables
    symbols: dict[str, Symbol] = field(default_factory=dict)
    kconfig: bytes = b""
    specs: dict[str, MapSpec] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)
    arenas: dict[str, memoryview] = field(default_factory=dict)
    flat: dict[str, Flat] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    struct_ops: dict[str, StructOps] = field(default_factory=dict)
    members: dict[str, tuple[StructOps, int]] = field(default_factory=dict)  # of struct_ops, by program
    shared: dict[str, Any] = field(default_factory=dict)  # what attachments of the object keep together
    links: list[Any] = field(default_factory=list)
    fd_array: dict[str, int] = field(default_factory=dict)  # modules whose functions programs call
    module_btf: dict[str, BtfHandle] = field(default_factory=dict)
    _modules: dict[str, Btf] | None = None
    _vmlinux: Btf | None = None
    _asked: bool = False

    def vmlinux(self) -> Btf | None:
        """The kernel's BTF, given or its own; None when there is none."""
        if not self._asked:
            self._asked = True
            given = self.options.btf
            if given is not None:
                self._vmlinux = given if isinstance(given, Btf) else Btf.parse(given)
            else:
                try:
                    self._vmlinux = vmlinux_of(self.kernel)
                except NotSupported:
                    self._vmlinux = None
        return self._vmlinux

    def resolver(self) -> Resolver | None:
        """Resolves CO-RE relocations of this object; None when it has no BTF."""
        if self.obj.btf is None:
            return None
        vmlinux = self.vmlinux()
        targets = [vmlinux] if vmlinux is not None else []
        if self.options.btf is None:
            targets += self.modules().values()
        return Resolver(self.obj.btf, targets)

    def modules(self) -> dict[str, Btf]:
        """BTF of loaded kernel modules by name."""
        if self._modules is None:
            vmlinux = self.vmlinux()
            found = self.kernel.module_btf() if vmlinux is not None else {}
            self._modules = {name: Btf.parse(raw, vmlinux) for name, raw in found.items()}
        return self._modules

    def module_fd(self, name: str) -> int:
        """A descriptor of a module's BTF, open as long as the state. ObjectError when it is gone."""
        if name not in self.module_btf:
            for number in ids(self.kernel, "btf"):
                handle = BtfHandle.from_id(self.kernel, number)
                if handle.name == name:
                    self.module_btf[name] = handle
                    break
                handle.close()
            else:
                raise ObjectError(f"the kernel module {name!r} is gone")
        return self.module_btf[name].fd

    def module_index(self, name: str) -> int:
        """The place of a module's BTF in the fd_array that programs are loaded with; 0 there is vmlinux."""
        if name not in self.fd_array:
            self.fd_array[name] = self.module_fd(name)
        return list(self.fd_array).index(name) + 1

    def close(self) -> None:
        for link in reversed(self.links):
            link.close()
        self.links.clear()
        self.arenas.clear()
        given = {id(item) for item in self.options.reuse.values()}
        for handle in (*self.programs.values(), *self.maps.values()):
            if id(handle) not in given:
                handle.close()
        for module in self.module_btf.values():
            module.close()
        self.module_btf.clear()
        if self.btf is not None:
            self.btf.close()
