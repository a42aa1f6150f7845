"""Addresses to frames, with what was read kept."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable

from bombus.errors import ElfError
from bombus.symbols import texts
from bombus.symbols.elffile import DEBUG_ROOT, ElfFile, Functions, open_functions
from bombus.symbols.model import Frame, Table
from bombus.symbols.texts import Mapping

KERNEL = "[kernel]"
JIT = "[jit]"
_USER_TOP = 1 << 63  # 64-bit kernels lie above


class _Process:
    """Mappings of one process, newest last; and what its JIT told."""

    def __init__(self) -> None:
        self.mappings: list[Mapping] = []
        self._starts: list[int] | None = None
        self.jit: Table | None = None
        self.pid_root = ""

    def add(self, mapping: Mapping) -> None:
        """A mapping takes the place of what it covers."""
        kept = []
        for old in self.mappings:
            if old.end <= mapping.start or old.start >= mapping.end:
                kept.append(old)
                continue
            if old.start < mapping.start:
                kept.append(old._replace(end=mapping.start))
            if old.end > mapping.end:
                kept.append(old._replace(start=mapping.end, offset=old.offset + mapping.end - old.start))
        self.mappings = sorted([*kept, mapping])
        self._starts = None

    def find(self, address: int) -> Mapping | None:
        if self._starts is None:
            self._starts = [mapping.start for mapping in self.mappings]
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self.mappings[index].end:
            return self.mappings[index]
        return None


class Symbols:
    """Names addresses of the kernel and of processes.

    Processes are read from /proc when they are first asked for, or told by `read_process` and `add_mapping` while they
    live, so that they may be gone by then. kallsyms, proc, tmp, debug: where the files are.
    """

    def __init__(
        self, *, kallsyms: str = "/proc/kallsyms", proc: str = "/proc", tmp: str = "/tmp", debug: str = DEBUG_ROOT
    ) -> None:
        self._kallsyms = kallsyms
        self._proc = proc
        self._tmp = tmp
        self._debug = debug
        self._kernel: Table | None = None
        self._modules: dict[str, str] = {}
        self._processes: dict[int, _Process] = {}
        self._files: dict[str, Functions | None] = {}
        self._vdso: Functions | None = None

    # The kernel

    def _kernel_table(self) -> Table:
        if self._kernel is None:
            rows: list[tuple[int, int, str]] = []
            try:
                with open(self._kallsyms, "rb") as file:
                    for address, name, module in texts.kallsyms(file.read()):
                        rows.append((address, 0, f"{name}\0{module}"))
            except OSError:
                rows = []
            self._kernel = Table(rows)
        return self._kernel

    def kernel(self, address: int) -> Frame:
        """A frame of the kernel, its modules and BPF programs."""
        found = self._kernel_table().find(address)
        if found is None:
            return Frame("[unknown]", KERNEL, 0, address)
        name, _, module = found[0].partition("\0")
        return Frame(name, f"[{module}]" if module else KERNEL, found[1], address)

    # Processes

    def read_process(self, pid: int) -> bool:
        """Take over the mappings that a live process has now. False when it is gone."""
        try:
            with open(f"{self._proc}/{pid}/maps", "rb") as file:
                data = file.read()
        except OSError:
            return False
        rows = [mapping for mapping in texts.maps(data) if mapping.executable]
        if not rows:
            return False
        process = self._processes.setdefault(pid, _Process())
        process.mappings = sorted(rows)
        process._starts = None
        self._open_files(pid, rows)
        return True

    def _open_files(self, pid: int, rows: Iterable[Mapping]) -> None:
        """Files of other mount namespaces and deleted ones can only be reached while the process lives."""
        for row in rows:
            if row.path.startswith("/") and row.path not in self._files and not os.path.exists(row.path):
                self._functions(row, pid)

    def add_mapping(self, pid: int, mapping: Mapping) -> None:
        """A process mapped code."""
        self._processes.setdefault(pid, _Process()).add(mapping)

    def exec(self, pid: int) -> None:
        """A process begins anew."""
        self._processes[pid] = _Process()

    def fork(self, parent: int, child: int) -> None:
        """A child has its parent's mappings."""
        if parent in self._processes and parent != child:
            made = _Process()
            made.mappings = list(self._processes[parent].mappings)
            self._processes[child] = made

    def user(self, pid: int, address: int) -> Frame:
        """A frame of a process."""
        if pid not in self._processes and not self.read_process(pid):
            self._processes[pid] = _Process()
        process = self._processes[pid]
        mapping = process.find(address)
        if mapping is not None and mapping.path.startswith("/") and not mapping.path.startswith(("//anon", "/memfd:")):
            functions = self._functions(mapping, pid)
            place = address - mapping.start + mapping.offset
            found = functions.find(place) if functions is not None else None
            if found is not None:
                return Frame(found[0], mapping.path, found[1], address)
            return Frame("[unknown]", mapping.path, place, address)
        if mapping is not None and mapping.path == "[vdso]":
            found = self._vdso_functions(mapping).find(address - mapping.start)
            return Frame(found[0], "[vdso]", found[1], address) if found else Frame("[unknown]", "[vdso]", 0, address)
        if process.jit is None:
            process.jit = self._perf_map(pid)
        found = process.jit.find(address)
        if found is not None:
            return Frame(found[0], JIT, found[1], address)
        return Frame("[unknown]", mapping.path if mapping is not None else "", 0, address)

    def read_perf_map(self, pid: int) -> None:
        """Take over what a process's JIT told so far (the file may go with the process)."""
        table = self._perf_map(pid)
        if len(table):
            self._processes.setdefault(pid, _Process()).jit = table

    def _perf_map(self, pid: int) -> Table:
        inner = pid
        try:
            with open(f"{self._proc}/{pid}/status", "rb") as file:
                for line in file:
                    if line.startswith(b"NSpid:"):
                        inner = int(line.split()[-1])
        except (OSError, ValueError, IndexError):
            inner = pid
        for path in (f"{self._proc}/{pid}/root/tmp/perf-{inner}.map", f"{self._tmp}/perf-{pid}.map"):
            try:
                with open(path, "rb") as file:
                    return Table(texts.perf_map(file.read()))
            except OSError:
                continue
        return Table(())

    def _functions(self, mapping: Mapping, pid: int) -> Functions | None:
        path = mapping.path
        if path not in self._files:
            self._files[path] = None
            shown = path.removesuffix(" (deleted)")
            places = [f"{self._proc}/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"]
            if shown == path:
                places = [path, f"{self._proc}/{pid}/root{path}", *places]
            for place in places:
                try:
                    self._files[path] = open_functions(place, shown=shown, debug_root=self._debug)
                    break
                except (OSError, ElfError):
                    continue
        return self._files[path]

    def _vdso_functions(self, mapping: Mapping) -> Functions:
        """All processes have the same code there: ours is read."""
        if self._vdso is None:
            self._vdso = _own_vdso(mapping.end - mapping.start)
        return self._vdso


class _Nothing(Functions):
    def __init__(self) -> None:
        self._table = Table(())

    def find(self, offset: int) -> tuple[str, int] | None:
        return None


def _own_vdso(size: int) -> Functions:
    try:
        with open("/proc/self/maps", "rb") as file:
            row = next(mapping for mapping in texts.maps(file.read()) if mapping.path == "[vdso]")
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(row.start)
            return Functions(ElfFile(memory.read(max(size, row.end - row.start)), "[vdso]"))
    except (OSError, StopIteration, ElfError):
        return _Nothing()
