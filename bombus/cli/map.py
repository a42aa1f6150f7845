"""`bombus map`: maps of the running kernel, with bpftool's verbs.

Source: Linux 6.1 tools/bpf/bpftool/map.c, behaviour.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import click

from bombus.cli import live, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words, c_number
from bombus.errors import KernelError, UsageError

_FLAGS = {"any": 0, "noexist": 1, "exist": 2}


@noun("map", "Maps: list, dump, read and write. MAP is 'id N', 'name NAME' or 'pinned FILE'; DATA is bytes, or 'hex' "
      "and bytes.")  # fmt: skip
def map_() -> None:
    pass


@verb(map_, "show", "[MAP]")
def show(words: Words) -> None:
    """List maps (also: list)."""
    from bombus.cli import mapshow

    pins, refs = live.pins("map"), live.holders("map")
    if words:
        found = live.items("map", words)
        words.end()
        shown: Any = found
    else:
        found = []
        shown = live.each("map")
    if not output.as_json():
        output.lines(mapshow.as_text(item, pins, refs) for item in shown)
    elif len(found) == 1:
        output.print_json(mapshow.as_json(found[0], pins, refs))
    else:
        output.print_rows(mapshow.as_json(item, pins, refs) for item in shown)
    for item in found:
        item.close()


@verb(map_, "dump", "MAP")
def dump(words: Words) -> None:
    """Print all elements, by their BTF types where the map has them."""
    from bombus.cli import mapshow
    from bombus.cli.mapio import Elements, Shower

    items = live.items("map", words)
    words.end()
    showers = [Shower(Elements(item)) for item in items]
    for item, shower in zip(items, showers, strict=True):
        if shower.elements.type == "reuseport_sockarray" and item.info["value_size"] != 8:
            output.note("Warning: cannot read values from reuseport_sockarray map with value_size != 8")
    if output.as_json():
        if len(items) == 1:
            output.print_rows(_rows(showers[0]))
        else:
            output.print_rows(mapshow.header_json(i) | {"elements": list(_rows(s))}
                              for i, s in zip(items, showers, strict=True))  # fmt: skip
    elif all(shower.typed for shower in showers):
        _typed_text([(mapshow.header_json(item), shower) for item, shower in zip(items, showers, strict=True)])
    else:
        for number, (item, shower) in enumerate(zip(items, showers, strict=True)):
            if len(items) > 1:
                click.echo(mapshow.header_text(item))
            _text(shower)
            if number < len(items) - 1:
                click.echo()
    for item in items:
        item.close()


def _typed_text(maps: list[tuple[dict[str, Any], Any]]) -> None:
    """What bpftool prints of maps with types: JSON-like text, an element at a time."""
    import sys

    write = sys.stdout.write
    if len(maps) > 1:
        rows = [head | {"elements": [s.formatted(k, v, plain=True) for k, v in _pairs(s)]} for head, s in maps]
        write(output.pretty(rows) + "\n")
        return
    shower = maps[0][1]
    write("[")
    count = 0
    for key, value in _pairs(shower):
        write(("," if count else "") + output.pretty(shower.formatted(key, value, plain=True), 1))
        count += 1
    write("\n]\n" if count else "]\n")


def _pairs(shower: Any) -> Iterator[tuple[bytes, bytes]]:
    """Elements that can be read."""
    for key in shower.elements.all_keys():
        try:
            yield key, shower.elements.lookup(key)
        except KernelError as error:
            if not shower.elements.hides(error):
                output.note(shower.error_text(key, error))


def _rows(shower: Any) -> Iterator[dict[str, Any]]:
    elements = shower.elements
    for key in elements.all_keys():
        try:
            yield shower.as_json(key, elements.lookup(key))
        except KernelError as error:
            if not elements.hides(error):
                yield shower.error_json(key, error)


def _text(shower: Any) -> None:
    elements, count = shower.elements, 0
    for key in elements.all_keys():
        try:
            click.echo(shower.as_text(key, elements.lookup(key)))
            count += 1
        except KernelError as error:
            if not elements.hides(error):
                click.echo(shower.error_text(key, error))
    click.echo(f"Found {count} element{'' if count == 1 else 's'}")


class _Element:
    """What `key DATA`, `value VALUE` and the flags say, in any order."""

    def __init__(self, words: Words, elements: Any, *, key: bool, value: bool, flags: bool) -> None:
        self.key = self.value = b""
        self.flags = 0
        self._stack = contextlib.ExitStack()
        wanted = {"key"} if key else set()
        if value:
            wanted.add("value")
        known = wanted | (set(_FLAGS) if flags else set())
        needed = {"key": elements.key_size, "value": elements.size}
        seen: set[str] = set()
        while words:
            word = words.accept("key", "value", *_FLAGS)
            if not word or word not in known:
                if word in ("key", "value"):
                    raise UsageError(f"unnecessary {word}")
                words_left = [w for w in ("key", "value") if w in known] + (list(_FLAGS) if flags else [])
                if word:
                    raise UsageError(f"{word!r} is no option of this verb")
                words.refuse(*words_left)
            kind = "flags" if word in _FLAGS else word
            if kind in seen:
                raise UsageError(f"flags specified multiple times: {word}" if kind == "flags" else f"duplicate {kind}")
            seen.add(kind)
            if kind == "flags":
                self.flags = _FLAGS[word]
            elif not needed[kind]:
                raise UsageError(f"unnecessary {kind}: this map has none")
            elif kind == "key":
                self.key = _bytes(words, "key", elements.key_size)
            else:
                self.value = self._value(words, elements)
        for kind in sorted(wanted):
            if needed[kind] and kind not in seen:
                raise UsageError(f"did not find {kind}")

    def _value(self, words: Words, elements: Any) -> bytes:
        if elements.of_maps or elements.of_programs:
            kind = "map" if elements.of_maps else "prog"
            if elements.of_programs and words.looking_at("id"):
                output.note(
                    "Warning: updating program array via MAP_ID, make sure this map is kept open\n"
                    "         by some process or pinned otherwise update will be lost"
                )
            item = self._stack.enter_context(live.item(kind, words))
            return item.fd.to_bytes(4, "little")
        data = _bytes(words, "value", elements.size)
        return b"".join(data.ljust(elements.step, b"\0") for _ in range(elements.cpus)) if elements.per_cpu else data

    def close(self) -> None:
        self._stack.close()


def _bytes(words: Words, what: str, size: int) -> bytes:
    base = 16 if words.accept("hex") else 0
    data = bytearray()
    while words and len(data) < size:
        data.append(c_number(words.take(what), f"a byte of the {what}", bits=8, base=base))
    if len(data) != size:
        raise UsageError(f"{what} expected {size} bytes got {len(data)}")
    return bytes(data)


@verb(map_, "update", "MAP [key DATA] [value VALUE] [any | exist | noexist]")
def update(words: Words) -> None:
    """Store one element. VALUE is DATA, or a MAP or PROG for maps that hold such."""
    _update(words, key=True)


def _update(words: Words, *, key: bool) -> None:
    from bombus.cli.mapio import Elements

    with live.item("map", words) as item:
        elements = Elements(item)
        found = _Element(words, elements, key=key, value=True, flags=True)
        with contextlib.closing(found):
            elements.update(found.key, found.value, found.flags)
    output.done()


@verb(map_, "lookup", "MAP [key DATA]")
def lookup(words: Words) -> None:
    """Print one element."""
    _lookup(words)


def _lookup(words: Words) -> None:
    from bombus.cli.mapio import Elements, Shower

    with live.item("map", words) as item:
        elements = Elements(item)
        key = _Element(words, elements, key=True, value=False, flags=False).key
        try:
            value = elements.lookup(key)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            if output.as_json():
                output.print_json(None)
            else:
                click.echo(f"key:\n{live.hex_text(key)}\n\nNot found")
            raise click.exceptions.Exit(1) from None
        _print(Shower(elements), key, value)


def _print(shower: Any, key: bytes, value: bytes) -> None:
    if output.as_json():
        output.print_json(shower.as_json(key, value))
    elif shower.typed:
        click.echo(output.pretty(shower.formatted(key, value, plain=True)))
    else:
        click.echo(shower.as_text(key, value))


@verb(map_, "getnext", "MAP [key DATA]")
def getnext(words: Words) -> None:
    """Print the key that follows one, or the first."""
    from bombus.cli.mapio import Elements

    with live.item("map", words) as item:
        elements = Elements(item)
        key = _Element(words, elements, key=True, value=False, flags=False).key if words else None
        following = elements.next_key(key)
    if output.as_json():
        shown = None if key is None else live.hexes(key)
        output.print_json({"key": shown, "next_key": live.hexes(following)})
        return
    click.echo("key: None" if key is None else f"key:\n{live.hex_text(key)}")
    click.echo(f"next key:\n{live.hex_text(following)}")


@verb(map_, "delete", "MAP key DATA")
def delete(words: Words) -> None:
    """Remove one element."""
    from bombus.cli.mapio import Elements

    with live.item("map", words) as item:
        elements = Elements(item)
        elements.delete(_Element(words, elements, key=True, value=False, flags=False).key)
    output.done()


@verb(map_, "pin", "MAP FILE")
def pin(words: Words) -> None:
    """Pin a map, so that it outlives its descriptors."""
    with live.item("map", words) as item:
        path = words.take("FILE")
        words.end()
        live.pin(item, path)
    output.done()


@verb(map_, "event_pipe", "MAP [cpu N index M]")
def event_pipe(words: Words) -> None:
    """Print what programs send through a perf event array, until a signal comes."""
    from bombus.cli.eventpipe import event_pipe as run

    run(words)


@verb(map_, "create", "FILE type TYPE key SIZE value SIZE entries N name NAME [flags FLAGS] [inner_map MAP]")
def create(words: Words) -> None:
    """Make a map and pin it."""
    from bombus.kernel.api import Attr
    from bombus.spec.maptypes import MAP_TYPES

    path = words.take("FILE")
    numbers: dict[str, int] = {}
    kind, name = 0, ""
    fields = {"key": "key_size", "value": "value_size", "entries": "max_entries", "flags": "map_flags"}
    with contextlib.ExitStack() as stack:
        attr = Attr("BPF_MAP_CREATE")
        while words:
            word = words.expect("type", "name", *fields, "dev", "inner_map")
            if word == "type":
                if kind:
                    raise UsageError("map type already specified")
                text = words.take("TYPE")
                kind = next((row.id for row in MAP_TYPES if row.short == text), 0)
                if not kind:
                    raise UsageError(f"unrecognized map type: {text}")
            elif word == "name":
                name = words.take("NAME")
            elif word == "dev":
                attr.set("map_ifindex", live.interface(words.take("dev: a device")))
            elif word == "inner_map":
                attr.set("inner_map_fd", stack.enter_context(live.item("map", words)).fd)
            else:
                if word in numbers:
                    raise UsageError(f"{fields[word]} already specified")
                numbers[word] = words.number(fields[word])
        if not kind:
            raise UsageError("map type not specified")
        if not name:
            raise UsageError("map name not specified")
        short = name.encode()[:15].decode(errors="ignore")
        if short != name:
            output.note(f"the kernel keeps 15 bytes of a name: {short}")
        live.ready_to_pin(path)
        attr.set("map_type", kind)
        attr.set("map_name", short)
        for word, number in numbers.items():
            attr.set(fields[word], number)
        with live.Item("map", live.kernel().bpf(attr)) as made:
            live.pin(made, path)
    output.done()


@verb(map_, "peek", "MAP")
def peek(words: Words) -> None:
    """Print the next value of a queue or stack; it stays there."""
    _lookup(words)


def _taken(shower: Any, read: Any) -> None:
    try:
        value = read()
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        if output.as_json():
            output.print_json(None)
        else:
            click.echo("Error: empty map")
        raise click.exceptions.Exit(1) from None
    _print(shower, bytes(shower.elements.key_size), value)


@verb(map_, "push", "MAP value VALUE")
def push(words: Words) -> None:
    """Add a value to a queue or stack (also: enqueue)."""
    _update(words, key=False)


@verb(map_, "pop", "MAP")
def pop(words: Words) -> None:
    """Take the next value out of a queue or stack (also: dequeue)."""
    from bombus.cli.mapio import Elements, Shower

    with live.item("map", words) as item:
        words.end()
        elements = Elements(item)
        _taken(Shower(elements), elements.pop)


@verb(map_, "freeze", "MAP")
def freeze(words: Words) -> None:
    """Forbid user space to change a map from now on."""
    from bombus.kernel.api import Attr

    with live.item("map", words) as item:
        words.end()
        live.kernel().bpf(Attr("BPF_MAP_FREEZE", map_fd=item.fd))
    output.done()


map_.aliases |= {"enqueue": "push", "dequeue": "pop"}
