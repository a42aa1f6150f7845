"""Recorded programs with something changed: an immediate, an offset, a register, an operation, an instruction too few
or too many, two programs' types exchanged.

The maps and the BTF that a program came with are made on the running kernel, each once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import corpus
from corpus import ORACLE
from verifier_gen import Case, clip16, clip32, number
from verifier_gen_world import World

from bombus.btf.parse import Btf
from bombus.errors import KernelError
from bombus.isa.insn import Insn
from bombus.verifier.program import MapInfo, Program

# LIRC_MODE2, which kernels are often built without, and programs that need BTF of the kernel.
_NOT_HERE = (20, 26, 27, 28, 29)
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
    """Recorded self-contained programs that this kernel may load, each with its maps."""

    def __init__(self, world: World, version: str = "6.18", step: int = 1) -> None:
        self.world = world
        self.maps: dict[tuple[object, ...], tuple[int, MapInfo] | None] = {}
        self.raw: dict[int, bytes] = {}
        self.keep: list[Btf] = []
        self.seeds: list[Seed] = []
        features = {(r["object"], r["program"]): r for r in corpus.rows("features-6.12")}
        self.accepted = {r["program"] for r in corpus.rows(f"verdicts-{version}") if r["verdict"] == "accept"}
        blobs = corpus.blobs(version)
        for at, row in enumerate(corpus.rows(f"loads-{version}")):
            feature = features.get((row["obj"], row["prog"]))
            if at % step or not feature or not feature["self_contained"] or row["attr"].get("attach_btf_id"):
                continue
            if len(row["insns"]) * 3 // 4 > LONGEST * 8 or row["attr"]["prog_type"] in _NOT_HERE:
                continue
            self._add(row, f"{row['obj']}:{row['prog']}", row["prog"] in self.accepted, version, blobs)
        fine = {r["idx"] for r in corpus.rows(f"test_verifier.verdicts-{version}") if r["err"] == 0}
        seen: set[int] = set()
        blobs = corpus.blobs("6.12")
        for row in corpus.rows("test_verifier.loads-6.12"):
            attr = row["attr"]
            if row["idx"] in seen or row["btfs"] or attr["prog_type"] in _NOT_HERE or attr.get("attach_btf_id"):
                continue
            if len(row["insns"]) * 3 // 4 > LONGEST * 8:
                continue
            seen.add(row["idx"])
            self._add(row, f"table:{row['idx']}", row["idx"] in fine, version, blobs)

    def _add(self, row: dict[str, Any], name: str, accepted: bool, version: str, blobs: dict[str, bytes]) -> None:
        program = corpus.program_of(row, version, 6, blobs)
        data_of = {}
        for entry in row.get("btfs", ()):
            data = blobs.get(entry["sha1"])
            if data is not None:
                btf = corpus._btf(data)
                if btf is not None:
                    data_of[id(btf)] = data
                    self.keep.append(btf)
        fds: dict[int, int] = {}
        for old, info in program.maps.items():
            found = self._map(info, data_of)
            if found is None:
                return
            fds[old] = found[0]
        insns = []
        for insn in program.insns:
            if insn.opcode == 0x18 and insn.src in (1, 2):
                if insn.imm not in fds:
                    return
                insn = insn._replace(imm=fds[insn.imm])
            elif insn.opcode == 0x18 and insn.src in (3, 5, 6):
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


def mutate_generator(world: World) -> Callable[[random.Random], Case]:
    """Raises FileNotFoundError when the recorded programs are not there."""
    recorded = Corpus(world)
    seeds = recorded.seeds
    if not seeds:
        raise FileNotFoundError("no recorded programs")
    accepted = [seed for seed in seeds if seed.accepted]
    print(f"mutate: {len(seeds)} recorded programs, {len(recorded.maps)} kinds of maps", flush=True)

    def generate(rng: random.Random) -> Case:
        seed = rng.choice(accepted if rng.random() < 0.6 else seeds)
        program = seed.program
        insns: list[Insn] = list(seed.insns)
        functions = [(info.insn, info.type_id) for info in program.func_info] if seed.btf_fd else []
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))):
            insns, at, by = mutate(rng, insns, rng.choice(seeds).insns)
            if by:
                size = by if by > 0 else -2 if insns[at].opcode == 0x18 else -1
                insns = _retarget(insns, at, by)
                functions = [
                    (start if start <= at else max(at, start + size), type_id) for start, type_id in functions
                ]
        prog_type, attach = program.prog_type, program.expected_attach_type
        if rng.random() < 0.03:
            other = rng.choice(seeds).program
            prog_type, attach = other.prog_type, other.expected_attach_type
        flags = program.flags
        if rng.random() < 0.1:
            flags ^= rng.choice((1, 8, 16))
        return Case(
            "mutate", tuple(insns), prog_type, attach, flags, rng.choice((6, 6, 6, 4, 1)), program.license,
            tuple(functions), seed.name, seed.btf_fd, program.btf if seed.btf_fd else None,
        )

    return generate


__all__ = ["ORACLE", "Corpus", "mutate", "mutate_generator"]
