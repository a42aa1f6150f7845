"""Maps as `bpftool map show` prints them.

Source: Linux 6.1 tools/bpf/bpftool/map.c, behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.cli import live
from bombus.cli.live import Item
from bombus.cli.mapio import type_name
from bombus.spec.progtypes import PROG_TYPE_BY_ID

if TYPE_CHECKING:
    from bombus.kernel.linux.holders import Holders


def header_json(item: Item) -> dict[str, Any]:
    info = item.info
    found: dict[str, Any] = {"id": info["id"], "type": type_name(info["type"]) or info["type"]}
    if info["name"]:
        found["name"] = info["name"]
    return found | {"flags": info["map_flags"]}


def as_json(item: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> dict[str, Any]:
    info = item.info
    facts = live.fdinfo(item.fd)
    found = header_json(item) | live.device_json(info)
    found |= {"bytes_key": info["key_size"], "bytes_value": info["value_size"], "max_entries": info["max_entries"]}
    if "memlock" in facts:
        found["bytes_memlock"] = int(facts["memlock"])
    if type_name(info["type"]) == "prog_array":
        if "owner_prog_type" in facts:
            number = int(facts["owner_prog_type"])
            row = PROG_TYPE_BY_ID.get(number)
            found["owner_prog_type"] = row.short if row is not None else number
        if "owner_jited" in facts:
            found["owner_jited"] = facts["owner_jited"] != "0"
    found["frozen"] = int(facts.get("frozen", "0"))
    if info["btf_id"]:
        found["btf_id"] = info["btf_id"]
    if pins:
        found["pinned"] = pins.get(info["id"], [])
    return found | live.refs_json(info["id"], refs)


def header_text(item: Item) -> str:
    info = item.info
    kind = type_name(info["type"])
    text = f"{info['id']}: {kind}  " if kind else f"{info['id']}: type {info['type']}  "
    if info["name"]:
        text += f"name {info['name']}  "
    return f"{text}flags 0x{info['map_flags']:x}{live.device_text(info)}"


def as_text(item: Item, pins: dict[int, list[str]], refs: dict[int, Holders]) -> str:
    info = item.info
    facts = live.fdinfo(item.fd)
    text = header_text(item)
    text += f"\n\tkey {info['key_size']}B  value {info['value_size']}B  max_entries {info['max_entries']}"
    if "memlock" in facts:
        text += f"  memlock {facts['memlock']}B"
    if type_name(info["type"]) == "prog_array":
        kind, jited = facts.get("owner_prog_type"), facts.get("owner_jited")
        if kind is not None or jited is not None:
            text += "\n\t"
        if kind is not None:
            row = PROG_TYPE_BY_ID.get(int(kind))
            text += f"owner_prog_type {row.short if row is not None else kind}  "
        if jited is not None:
            text += f"owner{'' if jited != '0' else ' not'} jited"
    text += "".join(f"\n\tpinned {path}" for path in pins.get(info["id"], ()))
    frozen = facts.get("frozen", "0") != "0"
    if info["btf_id"] or frozen:
        text += "\n\t"
    if info["btf_id"]:
        text += f"btf_id {info['btf_id']}"
    if frozen:
        text += ("  " if info["btf_id"] else "") + "frozen"
    return text + live.refs_text(info["id"], refs)
