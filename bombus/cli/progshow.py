"""Programs as `bpftool prog show` prints them.

Source: Linux 6.1 tools/bpf/bpftool/prog.c, behaviour.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from bombus.cli import live
from bombus.cli.live import Item
from bombus.errors import BombusError
from bombus.kernel.handles.base import open_id
from bombus.kernel.handles.info import read_info
from bombus.spec.progtypes import PROG_TYPE_BY_ID

if TYPE_CHECKING:
    from bombus.kernel.linux.holders import Holders

_METADATA = "bpf_metadata_"
_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_NS = 1_000_000_000


def type_name(number: int) -> str:
    """bpftool's name of a program type; "" for one that is not known."""
    row = PROG_TYPE_BY_ID.get(number)
    return row.short if row is not None else ""


def header_json(program: Item) -> dict[str, Any]:
    info = program.info
    found: dict[str, Any] = {"id": info["id"], "type": type_name(info["type"]) or info["type"]}
    if info["name"]:
        found["name"] = live.full_name(program)
    found["tag"] = info["tag"].hex()
    found["gpl_compatible"] = bool(info["gpl_compatible"] & 1)
    if info["run_time_ns"]:
        found |= {"run_time_ns": info["run_time_ns"], "run_cnt": info["run_cnt"]}
    if info["recursion_misses"]:
        found["recursion_misses"] = info["recursion_misses"]
    return found


def as_json(program: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> dict[str, Any]:
    info = program.info
    found = header_json(program) | live.device_json(info)
    if info["load_time"]:
        found |= {"loaded_at": _wall_seconds(info["load_time"]), "uid": info["created_by_uid"]}
    found["orphaned"] = False  # programs of devices that are gone have no info to show
    found["bytes_xlated"] = info["xlated_prog_len"]
    found["jited"] = bool(info["jited_prog_len"])
    if info["jited_prog_len"]:
        found["bytes_jited"] = info["jited_prog_len"]
    memlock = live.fdinfo(program.fd).get("memlock")
    if memlock is not None:
        found["bytes_memlock"] = int(memlock)
    maps = map_ids(program)
    if maps:
        found["map_ids"] = maps
    if info["btf_id"]:
        found["btf_id"] = info["btf_id"]
    if pins:
        found["pinned"] = pins.get(info["id"], [])
    found |= live.refs_json(info["id"], refs)
    metadata = _metadata(maps, plain=False)
    return found | ({"metadata": metadata} if metadata else {})


def header_text(program: Item) -> str:
    info = program.info
    kind = type_name(info["type"])
    text = f"{info['id']}: {kind}  " if kind else f"{info['id']}: type {info['type']}  "
    if info["name"]:
        text += f"name {live.full_name(program)}  "
    text += f"tag {info['tag'].hex()}{live.device_text(info)}"
    if info["gpl_compatible"] & 1:
        text += "  gpl"
    if info["run_time_ns"]:
        text += f" run_time_ns {info['run_time_ns']} run_cnt {info['run_cnt']}"
    if info["recursion_misses"]:
        text += f" recursion_misses {info['recursion_misses']}"
    return text


def as_text(program: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> str:
    info = program.info
    text = header_text(program) + "\n"
    if info["load_time"]:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(_wall_seconds(info["load_time"])))
        text += f"\tloaded_at {when}  uid {info['created_by_uid']}\n"
    text += f"\txlated {info['xlated_prog_len']}B"
    text += f"  jited {info['jited_prog_len']}B" if info["jited_prog_len"] else "  not jited"
    memlock = live.fdinfo(program.fd).get("memlock")
    if memlock is not None:
        text += f"  memlock {memlock}B"
    maps = map_ids(program)
    if maps:
        text += "  map_ids " + ",".join(map(str, maps))
    text += "".join(f"\n\tpinned {path}" for path in pins.get(info["id"], ()))
    if info["btf_id"]:
        text += f"\n\tbtf_id {info['btf_id']}"
    text += live.refs_text(info["id"], refs)
    metadata = _metadata(maps, plain=True)
    if metadata:
        from bombus.cli.output import pretty

        text += "\n\tmetadata:" + "".join(f"\n\t\t{name} = {pretty(value)}" for name, value in metadata.items())
    return text


def _wall_seconds(boot_ns: int) -> int:
    """Seconds since 1970 of a time since boot."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return now // _NS - boot // _NS + (now % _NS - boot % _NS + boot_ns) // _NS


def map_ids(program: Item) -> list[int]:
    """Ids of the maps that a program uses."""
    count = program.info["nr_map_ids"]
    if not count:
        return []
    buffer = bytearray(4 * count)
    info = read_info(program.kernel, program.fd, "bpf_prog_info", inputs={"nr_map_ids": count},
                     buffers={"map_ids": buffer})  # fmt: skip
    count = min(count, info["nr_map_ids"])
    return [int.from_bytes(buffer[at : at + 4], "little") for at in range(0, 4 * count, 4)]


def _metadata(maps: list[int], *, plain: bool) -> dict[str, Any]:
    """Variables of .rodata whose names begin with bpf_metadata_, without that."""
    for number in maps:
        try:
            found = _rodata(number)
            if found is None:
                continue
            from bombus.btf.types import DataSec, Var
            from bombus.cli.typed import Typed

            btf_id, type_id, data = found
            btf = live.btf_by_id(btf_id)
            section = btf.type(type_id)
            if not isinstance(section, DataSec):
                return {}
            typed = Typed(btf, plain=plain)
            shown = {}
            for variable, offset, _ in section.vars:
                row = btf.type(variable)
                if isinstance(row, Var) and row.name.startswith(_METADATA):
                    shown[row.name.removeprefix(_METADATA)] = typed.show(row.type, data[offset:])
            return shown
        except BombusError:
            return {}  # gone, or not to be read: what else is known of the program is worth showing
    return {}


@functools.lru_cache(maxsize=4096)
def _rodata(number: int) -> tuple[int, int, bytes] | None:
    """BTF id, type id and contents of a map that is a program's .rodata; None for other maps."""
    kernel = live.kernel()
    with Item("map", open_id(kernel, "map", number)) as item:
        info = item.info
        if info["type"] != _ARRAY or info["key_size"] != 4 or info["max_entries"] != 1:
            return None
        if not info["btf_value_type_id"] or ".rodata" not in info["name"]:
            return None
        from bombus.kernel.api import Attr

        value = bytearray(info["value_size"])
        kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=item.fd, key=bytes(4), value=value))
        return info["btf_id"], info["btf_value_type_id"], bytes(value)
