"""One tracing session: an object's programs attached, its buffers and prints read together."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bombus.btf.types import DataSec, Var
from bombus.errors import NotSupported, UsageError
from bombus.isa import opcodes as op
from bombus.loader.events import EventType, event_type, is_buffer, named, open_reader
from bombus.spec.maptypes import MAP_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bombus.kernel.handles import Reader
    from bombus.kernel.printk import PrintkRow
    from bombus.loader.load import Loaded
    from bombus.object.model import Object

_PRINTS = frozenset({6, 177})  # bpf_trace_printk, bpf_trace_vprintk: include/uapi/linux/bpf.h
# Variables by which tools of the field take the process to trace, processes before threads.
PID_VARIABLES = (
    "target_tgid", "targ_tgid", "filter_tgid", "tgid_filter", "tgid_target", "target_pid", "targ_pid", "filter_pid",
    "pid_filter", "pid_target", "my_pid",
)  # fmt: skip
CGROUP_VARIABLES = (
    "target_cgroup", "target_cgroup_id", "target_cgid", "targ_cgroup", "targ_cgid", "filter_cgroup", "cgroup_id",
)  # fmt: skip
CGROUP_SWITCH = "filter_cg"
_CGROUP_ARRAY = MAP_TYPE["BPF_MAP_TYPE_CGROUP_ARRAY"].id
# Counters of events that a program could not send.
LOST_VARIABLES = ("dropped", "drops", "lost", "dropped_events", "lost_events", "events_dropped", "events_lost")


@dataclass(frozen=True, slots=True)
class Event:
    """One record of a buffer. time: of reading, seconds since the epoch. type: None when it stays bytes."""

    map: str
    time: float
    data: bytes
    type: EventType | None


def pid_settings(obj: Object, pids: Sequence[int]) -> dict[str, int]:
    """The global variables that make an object trace only these processes. UsageError when it has none for that."""
    if not pids:
        return {}
    known = variables_of(obj)
    names = [name for name in PID_VARIABLES if name in known]
    if not names:
        raise UsageError(
            f"{obj.name} has no variable that says which process to trace (such as target_pid); "
            f"set the one that it has with --set, among {', '.join(sorted(known)) or 'none'}"
        )
    if len(pids) > 1:
        raise UsageError(f"{obj.name} takes one process, by its variable {names[0]!r}")
    return {names[0]: pids[0]}


def cgroup_settings(obj: Object, path: str) -> dict[str, int]:
    """The global variables that make an object trace only tasks of a cgroup, by the path of its directory.

    Either one that takes the cgroup's id, or `filter_cg` beside a cgroup array, as the tools of libbpf-tools have it;
    `enter_cgroup` fills the array once it is there. UsageError when the object has neither, or there is no such cgroup.
    """
    known = variables_of(obj)
    try:
        number = os.stat(path).st_ino
    except OSError as error:
        raise UsageError(f"cgroup {path}: {error.strerror}") from None
    names = [name for name in CGROUP_VARIABLES if name in known]
    if names:
        return {names[0]: number}
    if CGROUP_SWITCH in known and any(spec.type == _CGROUP_ARRAY for spec in obj.maps):
        return {CGROUP_SWITCH: 1}
    raise UsageError(f"{obj.name} has no variable that says which cgroup to trace (such as target_cgroup)")


def enter_cgroup(loaded: Loaded, path: str) -> None:
    """Put a cgroup into the object's cgroup arrays."""
    for item in loaded.maps.values():
        if item.type.id == _CGROUP_ARRAY:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                item[0] = fd
            finally:
                os.close(fd)


def variables_of(obj: Object) -> set[str]:
    """Names of the global variables that BTF tells."""
    found: set[str] = set()
    btf = obj.btf
    for spec in obj.maps:
        section = btf.type(spec.value_type) if btf is not None and spec.value_type and spec.section else None
        if btf is not None and isinstance(section, DataSec):
            found |= {btf.name(place.type) for place in section.vars if isinstance(btf.type(place.type), Var)}
    return found


class Session:
    """Reads what the programs of a loaded object tell. A context manager; `close` gives the readers back, the object
    stays the caller's.

    types: of events by map, by name. pages: of each CPU's perf ring.
    """

    def __init__(self, loaded: Loaded, types: Mapping[str, str] | None = None, *, pages: int = 64) -> None:
        self.loaded = loaded
        self.kernel = loaded.kernel
        self.readers: dict[str, Reader] = {}
        self.counts: dict[str, int] = {}
        self.prints = 0
        self._types: dict[str, EventType | None] = {}
        self._sizes: dict[tuple[str, int], EventType | None] = {}
        for name, type_name in (types or {}).items():
            if name not in loaded.maps or not is_buffer(loaded.maps[name]):
                raise UsageError(f"{loaded.obj.name} has no ring or perf buffer {name!r}")
            self._types[name] = named(loaded.obj.btf, type_name)
        try:
            for name, item in loaded.maps.items():
                if is_buffer(item):
                    self.readers[name] = open_reader(loaded, name, pages=pages)
                    self.counts[name] = 0
        except BaseException:
            self.close()
            raise
        self._reads_prints = any(
            insn.opcode == op.CALL and not insn.src and insn.imm in _PRINTS
            for name in loaded.programs
            for insn in loaded.flat(name).insns
        )
        if self._reads_prints:
            try:
                self.kernel.printk_rows()  # what came before is not ours
            except NotSupported:
                self._reads_prints = False

    @property
    def talks(self) -> bool:
        """Whether anything can come at all: a buffer or a print."""
        return bool(self.readers) or self._reads_prints

    def type_of(self, name: str, size: int) -> EventType | None:
        """The type of an event of this size."""
        if name in self._types:
            return self._types[name]
        key = (name, size)
        if key not in self._sizes:
            self._sizes[key] = event_type(self.loaded, name, size=size)
        return self._sizes[key]

    def events(self, limit: int = 4096) -> list[Event]:
        """Events that are there now, at most `limit` of each buffer."""
        found: list[Event] = []
        now = time.time()
        for name, reader in self.readers.items():
            data = reader.read(limit)
            self.counts[name] += len(data)
            for one in data:
                kind = self.type_of(name, len(one))
                if kind is not None and len(one) < kind.layout.size:
                    kind = None
                found.append(Event(name, now, one, kind))
        return found

    def printed(self) -> list[PrintkRow]:
        """bpf_printk lines since the last call."""
        rows = self.kernel.printk_rows() if self._reads_prints else []
        self.prints += len(rows)
        return rows

    def wait(self, timeout: float) -> None:
        """Until an event may be there, at most `timeout` seconds."""
        fds = [fd for reader in self.readers.values() for fd in reader.fds()]
        if fds:
            self.kernel.wait(fds, timeout)
        else:
            time.sleep(timeout)

    def lost(self) -> dict[str, int]:
        """Events that did not get through, by buffer, and by the variable in which the program counts them."""
        found: dict[str, int] = {}
        for name, reader in self.readers.items():
            count = getattr(reader, "lost", 0)
            if count:
                found[name] = count
        for map_name, item in self.loaded.maps.items():
            fields: Any = getattr(item.layouts[1], "fields", {})
            if not self.loaded.specs[map_name].section:
                continue
            for name in LOST_VARIABLES:
                if name in fields and fields[name].layout.scalar:
                    value = fields[name].layout.decode(item.raw[bytes(4)], fields[name].offset)
                    if isinstance(value, int) and value:
                        found[name] = int(value)
        return found

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
