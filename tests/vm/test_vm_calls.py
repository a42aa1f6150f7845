"""Subprograms, helpers, callbacks, tail calls, packet loads: the same on every engine."""

from __future__ import annotations

import pytest

from bombus.bits import U64
from bombus.errors import UsageError, VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import Compiled, PlainEnv

EXIT = b.exit_()
pytestmark = pytest.mark.parametrize("name", NAMES)


def function(dst: int, off: int) -> list[Insn]:
    """dst = the function `off` slots after the first slot of this."""
    first, second = b.ld_imm64(dst, 0, src=op.BPF_PSEUDO_FUNC)
    return [first._replace(imm=off), second]


def run(name: str, insns: list[Insn], env: PlainEnv | None = None, ctx: int = 0) -> int:
    return engine(name).compile(insns, env or PlainEnv()).run(ctx)


def test_registers_around_a_call(name: str) -> None:
    """r6 to r9 and r10 are the caller's again; r1 to r5 go in; r0 comes back."""
    insns = [
        *(b.mov(reg, reg) for reg in range(1, 10)), b.st("u64", 10, -8, 1000), b.call_local(7),
        b.add(0, b.R6), b.add(0, b.R7), b.add(0, b.R8), b.add(0, b.R9), b.ldx("u64", 1, 10, -8), b.add(0, b.R1), EXIT,
        b.mov(0, b.R1), b.add(0, b.R2), b.add(0, b.R3), b.add(0, b.R4), b.add(0, b.R5), b.st("u64", 10, -8, 5),
        b.mov(6, 99), b.mov(7, 99), b.mov(8, 99), b.mov(9, 99), EXIT,
    ]  # fmt: skip
    assert run(name, insns) == 15 + 30 + 1000


def test_a_callee_writes_the_callers_stack(name: str) -> None:
    insns = [b.mov(1, b.R10), b.add(1, -16), b.call_local(2), b.ldx("u64", 0, 10, -16), EXIT,
             b.st("u64", 1, 0, 77), b.mov(0, 0), EXIT]  # fmt: skip
    assert run(name, insns) == 77


def test_eight_frames_and_no_more(name: str) -> None:
    """r1 says how much deeper to go."""
    insns = [b.jmp("==", 1, 0, 3), b.add(1, -1), b.call_local(-3), b.add(0, 1), EXIT]
    program = engine(name).compile(insns, PlainEnv())
    assert [program.run(depth) for depth in range(8)] == list(range(8))
    with pytest.raises(VmFault) as fault:
        program.run(8)
    assert (fault.value.kind, fault.value.insn) == ("stack", 2)
    assert program.run(7) == 7


def test_frames_start_with_zeros(name: str) -> None:
    insns = [b.ldx("u64", 0, 10, -8), b.st("u64", 10, -8, 5), b.mov(6, b.R0), b.call_local(3), b.mov(1, b.R0),
             b.call_local(1), EXIT, b.ldx("u64", 0, 10, -8), b.st("u64", 10, -8, 9), b.add(0, b.R1), EXIT]  # fmt: skip
    program = engine(name).compile(insns, PlainEnv())
    assert [program.run(0), program.run(0)] == [0, 0]


def test_helpers_and_kfuncs(name: str) -> None:
    env = PlainEnv()
    env.helpers[5] = lambda a, b_, c, d, e: -(a + b_ + c + d + e)
    env.kfuncs[9, 2] = lambda a, b_, c, d, e: a << 70 | b_
    moves = [b.mov(reg, reg) for reg in range(1, 6)]
    assert run(name, [*moves, b.call(5), EXIT], env) == -15 & U64
    assert run(name, [*moves, b.call_kfunc(9, 2), EXIT], env) == 2


def test_callbacks(name: str) -> None:
    """The callback runs one frame deeper, sees its own stack, and may touch the caller's through a pointer."""
    env = PlainEnv()
    calls: list[int] = []

    def loop(count: int, callback: int, ctx: int, flags: int, _: int) -> int:
        for index in range(count):
            calls.append(index)
            if program.call(callback, (index, ctx)):
                return index + 1
        return count

    env.helpers[181] = loop
    insns = [
        b.st("u64", 10, -8, 0), b.mov(1, 10), *function(2, 6), b.mov(3, b.R10), b.add(3, -8), b.call(181),
        b.ldx("u64", 6, 10, -8), b.ja(5),
        b.ldx("u64", 3, 2, 0), b.add(3, b.R1), b.stx("u64", 2, 0, 3), b.st("u64", 10, -8, 1),
        b.ja(3),
        b.mul(0, 1000), b.add(0, b.R6), EXIT,
        b.mov(0, 0), b.jmp("<", 1, 4, 1), b.mov(0, 1), EXIT,
    ]  # fmt: skip
    program = engine(name).compile(insns, env)
    assert program.run(0) == 5 * 1000 + 0 + 1 + 2 + 3 + 4
    assert calls == [0, 1, 2, 3, 4]
    calls.clear()
    assert program.run(0) == 5010


def test_a_callback_outside_a_run(name: str) -> None:
    """Timers call back when the program has long returned."""
    env = PlainEnv()
    seen: list[int] = []

    def start(timer: int, callback: int, *_: int) -> int:
        seen.append(callback)
        return 0

    env.helpers[169] = start
    insns = [*function(2, 4), b.call(169), b.mov(0, 0), EXIT, b.mov(0, b.R3), b.add(0, b.R1), EXIT]
    program = engine(name).compile(insns, env)
    assert program.run(0) == 0
    assert program.call(seen[0], (1, 2, 3)) == 4
    for wrong in (seen[0] + 1, seen[0] + 8 * 100, 0):
        with pytest.raises(VmFault, match="no function of this program"):
            program.call(wrong, ())


