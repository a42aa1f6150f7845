"""Programs of our own by topic (topics/*.txt), with what Linux 6.1, 6.12 and 6.18 answered to each.

A file holds programs; one begins with a line `== NAME | KEY=VALUE ...`. Keys:

    type=xdp      program type (socket_filter)          user=root|bpf|nobody    capabilities: all, only CAP_BPF and
    attach=10     expected attach type                                          CAP_NET_ADMIN, none
    license=BSD   (GPL)                                 flags=strict|freq       BPF_F_STRICT_ALIGNMENT, TEST_STATE_FREQ
    level=2       log level (6)                         size=256                bytes of the log's buffer
    fn=NAME:static|global:RESULT(ARGUMENT,...)          BTF of a function, once for each; the first is the program
    generate=...  the code is made here, not written    known=6.1:WHAT+WHAT     what differs from that kernel
    slow=1        only for BOMBUS_WHOLE_CORPUS=1

The rest is assembly. `map[NAME]` is a map of the fuzzer's world (fuzz/verifier_gen_world.py), `map[NAME]+8` a place in
its value, `func(LABEL)` the address of a function.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fuzz"))

from kernel_guest import Batch, Reply
from verifier_gen_world import ROWS, Row, Types, build_types, describe

from bombus.asm import assemble
from bombus.isa.insn import Insn
from bombus.kernel.handles import prog_type_of
from bombus.spec.version import KernelVersion
from bombus.verifier.program import NOBODY, ROOT, FuncInfo, MapInfo, Privileges, Program

FOLDER: Final = Path(__file__).with_name("topics")
ANSWERS: Final = Path(__file__).parent / "data" / "topics.jsonl.gz"
VERSIONS: Final = {"6.1": KernelVersion(6, 1), "6.12": KernelVersion(6, 12), "6.18": KernelVersion(6, 18)}
CPUS: Final = {"6.1": 1, "6.12": 1, "6.18": 2}
PRIVILEGES: Final = {"root": ROOT, "bpf": Privileges(True, False, True), "nobody": NOBODY}
_FLAGS: Final = {"strict": 1, "freq": 8}
_MAPS: Final = (*ROWS, Row("kptr", "ARRAY", value_size=24, value="kptrs"))
_BTF_SLOT: Final = 0
_HEAD: Final = re.compile(r"== (.+?)(?: \| (.*))?$")
_FUNCTION: Final = re.compile(r"(\w+):(static|global):(.+)\((.*)\)$")


@dataclass(frozen=True, slots=True)
class Function:
    """A function with BTF: its label, and its type as the fuzzer's world writes shapes: result, arguments."""

    name: str
    is_global: bool
    shape: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    topic: str
    name: str
    text: str
    options: dict[str, str]
    functions: tuple[Function, ...]

    def option(self, name: str, default: str) -> str:
        return self.options.get(name, default)

    @property
    def user(self) -> str:
        return self.option("user", "root")

    @property
    def log_level(self) -> int:
        return int(self.option("level", "6"))

    @property
    def log_size(self) -> int:
        return int(self.option("size", "0"))

    @property
    def prog_type(self) -> int:
        return prog_type_of(self.option("type", "socket_filter")).id

    @property
    def flags(self) -> int:
        return _FLAGS.get(self.option("flags", ""), 0)

    @property
    def source(self) -> str:
        """What the recorded answer is an answer to."""
        asked = {name: value for name, value in self.options.items() if name not in ("known", "slow")}
        return json.dumps([self.text, asked, [[f.name, f.is_global, *f.shape] for f in self.functions]])

    def known(self, version: str) -> set[str]:
        """What is known to differ from a kernel: words after known=."""
        found: set[str] = set()
        for part in self.option("known", "").split(","):
            name, _, words = part.partition(":")
            if name == version:
                found |= set(words.split("+"))
        return found

    def types(self) -> Types | None:
        if not self.functions:
            return None
        return build_types([f.shape for f in self.functions], [(f.name, f.is_global) for f in self.functions])

    def code(self) -> tuple[list[Insn], list[tuple[int, int]]]:
        """Instructions with the slots of maps for descriptors, and (instruction, type id) of each function."""
        generated = self.option("generate", "")
        if generated:
            return _GENERATED[generated](), []
        labels = re.findall(r"func\((\w+)\)", self.text)
        text = re.sub(r"func\(\w+\) ll", "subprog[+0]", self.text)
        text = re.sub(r"map\[([a-z_]+)\](\+\d+)? ll", _map_reference, text)
        made = assemble(text.replace("map[fd:70000] ll", "map[fd:70000]"))
        insns = list(made.insns)
        places = iter(labels)
        for at, insn in enumerate(insns):
            if insn.opcode == 0x18 and insn.src == 4:
                insns[at] = insn._replace(imm=made.labels[next(places)] - at - 1)
        types = self.types()
        starts: list[tuple[int, int]] = []
        for number, function in enumerate(self.functions):
            assert types is not None
            starts.append((made.labels[function.name] if number else 0, types.functions[number].type_id))
        return insns, starts


