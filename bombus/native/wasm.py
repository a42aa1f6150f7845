"""One WebAssembly object of LLVM's to a module that runs by itself: memory, stack and exports of its own.

Facts: WebAssembly core specification 2.0 chapter 5 (binary format); tool-conventions Linking.md (linking section,
relocations). Indices of functions, types and table entries stay as they are in the object; only addresses move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bombus.bits import align_up
from bombus.errors import CodegenError, NotSupported
from bombus.native.wasi import MODULE as SYSTEM

MAGIC: Final = b"\0asm\1\0\0\0"
BASE: Final = 1024  # the first byte of data: a null pointer leads nowhere of ours
STACK: Final = 1 << 16
PAGE: Final = 1 << 16
HEAP: Final = "__heap_base"  # a global: memory from there on is the host's to use
MEMORY: Final = "memory"
_CUSTOM, _IMPORT, _TABLE, _MEMORY, _GLOBAL, _EXPORT, _CODE, _DATA, _DATA_COUNT = 0, 2, 4, 5, 6, 7, 10, 11, 12
_ORDER: Final = (1, 2, 3, 4, 5, 6, 7, 9, 12, 10, 11)
_FUNC_KIND, _TABLE_KIND, _MEMORY_KIND, _GLOBAL_KIND = range(4)
_SYMBOLS: Final = 8  # subsection of "linking"
_UNDEFINED, _NAMED, _LOCAL, _HIDDEN, _ABSOLUTE = 0x10, 0x40, 0x2, 0x4, 0x200
_ADDRESSES: Final = {3: "leb", 4: "sleb", 5: "i32"}  # R_WASM_MEMORY_ADDR_*
_FINAL: Final = (0, 1, 2, 6, 7, 20)  # indices of functions, table entries, types, globals, tables
_OFFSETS: Final = (8, 9)  # of functions and sections, in debug information
_STACK_POINTER: Final = "__stack_pointer"
_I32, _MUTABLE = b"\x7f", b"\x01"


def leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sleb(value: int) -> bytes:
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value & 0x7F])


def padded(value: int, kind: str) -> bytes:
    """An address where LLVM left 5 bytes for one, or 4."""
    if kind == "i32":
        return value.to_bytes(4, "little")
    return bytes([value >> 7 * n & 0x7F | (0x80 if n < 4 else 0) for n in range(5)])


class Reader:
    def __init__(self, data: bytes, at: int = 0, end: int = -1) -> None:
        self.data, self.at, self.end = data, at, len(data) if end < 0 else end

    def bytes(self, size: int) -> bytes:
        if self.at + size > self.end:
            raise CodegenError("the WebAssembly object is cut off")
        self.at += size
        return self.data[self.at - size : self.at]

    def u(self) -> int:
        value = shift = 0
        while True:
            byte = self.bytes(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def s(self) -> int:
        start = self.at
        value = self.u()
        width = 7 * (self.at - start)
        return value - (1 << width) if value >> width - 1 else value

    def name(self) -> str:
        return self.bytes(self.u()).decode()


@dataclass(frozen=True, slots=True)
class Symbol:
    """index: of a function; address: of data, before it moves. Neither of what is not defined."""

    name: str
    kind: int
    flags: int
    index: int = -1
    address: int = -1


@dataclass(slots=True)
class _Section:
    id: int
    data: bytearray
    name: str = ""


def module_of(data: bytes) -> bytes:
    """The module. CodegenError for what the object needs and nothing defines, and for a damaged object."""
    try:
        return _Module(data).run()
    except (IndexError, UnicodeDecodeError) as error:
        raise CodegenError(f"the WebAssembly object is damaged: {error}") from None


class _Module:
    def __init__(self, data: bytes) -> None:
        if data[:8] != MAGIC:
            raise CodegenError("that is no WebAssembly object")
        self.sections = list(_sections(data))
        self.segments = self._segments()
        self.symbols = self._symbols()

    def run(self) -> bytes:
        asked = self._imports()
        self._relocate()
        end = BASE + max([start + len(content) for start, content in self.segments], default=0)
        stack = align_up(end, 16) + STACK
        by_id = {section.id: bytes(section.data) for section in self.sections if section.id not in (_CUSTOM, _IMPORT)}
        if asked:
            by_id[_IMPORT] = leb(len(asked)) + b"".join(asked)
        by_id[_MEMORY] = b"\1\0" + leb(align_up(stack, PAGE) // PAGE)
        entries = self._table_entries(by_id)
        if entries:
            by_id[_TABLE] = b"\1\x70\1" + leb(entries) + leb(entries)
        variables = [symbol for symbol in self._exported() if symbol.kind == 1]
        numbers = [(stack, _MUTABLE), (stack, b"\0"), *((BASE + one.address, b"\0") for one in variables)]
        by_id[_GLOBAL] = leb(len(numbers)) + b"".join(
            _I32 + mutable + b"\x41" + sleb(number) + b"\x0b" for number, mutable in numbers
        )
        exports = [_export(MEMORY, _MEMORY_KIND, 0), _export(HEAP, _GLOBAL_KIND, 1)]
        exports += [_export(one.name, _FUNC_KIND, one.index) for one in self._exported() if one.kind == 0]
        exports += [_export(one.name, _GLOBAL_KIND, 2 + number) for number, one in enumerate(variables)]
        by_id[_EXPORT] = leb(len(exports)) + b"".join(exports)
        # Zeros are there already.
        filled = [(start, content) for start, content in self.segments if any(content)]
        by_id[_DATA] = leb(len(filled)) + b"".join(
            b"\0\x41" + sleb(BASE + start) + b"\x0b" + leb(len(content)) + content for start, content in filled
        )
        by_id[_DATA_COUNT] = leb(len(filled))
        parts = [bytes([id_]) + leb(len(by_id[id_])) + by_id[id_] for id_ in _ORDER if id_ in by_id]
        return MAGIC + b"".join(parts)

    def _section(self, id_: int) -> _Section | None:
        return next((section for section in self.sections if section.id == id_), None)

    def _exported(self) -> list[Symbol]:
        return [s for s in self.symbols if s.kind in (0, 1) and not s.flags & (_UNDEFINED | _LOCAL | _HIDDEN)]

    def _imports(self) -> list[bytes]:
        """Functions of the system that the module goes on asking for, in their order. Memory, table and stack pointer
        become the module's own; nothing else may be asked for."""
        section = self._section(_IMPORT)
        if section is None:
            return []
        asked: list[bytes] = []
        reader = Reader(bytes(section.data))
        for _ in range(reader.u()):
            start = reader.at
            module, name, kind = reader.name(), reader.name(), reader.bytes(1)[0]
            if (kind == _FUNC_KIND and module != SYSTEM) or (kind == _GLOBAL_KIND and name != _STACK_POINTER):
                raise CodegenError(f"the code needs {name!r}, which nothing defines")
            if kind == _GLOBAL_KIND:
                reader.bytes(2)
                continue
            if kind == _FUNC_KIND:
                reader.u()
                asked.append(reader.data[start : reader.at])
                continue
            if kind == _TABLE_KIND:
                reader.bytes(1)
            if reader.u() & 1:
                reader.u()
            reader.u()
        return asked

    def _segments(self) -> list[tuple[int, bytes]]:
        """(address, bytes) of the data."""
        section = self._section(_DATA)
        found: list[tuple[int, bytes]] = []
        if section is not None:
            reader = Reader(bytes(section.data))
            for _ in range(reader.u()):
                if reader.u() or reader.bytes(1) != b"\x41":
                    raise CodegenError("data of the WebAssembly object has no plain address")
                start = reader.s()
                reader.bytes(1)
                found.append((start, reader.bytes(reader.u())))
        return found

    def _symbols(self) -> list[Symbol]:
        section = next((one for one in self.sections if one.name == "linking"), None)
        if section is None:
            raise CodegenError("the WebAssembly object has no symbols")
        reader = Reader(bytes(section.data))
        reader.u()  # version
        found: list[Symbol] = []
        while reader.at < reader.end:
            kind = reader.bytes(1)[0]
            end = reader.u() + reader.at
            if kind == _SYMBOLS:
                found = [self._symbol(reader) for _ in range(reader.u())]
            reader.at = end
        return found

    def _symbol(self, reader: Reader) -> Symbol:
        kind, flags = reader.bytes(1)[0], reader.u()
        if kind == 1:
            name = reader.name()
            if flags & _UNDEFINED:
                return Symbol(name, kind, flags)
            segment, offset = reader.u(), reader.u()
            reader.u()
            return Symbol(name, kind, flags, address=self.segments[segment][0] + offset)
        if kind == 3:
            reader.u()
            return Symbol("", kind, flags)
        index = reader.u()
        name = reader.name() if not flags & _UNDEFINED or flags & _NAMED else ""
        return Symbol(name, kind, flags, index)

    def _relocate(self) -> None:
        for section in [one for one in self.sections if one.name.startswith("reloc.")]:
            reader = Reader(bytes(section.data))
            target = self.sections[reader.u()]
            if target.id == _CUSTOM:
                continue
            for _ in range(reader.u()):
                kind, offset, index = reader.bytes(1)[0], reader.u(), reader.u()
                if kind in _ADDRESSES:
                    symbol = self.symbols[index]
                    if symbol.address < 0:
                        raise CodegenError(f"the code needs {symbol.name!r}, which nothing defines")
                    self._patch(target, offset, padded(BASE + symbol.address + reader.s(), _ADDRESSES[kind]))
                elif kind in _OFFSETS:
                    reader.s()
                elif kind not in _FINAL:
                    raise NotSupported(f"relocation {kind} of WebAssembly", "no code needed it so far")

    def _patch(self, target: _Section, offset: int, value: bytes) -> None:
        target.data[offset : offset + len(value)] = value
        if target.id == _DATA:
            self.segments = self._segments()

    def _table_entries(self, by_id: dict[int, bytes]) -> int:
        """Entries of the table that calls through addresses use; LLVM begins with 1."""
        elements = by_id.get(9)
        if elements is None:
            return 1 if self._calls_through_table() else 0
        reader = Reader(elements)
        entries = 1
        for _ in range(reader.u()):
            if reader.u() or reader.bytes(1) != b"\x41":
                raise CodegenError("elements of the WebAssembly object have no plain place")
            start = reader.s()
            reader.bytes(1)
            count = reader.u()
            for _ in range(count):
                reader.u()
            entries = max(entries, start + count)
        return entries

    def _calls_through_table(self) -> bool:
        return any(symbol.kind == 5 for symbol in self.symbols)


def _export(name: str, kind: int, index: int) -> bytes:
    text = name.encode()
    return leb(len(text)) + text + bytes([kind]) + leb(index)


def _sections(data: bytes) -> Iterator[_Section]:
    reader = Reader(data, 8)
    while reader.at < reader.end:
        id_ = reader.bytes(1)[0]
        body = reader.bytes(reader.u())
        if id_ == _CUSTOM:
            inner = Reader(body)
            name = inner.name()
            yield _Section(id_, bytearray(body[inner.at :]), name)
        else:
            yield _Section(id_, bytearray(body))
