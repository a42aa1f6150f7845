"""Programs that are wrong: every error with its exact text."""

from __future__ import annotations

from pathlib import Path

import pytest

from bombus.compiler.importing import import_source
from bombus.compiler.modulecheck import check_names
from bombus.errors import BombusError

# What stands above every case.
TOP = '''\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Ref, SpinLock, Struct, array, be16, bits, helpers, map, s32, s64, u8, u16
from bombus.bpf import u32, u64, xdp

counts = map.array(u32, u64, max_entries=4)
small = map.array(u32, u8, max_entries=4)
events = map.ringbuf(max_entries=4096)
jumps = map.prog_array(max_entries=4)
total = bpf.var(u64(0))
limit = bpf.config(u32(5))
LICENSE = bpf.license("GPL")
PAIR = (1, 2)


class Ethernet(Struct):
    dst: Array[u8] = array(6)
    src: Array[u8] = array(6)
    proto: be16


class Key(Struct):
    a: u32
    b: u64
    c: u8


class Big(Struct):
    room: Array[u64] = array(100)


flows = map.hash(Key, u64, max_entries=4)


class Locked(Struct):
    lock: SpinLock
    value: u32


locked = map.array(u32, Locked, max_entries=1)


class Task(Struct, core=True, name="task_struct"):
    pid: s32
    flag: u32 = bits(1)


def mix(a: u32, b: u32) -> u32:
    return a ^ b


def pair() -> tuple[u32, u32]:
    return u32(1), u32(2)


'''
# The program that the cases of kind `body` are put into.
BODY = '''\
@xdp
def g(ctx: xdp.Context) -> xdp.Action:
    return xdp.PASS


@xdp
def f(ctx: xdp.Context) -> xdp.Action:
'''
END = "    return xdp.PASS\n"


def cases() -> list[tuple[str, str, str, str]]:
    files = [(Path(__file__).parent / "data" / name).read_text() for name in ("negative.txt", "newcomers.txt")]
    found: list[tuple[str, str, str, str]] = []
    for block in [block for text in files for block in text.split("\n=== ")[1:]]:
        head, _, rest = block.partition("\n")
        source, _, expected = rest.partition("---\n")
        name, kind = head.split()
        found.append((name, kind, source, expected.rstrip("\n")))
    return found


CASES = cases()


def errors(kind: str, source: str) -> str:
    whole = TOP + BODY + source + END if kind == "body" else TOP + source
    try:
        check_names(vars(import_source(whole, "program.py")), "program.py")
    except BombusError as error:
        return str(error)
    return "no error"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize(("kind", "source", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_error(kind: str, source: str, expected: str) -> None:
    assert errors(kind, source) == expected


def test_enough_cases() -> None:
    assert len(CASES) >= 450
    assert len({case[0] for case in CASES}) == len(CASES)
    assert all("error:" in case[3] or case[0] == "no_program" for case in CASES)


def test_every_error_says_what_to_write() -> None:
    """But for Python's own parser, and where the message of a declaration says it itself."""
    silent = [case[0] for case in CASES if case[3].count("error:") != case[3].count("\n  help:")]
    assert silent == [
        "struct_unknown_type", "struct_array_length", "struct_bits", "struct_network_bits", "map_size", "bad_license",
        "bad_global", "syntax", "inner_of_maps", "helper_at_import", "ops_members", "ops_program", "ops_unknown",
        "member_name_taken", "struct_without_members", "decorator_with_parentheses", "list_without_contains",
        "list_of_another_member", "list_of_numbers",
    ]  # fmt: skip



def test_what_surrounds_the_cases_is_right() -> None:
    assert errors("body", "") == "no error"
