"""The life of a skeleton: open, set, load, attach, close."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from bombus.errors import ObjectError, UsageError
from bombus.kernel.handles import Attachment, Group, Link
from bombus.skeleton.values import Struct

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles import Map
    from bombus.kernel.handles import Program as Handle
    from bombus.loader.load import Loaded
    from bombus.object.model import MapSpec, Object, ProgramSpec
    from bombus.skeleton.maps import TypedMap
    from bombus.skeleton.programs import Program


Attached: TypeAlias = Link | Attachment | Group  # what attaching gives


class Embedded:
    """An object inside of its module: base85 of deflated bytes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> bytes:
        return zlib.decompress(base64.b85decode(self._text))


class Beside:
    """An object in a file; a path that is not absolute counts from the module's folder."""

    def __init__(self, module: str, path: str, sha256: str) -> None:
        self.path = Path(module).parent / path
        self._sha256 = sha256

    def read(self) -> bytes:
        """OSError when it is not there, ObjectError when it is not the object that the module was made for."""
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self._sha256:
            raise ObjectError("not the object that the skeleton was made for: make it anew", path=str(self.path))
        return data


class Section(Struct):
    """Variables of a data section. Before load they are first values; after it they are live, where the kernel can
    share the map's memory, or read and written through the map. .rodata and .kconfig cannot be set after load."""

    __slots__ = ()

    @classmethod
    def of(cls, core: Core) -> Self:
        made: Self = core.add_section(cls)
        return made

    def move(self, data: Any) -> None:
        """Look at other memory from now on."""
        self._data = data
        self._at = 0


class _Remote:
    """The only value of a map that cannot be mapped: read and written as a whole."""

    def __init__(self, handle: Map, read_only: bool) -> None:
        self._raw = handle.raw
        self._read_only = read_only

    def __len__(self) -> int:
        return self._raw.value_size

    def __getitem__(self, place: slice) -> bytes:
        return self._raw.lookup(bytes(4))[place]

    def __setitem__(self, place: slice, value: bytes) -> None:
        if self._read_only:
            raise TypeError("read-only")
        data = bytearray(self._raw.lookup(bytes(4)))
        data[place] = value
        self._raw.update(bytes(4), bytes(data))


class _Closed:
    def __len__(self) -> int:
        return 0

    def __getitem__(self, place: slice) -> bytes:
        raise UsageError("the skeleton is closed")


class Core:
    """What the parts of one skeleton share. `loaded` is None before load and after close."""

    def __init__(self, obj: Object, kernel: Kernel, options: Mapping[str, Any]) -> None:
        self.obj = obj
        self.kernel = kernel
        self.options = dict(options)
        self.loaded: Loaded | None = None
        self.owned = True
        self.max_entries: dict[str, int] = {}
        self.reuse: dict[str, Map] = {}
        self.targets: dict[str, tuple[Handle, str]] = {}
        self.autoload: dict[str, bool] = {}
        self.autoattach: dict[str, bool] = {}
        self._maps: list[TypedMap] = []
        self._programs: list[Program] = []
        self._sections: list[Section] = []
        self._closed = False

    # What generated classes tell

    def add_map(self, item: TypedMap) -> None:
        self.map_spec(item.name)
        self._maps.append(item)

    def add_program(self, item: Program) -> None:
        self.program_spec(item.name)
        self._programs.append(item)

    def add_section(self, kind: type[Any]) -> Any:
        spec = self._data_spec(kind.C_NAME)
        made = kind.at(bytearray(spec.data or b""))
        self._sections.append(made)
        return made

    # Facts of the object

    def map_spec(self, name: str) -> MapSpec:
        for spec in self.obj.maps:
            if name in (spec.name, spec.section):
                return spec
        raise ObjectError(f"no map {name!r} in this object: make the skeleton anew", path=self.obj.name)

    def _data_spec(self, name: str) -> MapSpec:
        """By section, or by the name of a struct_ops variable."""
        return self.map_spec(name)

    def program_spec(self, name: str) -> ProgramSpec:
        for spec in self.obj.programs:
            if spec.name == name:
                return spec
        raise ObjectError(f"no program {name!r} in this object: make the skeleton anew", path=self.obj.name)

    # State

    def before_load(self, what: str) -> None:
        if self.loaded is not None or self._closed:
            raise UsageError(f"set {what} before load()")

    def program(self, name: str) -> Handle:
        if self._closed:
            raise UsageError("the skeleton is closed")
        if self.loaded is None:
            raise UsageError(f"the program {name!r} is there after load()")
        found = self.loaded.programs.get(name)
        if found is None:
            raise UsageError(f"the program {name!r} was not loaded (autoload)")
        return found

    def arena(self, name: str) -> memoryview:
        if self.loaded is None:
            raise UsageError(f"the arena {name!r} is there after load()")
        return self.loaded.arenas[name]

    @property
    def programs(self) -> tuple[Program, ...]:
        return tuple(self._programs)

    def load(self) -> None:
        from bombus.loader.load import load

        if self._closed:
            raise UsageError("the skeleton is closed")
        if self.loaded is not None:
            raise UsageError("the skeleton is loaded already")
        first = {section.C_NAME: bytes(section) for section in self._sections}
        maps = tuple(
            replace(spec, data=first[spec.name]) if spec.name in first and not spec.section else spec
            for spec in self.obj.maps
        )
        data = {
            spec.section: first[spec.section]
            for spec in self.obj.maps
            if spec.section in first and spec.section != ".kconfig"
        }
        self.use(
            load(
                replace(self.obj, maps=maps), self.kernel,
                programs=[program.name for program in self._programs if program.autoload],
                max_entries=self.max_entries, reuse=self.reuse, data=data, **self._targets(), **self.options,
            )
        )  # fmt: skip

    def _targets(self) -> dict[str, Any]:
        wanted = {program.name for program in self._programs if program.autoload}
        return {"targets": {name: target for name, target in self.targets.items() if name in wanted}}

    def use(self, loaded: Loaded) -> None:
        """Let maps and sections look at what is in the kernel."""
        from bombus.spec.maptypes import BPF_F_MMAPABLE

        self.loaded = loaded
        for item in self._maps:
            item.use(loaded.maps.get(item.name))
        for section in self._sections:
            spec = self._data_spec(section.C_NAME)
            handle = loaded.maps.get(spec.name)
            if not spec.section:
                section.move(bytes(section))  # struct_ops: the kernel has taken it
                continue
            if handle is None:
                continue
            if handle.flags & BPF_F_MMAPABLE:
                memory = handle.mmap(writable=not spec.frozen)
                section.move(memory.toreadonly() if spec.frozen else memory)
            else:
                section.move(_Remote(handle, spec.frozen))

    def close(self) -> None:
        self._closed = True
        loaded, self.loaded = self.loaded, None
        for item in self._maps:
            item.use(None)
        for section in self._sections:
            section.move(_Closed())
        if loaded is not None and self.owned:
            loaded.close()


