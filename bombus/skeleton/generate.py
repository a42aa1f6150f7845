"""An object as a typed Python module: `bombus gen skeleton`."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence

from bombus.btf.build import Builder
from bombus.errors import NotSupported, ObjectError, UsageError
from bombus.object.model import MapSpec, Object, ProgramSpec
from bombus.skeleton.types import Types, identifier, pascal, variables
from bombus.spec.maptypes import MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.verdicts import PACKET_TYPES

_QUEUES = ("queue", "stack")
_PACKETS = (*PACKET_TYPES, "BPF_PROG_TYPE_FLOW_DISSECTOR", "BPF_PROG_TYPE_LWT_SEG6LOCAL", "BPF_PROG_TYPE_NETFILTER")
_WORDS = ("BPF_PROG_TYPE_RAW_TRACEPOINT", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "BPF_PROG_TYPE_TRACING")
_CONTEXTS = ("BPF_PROG_TYPE_SYSCALL", "BPF_PROG_TYPE_SK_LOOKUP")
_ARRAYS = frozenset({"array", "devmap", "cpumap", "xskmap", "sockmap", "reuseport_sockarray", "cgroup_array"})


def skeleton(
    obj: Object, data: bytes, *, name: str = "", path: str = "", embed: bool = True, types: Sequence[str] = (),
    all_types: bool = False,
) -> str:
    """The module's text. data: the object file; name: of the class (from the object's by default); path: where the
    object is read from when the module runs, instead of embedding it; embed: False leaves the object out, for a module
    that looks at what others load. types: structs, unions and enums to have besides those of maps and variables (of
    events, for example); all_types: all that the object names.

    NotSupported for objects of other byte orders and types that have no Python form.
    """
    if obj.byteorder != "little":
        raise NotSupported("a skeleton of a big-endian object")
    module = _Module(obj, data, pascal(name or obj.name.removesuffix(".bpf")), path, embed)
    for wanted in types:
        if not module.types.add(wanted):
            raise UsageError(f"no type {wanted!r} in the BTF of {obj.name}")
    if all_types:
        module.types.add_all()
    return module.text()


class _Module:
    def __init__(self, obj: Object, data: bytes, name: str, path: str, embed: bool) -> None:
        self.obj = obj
        self.data = data
        self.name = name
        self.path = path
        self.embed = embed
        parts = ("", "Maps", "Progs", "Links", "StructOps")
        self.types = Types(obj.btf or Builder().build(), {name + part for part in parts} | {
            "skeleton", "Iterable", "builtins",
        })

    def text(self) -> str:
        maps, progs, links = self._maps(), self._programs(), self._links()
        sections, attributes = self._sections()
        if operations := self._struct_ops():
            sections.append(operations)
            attributes.append(("struct_ops", ""))
        main = self._main(attributes)
        head = [
            f'"""{self.obj.name}: maps, programs and variables with their types. Made by `bombus gen skeleton`."""',
            "",
            "from __future__ import annotations",
            "",
        ]
        if "builtins" in self.types.used:
            head += ["import builtins"]
        if "Iterable" in self.types.used:
            head += ["from collections.abc import Iterable", ""]
        head += ["from bombus import skeleton", ""]
        blocks = [*self.types.blocks, *sections, maps, progs, links, main]
        return "\n".join(head) + "\n\n" + "\n\n".join(blocks)

    # Maps

    def _maps(self) -> str:
        lines = [f"class {self.name}Maps:", "    def __init__(self, core: skeleton.Core) -> None:"]
        taken: set[str] = set()
        for spec in self.obj.maps:
            attribute = identifier(_section_name(spec.section) if spec.section else spec.name, taken)
            taken.add(attribute)
            kind, codecs = self._map_kind(spec)
            args = ["core", f'"{spec.section or spec.name}"', *codecs]
            lines.append(f"        self.{attribute} = skeleton.{kind}({', '.join(args)})")
        if len(lines) == 2:
            lines.append("        pass")
        return "\n".join(lines) + "\n"

    def _map_kind(self, spec: MapSpec) -> tuple[str, list[str]]:
        """The class of a map, and its codecs."""
        row = MAP_TYPE_BY_ID.get(spec.type)
        if row is None:
            raise ObjectError(f"map type {spec.type} is not known", symbol=spec.name)
        short = row.short
        return self._map_class(spec, short)

    def _map_class(self, spec: MapSpec, short: str) -> tuple[str, list[str]]:
        key, value = self._codec(spec, "key"), self._codec(spec, "value")
        if spec.section or short == "struct_ops":
            return "TypedMap", []
        if short in _QUEUES:
            return "QueueMap", [value]
        if short == "bloom_filter":
            return "BloomMap", [value]
        if short == "ringbuf":
            return "RingBufMap", []
        if short == "user_ringbuf":
            return "UserRingMap", []
        if short == "perf_event_array":
            return "PerfEventMap", []
        if short == "prog_array":
            return "ProgramArray", []
        if short == "stack_trace":
            return "StackTraceMap", []
        if short == "arena":
            return "ArenaMap", []
        if short in ("array_of_maps", "hash_of_maps"):
            inner, codecs = ("TypedMap", []) if spec.inner is None else self._map_kind(spec.inner)
            return "MapOfMaps", [key, f"skeleton.Inner({', '.join([f'skeleton.{inner}', *codecs])})"]
        if short == "percpu_array":
            return "PerCpuArrayMap", [key, value]
        if short in ("percpu_hash", "lru_percpu_hash", "percpu_cgroup_storage"):
            return "PerCpuHashMap", [key, value]
        return ("ArrayMap" if short in _ARRAYS else "HashMap"), [key, value]

    def _codec(self, spec: MapSpec, what: str) -> str:
        type_id, size = (spec.key_type, spec.key_size) if what == "key" else (spec.value_type, spec.value_size)
        if type_id and not spec.section and self.types.btf.size_of(type_id) == size:
            return self.types.kind(type_id, f"{spec.name}_{what}").codec
        return f"skeleton.U{size * 8}" if size in (1, 2, 4, 8) else f"skeleton.BytesCodec({size})"

    # Programs

    def _programs(self) -> str:
        lines = [f"class {self.name}Progs:", "    def __init__(self, core: skeleton.Core) -> None:"]
        taken: set[str] = set()
        for spec in self.obj.programs:
            attribute = identifier(spec.name, taken)
            taken.add(attribute)
            kind, context = self._program_kind(spec)
            more = f", {context}" if context else ""
            lines.append(f'        self.{attribute} = skeleton.{kind}(core, "{spec.name}"{more})')
        if len(lines) == 2:
            lines.append("        pass")
        return "\n".join(lines) + "\n"

    def _program_kind(self, spec: ProgramSpec) -> tuple[str, str]:
        row = PROG_TYPE.get(spec.prog_type)
        kind, context = "Program", ""
        if row is not None and row.test_run is not None:
            if spec.prog_type in _WORDS:
                kind = "TracingProgram"
            elif spec.prog_type in _PACKETS or spec.prog_type in _CONTEXTS:
                kind = "PacketProgram" if spec.prog_type in _PACKETS else "ContextProgram"
                context = self.types.context_of(spec.function.name, f"{spec.name}_ctx") or "skeleton.Struct"
        return kind, context

    def _attributes(self) -> list[tuple[str, str]]:
        """What has a link: programs and struct_ops maps, with their attributes."""
        taken: set[str] = set()
        found = []
        for spec in self.obj.programs:
            attribute = identifier(spec.name, taken | {"close"})
            taken.add(attribute)
            found.append((spec.name, attribute))
        for item in self.obj.maps:
            row = MAP_TYPE_BY_ID.get(item.type)
            if row is not None and row.short == "struct_ops":
                attribute = identifier(item.name, taken | {"close"})
                taken.add(attribute)
                found.append((item.name, attribute))
        return found

    def _links(self) -> str:
        rows = self._attributes()
        lines = [f"class {self.name}Links(skeleton.Links):"]
        lines += [f"    {attribute}: skeleton.Attached | None" for _name, attribute in rows] or ["    pass"]
        return "\n".join(lines) + "\n"

    # Data

    def _sections(self) -> tuple[list[str], list[tuple[str, str]]]:
        blocks, attributes = [], []
        taken = {"maps", "progs", "links", "kernel", "loaded", "open", "load", "attach", "detach", "close", "over",
                 "open_and_load", "elf_bytes", "struct_ops"}  # fmt: skip
        for spec in self.obj.maps:
            rows = variables(self.obj, spec)
            if not rows:
                continue
            attribute = identifier(_section_name(spec.section), taken)
            taken.add(attribute)
            name = self.types.name(self.name + pascal(attribute))
            blocks.append(self.types.section(name, spec.section, spec.value_size, rows))
            attributes.append((attribute, name))
        return blocks, attributes

    def _struct_ops(self) -> str:
        """Values of struct_ops variables, settable before load; "" when there are none."""
        blocks, lines, taken = [], [], set[str]()
        for spec in self.obj.maps:
            row = MAP_TYPE_BY_ID.get(spec.type)
            if row is None or row.short != "struct_ops" or not spec.value_type:
                continue
            attribute = identifier(spec.name, taken)
            taken.add(attribute)
            name = self.types.name(pascal(f"{self.name}_ops_{spec.name}"))
            blocks.append(self.types.operations(name, spec.name, spec.value_type, spec.value_size))
            lines.append(f"        self.{attribute} = {name}.of(core)")
        if not blocks:
            return ""
        head = [f"class {self.name}StructOps:", "    def __init__(self, core: skeleton.Core) -> None:"]
        return "\n\n".join([*blocks, "\n".join([*head, *lines]) + "\n"])

    def _main(self, attributes: list[tuple[str, str]]) -> str:
        name = self.name
        lines = [f"class {name}(skeleton.Skeleton):", f'    """{self.obj.name}"""', "", f'    NAME = "{self.obj.name}"']
        names = ", ".join(f'"{program}": "{attribute}"' for program, attribute in self._attributes())
        if len(names) < 90:
            lines.append(f"    LINKS = {{{names}}}")
        else:
            lines += ["    LINKS = {", *(f"        {part}," for part in names.split(", ")), "    }"]
        if not self.embed:
            pass
        elif self.path:
            digest = hashlib.sha256(self.data).hexdigest()
            lines.append(f'    OBJECT = skeleton.Beside(__file__, {self.path!r}, "{digest}")')
        else:
            text = base64.b85encode(zlib.compress(self.data, 9)).decode()
            lines += ["    OBJECT = skeleton.Embedded(", *(f'        "{line}"' for line in _pieces(text, 96)), "    )"]
        links = ", ".join(f'"{attribute}"' for _program, attribute in self._attributes())
        lines += [
            "",
            "    def __init__(self, core: skeleton.Core) -> None:",
            "        super().__init__(core)",
            f"        self.maps = {name}Maps(core)",
            f"        self.progs = {name}Progs(core)",
            f"        self.links = self._links = {name}Links({links})",
            *(
                f"        self.{attribute} = {f'{kind}.of(core)' if kind else f'{name}StructOps(core)'}"
                for attribute, kind in attributes
            ),
        ]
        return "\n".join(lines) + "\n"


def _pieces(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


def _section_name(section: str) -> str:
    """bpftool's name of a data section: ".data.custom" gives "data_custom"."""
    return section.removeprefix(".").replace(".", "_")
