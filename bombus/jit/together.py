"""Many programs as one module: LLVM starts once for all of them, and its fixed costs count once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from bombus.jit.compile import COMPILER
from bombus.jit.engine import NativeProgram
from bombus.jit.link import Linked, link
from bombus.jit.target import host

_NAME = re.compile(r"@(?!llvm\.|map\.)(?=\w)")  # the code of maps is called after its shape: programs share it


def compile_together(programs: Sequence[NativeProgram], *, level: int = 2) -> None:
    """Compile what has no code yet, without a look at the cache on disk. CodegenError."""
    parts = [(program, lowered) for program in programs if (lowered := program.lower()) is not None]
    if not parts:
        return
    lines: list[str] = []
    once: dict[str, None] = {}
    shared: set[str] = set()
    for number, (_program, lowered) in enumerate(parts):
        text = lowered.text
        codes = {} if lowered.options.checked else {code.digest: code for code in lowered.options.maps.values()}
        # Not all that may be used is: a walk over a map may be the helper's after all.
        there = {digest: code for digest, code in codes.items() if code.definitions in text}
        for digest in shared & there.keys():
            text = text.replace(codes[digest].head, "", 1).replace(codes[digest].definitions, "", 1)
        shared |= there.keys()
        for line in _NAME.sub(f"@p{number}.", text).split("\n"):
            if line.startswith(("!", "declare void @llvm.", "declare i")) and "@p" not in line:
                once[line] = None
            else:
                lines.append(line)
    data = COMPILER.compile("\n".join([*lines, *once, ""]), host(), level=level)
    symbols = [program.symbols(lowered) for program, lowered in parts]

    def resolve(name: str) -> int:
        which, _, rest = name.partition(".")
        return symbols[int(which[1:])][rest] if rest else symbols[0][name]

    linked = link(data, resolve)
    own: dict[str, dict[str, int]] = defaultdict(dict)
    functions: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for name, address in linked.symbols.items():
        which, _, rest = name.partition(".")
        own[which][rest] = address
    for name, place in linked.functions.items():
        which, _, rest = name.partition(".")
        functions[which][rest] = place
    for number, (program, lowered) in enumerate(parts):
        which = f"p{number}"
        program.take(lowered, Linked(own[which], functions[which], linked.code))
