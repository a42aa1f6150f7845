"""Symbols that the kernel provides: the datasecs .kconfig and .ksyms of an object's BTF.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__collect_externs).
"""

from __future__ import annotations

from collections.abc import Mapping

from bombus.bits import align_up
from bombus.btf.parse import Btf
from bombus.btf.types import DataSec, Func, Kind, Var, Void
from bombus.elf.model import STB_WEAK, Symbol
from bombus.errors import ObjectError
from bombus.object.model import Extern


def read_externs(btf: Btf, undefined: Mapping[str, Symbol]) -> list[Extern]:
    """Externs among the undefined symbols.

    kconfig values get their places by alignment (strictest first), then size (smallest first), then name.
    Raises ObjectError for a section that names, beside undefined symbols, one that is none; a section without any
    undefined symbol is not looked at (libbpf: ESRCH, and nothing).
    """
    found: list[Extern] = []
    config: list[tuple[int, int, Extern]] = []
    for type_id in (i for i in (btf.find(".kconfig", Kind.DATASEC), btf.find(".ksyms", Kind.DATASEC)) if i):
        section = btf.type(type_id)
        assert isinstance(section, DataSec)
        missing: list[str] = []
        before = len(found) + len(config)
        for place in section.vars:
            what = btf.type(place.type)
            if not isinstance(what, (Var, Func)):
                raise ObjectError("neither variable nor function", section=section.name, symbol=what.name)
            symbol = undefined.get(what.name)
            if symbol is None:
                missing.append(what.name)
                continue
            weak = symbol.bind == STB_WEAK
            if section.name == ".kconfig":
                if isinstance(what, Func):
                    raise ObjectError("a function cannot be a kconfig value", section=section.name, symbol=what.name)
                size, align = btf.size_of(what.type), btf.align_of(what.type)
                config.append((align, size, Extern(what.name, "kconfig", what.type, weak, 0, size)))
            elif isinstance(what, Func):
                found.append(Extern(what.name, "kfunc", what.type, weak))
            else:
                typed = not isinstance(btf.resolved(what.type), Void)
                found.append(Extern(what.name, "ksym", what.type if typed else 0, weak))
        if missing and len(found) + len(config) > before:
            raise ObjectError("named in BTF, but no undefined symbol", section=section.name, symbol=missing[0])
    at = 0
    for align, size, extern in sorted(config, key=lambda c: (-c[0], c[1], c[2].name)):
        at = align_up(at, max(align, 1))
        found.append(Extern(extern.name, "kconfig", extern.type, extern.weak, at, size))
        at += size
    return found
