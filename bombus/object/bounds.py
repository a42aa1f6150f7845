"""The oldest kernel that can run some code, and why: one bound for each thing that a kernel must know.

`code_bounds` works on the instructions of one program with its subprograms, as BPF_PROG_LOAD gets them. What libbpf
rewrites for old kernels (names and kinds in BTF, bpf_probe_read_kernel, BPF_F_MMAPABLE of data maps, linkage of
global functions, optional attach types) is no bound.
Facts: rows of bombus.spec; Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__sanitize_prog, bpf_object__create_maps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bombus.btf.parse import Btf
from bombus.btf.types import Array, DataSec, Ptr, Struct, TypeTag, Union, Var
from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa.forms import form_of
from bombus.isa.insn import Insn
from bombus.object.model import MapSpec
from bombus.object.paths import Guard, Source, back_edges, guarded, reachable
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPER, HELPER_BY_ID, allowed
from bombus.spec.helpers.groups import FORMER, LATER
from bombus.spec.instructions import Instruction, of
from bombus.spec.kfuncs import KFUNC
from bombus.spec.maptypes import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, FLAGS, MAP_TYPE_BY_ID, SLEEPABLE_SINCE
from bombus.spec.progtypes import MAX_INSNS_SINCE, MAX_INSNS_UNPRIVILEGED, PROG_TYPE
from bombus.spec.sections import BPF_F_SLEEPABLE
from bombus.spec.version import KernelVersion, since

OLDEST = since("3.18")  # bpf(2) itself
CALLS = since("4.16")
TAIL_CALLS_WITH_CALLS = since("5.10")  # on x86-64
LOOPS = since("5.3")
LOOPS_ENTERED = since("6.7")  # before, only jumps could lead back (check_cfg)
GLOBAL_DATA = since("5.2")
KNOWN_RODATA = since("5.5")  # since then verifiers take frozen read-only values as constants
CALLBACKS = since("5.13")
KFUNCS = since("5.13")
TYPED_KSYMS = since("5.10")

# Types in a map's value that mean something to the kernel, and since when. Such maps are not created without BTF.
SPECIAL: dict[str, KernelVersion] = {
    "bpf_spin_lock": since("5.1"), "bpf_timer": since("5.15"), "bpf_list_head": since("6.2"),
    "bpf_rb_root": since("6.3"), "bpf_refcount": since("6.4"), "bpf_wq": since("6.10"),
    "bpf_res_spin_lock": since("6.15"), "bpf_task_work": since("6.18"),
}  # fmt: skip
_KPTR_TAGS: dict[str, KernelVersion] = {
    "kptr": since("5.19"), "kptr_untrusted": since("6.4"), "kptr_ref": since("5.19"),
    "percpu_kptr": since("6.7"), "uptr": since("6.13"),
}  # fmt: skip

# Helpers that programs got with one attach type: iterators over sockets bring some of their own.
# Linux 6.12 net/ipv4/tcp_ipv4.c: bpf_iter_tcp_get_func_proto; kernel/trace/bpf_trace.c: tracing_prog_func_proto.
_BY_ATTACH_TYPE: dict[tuple[str, str], KernelVersion] = {
    ("BPF_TRACE_ITER", "setsockopt"): since("5.15"),
    ("BPF_TRACE_ITER", "getsockopt"): since("5.15"),
    ("BPF_TRACE_RAW_TP", "get_attach_cookie"): since("6.10"),
}

_FALLBACK = {
    "probe_read_kernel": "probe_read", "probe_read_user": "probe_read",
    "probe_read_kernel_str": "probe_read_str", "probe_read_user_str": "probe_read_str",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """One reason. kind: "program type", "helper", "instruction", ...; where: function and instruction.

    guard: what decides whether kernels need it at all; such a bound does not count.
    """

    since: KernelVersion
    kind: str
    what: str
    where: str = ""
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """The instructions of one program. `functions`: name and first slot, the entry first, ascending.

    maps, kfuncs and ksyms say what an instruction names; `sources` are those that load guards' values.
    """

    insns: Sequence[Insn]
    functions: tuple[tuple[str, int], ...]
    maps: Mapping[int, MapSpec]
    sources: Mapping[int, Source]
    kfuncs: Mapping[int, tuple[str, bool]]
    ksyms: Mapping[int, tuple[str, bool]]

    def spans(self) -> Iterator[tuple[str, int, int]]:
        """Name, first slot and end of each function."""
        ends = [start for _, start in self.functions[1:]] + [len(self.insns)]
        for (name, start), end in zip(self.functions, ends, strict=True):
            yield name, start, end


def minimum(bounds: Sequence[Bound]) -> KernelVersion:
    """The oldest kernel that meets all bounds that count."""
    return max((bound.since for bound in bounds if bound.guard is None), default=OLDEST)


def settled(bounds: Sequence[Bound]) -> list[Bound]:
    """Bounds in order of weight, guarded ones last, with what guards in read-only data need themselves.

    Kernels that do not know such values follow both ways; they need what is guarded, or a verifier that knows them.
    """
    lowest = minimum(bounds)
    more: dict[str, Bound] = {}
    for bound in bounds:
        if bound.guard is None or bound.guard.kind not in ("kconfig", "rodata") or bound.since <= lowest:
            continue
        name = bound.guard.name
        version = min(bound.since, KNOWN_RODATA)
        if name not in more or more[name].since < version:
            more[name] = Bound(version, "guard by a constant", name, bound.where)
    return sorted((*bounds, *more.values()), key=lambda b: (b.guard is not None, -b.since[0], -b.since[1]))


@cache
def helper_since(name: str, prog_type: str, attach_type: str) -> KernelVersion | None:
    """Since when programs of a type get a helper; None: never. prog_type "" asks for the helper alone."""
    row = HELPER[name]
    kind = PROG_TYPE.get(prog_type)
    if kind is None:
        return row.since
    attach = ATTACH_TYPE[attach_type].id if attach_type in ATTACH_TYPE else 0
    later = {version for (_, helper), version in LATER.items() if helper == name}
    former = {versions[0] for (_, helper), versions in FORMER.items() if helper == name}
    if (attach_type, name) in _BY_ATTACH_TYPE:
        return _BY_ATTACH_TYPE[attach_type, name]
    candidates = sorted({row.since} | later | former)
    for version in candidates:
        if version >= row.since and allowed(name, kind.id, attach, version):
            return version
    return None


def map_bounds(spec: MapSpec, btf: Btf | None, *, sleepable: bool = False) -> list[Bound]:
    """Bounds of creating a map, and of using it in a sleepable program."""
    name = spec.name
    row = MAP_TYPE_BY_ID.get(spec.type)
    if row is None:
        return []
    found = [Bound(row.since, "map type", f"{row.short} ({name})")]
    if spec.section:
        found = [Bound(GLOBAL_DATA, "global data", spec.section)]
    for flag in FLAGS:
        if flag.where != "map" or not spec.flags & flag.value or not flag.value:
            continue
        # libbpf leaves the one out where kernels lack it; the other came with global data.
        if spec.section and flag.value in (BPF_F_MMAPABLE, BPF_F_RDONLY_PROG):
            continue
        found.append(Bound(flag.since, "map flag", f"{flag.name} ({name})"))
    if spec.map_extra:
        found.append(Bound(since("5.16"), "map_extra", name))
    if btf is not None and spec.value_type:
        found += [Bound(version, "field in map value", f"{what} ({name})") for what, version in _fields(spec, btf)]
    if sleepable and not spec.section:
        version = SLEEPABLE_SINCE.get(row.name)
        if version is not None:
            found.append(Bound(version, "map in sleepable program", f"{row.short} ({name})"))
    if spec.inner is not None:
        found += map_bounds(spec.inner, btf)
    return found


def _fields(spec: MapSpec, btf: Btf) -> list[tuple[str, KernelVersion]]:
    found: dict[str, KernelVersion] = {}
    seen: set[int] = set()
    todo = [spec.value_type]
    while todo:
        type_id = btf.strip_modifiers(todo.pop())
        if type_id in seen:
            continue
        seen.add(type_id)
        match type_ := btf.resolved(type_id):
            case Struct() | Union():
                if type_.name in SPECIAL:
                    found[type_.name] = SPECIAL[type_.name]
                todo += [member.type for member in type_.members]
                for member in type_.members:
                    found.update(_kptrs(btf, member.type))
            case Array():
                todo.append(type_.type)
            case DataSec():
                todo += [var.type for var in type_.vars]
            case Var():
                todo.append(type_.type)
    return sorted(found.items())


def _kptrs(btf: Btf, type_id: int) -> dict[str, KernelVersion]:
    """Type tags on what a pointer points to."""
    pointer = btf.resolved(type_id)
    if isinstance(pointer, Array):
        pointer = btf.resolved(pointer.type)
    if not isinstance(pointer, Ptr) or not pointer.type:
        return {}
    target = btf.type(pointer.type)
    if isinstance(target, TypeTag) and target.name in _KPTR_TAGS:
        return {target.name: _KPTR_TAGS[target.name]}
    return {}


def program_bounds(prog_type: str, attach_type: str, flags: int) -> list[Bound]:
    """Bounds of a program's kind."""
    found: list[Bound] = []
    row = PROG_TYPE.get(prog_type)
    if row is not None:
        found.append(Bound(row.since, "program type", row.short))
    kind = ATTACH_TYPE.get(attach_type)
    # XDP programs are attached through netlink too, which needs no attach type.
    if kind is not None and attach_type != "BPF_XDP":
        found.append(Bound(kind.since, "attach type", kind.short))
    for flag in FLAGS:
        if flag.where == "prog" and flags & flag.value:
            version = flag.since
            if flag.value == BPF_F_SLEEPABLE:
                version = max(version, _SLEEPABLE.get(attach_type) or _SLEEPABLE.get(prog_type) or version)
            found.append(Bound(version, "program flag", flag.name))
    return found


