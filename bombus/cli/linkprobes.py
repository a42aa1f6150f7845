"""Links of probes and perf events as `bpftool link show` prints them.

Source: Linux 6.12 tools/bpf/bpftool/link.c (show_kprobe_multi_json, show_uprobe_multi_json, show_perf_event_*),
behaviour and names of events.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from bombus.cli.live import Item
from bombus.errors import BombusError, KernelError
from bombus.kernel.handles.info import Info, read_info

_ROOM = 256
_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN
# enum bpf_perf_event_type
_UPROBE, _URETPROBE, _KPROBE, _KRETPROBE, _TRACEPOINT, _EVENT = 1, 2, 3, 4, 5, 6
_NAMES: Final = {
    _UPROBE: "uprobe_file", _URETPROBE: "uprobe_file", _KPROBE: "kprobe_func", _KRETPROBE: "kprobe_func",
    _TRACEPOINT: "tracepoint_tp",
}  # fmt: skip
# include/uapi/linux/perf_event.h: perf_type_id, and what its events are called
_TYPES: Final = ("hardware", "software", "tracepoint", "hw-cache", "raw", "breakpoint")
_EVENTS: Final = {
    "hardware": ("cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions",
                 "branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"),
    "software": ("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults",
                 "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output", "cgroup-switches"),
}  # fmt: skip
_CACHE: Final = (
    ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node"), ("load", "store", "prefetch"),
    ("refs", "misses"),
)  # fmt: skip


def string(item: Item, pointer: str, count: str) -> str:
    """A text that a link's info points to."""
    buffer = bytearray(_ROOM)
    try:
        info = read_info(item.kernel, item.fd, "bpf_link_info", inputs={count: len(buffer)}, buffers={pointer: buffer})
    except KernelError:  # longer than the room: the kernel has filled in what fits
        return bytes(buffer).split(b"\0", 1)[0].decode(errors="replace")
    return bytes(buffer[: info[count]] or buffer).split(b"\0", 1)[0].decode(errors="replace")


def _arrays(item: Item, kind: str, count: int, *names: str) -> list[tuple[int, ...]]:
    """Rows of u64 arrays of a multi link; empty where this kernel does not fill them in."""
    buffers = {f"{kind}_{name}": bytearray(8 * count) for name in names}
    try:
        read_info(item.kernel, item.fd, "bpf_link_info", inputs={f"{kind}_count": count}, buffers=buffers)
    except BombusError:
        return []
    return list(zip(*(struct.unpack(f"={count}Q", data) for data in buffers.values()), strict=True))


def _symbols(addresses: set[int]) -> dict[int, tuple[str, str | None]]:
    """(name, module) of kernel functions by their address."""
    found: dict[int, tuple[str, str | None]] = {}
    try:
        with open("/proc/kallsyms", "rb") as file:
            for line in file:
                words = line.split()
                address = int(words[0], 16)
                if address in addresses:
                    module = words[3].strip(b"[]").decode() if len(words) > 3 else None
                    found.setdefault(address, (words[2].decode(), module))
    except (OSError, ValueError):
        return {}
    return found


def kprobe_multi(item: Item, info: Info) -> dict[str, Any]:
    count = info["kprobe_multi_count"]
    rows = sorted(_arrays(item, "kprobe_multi", count, "addrs", "cookies"))
    names = _symbols({address for address, _ in rows})
    functions = []
    for address, cookie in rows:
        if address in names:  # addresses are zero for who may not know them
            name, module = names[address]
            functions.append({"addr": address, "func": name, "module": module, "cookie": cookie})
    return {"retprobe": bool(info["kprobe_multi_flags"] & _RETURN), "func_cnt": count,
            "missed": info["kprobe_multi_missed"], "funcs": functions}  # fmt: skip


def uprobe_multi(item: Item, info: Info) -> dict[str, Any]:
    count = info["uprobe_multi_count"]
    rows = _arrays(item, "uprobe_multi", count, "offsets", "ref_ctr_offsets", "cookies")
    return {
        "retprobe": bool(info["uprobe_multi_flags"] & _RETURN),
        "path": string(item, "uprobe_multi_path", "uprobe_multi_path_size"), "func_cnt": count,
        "pid": info["uprobe_multi_pid"],
        "funcs": [{"offset": offset, "ref_ctr_offset": counter, "cookie": cookie} for offset, counter, cookie in rows],
    }  # fmt: skip


