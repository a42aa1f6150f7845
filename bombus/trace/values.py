"""Events for JSON: records with names of enumerators, and text where arrays of u8 hold it."""

from __future__ import annotations

import enum
from typing import Any

from bombus.btf.layouts import Buffer, EnumInt, Layout
from bombus.btf.records import Record, is_text, members, record_of, text_of


def plain(value: Any, name: str = "") -> Any:
    """A value of a record as JSON has it: enumerators by name, bytes as text or hexadecimal."""
    if isinstance(value, Record):
        return {member: plain(one, member) for member, one in members(value)}
    if isinstance(value, enum.IntEnum):
        return value.name
    if isinstance(value, EnumInt):
        return value.name or int(value)
    if isinstance(value, (bytes, bytearray)):
        return text_of(bytes(value)) if is_text(name, bytes(value)) else bytes(value).hex()
    if isinstance(value, list):
        return [plain(one, name) for one in value]
    return value


def jsonable(layout: Layout, data: Buffer) -> Any:
    """An event as its type says. UsageError when it is too short."""
    return plain(record_of(layout, data))
