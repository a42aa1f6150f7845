"""Which program of an object is meant, and which others it cannot do without."""

from __future__ import annotations

from collections.abc import Collection

from bombus.errors import UsageError
from bombus.object.model import Object, ProgramSpec
from bombus.object.relocate import reachable
from bombus.spec.maptypes import MAP_TYPE

_PROG_ARRAY = MAP_TYPE["BPF_MAP_TYPE_PROG_ARRAY"].id


def choose_program(obj: Object, name: str | None, types: Collection[str] = (), prog_type: str = "") -> ProgramSpec:
    """The named program, or the only one (of one of `types`, if any are given). UsageError when that is not clear.

    prog_type: for programs whose section says nothing.
    """
    if name is not None:
        for program in obj.programs:
            if program.name == name:
                return program
        raise UsageError(f"no program {name!r} in {obj.name}; there are {_names(obj.programs) or 'none'}")
    if not obj.programs:
        raise UsageError(f"{obj.name} has no programs")
    fit = [p for p in obj.programs if not types or (p.prog_type or prog_type) in types]
    if not fit:
        raise UsageError(f"no program of {obj.name} runs on packets: it has {_names(obj.programs)}")
    if len(fit) > 1:
        raise UsageError(f"{obj.name} has {len(fit)} such programs: choose one with --prog: {_names(fit)}")
    return fit[0]


def _names(programs: Collection[ProgramSpec]) -> str:
    return ", ".join(f"{p.name} ({p.prog_type.removeprefix('BPF_PROG_TYPE_').lower() or p.section})" for p in programs)


def needed_programs(obj: Object, program: ProgramSpec) -> list[str]:
    """The program and those that prog arrays which it uses name at load time."""
    found = [program.name]
    known = {p.name: p for p in obj.programs}
    arrays = {spec.name: spec for spec in obj.maps if spec.type == _PROG_ARRAY}
    for name in found:
        for function in reachable(known[name], obj.functions):
            for ref in obj.functions[function].references:
                spec = arrays.get(ref.name) if ref.kind == "map" else None
                for _, target in spec.values if spec is not None else ():
                    if target in known and target not in found:
                        found.append(target)
    return found
