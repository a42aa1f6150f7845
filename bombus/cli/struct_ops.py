"""`bombus struct_ops`: tables of functions that programs implement, with bpftool's verbs.

Source: Linux 6.1 tools/bpf/bpftool/struct_ops.c, behaviour.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import live, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import BombusError, KernelError, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles.base import open_id
from bombus.spec.maptypes import MAP_TYPE

if TYPE_CHECKING:
    from bombus.loader.structops import StructOps

_TYPE = MAP_TYPE["BPF_MAP_TYPE_STRUCT_OPS"].id
_PREFIX = "bpf_struct_ops_"
_KEY = bytes(4)


@noun("struct_ops", "struct_ops maps: list, dump, register, unregister. MAP is 'id N' or 'name NAME'.")
def struct_ops() -> None:
    pass


def _found(words: Words) -> list[live.Item]:
    """The maps that words name, open; all without words."""
    if not words:
        kept = [item for item in live.each("map") if item.info["type"] == _TYPE]
        return [live.by_id("map", Words([str(item.info["id"])])) for item in kept]
    how = words.expect("id", "name")
    if how == "id":
        item = live.by_id("map", words)
        words.end()
        if item.info["type"] != _TYPE:
            with item:
                raise UsageError(f"{item.info['name']} id {item.info['id']} is not a struct_ops map")
        return [item]
    name = words.take("name")
    words.end()
    numbers = [i.info["id"] for i in live.each("map") if i.info["type"] == _TYPE and i.info["name"] == name]
    if not numbers:
        raise UsageError(f"no struct_ops found for {name}")
    return [live.Item("map", open_id(live.kernel(), "map", number)) for number in numbers]


def _kernel_name(item: live.Item) -> str:
    """The kernel's struct without its wrapper: "tcp_congestion_ops"."""
    return live.vmlinux().name(item.info["btf_vmlinux_value_type_id"]).removeprefix(_PREFIX)


@verb(struct_ops, "show", "[MAP]")
def show(words: Words) -> None:
    """List struct_ops maps (also: list)."""
    one = words.looking_at("id")
    items = _found(words)
    rows = [{"id": i.info["id"], "name": i.info["name"], "kernel_struct_ops": _kernel_name(i)} for i in items]
    for item in items:
        item.close()
    if output.as_json():
        output.print_json(rows[0] if one else rows)
    else:
        output.lines(f"{row['id']}: {row['name']:<15} {row['kernel_struct_ops']:<32}" for row in rows)


@verb(struct_ops, "dump", "[MAP]")
def dump(words: Words) -> None:
    """Print the members of struct_ops maps, with the programs behind them."""
    plain = not output.as_json()
    rows: list[dict[str, Any]] = []
    for item in _found(words):
        with item:
            rows += _dump(item, plain)
    if plain:
        click.echo(output.pretty(rows))
    else:
        output.print_json(rows)


def _dump(item: live.Item, plain: bool) -> Iterator[dict[str, Any]]:
    from bombus.btf.types import Kind
    from bombus.cli.typed import Typed

    btf = live.vmlinux()
    typed = Typed(btf, plain=plain, function=_function)
    kind = btf.find("bpf_map_info", Kind.STRUCT)
    if kind is None:
        raise UsageError("the kernel's BTF has no struct bpf_map_info")
    info = bytearray(btf.size_of(kind))
    live.kernel().bpf(Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=item.fd, info_len=len(info), info=info))
    yield {"bpf_map_info": typed.show(kind, bytes(info))}
    number = item.info["btf_vmlinux_value_type_id"]
    value = bytearray(item.info["value_size"])
    live.kernel().bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=item.fd, key=_KEY, value=value))
    yield {btf.name(number): typed.show(number, bytes(value))}


def _function(proto: int, prog_id: int) -> str:
    """A member that is a function: its type, and the program there."""
    from bombus.btf.signature import signature

    text = signature(live.vmlinux(), proto)
    if not prog_id:
        return f"{text} 0"
    return f"{text} {_program(prog_id) or '<unknown_prog_name>'}/prog_id:{prog_id}"


def _program(number: int) -> str:
    """The name of a program's function in its BTF."""
    from bombus.kernel.handles.info import read_info

    try:
        with live.Item("prog", open_id(live.kernel(), "prog", number)) as item:
            info = item.info
            if not info["btf_id"] or not info["nr_func_info"]:
                return ""
            record = bytearray(8)
            read_info(item.kernel, item.fd, "bpf_prog_info", inputs={"nr_func_info": 1, "func_info_rec_size": 8},
                      buffers={"func_info": record})  # fmt: skip
            return live.btf_by_id(info["btf_id"]).name(int.from_bytes(record[4:], "little"))
    except BombusError:
        return ""


@verb(struct_ops, "register", "OBJ [LINK_DIR]")
def register(words: Words) -> None:
    """Load an object and register its struct_ops maps; they stay registered.

    Maps of .struct_ops.link are registered by links, which are pinned in LINK_DIR.
    """
    from bombus.cli.source import open_program
    from bombus.loader.load import load

    obj = open_program(words.take("OBJ"))
    folder = words.take("LINK_DIR") if words else ""
    words.end()
    if all(spec.type != _TYPE for spec in obj.maps):
        raise UsageError(f"no struct_ops found in {obj.name}")
    with load(obj, live.kernel(), log_level=7 if output.flag("debug") else 0) as loaded:
        failed = []
        for name, item in loaded.struct_ops.items():
            try:
                number, kind = _register(name, item, folder)
                output.note(f"Registered {kind} {name} id {number}")
            except KernelError as error:
                failed.append(f"can't register struct_ops {name}: {error}")
        if failed:
            raise UsageError("\n".join(failed))
    output.done()


def _register(name: str, item: StructOps, folder: str) -> tuple[int, str]:
    """Register one map for good: its id and the kernel's name of the struct."""
    from bombus.kernel.handles import Link

    made = item.attach()
    assert item.map is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(made)
        if isinstance(made, Link):
            if not folder:
                raise UsageError(f"{name} is registered by a link, which ends with this command: give LINK_DIR")
            live.pin(made, os.path.join(folder, name))
        else:
            made.keep()
        with live.Item("map", os.dup(item.map.fd)) as shown:
            return shown.info["id"], _kernel_name(shown)


@verb(struct_ops, "unregister", "MAP")
def unregister(words: Words) -> None:
    """Take struct_ops maps out of use."""
    if not words:
        words.refuse("id", "name")
    for item in _found(words):
        with item:
            live.kernel().bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=item.fd, key=_KEY))
            output.note(f"Unregistered {_kernel_name(item)} {item.info['name']} id {item.info['id']}")
    output.done()
