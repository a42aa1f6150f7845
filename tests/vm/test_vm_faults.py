"""Wrong steps, and where they are reported: the same on every engine."""

from __future__ import annotations

import pytest

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import PlainEnv

EXIT = b.exit_()

# program (r1: 16 writable bytes), kind, instruction, words of the message
FAULTS = [
    ([b.ldx("u64", 0, 1, 9), EXIT], "load", 0, "8 bytes at offset 9 of scratch, which has 16"),
    ([b.ldx("u8", 0, 1, -1), EXIT], "load", 0, "1 bytes"),
    ([b.mov(2, 0), b.ldx("u8", 0, 2), EXIT], "load", 1, "0x0"),
    ([b.mov(2, -4), b.ldx("u64", 0, 2), EXIT], "load", 1, "8 bytes at 0xfffffffffffffffc"),
    ([b.mov(0, 1), b.stx("u16", 1, 15, 0), EXIT], "store", 1, "2 bytes at offset 15"),
    ([b.st("u8", 1, 16, 1), EXIT], "store", 0, "offset 16"),
    ([b.atomic(op.BPF_ADD, "u64", 1, 12, 0), EXIT], "atomic", 0, "offset 12"),
    ([b.atomic(op.BPF_ADD, "u8", 1, 12, 0), EXIT], "opcode", 0, "no atomic operation"),
    ([b.ldx("u64", 2, 1, 8), b.add(1, 4096), b.ldx("u8", 0, 1), EXIT], "load", 2, "1 bytes at"),
    ([b.ldx("u64", 0, 10, 0), EXIT], "load", 0, "offset 512 of slot 0 of the stack"),
    ([b.stx("u64", 10, -4, 1), EXIT], "store", 0, "offset 508 of slot 0 of the stack"),
    ([b.st("u64", 10, -520, 1), EXIT], "store", 0, ""),
    ([b.mov(2, b.R10), b.add(2, 1), b.st("u64", 2, -8, 1), EXIT], "store", 2, "offset 505 of slot 0 of the stack"),
    ([*b.ld_imm64(2, 0x3000_0000_0000), b.st("u8", 2, 0, 1), EXIT], "store", 2, "0x300000000000"),
    ([b.mov(10, 1), EXIT], "opcode", 0, "r10"),
    ([Insn(0xFF), EXIT], "opcode", 0, "0xff is no instruction"),
    ([b.ja(0), Insn(op.CALLX, 1), EXIT], "opcode", 1, "register"),
    ([b.add(0, 1)._replace(src=12, opcode=op.BPF_ALU64 | op.BPF_X), EXIT], "opcode", 0, "register 12"),
    ([b.ja(7), EXIT], "jump", 0, "goes to 8"),
    ([b.ja(-2), EXIT], "jump", 0, "goes to -1"),
    ([b.jmp("==", 0, 0, 100), EXIT], "jump", 0, "goes to 101"),
    ([b.gotol(100000), EXIT], "jump", 0, "goes to 100001"),
    ([b.mov(0, 1)], "jump", 0, "goes to 1"),
    (b.ld_imm64(0, 1), "jump", 0, "goes to 2"),
    (b.ld_imm64(0, 1)[:1], "opcode", 0, "second slot"),
    ([b.ja(1), *b.ld_imm64(0, 1), EXIT], "opcode", 2, "0x00 is no instruction"),
    ([b.ja(1), b.ld_imm64(0, 1)[0], b.call(77), EXIT], "helper", 2, "no helper 77"),
    ([b.call(77), EXIT], "helper", 0, "no helper 77"),
    ([b.call_kfunc(77), EXIT], "helper", 0, "no kernel function 77"),
    ([b.mov(0, 0), b.call_local(5), EXIT], "call", 1, "no instruction 7"),
    ([b.call_local(-1), EXIT], "stack", 0, "8 frames"),
    ([b.mov(0, 0), b.ja(-1), EXIT], "budget", None, "used up"),
    ([b.add(0, 1), b.jmp("!=", 0, 0, -2), EXIT], "budget", None, "used up"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("insns", "kind", "where", "words"), FAULTS, ids=range(len(FAULTS)))
def test_fault(name: str, insns: list[Insn], kind: str, where: int | None, words: str) -> None:
    env = PlainEnv()
    scratch = env.memory.allocate(16, name="scratch", kind="mem")
    program = engine(name, budget=1000).compile(insns, env)
    for _ in range(2):  # the second run meets warm caches
        with pytest.raises(VmFault) as fault:
            program.run(scratch.start)
        assert fault.value.kind == kind
        assert where is None or fault.value.insn == where
        assert words in str(fault.value)
        assert f"instruction {fault.value.insn}" in str(fault.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_program(name: str) -> None:
    with pytest.raises(VmFault) as fault:
        engine(name).compile([], PlainEnv()).run(0)
    assert fault.value.kind == "jump"


@pytest.mark.parametrize("name", NAMES)
def test_read_only_memory(name: str) -> None:
    for insn in (b.st("u8", 1, 0, 1), b.atomic(op.BPF_XCHG, "u32", 1, 0, 2)):
        env = PlainEnv()
        region = env.memory.allocate(8, name="the ro map", kind="map_value", writable=False)
        program = engine(name).compile([b.ldx("u64", 0, 1, 0), insn, EXIT], env)
        with pytest.raises(VmFault, match="the ro map is read-only") as fault:
            program.run(region.start)
        assert (fault.value.kind, fault.value.insn) == ("readonly", 1)


@pytest.mark.parametrize("name", NAMES)
def test_slots_of_an_array(name: str) -> None:
    """An access stays inside the value it points to, and reaches every value."""
    env = PlainEnv()
    region = env.memory.allocate(48, name="values", kind="map_value", stride=16, limit=12)
    program = engine(name).compile([b.ldx("u32", 0, 1, 0), b.st("u32", 1, 0, 7), EXIT], env)
    for offset in range(48 - 3):
        if offset % 16 <= 8:
            region.view[:] = bytes(range(48))
            assert program.run(region.start + offset) == int.from_bytes(bytes(range(offset, offset + 4)), "little")
            assert region.view[offset] == 7
        else:
            with pytest.raises(VmFault):
                program.run(region.start + offset)


@pytest.mark.parametrize("name", NAMES)
def test_memory_that_goes_away(name: str) -> None:
    """A helper frees what the program has a pointer to: the next access is a fault, not old bytes."""
    env = PlainEnv()
    region = env.memory.allocate(8, name="value", kind="map_value")

    def free(*_: int) -> int:
        env.memory.remove(region)
        return 0

    env.helpers[3] = free
    insns = [b.mov(6, b.R1), b.ldx("u64", 0, 6, 0), b.call(3), b.ldx("u64", 0, 6, 0), EXIT]
    program = engine(name).compile(insns, env)
    with pytest.raises(VmFault) as fault:
        program.run(region.start)
    assert (fault.value.kind, fault.value.insn) == ("load", 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_inside_a_helper_names_the_call(name: str) -> None:
    env = PlainEnv()
    env.helpers[4] = lambda dst, *_: int.from_bytes(env.memory.read(dst, 8), "little")
    program = engine(name).compile([b.mov(0, 0), b.call_local(1), EXIT, b.mov(1, 64), b.call(4), EXIT], env)
    with pytest.raises(VmFault) as fault:
        program.run(0)
    assert (fault.value.kind, fault.value.insn, fault.value.address) == ("load", 4, 64)
