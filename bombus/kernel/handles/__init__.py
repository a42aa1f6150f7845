"""Handles of kernel objects and readers of their events, over either kernel.

Import from here; the rooms behind it are: base (descriptors), info, maps, rawmap, views, programs, attaching and attach
(what programs attach to), attachment, links, btf; reader, ringbuf, perfbuf, userring and readers (several at once).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bombus.kernel.handles.attachment import Attachment, Group
    from bombus.kernel.handles.base import Handle
    from bombus.kernel.handles.btf import Btf
    from bombus.kernel.handles.info import Info, ids, read_info
    from bombus.kernel.handles.links import IterLink, Link
    from bombus.kernel.handles.maps import Map, map_type_of
    from bombus.kernel.handles.perfbuf import PerfBuffer, PerfError
    from bombus.kernel.handles.programs import Program, attach_type_of, prog_type_of
    from bombus.kernel.handles.rawmap import RawMap
    from bombus.kernel.handles.reader import Reader
    from bombus.kernel.handles.readers import Readers
    from bombus.kernel.handles.ringbuf import RingBuffer, RingError
    from bombus.kernel.handles.testrun import TestRun
    from bombus.kernel.handles.token import Token
    from bombus.kernel.handles.userring import Sample, UserRing

__all__ = [
    "Attachment",
    "Btf",
    "Group",
    "Handle",
    "Info",
    "IterLink",
    "Link",
    "Map",
    "PerfBuffer",
    "PerfError",
    "Program",
    "RawMap",
    "Reader",
    "Readers",
    "RingBuffer",
    "RingError",
    "Sample",
    "TestRun",
    "Token",
    "UserRing",
    "attach_type_of",
    "ids",
    "map_type_of",
    "prog_type_of",
    "read_info",
]

# Where each lives: it is imported when it is first asked for, so that a command pays only for what it uses.
_ROOMS = {
    "Attachment": "attachment",
    "Btf": "btf",
    "Group": "attachment",
    "Handle": "base",
    "Info": "info",
    "IterLink": "links",
    "Link": "links",
    "Map": "maps",
    "PerfBuffer": "perfbuf",
    "PerfError": "perfbuf",
    "Program": "programs",
    "RawMap": "rawmap",
    "Reader": "reader",
    "Readers": "readers",
    "RingBuffer": "ringbuf",
    "RingError": "ringbuf",
    "Sample": "userring",
    "TestRun": "testrun",
    "Token": "token",
    "UserRing": "userring",
    "attach_type_of": "programs",
    "ids": "info",
    "map_type_of": "maps",
    "prog_type_of": "programs",
    "read_info": "info",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = found
    return found
