"""Verified instructions a second: this package and the running kernel, on the same programs in the same run.

    bench/verifier.py [OBJECT...] [--compiled PYTHON] [--rounds N] [--minimum INSNS] [--json]

Without objects: those of Debian's libxdp1, xdp-tools and libbpf-tools (inside its tools). Every program that the kernel
accepts and that needs no kernel BTF to verify is loaded once more per round with log level 0 (the whole
BPF_PROG_LOAD is timed: verification, rewrites, JIT) and with level 4 (the kernel's own "verification time"), and
verified here. Times are the best of the rounds: CPU time, but for the kernel's own figure, which is elapsed time,
so that what else the machine does tells less. `--compiled` names the interpreter of an environment where
bombus was built ahead of time (BOMBUS_COMPILE=1 pip install .): it gets a column of its own. Needs root.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bombus.verifier.main
from bombus.btf.parse import Btf
from bombus.elf.read import find_embedded
from bombus.errors import BombusError, KernelError, NotSupported
from bombus.isa.insn import decode
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.model import Object
from bombus.object.read import open_object, read_object
from bombus.verifier import records
from bombus.verifier.program import FuncInfo, LineInfo, MapInfo, Program

_TIME = re.compile(rb"verification time (\d+) usec")
_RDONLY_PROG = 1 << 7


class Watch:
    """A kernel that notes what a program's verification depends on, and each program that was loaded."""

    def __init__(self, kernel: LinuxKernel, rounds: int) -> None:
        self._kernel = kernel
        self.rounds = rounds
        self.btfs: dict[int, Btf] = {}
        self.maps: dict[int, MapInfo] = {}
        self.rows: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def bpf(self, attr: Attr) -> int:
        result = self._kernel.bpf(attr)
        name = attr.command.name
        if name == "BPF_BTF_LOAD":
            self.btfs[result] = Btf.parse(bytes(attr.buffers["btf"]))
        elif name == "BPF_MAP_CREATE":
            self.maps[result] = self._map(attr)
        elif name == "BPF_MAP_UPDATE_ELEM" and attr.get("map_fd") in self.maps:
            fd = attr.get("map_fd")
            if self.maps[fd].flags & _RDONLY_PROG:
                self.maps[fd] = replace(self.maps[fd], contents=bytes(attr.buffers["value"]))
        elif name == "BPF_MAP_FREEZE":
            fd = attr.get("map_fd")
            self.maps[fd] = replace(self.maps[fd], frozen=True)
        elif name == "BPF_PROG_LOAD" and not attr.get("attach_btf_id"):
            self._measure(attr)
        return result

    def _map(self, attr: Attr) -> MapInfo:
        btf = self.btfs.get(attr.get("btf_fd"))
        value_id = attr.get("btf_value_type_id")
        return MapInfo(
            attr.get("map_type"), attr.get("key_size"), attr.get("value_size"), attr.get("max_entries"),
            _name(attr, "map_name"), attr.get("map_flags"), len(self.maps) + 1,
            self.maps.get(attr.get("inner_map_fd")), False, None, btf,
            attr.get("btf_key_type_id"), value_id, records.parse(btf, value_id) if btf is not None and value_id else (),
            attr.get("map_extra"),
        )  # fmt: skip

    def _measure(self, attr: Attr) -> None:
        program = self._program(attr)
        loads, own = [], []
        log = bytearray(1 << 16)
        for _ in range(self.rounds):
            started = time.process_time()
            self._again(attr, log_level=0, log_size=0, log_buf=None)
            loads.append(time.process_time() - started)
            self._again(attr, log_level=4, log_size=len(log), log_buf=log)
            found = _TIME.search(log)
            own.append(int(found[1]) / 1e6 if found else 0.0)
        found = re.search(rb"processed (\d+) insns", log)
        said = int(found[1]) if found else 0
        self.rows.append({"program": program, "kernel_insns": said, "load": min(loads), "kernel": min(own)})

    def _again(self, attr: Attr, **fields: Any) -> None:
        again = Attr(attr.command)
        again.raw[:] = attr.raw
        again.buffers.update(attr.buffers)
        for name, value in fields.items():
            again.set(name, value if value is not None else 0)
        self._kernel.close(self._kernel.bpf(again))

    def _program(self, attr: Attr) -> Program:
        btf = self.btfs.get(attr.get("prog_btf_fd"))
        functions = [FuncInfo(*row) for row in _records(attr, "func_info", "<II")]
        lines = [
            LineInfo(insn, btf.string(file), btf.string(line), place >> 10, place & 0x3FF, file)
            for insn, file, line, place in _records(attr, "line_info", "<IIII")
            if btf is not None
        ]
        text = attr.read(attr.get("license"), 4)
        return Program(
            decode(bytes(attr.buffers["insns"])), attr.get("prog_type"), self._kernel.version,
            attr.get("expected_attach_type"), "GPL" if text.startswith(b"GPL") else "Dual BSD/GPL",
            _name(attr, "prog_name"), attr.get("prog_flags"), maps=dict(self.maps), btf=btf, func_info=functions,
            line_info=lines, log_level=0, cpus=self._kernel.possible_cpus,
        )  # fmt: skip


