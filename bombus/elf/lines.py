"""The line table of an object with one compilation unit: which line each piece of code came from.

Format: DWARF 4, chapter 6.2 (line number program).
"""

from __future__ import annotations

import struct

from bombus.elf.model import Elf
from bombus.errors import ElfError

# Standard opcodes.
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2


def line_table(elf: Elf) -> list[tuple[int, int]]:
    """(offset in the section of the code, line), by offset; line 0 begins what comes from no line. Empty without a
    table. ElfError for one that is none of DWARF 4."""
    section = elf.section(".debug_line")
    if section is None:
        return []
    places = {
        entry.offset: elf.symbols[entry.symbol].value + (entry.addend or 0)
        for entry in elf.relocations.get(section.index, ())
    }
    try:
        return sorted(_Table(section.data, places).rows)
    except (struct.error, IndexError) as error:
        raise ElfError(f"the line table is cut off: {error}") from None


class _Table:
    def __init__(self, data: bytes, places: dict[int, int]) -> None:
        self.data = data
        self.at = 0
        self.rows: list[tuple[int, int]] = []
        length, version, header = struct.unpack_from("<IHI", data)
        if version != 4:
            raise ElfError(f"a line table of version {version}; 4 is known")
        self.unit, _ops, _is_stmt, self.base, self.range, self.first = struct.unpack_from("<BBBbBB", data, 10)
        self.lengths = data[16 : 15 + self.first]
        self.at = 10 + header
        self._run(4 + length, places)

    def _number(self, *, signed: bool = False) -> int:
        """LEB128."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    def _run(self, end: int, places: dict[int, int]) -> None:
        address, line = 0, 1
        while self.at < end:
            code = self.data[self.at]
            self.at += 1
            if code >= self.first:
                steps = code - self.first
                address += steps // self.range * self.unit
                line += self.base + steps % self.range
                self.rows.append((address, line))
            elif code == 0:
                size = self._number()
                what, at = self.data[self.at], self.at
                if what == _SET_ADDRESS:
                    address = places.get(at + 1, 0)
                elif what == _END_SEQUENCE:
                    self.rows.append((address, 0))
                    address, line = 0, 1
                self.at = at + size
            elif code == _COPY:
                self.rows.append((address, line))
            elif code == _ADVANCE_PC:
                address += self._number() * self.unit
            elif code == _ADVANCE_LINE:
                line += self._number(signed=True)
            elif code == _CONST_ADD_PC:
                address += (255 - self.first) // self.range * self.unit
            elif code == _FIXED_ADVANCE_PC:
                address += struct.unpack_from("<H", self.data, self.at)[0]
                self.at += 2
            else:
                for _ in range(self.lengths[code - 1]):
                    self._number()
