"""BTF objects as `bpftool btf show` prints them.

Source: Linux 6.1 tools/bpf/bpftool/btf.c, behaviour. Ids come in ascending order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.kernel.handles.info import read_info

if TYPE_CHECKING:
    from bombus.kernel.linux.holders import Holders

_NAME = 64
Users = dict[int, list[int]]


def show(words: Words) -> None:
    """[id N]"""
    one: live.Item | None = None
    if words:
        words.expect("id")
        one = live.by_id("btf", words)
        words.end()
    programs, maps = _users("prog"), _users("map")
    refs = live.holders("btf")
    if one is not None:
        with one:
            if output.as_json():
                output.print_json(_json(one, programs, maps, refs))
            else:
                output.lines([_text(one, programs, maps, refs)])
    elif output.as_json():
        output.print_rows(_json(item, programs, maps, refs) for item in live.each("btf"))
    else:
        output.lines(_text(item, programs, maps, refs) for item in live.each("btf"))


def _users(kind: str) -> Users:
    """Ids of programs or maps by the id of their BTF."""
    found: Users = {}
    for item in live.each(kind):
        if item.info["btf_id"]:
            found.setdefault(item.info["btf_id"], []).append(item.info["id"])
    return found


def _name(item: live.Item) -> str:
    buffer = bytearray(_NAME)
    info = read_info(item.kernel, item.fd, "bpf_btf_info", inputs={"name_len": _NAME}, buffers={"name": buffer})
    return bytes(buffer[: info["name_len"]]).split(b"\0", 1)[0].decode(errors="replace")


def _json(item: live.Item, programs: Users, maps: Users, refs: dict[int, Holders]) -> dict[str, Any]:
    info, name = item.info, _name(item)
    number = info["id"]
    found: dict[str, Any] = {"id": number, "size": info["btf_size"]}
    found |= {"prog_ids": programs.get(number, []), "map_ids": maps.get(number, [])}
    found |= live.refs_json(number, refs) | {"kernel": bool(info["kernel_btf"])}
    return found | ({"name": name} if name else {})


def _text(item: live.Item, programs: Users, maps: Users, refs: dict[int, Holders]) -> str:
    info, name = item.info, _name(item)
    number = info["id"]
    shown = f"[{name}]" if info["kernel_btf"] else name or "<anon>"
    text = f"{number}: name {shown}  size {info['btf_size']}B"
    for title, users in (("prog_ids", programs), ("map_ids", maps)):
        if number in users:
            text += f"  {title} " + ",".join(map(str, users[number]))
    return text + live.refs_text(number, refs)
