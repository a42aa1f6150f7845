"""Several lowered programs as one LLVM module."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bombus.jit import abi
from bombus.jit.model import Lowered
from bombus.vm.env import MapCode

# What each program's module calls its own; everything else (helpers, the compiler's routines) is shared.
_OWN: Final = re.compile(
    rf"@(f\d+|stop|lookup|ask|{abi.MAIN}|{abi.PROGRAM}|{abi.FUNCTIONS}|bpf_func_\d+|bpf_imm_\d+|bpf_array_\d+|bpf_map_\d+)(?![\w.])"
)


class Pieces:
    """Lines of a module, each declaration and each metadata node once."""

    def __init__(self) -> None:
        self.body: list[str] = []
        self._once: dict[str, None] = {}
        self._defined: set[str] = set()
        self._codes: set[str] = set()

    def add(self, lines: Iterable[str]) -> None:
        for line in "\n".join(lines).split("\n"):
            if line.startswith(("declare ", "!")):
                self._once[line] = None
            else:
                if line.startswith("define "):
                    self._defined.add(_name(line))
                self.body.append(line)

    def add_program(
        self, lowered: Lowered, prefix: str, immediates: Sequence[str], arrays: Mapping[int, str] = {},
        maps: Mapping[int, str] = {},
    ) -> None:  # fmt: skip
        """A program under names of its own. immediates: what each bpf_imm_N stands for, arrays: what each bpf_array_N,
        maps: what each bpf_map_N: a symbol of the module, or a constant expression inside one."""
        names = {abi.immediate_symbol(n): place for n, place in enumerate(immediates)}
        names |= {abi.array_symbol(index): place for index, place in arrays.items()}
        names |= {abi.map_symbol(index): place for index, place in maps.items()}
        symbols = {name: place for name, place in names.items() if place.startswith("@")}
        inner = {f"@{prefix}{name} = external global i8": place for name, place in names.items() if name not in symbols}
        outer = {f"{place} = external global i8" for place in symbols.values()}
        text = lowered.text
        codes = {code.digest: code for code in lowered.options.maps.values()}
        for digest in self._codes & codes.keys():
            text = text.replace(codes[digest].head, "", 1).replace(codes[digest].definitions, "", 1)
        self._codes |= codes.keys()
        for line in _OWN.sub(lambda found: symbols.get(found[1], f"@{prefix}{found[1]}"), text).split("\n"):
            if line in outer:
                continue
            if line in inner:
                line = f"{line.partition(' =')[0]} = internal alias i8, ptr {inner[line]}"
            elif line == f"@{prefix}{abi.PROGRAM} = external global i8":
                line = f"@{prefix}{abi.PROGRAM} = internal constant i8 0"
            elif line == f"@{prefix}{abi.FUNCTIONS} = external global i8":
                line = f"@{prefix}{abi.FUNCTIONS} = internal constant i8 0"
            if line.startswith("define i64 @"):
                line = line.replace("define ", "define internal ", 1)
            self.add([line])

    def add_code(self, code: MapCode) -> None:
        """The operations of a map, unless a program has brought them."""
        if code.digest not in self._codes:
            self._codes.add(code.digest)
            self.add([code.head, code.definitions, *sorted(code.declarations)])

    def text(self) -> str:
        rest = [line for line in self._once if not (line.startswith("declare") and _name(line) in self._defined)]
        return "\n".join([*self.body, *rest, ""])


def _name(line: str) -> str:
    found = re.search(r"@[\w.$]+", line)
    return found[0] if found else ""
