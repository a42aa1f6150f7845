"""`.BTF.ext` in both byte orders and with unknown record sizes."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bombus.btf.ext import BtfExt, CoreRelo, FuncInfo, LineInfo, Section, remap
from bombus.errors import BtfError

EXT = BtfExt(
    (Section(1, (FuncInfo(0, 3), FuncInfo(64, 4))), Section(9, (FuncInfo(0, 5),))),
    (Section(1, (LineInfo(0, 20, 30, 7 << 10 | 5),)),),
    (Section(1, (CoreRelo(8, 2, 40, 0), CoreRelo(16, 2, 44, 99))),),
)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_round_trip(byteorder: str) -> None:
    raw = EXT.to_bytes(byteorder)
    again = BtfExt.parse(raw)
    assert again == EXT and again.byteorder == byteorder and again.to_bytes() == raw
    line = again.line_info[0].records[0]
    assert (line.line_number, line.column) == (7, 5)


def test_longer_records_keep_their_tail() -> None:
    longer = replace(EXT, func_info=(Section(1, (FuncInfo(0, 3, b"\1\2\3\4"),)),), func_info_size=12)
    again = BtfExt.parse(longer.to_bytes())
    assert again == longer
    with pytest.raises(BtfError):
        replace(longer, func_info_size=8).to_bytes()


def test_old_header_without_core_relocations() -> None:
    raw = replace(EXT, core_relo=()).to_bytes()
    old = raw[:4] + struct.pack("<I", 24) + raw[8:24] + raw[32:]
    assert BtfExt.parse(old) == replace(EXT, core_relo=())


def test_every_cut_and_every_bad_word_is_refused_or_parsed() -> None:
    raw = EXT.to_bytes()
    refused = 0
    for cut in range(len(raw)):
        with pytest.raises(BtfError):
            BtfExt.parse(raw[:cut])
    for at in range(0, len(raw), 4):
        for word in (0, 1, 0xFFFFFFFF, 0x80000000):
            try:
                BtfExt.parse(raw[:at] + struct.pack("<I", word) + raw[at + 4 :])
            except BtfError:
                refused += 1
    assert refused > 40


def test_remap_moves_strings_and_types() -> None:
    moved = remap(EXT, lambda offset: offset + 1000, lambda type_id: type_id + 50)
    assert moved.func_info == (
        Section(1001, (FuncInfo(0, 53), FuncInfo(64, 54))),
        Section(1009, (FuncInfo(0, 55),)),
    )
    assert moved.line_info == (Section(1001, (LineInfo(0, 1020, 1030, 7 << 10 | 5),)),)
    assert moved.core_relo == (Section(1001, (CoreRelo(8, 52, 1040, 0), CoreRelo(16, 52, 1044, 99))),)
