"""Sample filters: grammar, places of mistakes, and the BPF code beside what Python says, on both kernels."""

from __future__ import annotations

import random

import pytest

from bombus.asm import assemble
from bombus.errors import BombusError, NotSupported
from bombus.isa import build as b
from bombus.isa.opcodes import BPF_PSEUDO_MAP_VALUE
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.profile import Filter, FilterError
from bombus.profile.filter import Condition
from bombus.profile.program import SampleData, assembled, filter_text, program_text
from bombus.spec.samples import TERM, TERMS, Term

OPERATORS = ("==", "!=", ">", ">=", "<", "<=", "&")


def test_grammar() -> None:
    made = Filter.parse("ip >= 0x8000, mem_op == load || mem_op==store ,uid!=0,weight&3")
    assert [[str(c) for c in group] for group in made.groups] == [
        ["ip >= 32768"], ["mem_op == 2", "mem_op == 4"], ["uid != 0"], ["weight & 3"],
    ]  # fmt: skip
    assert [term.name for term in made.terms()] == ["ip", "mem_op", "uid", "weight"]
    assert made.sample_type == 1 | 1 << 15 | 1 << 14


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "a term is missing"),
        ("   ", 1, "a term is missing"),
        ("foo == 1", 1, "no term 'foo'"),
        ("pid = 1", 5, "operator is missing"),
        ("pid 1", 5, "operator is missing"),
        ("pid == ", 7, "value for pid is missing"),
        ("pid == x", 8, "'x' is no value of pid"),
        ("pid == 12x", 8, "'12x' is no value"),
        ("mem_op == l1", 11, "it takes na, load, store"),
        ("pid == 1, ", 10, "a term is missing"),
        ("pid == 1 ||", 12, "a term is missing"),
        ("pid == 1 | tid == 1", 10, "'|' after a condition"),
        ("pid == 1 tid == 1", 10, "'tid' after a condition"),
        ("(pid == 1)", 1, "'(' where a term"),
        ("pid == -1", 8, "'-' is no value"),
        ("pid == 18446744073709551616", 8, "64 bits"),
        ("pid == 1, , tid == 2", 11, "',' where a term"),
        ("pid == 1 && tid == 2", 10, "'&' after a condition"),
        ("cgroup == /no/such/group", 11, "no cgroup"),
        ("pid == /x", 8, "'/x' is no value"),
        (",".join(["pid == 1"] * 257), None, "more than 256"),
        ("pid == ==", 8, "'==' is no value"),
    ],
)
def test_mistakes(text: str, column: int | None, words: str) -> None:
    with pytest.raises(FilterError, match=words.replace("(", r"\(").replace("|", r"\|")) as caught:
        Filter.parse(text)
    if column is not None:
        assert caught.value.column == column
        assert str(caught.value).splitlines()[-1] == "  " + " " * (column - 1) + "^"


def test_values_of_terms() -> None:
    for text, value in (
        ("mem_lvl == pmem", 14), ("mem_lvlnum == na", 15), ("mem_snoop == fwd", 32), ("mem_snoop & hitm", 16),
        ("mem_dtlb == l1_hit", 10), ("mem_dtlb == fault", 64), ("mem_lock == locked", 2), ("mem_blk == by_addr", 4),
        ("mem_hops == hops3", 4), ("mem_remote == remote", 1), ("mem_op == 0x1f", 31), ("time < 18446744073709551615",
                                                                                       (1 << 64) - 1),
    ):  # fmt: skip
        assert Filter.parse(text).groups[0][0].value == value
    wanted = """
        ip id tid pid cpu time addr period txn weight weight1 weight2 weight3 ins_lat p_stage_cyc retire_lat phys_addr
        code_pgsz data_pgsz mem_op mem_lvl mem_snoop mem_remote mem_lock mem_dtlb mem_blk mem_hops uid gid cgroup
    """
    assert {term.name for term in TERMS} >= set(wanted.split())


def test_cgroups_by_path() -> None:
    import os

    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(f"{root}/cgroup.controllers"):
            assert Filter.parse("cgroup == /").groups[0][0].value == os.stat(root).st_ino
            return
    pytest.skip("no cgroup v2")


