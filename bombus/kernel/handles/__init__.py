"""Handles of kernel objects and readers of their events, over either kernel.

Import from here; the rooms behind it are: base (descriptors), info, maps, rawmap, views, programs, links, btf, readers.
"""

from __future__ import annotations

from bombus.kernel.handles.base import Handle
from bombus.kernel.handles.btf import Btf
from bombus.kernel.handles.info import Info, ids, read_info
from bombus.kernel.handles.links import Link
from bombus.kernel.handles.maps import Map, map_type_of
from bombus.kernel.handles.programs import Program, TestRun, attach_type_of, prog_type_of
from bombus.kernel.handles.rawmap import RawMap
from bombus.kernel.handles.readers import PerfBuffer, RingBuffer, UserRing

__all__ = [
    "Btf",
    "Handle",
    "Info",
    "Link",
    "Map",
    "PerfBuffer",
    "Program",
    "RawMap",
    "RingBuffer",
    "TestRun",
    "UserRing",
    "attach_type_of",
    "ids",
    "map_type_of",
    "prog_type_of",
    "read_info",
]
