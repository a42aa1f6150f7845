"""What `bombus inspect` says of small objects with known answers; data/inspect/build makes them."""

from __future__ import annotations

import functools
import gzip
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from bombus.btf.parse import Btf
from bombus.cli import output
from bombus.cli.inspect import as_dict
from bombus.cli.main import cli
from bombus.elf.model import EM_BPF
from bombus.elf.read import find_embedded
from bombus.errors import BombusError, RelocationError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.object.inspect import ProgramReport, Report, inspect
from bombus.object.paths import Guard, Source, back_edges, guarded
from bombus.object.read import open_object, read_object

DATA = Path(__file__).parent / "data" / "inspect"


@functools.cache
def report(name: str) -> Report:
    return inspect(open_object(DATA / f"{name}.bpf.o"))


def program(name: str, where: str = "plain") -> ProgramReport:
    return next(p for p in report(where).programs if p.name == name)


# program: (oldest kernel, kind and text of a bound that sets it)
PLAIN = {
    "oldest": ("3.19", "program type", "socket_filter"),
    "xdp_pass": ("4.8", "program type", "xdp"),
    "frags": ("5.18", "program flag", "BPF_F_XDP_HAS_FRAGS"),
    "devmap": ("5.8", "attach type", "xdp_devmap"),
    "lock": ("5.1", "field in map value", "bpf_spin_lock (locks)"),
    "flagged": ("5.5", "map flag", "BPF_F_MMAPABLE (mapped)"),
    "fetch": ("5.12", "instruction", "atomic_fetch_add"),
    "plain_add": ("4.1", "program type", "sched_cls"),
    "kpid": ("4.2", "helper", "bpf_get_current_pid_tgid"),
    "tpid": ("6.10", "helper", "bpf_get_current_pid_tgid"),
    "boot": ("5.8", "helper", "bpf_ktime_get_boot_ns"),
    "calls": ("4.16", "bpf-to-bpf call", "subprograms"),
    "tails": ("4.2", "helper", "bpf_tail_call"),
    "tails_and_calls": ("5.10", "tail calls beside calls", "on x86-64"),
    "loops": ("5.3", "loop", "in loops"),
    "callbacks": ("5.17", "helper", "bpf_loop"),
    "kfunc": ("5.13", "kfunc", "bpf_kfunc"),
    "weak_kfunc": ("4.1", "program type", "sched_cls"),
    "sleeps": ("5.10", "program flag", "BPF_F_SLEEPABLE"),
    "iter": ("5.8", "attach type", "trace_iter"),
    "optional": ("5.6", "program type", "struct_ops"),
    "long_one": ("5.2", "program size", "5002 instructions, more than 4096"),
    "jmp32": ("5.1", "instruction", "jeq32"),
    "jlt": ("4.14", "instruction", "jlt64"),
    "goto32": ("6.6", "instruction", "gotol"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_bounds(name: str) -> None:
    version, kind, what = PLAIN[name]
    found = program(name)
    assert str(found.minimum) == version
    assert [b for b in found.bounds if (str(b.since), b.kind, b.what, b.guard) == (version, kind, what, None)]
    assert not found.problems


OPS = {
    "start": ("6.4", "map flag", "BPF_F_LINK (.struct_ops.link)"),
    "timer": ("5.15", "field in map value", "bpf_timer (timers)"),
    "kptr": ("5.19", "field in map value", "kptr (tasks)"),
}


@pytest.mark.parametrize("name", OPS)
def test_bounds_from_btf(name: str) -> None:
    version, kind, what = OPS[name]
    found = program(name, "ops")
    assert str(found.minimum) == version
    assert [b for b in found.bounds if (str(b.since), b.kind, b.what, b.guard) == (version, kind, what, None)]


def test_every_program_is_listed() -> None:
    assert {p.name for p in report("plain").programs} == set(PLAIN) | {"no_helper"}
    assert {p.name for p in report("plain").programs if not p.autoload} == {"optional"}


def test_problem() -> None:
    assert program("no_helper").problems == ("no_helper+4: only sleepable programs may call bpf_copy_from_user",)


# program: (oldest kernel, guard of bpf_ktime_get_tai_ns)
GUARDS = {
    "field": ("5.1", Guard("core", "field_exists struct task_struct.missing")),
    "both": ("6.1", None),
    "call": ("5.1", Guard("core", "type_exists struct newer")),
    "constant": ("5.5", Guard("rodata", "wanted")),
    "version": ("5.5", Guard("kconfig", "LINUX_KERNEL_VERSION")),
    "runtime": ("6.1", None),
}


@pytest.mark.parametrize("name", GUARDS)
def test_guards(name: str) -> None:
    version, guard = GUARDS[name]
    found = program(name, "guards")
    assert str(found.minimum) == version
    assert [b.guard for b in found.bounds if b.what == "bpf_ktime_get_tai_ns"] == [guard]


def test_whole_object() -> None:
    found = report("plain")
    assert str(found.minimum) == "6.10"
    assert {who for who, _ in found.reasons} == {"program tpid"}
    ring = next(m for m in found.maps if m.name == "ring")
    assert (ring.type, ring.max_entries, str(ring.minimum)) == ("ringbuf", 4096, "5.8")
    locks = next(m for m in found.maps if m.name == "locks")
    assert (locks.key_type, locks.value_type, locks.value_size) == ("u32", "struct locked", 8)
    assert {(e.name, e.kind, e.weak) for e in found.externs} == {
        ("bpf_kfunc", "kfunc", False),
        ("bpf_weak_kfunc", "kfunc", True),
    }


def test_maps_that_no_program_uses_count() -> None:
    """The ring buffer is created with the object: it sets the bound of an object, not that of one program."""
    obj = open_object(DATA / "plain.bpf.o")
    assert str(inspect(obj, program="oldest").minimum) == "3.19"
    assert "ring" not in {m.name for m in inspect(obj, program="lock").maps}


def test_no_such_program() -> None:
    with pytest.raises(RelocationError, match="no such program; there are field"):
        inspect(open_object(DATA / "guards.bpf.o"), program="nothing")


def test_against_a_kernel(oracle: Path) -> None:
    target = Btf.parse(gzip.decompress((oracle / "btf" / "vmlinux-6.1.0-56.btf.gz").read_bytes()))
    found = inspect(open_object(DATA / "guards.bpf.o"), target)
    assert {(c.function, c.kind, c.value) for c in found.core} == {
        ("field", "field_exists", 0),
        ("both", "field_exists", 0),
        ("call", "type_exists", 0),
    }
    plain = inspect(open_object(DATA / "plain.bpf.o"), target)
    problems = {p.name: p.problems for p in plain.programs}
    assert problems["sleeps"] == ("the target BTF has no target",)
    assert problems["iter"] == ()


def run(*words: str) -> str:
    output.reset()
    try:
        result = CliRunner().invoke(cli, ["inspect", *words], catch_exceptions=False)
    finally:
        output.reset()
    assert result.exit_code == 0, result.output
    return result.output


def test_text() -> None:
    text = run(str(DATA / "guards.bpf.o"))
    assert text.startswith(
        "guards: little-endian, licence GPL\n"
        "Needs Linux 6.1: helper bpf_ktime_get_tai_ns (program both, program runtime)\n"
    )
    line = "     6.1  helper: bpf_ktime_get_tai_ns  (field+2)  only if field_exists struct task_struct.missing\n"
    assert line in text


def test_json() -> None:
    found = json.loads(run("-j", str(DATA / "guards.bpf.o"), "--prog", "field"))
    assert found == as_dict(inspect(open_object(DATA / "guards.bpf.o"), program="field"))
    assert found["minimum"] == "5.1"
    assert [p["name"] for p in found["programs"]] == ["field"]
    assert found["core"][0]["local"] == "struct task_struct.missing (0:1 @ offset 4)"


def test_back_edges() -> None:
    exit_ = Insn(op.EXIT)
    assert back_edges([Insn(op.JA, off=0), exit_], 0, 2) == []
    assert back_edges([Insn(op.JA, off=-1), exit_], 0, 2) == [0]
    # A jump backwards that closes no loop: 0 -> 3 -> 1 -> exit.
    assert back_edges([Insn(op.JA, off=2), Insn(0xB7), exit_, Insn(op.JA, off=-3)], 0, 4) == []
    # Into the middle of a loop: its last edge seen is no jump.
    assert back_edges([Insn(op.JA, off=1), Insn(0xB7), Insn(JEQ, 1, off=1), Insn(op.JA, off=-3), exit_], 0, 5) == [1]


JEQ = op.BPF_JMP | op.BPF_JEQ
GUARD = Guard("core", "x")


@pytest.mark.parametrize(
    ("insns", "expected"),
    [
        # r1 = exists; if r1 == 0 goto exit; call 208
        ([Insn(0xB7, 1), Insn(JEQ, 1, off=1), Insn(op.CALL, imm=208), Insn(op.EXIT)], {2}),
        # The value goes through the stack and another register.
        (
            [Insn(0xB7, 1), Insn(0x7B, 10, 1, -8), Insn(0x79, 6, 10, -8), Insn(JEQ, 6, off=1),
             Insn(op.CALL, imm=208), Insn(op.EXIT)],
            {4},
        ),
        # It is overwritten before the branch.
        ([Insn(0xB7, 1), Insn(0x79, 1, 10, -8), Insn(JEQ, 1, off=1), Insn(op.CALL, imm=208), Insn(op.EXIT)], set()),
        # A store to the same slot in between makes it unknown.
        (
            [Insn(0xB7, 1), Insn(0x7B, 10, 1, -8), Insn(0x7B, 10, 2, -8), Insn(0x79, 6, 10, -8), Insn(JEQ, 6, off=1),
             Insn(op.CALL, imm=208), Insn(op.EXIT)],
            set(),
        ),
        # The call can be reached past the guard too.
        (
            [Insn(JEQ, 2, off=2), Insn(0xB7, 1), Insn(JEQ, 1, off=1), Insn(op.CALL, imm=208), Insn(op.EXIT)],
            set(),
        ),
    ],
)  # fmt: skip
def test_dominance(insns: list[Insn], expected: set[int]) -> None:
    source = next(i for i, insn in enumerate(insns) if insn.opcode == 0xB7)
    found = guarded(insns, 0, len(insns), {source: Source(GUARD, False)})
    assert {at for at in found if insns[at].opcode == op.CALL} == expected


@pytest.mark.parametrize("name", ["guards", "plain"])
def test_broken_objects(name: str) -> None:
    """Bytes changed at random: an object's own errors at most."""
    data = (DATA / f"{name}.bpf.o").read_bytes()
    source = random.Random(7)
    made = 0
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(source.randint(1, 6)):
            broken[source.randrange(len(broken))] = source.randrange(256)
        try:
            inspect(read_object(bytes(broken)))
            made += 1
        except BombusError:
            pass
    assert made


def test_debian_objects(debian: object) -> None:
    assert callable(debian)
    names = ["/usr/lib/*/bpf/*.o", "/usr/sbin/*snoop", "/usr/sbin/xdp-*", "/usr/sbin/tcp*"]
    paths = {path.resolve() for pattern in names for path in debian(pattern)}
    images = [
        elf
        for path in sorted(paths)
        for _, elf in find_embedded(path.read_bytes())
        if elf.machine == EM_BPF and elf.section("license") is not None
    ]
    assert len(images) > 40
    for elf in images:
        found = inspect(read_object(elf))
        assert (4, 1) <= found.minimum <= (5, 18)
        assert not [problem for p in found.programs for problem in p.problems]
