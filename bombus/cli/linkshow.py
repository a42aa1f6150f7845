"""Links as `bpftool link show` prints them.

Source: Linux 6.1 tools/bpf/bpftool/link.c, behaviour; Linux 6.12's for what bpftool 7.1 does not know: the members of
struct_ops, xdp, netfilter, tcx, netkit, sockmap, kprobe_multi, uprobe_multi and perf_event links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.cli import linkprobes, live
from bombus.cli.attachwords import attach_type_name
from bombus.cli.live import Item
from bombus.errors import KernelError
from bombus.kernel.handles.base import open_id
from bombus.kernel.handles.info import Info
from bombus.spec.linktypes import LINK_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE_BY_ID

if TYPE_CHECKING:
    from bombus.kernel.linux.holders import Holders

# Pointers of bpf_link_info by link type (and, for perf_event, by its type): (pointer, count).
_NAMES = {
    "raw_tracepoint": ("raw_tracepoint_tp_name", "raw_tracepoint_tp_name_len"),
    "iter": ("iter_target_name", "iter_target_name_len"),
}
_ORDERS = ("order_unspec", "self_only", "descendants_pre", "descendants_post", "ancestors_up")
_MAP_ITERS = ("bpf_map_elem", "bpf_sk_storage_map")
_TASK_ITERS = ("task", "task_file", "task_vma")
# include/uapi/linux/netfilter.h
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HOOKS = {
    "inet": ("prerouting", "input", "forward", "output", "postrouting"), "arp": ("input", "output", "forward"),
    "bridge": ("prerouting", "input", "forward", "output", "postrouting", "brouting"),
}  # fmt: skip


def _attach(number: int) -> Any:
    return attach_type_name(number) or number


def details(item: Item) -> dict[str, Any]:
    """The members that a link's type has."""
    info = item.info
    row = LINK_TYPE_BY_ID.get(info["type"])
    kind = row.short if row is not None else ""
    if kind == "raw_tracepoint":
        return {"tp_name": linkprobes.string(item, *_NAMES[kind])}
    if kind == "tracing":
        return _tracing(info)
    if kind == "cgroup":
        return {"cgroup_id": info["cgroup_cgroup_id"], "attach_type": _attach(info["cgroup_attach_type"])}
    if kind == "iter":
        return _iterator(item, info)
    if kind == "netns":
        return {"netns_ino": info["netns_netns_ino"], "attach_type": _attach(info["netns_attach_type"])}
    if kind == "xdp":
        return _device(info["xdp_ifindex"])
    if kind in ("tcx", "netkit"):
        return _device(info[f"{kind}_ifindex"]) | {"attach_type": _attach(info[f"{kind}_attach_type"])}
    if kind == "sockmap":
        return {"map_id": info["sockmap_map_id"], "attach_type": _attach(info["sockmap_attach_type"])}
    if kind == "struct_ops":
        return {"map_id": info["struct_ops_map_id"]}
    if kind == "netfilter":
        return netfilter(info)
    if kind in _PROBES:
        return _PROBES[kind](item, info)
    return {}


_PROBES = {
    "kprobe_multi": linkprobes.kprobe_multi, "uprobe_multi": linkprobes.uprobe_multi,
    "perf_event": linkprobes.perf_event,
}  # fmt: skip


def netfilter(info: Info) -> dict[str, Any]:
    return {"pf": info["netfilter_pf"], "hook": info["netfilter_hooknum"], "prio": info["netfilter_priority"],
            "flags": info["netfilter_flags"]}  # fmt: skip


def _tracing(info: Info) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with Item("prog", open_id(live.kernel(), "prog", info["prog_id"])) as program:
            number = program.info["type"]
        row = PROG_TYPE_BY_ID.get(number)
        found["prog_type"] = row.short if row is not None else number
    except KernelError:
        pass  # gone meanwhile
    found["attach_type"] = _attach(info["tracing_attach_type"])
    if info["tracing_target_obj_id"]:
        found["target_obj_id"] = info["tracing_target_obj_id"]
    if info["tracing_target_btf_id"]:
        found["target_btf_id"] = info["tracing_target_btf_id"]
    if found.get("prog_type") == "ext" and info["tracing_target_obj_id"]:
        from bombus.cli import netdispatch

        place = netdispatch.place(info["tracing_target_obj_id"], info["prog_id"])
        if place:
            found["dispatcher"] = place
    return found