def _name(attr: Attr, field: str) -> str:
    place = attr.command.by_name[field]
    return bytes(attr.raw[place.offset : place.offset + place.size]).rstrip(b"\0").decode()


def _records(attr: Attr, name: str, layout: str) -> list[tuple[int, ...]]:
    size = attr.get(f"{name}_rec_size")
    data = attr.buffers.get(name, b"")
    return [struct.unpack_from(layout, data, i) for i in range(0, len(data), size)] if size else []


def objects(paths: list[str]) -> Iterator[Object]:
    if paths:
        for path in paths:
            yield open_object(path)
        return
    for file in sorted(Path("/usr/lib").glob("*/bpf/*.o")):
        yield open_object(file)
    for tool in sorted(Path("/usr/sbin").glob("*")):
        if not tool.is_symlink() and tool.is_file() and 20_000 < tool.stat().st_size < 4_000_000:
            for _offset, elf in find_embedded(tool.read_bytes()):
                yield read_object(elf, name=tool.name)


def measure_here(program: Program, rounds: int) -> tuple[int, float]:
    """Processed instructions (0: not accepted, or not supported) and seconds of CPU time."""
    spent = []
    count = 0
    for _ in range(rounds):
        started = time.process_time()
        try:
            verdict = bombus.verifier.main.verify(program)
        except NotSupported:
            return 0, 0.0
        spent.append(time.process_time() - started)
        count = verdict.processed if verdict.accepted else 0
    return count, min(spent)


def form() -> str:
    return "plain" if bombus.verifier.main.__file__.endswith(".py") else "compiled"


def _child(rounds: int) -> None:
    """Verify the pickled programs of standard input, print [[insns, seconds], ...]."""
    programs = pickle.load(sys.stdin.buffer)
    print(json.dumps({"form": form(), "rows": [measure_here(program, rounds) for program in programs]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", nargs="*")
    parser.add_argument("--compiled", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minimum", type=int, default=0, help="leave out programs of fewer processed instructions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.rounds)
        return
    watch = Watch(LinuxKernel(), options.rounds)
    left_out: dict[str, int] = {}
    for obj in objects(options.object):
        for spec in obj.programs:
            try:
                # Sizes that a tool would set before loading.
                sizes = {item.name: 1024 for item in obj.maps if not item.max_entries and not item.section}
                load(obj, watch, programs=[spec.name], pin_root="", max_entries=sizes).close()
            except (BombusError, KernelError) as error:
                left_out[type(error).__name__] = left_out.get(type(error).__name__, 0) + 1
    rows = watch.rows
    times: dict[str, list[tuple[int, float]]] = {form(): [measure_here(row["program"], options.rounds) for row in rows]}
    if options.compiled:
        data = pickle.dumps([row["program"] for row in rows])
        command = [options.compiled, __file__, "--child", "--rounds", str(options.rounds)]
        answer = json.loads(subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout)
        times[answer["form"]] = [(count, spent) for count, spent in answer["rows"]]
    _report(rows, times, left_out, options.minimum, options.json)


def _report(
    rows: list[dict[str, Any]], times: dict[str, list[tuple[int, float]]], left_out: dict[str, int], minimum: int,
    as_json: bool,
) -> None:  # fmt: skip
    both = [
        i for i, row in enumerate(rows)
        if all(column[i][0] for column in times.values()) and row["kernel_insns"] >= minimum
    ]  # fmt: skip
    insns = sum(rows[i]["kernel_insns"] for i in both)
    table: list[tuple[str, int, float]] = [
        ("kernel, whole load", insns, sum(rows[i]["load"] for i in both)),
        ("kernel, verification", insns, sum(rows[i]["kernel"] for i in both)),
    ]
    for name, column in times.items():
        table.append((f"bombus, {name}", sum(column[i][0] for i in both), sum(column[i][1] for i in both)))
    same = sum(rows[i]["kernel_insns"] == times[form()][i][0] for i in both)
    if as_json:
        print(json.dumps({
            "kernel": platform.release(), "python": platform.python_version(), "programs": len(both),
            "same_count": same, "not_verified_here": len(rows) - len(both), "not_loaded": left_out,
            "rows": [{"who": who, "insns": n, "seconds": s, "per_second": n / s if s else 0} for who, n, s in table],
        }))  # fmt: skip
        return
    print(f"{len(both)} programs, {insns} instructions ({same} with the kernel's count); Linux {platform.release()}")
    print(f"not verified here: {len(rows) - len(both)}; not loaded: {left_out}")
    for who, n, s in table:
        print(f"{who:22} {n:9} insns {s:8.3f} s {n / s if s else 0:12,.0f} insns/s")


if __name__ == "__main__":
    main()
