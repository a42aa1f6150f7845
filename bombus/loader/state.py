"""What a load knows between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bombus.btf.core import Resolver, Result
from bombus.btf.parse import Btf
from bombus.errors import NotSupported
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Btf as BtfHandle
from bombus.kernel.handles import Map, Program
from bombus.object.model import Function, MapSpec, Object, ProgramSpec
from bombus.object.relocate import Flat, Symbol


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller chose.

    btf: the kernel's BTF for CO-RE instead of the kernel's own; programs: names to load (None: those that load by
    default); max_entries: other sizes by map name; data: contents of data sections (".rodata") or values of their
    variables by name; pin_root: the directory for maps that are pinned by name ("": they are made anew and not
    pinned); prog_type: for sections that say nothing; reuse: maps to use instead of making them, which stay the
    caller's; log_level: of BPF_PROG_LOAD.
    """

    btf: Btf | bytes | None = None
    programs: Sequence[str] | None = None
    max_entries: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    pin_root: str = "/sys/fs/bpf"
    prog_type: str = ""
    reuse: Mapping[str, Map] = field(default_factory=dict)
    log_level: int = 0


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
    types: Btf | None = None  # the object's BTF with externs as plain variables
    symbols: dict[str, Symbol] = field(default_factory=dict)
    kconfig: bytes = b""
    specs: dict[str, MapSpec] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)
    arenas: dict[str, memoryview] = field(default_factory=dict)
    flat: dict[str, Flat] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
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
                    self._vmlinux = Btf.parse(self.kernel.vmlinux_btf())
                except NotSupported:
                    self._vmlinux = None
        return self._vmlinux

    def resolver(self) -> Resolver | None:
        """Resolves CO-RE relocations of this object; None when it has no BTF."""
        if self.obj.btf is None:
            return None
        vmlinux = self.vmlinux()
        targets = [vmlinux] if vmlinux is not None else []
        if vmlinux is not None and self.options.btf is None:
            targets += [Btf.parse(raw, vmlinux) for raw in self.kernel.module_btf().values()]
        return Resolver(self.obj.btf, targets)

    def close(self) -> None:
        self.arenas.clear()
        given = {id(item) for item in self.options.reuse.values()}
        for handle in (*self.programs.values(), *self.maps.values()):
            if id(handle) not in given:
                handle.close()
        if self.btf is not None:
            self.btf.close()
