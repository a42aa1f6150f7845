"""Loops that end with their function's budget: may_goto, in every reading."""

from __future__ import annotations

from dataclasses import replace

import pytest
from readings import compiled, plain

from bombus.bpf import flow
from bombus.compiler import budget, maygoto
from bombus.compiler.build import build_module, build_source
from bombus.compiler.importing import import_source
from bombus.elf.read import read_elf
from bombus.errors import CodegenError
from bombus.isa import build, opcodes
from bombus.isa.insn import Insn, decode
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.vm import fast, reference, run

TOP = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Struct, helpers, map, s64, u8, u32, u64, xdp
LICENSE = bpf.license("GPL")
res = map.array(u32, u64, max_entries=8)
class Head(Struct):
    a: u8
    b: u8
class Work(Struct):
    sum: u64
"""
LOOPS = TOP + """
@bpf.noinline
def collatz(n: u64) -> u32:
    steps = u32(0)
    while n > 1 and bpf.can_loop():
        n = n // 2 if n % 2 == 0 else n * 3 + 1
        steps += 1
    return steps
def gcd(a: u32, b: u32) -> u32:
    while bpf.can_loop() and b:
        c = a % b
        a = b
        b = c
    return a
def each(index: u32, work: Work) -> s64:
    left = index
    while left and bpf.can_loop():
        work.sum += u64(left)
        left -= 1
    return s64(0)
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    if head is None:
        return xdp.DROP
    total = u64(0)
    i = u32(0)
    while bpf.can_loop():
        if i >= u32(head.a):
            break
        total += u64(i)
        i += 1
        if total % 7 == 3:
            continue
        total ^= 1
    else:
        total = u64(0)
    res.update(0, total)
    res.update(1, u64(collatz(u64(head.b) * 1000 + 27)))
    res.update(2, u64(gcd(u32(head.a) * 3, u32(head.b) + 6)))
    j = u64(0)
    while j < u64(head.b):
        if not bpf.can_loop():
            break
        j += 3
        more = bpf.can_loop()
        if j % 64 == 0 and more:
            break
    res.update(3, j)
    work = Work(sum=u64(1))
    helpers.loop(20, each, work, 0)
    res.update(4, work.sum)
    if bpf.can_loop():
        return xdp.PASS
    return xdp.TX
"""
SPENDING = TOP + """
@bpf.noinline
def spend() -> u32:
    rounds = u64(0)
    while bpf.can_loop():
        rounds += 1
    else:
        res.update(0, rounds)
    return u32(bpf.can_loop())
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    again = spend() + spend()
    return xdp.Action(again * 2 + u32(bpf.can_loop()))
"""
PACKETS = [bytes(range(64)), b"\xff" * 64, bytes(64), bytes(range(100, 164)), bytes([7, 9]) * 32]


@pytest.mark.parametrize("cpu", ["v1", "v3", "v4"])
def test_loops(kernel: Kernel, cpu: str) -> None:
    module = import_source(LOOPS, "<loops>")
    expected = plain(module, module.p, PACKETS)
    assert expected.verdicts == [2] * 5
    data = build_module(module, cpu=cpu)
    seen = compiled(module, module.p, PACKETS, kernel, data=data)
    assert seen.verdicts == expected.verdicts
    assert seen.maps == expected.maps


BODIES = [
    """    ok = False
    while n and bpf.can_loop():
        n >>= 1
        if n == 3:
            ok = True
            break
    return xdp.Action(u32(ok) + 1)
""",
    """    done = bpf.can_loop()
    if done and n > 3:
        res.update(0, u64(1))
    return xdp.Action(u32(done) + n)
""",
    """    if bpf.can_loop():
        pass
    return xdp.Action(n)
""",
    """    ok = True if bpf.can_loop() else False
    no = not bpf.can_loop()
    return xdp.Action(u32(ok) * 4 + u32(no) * 2 + u32(ok == no) + u32(ok and not no))
""",
    """    x = u32(0)
    for i in range(5):
        if not bpf.can_loop():
            return xdp.TX
        for j in range(3):
            if n & (1 << (i + j)) and bpf.can_loop():
                x += 1
    return xdp.Action(x)
""",
    """    full = False
    while not full and bpf.can_loop():
        n += 3
        full = n > 300
    else:
        n ^= u32(full)
    return xdp.Action(n)
""",
    """    x = u64(0)
    for i in bpf.unroll(range(4)):
        if bpf.can_loop() or n == 5:
            x += u64(n) if bpf.can_loop() else u64(7)
    return xdp.Action(u32(x))
""",
    """    slot = res.lookup(n & 7) if bpf.can_loop() else None
    if slot is None:
        return xdp.TX
    slot.value += 1
    return xdp.Action(u32(slot.value))
""",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_as_a_value(body: str, linux_kernel: Kernel) -> None:
    """Truth values that are set on both ways, nested loops, conditions: LLVM takes no marker apart."""
    head = """
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    if head is None:
        return xdp.DROP
    n = u32(head.a)
"""
    module = import_source(TOP + head + body, "<value>")
    expected = plain(module, module.p, PACKETS)
    for level in (1, 2, 3):
        seen = compiled(module, module.p, PACKETS, linux_kernel, data=build_module(module, level=level))
        assert (seen.verdicts, seen.maps) == (expected.verdicts, expected.maps)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_the_budget_ends(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of a function has its own."""
    module = import_source(SPENDING, "<budget>")
    for place in (run, fast, reference):
        monkeypatch.setattr(place, "MAX_LOOPS", 1000)
    seen = plain(module, module.p, PACKETS[:1])
    assert seen.verdicts == [1]
    assert seen.maps["res"][bytes(4)] == (1000).to_bytes(8, "little")
    assert not flow._budgets
    assert compiled(module, module.p, PACKETS[:1], UserKernel(engine=engine)) == replace(seen, used=[])