def perf_event(item: Item, info: Info) -> dict[str, Any]:
    kind = info["perf_event_type"]
    if kind == _EVENT:
        type_, config = event_names(info["perf_event_event_type"], info["perf_event_event_config"])
        return {"event_type": type_, "event_config": config, "cookie": info["perf_event_event_cookie"]}
    if kind not in _NAMES:
        return {}
    stem = _NAMES[kind]
    name = string(item, f"perf_event_{stem}_name", f"perf_event_{stem.split('_')[0]}_name_len")
    if kind == _TRACEPOINT:
        return {"tracepoint": name, "cookie": info["perf_event_tracepoint_cookie"]}
    if kind in (_UPROBE, _URETPROBE):
        return {"retprobe": kind == _URETPROBE, "file": name, "offset": info["perf_event_uprobe_offset"],
                "cookie": info["perf_event_uprobe_cookie"]}  # fmt: skip
    return {"retprobe": kind == _KRETPROBE, "addr": info["perf_event_kprobe_addr"], "func": name,
            "offset": info["perf_event_kprobe_offset"], "missed": info["perf_event_kprobe_missed"],
            "cookie": info["perf_event_kprobe_cookie"]}  # fmt: skip


def event_names(type_: int, config: int) -> tuple[str | int, str | int]:
    """Names of an event's type and configuration, numbers where they have none."""
    name = _TYPES[type_] if type_ < len(_TYPES) else ""
    if name == "hw-cache":
        parts = zip(_CACHE, (config & 0xFF, config >> 8 & 0xFF, config >> 16), strict=True)
        return name, "-".join(names[at] if at < len(names) else str(at) for names, at in parts)
    names = _EVENTS.get(name, ())
    return name or type_, names[config] if config < len(names) else config


def text(kind: str, found: dict[str, Any]) -> str:
    """The lines under the link's own."""
    if kind == "kprobe_multi":
        return _kprobes(found)
    if kind == "uprobe_multi":
        return _uprobes(found)
    cookie = f"cookie {found.get('cookie')}  " if found.get("cookie") else ""
    back = "ret" if found.get("retprobe") else ""
    if "tracepoint" in found:
        return f"\n\ttracepoint {found['tracepoint']}  {cookie}" if found["tracepoint"] else ""
    if "file" in found:
        return f"\n\tu{back}probe {found['file']}+{found['offset']:#x}  {cookie}" if found["file"] else ""
    if "func" in found:
        if not (found["func"] or found["addr"]):
            return ""
        place = (f"{found['addr']:x} " if found["addr"] else "") + found["func"]
        place += f"+{found['offset']:#x}" if found["offset"] else ""
        more = "".join(f"  {name} {found[name]}" for name in ("missed", "cookie") if found[name])
        return f"\n\tk{back}probe {place}{more}  "
    if "event_type" in found:
        sign = ":" if isinstance(found["event_type"], str) else " :"
        return f"\n\tevent {found['event_type']}{sign}{found['event_config']}  {cookie}"
    return ""


def _kprobes(found: dict[str, Any]) -> str:
    lines = f"\n\tk{'ret' if found['retprobe'] else ''}probe.multi  func_cnt {found['func_cnt']}  "
    lines += f"missed {found['missed']}  " if found["missed"] else ""
    if found["funcs"]:
        lines += f"\n\t{'addr':<16} {'cookie':<16} func [module]"
    for row in found["funcs"]:
        module = f" [{row['module']}]" if row["module"] else ""
        lines += f"\n\t{row['addr']:016x} {row['cookie']:<16x} {row['func']}{module}  "
    return lines


def _uprobes(found: dict[str, Any]) -> str:
    lines = f"\n\tu{'ret' if found['retprobe'] else ''}probe.multi  path {found['path']}  "
    lines += f"func_cnt {found['func_cnt']}  "
    lines += f"pid {found['pid']}  " if found["pid"] else ""
    lines += f"\n\t{'offset':<16}   {'ref_ctr_offset':<16}   {'cookies':<16}"
    for row in found["funcs"]:
        lines += f"\n\t0x{row['offset']:<16x} 0x{row['ref_ctr_offset']:<16x} 0x{row['cookie']:<16x}"
    return lines