class Links:
    """One attribute for each program and struct_ops map: its link, or None. What is stored here ends with detach()."""

    def __init__(self, *names: str) -> None:
        for name in names:
            setattr(self, name, None)

    def close(self) -> None:
        for name, link in vars(self).items():
            if link is not None:
                link.close()
                setattr(self, name, None)


class Skeleton:
    """Base of generated classes: an object with its maps, programs, links and variables as typed attributes.

        with Traffic.open("user:6.12") as skel:
            skel.rodata.blocked_port = 443
            skel.load()
            skel.progs.traffic.test_run(frame)
            print(skel.bss.seen)
    """

    OBJECT: ClassVar[Embedded | Beside]
    NAME: ClassVar[str]
    LINKS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, core: Core) -> None:
        self._core = core
        self._links: Links | None = None

    @classmethod
    def elf_bytes(cls) -> bytes:
        """The object file."""
        return cls.OBJECT.read()

    @classmethod
    def open(
        cls, kernel: Kernel | str = "user", *, btf: bytes | None = None, pin_root: str = "/sys/fs/bpf",
        log_level: int = 0,
    ) -> Self:  # fmt: skip
        """Read the object; nothing is asked of the kernel yet.

        kernel: a kernel, or its name: "user", "user:5.15", "linux". btf: raw kernel BTF for CO-RE instead of the
        kernel's own. pin_root: for maps that are pinned by name ("": they are not). log_level: of the verifier.
        """
        from bombus.kernels import open_kernel
        from bombus.object.read import read_object

        opened = open_kernel(kernel) if isinstance(kernel, str) else kernel
        options = {"btf": btf, "pin_root": pin_root, "log_level": log_level}
        return cls(Core(read_object(cls.elf_bytes(), name=cls.NAME), opened, options))

    @classmethod
    def open_and_load(
        cls, kernel: Kernel | str = "user", *, btf: bytes | None = None, pin_root: str = "/sys/fs/bpf",
        log_level: int = 0,
    ) -> Self:  # fmt: skip
        """`open`, then `load`."""
        made = cls.open(kernel, btf=btf, pin_root=pin_root, log_level=log_level)
        try:
            made.load()
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def over(cls, loaded: Loaded) -> Self:
        """Typed access to what is loaded already (as a subskeleton); closing it leaves that loaded. ObjectError when
        a map or program of the skeleton is not in it."""
        core = Core(loaded.obj, loaded.kernel, {})
        core.owned = False
        made = cls(core)
        core.use(loaded)
        return made

    @property
    def kernel(self) -> Kernel:
        return self._core.kernel

    @property
    def loaded(self) -> Loaded:
        """The untyped side, after load: `programs` and `maps` by name."""
        if self._core.loaded is None:
            raise UsageError("load() first")
        return self._core.loaded

    def load(self) -> None:
        """Create the maps and load the programs. LoadError with the verifier's log, KernelError, ObjectError; the
        skeleton stays open then."""
        self._core.load()

    def attach(self) -> None:
        """Attach every loaded program whose section says where, and struct_ops; keep the links in `links`. Programs
        that need to be told (xdp, tc, cgroup: an interface, a cgroup) are left out, as libbpf does:
        `progs.NAME.attach(...)`. What was attached is detached again when one fails."""
        from bombus.kernel.handles.attach import can_attach_alone

        loaded = self.loaded
        done: list[tuple[str, Attached]] = []
        try:
            for program in self._core.programs:
                handle = loaded.programs.get(program.name)
                if handle is not None and program.autoattach and can_attach_alone(handle):
                    done.append((program.name, handle.attach()))
            for name, operations in loaded.struct_ops.items():
                done.append((name, operations.attach()))
        except BaseException:
            for _, link in done:
                link.close()
            raise
        for name, link in done:
            setattr(self._links, self.LINKS[name], link)

    def detach(self) -> None:
        """End all links that are kept in `links`."""
        if self._links is not None:
            self._links.close()

    def close(self) -> None:
        """Detach, and give maps and programs back. Closing twice does nothing."""
        self.detach()
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