# Since when programs of a kind may sleep, where that was after 5.10.
_SLEEPABLE = {
    "BPF_TRACE_ITER": since("5.18"),
    "BPF_PROG_TYPE_KPROBE": since("6.0"),
    "BPF_PROG_TYPE_STRUCT_OPS": since("6.3"),
}


def code_bounds(
    code: Code, prog_type: str, attach_type: str, *, sleepable: bool = False,
    guards: Mapping[int, Guard] | None = None,
) -> tuple[list[Bound], list[str]]:
    """Bounds of a program's instructions, and what no kernel accepts: each bound once, unguarded ones first.

    guards: `guards_of(code)` where known.
    """
    found: dict[tuple[str, str, Guard | None], Bound] = {}
    problems: list[str] = []
    if guards is None:
        guards = guards_of(code)

    def add(version: KernelVersion, kind: str, what: str, at: int, weak: Guard | None = None) -> None:
        guard = guards.get(at) or weak
        found.setdefault((kind, what, guard), Bound(version, kind, what, code_place(code, at), guard))

    calls, tails = -1, -1
    if len(code.insns) > MAX_INSNS_UNPRIVILEGED:
        found["size", "", None] = Bound(
            MAX_INSNS_SINCE, "program size", f"{len(code.insns)} instructions, more than {MAX_INSNS_UNPRIVILEGED}"
        )
    for name, start, end in code.spans():
        loops = back_edges(code.insns, start, end)
        if loops:
            found["loop", name, None] = Bound(LOOPS, "loop", f"in {name}", code_place(code, loops[0]))
        fallen = [at for at in loops if not _jumps(code.insns[at])]
        if fallen:
            where = code_place(code, fallen[0])
            found["entry", name, None] = Bound(LOOPS_ENTERED, "loop closed without a jump", f"in {name}", where)
        for at in sorted(reachable(code.insns, start, end)):
            insn = code.insns[at]
            form = _form(insn)
            if form is not None:
                add(form.since, "instruction", form.title, at)
            if at in code.kfuncs:
                kfunc, is_weak = code.kfuncs[at]
                listed = KFUNC.get(kfunc)
                # Kernel modules may have functions that no list knows.
                came = max(listed.since, KFUNCS) if listed is not None else KFUNCS
                add(came, "kfunc", kfunc, at, Guard("ksym", f"{kfunc} exists") if is_weak else None)
            elif insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL:
                calls = at
            elif insn.opcode == op.CALL and insn.src == 0:
                row = HELPER_BY_ID.get(insn.imm)
                if row is None:
                    problems.append(f"{code_place(code, at)}: no helper has the number {insn.imm}")
                    continue
                if row.name == "tail_call":
                    tails = at
                version = helper_since(row.name, prog_type, attach_type)
                if row.name in _FALLBACK and version is not None:
                    version = helper_since(_FALLBACK[row.name], prog_type, attach_type) or version
                if row.prototype.might_sleep and not sleepable and at not in guards:
                    problems.append(f"{code_place(code, at)}: only sleepable programs may call bpf_{row.name}")
                if version is not None:
                    add(version, "helper", f"bpf_{row.name}", at)
                elif at not in guards:
                    kind = PROG_TYPE[prog_type].short
                    problems.append(f"{code_place(code, at)}: {kind} programs may not call bpf_{row.name}")
            elif insn.is_ld_imm64:
                if insn.src == op.BPF_PSEUDO_FUNC:
                    add(CALLBACKS, "callback", "pointer to a function", at)
                elif at in code.ksyms:
                    add(TYPED_KSYMS, "typed ksym", code.ksyms[at][0], at,
                        Guard("ksym", f"{code.ksyms[at][0]} exists") if code.ksyms[at][1] else None)
    if calls >= 0:
        found["calls", "", None] = Bound(CALLS, "bpf-to-bpf call", "subprograms", code_place(code, calls))
        if tails >= 0:
            found["tails", "", None] = Bound(
                TAIL_CALLS_WITH_CALLS, "tail calls beside calls", "on x86-64", code_place(code, tails)
            )
    needed = {(bound.kind, bound.what) for bound in found.values() if bound.guard is None}
    rows = [b for b in found.values() if b.guard is None or (b.kind, b.what) not in needed]
    return sorted(rows, key=lambda b: (b.guard is not None, -b.since[0], -b.since[1], b.kind, b.what)), problems