def test_callbacks_count_as_frames(name: str) -> None:
    env = PlainEnv()
    env.helpers[1] = lambda callback, *_: program.call(callback, (callback,))
    insns = [*function(1, 3), b.call(1), EXIT, b.call(1), EXIT]
    program = engine(name).compile(insns, env)
    with pytest.raises(VmFault) as fault:
        program.run(0)
    assert fault.value.kind == "stack"


class Programs(PlainEnv):
    """A program array: slot -> program."""

    slots: dict[int, Compiled]

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        assert array == 0x77
        return self.slots.get(index)


def tail_call(index: int) -> list[Insn]:
    """r6: ctx. Numbers above 32 bits in r3 do not count."""
    return [b.mov(1, b.R6), b.mov(2, 0x77), *b.ld_imm64(3, index + (1 << 32)), b.call(12)]


def test_tail_calls(name: str) -> None:
    env = Programs()
    env.slots = {2: engine(name).compile([b.ldx("u64", 2, 10, -8), b.mov(0, b.R1), b.add(0, b.R2), EXIT], env)}
    program = engine(name).compile([b.mov(6, b.R1), b.st("u64", 10, -8, 9), *tail_call(1), *tail_call(2),
                                    b.mov(0, 3), EXIT], env)  # fmt: skip
    assert program.run(40) == 40
    del env.slots[2]
    assert program.run(40) == 3


def test_33_tail_calls(name: str) -> None:
    """A program that tail calls itself counts its runs in the context; then the call falls through."""
    env = Programs()
    count = env.memory.allocate(8, name="count", kind="mem")
    insns = [b.mov(6, b.R1), b.mov(2, 1), b.atomic(op.BPF_ADD, "u64", 6, 0, 2), *tail_call(0), b.mov(0, 5), EXIT]
    program = engine(name).compile(insns, env)
    env.slots = {0: program}
    assert program.run(count.start) == 5
    assert count.view[0] == 34
    assert program.run(count.start) == 5
    assert count.view[0] == 68


def test_the_tail_call_count_is_shared_with_subprograms(name: str) -> None:
    """A tail call in a subprogram returns to the subprogram's caller; both calls use up one count."""
    env = Programs()
    count = env.memory.allocate(8, name="count", kind="mem")
    insns = [b.mov(6, b.R1), b.call_local(4), b.mov(1, b.R6), b.call_local(2), b.mov(0, 5), EXIT,
             b.mov(6, b.R1), b.mov(2, 1), b.atomic(op.BPF_ADD, "u64", 6, 0, 2), *tail_call(0), b.mov(0, 6),
             EXIT]  # fmt: skip
    program = engine(name).compile(insns, env)
    env.slots = {0: program}
    assert program.run(count.start) == 5
    assert count.view[0] == 68  # 34 runs of the program, two calls each; test_vm_fuzz asks Linux


class Packet(PlainEnv):
    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        assert skb == 0x123
        return {(4, 2): 0x0800, (-0x1000, 1): 9}.get((offset, size))


def test_packet_loads(name: str) -> None:
    start = [b.mov(6, b.R1), b.mov(0, 1)]
    assert run(name, [*start, b.ld_abs("u16", 4), EXIT], Packet(), 0x123) == 0x800
    assert run(name, [*start, b.mov(2, 6), b.ld_ind("u16", 2, -2), EXIT], Packet(), 0x123) == 0x800
    assert run(name, [*start, b.ld_abs("u8", -0x1000), EXIT], Packet(), 0x123) == 9
    assert run(name, [*start, b.ld_abs("u8", 5), b.mov(0, 7), EXIT], Packet(), 0x123) == 0


def test_casts_and_pseudo_values(name: str) -> None:
    class Arena(PlainEnv):
        def address_cast(self, value: int, to: int, from_: int) -> int:
            return value * 100 + to * 10 + from_

    assert run(name, [b.mov(2, 7), b.addr_space_cast(0, 2, 0, 1), EXIT], Arena()) == 701
    assert run(name, [b.mov(2, 7), b.addr_space_cast(0, 2, 1, 0), EXIT], Arena()) == 710
    assert run(name, [*b.ld_imm64(0, 0x1122334455667788, src=op.BPF_PSEUDO_MAP_FD), EXIT]) == 0x1122334455667788


def test_may_goto_ends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame has 8 Mi rounds (fewer here, to save time), shared by all its may_gotos."""
    for module in ("vm.reference", "vm.fast", "jit.function", "jit.calls"):
        monkeypatch.setattr(f"bombus.{module}.MAX_LOOPS", 1000)
    insns = [b.mov(0, 0), b.may_goto(2), b.add(0, 1), b.ja(-3), b.may_goto(1), b.add(0, 5000), EXIT]
    assert run(name, insns) == 1000
    assert run(name, [b.call_local(1), EXIT, *insns]) == 1000


def test_engines_are_found_by_name(name: str) -> None:
    assert engine(name).name == name
    with pytest.raises(UsageError, match="reference, fast"):
        engine("turbo")