def _map_reference(found: re.Match[str]) -> str:
    number = next(i for i, row in enumerate(_MAPS) if row.name == found[1]) + _BTF_SLOT + 1
    return f"map[fd:{number}]" + (f"[0]{found[2]}" if found[2] else "")


def _jumps() -> list[Insn]:
    """More open branches than a path may have."""
    count = 9000
    branches = [Insn(0x15, 0, 0, count - i - 1, 1_000_000 + i) for i in range(count)]
    return [Insn(0x85, 0, 0, 0, 7), *branches, Insn(0xB7, 0, 0, 0, 0), Insn(0x95, 0, 0, 0, 0)]


_GENERATED: Final = {"jumps": _jumps}


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    return tuple(case for path in sorted(FOLDER.glob("*.txt")) for case in _read(path))


def _read(path: Path) -> list[Case]:
    found: list[Case] = []
    for block in re.split(r"^(?=== )", path.read_text(), flags=re.M):
        if not block.strip():
            continue
        head, _, text = block.partition("\n")
        matched = _HEAD.match(head)
        assert matched, f"{path.name}: {head}"
        options: dict[str, str] = {}
        functions = []
        for item in re.findall(r"(\w+)=((?:\([^)]*\)|[^\s(])+)", matched[2] or ""):
            if item[0] != "fn":
                options[item[0]] = item[1]
                continue
            function = _FUNCTION.match(item[1])
            assert function, f"{path.name}: {item[1]}"
            arguments = tuple(word.strip() for word in function[4].split(",") if word.strip())
            functions.append(Function(function[1], function[2] == "global", (function[3], *arguments)))
        found.append(Case(path.stem, matched[1], text.strip() + "\n", options, tuple(functions)))
    return found


def maps(version: KernelVersion, types: Types) -> dict[int, MapInfo]:
    """By slot."""
    found: dict[int, MapInfo] = {}
    for number, row in enumerate(_MAPS):
        inner = next((found[i + 1] for i, other in enumerate(_MAPS) if other.name == row.inner), None)
        found[number + _BTF_SLOT + 1] = describe(number, row, types, inner, version)
    return found


@lru_cache(maxsize=4)
def _maps(version: str) -> dict[int, MapInfo]:
    return maps(VERSIONS[version], build_types())


def batch(some: Sequence[Case], version: KernelVersion) -> Batch:
    """Everything that a kernel needs to answer."""
    made = Batch()
    types = build_types()
    made.btf(types.data)
    for slot, info in maps(version, types).items():
        inner = next((i + 1 for i, row in enumerate(_MAPS) if row.name == _MAPS[slot - 1].inner), -1)
        assert made.map(info, inner=inner, btf=_BTF_SLOT if info.value_type_id else -1) == slot
    for case in some:
        own = case.types()
        insns, functions = case.code()
        made.program(
            insns, case.prog_type, attach_type=int(case.option("attach", "0")), flags=case.flags,
            log_level=case.log_level, license_=case.option("license", "GPL"), functions=functions,
            btf=made.btf(own.data) if own is not None else -1, user=case.user, seconds=600, log_size=case.log_size,
        )  # fmt: skip
    return made


def program(case: Case, version: str) -> Program:
    own = case.types()
    insns, functions = case.code()
    return Program(
        insns, case.prog_type, VERSIONS[version], int(case.option("attach", "0")), case.option("license", "GPL"), "",
        case.flags, PRIVILEGES[case.user], _maps(version), (), own.btf if own is not None else None,
        [FuncInfo(*pair) for pair in functions], (), log_level=case.log_level, cpus=CPUS[version],
    )  # fmt: skip


_ADDRESS: Final = re.compile(r"\((18)\) r(\d+) = 0x[0-9a-f]+(?: +;)?")
_TIME: Final = re.compile(r"verification time \d+ usec")


def normal(log: str) -> str:
    """A log without what differs between runs."""
    return _ADDRESS.sub(r"(\1) r\2 = PTR;", _TIME.sub("verification time usec", log))


def row(case: Case, version: str, reply: Reply) -> dict[str, Any]:
    """An answer as it is recorded."""
    return {
        "topic": case.topic, "name": case.name, "version": version, "source": case.source, "errno": reply.errno,
        "log": normal(reply.log), "full": reply.full,
    }  # fmt: skip


@lru_cache(maxsize=1)
def answers() -> dict[tuple[str, str, str], dict[str, Any]]:
    """The recorded answers by topic, name and version."""
    with gzip.open(ANSWERS, "rt") as file:
        rows = [json.loads(line) for line in file]
    return {(one["topic"], one["name"], one["version"]): one for one in rows}