def test_parser_takes_anything() -> None:
    randomly = random.Random(2)
    words = [*TERM, *OPERATORS, ",", "||", "|", "&&", "1", "0x10", "load", "na", "(", "é", "/", "9" * 21, " ", "\0"]
    for _ in range(3000):
        text = randomly.choice(("", " ")).join(randomly.choice(words) for _ in range(randomly.randrange(12)))
        try:
            made = Filter.parse(text)
        except FilterError as error:
            assert 1 <= error.column <= len(text) + 1
        else:
            again = ", ".join(" || ".join(map(str, group)) for group in made.groups)
            assert made.groups and Filter.parse(again).groups == made.groups


# Code

NAMES = ("pid", "tid", "cpu", "ip", "weight", "period", "uid", "gid")
VALUES = (0, 1, 2, 3, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, 1 << 63, (1 << 64) - 1)


def random_filter(randomly: random.Random) -> Filter:
    groups = tuple(
        tuple(
            Condition(TERM[randomly.choice(NAMES)], randomly.choice(OPERATORS), randomly.choice(VALUES))
            for _ in range(randomly.randrange(1, 4))
        )
        for _ in range(randomly.randrange(1, 4))
    )
    return Filter("", groups)


def test_code_says_what_python_says(kernel: Kernel) -> None:
    """Terms come from a map here, so that every value can be tried."""
    with Map.create(kernel, "array", 4, 8 * len(NAMES), 1) as item:

        def load(term: Term, number: int) -> list[str]:
            return ["r1 = terms ll", f"r2 = *(u64 *)(r1 + {8 * NAMES.index(term.name)})"]

        randomly = random.Random(5)
        for _ in range(40):
            made = random_filter(randomly)
            text = "\n".join([*filter_text(made, load), "r0 = 1", "exit", "refused:", "r0 = 0", "exit"])
            insns = list(assemble("entry:\n" + text).insns)
            for relocation in assemble("entry:\n" + text).relocations:
                at = relocation.offset // 8
                insns[at] = insns[at]._replace(src=BPF_PSEUDO_MAP_VALUE, imm=item.fd)
            with Program.load(kernel, "socket_filter", insns) as program:
                for _ in range(8):
                    sample = {name: randomly.choice(VALUES) for name in NAMES}
                    item.raw[bytes(4)] = b"".join(sample[name].to_bytes(8, "little") for name in NAMES)
                    assert program.test_run(bytes(64)).retval == made.holds(sample), (str(made.groups), sample)


@pytest.mark.linux
@pytest.mark.parametrize("name", [term.name for term in TERMS])
def test_every_term_loads(linux_kernel: LinuxKernel, name: str) -> None:
    from bombus.btf.parse import Btf
    from bombus.profile.program import CAST

    made = Filter.parse(f"{name} == 1 || {name} & 2")
    paths = {term.path for term in made.terms() if term.source == "data"}
    data = None
    if paths:
        try:
            data = SampleData.of(_btf(linux_kernel), paths)
        except NotSupported as error:
            pytest.skip(str(error))
    assert isinstance(_btf(linux_kernel), Btf)
    with Map.create(linux_kernel, "hash", 32, 8, 16) as counts, Map.create(linux_kernel, "array", 4, 24, 1) as totals, \
            Map.create(linux_kernel, "stack_trace", 4, 8 * 16, 16) as stacks:  # fmt: skip
        maps = {"counts": (counts.fd, False), "stacks": (stacks.fd, False), "more_stacks": (stacks.fd, False),
                "totals": (totals.fd, True)}  # fmt: skip
        insns = assembled(program_text(made, data), maps, {CAST: data.cast} if data is not None else None)
        Program.load(linux_kernel, "perf_event", insns, license="Dual BSD/GPL").close()


_btfs: list[object] = []


def _btf(kernel: Kernel) -> object:
    from bombus.btf.parse import Btf

    if not _btfs:
        _btfs.append(Btf.parse(kernel.vmlinux_btf()))
    return _btfs[0]


def test_old_kernels_are_told() -> None:
    from bombus.btf.build import Builder
    from bombus.btf.parse import Btf
    from bombus.btf.types import Int

    builder = Builder()
    builder.add(Int("int", 4))
    with pytest.raises(NotSupported, match=r"6\.2"):
        SampleData.of(Btf.parse(builder.to_bytes()), {"ip"})


def test_without_a_filter_nothing_is_refused() -> None:
    insns = assembled(program_text(None), dict.fromkeys(("counts", "stacks", "more_stacks", "totals"), (3, False)))
    assert insns[-1] == b.exit_() and isinstance(FilterError("m", "t", 1), BombusError)
