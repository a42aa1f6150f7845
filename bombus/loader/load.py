"""Load an object into a kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bombus.btf.parse import Btf
from bombus.errors import NotSupported, UsageError
from bombus.isa.insn import Insn
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map, Program
from bombus.loader.passes import PASSES, choose, relocate_core
from bombus.loader.state import Options, State
from bombus.object.model import MapSpec, Object, ProgramSpec
from bombus.object.relocate import Flat, Symbol, flatten, resolve
from bombus.spec.maptypes import BPF_F_MMAPABLE

if TYPE_CHECKING:
    from bombus.btf.data import TypedValue
    from bombus.kernel.handles import Attachment, Group, Link, PerfBuffer, RingBuffer
    from bombus.loader.structops import StructOps

_PAGE = 4096


class Loaded:
    """An object whose maps and programs are in a kernel. Closing it gives them back.

    `maps` and `programs` are by name; data sections are also found by theirs: maps[".bss"].
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.obj = state.obj
        self.kernel = state.kernel
        self.programs: dict[str, Program] = state.programs
        self.maps: Mapping[str, Map] = _Maps(state.maps, state.specs)
        self._sections: dict[str, TypedValue] = {}

    @property
    def specs(self) -> Mapping[str, MapSpec]:
        """The definitions of the maps as they were made."""
        return self._state.specs

    @property
    def arenas(self) -> Mapping[str, memoryview]:
        """The memory of arena maps, shared with programs; it must not be used after `close`."""
        return self._state.arenas

    def program_spec(self, name: str) -> ProgramSpec:
        return next(program for program in self._state.chosen if program.name == name)

    def flat(self, name: str) -> Flat:
        """A program's code before maps and externs were put in."""
        return self._state.flat[name]

    def attach(self, *, cookies: Mapping[str, int] | None = None) -> dict[str, Link | Attachment | Group]:
        """Attach what needs no more than its section's name, as a libbpf skeleton does; the rest is left to the caller.

        cookies: bpf_get_attach_cookie by program. Returns what was attached, by name; `close` detaches it. When one
        fails, all are detached again.
        """
        from bombus.loader.autoattach import attach_all

        return attach_all(self._state, cookies or {})

    def section(self, name: str) -> TypedValue:
        """The variables of a data section (".bss", ".data.shared") as attributes, over the map's own memory.

        `loaded.bss.counter += 1` is what the programs see, and the other way round. Read-only sections are read-only.
        UsageError when there is no such section, or no BTF of it; NotSupported where the kernel cannot share the memory
        (before Linux 5.5): use `maps[name][0]` then.
        """
        if name not in self._sections:
            from bombus.btf.data import layout_of, value_of

            spec = next((spec for spec in self.specs.values() if spec.section == name), None)
            if spec is None:
                raise UsageError(f"{self.obj.name} has no section {name!r} with variables")
            if self.obj.btf is None or not spec.value_type:
                raise UsageError(f"section {name!r} is not described by BTF")
            if not spec.flags & BPF_F_MMAPABLE:
                raise NotSupported(f"variables of {name!r} as attributes", "the kernel cannot map it: maps[name][0]")
            item = self.maps[spec.name]
            size = -(-spec.value_size // _PAGE) * _PAGE
            view = self.kernel.mmap(item.fd, size, writable=not spec.frozen)
            self._sections[name] = value_of(layout_of(self.obj.btf, spec.value_type), view)
        found: TypedValue = self._sections[name]
        return found

    @property
    def bss(self) -> TypedValue:
        """`section(".bss")`."""
        return self.section(".bss")

    @property
    def data(self) -> TypedValue:
        """`section(".data")`."""
        return self.section(".data")

    @property
    def rodata(self) -> TypedValue:
        """`section(".rodata")`."""
        return self.section(".rodata")

    def pin(self, directory: str | os.PathLike[str]) -> None:
        """Pin all programs and maps in a directory of a bpf file system, by their names; all or nothing.

        Names have "_" for ".", which such a file system does not take.
        """
        made: list[str] = []
        try:
            for name, item in (*self.maps.items(), *self.programs.items()):
                path = f"{os.fspath(directory)}/{name.replace('.', '_')}"
                item.pin(path)
                made.append(path)
        except BaseException:
            for path in made:
                self.kernel.sites.unpin(path)
            raise

    def events(
        self, name: str, type: str | None = None, *, pages: int = 64, wakeup: int = 1
    ) -> RingBuffer | PerfBuffer:
        """A reader of a ring or perf buffer, with the type of its events (see `loader.events`). Close it before this
        object.

        type: its name, or C; None: as the object tells. pages, wakeup: of perf buffers. UsageError.
        """
        from bombus.loader.events import open_reader

        return open_reader(self, name, type, pages=pages, wakeup=wakeup)

    @property
    def struct_ops(self) -> Mapping[str, StructOps]:
        """struct_ops maps; their `attach` registers them one by one."""
        return self._state.struct_ops

    def close(self) -> None:
        """Detach what `attach` attached, and give programs and maps back. What is pinned stays."""
        self._sections.clear()
        self._state.close()

    def __enter__(self) -> Loaded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Maps(Mapping[str, Map]):
    def __init__(self, maps: dict[str, Map], specs: Mapping[str, MapSpec]) -> None:
        self._maps = maps
        self._sections = {spec.section: name for name, spec in specs.items() if spec.section}

    def __getitem__(self, name: str) -> Map:
        return self._maps[self._sections.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


def load(obj: Object, kernel: Kernel, **options: Any) -> Loaded:
    """Create the maps of an object and load its programs. `options` are those of `state.Options`.

    Raises LoadError with the verifier's log, KernelError, ObjectError; what was made is given back then.
    """
    state = State(obj, kernel, Options(**options))
    try:
        for step in PASSES:
            step(state)
    except BaseException:
        state.close()
        raise
    return Loaded(state)


def prepare(
    obj: Object,
    kernel: Kernel,
    *,
    map_fds: Mapping[str, int] | None = None,
    symbols: Mapping[str, Symbol] | None = None,
    btf: Btf | bytes | None = None,
    programs: list[str] | None = None,
    prog_type: str = "",
) -> dict[str, list[Insn]]:
    """The final instructions of each program without creating or loading anything.

    map_fds: descriptors to write into the instructions (0 where not given).
    """
    state = State(obj, kernel, Options(btf=btf, programs=programs, prog_type=prog_type))
    choose(state)
    relocate_core(state)
    given = symbols if symbols is not None else {extern.name: Symbol("missing") for extern in obj.externs}
    fds = map_fds or {}
    return {
        program.name: resolve(flatten(program, state.functions), obj, lambda name: fds.get(name, 0), given)
        for program in state.chosen
    }
