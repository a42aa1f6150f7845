"""What modules made by `bombus gen skeleton` are built on. See docs/gen.md."""

from __future__ import annotations

from bombus.skeleton.core import Attached, Beside, Core, Embedded, Links, Section, Skeleton
from bombus.skeleton.maps import (
    ArenaMap,
    ArrayMap,
    BloomMap,
    HashMap,
    Inner,
    MapOfMaps,
    PerCpuArrayMap,
    PerCpuHashMap,
    PerfEventMap,
    ProgramArray,
    QueueMap,
    RingBufMap,
    StackTraceMap,
    TypedMap,
    UserRingMap,
)
from bombus.skeleton.programs import ContextProgram, PacketProgram, Program, Run, TracingProgram
from bombus.skeleton.values import (
    BOOL,
    F32,
    F64,
    POINTER,
    S8,
    S16,
    S32,
    S64,
    S128,
    U8,
    U16,
    U32,
    U64,
    U128,
    Array,
    ArrayCodec,
    Bits,
    BoolBits,
    BoolCodec,
    BytesCodec,
    Chars,
    CharsCodec,
    Enum,
    EnumBits,
    EnumCodec,
    Field,
    Items,
    Struct,
    StructCodec,
)

__all__ = [
    "BOOL", "F32", "F64", "POINTER", "S8", "S16", "S32", "S64", "S128", "U8", "U16", "U32", "U64", "U128",
    "ArenaMap", "Array", "ArrayCodec", "ArrayMap", "Attached", "Beside", "Bits", "BloomMap", "BoolBits", "BoolCodec",
    "BytesCodec", "Chars", "CharsCodec", "ContextProgram", "Core", "Embedded", "Enum", "EnumBits", "EnumCodec",
    "Field", "HashMap", "Inner", "Items", "Links", "MapOfMaps", "PacketProgram", "PerCpuArrayMap",
    "PerCpuHashMap", "PerfEventMap", "Program", "ProgramArray", "QueueMap", "RingBufMap", "Run", "Section",
    "Skeleton", "StackTraceMap", "Struct", "StructCodec", "TracingProgram", "TypedMap", "UserRingMap",
]  # fmt: skip
