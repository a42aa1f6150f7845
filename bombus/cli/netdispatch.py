"""XDP dispatchers for `bombus net` and `bombus link`: what is in them, joining and leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.cli import live
from bombus.cli.words import Words
from bombus.errors import KernelError, UsageError
from bombus.spec.xdpdispatcher import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from bombus.kernel.handles.attach.dispatchprog import Slot

Row = dict[str, Any]
MODES = {"xdp": "", "xdpgeneric": "skb", "xdpdrv": "native"}


def programs(number: int) -> list[Row]:
    """The programs of the dispatcher with an id, in their order. [] for a program that is none."""
    from bombus.kernel.handles import Program
    from bombus.kernel.handles.attach.dispatcher import full_name, members

    try:
        with Program.from_id(live.kernel(), number) as program:
            if program.name != NAME:
                return []
            found = members(program)
    except KernelError:
        return []  # gone, or not ours to look into
    rows: list[Row] = []
    for one, slot in found:
        row: Row = {"id": one}
        try:
            with Program.from_id(live.kernel(), one) as member:
                row["name"] = full_name(member)
        except KernelError:
            pass  # its place is empty
        rows.append(row | _settings(slot))
    return rows


def _settings(slot: Slot) -> Row:
    return {"priority": slot.priority, "chain": slot.words, "frags": slot.frags}


def place(dispatcher: int, program: int) -> Row:
    """Priority and actions of a program in a dispatcher, by ids; {} when the one is none or the other is not in it."""
    found = next((row for row in programs(dispatcher) if row["id"] == program), None)
    return {name: found[name] for name in ("priority", "chain", "frags")} if found is not None else {}


def text(row: Row) -> str:
    name = f" {row['name']}" if "name" in row else ""
    return f"id {row['id']}{name} {settings_text(row)}"


def settings_text(row: Row) -> str:
    return f"priority {row['priority']} chain {','.join(row['chain']) or 'none'}" + (" frags" if row["frags"] else "")


def dispatcher_of(index: int) -> int:
    """The id of the dispatcher that an interface has; 0 when it has none."""
    from bombus.kernel.handles.attach.dispatcher import attached

    found = attached(live.kernel(), live.kernel().sites, index)
    if found is None:
        return 0
    with found[0] as program:
        return program.id if program.name == NAME else 0


def _options(kind: str, words: Words) -> Row:
    """[priority N] [chain ACTION,...]."""
    if kind not in MODES:
        raise UsageError(f"dispatcher goes with {', '.join(MODES)}")
    options: Row = {"mode": MODES[kind], "dispatcher": True}
    while words:
        word = words.expect("priority", "chain")
        if word in options:
            raise UsageError(f"{word} is given twice")
        if word == "priority":
            options[word] = words.number("priority")
        else:
            options[word] = [part for part in words.take("chain: actions").split(",") if part not in ("", "none")]
    return options


def attach_program(kind: str, item: live.Item, words: Words, index: int) -> None:
    """Join, or make, the dispatcher of an interface. words: what follows `dispatcher`."""
    from bombus.kernel.handles import Program

    options = _options(kind, words)
    with Program.from_id(live.kernel(), item.info["id"]) as program:
        if program.type.short == "xdp":
            raise UsageError("a program that is loaded for XDP cannot join a dispatcher: name its object, file OBJ")
        _keep(program.attach_xdp(index, **options))


def attach_file(kind: str, words: Words, device: Callable[[Words], int]) -> None:
    """`file OBJ [program NAME] dev NAME dispatcher ...`."""
    from bombus.loader.load import load
    from bombus.object.read import open_object

    words.expect("file")
    path = words.take("file: an object")
    name = words.take("program: a name") if words.accept("program") else ""
    index = device(words)
    words.expect("dispatcher")
    options = _options(kind, words)
    obj = open_object(path)
    found = [one.name for one in obj.programs if one.prog_type == "BPF_PROG_TYPE_XDP"]
    if not name and len(found) != 1:
        raise UsageError(f"{path} has {len(found)} XDP programs: say which, program NAME ({', '.join(found)})")
    name = name or found[0]
    with load(obj, live.kernel(), programs=[name]) as item:
        _keep(item.programs[name].attach_xdp(index, **options))


def _keep(made: object) -> None:
    from bombus.kernel.handles import Attachment

    assert isinstance(made, Attachment)
    made.keep()


def detach(index: int, number: int) -> None:
    """Take a program out of a dispatcher; 0: all, and the dispatcher itself. UsageError when it is not in there."""
    from bombus.kernel.handles.attach.dispatcher import exchange, leave

    sites = live.kernel().sites
    if not number:
        exchange(live.kernel(), sites, index, "", lambda there: [])
    elif not leave(live.kernel(), sites, index, number):
        raise UsageError(f"program {number} is not in the dispatcher")