def test_the_budget_of_linux(linux_kernel: Kernel) -> None:
    module = import_source(SPENDING, "<budget>")
    seen = compiled(module, module.p, PACKETS[:1], linux_kernel)
    assert seen.verdicts == [1]
    assert int.from_bytes(seen.maps["res"][bytes(4)], "little") > 1000


def test_both_byte_orders() -> None:
    module = import_source(LOOPS, "<loops>")
    for target in ("bpfel", "bpfeb"):
        elf = read_elf(build_module(module, target=target))
        code = [section.data for section in elf.sections if section.name in (".text", "xdp")]
        insns = [insn for data in code for insn in decode(data, "little" if target == "bpfel" else "big")]
        assert sum(insn.opcode == opcodes.MAY_GOTO for insn in insns) == 7
        assert not any(insn.imm in (budget.FIRST, budget.FIRST + 1) for insn in insns)


def test_the_markers_are_no_other_numbers() -> None:
    text, number = budget.marked(f"xor {budget.PLACE}; xor {budget.IDLE}; xor {budget.FIRST + 1}")
    assert number == budget.FIRST + 2
    assert text == f"xor {number}; xor {number + 1}; xor {number - 1}"
    assert budget.marked("nothing") == ("nothing", 0)


def test_what_llvm_may_make_of_it() -> None:
    mark = Insn(maygoto._MARK, 1, imm=budget.FIRST)
    move, to_end, onwards = build.mov(2, 5), Insn(maygoto._ZERO, 1, off=9), Insn(maygoto._OTHER, 1, off=-9)
    nothing, back = Insn(opcodes.JA), Insn(opcodes.JA, off=-9)
    assert maygoto._replacement([mark, move, to_end], 0, {}, True) == [(0, nothing), (2, build.may_goto(9))]
    assert maygoto._replacement([mark, onwards], 0, {}, True) == [(0, build.may_goto(1)), (1, back)]
    assert maygoto._replacement([mark, move, to_end], 0, {}, False) == [(0, nothing), (2, nothing)]
    assert maygoto._replacement([mark, move, onwards], 0, {}, False) == [(0, nothing), (2, back)]
    for bad in ([mark, move, onwards], [mark], [mark, build.mov(1, 5), to_end], [mark, onwards._replace(imm=1)]):
        assert maygoto._replacement(bad, 0, {}, True) == []
    assert maygoto._replacement([mark, move, to_end], 0, {2: [7]}, True) == []
    # a choice between two values, whose jump comes down before that of the marker (fuzz seed 1000622)
    choice = Insn(opcodes.BPF_JMP | opcodes.BPF_JGT | opcodes.BPF_K, 5, off=1, imm=1)
    slots = [mark, choice, move, to_end]
    assert maygoto._replacement(slots, 0, maygoto._sources(slots), True) == [(0, nothing), (3, build.may_goto(9))]
    beyond = [mark, choice._replace(off=2), move, to_end]
    assert maygoto._replacement(beyond, 0, maygoto._sources(beyond), True) == []
    for bad_jump in (choice._replace(off=-2), choice._replace(dst=1), Insn(opcodes.CALL, imm=5), Insn(opcodes.EXIT)):
        slots = [mark, bad_jump, move, to_end]
        assert maygoto._replacement(slots, 0, maygoto._sources(slots), True) == []


def test_the_register_of_a_marker_is_not_used() -> None:
    jump, end = Insn(maygoto._ZERO, 1, off=1), build.exit_()
    markers = (budget.FIRST, budget.FIRST + 1)
    mark = Insn(maygoto._MARK, 1, imm=budget.FIRST)
    read, written = build.mov(0, build.Reg(1)), build.mov(1, 0)
    assert maygoto._used([jump, read, end], 0, 1, markers)
    assert maygoto._used([jump, written, read, end], 0, 1, markers)  # on the other way
    assert not maygoto._used([jump, written, written, read, end], 0, 1, markers)
    assert not maygoto._used([jump, mark, mark, Insn(opcodes.JA, off=-4)], 0, 1, markers)


def test_an_object_that_is_not_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maygoto, "_replacement", lambda *_: [])
    with pytest.raises(CodegenError, match=r"took can_loop\(\) apart at instruction \d+ of section"):
        build_module(import_source(LOOPS, "<loops>"))


LONG = TOP + """
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    i = u32(0)
    while bpf.can_loop() and i < 1000000:
        i += 1
    n = u64(500000)
    while n > 3 and bpf.can_loop():
        n -= 1
    total = u64(0)
    for k in range(1000000):
        if not bpf.can_loop():
            break
        total += u64(k) & 1
    for k in range(700000, 5, -3):
        if not bpf.can_loop():
            break
        total += u64(k) & 1
    res.update(0, u64(i) + n * 1000000 + total * 10000000)
    return xdp.PASS
"""


def test_verifiers_need_not_count(linux_kernel: Kernel) -> None:
    """Counters that start with constants and are compared with constants: followed round by round, these loops would
    take more instructions than the verifier looks at."""
    with load(read_object(build_source(LONG, "<long>")), linux_kernel) as loaded:
        assert loaded.programs["p"].test_run(bytes(64)).retval == 2
        found = int(loaded.maps["res"][0])
    total = 500000 + sum(k & 1 for k in range(700000, 5, -3))
    assert found == 1000000 + 3 * 1000000 + total * 10000000
