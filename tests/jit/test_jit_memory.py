"""Several ways into the memory of one map: what is stored by one is seen by the others, at level 2 too."""

from __future__ import annotations

import pytest

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.run import run_packet
from bombus.spec.maptypes import MAP_TYPE

LOOKUP, UPDATE = 1, 2
KEY, VALUE = -8, -24  # in the stack
SIZE = 16
Code = list[Insn]


def looked_up(fd: int) -> Code:
    return [b.mov(2, b.R10), b.add(2, KEY), *b.ld_imm64(1, fd, src=op.BPF_PSEUDO_MAP_FD), b.call(LOOKUP)]


def address(fd: int, offset: int = 0) -> Code:
    first, _ = b.ld_imm64(0, fd, src=op.BPF_PSEUDO_MAP_VALUE)
    return [first, Insn(0, imm=offset)]


def updated(fd: int) -> Code:
    """All of the value becomes 3."""
    return [b.st("u64", 10, VALUE, 3), b.st("u64", 10, VALUE + 8, 3), b.mov(2, b.R10), b.add(2, KEY), b.mov(3, b.R10),
            b.add(3, VALUE), b.mov(4, 0), *b.ld_imm64(1, fd, src=op.BPF_PSEUDO_MAP_FD), b.call(UPDATE)]  # fmt: skip


def unless_null(code: Code) -> Code:
    return [b.jmp("!=", 0, 0, 2), b.mov(0, 99), b.exit_(), *code]


def verdict(map_type: str, first: Code, second: Code, rest: Code, *, before: Code) -> int:
    """first, second: a pointer in r0 each, for r6 and r7."""
    kernel = UserKernel("6.18", engine="native", maps="native", cpus=2)
    fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{map_type}"].id, key_size=4,
                         value_size=SIZE, max_entries=1))  # fmt: skip
    code = [b.st("u64", 10, KEY, 0), *before, *first, *unless_null([b.mov(6, b.R0)]), *second,
            *unless_null([b.mov(7, b.R0)]), *rest, b.exit_()]  # fmt: skip
    code = [i._replace(imm=fd) if i.opcode == op.LD_IMM64 and i.src else i for i in code]
    number = kernel.bpf(
        Attr("BPF_PROG_LOAD", prog_type=6, insns=encode(code), insn_cnt=len(code), license=b"GPL\0")
    )  # fmt: skip
    prog = kernel.object("test", number, "prog")
    assert isinstance(prog, Prog)
    return run_packet(kernel, prog, bytes(64)).verdict


ARRAYS = ("ARRAY", "PERCPU_ARRAY")
MAPS = (*ARRAYS, "HASH", "PERCPU_HASH", "LRU_HASH", "LRU_PERCPU_HASH")


@pytest.mark.parametrize("map_type", MAPS)
def test_two_look_ups(map_type: str) -> None:
    rest = [b.st("u64", 6, 8, 1), b.st("u64", 7, 8, 2), b.ldx("u64", 0, 6, 8)]
    before = updated(0) if "HASH" in map_type else []
    assert verdict(map_type, looked_up(0), looked_up(0), rest, before=before) == 2


@pytest.mark.parametrize("ways", [(looked_up(0), address(0)), (address(0), looked_up(0)), (address(0), address(0))])
def test_addresses_of_a_value(ways: tuple[Code, Code]) -> None:
    rest = [b.st("u32", 6, 4, 1), b.st("u32", 7, 4, 2), b.ldx("u32", 0, 6, 4)]
    assert verdict("ARRAY", *ways, rest, before=[]) == 2


def test_addresses_of_parts_of_a_value() -> None:
    """C's addresses of members and of elements are such."""
    rest = [b.st("u32", 6, 12, 1), b.st("u32", 7, 4, 2), b.ldx("u32", 0, 6, 12)]
    assert verdict("ARRAY", address(0), address(0, 8), rest, before=[]) == 2
    rest = [b.sub(7, b.R6), b.mov(0, b.R7)]
    assert verdict("ARRAY", address(0), address(0, 8), rest, before=[]) == 8


@pytest.mark.parametrize(
    ("map_type", "way"), [("ARRAY", address(0)), *((map_type, looked_up(0)) for map_type in MAPS)]
)
def test_an_update_behind_a_pointer(map_type: str, way: Code) -> None:
    before = updated(0) if "HASH" in map_type else []
    # An element of a hash map that is updated is another one than before: so it is looked up once more.
    rest = [b.st("u64", 6, 8, 1), *updated(0), *looked_up(0), *unless_null([b.ldx("u64", 0, 0, 8)])]
    if "ARRAY" in map_type:
        rest = [b.st("u64", 6, 8, 1), *updated(0), b.ldx("u64", 0, 6, 8)]
    assert verdict(map_type, way, way, rest, before=before) == 3