def _jumps(insn: Insn) -> bool:
    return insn.opcode & 7 in (op.BPF_JMP, op.BPF_JMP32) and insn.opcode != op.CALL


def _form(insn: Insn) -> Instruction | None:
    """The row of an instruction that Linux 3.18 did not have; calls have bounds of their own."""
    if insn.opcode in (0, op.CALL):
        return None
    off = insn.off if insn.opcode & 7 in (op.BPF_ALU, op.BPF_ALU64) else 0
    atomic = insn.opcode & 0xE7 == op.BPF_STX | op.BPF_ATOMIC
    row = _row(insn.opcode, insn.src if insn.opcode == op.MAY_GOTO else 0, off, insn.imm if atomic else 0)
    return row if row is not None and row.since > OLDEST else None


@cache
def _row(opcode: int, src: int, off: int, imm: int) -> Instruction | None:
    try:
        form = form_of(Insn(opcode, 0, src, off, imm))
    except EncodingError:
        return None
    return of(form.name, form.bits)


def guards_of(code: Code) -> dict[int, Guard]:
    """Slots that run only when a guard allows it; functions called only there count whole."""
    found: dict[int, Guard] = {}
    calls: dict[int, list[int]] = {}
    spans = list(code.spans())
    for _, start, end in spans:
        found.update(guarded(code.insns, start, end, code.sources))
        for at in reachable(code.insns, start, end):
            insn = code.insns[at]
            local = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL and at not in code.kfuncs
            if local or (insn.is_ld_imm64 and insn.src == op.BPF_PSEUDO_FUNC):
                calls.setdefault(at + insn.imm + 1, []).append(at)
    changed = True
    while changed:
        changed = False
        for _, start, end in spans[1:]:
            sites = calls.get(start, [])
            if not sites or not all(site in found for site in sites):
                continue
            guard = found[sites[0]]
            for at in range(start, end):
                if at not in found:
                    found[at] = guard
                    changed = True
    return found


def code_place(code: Code, at: int) -> str:
    """ "function+slot" of an instruction."""
    name, start = next((n, s) for n, s in reversed(code.functions) if s <= at)
    return f"{name}+{at - start}"
