"""Loading runs the verifier: verdicts, errnos and logs, in all buffers, are those of Linux."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helper_cases import linux

from bombus.asm import assemble
from bombus.errors import KernelError, LoadError, NeedsKernel, NotSupported, UsageError
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, Program
from bombus.kernel.user.kernel import UserKernel
from bombus.spec.helpers import HELPER

GOOD = "r0 = 2\nexit"
BRANCHES = "r6 = *(u32 *)(r1 + 12)\nr0 = 0\n" + "".join(
    f"if r6 == {n} goto l{n}\nr0 += 1\nl{n}:\n" for n in range(3)
) + "exit"
LOOKUP = "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = 0x70000000 ll\ncall bpf_map_lookup_elem\n"

# Programs by their text; 0x70000000 is the descriptor of a hash map of 4 and 8 bytes.
TEXTS: dict[str, str] = {
    "good": GOOD,
    "branches": BRANCHES,
    "no r0": "exit",
    "lookup": LOOKUP + "if r0 == 0 goto l\nr0 = *(u64 *)(r0 + 0)\nl:\nr0 = 1\nexit",
    "no null check": LOOKUP + "r0 = *(u64 *)(r0 + 0)\nexit",
    "value end": LOOKUP + "if r0 == 0 goto l\nr0 = *(u64 *)(r0 + 4)\nl:\nr0 = 1\nexit",
    "value of unknown": LOOKUP + "if r0 == 0 goto l\nr1 = *(u8 *)(r0 + 0)\nr0 += r1\nr0 = *(u8 *)(r0 + 0)\nl:\nexit",
    "value bounded": LOOKUP + "if r0 == 0 goto l\nr1 = *(u8 *)(r0 + 0)\nr1 &= 7\nr0 += r1\nr0 = *(u8 *)(r0 + 0)\nl:\n"
                     "r0 = 1\nexit",
    "packet": "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit",
    "packet checked": "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 14\nr0 = 1\nif r4 > r3 goto l\n"
                      "r0 = *(u16 *)(r2 + 12)\nr0 &= 1\nl:\nexit",
    "packet short": "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 4\nr0 = 1\nif r4 > r3 goto l\n"
                    "r0 = *(u16 *)(r2 + 12)\nl:\nexit",
    "loop": "r0 = 0\nl:\nr0 += 1\nif r0 < 10 goto l\nr0 = 2\nexit",
    "endless": "r0 = *(u32 *)(r1 + 12)\nl:\nif r0 != 5 goto l\nexit",
    "dead code": "r0 = 0\nexit\nr0 = 1\nexit",
    "falls out": "r0 = 0",
    "context": "r0 = *(u32 *)(r1 + 200)\nexit",
    "context write": "*(u32 *)(r1 + 0) = 0\nr0 = 0\nexit",
    "number": "r2 = *(u32 *)(r1 + 12)\nr0 = *(u8 *)(r2 + 0)\nexit",
    "null": "r2 = 0\nr0 = *(u8 *)(r2 + 0)\nexit",
    "stack": "*(u64 *)(r10 - 512) = 0\nr0 = 1\nexit",
    "stack too deep": "*(u64 *)(r10 - 520) = 0\nr0 = 1\nexit",
    "stack above": "*(u64 *)(r10 + 0) = 0\nr0 = 1\nexit",
    "argument": "r1 = 5\nr2 = 0\ncall bpf_map_lookup_elem\nr0 = 0\nexit",
    "missing argument": "r1 = 0x70000000 ll\ncall bpf_map_lookup_elem\nr0 = 0\nexit",
    "lost": "call bpf_ktime_get_ns\nr0 = r1\nexit",
    "division": "r0 = 1\nr0 /= 0\nexit",
    "shift": "r0 = 1\nr0 <<= 64\nexit",
    "pointers": "r1 += r10\nr0 = 0\nexit",
    "context moved": "r1 += 4\nr0 = *(u32 *)(r1 + 0)\nexit",
    "frame pointer": "r10 = 1\nr0 = 0\nexit",
    "function": "r1 = 3\ncall f\nexit\nf:\nr0 = r1\nexit",
    "recursion": "call f\nexit\nf:\ncall f\nexit",
    "other helper": "r2 = 0\ncall bpf_skb_change_proto\nexit",
    "no helper": "call 9999\nexit",
    "no map": "r1 = 99 ll\nexit",
    "map as value": "r1 = 0x70000000 ll\n*(u64 *)(r1 + 0) = 0\nr0 = 0\nexit",
    "32 bits": "r0 = *(u32 *)(r1 + 12)\nw0 += 5\nif w0 s> 9 goto l\nr0 = 1\nl:\nexit",
    "spill": "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 12)\nexit",
    "half a pointer": "*(u64 *)(r10 - 8) = r1\nr2 = *(u32 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 12)\nexit",
    "division by unknown": "r2 = *(u32 *)(r1 + 12)\nr0 = 100\nr0 /= r2\nexit",
}
TYPES = ("xdp", "socket_filter", "sched_cls")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}|fd -?\d+")


def real() -> Kernel:
    kernel = linux()
    if kernel is None:
        pytest.skip("bpf(2) is refused here")
    return kernel


def insns_of(text: str, fd: int) -> list[Insn]:
    return [
        insn._replace(src=1, imm=fd) if insn.opcode == 0x18 and insn.imm == 0x70000000 else insn
        for insn in assemble(text).insns
    ]


def answer(kernel: Kernel, kind: str, text: str, level: int) -> tuple[int, str]:
    """errno and log of a load."""
    with Map.create(kernel, "hash", 4, 8, 16, name="hash") as made:
        try:
            with Program.load(kernel, kind, insns_of(text, made.fd), license="MIT", log_level=level) as program:
                return 0, _ADDRESS.sub("PTR", program.log)
        except KernelError as error:
            return error.errno or 0, _ADDRESS.sub("PTR", error.log)


@pytest.mark.linux
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", TEXTS)
def test_as_linux(name: str, kind: str, level: int) -> None:
    kernel = real()
    if (kernel.version.major, kernel.version.minor) != (6, 18):
        pytest.skip("the logs are compared with Linux 6.18")
    ours = answer(UserKernel("6.18", cpus=kernel.possible_cpus), kind, TEXTS[name], level)
    assert ours == answer(kernel, kind, TEXTS[name], level)


def load_raw(kernel: Kernel, text: str, level: int, size: int) -> tuple[int, bytes, int]:
    """errno, the log buffer, the true size."""
    code = encode(list(assemble(text).insns))
    log = bytearray(b"\xaa" * size)
    attr = Attr("BPF_PROG_LOAD", prog_type=6, insns=code, insn_cnt=len(code) // 8, license=b"MIT\0", log_level=level,
                log_size=size, log_buf=log if size else 0, fd_array=0)  # fmt: skip
    attr.set("log_true_size", 0)
    number = 0
    try:
        kernel.close(kernel.bpf(attr))
    except KernelError as error:
        number = error.errno or 0
    return number, bytes(log).split(b"\0")[0], attr.get("log_true_size")


@pytest.mark.linux
@pytest.mark.parametrize("size", [0, 1, 2, 16, 100, 128, 200, 5000])
@pytest.mark.parametrize("level", [1, 2, 9, 10, 16])
@pytest.mark.parametrize("name", ["good", "branches", "packet", "endless"])
def test_buffers_as_linux(name: str, level: int, size: int) -> None:
    kernel = real()
    if (kernel.version.major, kernel.version.minor) != (6, 18):
        pytest.skip("the logs are compared with Linux 6.18")
    assert load_raw(UserKernel("6.18"), TEXTS[name], level, size) == load_raw(kernel, TEXTS[name], level, size)


def test_refusals_carry_the_log() -> None:
    with pytest.raises(LoadError) as caught:
        Program.load(UserKernel("6.18"), "xdp", list(assemble("r0 = r3\nexit").insns))
    assert caught.value.errno == 13
    assert "R3 !read_ok" in caught.value.log
    assert caught.value.message == "instruction 0: R3 !read_ok"


def test_newer_helpers_are_named() -> None:
    with pytest.raises(NeedsKernel) as caught:
        Program.load(UserKernel("6.1"), "xdp", b.program(b.call(HELPER["cgrp_storage_get"].id), b.exit_()))
    assert (caught.value.feature, caught.value.since) == ("helper bpf_cgrp_storage_get", "6.2")
    assert "#210" in caught.value.log


def test_old_logs_need_128_bytes() -> None:
    assert load_raw(UserKernel("6.1"), GOOD, 1, 100)[0] == 22
    assert load_raw(UserKernel("6.1"), GOOD, 1, 0)[0] == 22
    assert load_raw(UserKernel("6.1"), BRANCHES, 2, 128)[0] == 28
    assert load_raw(UserKernel("6.1"), GOOD, 2, 2000)[0] == 0


KFUNC = [Insn(0x85, 0, 2, 0, 5), Insn(0xB7), Insn(0x95)]
ODD = list(assemble("r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit").insns)


def test_modes() -> None:
    with pytest.raises(NotSupported, match="calls of kernel functions"):
        Program.load(UserKernel("6.18"), "xdp", KFUNC)
    with pytest.raises(LoadError):
        Program.load(UserKernel("6.18", verify="lenient"), "xdp", ODD)
    Program.load(UserKernel("6.18", verify="off"), "xdp", ODD).close()
    with pytest.raises(UsageError, match="strict, lenient, off"):
        UserKernel(verify="maybe")


def test_nothing_is_left_of_what_cannot_be_judged() -> None:
    kernel = UserKernel("6.18")
    made = Map.create(kernel, "hash", 4, 8, 16)
    with pytest.raises(NotSupported):
        Program.load(kernel, "xdp", [*b.ld_imm64(1, made.fd, 1), *KFUNC])
    made.close()
    assert len(kernel.ids["map"]) == len(kernel.ids["prog"]) == 0


@pytest.mark.parametrize("version", ["4.19", "5.4", "5.15", "6.1", "6.6", "6.12", "6.18"])
def test_versions(version: str) -> None:
    kernel = UserKernel(version)
    program = Program.load(kernel, "xdp", list(assemble(GOOD).insns), log_level=1)
    assert ("verified as Linux 6.1 does" in program.log) == (kernel.version < UserKernel("6.1").version)
    with pytest.raises(LoadError):
        Program.load(kernel, "xdp", ODD)


def test_info() -> None:
    info: Any = Program.load(UserKernel("6.18"), "xdp", list(assemble(TEXTS["loop"]).insns)).info()
    assert info["verified_insns"] == 23
