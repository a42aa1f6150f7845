"""`bombus iter`: iterators as files, with bpftool's verb.

Source: Linux 6.1 tools/bpf/bpftool/iter.c, behaviour.
"""

from __future__ import annotations

import struct
from typing import Any

from bombus.cli import live, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import UsageError
from bombus.spec.attachtypes import ATTACH_TYPE


@noun("iter", "Iterators: pin one, so that reading the file runs it.", default="")
def iter_() -> None:
    pass


@verb(iter_, "pin", "OBJ PATH [map MAP]")
def pin(words: Words) -> None:
    """Load an object and pin its first program as an iterator (over the elements of a map)."""
    from bombus.cli.source import open_program
    from bombus.kernel.handles import Link
    from bombus.loader.load import load

    path, target = words.take("OBJ"), words.take("PATH")
    opened = None
    if words:
        words.expect("map")
        opened = live.item("map", words)
    words.end()
    obj = open_program(path)
    if not obj.programs:
        raise UsageError(f"can't find a program in {obj.name}")
    live.ready_to_pin(target)
    fields: dict[str, Any] = {}
    if opened is not None:
        info = bytearray(struct.pack("=IIQ", opened.fd, 0, 0))  # union bpf_iter_link_info: map.map_fd
        fields = {"iter_info": info, "iter_info_len": len(info)}
    with load(obj, live.kernel(), log_level=7 if output.flag("debug") else 0) as loaded:
        program = next(iter(loaded.programs.values()))
        with Link.create(live.kernel(), program, ATTACH_TYPE["BPF_TRACE_ITER"].id, **fields) as link:
            live.pin(link, target)
    if opened is not None:
        opened.close()
    output.done()
