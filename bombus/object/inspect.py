"""What is in an object, and the oldest kernel that can run it: `inspect(object)` makes a Report. No kernel is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bombus.btf.core import Resolver
from bombus.btf.corespec import KIND_TEXT, parse_spec
from bombus.btf.ext import CoreKind, CoreRelo
from bombus.btf.parse import Btf
from bombus.btf.types import DataSec, Func, Kind, Var
from bombus.errors import BtfError, RelocationError
from bombus.isa import opcodes as op
from bombus.object.bounds import (
    OLDEST,
    Bound,
    Code,
    code_bounds,
    guards_of,
    map_bounds,
    minimum,
    program_bounds,
    settled,
)
from bombus.object.model import MapSpec, Object, ProgramSpec
from bombus.object.paths import Guard, Source
from bombus.object.relocate import Flat, flatten
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPER_BY_ID
from bombus.spec.maptypes import FLAG, FLAGS, MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.sections import BPF_F_SLEEPABLE
from bombus.spec.version import KernelVersion

EXISTENCE = frozenset((CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.ENUMVAL_EXISTS, CoreKind.TYPE_MATCHES))
# What the kernel looks up for each attach type: prefix of a name in its BTF, and the kind of type.
_TARGETS: dict[str, tuple[str, Kind]] = {
    "BPF_TRACE_FENTRY": ("", Kind.FUNC),
    "BPF_TRACE_FEXIT": ("", Kind.FUNC),
    "BPF_MODIFY_RETURN": ("", Kind.FUNC),
    "BPF_TRACE_RAW_TP": ("btf_trace_", Kind.TYPEDEF),
    "BPF_TRACE_ITER": ("bpf_iter_", Kind.FUNC),
    "BPF_LSM_MAC": ("bpf_lsm_", Kind.FUNC),
    "BPF_LSM_CGROUP": ("bpf_lsm_", Kind.FUNC),
}


@dataclass(frozen=True, slots=True)
class CoreReport:
    """One CO-RE relocation. insn counts slots in `function`. With a target BTF: `value` (None when there is no
    target), and `error` why not. guarded: what decides whether the verifier sees the instruction."""

    function: str
    insn: int
    kind: str
    local: str
    value: int | None = None
    target: str = ""
    error: str = ""
    guarded: Guard | None = None


@dataclass(frozen=True, slots=True)
class MapReport:
    """One map. type and flags by name; key_type and value_type name BTF types; pinning: "" or "by name"."""

    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int
    flags: tuple[str, ...]
    pinning: str
    key_type: str
    value_type: str
    section: str
    inner: str
    bounds: tuple[Bound, ...]
    minimum: KernelVersion


@dataclass(frozen=True, slots=True)
class ExternReport:
    """A symbol that the kernel provides; kind: "kconfig", "ksym" or "kfunc"; type in C."""

    name: str
    kind: str
    type: str
    weak: bool


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """One program. helpers and kfuncs are used in it or its subprograms; problems: what no kernel accepts.

    minimum: the oldest kernel that can run it; bounds: why, the highest first and guarded ones last.
    """

    name: str
    section: str
    type: str
    attach_type: str
    target: str
    autoload: bool
    insns: int
    subprograms: tuple[str, ...]
    maps: tuple[str, ...]
    helpers: tuple[str, ...]
    kfuncs: tuple[str, ...]
    bounds: tuple[Bound, ...]
    problems: tuple[str, ...]
    minimum: KernelVersion


@dataclass(frozen=True, slots=True)
class Report:
    """A whole object. minimum: the oldest kernel on which all maps and all programs loaded by default work."""

    name: str
    byteorder: str
    license: str
    programs: tuple[ProgramReport, ...]
    maps: tuple[MapReport, ...]
    externs: tuple[ExternReport, ...]
    core: tuple[CoreReport, ...]
    minimum: KernelVersion
    reasons: tuple[tuple[str, Bound], ...]  # who ("map x", "program y"), and the bounds that set the minimum


def inspect(obj: Object, target: Btf | None = None, *, program: str | None = None) -> Report:
    """Describe an object; `target` is a kernel's BTF against which CO-RE relocations and attach targets are looked
    up. program: only this one (and the maps that it uses); RelocationError when there is none of the name."""
    chosen = [p for p in obj.programs if program is None or p.name == program]
    if program is not None and not chosen:
        raise RelocationError(f"no such program; there are {', '.join(p.name for p in obj.programs)}", symbol=program)
    resolver = Resolver(obj.btf, (target,)) if obj.btf is not None and target is not None else None
    programs: list[ProgramReport] = []
    core: dict[tuple[str, int], CoreReport] = {}
    used: set[str] = set()
    for spec in chosen:
        flat = flatten(spec, obj.functions)
        code = code_of(obj, flat)
        guards = guards_of(code)
        programs.append(_program(obj, spec, flat, code, guards, target))
        used |= set(programs[-1].maps)
        for name, start in flat.subprograms:
            for relo in obj.functions[name].core if name in obj.functions else spec.function.core:
                key = (name, relo.insn_off)
                if key not in core:
                    core[key] = _core(obj, name, relo, resolver, guards.get(start + relo.insn_off))
    maps = tuple(_map(m, obj.btf) for m in obj.maps if program is None or m.name in used)
    names = _names_of_externs(obj)
    externs = tuple(ExternReport(e.name, e.kind, names.get(e.name, ""), e.weak) for e in obj.externs)
    # libbpf creates every map but the data maps, whatever the programs use.
    sources = [(f"map {m.name}", m.minimum, m.bounds) for m in maps if not m.section]
    sources += [(f"program {p.name}", p.minimum, p.bounds) for p in programs if p.autoload or program is not None]
    lowest = max((version for _, version, _ in sources), default=OLDEST)
    reasons = tuple(
        (who, bound)
        for who, version, bounds in sources
        for bound in bounds
        if bound.since == version == lowest and bound.guard is None
    )
    return Report(
        obj.name, obj.byteorder, obj.license, tuple(programs), maps, externs, tuple(core.values()), lowest, reasons
    )


def code_of(obj: Object, flat: Flat) -> Code:
    """The instructions of a program with what they refer to."""
    maps = {m.name: m for m in obj.maps}
    externs = {e.name: e for e in obj.externs}
    by_place: dict[int, MapSpec] = {}
    sources: dict[int, Source] = {}
    kfuncs: dict[int, tuple[str, bool]] = {}
    ksyms: dict[int, tuple[str, bool]] = {}
    for name, start in flat.subprograms:
        function = obj.functions.get(name, flat.program.function)
        for relo in function.core:
            if relo.kind in EXISTENCE:
                sources[start + relo.insn_off] = Source(Guard("core", _core_text(obj, relo)), False)
    for ref in flat.references:
        if ref.kind in ("map", "data") and ref.name in maps:
            spec = by_place[ref.insn] = maps[ref.name]
            if spec.section.startswith(".rodata"):
                offset = ref.offset + flat.insns[ref.insn + 1].imm
                sources[ref.insn] = Source(Guard("rodata", _variable(obj, spec.section, offset)), True)
        elif ref.kind == "extern" and ref.name in externs:
            extern = externs[ref.name]
            if extern.kind == "kconfig":
                if ".kconfig" in (m.section for m in obj.maps):
                    by_place[ref.insn] = next(m for m in obj.maps if m.section == ".kconfig")
                sources[ref.insn] = Source(Guard("kconfig", extern.name), True)
            elif flat.insns[ref.insn].opcode == op.CALL:
                kfuncs[ref.insn] = (extern.name, extern.weak)
            else:
                if extern.type and extern.kind == "ksym":
                    ksyms[ref.insn] = (extern.name, extern.weak)
                if extern.weak:
                    sources[ref.insn] = Source(Guard("ksym", f"{extern.name} exists"), False)
    places = tuple(sorted(flat.subprograms, key=lambda place: place[1]))
    return Code(flat.insns, places, by_place, sources, kfuncs, ksyms)


def _program(
    obj: Object, spec: ProgramSpec, flat: Flat, code: Code, guards: Mapping[int, Guard], target: Btf | None
) -> ProgramReport:
    # SEC("tc/ingress") names tcx, but tc's older way to attach takes such programs too.
    attach_type = "" if spec.section.startswith("tc/") else spec.attach_type
    bounds = program_bounds(spec.prog_type, attach_type, spec.flags)
    linked = obj.btf is not None and obj.btf.find(".struct_ops.link", Kind.DATASEC) is not None
    if spec.prog_type == "BPF_PROG_TYPE_STRUCT_OPS" and linked:
        bounds.append(Bound(FLAG["BPF_F_LINK"].since, "map flag", "BPF_F_LINK (.struct_ops.link)"))
    found, problems = code_bounds(code, spec.prog_type, spec.attach_type, sleepable=bool(spec.flags & BPF_F_SLEEPABLE))
    bounds += found
    seen: dict[tuple[str, str], Bound] = {}
    for name in dict.fromkeys(m.name for m in code.maps.values()):
        used = next(m for m in code.maps.values() if m.name == name)
        for bound in map_bounds(used, obj.btf, sleepable=bool(spec.flags & BPF_F_SLEEPABLE)):
            seen.setdefault((bound.kind, bound.what), bound)
    bounds += seen.values()
    bounds = settled(bounds)
    helpers = sorted({i.imm for i in code.insns if i.opcode == op.CALL and i.src == 0 and i.imm in HELPER_BY_ID})
    kfuncs = {name for name, _ in code.kfuncs.values()}
    # Placeholders of kernel functions look like helpers until they are resolved.
    rows = [HELPER_BY_ID[i] for i in helpers]
    if "GPL" not in obj.license:
        problems += [
            f"bpf_{row.name} is for GPL programs only; the licence is {obj.license!r}" for row in rows if row.gpl_only
        ]
    if target is not None and (problem := _attach_problem(spec, target)):
        problems.append(problem)
    if not spec.prog_type:
        problems.append(f"section {spec.section!r} names no program type")
    kind, attach = PROG_TYPE.get(spec.prog_type), ATTACH_TYPE.get(spec.attach_type)
    return ProgramReport(
        spec.name, spec.section, kind.short if kind else "", attach.short if attach else "", spec.target, spec.autoload,
        len(flat.insns), tuple(name for name, _ in flat.subprograms[1:]),
        tuple(dict.fromkeys(m.name for m in code.maps.values())), tuple(f"bpf_{row.name}" for row in rows),
        tuple(sorted(kfuncs)), tuple(bounds), tuple(problems), minimum(bounds),
    )  # fmt: skip


def _attach_problem(spec: ProgramSpec, target: Btf) -> str:
    if not spec.attach_btf or not spec.target or spec.attach_type not in _TARGETS:
        return ""
    prefix, kind = _TARGETS[spec.attach_type]
    if target.find(prefix + spec.target, kind) is None:
        return f"the target BTF has no {prefix + spec.target}"
    return ""


def _map(spec: MapSpec, btf: Btf | None) -> MapReport:
    row = MAP_TYPE_BY_ID.get(spec.type)
    flags = tuple(f.name for f in FLAGS if f.where == "map" and f.value and spec.flags & f.value)
    bounds = sorted(map_bounds(spec, btf), key=lambda b: (-b.since[0], -b.since[1]))
    inner = MAP_TYPE_BY_ID.get(spec.inner.type) if spec.inner is not None else None
    return MapReport(
        spec.name, row.short if row else str(spec.type), spec.key_size, spec.value_size, spec.max_entries, flags,
        "by name" if spec.pinning else "", _type_text(btf, spec.key_type), _type_text(btf, spec.value_type),
        spec.section, inner.short if inner else "", tuple(bounds), minimum(bounds),
    )  # fmt: skip


def _core(obj: Object, function: str, relo: CoreRelo, resolver: Resolver | None, guard: Guard | None) -> CoreReport:
    kind = KIND_TEXT[CoreKind(relo.kind)] if relo.kind in CoreKind._value2member_map_ else str(relo.kind)
    local = _spec_text(obj, relo)
    if resolver is None:
        return CoreReport(function, relo.insn_off, kind, local, guarded=guard)
    try:
        value = resolver.resolve(relo)
    except RelocationError as error:
        return CoreReport(function, relo.insn_off, kind, local, error=error.message, guarded=guard)
    target = str(value.target) if value.target is not None else ""
    if value.poison:
        return CoreReport(function, relo.insn_off, kind, local, None, target, "no matching target", guard)
    if value.bad_resize:
        why = f"{value.old_size} bytes here, {value.new_size} there, and no unsigned integer or pointer"
        return CoreReport(function, relo.insn_off, kind, local, None, target, why, guard)
    return CoreReport(function, relo.insn_off, kind, local, value.new, target, guarded=guard)


def _spec_text(obj: Object, relo: CoreRelo) -> str:
    if obj.btf is None:
        return f"type {relo.type_id}"
    try:
        text = str(parse_spec(obj.btf, CoreKind(relo.kind), relo.type_id, obj.btf.string(relo.access)))
    except (RelocationError, BtfError, ValueError) as error:
        return f"type {relo.type_id}: {error}"
    # "<byte_off> [12] struct task_struct.pid (0:1 @ offset 8)": the kind and the number stand elsewhere.
    return text.partition("] ")[2] or text


def _core_text(obj: Object, relo: CoreRelo) -> str:
    kind = KIND_TEXT[CoreKind(relo.kind)]
    return f"{kind} {_spec_text(obj, relo).partition(' (')[0]}"


def _variable(obj: Object, section: str, offset: int) -> str:
    """The variable at an offset of a data section: "targ_pid"."""
    if obj.btf is not None:
        type_id = obj.btf.find(section, Kind.DATASEC)
        described = obj.btf.type(type_id) if type_id else None
        if isinstance(described, DataSec):
            for place in described.vars:
                if place.offset <= offset < place.offset + max(place.size, 1):
                    return obj.btf.name(place.type)
    return f"{section}+{offset}"


def _names_of_externs(obj: Object) -> Mapping[str, str]:
    if obj.btf is None:
        return {}
    return {e.name: _type_text(obj.btf, e.type) for e in obj.externs if e.kind != "kfunc"}


def _type_text(btf: Btf | None, type_id: int) -> str:
    """A short name of a type: "struct event", "u32", "int *"."""
    if btf is None or not type_id:
        return ""
    words: list[str] = []
    stars = ""
    for _ in range(32):
        type_ = btf.type(type_id)
        kind = btf.kind(type_id)
        if kind == Kind.PTR:
            stars += "*"
        elif kind == Kind.ARRAY:
            stars += "[]"
        elif kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FWD):
            word = {Kind.UNION: "union", Kind.ENUM: "enum", Kind.ENUM64: "enum"}.get(kind, "struct")
            words.append(f"{word} {type_.name or '{...}'}")
            break
        elif kind in (Kind.CONST, Kind.VOLATILE):
            words.append(kind.name.lower())
        elif type_.name and not isinstance(type_, (Var, Func)):
            words.append(type_.name)
            break
        elif kind == Kind.FUNC_PROTO or type_id == 0:
            words.append("void" if type_id == 0 else "function")
            break
        type_id = getattr(type_, "type", 0)
    return " ".join(words) + (f" {stars}" if stars else "")
