"""Recorded programs with something changed: an immediate, an offset, a register, an operation, an instruction too few
or too many, two programs' types exchanged.

The maps and the BTF that a program came with are made on the running kernel, each once. Programs that use the kernel's
types name them by the ids of the kernel that recorded them: they get those that the running kernel has for the names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import corpus
from corpus import ORACLE
from linux_loads import Loads, load_each, package_objects
from verifier_gen import Case, clip16, clip32, number
from verifier_gen_world import World

from bombus.btf.parse import Btf
from bombus.btf.types import Kind, Struct
from bombus.errors import BombusError, KernelError
from bombus.isa.insn import Insn
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.verifier.program import MapInfo, Program

# LIRC_MODE2, which kernels are often built without, and programs that need BTF of the kernel.
_NOT_HERE = (20, 26, 27, 28, 29)
_LIRC, _TRACING, _STRUCT_OPS = 20, 26, 27
_RAW_TP, _ITERATES = ATTACH_TYPE["BPF_TRACE_RAW_TP"].id, ATTACH_TYPE["BPF_TRACE_ITER"].id
# Tracepoints whose arguments are pointers to what programs like to look at.
_TARGETS = (
    "sched_switch", "task_newtask", "cgroup_mkdir", "kfree_skb", "sched_process_exec", "tcp_probe", "sys_enter",
    "bpf_test_finish", "netif_receive_skb", "block_rq_issue",
)  # fmt: skip
_COMMON_HELPERS = (1, 2, 3, 6, 7, 12, 14, 35, 51, 67, 84, 86, 87, 93, 94, 112, 131, 132, 164, 169, 181)
_BOUNDARIES = (-1, 1, 8, -8, 4, -4, 2, 7)
LONGEST = 900  # instructions


@dataclass(slots=True)
class Seed:
    """A recorded program with descriptors of this process."""

    name: str
    program: Program
    insns: tuple[Insn, ...]
    btf_fd: int
    accepted: bool


def _similar(info: MapInfo) -> tuple[object, ...]:
    inner = info.inner
    return (
        info.type, info.key_size, info.value_size, info.max_entries, info.flags, info.contents, info.frozen,
        info.value_type_id, id(info.btf), None if inner is None else _similar(inner),
    )  # fmt: skip


class Corpus:
    """Programs that this kernel may load, each with its maps: recorded ones, and those of installed packages.

    typed: those that use the kernel's types, else those that need none. trampolines: programs attach to functions here.
    """

    def __init__(
        self, world: World, version: str = "6.18", step: int = 1, *, typed: bool = False, trampolines: bool = False
    ) -> None:
        self.world = world
        self.maps: dict[tuple[object, ...], tuple[int, MapInfo] | None] = {}
        self.keep: list[Btf] = []
        self.seeds: list[Seed] = []
        self.names = None
        if typed and world.vmlinux is not None:
            self.names = Names(corpus.vmlinux(version), world.vmlinux, trampolines)
        self._selftests(version, step, typed)
        if typed:
            self._packages()
        else:
            self._table(version)

    def _selftests(self, version: str, step: int, typed: bool) -> None:
        features = {(r["object"], r["program"]): r for r in corpus.rows("features-6.12")}
        accepted = {r["program"] for r in corpus.rows(f"verdicts-{version}") if r["verdict"] == "accept"}
        blobs = corpus.blobs(version)
        for at, row in enumerate(corpus.rows(f"loads-{version}")):
            feature = features.get((row["obj"], row["prog"]))
            attr = row["attr"]
            if at % step or _is_long(row) or attr["prog_type"] == _LIRC or attr.get("attach_prog_fd"):
                continue
            plain = feature and feature["self_contained"] and attr["prog_type"] not in _NOT_HERE
            if bool(plain) is typed:
                continue
            program, data_of = self._recorded(row, version, blobs)
            self._add(program, f"{row['obj']}:{row['prog']}", row["prog"] in accepted, data_of)

    def _table(self, version: str) -> None:
        """The cases of test_verifier."""
        fine = {r["idx"] for r in corpus.rows(f"test_verifier.verdicts-{version}") if r["err"] == 0}
        seen: set[int] = set()
        blobs = corpus.blobs("6.12")
        for row in corpus.rows("test_verifier.loads-6.12"):
            attr = row["attr"]
            if row["idx"] in seen or row["btfs"] or attr["prog_type"] in _NOT_HERE or attr.get("attach_btf_id"):
                continue
            if _is_long(row):
                continue
            seen.add(row["idx"])
            program, data_of = self._recorded(row, version, blobs)
            self._add(program, f"table:{row['idx']}", row["idx"] in fine, data_of)

    def _packages(self) -> None:
        """Programs of objects that are installed here, as a loader hands them to the running kernel."""
        if not isinstance(self.world.kernel, LinuxKernel):
            return
        loads = _Collected(self.world.kernel)
        for obj in package_objects():
            loads.found.clear()
            try:
                load_each(obj, loads)
            except BombusError:
                continue
            for name, program in loads.found:
                if len(program.insns) <= LONGEST:
                    self._add(program, f"{obj.name}:{name}", True, loads.data_of)

    def _recorded(self, row: dict[str, Any], version: str, blobs: dict[str, bytes]) -> tuple[Program, dict[int, bytes]]:
        """A recorded load, and the bytes of its BTF by the id() of the Btf."""
        program = corpus.program_of(row, version, 6, blobs)
        data_of = {}
        for entry in row.get("btfs", ()):
            data = blobs.get(entry["sha1"])
            if data is not None:
                btf = corpus._btf(data)
                if btf is not None:
                    data_of[id(btf)] = data
                    self.keep.append(btf)
        if self.names is not None:
            program = self.names.translated(program)
        return program, data_of

    def _add(self, program: Program | None, name: str, accepted: bool, data_of: dict[int, bytes]) -> None:
        if program is None:
            return
        insns = []
        fds: dict[int, int] = {}
        for insn in program.insns:
            if insn.opcode == 0x18 and insn.src in (1, 2):
                info = program.maps.get(insn.imm)
                if info is None:
                    return
                if insn.imm not in fds:
                    found = self._map(info, data_of)
                    if found is None:
                        return
                    fds[insn.imm] = found[0]
                insn = insn._replace(imm=fds[insn.imm])
            elif insn.opcode == 0x18 and insn.src in ((5, 6) if self.names is not None else (3, 5, 6)):
                return
            insns.append(insn)
        btf_fd = 0
        if program.btf is not None and program.func_info:
            btf_fd = self.world.load_btf(data_of[id(program.btf)])
            if not btf_fd:
                return
        self.seeds.append(Seed(name, program, tuple(insns), btf_fd, accepted))

    def _map(self, info: MapInfo, data_of: dict[int, bytes]) -> tuple[int, MapInfo] | None:
        key = _similar(info)
        if key not in self.maps:
            data = data_of.get(id(info.btf), b"")
            if info.inner is not None and not data:
                data = data_of.get(id(info.inner.btf), b"")
            try:
                fd = self.world.make_map(info, data)
            except KernelError:
                self.maps[key] = None
            else:
                # Descriptors of the world are few and small; these go where mutated ones seldom point.
                self.maps[key] = (fd, info)
                self.world.infos[fd] = info
        return self.maps[key]


def _is_long(row: dict[str, Any]) -> bool:
    return len(row["insns"]) * 3 // 4 > LONGEST * 8


class _Collected(Loads):
    """Notes each program that is loaded, and the bytes of all BTF."""

    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.found: list[tuple[str, Program]] = []
        self.data_of: dict[int, bytes] = {}

    def bpf(self, attr: Attr) -> int:
        result = super().bpf(attr)
        if attr.command.name == "BPF_BTF_LOAD":
            self.data_of[id(self.btfs[result])] = bytes(attr.buffers["btf"])
        return result

    def loaded(self, attr: Attr) -> None:
        program = self.program(attr)
        self.found.append((program.name, program))


class Names:
    """Ids of types in one kernel's BTF for those of the same names in another's."""

    def __init__(self, old: Btf, new: Btf, trampolines: bool = False) -> None:
        self.old = old
        self.trampolines = trampolines
        self.new = new
        self.tracepoints = [
            found for name in _TARGETS if (found := new.find(f"btf_trace_{name}", Kind.TYPEDEF)) is not None
        ]

    def _id(self, type_id: int) -> int:
        """0 when the other kernel has no such type. Raises BtfError for an id of nothing."""
        type_ = self.old.type(type_id)
        return self.new.find(type_.name, type_.kind) or 0

    def translated(self, program: Program) -> Program | None:
        """The program for the other kernel; None when it calls what only modules have, or what is not there."""
        insns = []
        try:
            for insn in program.insns:
                names_type = (insn.opcode == 0x85 and insn.src == 2) or (insn.opcode == 0x18 and insn.src == 3)
                if names_type and insn.imm:
                    if insn.off:
                        return None
                    found = self._id(insn.imm)
                    if not found:
                        return None
                    insn = insn._replace(imm=found)
                insns.append(insn)
            if not program.attach_btf_id:
                return replace(program, insns=insns)
            return self._target(replace(program, insns=insns))
        except BombusError:
            return None

    def _target(self, program: Program) -> Program | None:
        target = self.old.type(program.attach_btf_id)
        attach = program.expected_attach_type
        found = self._id(program.attach_btf_id)
        if program.prog_type == _STRUCT_OPS and isinstance(target, Struct):
            if not found:
                return None
            member = target.members[attach].name
            new = self.new.type(found)
            assert isinstance(new, Struct)
            place = [at for at, one in enumerate(new.members) if one.name == member]
            return replace(program, attach_btf_id=found, expected_attach_type=place[0]) if place else None
        if (attach in (_RAW_TP, _ITERATES) or self.trampolines) and found:
            return replace(program, attach_btf_id=found)
        # What attaches to functions is refused here: it gets a tracepoint.
        found = self.tracepoints[len(program.insns) % len(self.tracepoints)]
        return replace(program, prog_type=_TRACING, expected_attach_type=_RAW_TP, attach_btf_id=found)


def mutate(rng: random.Random, insns: Sequence[Insn], others: Sequence[Insn]) -> tuple[list[Insn], int, int]:
    """(instructions, where some were added or removed, how many); the place is -1 when none were."""
    out = list(insns)
    at = rng.randrange(len(out))
    if at and out[at - 1].opcode == 0x18:
        at -= 1
    insn = out[at]
    pick = rng.random()
    if insn.opcode == 0x18 and pick < 0.9:
        if insn.src == 2:
            high = out[at + 1]
            out[at + 1] = high._replace(imm=clip32(high.imm + rng.choice(_BOUNDARIES)))
        elif insn.src == 0:
            out[at] = insn._replace(imm=clip32(number(rng)))
        return out, -1, 0
    if pick < 0.28:
        new = insn.imm + rng.choice(_BOUNDARIES) if rng.random() < 0.6 else number(rng)
        if insn.opcode == 0x85 and insn.src == 0:
            new = rng.choice((*_COMMON_HELPERS, rng.randint(0, 215)))
        out[at] = insn._replace(imm=clip32(new))
    elif pick < 0.48:
        klass = insn.opcode & 7
        step = rng.choice(_BOUNDARIES) if klass in (1, 2, 3) else rng.choice((1, -1, 2, rng.randint(-5, 5)))
        out[at] = insn._replace(off=clip16(insn.off + step))
    elif pick < 0.62:
        if rng.random() < 0.5:
            out[at] = insn._replace(dst=rng.randint(0, 10) if rng.random() < 0.97 else 11)
        else:
            out[at] = insn._replace(src=rng.randint(0, 10) if rng.random() < 0.97 else 12)
    elif pick < 0.76:
        klass = insn.opcode & 7
        if klass in (1, 2, 3):
            out[at] = insn._replace(opcode=insn.opcode & ~0x18 | rng.choice((0, 8, 16, 24)))
        elif klass in (4, 7):
            code = rng.choice((0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xA0, 0xB0, 0xC0))
            out[at] = insn._replace(opcode=code | insn.opcode & 8 | rng.choice((4, 7)))
        elif klass in (5, 6) and insn.opcode not in (0x85, 0x95):
            code = rng.choice((0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0))
            out[at] = insn._replace(opcode=code | insn.opcode & 8 | rng.choice((5, 6)))
        else:
            out[at] = insn._replace(opcode=rng.randint(0, 255))
    elif pick < 0.86:
        # Taken out; jumps over it keep their targets.
        return out, at, -1
    elif pick < 0.95:
        extra = rng.choice(insns if rng.random() < 0.7 else others)
        if extra.opcode in (0x18, 0) or extra.opcode & 7 in (5, 6):
            extra = Insn(0xBF, rng.randint(0, 9), rng.randint(0, 10), 0, 0)
        out.insert(at, extra)
        return out, at, 1
    else:
        other = rng.randrange(len(out))
        if 0x18 not in (out[other].opcode, insn.opcode) and 0 not in (out[other].opcode, insn.opcode):
            out[at], out[other] = out[other], out[at]
    return out, -1, 0


def _retarget(insns: list[Insn], at: int, by: int) -> list[Insn]:
    """Distances after one instruction was put in at `at` (it is there already), or the one at `at` is to go."""
    count = len(insns)
    if by < 0:
        size = 2 if insns[at].opcode == 0x18 else 1
        if count <= size:
            return insns
        gone = range(at, at + size)

        def moved(index: int) -> int:
            return index if index <= at else max(at, index - size)

        return [
            _distance(insn, index, moved) for index, insn in enumerate(insns) if index not in gone
        ]

    def shifted(index: int) -> int:
        return index if index < at else index + 1

    out = []
    for index, insn in enumerate(insns):
        if index == at:
            out.append(insn)
        else:
            before = index if index < at else index - 1
            out.append(_distance(insn, before, shifted))
    return out


def _distance(insn: Insn, index: int, moved: Callable[[int], int]) -> Insn:
    klass, code = insn.opcode & 7, insn.opcode & 0xF0
    if klass in (5, 6) and code not in (0x80, 0x90):
        distance = insn.imm if insn.opcode == 0x06 else insn.off
        new = moved(index + 1 + distance) - moved(index) - 1
        return insn._replace(imm=clip32(new)) if insn.opcode == 0x06 else insn._replace(off=clip16(new))
    if (insn.opcode == 0x85 and insn.src == 1) or (insn.opcode == 0x18 and insn.src == 4):
        return insn._replace(imm=clip32(moved(index + 1 + insn.imm) - moved(index) - 1))
    return insn


def mutate_generator(
    world: World, version: str = "6.18", *, typed: bool = False, trampolines: bool = False
) -> Callable[[random.Random], Case]:
    """Raises FileNotFoundError when the recorded programs are not there."""
    recorded = Corpus(world, version, typed=typed, trampolines=trampolines)
    seeds = recorded.seeds
    if not seeds:
        raise FileNotFoundError("no recorded programs")
    accepted = [seed for seed in seeds if seed.accepted]
    topic = "mutate_typed" if typed else "mutate"
    print(f"{topic}: {len(seeds)} recorded programs, {len(recorded.maps)} kinds of maps", flush=True)
    kfuncs = sorted({insn.imm for seed in seeds for insn in seed.insns if insn.opcode == 0x85 and insn.src == 2})

    def generate(rng: random.Random) -> Case:
        seed = rng.choice(accepted if rng.random() < 0.6 else seeds)
        program = seed.program
        insns: list[Insn] = list(seed.insns)
        functions = [(info.insn, info.type_id) for info in program.func_info] if seed.btf_fd else []
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
            if kfuncs and rng.random() < 0.15:
                insns = _other_kfunc(rng, insns, kfuncs)
                continue
            insns, at, by = mutate(rng, insns, rng.choice(seeds).insns)
            if by:
                size = by if by > 0 else -2 if insns[at].opcode == 0x18 else -1
                insns = _retarget(insns, at, by)
                functions = [
                    (start if start <= at else max(at, start + size), type_id) for start, type_id in functions
                ]
        target = program
        if rng.random() < 0.03:
            target = rng.choice(seeds).program
        flags = program.flags
        if rng.random() < 0.1:
            flags ^= rng.choice((1, 8, 16))
        return Case(
            topic, tuple(insns), target.prog_type, target.expected_attach_type, flags, rng.choice((6, 6, 6, 4, 1)),
            program.license, tuple(functions), seed.name, seed.btf_fd, program.btf if seed.btf_fd else None,
            target.attach_btf_id,
        )

    return generate


def _other_kfunc(rng: random.Random, insns: list[Insn], kfuncs: Sequence[int]) -> list[Insn]:
    """One kernel function called instead of another."""
    calls = [at for at, insn in enumerate(insns) if insn.opcode == 0x85 and insn.src == 2]
    if not calls:
        return insns
    at = rng.choice(calls)
    return [*insns[:at], insns[at]._replace(imm=rng.choice(kfuncs)), *insns[at + 1 :]]


__all__ = ["ORACLE", "Corpus", "mutate", "mutate_generator"]
