"""Run one program in every reading: plain Python, BPF on the user kernel, BPF on Linux."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from bombus.bpf.core import GLOBALS
from bombus.bpf.machine import use
from bombus.bpf.map import Map as Declared
from bombus.bpf.program import Program
from bombus.compiler.build import build_module
from bombus.errors import KernelError
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine


@dataclass
class Seen:
    """verdicts as u32, packets afterwards, maps as {name: {key: value}} in bytes, printed lines,
    used: packets that the kind of program takes."""

    verdicts: list[int] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    maps: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)
    used: list[bytes] = field(default_factory=list)


_SHOWN = frozenset({"ARRAY", "HASH", "LRU_HASH", "LPM_TRIE", "PERCPU_ARRAY", "PERCPU_HASH", "LRU_PERCPU_HASH"})


def shown(item: Declared) -> bool:
    return item.MAP_TYPE.removeprefix("BPF_MAP_TYPE_") in _SHOWN


def declared(module: ModuleType) -> dict[str, Declared]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Declared)}


def contents(handle: Any) -> dict[bytes, bytes]:
    """Keys with values; of per-CPU maps the sum over CPUs, as runs may move between them."""
    found: dict[bytes, bytes] = {}
    for key in handle.raw:
        data = handle.raw.lookup(key)
        if handle.type.per_cpu:
            slots = [data[at : at + handle.raw.slot] for at in range(0, len(data), handle.raw.slot)]
            words = [sum(int.from_bytes(s[w : w + 8], "little") for s in slots) for w in range(0, handle.raw.slot, 8)]
            data = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)
        found[key] = data
    return found


def reset_globals() -> None:
    """Give all globals their first contents back."""
    for row in GLOBALS.values():
        row.view._view[:] = row.initial


def plain(module: ModuleType, program: Program[Any, Any], packets: Sequence[bytes], fill: Any = None) -> Seen:
    """fill(maps, put): `maps(name)` is a map's handle, `put(map, index, program)` fills a slot of a program array."""
    machine = PlainMachine()
    reset_globals()
    if fill is not None:
        fill(
            lambda name: machine.map(declared(module)[name]),
            lambda item, index, name: machine.link(declared(module)[item], index, vars(module)[name]),
        )
    seen = Seen()
    with use(machine):
        for packet in packets:
            try:
                outcome = program.run(packet)
            except KernelError as error:
                assert error.errno == errno.EINVAL  # no packet for this kind of program
                continue
            seen.used.append(packet)
            seen.verdicts.append(int(outcome.verdict) & 0xFFFF_FFFF)
            seen.packets.append(outcome.data)
    for name, item in declared(module).items():
        if shown(item):
            seen.maps[name] = contents(machine.map(item))
    seen.printed = machine.kernel.printk()
    return seen


def compiled(
    module: ModuleType, program: Program[Any, Any], packets: Sequence[bytes], kernel: Kernel, fill: Any = None,
    data: bytes | None = None,
) -> Seen:  # fmt: skip
    obj = read_object(data if data is not None else build_module(module), name=module.__name__)
    seen = Seen()
    with load(obj, kernel) as loaded:
        if fill is not None:
            fill(
                lambda name: loaded.maps[name],
                lambda item, index, name: loaded.maps[item].__setitem__(index, loaded.programs[name]),
            )
        handle = loaded.programs[program.__name__]
        for packet in packets:
            out = handle.test_run(packet)
            seen.verdicts.append(out.retval)
            seen.packets.append(out.data)
        for name, item in declared(module).items():
            if shown(item):
                seen.maps[name] = contents(loaded.maps[name])
    return seen
