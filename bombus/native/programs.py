"""What is compiled: programs that the verifier accepts, their variables, the maps and helpers that they need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from bombus.bits import align_up, u32
from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.errors import NotSupported, UsageError
from bombus.isa import opcodes as op
from bombus.isa.facts import CTX, OTHER, Facts
from bombus.isa.insn import Insn, imm64
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.native.inside import Inside, helpers_of, inside
from bombus.object.model import Object
from bombus.spec.ctxstructs import CONTEXT
from bombus.spec.helpers import HELPER_BY_ID

if TYPE_CHECKING:
    from bombus.kernel.user.prog import Prog
    from bombus.loader.load import Loaded

VERSION: Final = "6.18"
# Members of contexts that hold addresses of packet bytes. Kernels rewrite loads of them; native code finds them, as
# u64, behind the struct of the uapi header, in this order.
POINTERS: Final = ("data", "data_end", "data_meta")
SKB: Final = "__sk_buff"
_SKB_POINTERS: Final = ("data", "data_end", "mac", "network", "data_meta")  # first `vm.env.Env.packet_words`
_WHAT: Final = "native code of this program"
_LDX_W: Final = op.BPF_LDX | op.BPF_MEM | op.BPF_W
_LDX_DW: Final = op.BPF_LDX | op.BPF_MEM | op.BPF_DW


@dataclass(frozen=True, slots=True)
class Variables:
    """A data map: its initial bytes. constant: nobody writes it."""

    name: str
    data: bytes
    constant: bool


@dataclass(frozen=True, slots=True)
class NativeProgram:
    """One program. addresses: value of a 64-bit immediate -> the map it is in, offset there (None: the map itself).
    maps: call -> the map that it always works on."""

    name: str
    type: str
    context: str
    insns: tuple[Insn, ...]
    facts: Facts
    addresses: dict[int, tuple[str, int | None]]
    helpers: frozenset[int] = frozenset()
    maps: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NativeUnit:
    """Programs with all that they share. byteorder: of their variables and constants. maps: names of those that whoever
    links the code provides; inside: those among them that can be inside, where programs do nothing but call their
    helpers. tables: arrays of programs: the name of the program in each slot ("": none)."""

    byteorder: str
    programs: tuple[NativeProgram, ...]
    variables: dict[str, Variables] = field(default_factory=dict)
    maps: frozenset[str] = frozenset()
    inside: dict[str, Inside] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)


def unit_of(obj: Object, names: Collection[str] = ()) -> NativeUnit:
    """Verify programs of an object (all, or the named ones) and take them apart.

    LoadError with the verifier's log; NotSupported for programs that work on kernel objects.
    """
    unknown = set(names) - {spec.name for spec in obj.programs}
    if unknown:
        raise UsageError(f"there is no program {', '.join(sorted(unknown))} in {obj.name}")
    kernel = UserKernel(VERSION, engine="reference")
    with load(_little(obj), kernel, programs=tuple(names) or None, pin_root="") as loaded:
        wanted = {handle.id: name for name, handle in loaded.maps.items()}
        found = []
        for name, handle in loaded.programs.items():
            prog: Any = kernel.object("BPF_PROG_LOAD", handle.fd, "prog")
            found.append(_program(prog, name, wanted))
        used = {name for program in found for name, _ in program.addresses.values()}
        variables = {
            name: Variables(name, bytes(spec.data), spec.frozen)
            for name, spec in loaded.specs.items()
            if name in used and spec.data is not None
        }
        rest = used - set(variables)
        tables = {name: _table(loaded, name) for name in rest if loaded.maps[name].type.short == "prog_array"}
        fds = {name: loaded.maps[name].fd for name in rest}
        items: dict[str, Any] = {name: kernel.object("BPF_MAP_LOOKUP_ELEM", fd, "map") for name, fd in fds.items()}
        able = {name: one for name, item in items.items() if (one := inside(item)) is not None}
        able = {name: one for name, one in able.items() if _only_called(found, name, helpers_of(one))}
    if not found:
        raise UsageError(f"{obj.name} has no programs that load by default; name them")
    return NativeUnit(obj.byteorder, tuple(found), variables, frozenset(rest - set(tables)), able, tables)


def _only_called(programs: Collection[NativeProgram], name: str, helpers: frozenset[int]) -> bool:
    """Do programs nothing with a map but call these helpers?"""
    addresses = sum(
        insn.opcode == op.LD_IMM64 and program.addresses.get(imm64(insn, program.insns[at + 1]), ("", 0))[0] == name
        for program in programs
        for at, insn in enumerate(program.insns)
        if insn.opcode == op.LD_IMM64
    )
    calls = [program.insns[at].imm for program in programs for at, one in program.maps.items() if one == name]
    return 0 < addresses <= len(calls) and helpers.issuperset(calls)


def _table(loaded: Loaded, name: str) -> tuple[str, ...]:
    """The names of the programs in an array of programs, as the object fills it."""
    by_id = {handle.id: program for program, handle in loaded.programs.items()}
    slots = [""] * loaded.maps[name].max_entries
    for slot, program in loaded.maps[name].items():
        with program:
            slots[int(slot)] = by_id.get(program.id, "")
    return tuple(slots)


def _little(obj: Object) -> Object:
    """An object for the other byte order as this machine's verifier can judge it: without constants, whose bytes are
    the wrong way round here, and with types as they are written here."""
    if obj.byteorder == "little":
        return obj
    maps = tuple(replace(one, frozen=False) for one in obj.maps)
    if obj.btf is None or obj.btf_ext is None or obj.btf_ext.core_relo:
        maps = tuple(replace(one, key_type=0, value_type=0) for one in maps)
        return replace(obj, byteorder="little", btf=None, maps=maps)
    btf = Btf.parse(Builder.from_btf(obj.btf).to_bytes("little"))
    return replace(obj, byteorder="little", btf=btf, btf_ext=replace(obj.btf_ext, byteorder="little"), maps=maps)


def _program(prog: Prog, name: str, maps: dict[int, str]) -> NativeProgram:
    facts = prog.facts
    if facts is None:
        raise NotSupported(_WHAT, f"{name} was not verified")
    insns = list(prog.xlated)
    helpers: set[int] = set()
    addresses: dict[int, tuple[str, int | None]] = {}
    for index, insn in enumerate(prog.insns):
        if insn.opcode == op.CALL and insn.src == 0:
            helpers.add(insn.imm)
        elif insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            raise NotSupported(_WHAT, f"{name} calls a function of the kernel")
        elif insn.opcode == op.LD_IMM64 and insn.src not in (0, op.BPF_PSEUDO_FUNC):
            addresses[imm64(insns[index], insns[index + 1])] = _place(prog, index, maps)
    for index, kinds in facts.access.items():
        if kinds & OTHER:
            raise NotSupported(_WHAT, f"{name}, instruction {index}, reads objects of the kernel")
    context = prog.type.ctx
    for index, insn in enumerate(insns):
        if insn.opcode == _LDX_W and facts.access.get(index, 0) & CTX:
            insns[index] = _pointer(insn, index, facts, context, name)
    return NativeProgram(
        name, prog.type.name, context, tuple(insns), facts, addresses, frozenset(helpers),
        {index: maps[id_] for index, id_ in facts.maps.items() if id_ in maps and insns[index].opcode == op.CALL},
    )  # fmt: skip


def _place(prog: Prog, index: int, maps: dict[int, str]) -> tuple[str, int | None]:
    """The map of an instruction that loads an address, and the offset of the value."""
    from bombus.kernel.user.proglink import dumped

    shown = dumped(prog)
    insn, second = shown[index], shown[index + 1]
    if insn.src not in (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE):
        raise NotSupported(_WHAT, f"instruction {index} loads the address of a kernel variable")
    return maps[insn.imm], u32(second.imm) if insn.src == op.BPF_PSEUDO_MAP_VALUE else None


def wide_offset(context: str, member: str) -> int:
    """Where native code finds the address in a member of a context struct, as u64."""
    return align_up(CONTEXT[context].size, 8) + 8 * pointers_of(context).index(member)


def pointers_of(context: str) -> tuple[str, ...]:
    """The addresses behind a context struct, in their order."""
    return _SKB_POINTERS if context == SKB else POINTERS


def packet_words(context: str) -> int:
    """Where `vm.env.Env.packet_words` lie; 0 for contexts that have none."""
    return wide_offset(context, "data") if context == SKB else 0


def context_size(context: str) -> int:
    """Bytes of a context with the addresses behind it; 0 for contexts that are passed on as they are."""
    row = CONTEXT.get(context)
    if row is None or not any(member.name in POINTERS for member in row.members):
        return 0
    return align_up(row.size, 8) + 8 * len(pointers_of(context))


def _pointer(insn: Insn, index: int, facts: Facts, context: str, name: str) -> Insn:
    """A load of a packet's address goes to where native code has it whole."""
    row = CONTEXT.get(context)
    member = row.at(insn.off) if row is not None and 0 <= insn.off < row.size else None
    if row is None or member is None or member.name not in POINTERS or not context_size(context):
        return insn
    if facts.access[index] != CTX:
        raise NotSupported(_WHAT, f"{name}, instruction {index}, reads contexts and other memory")
    return insn._replace(opcode=_LDX_DW, off=wide_offset(context, member.name))


def helper_name(number: int) -> str:
    row = HELPER_BY_ID.get(number)
    return f"bpf_{row.name}" if row is not None else f"helper {number}"
