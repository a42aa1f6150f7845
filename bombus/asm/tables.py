"""Operators and names that several syntaxes share, by the form names of `isa.forms`."""

from __future__ import annotations

ALU_OPERATORS: dict[str, str] = {
    "add": "+=",
    "sub": "-=",
    "mul": "*=",
    "div": "/=",
    "sdiv": "s/=",
    "or": "|=",
    "and": "&=",
    "lsh": "<<=",
    "rsh": ">>=",
    "mod": "%=",
    "smod": "s%=",
    "xor": "^=",
    "mov": "=",
    "arsh": "s>>=",
}

CONDITIONS: dict[str, str] = {
    "jeq": "==",
    "jgt": ">",
    "jge": ">=",
    "jset": "&",
    "jne": "!=",
    "jsgt": "s>",
    "jsge": "s>=",
    "jlt": "<",
    "jle": "<=",
    "jslt": "s<",
    "jsle": "s<=",
}

TYPE_NAMES: dict[int, str] = {8: "u8", 16: "u16", 32: "u32", 64: "u64"}
SIZE_LETTERS: dict[int, str] = {8: "b", 16: "h", 32: "w", 64: "dw"}
