"""What a load knows between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bombus.btf.parse import Btf
from bombus.errors import NotSupported, ObjectError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Btf as BtfHandle
from bombus.kernel.handles import Map, Program, ids
from bombus.object.model import Function, MapSpec, Object, ProgramSpec
from bombus.object.relocate import Flat, Symbol

if TYPE_CHECKING:
    from bombus.btf.core import Resolver, Result
    from bombus.loader.signing import Sign
    from bombus.loader.structops import StructOps


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
    name or number; bound: an interface that XDP programs are only for, so that they may read its driver's metadata
    (Linux 6.3); sign: makes a signature of a program's instructions (`signing.Signer`); keyring: who may have made
    it, a name of `signing.KEYRINGS` or a serial number (Linux 6.18); fields: more of BPF_PROG_LOAD's attr by program
    (fd_array, ...).
    """

    def __init__(
        self, *, btf: Btf | bytes | None = None, programs: Sequence[str] | None = None,
        max_entries: Mapping[str, int] | None = None, data: Mapping[str, Any] | None = None,
        pin_root: str = "/sys/fs/bpf", prog_type: str = "", reuse: Mapping[str, Map] | None = None, log_level: int = 0,
        targets: Mapping[str, Program | tuple[Program, str]] | None = None,
        autoload: Mapping[str, bool] | None = None, autoattach: Mapping[str, bool] | None = None,
        pins: Mapping[str, str] | None = None, device: str | int = 0, bound: str | int = 0,
        sign: Sign | None = None, keyring: str | int = "session", fields: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.btf = btf
        self.programs = programs
        self.max_entries = max_entries or {}
        self.data = data or {}
        self.pin_root = pin_root
        self.prog_type = prog_type
        self.reuse = reuse or {}
        self.log_level = log_level
        self.targets = targets or {}
        self.autoload = autoload or {}
        self.autoattach = autoattach or {}
        self.pins = pins or {}
        self.device = device
        self.bound = bound
        self.sign = sign
        self.keyring = keyring
        self.fields = fields or {}


class State:
    """Filled in by the passes, in order.

    func_info: whether the kernel takes records of functions. types: the object's BTF with externs as plain variables.
    members: of struct_ops, by program. shared: what attachments of the object keep together. fd_array: modules whose
    functions programs call.
    """

    def __init__(self, obj: Object, kernel: Kernel, options: Options) -> None:
        self.obj = obj
        self.kernel = kernel
        self.options = options
        self.chosen: list[ProgramSpec] = []
        self.functions: dict[str, Function] = {}
        self.core: dict[str, list[Result]] = {}
        self.btf: BtfHandle | None = None
        self.func_info = True
        self.types: Btf | None = None
        self.symbols: dict[str, Symbol] = {}
        self.kconfig = b""
        self.specs: dict[str, MapSpec] = {}
        self.maps: dict[str, Map] = {}
        self.arenas: dict[str, memoryview] = {}
        self.flat: dict[str, Flat] = {}
        self.programs: dict[str, Program] = {}
        self.struct_ops: dict[str, StructOps] = {}
        self.members: dict[str, tuple[StructOps, int]] = {}
        self.shared: dict[str, Any] = {}
        self.links: list[Any] = []
        self.fd_array: dict[str, int] = {}
        self.module_btf: dict[str, BtfHandle] = {}
        self._modules: dict[str, Btf] | None = None
        self._vmlinux: Btf | None = None
        self._asked = False

    def vmlinux(self) -> Btf | None:
        """The kernel's BTF, given or its own; None when there is none."""
        if not self._asked:
            self._asked = True
            given = self.options.btf
            if given is not None:
                self._vmlinux = given if isinstance(given, Btf) else Btf.parse(given)
            else:
                from bombus.loader.btfcache import vmlinux_of

                try:
                    self._vmlinux = vmlinux_of(self.kernel)
                except NotSupported:
                    self._vmlinux = None
        return self._vmlinux

    def resolver(self) -> Resolver | None:
        """Resolves CO-RE relocations of this object; None when it has no BTF."""
        if self.obj.btf is None:
            return None
        from bombus.btf.core import Resolver

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
