"""Events for JSON: records with names of enumerators, and text where arrays of u8 hold it."""

from __future__ import annotations

import enum
import re
from typing import Any

from bombus.btf.layouts import Buffer, EnumInt, Layout
from bombus.btf.records import Record, members, record_of, text_of

# Names under which programs keep text in arrays of u8, for want of a char type.
_TEXT = re.compile(r"comm|name|path|file|cmd|arg|text|str|msg|message|host|query|label|symbol|func", re.IGNORECASE)


def is_text(name: str, raw: bytes) -> bool:
    """Whether an array of u8 is text: it is named so, and what stands before the NUL can be printed."""
    if not _TEXT.search(name) or len(raw) < 4:
        return False
    head = raw.partition(b"\0")[0]
    return all(byte >= 0x20 and byte != 0x7F for byte in head)


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