def _iterator(item: Item, info: Info) -> dict[str, Any]:
    name = linkprobes.string(item, *_NAMES["iter"])
    found: dict[str, Any] = {"target_name": name}
    if name in _MAP_ITERS:
        found["map_id"] = info["iter_map_map_id"]
    elif name in _TASK_ITERS:
        if info["iter_task_tid"]:
            found["tid"] = info["iter_task_tid"]
        elif info["iter_task_pid"]:
            found["pid"] = info["iter_task_pid"]
    elif name == "cgroup":
        order = info["iter_cgroup_order"]
        found["cgroup_id"] = info["iter_cgroup_cgroup_id"]
        found["order"] = _ORDERS[order] if order < len(_ORDERS) else "unknown"
    return found


def _device(number: int) -> dict[str, Any]:
    import socket

    try:
        return {"devname": socket.if_indextoname(number), "ifindex": number} if number else {"ifindex": number}
    except OSError:
        return {"ifindex": number}


def as_json(item: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> dict[str, Any]:
    info = item.info
    row = LINK_TYPE_BY_ID.get(info["type"])
    found: dict[str, Any] = {"id": info["id"], "type": row.short if row is not None else info["type"]}
    found |= {"prog_id": info["prog_id"]} | details(item)
    if pins:
        found["pinned"] = pins.get(info["id"], [])
    return found | live.refs_json(info["id"], refs)


def as_text(item: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> str:
    info = item.info
    row = LINK_TYPE_BY_ID.get(info["type"])
    text = f"{info['id']}: {row.short if row is not None else 'type ' + str(info['type'])}  "
    text += f"prog {info['prog_id']}  " + _text(row.short if row is not None else "", details(item))
    text += "".join(f"\n\tpinned {path}" for path in pins.get(info["id"], ()))
    return text + live.refs_text(info["id"], refs)


def _text(kind: str, found: dict[str, Any]) -> str:
    if kind == "raw_tracepoint":
        return f"\n\ttp '{found['tp_name']}'  "
    if kind == "iter":
        texts = [f"{name} {value} " + ("" if name in ("tid", "pid") else " ") for name, value in found.items()]
        return "".join(texts)
    if kind == "netfilter":
        return "\n\t" + netfilter_text(found)
    if kind in ("xdp", "tcx", "netkit"):
        name = found.get("devname")
        text = f"\n\tifindex {name}({found['ifindex']})  " if name else f"\n\tifindex {found['ifindex']}  "
        return text + (f"attach_type {found['attach_type']}  " if "attach_type" in found else "")
    if not found:
        return ""
    if kind in _PROBES:
        return linkprobes.text(kind, found)
    if kind == "tracing":
        lines: list[tuple[str, ...]] = [("prog_type", "attach_type"), ("target_obj_id", "target_btf_id")]
    else:
        lines = [tuple(found)]
    rows = ([f"{name} {found[name]}  " for name in names if name in found] for names in lines)
    text = "".join("\n\t" + "".join(row) for row in rows if row)
    if "dispatcher" in found:
        from bombus.cli import netdispatch

        text += f"\n\txdp dispatcher: {netdispatch.settings_text(found['dispatcher'])}"
    return text


def netfilter_text(found: dict[str, Any]) -> str:
    """Family, hook and priority."""
    family = _FAMILIES.get(found["pf"])
    if family is None:
        return f"pf: {found['pf']} hook {found['hook']} prio {found['prio']} flags 0x{found['flags']:x}"
    hooks = _HOOKS.get(family, _HOOKS["inet"])
    hook = hooks[found["hook"]] if found["hook"] < len(hooks) else f"hook {found['hook']}"
    flags = f" flags 0x{found['flags']:x}" if found["flags"] else ""
    return f"{family} {hook} prio {found['prio']}{flags}"
